"""Messages as an application sees them, and the JSON payload that the other SDKs expect."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from zmqim.chat.codes import MessageFlag

TEXT_CONTENT = 1
"""`type` of a text in the JSON payloads of the SDKs."""


class Sent(NamedTuple):
    """The server's word that a message is stored. `message_seq` is 0 for one that never is."""

    message_id: int
    message_seq: int


class Message(msgspec.Struct, frozen=True):
    """A message as its receiver sees it, pushed or from history.

    In a person channel `channel_id` is the other side's uid.
    """

    message_id: int
    message_seq: int
    from_uid: str
    channel_id: str
    channel_type: int
    payload: bytes
    timestamp: int
    """Unix seconds at which the server stored it."""
    client_msg_no: str
    flags: int = 0
    setting: int = 0
    topic: str = ""
    expire: int = 0

    @property
    def text(self) -> str:
        """The text in the SDKs' JSON payload; of any other payload, as much as is UTF-8."""
        text = self.payload.decode("utf-8", "replace")
        try:
            document = json.loads(text)
        except ValueError:
            return text
        if isinstance(document, dict) and isinstance(document.get("content"), str):
            return str(document["content"])
        return text


def text_payload(text: str) -> bytes:
    """`text` as the JSON payload that every SDK shows as a text message."""
    return json.dumps({"type": TEXT_CONTENT, "content": text}, ensure_ascii=False).encode()


def message_of_row(row: Mapping[str, Any]) -> Message:
    """A message of the HTTP API's messagesync answer."""
    header = row.get("header") or {}
    flags = (
        MessageFlag.NO_PERSIST * bool(header.get("no_persist"))
        | MessageFlag.RED_DOT * bool(header.get("red_dot"))
        | MessageFlag.SYNC_ONCE * bool(header.get("sync_once"))
    )
    return Message(
        int(row["message_id"]),
        int(row["message_seq"]),
        row["from_uid"],
        row["channel_id"],
        row["channel_type"],
        b64decode(row["payload"]),
        row["timestamp"],
        row["client_msg_no"],
        flags,
        row.get("setting", 0),
        row.get("topic", ""),
        row.get("expire", 0),
    )
