"""Who holds a replica of a group: the configuration that stands in the group's own log.

Only this decides who votes; the ring merely says where replicas should be (docs/REPLICATION.md 7).
A configuration is named by the index of the entry that brought it, 0 for the one of birth. It holds
from the moment that it is appended, and no longer if it is truncated. One step adds a learner,
makes a learner a voter, or removes one replica, so any two neighbours share a majority.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from zmqim.errors import WireError


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Where a replica lives. A disk format: fields are only ever added at the end.

    `replica` is never given twice; `node_uuid` says whose disk it is, `name` where to send.
    """

    replica: int
    name: str
    node_uuid: bytes


class GroupConfig(msgspec.Struct, array_like=True, frozen=True):
    """The replicas of a group, each list by rising replica id."""

    voters: tuple[Place, ...]
    learners: tuple[Place, ...] = ()

    def encode(self) -> bytes:
        """The bytes that log and rows store."""
        return _encode(self)

    @classmethod
    def decode(cls, body: bytes) -> GroupConfig:
        """The configuration in `body`; `WireError` if it is none."""
        try:
            return _decode(body)
        except (msgspec.DecodeError, ValueError) as error:
            raise WireError(f"not a configuration: {error}") from None

    @property
    def places(self) -> dict[int, Place]:
        """Everyone by replica id."""
        return {place.replica: place for place in (*self.voters, *self.learners)}

    def is_voter(self, replica: int) -> bool:
        """Does that replica count?"""
        return any(place.replica == replica for place in self.voters)


class StepKind(IntEnum):
    """One change of a configuration."""

    ADD_LEARNER = 0
    PROMOTE = 1
    REMOVE = 2


class Step(msgspec.Struct, array_like=True, frozen=True):
    """What is to change, asked of the group's leader.

    `conf_id` is the configuration that the asker knows: with another one nothing is done, so two
    drivers never interleave. `place` is whole for ADD_LEARNER; else its replica id is enough.
    """

    kind: int
    conf_id: int
    place: Place


class StepRefused(Exception):
    """The step does not fit the configuration; the text says why."""


def stepped(config: GroupConfig, step: Step) -> GroupConfig:
    """The configuration after `step`. Raises `StepRefused`."""
    replica = step.place.replica
    known = config.places.get(replica)
    if step.kind == StepKind.ADD_LEARNER:
        if known is not None:
            raise StepRefused(f"replica {replica} is there already")
        if any(place.name == step.place.name for place in config.places.values()):
            raise StepRefused(f"{step.place.name} holds a replica already")
        return GroupConfig(config.voters, _sorted(*config.learners, step.place))
    if known is None:
        raise StepRefused(f"there is no replica {replica}")
    learners = tuple(place for place in config.learners if place.replica != replica)
    voters = tuple(place for place in config.voters if place.replica != replica)
    if step.kind == StepKind.PROMOTE:
        if config.is_voter(replica):
            raise StepRefused(f"replica {replica} votes already")
        return GroupConfig(_sorted(*config.voters, known), learners)
    if not voters:
        raise StepRefused("the last voter stays")
    return GroupConfig(voters, learners)


def _sorted(*places: Place) -> tuple[Place, ...]:
    return tuple(sorted(places, key=lambda place: place.replica))


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(GroupConfig).decode
