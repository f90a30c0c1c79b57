"""How long the log of a partition may get, and what it is never cut of."""

from __future__ import annotations

import pytest
from storage_trio import NAMES, ONE, THREE, TWO, Trio
from storage_world import (
    ROUTER,
    StorageWorld,
    ack_of,
    message,
    notices_in,
    ring,
)

from zmqim.chat.results import Sent
from zmqim.storage.pushing import BOOK_MS
from zmqim.storage.sizes import Sizes


def test_the_log_is_cut_only_behind_what_is_acknowledged() -> None:
    world = StorageWorld(ring(1), sizes=Sizes(entries_kept=10, rows_wait_ms=0))
    world.add("g", "alice")
    for n in range(40):
        world.send(message("alice", "g", str(n)))
    group = world.core.groups[0]
    assert group.raft.log.extent.first == 1
    world.receive(ack_of(0, 1, 30))
    world.turn(5_000)
    for n in range(40, 45):
        world.send(message("alice", "g", str(n)))
    assert group.raft.log.extent.first == 31
    assert world.journal.load()[0].extent == group.raft.log.extent
    world.restart()
    assert notices_in(world.sent)[0].index == 31
    again = world.send(message("alice", "g", "0"))[0]
    assert isinstance(again, Sent)
    assert (again.sequence, again.duplicate) == (1, True)


def test_an_idle_log_that_was_cut_away_whole_opens_again() -> None:
    world = StorageWorld(ring(1), sizes=Sizes(entries_kept=0, rows_wait_ms=0))
    for _ in range(3):
        world.add("g", "alice")
        world.receive(ack_of(0, 1, 99))
        world.turn()
    assert world.core.groups[0].raft.log.extent.first > 2
    before = world.core.groups[0].raft.log.hlc
    world.restart()
    assert world.core.groups[0].raft.log.hlc > before
    assert isinstance(world.send(message("alice", "g", "1"))[0], Sent)


# ---- three storages ------------------------------------------------------------------------------


def _acknowledge(trio: Trio, index: int) -> None:
    trio[ONE].core.receive(trio.now, ROUTER, ack_of(0, 1, index))


@pytest.mark.promise("P4")
def test_a_followers_log_is_not_cut_above_what_routers_were_told() -> None:
    trio = Trio(sizes=Sizes(entries_kept=10, rows_wait_ms=0))
    trio.add("g", "alice")
    for n in range(40):
        trio.write(message("alice", "g", str(n)))
    trio.run(100)
    assert [trio.group(name).raft.log.extent.first for name in NAMES] == [1, 1, 1]
    upto = trio.group(ONE).raft.last - 10
    _acknowledge(trio, upto)
    trio.run(BOOK_MS)
    trio.write(message("alice", "g", "40"))
    trio.run(100)
    assert [trio.group(name).raft.log.extent.first for name in NAMES] == [upto + 1] * 3
    trio.crash(ONE)
    trio.until(lambda: trio.leads(TWO))
    trio.run(10)
    assert trio.notices(TWO)[-11:][0] == upto + 1


def test_a_leader_keeps_what_a_linked_follower_lacks_and_not_what_a_lost_one_does() -> None:
    trio = Trio(sizes=Sizes(entries_kept=10, rows_wait_ms=0))
    trio.add("g", "alice")
    trio.hold(THREE, ONE)
    held = trio.group(ONE).raft.last
    for n in range(40):
        trio.write(message("alice", "g", str(n)))
        _acknowledge(trio, 99)
    assert trio.group(ONE).raft.log.extent.first <= held + 1
    trio.part(ONE, THREE)
    trio.write(message("alice", "g", "40"))
    trio.run(1)
    assert trio.group(ONE).raft.log.extent.first > held + 1


def test_a_follower_counts_and_cuts_its_own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.storage.shortening.JOURNAL_BYTES_MAX", 20_000)
    monkeypatch.setattr("zmqim.storage.log_size.STRETCH_BYTES", 1_000)
    trio = Trio()
    trio.add("g", "alice")
    for n in range(60):
        trio.write(message("alice", "g", str(n), bytes(1_000)))
        _acknowledge(trio, 99)
        trio.run(100)
    trio.run(BOOK_MS)
    trio.write(message("alice", "g", "60"))
    trio.until(trio.applied_alike)
    assert all(trio.group(name).size.bytes_kept <= 25_000 for name in NAMES)
    assert len(trio.digests()) == 1


def test_a_follower_knows_what_is_durable_as_soon_as_it_applied() -> None:
    trio = Trio()
    trio.add("g", "alice")
    trio.cut(ONE, (THREE,))
    trio.until(lambda: trio.group(TWO).state.applied.index == trio.group(ONE).raft.last)
    assert trio.group(TWO).durable == trio.group(TWO).raft.applied


def test_what_a_follower_truncates_is_gone_from_its_disk_too() -> None:
    trio = Trio()
    trio.add("g", "alice")
    trio.cut(ONE)
    for n in range(3):
        trio.put(ONE, message("alice", "g", f"lost {n}"))
    trio.turn(ONE)
    common = trio.group(TWO).raft.last
    assert trio[ONE].last() == common + 3
    trio.until(lambda: trio.leads(TWO))
    trio.crash(ONE)
    trio.heal()
    trio.boot(ONE)
    trio.run(100)
    assert trio[ONE].last() == trio[TWO].last() == common + 1
    trio.crash(ONE)
    trio.boot(ONE)
    trio.until(trio.applied_alike)
    assert len(trio.digests()) == 1
