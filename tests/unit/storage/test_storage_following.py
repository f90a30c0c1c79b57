"""Pages of the log for whoever follows it from outside, and what the log is kept for."""

from __future__ import annotations

import pytest
from storage_trio import NAMES, ONE, THREE, TWO, Trio
from storage_world import ROUTER, StorageWorld, ack_of, message, ring, user_key

from zmqim.bus.messages import OutcomeCode
from zmqim.chat.encoding import encode
from zmqim.chat.operations import Follow, FollowerMoved, Unfollow, decode_send
from zmqim.chat.queries import FollowQuery
from zmqim.chat.results import Done, FollowedPage, decode_result
from zmqim.limits import FOLLOWER_NAME_BYTES_MAX
from zmqim.storage.pushing import BOOK_MS
from zmqim.storage.sizes import Sizes

KEY = user_key("alice")


def _world(entries_kept: int = 10) -> StorageWorld:
    world = StorageWorld(ring(1), sizes=Sizes(entries_kept=entries_kept, rows_wait_ms=0))
    world.add("g", "alice")
    return world


def _page(world: StorageWorld, after: int = -1, limit: int = 100) -> FollowedPage:
    world.turn()
    page = world.query(KEY, FollowQuery("v", after, limit))
    assert isinstance(page, FollowedPage)
    return page


def _numbers(page: FollowedPage) -> list[str]:
    return [decode_send(row.operation).client_msg_no for row in page.messages]


def test_a_follower_gets_each_stored_message_once_in_the_order_of_the_log() -> None:
    world = _world()
    world.send(message("alice", "g", "before"))
    assert isinstance(world.write(KEY, Follow("v")), Done)
    for number in ("1", "2", "1", "3"):
        world.send(message("alice", "g", number))
    world.send(message("stranger", "g", "refused"))
    world.add("g", "bob")
    world.send(message("bob", "g", "4"))
    page = _page(world, limit=2)
    assert (_numbers(page), page.more) == (["1", "2"], True)
    rest = _page(world, page.upto)
    assert (_numbers(rest), rest.more) == (["3", "4"], False)
    assert [row.sequence for row in (*page.messages, *rest.messages)] == [2, 3, 4, 5]
    assert _page(world, rest.upto) == FollowedPage(page.position, rest.upto)


def test_who_does_not_follow_is_told_so() -> None:
    world = _world()
    world.send(message("alice", "g", "1"))
    assert _page(world) == FollowedPage(-1)


@pytest.mark.parametrize("name", ["", "n" * (FOLLOWER_NAME_BYTES_MAX + 1)])
def test_a_name_without_measure_is_refused_before_it_is_logged(name: str) -> None:
    world = _world()
    last = world.core.groups[0].raft.last
    for change in (Follow(name), FollowerMoved(name, 1), Unfollow(name)):
        outcome = world.outcomes(world.item(KEY, 1, encode(change)))[0]
        assert outcome.code == OutcomeCode.BAD_REQUEST
    assert world.core.groups[0].raft.last == last


def test_the_log_is_cut_only_behind_the_lowest_follower() -> None:
    world = _world()
    world.write(KEY, Follow("v"))
    world.write(KEY, Follow("w"))
    began = world.core.groups[0].state.followers.lowest
    for number in range(40):
        world.send(message("alice", "g", str(number)))
    world.receive(ack_of(0, 1, 99))
    world.turn(BOOK_MS)
    group = world.core.groups[0]
    world.turn()
    assert began is not None
    assert group.raft.log.extent.first <= began + 1
    world.restart()
    assert len(_page(world).messages) == 40
    moved = began + 21
    for name in ("v", "w"):
        world.write(KEY, FollowerMoved(name, moved))
    world.turn()
    assert world.core.groups[0].raft.log.extent.first == moved + 1
    for name in ("v", "w"):
        world.write(KEY, Unfollow(name))
    for number in range(40, 70):
        world.send(message("alice", "g", str(number)))
    world.receive(ack_of(0, 1, 999))
    for _ in range(2):
        world.turn(BOOK_MS)
    assert world.core.groups[0].raft.log.extent.first > moved + 1


