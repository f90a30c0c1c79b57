"""How far the rows of a group are: its row `A`, in memory.

A plain class, because each entry changes it: a struct's fields cost compiled code a look-up each.
"""

from __future__ import annotations

from typing import Final

import msgspec

from zmqim.chat.view import RowView

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[int]).decode
_FIELDS: Final = 7


class Applied:
    """The last applied entry, and the counters that go on from it."""

    __slots__ = ("digest", "hlc", "index", "last_message_id", "notified", "outbox_last", "term")

    def __init__(
        self,
        index: int = 0,
        term: int = 0,
        hlc: int = 0,
        last_message_id: int = 0,
        notified: int = 0,
        outbox_last: int = 0,
        digest: int = 0,
    ) -> None:
        self.index = index
        self.term = term
        self.hlc = hlc
        self.last_message_id = last_message_id
        self.notified = notified
        self.outbox_last = outbox_last
        self.digest = digest
        """Of what applying made (`zmqim.chat.digest`)."""

    def encode(self) -> bytes:
        """The body of the row: a msgpack array of the fields, to which only its end is added."""
        return _encode(
            (
                self.index,
                self.term,
                self.hlc,
                self.last_message_id,
                self.notified,
                self.outbox_last,
                self.digest,
            )
        )


def decode_applied(body: bytes) -> Applied:
    """What `encode` made, here or in a version with more fields, all of them integers.

    Raises `msgspec.DecodeError`.
    """
    return Applied(*_decode(body)[:_FIELDS])


def read_applied(key: bytes, view: RowView) -> Applied:
    """How far the rows of a group are, which stands under `key`."""
    body = view.get(key)
    return Applied() if body is None else decode_applied(body)
