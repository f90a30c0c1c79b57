"""An answer that is streamed, over real processes: pushed in order, whole for who comes late."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from http_calls import Api
from raw_client import RawClient, fresh, token_for
from running_cluster import RunningCluster, topology_text
from test_jsonrpc_websocket import JsonUser
from websockets.sync.client import connect

from zmqim.wkproto.packets import Event, Recv, Setting

GROUP = 2
DELTAS = 50


@pytest.fixture(scope="module")
def api(cluster: RunningCluster) -> Api:
    return Api(cluster.http, cluster.api_key)


class Answer:
    """A message of a bot in a group, and the events that are added to it."""

    def __init__(self, api: Api, members: list[str], bot: str = "") -> None:
        self.api = api
        self.bot = bot or fresh("bot")
        self.group = fresh("group")
        self.number = fresh("answer")
        self.count = 0
        api.done(
            "/channel", channel_id=self.group, channel_type=GROUP, subscribers=[self.bot, *members]
        )

    def begin(self, text: str = "…") -> None:
        named = {"channel_type": GROUP, "client_msg_no": self.number, "setting": 2}
        self.message_id = self.api.sent(self.bot, self.group, text, **named)["message_id"]

    def event(self, kind: str, payload: dict[str, Any] | None = None, **more: object) -> Any:
        self.count += 1
        body = {
            "channel_id": self.group,
            "channel_type": GROUP,
            "from_uid": self.bot,
            "client_msg_no": self.number,
            "event_id": f"{self.number}-{self.count}",
            "event_type": f"stream.{kind}",
            "payload": payload,
            **more,
        }
        return self.api.post("/message/event", **body)

    def added(self, kind: str, payload: dict[str, Any] | None = None, **more: object) -> Any:
        status, answer = self.event(kind, payload, **more)
        assert status == 200, answer
        return answer["data"]

    def word(self, number: int) -> Any:
        return self.added("delta", {"kind": "text", "delta": f"w{number} "})

    def history(self, uid: str, **more: object) -> Any:
        named = {"channel_id": self.group, "channel_type": GROUP, "login_uid": uid}
        (message,) = self.api.done("/channel/messagesync", **named, **more)["messages"]
        return message

    def synced(self, uid: str, after: int, **more: object) -> Any:
        named = {"channel_id": self.group, "channel_type": GROUP, "from_uid": uid}
        named |= {"client_msg_no": self.number, "from_msg_event_seq": after}
        return self.api.done("/message/eventsync", **named, **more)["data"]


def text_of(upto: int) -> str:
    return "".join(f"w{number} " for number in range(upto))


def test_an_answer_streams_to_every_kind_of_client(cluster: RunningCluster, api: Api) -> None:
    ann, ben, old, late = fresh("ann"), fresh("ben"), fresh("old"), fresh("late")
    answer = Answer(api, [ann, ben, old, late])
    with (
        RawClient.login(cluster, api, ann) as one,
        RawClient.login(cluster, api, old, version=4) as four,
        connect(cluster.ws, compression=None) as socket,
    ):
        two = JsonUser(socket)
        two.login(ben, token_for(api, ben, 1))
        answer.begin()
        recv = one.expect(Recv)
        assert (recv.client_msg_no, recv.setting) == (answer.number, Setting.STREAM)
        assert two.told("recv")["setting"]["stream"] is True
        opened = answer.added("open")
        assert opened == {
            "client_msg_no": answer.number,
            "event_key": "main",
            "event_id": f"{answer.number}-1",
            "msg_event_seq": 1,
            "stream_status": "open",
            "channel_id": answer.group,
            "channel_type": GROUP,
            "from_uid": answer.bot,
        }
        numbers = [answer.word(number)["msg_event_seq"] for number in range(DELTAS)]
        assert numbers == list(range(2, DELTAS + 2))
        check_late_joiner(answer, late)
        check_look_ups(answer, late)
        closed = answer.added("close", {"end_reason": 0})
        assert closed["stream_status"] == "closed"
        raw = [one.expect(Event) for _ in range(DELTAS + 2)]
        told = [two.told("event") for _ in range(DELTAS + 2)]
        check_pushed(answer, [(e.event_id, e.event_type, json.loads(e.data)) for e in raw])
        check_pushed(answer, [(e["id"], e["type"], json.loads(e["data"])) for e in told])
        # A client older than EVENT would break at one: it gets the message alone, and goes on.
        assert four.receive()[0].setting == 0
        api.sent(answer.bot, answer.group, "next", channel_type=GROUP)
        assert four.receive()[0].payload == b"next"


def check_pushed(answer: Answer, events: list[tuple[str, str, Any]]) -> None:
    kinds = ["open", *["delta"] * DELTAS, "close"]
    assert [kind for _, kind, _ in events] == [f"stream.{kind}" for kind in kinds]
    assert [name for name, _, _ in events] == [
        f"{answer.number}-{number}" for number in range(1, DELTAS + 3)
    ]
    data = [one for _, _, one in events]
    assert [one["msg_event_seq"] for one in data] == list(range(1, DELTAS + 3))
    assert "".join(one["payload"]["delta"] for one in data[1:-1]) == text_of(DELTAS)
    assert data[1] == {
        "client_msg_no": answer.number,
        "channel_id": answer.group,
        "channel_type": GROUP,
        "from_uid": answer.bot,
        "message_id": answer.message_id,
        "message_idstr": str(answer.message_id),
        "event_key": "main",
        "msg_event_seq": 2,
        "stream_status": "open",
        "visibility": "public",
        "payload": {"kind": "text", "delta": "w0 "},
    }


def check_look_ups(answer: Answer, uid: str) -> None:
    """However the message is asked for, it has its stream."""
    named = {"channel_id": answer.group, "channel_type": GROUP, "login_uid": uid}
    wanted = answer.history(uid)
    api = answer.api
    for names in ({"message_seqs": [1]}, {"client_msg_nos": [answer.number]}):
        assert api.done("/messages", **named, **names)["messages"] == [wanted]
    assert api.done("/message", **named, message_id=answer.message_id) == wanted
    path = f"/channel/last_message?channel_id={answer.group}&channel_type={GROUP}&login_uid={uid}"
    assert api.call("GET", path) == (200, wanted)
    path = path.replace("/channel/last_message", "/message/byclientmsgno")
    assert api.call("GET", f"{path}&client_msg_no={answer.number}") == (200, wanted)


def check_late_joiner(answer: Answer, uid: str) -> None:
    """History has one message with everything so far, and says where to go on."""
    message = answer.history(uid)
    seen = DELTAS + 1
    assert message["event_meta"] == {
        "has_events": True,
        "completed": False,
        "event_version": seen,
        "last_msg_event_seq": seen,
        "event_count": 1,
        "open_event_count": 1,
        "events": [
            {
                "event_key": "main",
                "status": "open",
                "last_msg_event_seq": seen,
                "snapshot": {"kind": "text", "text": text_of(DELTAS)},
                "end_reason": 0,
                "error": "",
            }
        ],
    }
    hint = message["event_sync_hint"]
    assert hint == {"client_msg_no": answer.number, "from_msg_event_seq": seen}
    basic = answer.history(uid, event_summary_mode="basic")
    assert basic["event_meta"]["events"][0]["snapshot"] is None
    assert basic["event_sync_hint"]["from_msg_event_seq"] == 0
    assert answer.synced(uid, seen)["events"] == []
    page = answer.synced(uid, 10, limit=5)
    assert [one["msg_event_seq"] for one in page["events"]] == [11, 12, 13, 14, 15]
    assert (page["next_msg_event_seq"], page["more"]) == (15, 1)


def test_who_missed_the_end_reads_the_whole_of_it(cluster: RunningCluster, api: Api) -> None:
    ann = fresh("ann")
    answer = Answer(api, [ann])
    answer.begin()
    for number in range(3):
        answer.word(number)
    answer.added("cancel", {"end_reason": 7})
    (event,) = answer.synced(ann, 1)["events"]
    assert (event["event_type"], event["msg_event_seq"]) == ("stream.cancel", 4)
    assert event["payload"] == {"end_reason": 7, "snapshot": {"kind": "text", "text": text_of(3)}}
    message = answer.history(ann)
    lane = message["event_meta"]["events"][0]
    assert (lane["status"], lane["end_reason"]) == ("cancelled", 7)
    assert (message["end"], message["end_reason"]) == (1, 7)
    assert base64.b64decode(message["stream_data"]).decode() == text_of(3)
    (conversation,) = api.done("/conversation/sync", uid=ann, version=0, msg_count=5)
    (recent,) = conversation["recents"]
    assert recent["event_meta"] == message["event_meta"]


def test_a_message_without_events_looks_as_before(cluster: RunningCluster, api: Api) -> None:
    answer = Answer(api, [])
    answer.begin()
    message = answer.history(answer.bot)
    assert {"event_meta", "event_sync_hint", "end", "stream_data"}.isdisjoint(message)
    assert answer.synced(answer.bot, 0)["events"] == []


@pytest.mark.promise("P9")
def test_refusals_say_why(cluster: RunningCluster, api: Api) -> None:
    answer = Answer(api, [])
    assert answer.event("open")[1]["code"] == "message_not_found"
    answer.begin()
    assert answer.event("delta", {"kind": "text"})[1]["code"] == "bad_payload"
    first = answer.added("delta", {"delta": "a"}, event_id="one")
    assert answer.added("delta", {"delta": "a"}, event_id="one") == first
    status, problem = answer.event("delta", {"delta": "b"}, event_id="one")
    assert (status, problem["code"]) == (400, "event_id_conflict")
    by_id = {"client_msg_no": "", "message_id": answer.message_id}
    assert answer.added("error", {"error": "no model"}, **by_id)["stream_status"] == "error"
    status, problem = answer.event("delta", {"delta": "b"})
    assert (status, problem["code"]) == (400, "stream_closed")
    assert "no model" in problem["msg"]
    assert answer.event("delta", {"delta": "b"}, from_uid="someone")[1]["code"] == (
        "message_not_found"
    )
    assert answer.event("nothing")[1]["code"] == "bad_request"
    assert answer.event("open", headers={"a": 1})[1]["code"] == "bad_request"


def test_a_private_lane_is_its_senders_alone(cluster: RunningCluster, api: Api) -> None:
    ann = fresh("ann")
    answer = Answer(api, [ann])
    with (
        RawClient.login(cluster, api, ann) as one,
        RawClient.login(cluster, api, answer.bot) as own,
    ):
        answer.begin()
        answer.added("delta", {"delta": "secret"}, event_key="plan", visibility="private")
        answer.added("delta", {"delta": "open"})
        assert b"open" in one.expect(Event).data
        assert b"secret" in own.expect(Event).data
    assert [e["event_key"] for e in answer.history(ann)["event_meta"]["events"]] == ["main"]
    assert [e["event_key"] for e in answer.synced(ann, 0)["events"]] == ["main"]
    assert len(answer.synced(answer.bot, 0)["events"]) == 2
    assert len(answer.synced(ann, 0, include_private=1)["events"]) == 2


@pytest.mark.promise("P6")
def test_a_stream_goes_on_when_its_leader_dies(
    new_cluster: Callable[..., RunningCluster],
) -> None:
    cluster = new_cluster(topology_text(storages=3, replicas=3)).up()
    api = Api(cluster.http, cluster.api_key)
    ann = fresh("ann")
    answer = Answer(api, [ann])
    with RawClient.login(cluster, api, ann) as one:
        answer.begin()
        for number in range(30):
            if number % 8 == 7:  # One after the other, so that the leader is among them.
                cluster.kill(f"storage-{number // 8 + 1}")
            assert answer.word(number)["msg_event_seq"] == number + 1
        lane = answer.history(ann)["event_meta"]["events"][0]
        assert lane["snapshot"]["text"] == text_of(30)
        seen: dict[int, str] = {}
        while len(seen) < 30:
            data = json.loads(one.expect(Event, 30).data)
            seen[data["msg_event_seq"]] = data["payload"]["delta"]
        assert "".join(seen[number] for number in sorted(seen)) == text_of(30)
