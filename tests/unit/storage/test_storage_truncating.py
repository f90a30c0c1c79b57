"""A log that loses a suffix to another leader's entries, and the witness of how far it went."""

from __future__ import annotations

import pytest

from storage_trio import ONE, THREE, TWO, Trio
from zmqim.chat.operations import AddMembers, ChannelType
from zmqim.storage.effects import WriteJournal


@pytest.mark.promise("P1")
@pytest.mark.promise("P5")
def test_a_log_may_end_lower_than_its_mark_once_its_suffix_was_anothers() -> None:
    """The suffix has a later term than what takes its place, as a leader's NO-OP that nobody got."""
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
