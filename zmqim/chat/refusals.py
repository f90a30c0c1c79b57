"""What a reason code means, as a sentence: the same words over HTTP and over JSON-RPC."""

from __future__ import annotations

from typing import Final

from zmqim.chat.codes import Reason
from zmqim.limits import PAYLOAD_BYTES_MAX

SENTENCES: Final[dict[int, str]] = {
    Reason.AUTH_FAILED: "the token is not the one that is stored for this user and device flag",
    Reason.NOT_SUBSCRIBER: "the sender is not a member of the channel",
    Reason.IN_BLACKLIST: "the sender is on the blacklist",
    Reason.CHANNEL_NOT_FOUND: "the channel does not exist",
    Reason.PAYLOAD_DECODE_ERROR: "the payload cannot be read, or is above "
    f"{PAYLOAD_BYTES_MAX} bytes",
    Reason.NOT_ALLOWED: "the sender may not write to this channel",
    Reason.NOT_IN_WHITELIST: "the channel has a whitelist and the sender is not on it",
    Reason.SYSTEM_ERROR: "the server could not do it",
    Reason.CHANNEL_ID_ERROR: "the channel id cannot be used",
    Reason.BANNED: "the channel or the user is banned",
    Reason.RATE_LIMITED: "a queue bound was reached; nothing was stored",
    Reason.CHANNEL_TYPE_NOT_SUPPORTED: "this channel type is not served",
    Reason.DISBANDED: "the channel was disbanded, which is for good",
    Reason.SEND_BANNED: "sending is banned here or for this sender",
    Reason.IDEMPOTENCY_CONFLICT: "this client_msg_no was used before with another payload",
    Reason.SEQUENCE_EXHAUSTED: "the channel has no sequence left",
}


def sentence_of(reason: int) -> str:
    """Why something was refused; never empty."""
    return SENTENCES.get(reason, f"refused with reason {int(reason)}")
