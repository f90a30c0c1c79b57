"""A running digest over what applying made, so that replicas can be compared without their rows.

It follows from the entries and the rows before them alone: not from who leads, nor from how many
entries a turn applies. So replicas that applied the same entries have the same digest, and one
that differs goes on to differ: the fold of two digests by the same value is never the same. At
fixed positions of the log the digest is noted, for `zmqim.storage.digests` to compare.
"""

from __future__ import annotations

from typing import Final

from xxhash import xxh3_64_intdigest

from zmqim.limits import DIGEST_NOTES_KEPT

DIGEST_MASK: Final = (1 << 40) - 1
"""A digest has 40 bits, so that folding stays below 2^62: above, each step of the sum would make a
large integer. That two replicas differ unseen has a chance of 2^-40 a fault."""
_ID_FOLD: Final = 24


def fold(digest: int, outcome: bytes) -> int:
    """`digest` with one more outcome, encoded."""
    return _times((digest ^ xxh3_64_intdigest(outcome)) & DIGEST_MASK) & DIGEST_MASK


def fold_message(digest: int, message_id: int, sequence: int) -> int:
    """`digest` with one more message that was stored."""
    mixed = (digest ^ message_id ^ (message_id >> _ID_FOLD)) & DIGEST_MASK
    return (_times(mixed) + sequence) & DIGEST_MASK


def _times(digest: int) -> int:
    """`digest` times an odd number: 2^20 + 2^7 + 1, so that nothing is lost. By shifts, as compiled
    code makes a large integer of each product whose factors may have more than 30 bits."""
    return (digest << 20) + (digest << 7) + digest


class DigestNotes:
    """The digest at the last log indexes that `every` divides."""

    __slots__ = ("at", "every")

    def __init__(self, every: int) -> None:
        self.every = every
        self.at: dict[int, int] = {}
        """Digest by index, rising."""

    def note(self, index: int, digest: int) -> None:
        """Everything up to `index` is applied; what was noted long ago is forgotten."""
        if index:
            self.at[index] = digest
            if len(self.at) > DIGEST_NOTES_KEPT:
                del self.at[next(iter(self.at))]
