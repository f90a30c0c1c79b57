"""The next step that brings one group to the voters that it should have. A pure function.

In this order, one step at a time (docs/REPLICATION.md 7):

1. a learner that is not wanted goes;
2. a learner that has nearly everything becomes a voter;
3. a wanted storage without a replica gets a learner, under a fresh replica id;
4. the voter of a disk whose name another disk has now goes: on one name the dead replica is
   removed first, and only when the disk that follows it is there;
5. a voter that the ring no longer wants goes, when all that it wants are voters.

No step is taken after which the voters would have no live majority. A damaged replica takes no
step: its leader gives it the rows again, and until then it does not count as live.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from zmqim.bus.replication import MemberReport
from zmqim.limits import LEARNER_LAG_ENTRIES_MAX
from zmqim.raft.config import GroupConfig, Place, Step, StepKind, stepped


class Observed(NamedTuple):
    """A group as its leader reported it: the committed configuration and its members."""

    conf_id: int
    config: GroupConfig
    members: Mapping[int, MemberReport]

    def lives(self, replica: int) -> bool:
        """Is that replica heard and whole?"""
        member = self.members.get(replica)
        return member is not None and member.live


class Wish(NamedTuple):
    """What is to be done: a step, or (`step` None) a replica id for `name` first.

    `feeds` is the disk that receives a snapshot through it, or will soon: it needs a slot.
    """

    step: Step | None
    name: str
    feeds: bytes | None


class Wait(NamedTuple):
    """Nothing can be done for now; why, in words."""

    sentence: str


def next_wish(
    observed: Observed,
    wanted: Mapping[str, bytes],
    allocated: Mapping[bytes, int],
    live: Collection[bytes],
) -> Wish | Wait | None:
    """What brings the group nearer to `wanted` (name → disk); None if nothing is missing.

    `allocated` are replica ids given out for this group by disk, `live` the disks that gossip
    holds for alive.
    """
    config = observed.config
    learning = _learner_wish(observed, wanted)
    if learning is not None:
        return learning
    names = {place.name for place in config.voters}
    missing = [name for name in wanted if name not in names]
    outdated = [
        place
        for place in config.voters
        if place.name in wanted and place.node_uuid != wanted[place.name]
    ]
    absent = [name for name in missing if wanted[name] not in live]
    absent += [place.name for place in outdated if wanted[place.name] not in live]
    for name in missing:
        if wanted[name] in live:
            return _addition(observed, name, wanted[name], allocated)
    for place in outdated:
        if wanted[place.name] in live and _keeps_majority(observed, place):
            return Wish(_step(StepKind.REMOVE, observed, place), place.name, wanted[place.name])
    if absent:
        return Wait(f"waits for {absent[0]} to be there again")
    if outdated:
        return Wait(
            f"the replica on {outdated[0].name} cannot be replaced while so few others are there"
        )
    return _surplus_wish(observed, wanted)


def _learner_wish(observed: Observed, wanted: Mapping[str, bytes]) -> Wish | Wait | None:
    for place in observed.config.learners:
        if wanted.get(place.name) != place.node_uuid:
            return Wish(_step(StepKind.REMOVE, observed, place), place.name, None)
    for place in observed.config.learners:
        member = observed.members.get(place.replica)
        if member is None or not member.live:
            return Wait(f"the new replica on {place.name} is not heard")
        if member.lag >= LEARNER_LAG_ENTRIES_MAX:
            return Wait(f"the new replica on {place.name} is {member.lag} entries behind")
        step = _step(StepKind.PROMOTE, observed, place)
        if not has_live_majority(observed, stepped(observed.config, step)):
            return Wait(f"the new replica on {place.name} waits until more voters are there")
        return Wish(step, place.name, None)
    return None


def _addition(
    observed: Observed, name: str, node_uuid: bytes, allocated: Mapping[bytes, int]
) -> Wish:
    replica = allocated.get(node_uuid)
    if replica is None:
        return Wish(None, name, node_uuid)
    step = _step(StepKind.ADD_LEARNER, observed, Place(replica, name, node_uuid))
    return Wish(step, name, node_uuid)


def _surplus_wish(observed: Observed, wanted: Mapping[str, bytes]) -> Wish | Wait | None:
    surplus = [place for place in observed.config.voters if place.name not in wanted]
    for place in surplus:
        if _keeps_majority(observed, place):
            return Wish(_step(StepKind.REMOVE, observed, place), place.name, None)
    if surplus:
        return Wait(f"the replica on {surplus[0].name} cannot go while so few others are there")
    return None


def has_live_majority(observed: Observed, config: GroupConfig) -> bool:
    """Could the voters of `config` commit, as far as the report tells?"""
    living = sum(observed.lives(place.replica) for place in config.voters)
    return 2 * living > len(config.voters)


def _keeps_majority(observed: Observed, place: Place) -> bool:
    voters = tuple(one for one in observed.config.voters if one.replica != place.replica)
    return bool(voters) and has_live_majority(observed, GroupConfig(voters))


def _step(kind: StepKind, observed: Observed, place: Place) -> Step:
    return Step(kind, observed.conf_id, place)
