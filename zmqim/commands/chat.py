"""Talk to somebody in this terminal: what you type is sent, what comes is shown.

Usage:
  zmqim chat --as UID (--with UID | --group ID) [options]

Options:
  --as UID      Who you are.
  --with UID    Whom you talk to.
  --group ID    The group you talk in; it is created, and you join it.
  --history N   How many earlier messages to show [default: 20].
  --data DIR    The data folder of the cluster [default: zmqim-data].
  --server URL  A cluster elsewhere: tcp://HOST:PORT (several gateways between commas),
  --api URL     its HTTP API, http://HOST:PORT (likewise),
  --key KEY     and its API key.
  -h --help     Show this.

A fresh token is registered for your PC devices. Ctrl-D or Ctrl-C ends it. Text can come from a
pipe: each line is a message, and the command ends when the last one is stored.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import termios
import tty
from collections.abc import Mapping
from typing import Any, TextIO

from zmqim.chat.codes import ChannelType
from zmqim.client import Client, Message, text_payload
from zmqim.commands.access import Access, access_of
from zmqim.commands.line_editor import LineEditor
from zmqim.commands.tail import line_of
from zmqim.errors import EXIT_OK, RefusedByServer, UsageError

DEVICE_FLAG = 2
"""PC."""
STDIN = 0
READ_BYTES = 1 << 16
LINES_MAX = 256
"""Typed but not yet sent. Above: the terminal is not read until some are sent."""


def run(arguments: Mapping[str, Any]) -> int:
    """The command; its exit code."""
    if not arguments["--history"].isdigit():
        raise UsageError(f"--history must be a number, not {arguments['--history']!r}.")
    try:
        asyncio.run(_chat(access_of(arguments), arguments))
    except KeyboardInterrupt:
        print()
    return EXIT_OK


async def _chat(access: Access, arguments: Mapping[str, Any]) -> None:
    uid, group = arguments["--as"], arguments["--group"]
    channel_id = group or arguments["--with"]
    channel_type = ChannelType.GROUP if group else ChannelType.PERSON
    if group:
        body = {"channel_id": group, "channel_type": channel_type, "subscribers": [uid]}
        await access.ask("/channel/subscriber_add", body)
        print(f"{uid} is a member of {group}.", file=sys.stderr)
    async with await access.login(uid, DEVICE_FLAG) as client:
        earlier: list[Message] = []
        if arguments["--history"] != "0":
            limit = int(arguments["--history"])
            earlier = await client.history(channel_id, channel_type, limit=limit)
        for message in earlier:
            print(line_of(message))
        print(f"You are {uid}, talking to {channel_id}. Ctrl-D ends.", file=sys.stderr, flush=True)
        shown = {message.message_id for message in earlier}
        lines = Lines()
        both = (
            asyncio.create_task(_show(client, lines, (channel_type, channel_id), shown)),
            asyncio.create_task(_say(client, lines, channel_id, channel_type)),
        )
        try:
            done, pending = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lines.close()
        for task in pending:
            task.cancel()
        for task in done:
            task.result()


async def _show(client: Client, lines: Lines, here: tuple[int, str], shown: set[int]) -> None:
    """Print what arrives; what belongs elsewhere says where."""
    async for message in client:
        if message.message_id in shown:
            continue
        line = line_of(message)
        if message.channel_type == ChannelType.PERSON and here != (1, message.channel_id):
            line = f"(elsewhere) {line}"
        lines.show(line, sys.stdout)


async def _say(client: Client, lines: Lines, channel_id: str, channel_type: int) -> None:
    """Send each line that is typed, one after the other, until the input ends."""
    while (line := await lines.next()) is not None:
        if not line.strip():
            continue
        try:
            await client.send(channel_id, text_payload(line), channel_type)
        except RefusedByServer as error:
            if not client.is_online:
                raise
            lines.show(f"not sent: {error}", sys.stderr)


class Lines:
    """The lines of standard input, without blocking the loop on a terminal or a pipe.

    On a terminal they are edited here, so that what arrives does not mix with what is typed.
    """

    def __init__(self) -> None:
        self._editor: LineEditor | None = None
        if _is_terminal():
            self._settings = termios.tcgetattr(STDIN)
            tty.setcbreak(STDIN, termios.TCSADRAIN)
            self._editor = LineEditor(_write, lambda: shutil.get_terminal_size().columns)
        self._rest = b""
        self._ended = False
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        try:
            self._loop.add_reader(STDIN, self._read)
            self._watched = True
        except PermissionError:  # a regular file: always readable, and not to be watched
            self._watched = False

    async def next(self) -> str | None:
        """The next line; None at the end."""
        while not self._watched and self._lines.empty() and not self._ended:
            self._read()
        line = await self._lines.get()
        if self._watched and not self._ended and self._lines.qsize() < LINES_MAX:
            self._loop.add_reader(STDIN, self._read)
        return line

    def show(self, line: str, file: TextIO) -> None:
        """Print a line, on a terminal above what is being typed."""
        if self._editor is not None:
            self._editor.show(line)
        else:
            print(line, file=file, flush=True)

    def close(self) -> None:
        """Stop reading; the terminal is again as it was."""
        if self._watched:
            self._loop.remove_reader(STDIN)
        if self._editor is not None:
            termios.tcsetattr(STDIN, termios.TCSADRAIN, self._settings)

    def _read(self) -> None:
        if self._editor is not None:
            self._read_keys(self._editor)
        else:
            self._read_lines()
        if self._watched and (self._ended or self._lines.qsize() >= LINES_MAX):
            self._loop.remove_reader(STDIN)

    def _read_keys(self, editor: LineEditor) -> None:
        try:
            keys = os.read(STDIN, READ_BYTES)
        except OSError:  # the terminal was closed
            keys = b""
        for line in editor.typed(keys) if keys else [None]:
            self._ended = self._ended or line is None
            self._lines.put_nowait(line)

    def _read_lines(self) -> None:
        data = os.read(STDIN, READ_BYTES)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data and self._rest:
            lines.append(self._rest)
        for line in lines:
            self._lines.put_nowait(line.decode("utf-8", "replace"))
        if not data:
            self._ended = True
            self._lines.put_nowait(None)


def _is_terminal() -> bool:
    """Whether a person types here and sees what is shown, on a terminal that can erase."""
    can_erase = os.environ.get("TERM", "dumb") != "dumb"
    return can_erase and sys.stdin.isatty() and sys.stdout.isatty()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
