"""A stored message with a stream, as the HTTP API shows it."""

from __future__ import annotations

import pytest

from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage
from zmqim.chat.results import LaneView, MessageRow, StreamView
from zmqim.gateway.http.stored import (
    EventLane,
    EventMeta,
    EventSyncHint,
    StoredMessage,
    stored_messages,
)

BODY = encode(SendMessage(2, "g", "bot", "no", b"{}", setting=2))
ROWS = [MessageRow(number, 70 + number, 1 << 40, 0, BODY) for number in (1, 2)]


def shown(view: StreamView, *, basic: bool = False) -> StoredMessage:
    one, other = stored_messages(ROWS, [view], "ann", basic=basic)
    assert one == stored_messages(ROWS[:1], [], "ann", basic=basic)[0]
    return other


def test_a_stream_is_shown_with_its_message_and_says_where_to_go_on() -> None:
    lanes = [
        LaneView("main", 2, 5, b'{"kind":"text","text":"all"}', 3, "why"),
        LaneView("tool", 1, 6, b'{"kind":"step","text":7}'),
    ]
    found = shown(StreamView(2, 6, False, lanes))
    assert found.event_meta == EventMeta(
        True,
        False,
        6,
        6,
        2,
        1,
        [
            EventLane("main", "closed", 5, {"kind": "text", "text": "all"}, 3, "why"),
            EventLane("tool", "open", 6, {"kind": "step", "text": 7}, 0, ""),
        ],
    )
    assert found.event_sync_hint == EventSyncHint("no", 6)
    assert (found.end, found.end_reason, found.error) == (1, 3, "why")
    assert found.stream_data == "YWxs"


def test_without_snapshots_a_reader_begins_with_the_first_event() -> None:
    found = shown(StreamView(2, 6, False, [LaneView("main", 1, 6)]), basic=True)
    assert found.event_sync_hint == EventSyncHint("no", 0)
    assert (found.end, found.stream_data) == (0, "")


@pytest.mark.parametrize(
    ("finished", "statuses", "completed"),
    [(False, [1], False), (False, [2, 3], True), (False, [2, 1], False), (True, [], True)],
)
def test_it_is_complete_when_nothing_is_open(
    finished: bool, statuses: list[int], completed: bool
) -> None:
    lanes = [LaneView(str(key), status, 1) for key, status in enumerate(statuses)]
    meta = shown(StreamView(2, 1, finished, lanes)).event_meta
    assert meta is not None
    assert meta.completed is completed


def test_a_snapshot_of_another_kind_has_no_text() -> None:
    lanes = [LaneView("main", 1, 1, b'{"kind":"step","text":7}')]
    assert shown(StreamView(2, 1, False, lanes)).stream_data == ""
