"""The parts of tools/chaos that need no cluster: damage, cuts, stalls, replicas, the plan."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[2]))
from tools.chaos import damage as damages
from tools.chaos.nemeses import NEMESES
from tools.chaos.network import both_ways, bridge, isolate
from tools.chaos.plan import GUESTS_FROM, channels_of, partition_of_channel
from tools.chaos.replicas import Replica, differences, lags
from tools.chaos.rig import Rig, Strike
from tools.chaos.run import Options, chosen
from tools.chaos.stalls import stalls_of
from tools.chaos.verdict import refused_for_good
from zmqim.chat.applied import Applied
from zmqim.sim.history import Acknowledged, Attempt, History, Refused, Seen, Sending
from zmqim.sim.world import SECOND

HOSTS = ("a", "b", "c")
GROUP = (2, "g", False)
SESSION = ("gateway-1", 0, 1)


@pytest.mark.parametrize("way", damages.WAYS)
def test_damage_is_put_back_bit_by_bit(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "storage-1"
    folder.mkdir()
    node = folder / "NODE"
    node.write_bytes(b"who this is\n")
    inode = node.stat().st_ino
    done = damages.damage(folder, Random(1), "NODE", way)
    assert done is not None
    assert not node.exists() or node.read_bytes() != b"who this is\n"
    assert done.put_back()
    assert (node.read_bytes(), node.stat().st_ino) == (b"who this is\n", inode)
    done.forget()
    assert list(tmp_path.iterdir()) == [folder]


def test_what_was_replaced_meanwhile_is_not_put_back(tmp_path: Path) -> None:
    folder = tmp_path / "storage-1"
    folder.mkdir()
    (folder / "NODE").write_bytes(b"old")
    done = damages.damage(folder, Random(1), "NODE", "flipped")
    assert done is not None
    (folder / "NODE").write_bytes(b"new")
    assert not done.put_back()
    assert (folder / "NODE").read_bytes() == b"new"


@given(content=st.binary(min_size=1, max_size=9_000), seed=st.integers(0, 1_000))
def test_every_way_of_damage_changes_something(content: bytes, seed: int) -> None:
    for way in damages.WAYS.values():
        assert way(content, Random(seed)) != content


def test_cuts_name_who_does_not_hear_whom() -> None:
    assert set(both_ways(["a"], ["b"])) == {("a", "b"), ("b", "a")}
    assert set(isolate("a", HOSTS)) == {("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")}
    assert set(bridge("b", HOSTS)) == {("a", "c"), ("c", "a")}


def test_every_partition_is_written_to_and_every_user_but_the_guests_has_a_chat() -> None:
    channels = channels_of("run", 64, Random(1))
    groups = [one for one in channels if one.channel_type == 2]
    assert sorted(partition_of_channel(2, one.channel_id, 64) for one in groups) == list(range(64))
    chats = [one for one in channels if one.channel_type == 1]
    assert sorted(member for one in chats for member in one.members) == list(range(GUESTS_FROM))


def sent(began: int, answered: int | None) -> Sending:
    answer = None if answered is None else Acknowledged(answered, 1, 1)
    return Sending("ada", GROUP, str(began), b"", attempts=[Attempt(SESSION, began, answer)])


def test_a_stall_lasts_until_the_first_answer_to_what_began_after_the_strike() -> None:
    history = History()
    history.sendings += [
        sent(1 * SECOND, 9 * SECOND),
        sent(3 * SECOND, None),
        sent(4 * SECOND, 6 * SECOND),
        sent(5 * SECOND, 7 * SECOND),
    ]
    found = stalls_of(history, lambda _: 7, [Strike("kill", 2 * SECOND, (7, 8))])
    assert found["kill"] == {
        "strikes": 1, "stalls": 1, "never": 0, "p50": 4.0, "p99": 4.0, "max": 4.0,
    }  # fmt: skip
    later = stalls_of(history, lambda _: 7, [Strike("kill", 10 * SECOND, (7,))])
    assert later["kill"]["stalls"] == 0


def test_who_writes_through_a_gateway_that_was_cut_off_too_says_nothing_of_a_stall() -> None:
    history = History()
    history.sendings += [sent(3 * SECOND, 9 * SECOND), sent(4 * SECOND, 5 * SECOND)]
    history.sendings[0].attempts[0].session = ("gateway-2", 0, 1)
    strikes = [
        Strike("cut", 2 * SECOND, (7,), ("gateway-1",)),
        Strike("cut", 2 * SECOND, (7,), ("gateway-2",)),
        Strike("cut", 2 * SECOND, (7,), ("gateway-1", "gateway-2")),
    ]
    found = stalls_of(history, lambda _: 7, strikes)["cut"]
    assert (found["strikes"], found["stalls"]) == (3, 2)
    assert (found["p50"], found["max"]) == (3.0, 7.0)


def test_a_strike_before_everybody_recovered_is_of_a_kind_of_its_own() -> None:
    rig = Rig(OneLeads(), Random(1), 1.0, lambda _: None)  # type: ignore[arg-type]
    rig.strike("kill", ["s1"])
    rig.recover()
    rig.strike("kill", ["s2"])
    rig.strike("kill", ["s1"])
    rig.strike("kill", ["s1"])
    assert [strike.kind for strike in rig.strikes] == ["kill"] + 2 * ["kill before recovery"]


class OneLeads:
    """A cluster in which s1 leads everything and everybody lives."""

    def voters(self) -> int:
        return 3

    def is_compiled(self) -> bool:
        return False

    def leaders(self) -> dict[int, str]:
        return {0: "s1"}

    def is_whole(self) -> bool:
        return True

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> float:
        assert condition()
        return 0.0


def replica(storage: str, index: int, digest: str, *sequences: int) -> Replica:
    rows = [Seen(GROUP, one, one, "ada", str(one), b"") for one in sequences]
    return Replica(storage, 1, Applied(index), digest, len(rows), {GROUP: rows}, {1: 11})


def test_replicas_that_applied_the_same_must_hold_the_same() -> None:
    same = [replica("s1", 5, "x", 1, 2), replica("s2", 5, "x", 1, 2)]
    assert differences(same) == []
    assert len(differences([same[0], replica("s2", 5, "y", 1, 2)])) == 1


def test_a_replica_that_is_behind_holds_a_part_and_nothing_else() -> None:
    whole = replica("s1", 5, "x", 1, 2)
    assert differences([whole, replica("s2", 4, "y", 1)]) == []
    assert lags([whole, replica("s2", 3, "y", 1)]) == {"s1": 0, "s2": 2}
    assert len(differences([whole, replica("s2", 4, "y", 2)])) == 1


def test_logs_that_differ_below_what_both_applied_are_found() -> None:
    one, other = replica("s1", 5, "x", 1), replica("s2", 5, "x", 1)
    other.log[1] = 12
    assert len(differences([one, other])) == 1


def test_a_refusal_that_no_retry_cures_is_a_violation() -> None:
    history = History()
    for reason in (22, 15, 4):
        attempt = Attempt(SESSION, 1, Refused(2, reason))
        history.sendings.append(Sending("ada", GROUP, str(reason), b"", attempts=[attempt]))
    assert len(refused_for_good(history, full_disk=False)) == 2
    assert len(refused_for_good(history, full_disk=True)) == 1


def test_what_cannot_be_done_is_left_out_with_its_reason() -> None:
    names, left_out = chosen(Options(seed=1), voters=1)
    assert "kill-leader" in names
    assert "--netns" in left_out["cut-isolate"]
    assert "voter" in left_out["lose-disk"]
    assert not set(names) & set(left_out)
    assert set(names) | set(left_out) == set(NEMESES)


def test_nemeses_are_chosen_by_name_or_group() -> None:
    names, _ = chosen(Options(seed=1, nemeses=("pauses", "kill-all")), voters=3)
    assert names == ["kill-all", "pause", "pause-leader"]
