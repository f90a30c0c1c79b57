"""What a bench run offers: shape, size, schedule. Plain values that travel to the workers as
JSON."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

UID_PREFIX = "bench"


class Shape(StrEnum):
    """Who talks to whom."""

    PERSON = "person"
    """Connections in pairs, each writes to its partner."""
    GROUP = "group"
    """Groups of `group_size` members, all online; `senders` of each write to it."""
    CROWD = "crowd"
    """One group of `group_size` members of whom `connections` are online; one of them writes, and
    each message is timed until the last one has it."""
    IDLE = "idle"
    """Connections that only ping."""


class Plan(Struct, frozen=True):
    """One run. Counts are totals over all workers."""

    shape: Shape
    connections: int
    in_flight: int
    """Unanswered SENDs per sending connection."""
    payload: int
    """Bytes of plain payload."""
    seconds: float
    warmup: float
    rate: float = 0.0
    """Offered SENDs per second; 0: as many as `in_flight` allows (closed loop)."""
    groups: int = 1
    group_size: int = 0
    senders: int = 1
    """Sending members of each group."""
    run: str = ""
    """Tag that makes uids and message numbers of this run its own."""


class Part(Struct, frozen=True):
    """What one worker does: connections `first` to `first + count - 1` of the plan."""

    plan: Plan
    first: int
    count: int
    host: str
    port: int
    tokens: list[str]


def uid_of(plan: Plan, number: int) -> str:
    """The user of connection `number`."""
    return f"{UID_PREFIX}-{plan.run}-{number}"


def group_of(plan: Plan, number: int) -> str:
    """The id of group `number`."""
    return f"{UID_PREFIX}-{plan.run}-g{number}"


def members_of(plan: Plan, group: int) -> list[int]:
    """Connection numbers of a group: consecutive, wrapping around, so that groups overlap
    evenly. Those of a crowd who are not online have the numbers above."""
    if plan.shape is Shape.CROWD:
        return list(range(plan.group_size))
    start = group * plan.group_size
    return [(start + place) % plan.connections for place in range(plan.group_size)]


def targets_of(plan: Plan) -> dict[int, tuple[str, int]]:
    """Every sending connection with its channel."""
    if plan.shape is Shape.PERSON:
        return {number: (uid_of(plan, number ^ 1), 1) for number in range(plan.connections)}
    if plan.shape is Shape.GROUP:
        return {
            number: (group_of(plan, group), 2)
            for group in range(plan.groups)
            for number in members_of(plan, group)[: plan.senders]
        }
    if plan.shape is Shape.CROWD:
        return {0: (group_of(plan, 0), 2)}
    return {}
