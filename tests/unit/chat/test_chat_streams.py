"""Streams of a partition: bounds, refusals, who sees what, and what a new leader pushes."""

from __future__ import annotations

import json

import pytest
from chat_partition import Partition

from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import EventType, Reason, StreamStatus
from zmqim.chat.encoding import encode
from zmqim.chat.notices import EventNotice, PushedEvents, decode_pushed
from zmqim.chat.operations import (
    STREAM_SETTING,
    AddMembers,
    AppendEvent,
    RemoveMembers,
    SendMessage,
    UpsertChannel,
)
from zmqim.chat.queries import EventsQuery, HeadsQuery, HeadWanted, MessagesBy, MessagesQuery
from zmqim.chat.results import (
    EventAppended,
    EventRefused,
    EventsPage,
    HeadsPage,
    LaneView,
    MessagesFound,
    MessagesPage,
    Rejected,
    Result,
    Sent,
    StreamView,
)
from zmqim.chat.stream_rows import BROKEN
from zmqim.errors import WireError
from zmqim.limits import (
    OPEN_STREAMS_MAX,
    PULL_BYTES_MAX,
    STREAM_BYTES_MAX,
    STREAM_EVENTS_MAX,
    STREAM_FOLD_EVENTS,
    STREAM_LANES_MAX,
    STREAM_SILENCE_MS_MAX,
    STREAMS_ENDED_MAX,
)
from zmqim.storage.items import check_change

OPEN, DELTA, CLOSE, FINISH = EventType.OPEN, EventType.DELTA, EventType.CLOSE, EventType.FINISH


@pytest.fixture
def group() -> Partition:
    """Group "g" of bot and ann, with the bot's message "m"."""
    partition = Partition()
    partition.apply(AddMembers(2, "g", ["bot", "ann"]))
    send(partition, "m")
    return partition


def send(partition: Partition, name: str) -> int:
    sent = partition.apply(SendMessage(2, "g", "bot", name, b"{}"))
    assert isinstance(sent, Sent)
    return sent.message_id


def event(
    event_type: int, event_id: str, payload: bytes = b"", key: str = "main", **more: object
) -> AppendEvent:
    fields = {"channel_type": 2, "channel_id": "g", "from_uid": "bot", "client_msg_no": "m"}
    fields |= {"message_id": 0, "event_id": event_id, "event_type": event_type}
    return AppendEvent(**fields | {"event_key": key, "payload": payload} | more)  # type: ignore[arg-type]


def delta(event_id: str, words: str = "a", key: str = "main", **more: object) -> AppendEvent:
    return event(DELTA, event_id, json.dumps({"delta": words}).encode(), key, **more)


def code_of(result: Result) -> str:
    assert isinstance(result, EventRefused)
    return result.code


def streams(partition: Partition, uid: str = "ann", streams: int = 2) -> list[StreamView]:
    page = partition.query(MessagesQuery(2, "g", uid, limit=99, streams=streams))
    assert isinstance(page, MessagesPage)
    return page.streams


def numbers(partition: Partition, uid: str = "ann", **more: object) -> list[int]:
    page = partition.query(EventsQuery(2, "g", uid, "m", **more))  # type: ignore[arg-type]
    assert isinstance(page, EventsPage)
    return [one.sequence for one in page.events]


def test_a_page_that_does_not_ask_has_no_streams(group: Partition) -> None:
    group.apply(delta("1"))
    assert streams(group, streams=0) == []
    assert streams(group, streams=1) == [StreamView(1, 1, False, [LaneView("main", 1, 1)])]
    lane = LaneView("main", 1, 1, b'{"kind":"text","text":"a"}')
    assert streams(group) == [StreamView(1, 1, False, [lane])]


def test_only_the_sender_of_a_stored_message_adds_to_it(group: Partition) -> None:
    for change in (
        {"client_msg_no": "other"},
        {"from_uid": "ann"},
        {"channel_id": "nowhere"},
        {"message_id": 77},
        {"client_msg_no": "", "message_id": 77},
        {"from_uid": "ann", "client_msg_no": "", "message_id": send(group, "n")},
    ):
        assert code_of(group.apply(delta("1", **change))) == "message_not_found", change
    assert len(group.notices) == 3, "more than those of the members and the two messages"


