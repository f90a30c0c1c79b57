"""The digest of what applying made: the same for the same log, another one after any difference."""

from __future__ import annotations

import msgspec
import pytest
from chat_partition import Partition
from storage_world import GROUP, message

from zmqim.chat.digest import DIGEST_MASK, DigestNotes, fold, fold_message
from zmqim.chat.operations import AddMembers, Operation
from zmqim.chat.state import ChatState, read_applied
from zmqim.chat.view import RowView
from zmqim.limits import DIGEST_NOTES_KEPT
from zmqim.store.memory import MemoryRowStore

ID = 90_000_000_000 << 22 | 5 << 11 | 1
"""A message id of partition 5, some three years after the first."""
LOG: tuple[Operation, ...] = (
    AddMembers(GROUP, "g", ["alice", "bob"]),
    message("alice", "g", "1"),
    message("alice", "g", "1"),  # The same again.
    message("carol", "g", "1"),  # A stranger.
    message("bob", "g", "1"),
    AddMembers(GROUP, "g", ["carol"]),
    message("carol", "g", "2"),
)


def spoken(log: tuple[Operation, ...] = LOG) -> Partition:
    partition = Partition()
    for operation in log:
        partition.apply(operation)
    return partition


def test_who_tells_nobody_has_the_same_digest_and_notes_the_same_positions() -> None:
    loud = spoken()
    found = set()
    for quiet in (False, True):
        for turn in (1, 3, 100):
            state = ChatState(5, 64, 1, RowView(MemoryRowStore()), 100, 2)
            for index, (hlc, body) in enumerate(loud.log, 1):
                state.apply(index, 1, hlc, body, None, quiet=quiet)
                if index % turn == 0:
                    state.flush()
            state.flush()
            assert state.applied.digest == loud.state.applied.digest
            found.add(tuple(state.notes.at.items()))
    assert len(found) == 1
    assert [index for index, _ in found.pop()] == [2, 4, 6]


@pytest.mark.parametrize("place", range(len(LOG)))
def test_every_outcome_counts(place: int) -> None:
    fewer = LOG[:place] + LOG[place + 1 :]
    assert spoken(fewer).state.applied.digest != spoken().state.applied.digest


def test_another_sequence_counts_and_goes_on_to_count() -> None:
    one, other = spoken(), spoken()
    channel = other.state.heads.find(GROUP, "g")
    channel.head.last_sequence += 1
    for number in range(3, 20):
        for partition in (one, other):
            partition.apply(message("alice", "g", f"{number}"))
        assert one.state.applied.digest != other.state.applied.digest


def test_an_entry_that_makes_nothing_counts_for_nothing() -> None:
    partition = spoken()
    before = partition.state.applied.digest
    partition.state.skip(len(LOG) + 1, 1, partition.hlc + 1)
    assert partition.state.applied.digest == before


def test_the_digest_stands_in_the_rows() -> None:
    partition = spoken()
    digest = partition.state.applied.digest
    partition.turn()
    partition.open()
    assert partition.state.applied.digest == digest != 0


def test_rows_without_a_digest_begin_with_none() -> None:
    partition = spoken()
    partition.turn()
    key = partition.state.keys.applied
    body = partition.store.get(key)
    assert body is not None
    partition.store.write([(key, msgspec.msgpack.encode(msgspec.msgpack.decode(body)[:6]))])
    applied = read_applied(partition.state.keys.applied, RowView(partition.store))
    assert (applied.index, applied.digest) == (len(LOG), 0)


def test_only_the_last_notes_are_kept() -> None:
    notes = DigestNotes(4)
    notes.note(0, 0)
    for place in range(1, DIGEST_NOTES_KEPT + 3):
        notes.note(4 * place, place)
        notes.note(4 * place, place)
    assert list(notes.at.values()) == list(range(3, DIGEST_NOTES_KEPT + 3))


def test_a_fold_keeps_a_difference_and_fits_40_bits() -> None:
    assert fold(1, b"x") != fold(2, b"x") != fold(2, b"y")
    assert DIGEST_MASK == 2**40 - 1
    for digest in (0, DIGEST_MASK):
        folds = {fold(digest, b"%d" % number) for number in range(100)}
        folds |= {fold_message(digest, ID, sequence) for sequence in (1, 2**32)}
        assert len(folds) == 102
        assert all(0 <= one <= DIGEST_MASK for one in folds)


def test_each_bit_of_a_message_counts_and_goes_on_to_count() -> None:
    others = [fold_message(0, ID ^ 1 << bit, 7) for bit in range(63)]
    others += [fold_message(0, ID, 7 ^ 1 << bit) for bit in range(40)]
    digest = fold_message(0, ID, 7)
    for number in range(100):
        assert digest not in others
        digest = fold_message(digest, ID + number, 8 + number)
        others = [fold_message(other, ID + number, 8 + number) for other in others]


def test_two_messages_in_another_order_make_another_digest() -> None:
    """Of one millisecond, of two, and of one channel and of two."""
    for other in (ID + 1, ID + (1 << 22), ID + (5 << 22)):
        for sequences in ((1, 1), (1, 2)):
            one, two = zip((ID, other), sequences, strict=True)
            before = fold_message(fold_message(0, *one), *two)
            assert before != fold_message(fold_message(0, *two), *one)
