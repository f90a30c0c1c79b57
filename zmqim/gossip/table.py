"""The order of claims about one process, and the merge of member tables that follows from it.

Claims about one `node_uuid` are totally ordered: higher incarnation, then higher refute, then
LEFT > DOWN > SUSPECT > ALIVE, then higher counter; the rest of the fields only makes the order
total. A merged table holds the highest claim of each: so merging is commutative, associative and
idempotent, and it does not matter which way news took or how often it came.
"""

from __future__ import annotations

from collections.abc import Iterable

from zmqim.bus.messages import Member
from zmqim.ids import NodeUuid

Claim = tuple[int, int, int, int, str, int, str, str, str]


def precedence(member: Member) -> Claim:
    """The sort key of a claim about one node_uuid: the higher one holds."""
    return (
        member.incarnation,
        member.refute,
        member.state,
        member.counter,
        member.name,
        member.role,
        member.host,
        member.address,
        member.pub_address,
    )


def merge(*tables: Iterable[Member]) -> dict[NodeUuid, Member]:
    """The highest claim about each process, in the order of the uuids."""
    merged: dict[NodeUuid, Member] = {}
    for table in tables:
        for member in table:
            uuid = NodeUuid(member.node_uuid)
            known = merged.get(uuid)
            if known is None or precedence(member) > precedence(known):
                merged[uuid] = member
    return dict(sorted(merged.items()))