def test_a_message_is_found_by_its_id_among_many(group: Partition) -> None:
    ids = {name: send(group, name) for name in map(str, range(20))}
    for name, message_id in ids.items():
        named = {"client_msg_no": "", "message_id": message_id}
        assert group.apply(event(CLOSE, "1", **named)) == EventAppended(1, 2, name)


def test_who_may_not_write_may_not_go_on(group: Partition) -> None:
    group.apply(delta("1"))
    group.apply(RemoveMembers(2, "g", ["bot"]))
    assert group.apply(delta("2")) == Rejected(Reason.NOT_SUBSCRIBER)
    assert group.apply(delta("1")) == EventAppended(1, 1, "m", duplicate=True)
    assert group.apply(delta("2", privileged=True)) == EventAppended(2, 1, "m")
    group.apply(UpsertChannel(2, "g", disband=True))
    assert group.apply(delta("3", privileged=True)) == Rejected(Reason.DISBANDED)


def test_a_refusal_leaves_the_rows_as_they_are(group: Partition) -> None:
    group.apply(delta("1"))
    group.turn()
    rows = [row for row in group.store.scan(b"", b"\xff" * 9) if row[0][6:7] == b"E"]
    for wrong in (
        event(DELTA, "2"),
        event(99, "2"),
        delta("1", "other"),
        delta("2", visibility="private"),
        delta("2", client_msg_no="other"),
    ):
        assert isinstance(group.apply(wrong), EventRefused)
    group.turn()
    assert [row for row in group.store.scan(b"", b"\xff" * 9) if row[0][6:7] == b"E"] == rows


def test_a_long_answer_is_folded_on_the_way_and_whole_at_every_point(group: Partition) -> None:
    count = 2 * STREAM_FOLD_EVENTS + 10
    for number in range(count):
        group.apply(delta(str(number), f"{number} "))
        if number % 100 == 0:
            group.turn()
            group.open()
    text = "".join(f"{number} " for number in range(count))
    (view,) = streams(group)
    assert json.loads(view.lanes[0].snapshot) == {"kind": "text", "text": text}
    assert numbers(group, limit=2_000) == list(range(1, count + 1))
    group.apply(event(CLOSE, "end"))
    (view,) = streams(group)
    assert json.loads(view.lanes[0].snapshot) == {"kind": "text", "text": text}
    assert numbers(group) == [count + 1]
    assert group.apply(delta("7", "7 ")) == EventAppended(8, 1, "m", duplicate=True)


def test_no_read_puts_more_together_than_came_since_the_last_fold(group: Partition) -> None:
    rows = group.state.streams.rows
    channel = group.state.heads.find(2, "g")
    for number in range(3 * STREAM_FOLD_EVENTS):
        group.apply(delta(str(number)))
        stream = rows.named(channel, "m", "bot")
        assert stream is not None
        lane = stream.lane("main")
        assert lane is not None
        assert len(rows.events(stream, lane.folded, lane.last)) < STREAM_FOLD_EVENTS


def test_streams_that_ended_are_not_looked_at_by_who_opens_one(group: Partition) -> None:
    channel = group.state.heads.find(2, "g")
    for number in range(3):
        name = f"n{number}"
        send(group, name)
        group.apply(delta("1", client_msg_no=name))
        group.apply(event(CLOSE, "2", client_msg_no=name))
    group.apply(delta("1"))
    found = group.view.scan(*group.state.keys.open_streams(channel.chan16))
    assert [key for key, _ in found] == [
        group.state.keys.open_stream(channel.chan16 + (1).to_bytes(8, "big"))
    ]


def test_a_page_of_events_has_no_more_than_were_asked_for(group: Partition) -> None:
    for number in range(5):
        group.apply(delta(str(number)))
    assert numbers(group, limit=2) == [1, 2]
    assert numbers(group, limit=2, after=2) == [3, 4]
    page = group.query(EventsQuery(2, "g", "ann", "m", after=3, limit=2))
    assert isinstance(page, EventsPage)
    assert not page.more


