"""Which replica of a partition this is: written at birth, before its first vote."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from zmqim.errors import WireError


class ReplicaStatus(IntEnum):
    """What the replica may do."""

    LEARNER = 0
    VOTER = 1
    REMOVED = 2
    DAMAGED = 3


class ReplicaMeta(msgspec.Struct, array_like=True, frozen=True):
    """Row `R` of the journal. A disk format: fields are only ever added at the end.

    `install` names the set of rows that is alive; `replica_id_min` refuses replicas of the past.
    """

    group_uuid: bytes
    replica_id: int
    replica_id_min: int
    install: int
    status: int

    def encode(self) -> bytes:
        """The bytes that the journal stores."""
        return _encode(self)

    @classmethod
    def decode(cls, body: bytes) -> ReplicaMeta:
        """The meta in `body`; `WireError` if it is none."""
        try:
            return _decode(body)
        except (msgspec.DecodeError, ValueError) as error:
            raise WireError(f"not a replica meta: {error}") from None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ReplicaMeta).decode
