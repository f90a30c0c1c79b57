"""Three storages in any trouble: what was acknowledged stays, reads see it, rows are alike."""

from __future__ import annotations

import pytest
from storage_chaos import Chaos
from storage_trio import NAMES

from zmqim.storage.core import StorageCore


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.promise("P4")
@pytest.mark.promise("P6")
@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_the_promises_hold(seed: int) -> None:
    assert Chaos(seed, StorageCore).run() == []


def test_the_schedules_do_real_work() -> None:
    chaoses = [Chaos(seed) for seed in range(6)]
    assert [chaos.run() for chaos in chaoses] == [[]] * 6
    terms = [chaos.trio.group(NAMES[0]).raft.term for chaos in chaoses]
    assert sum(terms) > 20
    assert sum(len(chaos.acknowledged()) for chaos in chaoses) > 200
    assert sum(len(chaos.reads) for chaos in chaoses) > 100
