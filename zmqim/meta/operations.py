"""What can be asked of the meta group: operations, each one log entry, and their results.

All of them are idempotent or compare-and-set, so a repeat does no harm: neither one of the same
proposer whose answer was lost, nor one of a leader that was replaced meanwhile.

The encoding is a disk format: fields are only ever added at the end, tags are never reused.
Everything is a msgpack array `[tag, field, …]` in the order written here.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from zmqim.errors import WireError
from zmqim.meta.record import Genesis
from zmqim.raft.config import GroupConfig


class MetaReason(IntEnum):
    """Why an operation was refused; nothing changed then."""

    NOT_FOUNDED = 1
    """The meta group does not hold the birth record yet."""
    FOUNDED_OTHERWISE = 2
    """It holds that of another birth."""
    UNKNOWN_NAME = 3
    """No storage of that name belongs to the cluster."""
    NAME_TAKEN = 4
    """Another disk is registered under that name and is not known to be down."""
    RETIRED = 5
    """That disk was replaced: it never comes back."""
    NOT_REGISTERED = 6
    """That disk is not registered."""
    STALE_INCARNATION = 7
    """That incarnation, or a later one, was granted before."""
    UNKNOWN_GROUP = 8
    """There is no group of that number and history."""
    UNKNOWN_REPLICA = 9
    """The configuration names a replica id that was never given out."""
    NOT_REPLACING = 10
    """That disk replaces no other."""
    NOT_DONE = 11
    """Some group still lacks the new replica or has the old one."""
    BAD_RING = 12
    """No ring document, or not one of this cluster."""
    BROKEN_CHAIN = 13
    """The ring does not follow the present one."""
    OTHER_NAME = 14
    """That disk is registered under another name."""


class _Value(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Common shape of everything here: an immutable msgpack array with an integer tag."""


class FoundingNode(msgspec.Struct, array_like=True, frozen=True):
    """A storage that was there at birth."""

    name: str
    node_uuid: bytes
    zone: str
    weight: int


class Found(_Value, tag=1, frozen=True):
    """The birth record becomes the first content of the meta group. `ring` is the document.

    `genesis` is by partition, the meta group behind the last one. Applied once; the same again is
    accepted without a change.
    """

    cluster_id: bytes
    nodes: tuple[FoundingNode, ...]
    ring: bytes
    genesis: tuple[Genesis, ...]
    feature_level: int = 1


class RegisterNode(_Value, tag=2, frozen=True):
    """The disk `node_uuid` takes the name `name`.

    Under a name that another disk has this opens a replacement, and that disk is GONE for good; but
    only if `former` names that disk, as one that the proposer knows to be down, and it was granted
    nothing above `former_incarnation` since.
    """

    name: str
    node_uuid: bytes
    zone: str
    weight: int
    former: bytes = b""
    former_incarnation: int = 0


class BootGrant(_Value, tag=3, frozen=True):
    """The registered disk begins the life `incarnation`, which must be above the granted one.

    `start` is drawn at each start: the same incarnation with the same `start` is a repeat, with
    another one a copy of the folder.
    """

    node_uuid: bytes
    incarnation: int
    start: bytes


class AllocateReplica(_Value, tag=4, frozen=True):
    """A replica id for a new replica of `partition` on `node_uuid`. Applied: `Allocated`.

    Until that replica was in the group's configuration and left it again, the same id is given.
    """

    partition: int
    node_uuid: bytes


class PartitionMoved(_Value, tag=5, frozen=True):
    """A group's leader reports the committed configuration `conf_id`; an older one is no news."""

    partition: int
    group_uuid: bytes
    conf_id: int
    term: int
    config: GroupConfig


class ReplacementDone(_Value, tag=6, frozen=True):
    """Every group has the replicas of `node_uuid` that it should have, and none of its former."""

    node_uuid: bytes


class PublishRing(_Value, tag=7, frozen=True):
    """A new target placement. Its version is one above that of the ring with hash `previous`."""

    document: bytes
    previous: bytes


class SetFeatureLevel(_Value, tag=8, frozen=True):
    """From here on all nodes know the formats of `level`; it never sinks."""

    level: int


MetaOperation = (
    Found
    | RegisterNode
    | BootGrant
    | AllocateReplica
    | PartitionMoved
    | ReplacementDone
    | PublishRing
    | SetFeatureLevel
)


class Accepted(_Value, tag=1, frozen=True):
    """It holds now. `changed` is false if it held before."""

    changed: bool


class Refused(_Value, tag=2, frozen=True):
    """A definite refusal: nothing changed. `reason` is a `MetaReason`."""

    reason: int
    text: str


class Allocated(_Value, tag=3, frozen=True):
    """The replica id."""

    replica: int


MetaResult = Accepted | Refused | Allocated

encode = msgspec.msgpack.Encoder().encode
_operation: msgspec.msgpack.Decoder[MetaOperation] = msgspec.msgpack.Decoder(MetaOperation)
_result: msgspec.msgpack.Decoder[MetaResult] = msgspec.msgpack.Decoder(MetaResult)


def decode_operation(body: bytes) -> MetaOperation:
    """The operation in `body`; `WireError` if it is none."""
    try:
        return _operation.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"not an operation of the meta group: {error}") from None


def decode_result(body: bytes) -> MetaResult:
    """The result in `body`; `WireError` if it is none."""
    try:
        return _result.decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise WireError(f"not a result of the meta group: {error}") from None
