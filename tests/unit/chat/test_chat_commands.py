"""What a person was shown of commands, and what an acknowledgement takes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from chat_partition import Partition
from hypothesis import given
from hypothesis import strategies as st

from zmqim.chat.codes import ChannelType, MessageFlag, Reason
from zmqim.chat.commands import PENDING_MAX
from zmqim.chat.conversations import TAKEN_RUNS_MAX
from zmqim.chat.operations import (
    AcknowledgeCommands,
    AddMembers,
    BindCommands,
    CommandPlace,
    DeriveConversations,
    NoteCommands,
    SendMessage,
)
from zmqim.chat.queries import CommandsQuery, CommandsWanted, ConversationsQuery, PendingQuery
from zmqim.chat.results import CommandsPage, ConversationsPage, PendingCommands, Rejected
from zmqim.limits import COMMANDS_SHOWN_MAX, PULL_BYTES_MAX

GROUP = int(ChannelType.GROUP)


def places(*numbers: int, channel: str = "g") -> list[CommandPlace]:
    return [CommandPlace(GROUP, channel, number) for number in numbers]


def pending(partition: Partition) -> list[tuple[int, str, int]]:
    row = partition.query(PendingQuery("a"))
    assert isinstance(row, PendingCommands)
    return [(one.number, one.channel_id, one.sequence) for one in row.commands]


def read(partition: Partition) -> dict[str, int]:
    page = partition.query(ConversationsQuery("a"))
    assert isinstance(page, ConversationsPage)
    return {row.channel_id: row.read_commands for row in page.rows}


def taken(partition: Partition) -> dict[str, list[tuple[int, int]]]:
    page = partition.query(ConversationsQuery("a"))
    assert isinstance(page, ConversationsPage)
    return {row.channel_id: row.taken for row in page.rows}


def pushed(*numbers: int) -> AcknowledgeCommands:
    return AcknowledgeCommands("a", 0, pushed=places(*numbers))


def test_an_acknowledgement_takes_what_was_shown_up_to_its_number() -> None:
    partition = Partition()
    partition.apply(BindCommands("a", GROUP, "g", True, 4))
    partition.apply(NoteCommands("a", 0, places(5, 6) + places(1, channel="h")))
    partition.apply(AcknowledgeCommands("a", 1))
    assert read(partition) == {"g": 5}
    partition.turn()
    partition.open()
    assert pending(partition) == [(2, "g", 6), (3, "h", 1)]
    partition.apply(AcknowledgeCommands("a", 99))
    assert (read(partition), pending(partition)) == ({"g": 6, "h": 1}, [])
    partition.apply(NoteCommands("a", 3, places(7)))
    assert pending(partition) == [(4, "g", 7)]


def test_what_was_pushed_and_acknowledged_is_taken_and_nothing_below_it() -> None:
    partition = Partition()
    partition.apply(NoteCommands("a", 0, places(1, 2)))
    partition.apply(pushed(2, 4, 5))
    assert (read(partition), taken(partition)) == ({"g": 0}, {"g": [(2, 2), (4, 5)]})
    assert pending(partition) == [(1, "g", 1)], "what was shown and then pushed"
    partition.turn()
    partition.open()
    partition.apply(AcknowledgeCommands("a", 1))
    assert (read(partition), taken(partition)) == ({"g": 2}, {"g": [(4, 5)]})
    partition.apply(pushed(3, 4))
    assert (read(partition), taken(partition)) == ({"g": 5}, {"g": []})
    partition.apply(pushed(4))
    assert (read(partition), taken(partition)) == ({"g": 5}, {"g": []})


@given(st.lists(st.lists(st.integers(1, 30), max_size=6), max_size=12), st.integers(0, 9))
def test_what_is_left_to_take_is_what_a_plain_set_says(calls: list[list[int]], joined: int) -> None:
    partition = Partition()
    partition.apply(DeriveConversations(GROUP, "g", ["a"], True, 9, 0, commands=joined))
    left = set(range(joined + 1, 31))
    for numbers in calls:
        partition.apply(pushed(*numbers))
        left -= set(numbers)
        runs = taken(partition)["g"]
        base = max(joined, read(partition)["g"])
        held = {one for first, last in runs for one in range(first, last + 1)}
        assert set(range(base + 1, 31)) - held == left
        assert not left or base + 1 in left
        assert all(last + 1 < first for (_, last), (first, _) in pairwise(runs))


def test_what_was_pushed_counts_from_where_the_person_joined() -> None:
    partition = Partition()
    partition.apply(DeriveConversations(GROUP, "g", ["a"], True, 9, 20, commands=7))
    partition.apply(pushed(8))
    assert read(partition) == {"g": 8}
    partition.apply(pushed(10))
    partition.apply(DeriveConversations(GROUP, "g", ["a"], False, 10, 21))
    partition.apply(DeriveConversations(GROUP, "g", ["a"], True, 11, 30, commands=12))
    partition.apply(pushed(13))
    assert (read(partition), taken(partition)) == ({"g": 13}, {"g": []})


def test_what_was_taken_behind_gaps_is_bounded() -> None:
    partition = Partition()
    partition.apply(pushed(*range(2, 2 * TAKEN_RUNS_MAX + 6, 2)))
    runs = taken(partition)["g"]
    assert len(runs) == TAKEN_RUNS_MAX
    assert runs[-1] == (2 * TAKEN_RUNS_MAX + 4,) * 2
    assert read(partition) == {"g": 0}


def test_a_forgotten_number_takes_nothing_of_its_channel_along() -> None:
    partition = Partition()
    partition.apply(NoteCommands("a", 0, places(1)))
    for turn in range(2):
        first = turn * COMMANDS_SHOWN_MAX + 1
        partition.apply(NoteCommands("a", first, places(*range(2, COMMANDS_SHOWN_MAX + 2))))
    assert min(pending(partition))[0] == 2, "the first was forgotten, to be shown again"
    partition.apply(AcknowledgeCommands("a", 2 * COMMANDS_SHOWN_MAX + 1))
    assert read(partition) == {"g": 0}


def test_of_two_who_show_at_once_the_second_is_refused() -> None:
    partition = Partition()
    partition.apply(NoteCommands("a", 0, places(1)))
    refused = partition.apply(NoteCommands("a", 0, places(1)))
    assert isinstance(refused, Rejected)
    assert refused.reason == Reason.IDEMPOTENCY_CONFLICT
    assert pending(partition) == [(1, "g", 1)]


def test_what_is_never_acknowledged_is_bounded() -> None:
    partition = Partition()
    for turn in range(3):
        first = turn * COMMANDS_SHOWN_MAX
        numbers = range(first + 1, first + COMMANDS_SHOWN_MAX + 1)
        partition.apply(NoteCommands("a", first, places(*numbers)))
    kept = pending(partition)
    assert len(kept) == PENDING_MAX
    assert kept[-1] == (3 * COMMANDS_SHOWN_MAX, "g", 3 * COMMANDS_SHOWN_MAX)


def test_who_is_bound_wants_what_comes_from_then_on() -> None:
    partition = Partition()
    partition.apply(BindCommands("a", GROUP, "g", True, 7))
    partition.apply(BindCommands("a", GROUP, "g", True, 9))
    assert read(partition) == {"g": 7}
    partition.apply(BindCommands("a", GROUP, "g", False))
    page = partition.query(ConversationsQuery("a"))
    assert isinstance(page, ConversationsPage)
    assert [(row.bound, row.present) for row in page.rows] == [(False, False)]


@pytest.mark.parametrize(
    ("above", "runs", "limit", "sequences"),
    [
        (0, [], 3, [1, 2, 3]),
        (0, [(2, 3), (5, 8)], 3, [1, 4, 9]),
        (0, [(2, 3), (5, 8)], 99, [1, 4, 9, 10]),
        (4, [(2, 3), (5, 8)], 2, [9, 10]),
        (1, [(2, 10)], 5, []),
        (3, [(5, 20)], 5, [4]),
        (10, [], 5, []),
    ],
)
def test_what_is_taken_takes_no_room_among_the_oldest_commands(
    above: int, runs: list[tuple[int, int]], limit: int, sequences: list[int]
) -> None:
    partition = Partition()
    partition.apply(AddMembers(GROUP, "g", ["a", "b"]))
    for number in range(10):
        partition.apply(
            SendMessage(GROUP, "g", "b", str(number), b"do", flags=int(MessageFlag.SYNC_ONCE))
        )
    page = partition.query(CommandsQuery([CommandsWanted(GROUP, "g", above, runs)], limit))
    assert isinstance(page, CommandsPage)
    assert [one.sequence for one in page.channels[0].messages] == sequences
    assert page.channels[0].last_sequence == 10


def test_commands_stop_where_the_answer_is_full() -> None:
    partition = Partition()
    partition.apply(AddMembers(GROUP, "g", ["b"]))
    payload = bytes(60_000)
    count = 2 * (PULL_BYTES_MAX // len(payload)) + 10
    for number in range(count):
        partition.apply(
            SendMessage(GROUP, "g", "b", str(number), payload, flags=int(MessageFlag.SYNC_ONCE))
        )
    runs = [(number, number) for number in range(2, count, 2)]
    page = partition.query(CommandsQuery([CommandsWanted(GROUP, "g", 0, runs)], 99))
    assert isinstance(page, CommandsPage)
    found = [one.sequence for one in page.channels[0].messages]
    assert found == list(range(1, 2 * len(found), 2))
    assert abs(PULL_BYTES_MAX - len(found) * len(payload)) < 2 * len(payload)