def test_a_full_stream_takes_only_its_end(group: Partition) -> None:
    for number in range(STREAM_EVENTS_MAX):
        group.apply(event(OPEN, str(number)))
    assert code_of(group.apply(delta("more"))) == "stream_full"
    assert group.apply(event(CLOSE, "end")) == EventAppended(STREAM_EVENTS_MAX + 1, 2, "m")


def test_bytes_and_event_keys_of_a_message_are_bounded(group: Partition) -> None:
    words = "x" * 60_000
    taken = 0
    while isinstance(result := group.apply(delta(f"b{taken}", words)), EventAppended):
        taken += 1
    assert code_of(result) == "stream_full"
    assert STREAM_BYTES_MAX - 61_000 < taken * 60_000 < STREAM_BYTES_MAX
    for number in range(1, STREAM_LANES_MAX):
        group.apply(event(OPEN, f"k{number}", key=f"lane {number}"))
    assert code_of(group.apply(event(OPEN, "k", key="one more"))) == "stream_full"
    assert isinstance(group.apply(event(CLOSE, "end")), EventAppended)


def test_a_page_is_cut_where_snapshots_fill_it(group: Partition) -> None:
    names = [f"big {number}" for number in range(6)]
    words = "x" * 60_000
    for name in names:
        send(group, name)
        for number in range(16):
            group.apply(delta(str(number), words, client_msg_no=name))
    page = group.query(MessagesQuery(2, "g", "ann", limit=99, streams=2))
    assert isinstance(page, MessagesPage)
    sizes = [len(view.lanes[0].snapshot) for view in page.streams]
    assert page.more
    assert sum(sizes) <= PULL_BYTES_MAX < sum(sizes) + 2 * max(sizes)
    assert [row.sequence for row in page.messages] == [view.sequence for view in page.streams]
    assert page.messages[-1].sequence == 7
    up = group.query(MessagesQuery(2, "g", "ann", 1, 0, 99, 1, streams=2))
    assert isinstance(up, MessagesPage)
    assert [row.sequence for row in up.messages][:3] == [1, 2, 3]
    assert up.more


def test_open_streams_of_a_channel_are_bounded_and_broken_ones_make_room(group: Partition) -> None:
    for number in range(OPEN_STREAMS_MAX):
        send(group, f"n{number}")
        group.apply(delta("1", client_msg_no=f"n{number}"))
    assert code_of(group.apply(delta("1"))) == "too_many_streams"
    assert isinstance(group.apply(event(CLOSE, "2", client_msg_no="n0")), EventAppended)
    assert isinstance(group.apply(delta("1")), EventAppended)
    send(group, "late")
    told = len(group.notices)
    result = group.apply(delta("1", client_msg_no="late"), ms=STREAM_SILENCE_MS_MAX + 1)
    assert isinstance(result, EventAppended)
    ((_, notice),) = group.notices[told:]
    assert isinstance(notice, EventNotice)
    pushed = decode_pushed(notice.body)
    assert isinstance(pushed, PushedEvents)
    kinds = [one.event_type for one in pushed.events]
    assert kinds == [EventType.ERROR] * STREAMS_ENDED_MAX + [DELTA]


def test_a_broken_stream_is_ended_by_the_event_that_comes_too_late(group: Partition) -> None:
    group.apply(delta("1", "half"))
    result = group.apply(delta("2"), ms=STREAM_SILENCE_MS_MAX + 1)
    assert code_of(result) == "stream_closed"
    lane = LaneView("main", StreamStatus.ERROR, 2, b'{"kind":"text","text":"half"}', 0, BROKEN)
    assert streams(group) == [StreamView(1, 2, False, [lane])]
    assert isinstance(group.apply(delta("3", key="again")), EventAppended)


