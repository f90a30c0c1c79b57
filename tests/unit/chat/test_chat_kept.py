"""What a partition keeps of its rows from one list of conversations to the next: never longer than
it is true, and never more than it may."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest
from chat_partition import Partition

from zmqim.chat.codes import ChannelType, MessageFlag
from zmqim.chat.keys import channel_digest
from zmqim.chat.messages import NEWEST_BYTES_MAX
from zmqim.chat.operations import (
    AddMembers,
    BindCommands,
    DeriveConversations,
    MoveCursor,
    Operation,
    SendMessage,
)
from zmqim.chat.queries import ConversationsQuery, HeadsQuery, HeadWanted
from zmqim.chat.results import ConversationsPage, HeadsPage, HeadView
from zmqim.chat.rows import ConversationRow
from zmqim.chat.view import Row
from zmqim.store.memory import MemoryRowStore

GROUP = int(ChannelType.GROUP)


class CountedStore:
    """Rows in memory, and how often they were read."""

    def __init__(self) -> None:
        self.reads = 0
        self._store = MemoryRowStore()
        self.write = self._store.write

    def get(self, key: bytes) -> bytes | None:
        self.reads += 1
        return self._store.get(key)

    def scan(
        self, start: bytes, stop: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> list[Row]:
        self.reads += 1
        return self._store.scan(start, stop, reverse=reverse, limit=limit)


class Counted:
    """A partition, whose groups "g" and "h" have the member a, over such rows."""

    def __init__(self, heads_max: int = 100) -> None:
        self.store = CountedStore()
        self.partition = Partition(heads_max)
        self.partition.store = cast(MemoryRowStore, self.store)
        self.partition.open()
        self.apply(AddMembers(GROUP, "g", ["a"]), AddMembers(GROUP, "h", ["a"]))

    def apply(self, *operations: Operation) -> None:
        """Each in a turn of its own."""
        for operation in operations:
            self.partition.apply(operation)
            self.partition.turn()

    def rows(self, uid: str = "a", limit: int = 99) -> tuple[ConversationsPage, int]:
        """The rows, and how often the store was read for them."""
        before = self.store.reads
        page = self.partition.query(ConversationsQuery(uid, limit=limit))
        assert isinstance(page, ConversationsPage)
        return page, self.store.reads - before

    def head(self, channel_id: str = "g") -> tuple[HeadView, int]:
        """The head with its newest message, and how often the store was read for it."""
        before = self.store.reads
        page = self.partition.query(HeadsQuery("a", [HeadWanted(GROUP, channel_id, 0, 0, 1)]))
        assert isinstance(page, HeadsPage)
        return page.heads[0], self.store.reads - before


def message(payload: bytes = b"x", number: str = "no", channel_id: str = "g") -> SendMessage:
    return SendMessage(GROUP, channel_id, "a", number, payload, flags=MessageFlag.RED_DOT)


def joined(channel_id: str, *uids: str) -> DeriveConversations:
    return DeriveConversations(GROUP, channel_id, list(uids), True, 1, 0)


# ---- a person's rows -----------------------------------------------------------------------------


def test_rows_are_read_from_the_store_once() -> None:
    counted = Counted()
    counted.apply(joined("g", "a", "b"), joined("h", "a"))
    first, reads = counted.rows()
    assert (len(first.rows), reads) == (2, 1)
    counted.apply(message(), joined("i", "b"))
    again, reads = counted.rows()
    assert (again.rows, reads) == (first.rows, 0)


@pytest.mark.parametrize(
    "change",
    [
        joined("h", "a"),
        DeriveConversations(GROUP, "g", ["a"], False, 9, 3),
        MoveCursor("a", GROUP, "g", read=3),
        MoveCursor("a", GROUP, "news", listed=True),
        BindCommands("a", GROUP, "g", True, 3),
    ],
)
def test_a_change_of_a_row_is_seen_at_once(change: Operation) -> None:
    counted = Counted()
    counted.apply(joined("g", "a"))
    before, _ = counted.rows()
    counted.partition.apply(change)
    in_the_turn, _ = counted.rows()
    counted.partition.turn()
    after, _ = counted.rows()
    counted.partition.open()
    stored, _ = counted.rows()
    assert before.rows != in_the_turn.rows == after.rows == stored.rows


def test_taken_commands_are_seen_at_once() -> None:
    counted = Counted()
    counted.apply(joined("g", "a"))
    counted.rows()
    counted.partition.state.conversations.take_commands("a", GROUP, "g", [1, 2, 4])
    (row,) = counted.rows()[0].rows
    assert (row.read_commands, row.taken) == (2, [(4, 4)])


def test_a_shorter_page_is_none_of_all_rows() -> None:
    counted = Counted()
    counted.apply(*(joined(name, "a") for name in "ghi"))
    counted.rows()
    page, _ = counted.rows(limit=2)
    assert len(page.rows) == 2
    rest = counted.partition.query(ConversationsQuery("a", page.next, 99))
    assert isinstance(rest, ConversationsPage)
    assert page.rows + rest.rows == counted.rows()[0].rows


def test_a_row_that_an_earlier_build_wrote_travels_without_its_last_fields() -> None:
    counted = Counted()
    key = counted.partition.state.keys.conversation("a", channel_digest(GROUP, "g", False))
    counted.store.write([(key, msgspec.msgpack.encode([GROUP, "g", True, 7, 1]))])
    (row,) = counted.rows()[0].rows
    assert row == ConversationRow(GROUP, "g", True, 7, 1)


def test_so_many_rows_are_kept_and_persons_without_any_count_too() -> None:
    counted = Counted(heads_max=4)
    counted.apply(joined("g", "a"))
    assert [counted.rows("a")[1] for _ in range(2)] == [1, 0]
    counted.rows("b")
    assert counted.rows("a")[1] == 0
    counted.rows("c")
    assert counted.rows("a")[1] == 0
    counted.rows("d")
    assert counted.rows("a")[1] == 1


# ---- the last message of a channel ---------------------------------------------------------------


def test_the_last_message_is_read_from_the_store_once() -> None:
    counted = Counted()
    counted.apply(message(b"1", "1"), message(b"2", "2", "h"))
    first, reads = counted.head()
    assert reads == 1
    assert counted.head() == (first, 0)
    counted.head("h")
    assert counted.head() == (first, 0)


def test_a_later_message_is_seen_at_once() -> None:
    counted = Counted()
    counted.apply(message(b"1", "1"))
    counted.head()
    counted.partition.apply(message(b"2", "2"))
    view, _ = counted.head()
    assert [one.sequence for one in view.messages] == [2]
    assert view.last_hlc == view.messages[0].hlc == counted.partition.hlc
    counted.partition.turn()
    assert counted.head()[0] == view
    counted.partition.open()
    assert counted.head()[0] == view


def test_a_long_message_is_not_kept() -> None:
    counted = Counted()
    counted.apply(message(bytes(NEWEST_BYTES_MAX)))
    first, _ = counted.head()
    assert counted.head() == (first, 1)
    counted.apply(message(b"short", "2"))
    counted.head()
    assert counted.head()[1] == 0


def test_with_the_heads_that_are_dropped_their_messages_are() -> None:
    counted = Counted(heads_max=1)
    counted.apply(message(), message(channel_id="h"))
    first, _ = counted.head()
    counted.head("h")
    counted.partition.turn()
    again, reads = counted.head()
    assert again == first
    assert reads > 0
