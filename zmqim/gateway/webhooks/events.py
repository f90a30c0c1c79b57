"""What an application is told: the bodies of events, as WuKongIM spells those that it has.

Everything here is pure. docs/WEBHOOKS.md shows an example of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from zmqim.chat.operations import decode_send
from zmqim.chat.results import MessageRow
from zmqim.gateway.http.stored import StoredMessage, stored_message
from zmqim.gateway.plugin import SessionChanged

_encode = msgspec.json.Encoder().encode


class OfflineMessage(StoredMessage, kw_only=True):
    """msg.offline: a message, and who of its recipients has no device online."""

    to_uids: list[str]


class Gap(msgspec.Struct):
    """webhook.gap: entries `from` to `upto` of a partition's log were not looked at.

    Their messages are in the history of their channels still.
    """

    webhook: str
    partition: int
    first: int = msgspec.field(name="from")
    upto: int = 0


def message_of(row: MessageRow) -> StoredMessage:
    """The message as its sender sees it: a person channel is called by the receiver's uid."""
    return stored_message(row, decode_send(row.operation).from_uid)


def stored_body(rows: Sequence[MessageRow]) -> bytes:
    """Of msg.notify."""
    return _encode([message_of(row) for row in rows])


def offline_body(row: MessageRow, uids: Sequence[str]) -> bytes:
    """Of msg.offline."""
    message = message_of(row)
    values = {name: getattr(message, name) for name in message.__struct_fields__}
    return _encode(OfflineMessage(**values, to_uids=list(uids)))


def gap_body(webhook: str, partition: int, first: int, upto: int) -> bytes:
    """Of webhook.gap."""
    return _encode(Gap(webhook, partition, first, upto))


def status_of(change: SessionChanged) -> str:
    """One string of user.onlinestatus. A uid may hold ``-``: the five numbers stand at the end."""
    return (
        f"{change.uid}-{change.device_flag}-{int(change.online)}-{change.session}"
        f"-{change.of_device}-{change.of_uid}"
    )


def statuses_body(statuses: Sequence[str]) -> bytes:
    """Of user.onlinestatus."""
    return _encode(list(statuses))
