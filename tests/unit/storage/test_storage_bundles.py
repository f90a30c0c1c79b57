"""Questions to several partitions in one item: each part is answered as if it were asked alone."""

from __future__ import annotations

import pytest
from storage_trio import ONE, THREE, TWO, Trio
from storage_world import ROUTER, StorageWorld, key_of, message, result_of, ring

from zmqim.bus.messages import ItemKind, Outcome, OutcomeCode
from zmqim.chat.codes import ChannelType
from zmqim.chat.encoding import encode
from zmqim.chat.operations import AddMembers
from zmqim.chat.queries import (
    CommandsQuery,
    CommandsWanted,
    HeadsQuery,
    HeadWanted,
    PartQuery,
    Together,
)
from zmqim.chat.results import Answers, CommandsPage, HeadsPage, Sent, decode_result
from zmqim.limits import HEADS_PER_QUERY_MAX, PULL_BYTES_MAX, QUORUM_SILENCE_MS
from zmqim.storage.bundles import Bundle

GROUP = int(ChannelType.GROUP)


def part(partition: int, channel: str = "g") -> PartQuery:
    wanted = HeadWanted(GROUP, channel, 0, messages=1)
    return PartQuery(partition, HeadsQuery("ann", [wanted]))


def lasts(outcome: Outcome) -> list[int | None]:
    """The last sequence that each part tells; None where a part was left out."""
    answers = result_of(outcome)
    assert isinstance(answers, Answers)
    found: list[int | None] = []
    for body in answers.results:
        page = decode_result(body) if body else None
        assert page is None or isinstance(page, HeadsPage)
        found.append(page.heads[0].last_sequence if page else None)
    return found


def together(world: StorageWorld, *parts: PartQuery) -> Outcome:
    asked = encode(Together(list(parts)))
    (outcome,) = world.outcomes(world.item(b"\0x", ItemKind.READ, asked))
    return outcome


def test_a_lone_voter_answers_every_part_at_once_and_leaves_out_what_it_does_not_hold() -> None:
    world = StorageWorld(ring(3, foreign=(2,)))
    channels = {world.partition(key_of(message("a", name, "1"))): name for name in "abcdefgh"}
    one, other = channels[0], channels[1]
    for name in (one, other, other):
        world.add(name, "ann")
    assert isinstance(world.send(message("ann", other, "1"))[0], Sent)
    asked = [part(0, one), part(2), part(1, other), part(9)]
    assert lasts(together(world, *asked)) == [0, None, 1, None]


def test_parts_see_what_was_written_before_them_in_the_same_turn() -> None:
    world = StorageWorld(ring(1))
    world.add("g", "ann")
    send = message("ann", "g", "1")
    items = [
        world.item(key_of(send), ItemKind.WRITE, encode(send)),
        world.item(key_of(send), ItemKind.READ, encode(Together([part(0)]))),
    ]
    told = {outcome.request: outcome for outcome in world.outcomes(*items)}
    assert lasts(told[items[1].request]) == [1]


def test_commands_may_be_asked_together_too() -> None:
    world = StorageWorld(ring(1))
    query = CommandsQuery([CommandsWanted(GROUP, "g", 0)])
    answers = result_of(together(world, PartQuery(0, query)))
    assert isinstance(answers, Answers)
    assert isinstance(decode_result(answers.results[0]), CommandsPage)


@pytest.mark.promise("P9")
@pytest.mark.parametrize("count", [0, HEADS_PER_QUERY_MAX // 2 + 1])
def test_a_part_without_channels_and_too_many_in_all_are_refused(count: int) -> None:
    world = StorageWorld(ring(1))
    query = HeadsQuery("ann", [HeadWanted(GROUP, str(number), 0) for number in range(count)])
    outcome = together(world, PartQuery(0, query), PartQuery(0, query))
    assert outcome.code == OutcomeCode.BAD_REQUEST


def test_answers_that_find_no_room_behind_others_are_left_out_but_never_the_first() -> None:
    world = StorageWorld()
    bundle = Bundle(ROUTER, world.item(b"\0x", ItemKind.READ, b""), 4)
    bundle.put(1, bytes(PULL_BYTES_MAX - 10))
    bundle.put(0, bytes(11))
    bundle.put(3, bytes(10))
    assert not bundle.is_over
    bundle.put(2, b"")
    assert bundle.is_over
    answers = decode_result(bundle.result())
    assert isinstance(answers, Answers)
    assert [len(result) for result in answers.results] == [0, PULL_BYTES_MAX - 10, 0, 10]
    large = Bundle(ROUTER, bundle.item, 1)
    large.put(0, bytes(PULL_BYTES_MAX + 1))
    (result,) = decode_result(large.result()).results  # type: ignore[union-attr]
    assert len(result) == PULL_BYTES_MAX + 1


@pytest.mark.promise("P1")
def test_a_part_waits_until_a_majority_confirmed_its_leader() -> None:
    trio = Trio(2)
    for partition in (0, 1):
        trio.write(AddMembers(GROUP, "g", ["ann"]), partition)
        trio.write(message("ann", "g", "1"), partition)
    item = trio.ask(ONE, Together([part(0), part(1)]))
    trio.turn(ONE)
    assert trio.outcome(item) is None
    assert lasts(trio.answered(item)) == [1, 1]


@pytest.mark.promise("P1")
def test_whoever_lost_a_lead_leaves_its_parts_out() -> None:
    trio = Trio(2)
    for partition in (0, 1):
        trio.write(AddMembers(GROUP, "g", ["ann"]), partition)
    trio.cut(ONE)
    item = trio.ask(ONE, Together([part(0), part(1)]))
    trio.run(QUORUM_SILENCE_MS // 2)
    assert trio.outcome(item) is None
    assert lasts(trio.answered(item)) == [None, None]


@pytest.mark.promise("P1")
def test_a_stopped_leader_answers_no_part_from_what_it_knew() -> None:
    trio = Trio(2)
    for partition in (0, 1):
        trio.write(AddMembers(GROUP, "g", ["ann"]), partition)
    trio.cut(ONE)
    item = trio.ask(ONE, Together([part(0), part(1)]))
    trio.turn(ONE)
    trio[ONE].is_stopped = True
    trio.until(lambda: trio.leader(0) in (TWO, THREE) and trio.leader(1) in (TWO, THREE))
    trio.write(message("ann", "g", "1"), 0)
    trio.heal()
    trio[ONE].is_stopped = False
    assert lasts(trio.answered(item)) == [None, None]