def test_what_another_holder_of_the_name_told_is_left_out_and_not_missing() -> None:
    """As when two gateways follow for one webhook: the slower one asks from where it was."""
    world = _world()
    world.write(KEY, Follow("v"))
    for number in range(40):
        world.send(message("alice", "g", str(number)))
    began = _page(world).position
    world.write(KEY, FollowerMoved("v", began + 30))
    world.receive(ack_of(0, 1, 99))
    world.turn(BOOK_MS)
    world.turn()
    assert world.core.groups[0].raft.log.extent.first > began + 6
    page = _page(world, after=began + 5)
    assert (page.lost_from, page.lost_upto) == (0, 0)
    assert _numbers(page) == [str(number) for number in range(30, 40)]


@pytest.fixture
def small_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.storage.shortening.JOURNAL_BYTES_MAX", 10_000)
    monkeypatch.setattr("zmqim.storage.shortening.FOLLOWED_LOG_BYTES_MAX", 20_000)
    monkeypatch.setattr("zmqim.storage.log_size.STRETCH_BYTES", 1_000)


def _fill(world: StorageWorld, first: int, count: int) -> None:
    for number in range(first, first + count):
        world.send(message("alice", "g", str(number), bytes(1_000)))
        world.receive(ack_of(0, 1, 999))
    world.turn(BOOK_MS)
    world.turn()


def test_above_its_bound_the_log_is_cut_all_the_same_and_the_follower_is_told_what_it_missed(
    small_logs: None,
) -> None:
    world = _world(entries_kept=4_096)
    world.write(KEY, Follow("v"))
    _fill(world, 0, 15)
    group = world.core.groups[0]
    assert 10_000 < group.size.bytes_kept < 20_000
    page = _page(world)
    assert (page.lost_from, page.lost_upto, len(page.messages)) == (0, 0, 15)
    _fill(world, 15, 30)
    assert group.size.bytes_kept <= 21_500
    page = _page(world)
    first = group.raft.log.extent.first
    assert (page.lost_from, page.lost_upto) == (page.position + 1, first - 1)
    assert _numbers(page)[-1] == "44"
    assert _numbers(page) == [str(number) for number in range(45 - len(page.messages), 45)]
    world.write(KEY, FollowerMoved("v", page.upto))
    assert _page(world).lost_upto == 0


def test_a_log_that_nobody_follows_is_cut_first(small_logs: None) -> None:
    world = _world(entries_kept=4_096)
    _fill(world, 0, 30)
    assert world.core.groups[0].size.bytes_kept <= 11_500


# ---- three storages ------------------------------------------------------------------------------


def _acknowledge(trio: Trio, index: int) -> None:
    trio[ONE].core.receive(trio.now, ROUTER, ack_of(0, 1, index))


def _asked(trio: Trio, leader: str, query: FollowQuery) -> FollowedPage:
    outcome = trio.answered(trio.ask(next(n for n in NAMES if n == leader), query))
    page = decode_result(outcome.result)
    assert isinstance(page, FollowedPage)
    return page


@pytest.mark.promise("P1")
def test_every_replica_keeps_the_log_for_a_follower_and_the_next_leader_reads_on() -> None:
    trio = Trio(sizes=Sizes(entries_kept=10, rows_wait_ms=0))
    trio.add("g", "alice")
    trio.write(Follow("v"))
    for number in range(40):
        trio.write(message("alice", "g", str(number)))
    trio.run(100)
    began = trio.group(ONE).state.followers.lowest
    assert began is not None
    _acknowledge(trio, 99)
    trio.run(BOOK_MS)
    trio.write(FollowerMoved("v", began + 10))
    trio.write(message("alice", "g", "40"))
    trio.run(100)
    firsts = [trio.group(name).raft.log.extent.first for name in NAMES]
    assert firsts == [began + 11] * 3
    before = _asked(trio, ONE, FollowQuery("v"))
    assert _numbers(before) == [str(number) for number in range(10, 41)]
    trio.crash(ONE)
    trio.until(lambda: trio.leads(TWO) or trio.leads(THREE))
    trio.run(10)
    leader = trio.leader()
    assert leader is not None
    after = _asked(trio, leader, FollowQuery("v"))
    assert after.messages == before.messages
    assert after.lost_upto == 0