def test_readers_see_that_a_stream_is_broken_before_anyone_ends_it(group: Partition) -> None:
    group.apply(delta("1", "half"))
    group.apply(UpsertChannel(2, "other"), ms=STREAM_SILENCE_MS_MAX + 1)
    lane = LaneView("main", StreamStatus.ERROR, 1, b'{"kind":"text","text":"half"}', 0, BROKEN)
    assert streams(group) == [StreamView(1, 1, False, [lane])]


def test_a_finish_ends_every_lane_and_says_so(group: Partition) -> None:
    group.apply(delta("1"))
    group.apply(delta("2", key="tool"))
    told = len(group.notices)
    assert group.apply(event(FINISH, "3", b'{"end_reason":5}')) == EventAppended(5, 2, "m")
    ((_, notice),) = group.notices[told:]
    assert isinstance(notice, EventNotice)
    pushed = decode_pushed(notice.body)
    assert isinstance(pushed, PushedEvents)
    assert [(one.sequence, one.event_key, one.event_type) for one in pushed.events] == [
        (3, "main", CLOSE),
        (4, "tool", CLOSE),
        (5, "main", FINISH),
    ]
    (view,) = streams(group)
    assert view.finished
    assert [(lane.status, lane.end_reason) for lane in view.lanes] == [(2, 5), (2, 0)]
    assert code_of(group.apply(delta("4", key="new"))) == "stream_closed"


def test_a_private_lane_is_seen_by_its_sender_alone(group: Partition) -> None:
    group.apply(delta("1", key="plan", visibility="private"))
    group.apply(delta("2"))
    assert [lane.event_key for lane in streams(group)[0].lanes] == ["main"]
    assert [lane.event_key for lane in streams(group, "bot")[0].lanes] == ["plan", "main"]
    assert numbers(group) == [2]
    assert numbers(group, "bot") == numbers(group, include_private=True) == [1, 2]
    assert numbers(group, "bot", event_key="plan") == [1]


@pytest.mark.promise("P5")
def test_someone_removed_sees_nothing_that_was_added_afterwards(group: Partition) -> None:
    group.apply(delta("1", key="before"))
    group.apply(event(CLOSE, "2", key="before"))
    group.apply(delta("3"))
    group.apply(RemoveMembers(2, "g", ["ann"]))
    group.apply(delta("4", "secret"))
    assert [lane.event_key for lane in streams(group)[0].lanes] == ["before"]
    assert numbers(group) == [2, 3]
    group.apply(AddMembers(2, "g", ["ann"]))
    assert numbers(group) == [2, 3, 4]


def test_two_senders_may_use_the_same_number(group: Partition) -> None:
    group.apply(SendMessage(2, "g", "ann", "m", b"{}"))
    group.apply(delta("1", from_uid="ann"))
    group.apply(delta("1"))
    group.apply(delta("2"))
    assert (numbers(group, "ann"), numbers(group, "bot")) == ([1], [1, 2])
    assert [view.last for view in streams(group)] == [2, 1]


def test_a_person_channel_has_streams_too() -> None:
    partition = Partition()
    channel = person_channel_id("bot", "ann")
    partition.apply(SendMessage(1, channel, "bot", "m", b"{}"))
    named = {"channel_type": 1, "channel_id": channel}
    assert partition.apply(delta("1", **named)) == EventAppended(1, 1, "m")
    page = partition.query(EventsQuery(1, channel, "ann", "m"))
    assert isinstance(page, EventsPage)
    assert len(page.events) == 1


def test_a_new_leader_pushes_again_what_was_not_acknowledged(group: Partition) -> None:
    group.apply(delta("1"))
    index, notice = group.notices[-1]
    group.turn()
    group.open()
    hlc, payload = group.log[index - 1]
    assert group.state.notice_again(index, hlc, payload) == encode(notice)


@pytest.mark.parametrize(
    "wrong",
    [
        delta(""),
        delta("e" * 513),
        delta("1", key=""),
        delta("1", key="ö" * 257),
        delta("1", client_msg_no=""),
        event(DELTA, "1", b"x" * 70_000),
        delta("1", occurred_at=-1),
        delta("1", occurred_at=2**60),
    ],
)
def test_what_a_gateway_must_not_send_is_refused_before_the_log(wrong: AppendEvent) -> None:
    with pytest.raises(WireError):
        check_change(wrong)


