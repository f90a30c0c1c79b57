"""A log that loses a suffix to another leader's entries, and the witness of how far it went."""

from __future__ import annotations

from copy import deepcopy

import pytest
from storage_trio import ONE, THREE, TWO, Trio

from zmqim.chat.codes import ChannelType
from zmqim.chat.operations import AddMembers
from zmqim.storage.effects import WriteJournal
from zmqim.store.memory import MemoryMark


@pytest.mark.promise("P1")
@pytest.mark.promise("P5")
def test_a_log_may_end_lower_than_its_mark_once_its_suffix_was_anothers() -> None:
    """The suffix is of a later term than what takes its place: a NO-OP that nobody got."""
    trio = Trio()
    trio.run(3_000)
    assert trio.leader() == ONE
    trio.cut(ONE)
    trio.put(ONE, AddMembers(ChannelType.GROUP, "x", ["u"]))
    trio.until(lambda: trio.group(TWO).raft.lead is not None)
    trio.cut(TWO)
    trio.run(1_000)
    high = (trio.group(TWO).raft.term, trio.group(TWO).raft.last)
    assert trio.members[TWO].mark.ends[0] == high
    kept = trio.group(ONE).raft.log
    assert (kept.last_term, kept.last) < high
    trio.cut_wires -= {(ONE, THREE), (THREE, ONE)}
    trio.part(ONE, THREE)
    trio.cut_wires -= {(ONE, THREE), (THREE, ONE)}
    trio._join(ONE, THREE)
    trio.until(lambda: trio.group(ONE).raft.serving)
    before = len(trio.members[TWO].turns)
    trio.heal()
    trio.run(4_000)
    lowered = [
        effect.batch.lowered[0]
        for turn in trio.members[TWO].turns[before:]
        for effect in turn
        if isinstance(effect, WriteJournal) and 0 in effect.batch.lowered
    ]
    assert lowered
    assert lowered[0] < high
    assert len(trio.digests()) == 1


@pytest.mark.promise("P8")
def test_a_replica_that_forgot_what_it_acknowledged_is_rebuilt() -> None:
    """Its folder was set back to an older copy, journal and rows and mark together."""
    trio = Trio()
    trio.run(3_000)
    assert trio.leader() == ONE
    copy = deepcopy((trio.members[THREE].journal, trio.members[THREE].rows))
    for name in ("x", "y", "z"):
        trio.put(ONE, AddMembers(ChannelType.GROUP, name, ["u"]))
        trio.run(500)
    kept = trio.group(ONE).raft.last
    trio.crash(THREE)
    trio.members[THREE].journal, trio.members[THREE].rows = copy
    trio.members[THREE].mark = MemoryMark()
    trio.boot(THREE)
    assert trio.group(THREE).raft.last < kept
    trio.run(4_000)
    assert trio.members[THREE].core.counters["digest_mismatches"] == 1
    assert not trio.group(THREE).raft.is_damaged
    assert trio.group(THREE).raft.last == trio.group(ONE).raft.last
    assert len(trio.digests()) == 1
