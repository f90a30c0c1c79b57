"""How long the log of a partition may get, and what it is never cut of."""

from __future__ import annotations

import pytest
from storage_world import (
    StorageWorld,
    message,
    notices_in,
    ring,
)

from zmqim.bus.messages import (
    NoticeAck,
)
from zmqim.chat.operations import (
    Sent,
)
from zmqim.store.interface import Extent


def test_the_log_is_cut_only_behind_what_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.storage.group.JOURNAL_ENTRIES_KEPT", 10)
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    for n in range(40):
        world.send(message("alice", "g", str(n)))
    group = world.core.groups[0]
    assert group.raft.extent.first == 1
    world.receive(NoticeAck(0, 1, 30))
    world.turn(5_000)
    for n in range(40, 45):
        world.send(message("alice", "g", str(n)))
    assert group.raft.extent.first == 31
    assert world.journal.load()[0].extent == Extent(*group.raft.extent)
    world.restart()
    assert notices_in(world.sent)[0].index == 31
    again = world.send(message("alice", "g", "0"))[0]
    assert isinstance(again, Sent)
    assert (again.sequence, again.duplicate) == (1, True)


def test_an_idle_log_that_was_cut_away_whole_opens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.storage.group.JOURNAL_ENTRIES_KEPT", 0)
    world = StorageWorld(ring(1))
    for _ in range(3):
        world.add("g", "alice")
        world.receive(NoticeAck(0, 1, 99))
        world.turn()
    assert world.core.groups[0].raft.extent.first > 2
    before = world.core.groups[0].raft.log.hlc
    world.restart()
    assert world.core.groups[0].raft.log.hlc > before
    assert isinstance(world.send(message("alice", "g", "1"))[0], Sent)