def test_conversations_show_the_streams_of_messages_that_say_so(group: Partition) -> None:
    group.apply(delta("1"))
    group.apply(SendMessage(2, "g", "bot", "said", b"{}", setting=STREAM_SETTING))

    def shown(streams: int) -> list[StreamView]:
        wanted = HeadWanted(2, "g", 0, messages=5, streams=streams)
        page = group.query(HeadsQuery("ann", [wanted]))
        assert isinstance(page, HeadsPage)
        return page.heads[0].streams

    assert shown(2) == [StreamView(1, 1, False, [LaneView("main", 1, 1, text("a"))])]
    group.apply(delta("1", "b", client_msg_no="said"))
    assert [view.sequence for view in shown(2)] == [1, 2]
    assert [view.lanes[0].snapshot for view in shown(1)] == [b"", b""]
    assert shown(0) == []


def test_a_channel_of_messages_that_do_not_say_so_is_not_looked_through(group: Partition) -> None:
    group.apply(delta("1"))
    wanted = HeadWanted(2, "g", 0, messages=5, streams=2)
    page = group.query(HeadsQuery("ann", [wanted]))
    assert isinstance(page, HeadsPage)
    assert page.heads[0].streams == []


def text(words: str) -> bytes:
    return json.dumps({"kind": "text", "text": words}, separators=(",", ":")).encode()


def found(partition: Partition, uid: str = "ann", **names: object) -> MessagesFound:
    answer = partition.query(MessagesBy(2, "g", uid, streams=2, **names))  # type: ignore[arg-type]
    assert isinstance(answer, MessagesFound)
    return answer


def test_messages_that_are_looked_up_have_the_streams_of_a_page(group: Partition) -> None:
    for name in ("between", "n"):
        send(group, name)
        group.apply(delta("1", name, client_msg_no=name))
    group.apply(delta("1"))
    page = streams(group)
    assert [view.sequence for view in page] == [1, 2, 3]
    assert found(group, sequences=[1, 3]).streams == [page[0], page[2]]
    assert found(group, client_msg_nos=["n", "between"]).streams == page[1:]
    assert found(group, sequences=[1, 2, 3]).streams == page
    send(group, "plain")
    assert found(group, client_msg_nos=["plain"]).streams == []
    group.apply(RemoveMembers(2, "g", ["ann"]))
    group.apply(delta("2", "secret"))
    assert found(group, sequences=[1]).streams == streams(group)[:1]


def test_a_look_up_is_cut_where_snapshots_fill_it(group: Partition) -> None:
    for name in map(str, range(6)):
        send(group, name)
        for number in range(16):
            group.apply(delta(str(number), "x" * 60_000, client_msg_no=name))
    answer = found(group, sequences=[1, *range(3, 8)])
    assert answer.cut
    assert [row.sequence for row in answer.messages] == [1, 3, 4, 5, 6]
    assert [view.sequence for view in answer.streams] == [3, 4, 5, 6]
    rest = found(group, sequences=[7])
    assert (rest.cut, len(rest.streams)) == (False, 1)


@pytest.mark.promise("P5")
def test_who_was_removed_from_a_community_sees_no_events_of_its_topics() -> None:
    partition = Partition()
    partition.apply(AddMembers(4, "c", ["bot", "ann"]))
    partition.apply(SendMessage(5, "c@t", "bot", "m", b"{}"))
    partition.apply(delta("1", channel_type=5, channel_id="c@t"))

    def seen() -> int:
        page = partition.query(EventsQuery(5, "c@t", "ann", "m"))
        assert isinstance(page, EventsPage)
        return len(page.events)

    assert seen() == 1
    partition.apply(RemoveMembers(4, "c", ["ann"]))
    assert seen() == 0
    partition.apply(AddMembers(4, "c", ["ann"]))
    assert seen() == 1
