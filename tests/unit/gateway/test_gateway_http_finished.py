"""What was shown once is shown again as it is, to whom it was shown, and as long as it is true."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec
import pytest
from http_rig import HttpRig

from zmqim import limits
from zmqim.chat.channels import person_channel_id
from zmqim.chat.encoding import encode
from zmqim.chat.operations import (
    AddMembers,
    AppendEvent,
    MoveCursor,
    Operation,
    RemoveMembers,
    SendMessage,
)
from zmqim.chat.results import HeadView, MessageRow, StreamView
from zmqim.chat.rows import ConversationRow
from zmqim.gateway.http import conversations, history
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.conversation_shapes import ConversationSyncRequest
from zmqim.gateway.http.directory import ROW_BYTES_MAX, Directory
from zmqim.gateway.http.finished import Finished, Shown, shown, shown_message, with_streams
from zmqim.gateway.http.shapes import MessageSyncRequest

HLC = 1_750_000_000_000 << 16
BOTH = person_channel_id("ann", "bob")
WALL_MS = (HLC >> 16) + 1


def message(
    sequence: int, number: str = "no", payload: bytes = b"x", expire: int = 0
) -> MessageRow:
    send = SendMessage(1, BOTH, "ann", number, payload, expire=expire)
    return MessageRow(sequence, 70 + sequence, HLC, sequence, encode(send))


def packed(*messages: MessageRow, channel_id: str = BOTH) -> tuple[bytes, bytes]:
    """A conversation's row and head, the same for both sides."""
    head = HeadView(len(messages), HLC, 1, 0, list(messages))
    return encode(ConversationRow(1, channel_id, True)), encode(head)


def json_of(one: Shown) -> dict[str, object]:
    answer = msgspec.json.decode(msgspec.json.encode(one.answer(1 << 62)))
    assert isinstance(answer, dict)
    return answer


# ---- what it is known by -------------------------------------------------------------------------


def test_each_side_of_a_person_channel_sees_the_other_though_their_rows_are_the_same() -> None:
    finished = Finished()
    row, head = packed(message(1))
    for uid, other in (("ann", "bob"), ("bob", "ann"), ("ann", "bob")):
        answer = json_of(finished.conversation(uid, row, head, 1, 0, WALL_MS))
        assert answer["channel_id"] == other
        assert cast(list[dict[str, object]], answer["recents"])[0]["channel_id"] == other


def test_a_message_is_shown_under_the_id_by_which_its_reader_knows_the_channel() -> None:
    finished = Finished()
    body = encode(message(1))
    for name in ("bob", "ann", BOTH, "bob"):
        answer = msgspec.json.decode(msgspec.json.encode(finished.message(body, name).answer))
        assert answer["channel_id"] == name


def test_as_many_messages_are_shown_as_are_wanted_now() -> None:
    finished = Finished()
    row, head = packed(message(1), message(2), message(3))
    for count, above, expected in ((1, 0, [3]), (3, 0, [3, 2, 1]), (0, 0, []), (3, 1, [3, 2])):
        answer = json_of(finished.conversation("ann", row, head, count, above, WALL_MS))
        recents = cast(list[dict[str, object]], answer["recents"])
        assert [one["message_seq"] for one in recents] == expected


def test_what_expires_is_shown_until_then_though_it_is_known() -> None:
    finished = Finished()
    row, head = packed(message(1), message(2, expire=10), message(3, expire=5))
    for second, expected in ((0, [3, 2, 1]), (5, [2, 1]), (10, [1]), (4, [3, 2, 1])):
        wall_ms = (HLC >> 16) + second * 1_000
        answer = json_of(finished.conversation("ann", row, head, 3, 0, wall_ms))
        recents = cast(list[dict[str, object]], answer["recents"])
        assert [one["message_seq"] for one in recents] == expected


@pytest.mark.parametrize("text", ['"version":0', '\\"version":0,"', 'x","version":0,"recents":[]'])
def test_no_text_is_taken_for_the_version(text: str) -> None:
    row, head = packed(message(1, number=text, payload=text.encode()), channel_id=f"{text}@bob")
    answer = json_of(shown("bob", row, head, 1, 0))
    assert answer["channel_id"] == text
    assert answer["last_client_msg_no"] == text
    assert answer["version"] == HLC


def test_a_message_with_a_stream_is_shown_with_what_the_stream_is_now() -> None:
    finished = Finished()
    both = [finished.message(encode(message(number)), "bob") for number in (1, 2)]
    for last in (3, 4):
        view = StreamView(2, last, False, [])
        one, other = with_streams(both, [view], "bob", basic=False)
        assert one is both[0].answer
        assert other.event_meta is not None
        assert other.event_meta.last_msg_event_seq == last


# ---- bounds --------------------------------------------------------------------------------------


