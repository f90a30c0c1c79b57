"""What the stores hold is put together, and refused if it does not fit together."""

from __future__ import annotations

import pytest
from storage_world import (
    WALL_MS,
    StorageWorld,
    key_of,
    message,
    ring,
)

from zmqim.bus.messages import (
    ItemKind,
    Propose,
)
from zmqim.chat.encoding import encode
from zmqim.errors import DamagedData
from zmqim.raft.state import HardState
from zmqim.store.interface import Extent, JournalBatch
from zmqim.store.memory import MemoryJournal


@pytest.mark.promise("P8")
def test_rows_that_are_ahead_of_the_log_are_damage() -> None:
    world = StorageWorld(ring(1))
    world.add("g", "alice")
    world.journal = MemoryJournal()
    with pytest.raises(DamagedData, match="its rows are applied up to 2"):
        world.open()


@pytest.mark.promise("P8")
def test_rows_of_another_log_are_damage() -> None:
    worlds = [StorageWorld(ring(1), wall_ms=WALL_MS + n) for n in (0, 5)]
    for world in worlds:
        world.add("g", "alice")
    worlds[0].rows = worlds[1].rows
    with pytest.raises(DamagedData, match="were not made from entry 2"):
        worlds[0].open()


def _unapplied(world: StorageWorld) -> None:
    """Three entries that are in the journal but not in the rows."""
    world.add("g", "alice")
    for n in range(3):
        one = message("alice", "g", str(n))
        world.receive(Propose([world.item(key_of(one), ItemKind.WRITE, encode(one))]))
    world.perform(world.core.turn(world.now, world.wall_ms)[:1])


@pytest.mark.promise("P8")
@pytest.mark.parametrize("damage", ["changed", "exchanged", "cut"])
def test_entries_that_are_not_what_was_written_are_never_applied(damage: str) -> None:
    world = StorageWorld(ring(1))
    _unapplied(world)
    bodies = world.journal.read(0, 3, 5, 1 << 20)
    if damage == "changed":
        bodies[1] = bodies[1][:-1] + b"?"
    elif damage == "exchanged":
        bodies[:2] = bodies[1::-1]
    else:
        bodies[1] = b"short"
    world.journal.write(JournalBatch({0: bodies}, {0: Extent(1, 5, 0, 0)}))
    with pytest.raises(DamagedData):
        world.open()


@pytest.mark.promise("P8")
@pytest.mark.parametrize("body", [b"short", HardState(0, 1).encode()])
def test_a_hard_state_that_is_not_what_was_written_is_damage(body: bytes) -> None:
    world = StorageWorld(ring(1))
    world.journal.write(JournalBatch(hard_states={0: body}))
    with pytest.raises(DamagedData):
        world.open()
