"""What the log of a storage tells of its replicas."""

from __future__ import annotations

from storage_trio import ONE, THREE, TWO, Trio

from zmqim.storage.happenings import Happening, Happenings


def test_each_change_is_told_once() -> None:
    trio = Trio()
    trio.run(3_000)
    told = Happenings()
    lines = told.look(trio.members[ONE].core)
    assert [line.words for line in lines] == ["holds replicas", "leads"]
    assert told.look(trio.members[ONE].core) == []
    others = {name: Happenings() for name in (TWO, THREE)}
    for name, happenings in others.items():
        happenings.look(trio.members[name].core)
    trio.cut(ONE)
    trio.until(lambda: trio.leads(TWO) or trio.leads(THREE))
    winner = TWO if trio.leads(TWO) else THREE
    lines = others[winner].look(trio.members[winner].core)
    assert [line.words for line in lines] == ["leads"]
    trio.run(5_000)
    assert [line.words for line in told.look(trio.members[ONE].core)] == ["leads no more"]


def test_a_damaged_replica_and_its_recovery_are_told() -> None:
    trio = Trio()
    trio.run(3_000)
    core = trio.members[THREE].core
    told = Happenings()
    told.look(core)
    core.holdings.lose_rows(trio.group(THREE))
    assert told.look(core) == [
        Happening(True, "replicas are damaged and get their leader's rows", "0")
    ]
    trio.until(lambda: _states(trio) == {ONE: "leader", TWO: "replicating", THREE: "damaged"})
    trio.run(3_000)
    assert told.look(core) == [Happening(False, "replicas were rebuilt", "0")]
    assert _states(trio) == {ONE: "leader", TWO: "replicating", THREE: "replicating"}


def _states(trio: Trio) -> dict[str, str]:
    """Of the voters, as their leader tells `zmqim status`."""
    told = trio.members[ONE].core.statuses(trio.now)[0]
    return {voter["name"]: voter["state"] for voter in told["voters"]}
