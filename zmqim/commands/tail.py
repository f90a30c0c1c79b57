"""Follow what a user receives, until Ctrl-C.

Usage:
  zmqim tail --as UID [options]

Options:
  --as UID      The user, logged in as one more device.
  --count N     End after N messages.
  --json        One JSON object a line: message_id, message_seq, from_uid, channel_id,
                channel_type, timestamp, client_msg_no, text, payload (base64).
  --data DIR    The data folder of the cluster [default: zmqim-data].
  --server URL  A cluster elsewhere: tcp://HOST:PORT (several gateways between commas),
  --api URL     its HTTP API, http://HOST:PORT (likewise),
  --key KEY     and its API key.
  -h --help     Show this.

A fresh token is registered for the user's WEB devices. What came before is in `zmqim chat` and in
the HTTP API's /channel/messagesync.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any

from zmqim.chat.codes import ChannelType
from zmqim.client import Message
from zmqim.commands.access import Access, access_of
from zmqim.errors import EXIT_OK, UsageError

DEVICE_FLAG = 1
"""WEB: not the one of `zmqim chat`, whose token would be replaced."""


def run(arguments: Mapping[str, Any]) -> int:
    """The command; its exit code."""
    limit = arguments["--count"]
    if limit is not None and not limit.isdigit():
        raise UsageError(f"--count must be a number, not {limit!r}.")
    show = line_of_json if arguments["--json"] else line_of
    with suppress(KeyboardInterrupt):
        asyncio.run(_follow(access_of(arguments), arguments["--as"], show, limit))
    return EXIT_OK


async def _follow(
    access: Access, uid: str, show: Callable[[Message], str], limit: str | None
) -> None:
    async with await access.login(uid, DEVICE_FLAG) as client:
        for seen in count(1):
            if limit is not None and seen > int(limit):
                return
            print(show(await anext(client)), flush=True)


def line_of(message: Message) -> str:
    """A message for people. What would steer a terminal (escapes, line ends) is shown as U+FFFD."""
    where = "" if message.channel_type == ChannelType.PERSON else f"[{message.channel_id}] "
    line = f"{where}{message.from_uid}: {message.text}"
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)


def line_of_json(message: Message) -> str:
    """A message for programs."""
    return json.dumps(
        {
            "message_id": message.message_id,
            "message_seq": message.message_seq,
            "from_uid": message.from_uid,
            "channel_id": message.channel_id,
            "channel_type": message.channel_type,
            "timestamp": message.timestamp,
            "client_msg_no": message.client_msg_no,
            "text": message.text,
            "payload": b64encode(message.payload).decode(),
        },
        ensure_ascii=False,
    )
