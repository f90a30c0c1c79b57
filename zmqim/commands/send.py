"""Send one message and print where it was stored.

Usage:
  zmqim send --as UID (--to UID | --group ID) [options] TEXT

Options:
  --as UID      The sender.
  --to UID      The receiver.
  --group ID    The group; the sender must be a member.
  --number NO   The client_msg_no: the same again is answered alike and stored once.
  --raw         Send TEXT as it is, not as the JSON that the SDKs show as a text.
  --json        Print {"message_id", "message_seq", "client_msg_no"}.
  --data DIR    The data folder of the cluster [default: zmqim-data].
  --api URL     The HTTP API of a cluster elsewhere, http://HOST:PORT; several between commas.
  --key KEY     Its API key.
  -h --help     Show this.

It returns when the message is stored. Exit code 8: the server refused it, and says why.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from zmqim.chat.codes import ChannelType
from zmqim.client import text_payload
from zmqim.commands.access import access_of
from zmqim.errors import EXIT_OK


def run(arguments: Mapping[str, Any]) -> int:
    """The command; its exit code."""
    text: str = arguments["TEXT"]
    payload = text.encode() if arguments["--raw"] else text_payload(text)
    body = {
        "from_uid": arguments["--as"],
        "channel_id": arguments["--to"] or arguments["--group"],
        "channel_type": ChannelType.PERSON if arguments["--to"] else ChannelType.GROUP,
        "client_msg_no": arguments["--number"] or token_hex(16),
        "payload": b64encode(payload).decode(),
        "header": {"red_dot": 1},
    }
    answer = asyncio.run(access_of(arguments).ask("/message/send", body))["data"]
    if arguments["--json"]:
        names = ("message_id", "message_seq", "client_msg_no")
        print(json.dumps({name: answer[name] for name in names}))
    else:
        print(f"stored as number {answer['message_seq']}, id {answer['message_id']}")
    return EXIT_OK
