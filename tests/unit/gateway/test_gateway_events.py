"""Events of streams to EVENT packets: for whom, in which shape, and for whom not."""

from __future__ import annotations

import json

import pytest
from gateway_rig import Rig, delivery, to_client

from zmqim.bus.effects import Send
from zmqim.bus.messages import DeliverAck, Delivery, Plan
from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import EventType, StreamStatus
from zmqim.chat.encoding import encode
from zmqim.chat.notices import PushedEvent, PushedEvents
from zmqim.gateway.effects import Effect
from zmqim.gateway.events import STATUS_NAMES, TYPE_NAMES
from zmqim.wkproto.packets import Event


def pushed(number: int, only: str = "", payload: bytes = b'{"delta":"a"}') -> PushedEvent:
    return PushedEvent(
        77, "no", "ada", f"e{number}", EventType.DELTA, "main", number, StreamStatus.OPEN,
        "private" if only else "public", 1_000 + number, payload, only,
    )  # fmt: skip


def of_channel(
    sessions: list[int],
    *events: PushedEvent,
    channel: tuple[int, str] = (2, "g"),
    plan: tuple[int, int] = (0, 0),
) -> Delivery:
    body = encode(PushedEvents(*channel, list(events)))
    return Delivery(*channel, 0, 0, 0, body, sessions, *plan)


def numbers(effects: list[Effect], session: int) -> list[int]:
    packets = to_client(effects, session)
    return [json.loads(one.data)["msg_event_seq"] for one in packets if isinstance(one, Event)]


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.up("router-1")
    rig.open_session(1, "ada")
    rig.open_session(2, "bob")
    return rig


def test_an_event_is_told_as_json_and_its_frame_acknowledged(rig: Rig) -> None:
    rig.deliver(of_channel([1, 2, 99], pushed(3)))
    effects = rig.turn()
    assert effects[0] == Send("router-1", DeliverAck(1))
    (packet,) = to_client(effects, 2)
    assert isinstance(packet, Event)
    assert (packet.event_id, packet.event_type, packet.timestamp) == ("e3", "stream.delta", 1_003)
    assert json.loads(packet.data) == {
        "client_msg_no": "no",
        "channel_id": "g",
        "channel_type": 2,
        "from_uid": "ada",
        "message_id": 77,
        "message_idstr": "77",
        "event_key": "main",
        "msg_event_seq": 3,
        "stream_status": "open",
        "visibility": "public",
        "payload": {"delta": "a"},
    }
    assert to_client(effects, 1) == [packet]


def test_without_a_payload_there_is_none_in_the_data(rig: Rig) -> None:
    rig.deliver(of_channel([1], pushed(1, payload=b"")))
    (packet,) = to_client(rig.turn(), 1)
    assert isinstance(packet, Event)
    assert "payload" not in json.loads(packet.data)


def test_a_person_channel_is_the_peer(rig: Rig) -> None:
    channel = (1, person_channel_id("ada", "bob"))
    rig.deliver(of_channel([1, 2], pushed(1), channel=channel))
    effects = rig.turn()
    shown = [json.loads(to_client(effects, one)[0].data)["channel_id"] for one in (1, 2)]  # type: ignore[union-attr]
    assert shown == ["bob", "ada"]


def test_events_and_messages_keep_their_order(rig: Rig) -> None:
    rig.deliver(delivery(1, [2]), of_channel([2], pushed(1), pushed(2)), delivery(2, [2]))
    kinds = [type(one).__name__ for one in to_client(rig.turn(), 2)]
    assert kinds == ["Recv", "Event", "Event", "Recv"]


def test_a_private_event_is_for_its_sender_alone(rig: Rig) -> None:
    rig.deliver(of_channel([1, 2], pushed(1, only="ada"), pushed(2)))
    effects = rig.turn()
    assert (numbers(effects, 1), numbers(effects, 2)) == ([1, 2], [2])


def test_a_large_channel_is_told_by_its_list(rig: Rig) -> None:
    rig.core.receive(rig.now, "router-1", Plan(9, 1, True, [1, 2], []))
    rig.deliver(of_channel([], pushed(1), plan=(9, 1)))
    effects = rig.turn()
    assert (numbers(effects, 1), numbers(effects, 2)) == ([1], [1])


def test_an_old_client_and_one_that_takes_nothing_get_no_event(rig: Rig) -> None:
    rig.open_session(3, "cid", version=4)
    rig.open_session(4, "dan", version=5)
    rig.core.writable(rig.now, 2, on=False)
    rig.deliver(of_channel([1, 2, 3, 4], pushed(1)))
    effects = rig.turn()
    assert [numbers(effects, one) for one in (1, 2, 3, 4)] == [[1], [], [], [1]]
    assert rig.core.counters.read()["events_dropped"] == 2
    rig.core.writable(rig.now, 2, on=True)
    rig.deliver(of_channel([2], pushed(2)))
    assert numbers(rig.turn(), 2) == [2]


def test_while_messages_of_the_channel_are_pulled_no_event_overtakes_them(rig: Rig) -> None:
    rig.push(1, [2])
    rig.turn()
    rig.push(5, [2])
    rig.deliver(of_channel([2], pushed(1)), of_channel([2], pushed(2), channel=(2, "other")))
    assert numbers(rig.turn(), 2) == [2]


def test_every_type_and_status_has_a_name() -> None:
    assert list(TYPE_NAMES.values()) == [
        f"stream.{name}"
        for name in ("open", "delta", "snapshot", "close", "error", "cancel", "finish")
    ]
    assert list(STATUS_NAMES.values()) == ["open", "closed", "error", "cancelled"]