def test_it_remembers_so_many_and_forgets_what_was_asked_for_longest_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FINISHED_MAX", 4)
    finished = Finished()
    row, head = packed(message(1))
    body = encode(message(1))

    def conversation(uid: str) -> Shown:
        return finished.conversation(uid, row, head, 1, 0, WALL_MS)

    one, two = conversation("1"), conversation("2")
    first, second = finished.message(body, "1"), finished.message(body, "2")
    assert conversation("1") is one
    assert finished.message(body, "1") is first
    for other in ("3", "4", "1", "5"):
        conversation(other)
    finished.message(body, "3")
    assert conversation("1") is one
    assert conversation("2") is not two
    assert finished.message(body, "1") is first
    assert finished.message(body, "2") is not second


def test_it_does_not_remember_what_is_long() -> None:
    finished = Finished()
    fits = limits.FINISHED_BYTES_MAX - len(encode(message(1, payload=b"x" * 300))) + 300
    for length in (fits, fits + 1):
        body = encode(message(1, payload=b"x" * length))
        is_kept = finished.message(body, "bob") is finished.message(body, "bob")
        assert is_kept is (length == fits)
        assert finished.message(body, "bob") == shown_message(body, "bob")
    row, head = packed(message(1, payload=b"x" * limits.FINISHED_BYTES_MAX))
    one = finished.conversation("ann", row, head, 1, 0, WALL_MS)
    assert one == finished.conversation("ann", row, head, 1, 0, WALL_MS)
    assert one is not finished.conversation("ann", row, head, 1, 0, WALL_MS)


def test_a_row_is_decoded_once_unless_it_is_long() -> None:
    with HttpRig() as rig:
        directory = Directory(Asking(rig.gateway_port), 64)
        for name in ("g", "g" * ROW_BYTES_MAX):
            rig.port.partition.apply(MoveCursor("ann", 2, name, listed=True))
        first, again = (asyncio.run(directory.rows("ann")).rows for _ in range(2))
        assert first == again
        is_kept = {
            one.row.channel_id: one is other for one, other in zip(first, again, strict=True)
        }
        assert is_kept == {"g": True, "g" * ROW_BYTES_MAX: False}


# ---- changes -------------------------------------------------------------------------------------

STEPS: list[Operation] = [
    SendMessage(1, BOTH, "ann", "1", b"{}", flags=2),
    SendMessage(2, "g", "bob", "2", b"{}", flags=2, setting=2),
    SendMessage(2, "g", "bob", "3", b"{}", flags=2, expire=30),
    AppendEvent(2, "g", "bob", "2", 0, "e1", 1, "main", b'{"kind":"text","delta":"a"}'),
    MoveCursor("ann", 2, "g", read=1),
    AppendEvent(2, "g", "bob", "2", 0, "e2", 1, "main", b'{"kind":"text","delta":"b"}'),
    MoveCursor("bob", 1, BOTH, read=1, marked_count=3),
    SendMessage(1, BOTH, "bob", "4", b"{}", flags=2),
    MoveCursor("ann", 1, BOTH, deleted=2),
    RemoveMembers(2, "g", ["bob"]),
    SendMessage(1, BOTH, "bob", "5", b"{}", flags=2),
]


def test_whoever_asks_again_is_told_what_somebody_is_told_who_never_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After each change, and after time passed."""
    now = [WALL_MS]
    monkeypatch.setattr(conversations, "wall_clock_ms", lambda: now[0])
    monkeypatch.setattr(history, "wall_clock_ms", lambda: now[0])
    with HttpRig() as rig:
        asking = Asking(rig.gateway_port)
        directory = Directory(asking, 64)
        lasting = Finished()

        async def answered(finished: Finished) -> list[bytes]:
            calls = [
                conversations.conversation_sync.fn(request, directory, finished)
                for uid in ("ann", "bob")
                for request in (
                    ConversationSyncRequest(uid, msg_count=1),
                    ConversationSyncRequest(uid, msg_count=5, only_unread=1),
                    ConversationSyncRequest(uid, msg_count=2, page=1, version=1),
                )
            ]
            calls += [
                history.message_sync.fn(page, asking, finished)
                for page in (
                    MessageSyncRequest("bob", 1, login_uid="ann"),
                    MessageSyncRequest("ann", 1, login_uid="bob"),
                    MessageSyncRequest("g", 2, login_uid="bob"),
                )
            ]
            return [msgspec.json.encode(await call) for call in calls]

        def answers(finished: Finished) -> list[bytes]:
            return asyncio.run(answered(finished))

        rig.port.partition.apply(AddMembers(2, "g", ["ann", "bob"]))
        rig.port.settle()
        seen = [answers(lasting)]
        for step in [*STEPS, None]:
            if step is None:
                now[0] += 60_000
            else:
                rig.port.partition.apply(step)
                rig.port.settle()
            first = answers(Finished())
            assert answers(lasting) == first == answers(lasting)
            assert first != seen[-1], step
            seen.append(first)
