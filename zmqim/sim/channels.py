"""The channels of a run: groups, persons, and in some runs the other ways to find an audience.

Those are a topic, which is heard by its community; an agent channel, by the two that its id names;
a visitor's channel, by its members and him. The other types are heard as groups are.
"""

from __future__ import annotations

from typing import Final

from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import ChannelType
from zmqim.sim.backend import Backend
from zmqim.sim.faults import Plan
from zmqim.sim.history import ChannelKey

BIG_GROUP: Final = 205
"""Members: above LARGE_CHANNEL_UP_COUNT, so that it gets a fan-out list."""
GROUP: Final = int(ChannelType.GROUP)
COMMUNITY: Final = int(ChannelType.COMMUNITY)
TOPIC: Final = int(ChannelType.COMMUNITY_TOPIC)
FICKLE: Final = "fickle"

Channels = dict[ChannelKey, list[str]]
"""Every channel, and who is in it (of those that have clients)."""


def make_channels(plan: Plan, backend: Backend, people: list[str]) -> Channels:
    """Ask the backend for the channels of the plan; says what they will be."""
    channels: Channels = {}
    groups = {f"g{number}": list(people) for number in range(plan.groups)}
    if plan.big_group:
        groups["big"] = people + _absent(plan)
    for group, members in groups.items():
        backend.add_members(GROUP, group, members)
        channels[GROUP, group, False] = people
    if plan.fickle:
        _make_fickle(plan, backend, people, channels)
    for one, other in zip(people, people[1:] + people[:1], strict=True):
        if one != other:
            channels[int(ChannelType.PERSON), person_channel_id(one, other), False] = [one, other]
    if plan.kinds:
        _make_kinds(plan, backend, people, channels)
    return channels


def _absent(plan: Plan) -> list[str]:
    return [f"absent{number}" for number in range(BIG_GROUP if plan.big_group else 0)]


def _make_fickle(plan: Plan, backend: Backend, people: list[str], channels: Channels) -> None:
    """A group or community (large, if there is a large one) in which the last person comes and
    goes."""
    *others, fickle = people
    kind = COMMUNITY if plan.kinds else GROUP
    backend.add_members(kind, FICKLE, [*people, *_absent(plan)])
    backend.fickle = (kind, FICKLE, fickle)
    channels[kind, FICKLE, False] = others
    if plan.kinds:
        channels[TOPIC, f"{FICKLE}@square", False] = others


def _make_kinds(plan: Plan, backend: Backend, people: list[str], channels: Channels) -> None:
    backend.add_members(COMMUNITY, "town", [*people, *_absent(plan)])
    for name in ("town@square", "town@market"):
        channels[TOPIC, name, False] = people
    visitor, *staff = people
    backend.add_members(int(ChannelType.VISITORS), visitor, [*staff, *_absent(plan)])
    channels[int(ChannelType.VISITORS), visitor, False] = people
    channels[int(ChannelType.AGENT), f"{people[0]}@{people[-1]}", False] = [people[0], people[-1]]
