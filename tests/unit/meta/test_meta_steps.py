"""The next step of one group: which, in which order, and when none may be taken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zmqim.bus.replication import MemberReport
from zmqim.limits import LEARNER_LAG_ENTRIES_MAX
from zmqim.meta.steps import Observed, Wait, Wish, has_live_majority, next_wish
from zmqim.raft.config import GroupConfig, Place, Step, StepKind, stepped

A, B, C, D = (Place(n, name, name.encode() * 16) for n, name in enumerate("ABCD", 1))
NEW = Place(9, "C", b"n" * 16)
WANTED = {place.name: place.node_uuid for place in (A, B, C)}
REPLACED = {**WANTED, "C": NEW.node_uuid}
LIVE = [place.node_uuid for place in (A, B, C, D, NEW)]
CONF = 7


def seen(
    *voters: Place,
    learners: tuple[Place, ...] = (),
    dead: str = "",
    lag: int = 0,
) -> Observed:
    config = GroupConfig(voters, learners)
    members = {
        place.replica: MemberReport(place.replica, lag, place.name not in dead)
        for place in config.places.values()
    }
    return Observed(CONF, config, members)


def step(kind: StepKind, place: Place) -> Step:
    return Step(kind, CONF, place)


def test_nothing_is_done_for_a_group_that_is_as_it_should_be() -> None:
    assert next_wish(seen(A, B, C), WANTED, {}, LIVE) is None
    assert next_wish(seen(A, B, C, dead="C"), WANTED, {}, LIVE) is None


def test_a_replaced_disk_goes_first_then_the_new_one_gets_an_id_learns_and_votes() -> None:
    allocated = {NEW.node_uuid: 9}
    gone = next_wish(seen(A, B, C, dead="C"), REPLACED, {}, LIVE)
    assert gone == Wish(step(StepKind.REMOVE, C), "C", NEW.node_uuid)
    assert next_wish(seen(A, B), REPLACED, {}, LIVE) == Wish(None, "C", NEW.node_uuid)
    added = next_wish(seen(A, B), REPLACED, allocated, LIVE)
    assert added == Wish(step(StepKind.ADD_LEARNER, NEW), "C", NEW.node_uuid)
    learning = seen(A, B, learners=(NEW,), lag=LEARNER_LAG_ENTRIES_MAX)
    wait = next_wish(learning, REPLACED, allocated, LIVE)
    assert wait == Wait(f"the new replica on C is {LEARNER_LAG_ENTRIES_MAX} entries behind")
    learned = seen(A, B, learners=(NEW,), lag=LEARNER_LAG_ENTRIES_MAX - 1)
    assert next_wish(learned, REPLACED, allocated, LIVE) == Wish(
        step(StepKind.PROMOTE, NEW), "C", None
    )


def test_the_dead_replica_stays_until_the_new_disk_is_there_and_others_can_decide() -> None:
    without_new = [uuid for uuid in LIVE if uuid != NEW.node_uuid]
    for group in (seen(A, B, C, dead="C"), seen(A, B)):
        wait = next_wish(group, REPLACED, {}, without_new)
        assert wait == Wait("waits for C to be there again")
    blocked = next_wish(seen(A, B, C, dead="BC"), REPLACED, {}, LIVE)
    assert isinstance(blocked, Wait)
    assert "replica on C cannot be replaced" in blocked.sentence


def test_a_learner_that_is_not_wanted_goes_before_anything_else() -> None:
    group = seen(A, B, C, learners=(D,))
    assert next_wish(group, WANTED, {}, LIVE) == Wish(step(StepKind.REMOVE, D), "D", None)
    stale = Place(8, "C", b"o" * 16)
    group = seen(A, B, learners=(stale,))
    assert next_wish(group, REPLACED, {}, LIVE) == Wish(step(StepKind.REMOVE, stale), "C", None)


def test_a_learner_that_is_not_heard_or_would_cost_the_majority_does_not_vote() -> None:
    silent = next_wish(seen(A, B, learners=(C,), dead="C"), WANTED, {}, LIVE)
    assert silent == Wait("the new replica on C is not heard")
    group = seen(A, B, D, learners=(C,), dead="BD")
    assert isinstance(next_wish(group, {**WANTED, "D": D.node_uuid}, {}, LIVE), Wait)


def test_a_storage_that_the_ring_no_longer_wants_goes_when_all_wanted_ones_vote() -> None:
    moved = {"A": A.node_uuid, "B": B.node_uuid, "D": D.node_uuid}
    added = next_wish(seen(A, B, C), moved, {D.node_uuid: 4}, LIVE)
    assert added == Wish(step(StepKind.ADD_LEARNER, D), "D", D.node_uuid)
    assert next_wish(seen(A, B, C, D), moved, {}, LIVE) == Wish(step(StepKind.REMOVE, C), "C", None)
    assert isinstance(next_wish(seen(A, B, C, D, dead="AB"), moved, {}, LIVE), Wait)


names = st.sampled_from("ABCDE")
disks = st.sampled_from([b"x" * 16, b"y" * 16])
places = st.lists(st.tuples(names, disks), unique_by=lambda one: one[0], min_size=1, max_size=5)


@given(
    places,
    st.integers(0, 2),
    st.dictionaries(names, disks, min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 3_000), st.booleans()), min_size=5, max_size=5),
    st.sets(names),
)
def test_every_step_fits_its_configuration_and_leaves_a_live_majority(
    found: list[tuple[str, bytes]],
    learners: int,
    names_wanted: dict[str, bytes],
    states: list[tuple[int, bool]],
    away: set[str],
) -> None:
    wanted = {name: name.encode() + disk[1:] for name, disk in names_wanted.items()}
    there = [
        Place(number, name, name.encode() + disk[1:])
        for number, (name, disk) in enumerate(found, 1)
    ]
    learners = min(learners, len(there) - 1)
    config = GroupConfig(tuple(there[learners:]), tuple(there[:learners]))
    members = {
        place.replica: MemberReport(place.replica, lag, live)
        for place, (lag, live) in zip(there, states, strict=False)
    }
    observed = Observed(CONF, config, members)
    live = [disk for name, disk in wanted.items() if name not in away]
    allocated = {disk: 100 + number for number, disk in enumerate(sorted(wanted.values()))}
    wish = next_wish(observed, wanted, allocated, live)
    if not isinstance(wish, Wish):
        if wish is None:
            assert {p.name: p.node_uuid for p in config.voters} == wanted
            assert not config.learners
        return
    assert wish.step is not None
    after = stepped(config, wish.step)
    held = [place.name for place in after.places.values()]
    assert len(held) == len(set(held))
    if after.voters != config.voters:
        assert has_live_majority(observed, after)
