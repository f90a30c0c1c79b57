"""The Python SDK: the asyncio shell around `ClientCore`, over TCP with encryption.

One task runs the connection for the life of the client: it opens one, feeds what arrives to the
codec and the core, and opens the next when it ends. Everything happens on the loop's thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle
from random import Random
from secrets import token_bytes, token_hex
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from zmqim.chat.codes import MessageFlag
from zmqim.client import http
from zmqim.client.core import (
    ClientClosed,
    ClientCore,
    Deliver,
    HangUp,
    Online,
    Resolve,
    State,
    Stop,
    Transmit,
)
from zmqim.client.messages import Message, Sent, message_of_row
from zmqim.errors import DeadlinePassed, UsageError, WireError, ZmqimError
from zmqim.limits import CLIENT_OPEN_MS_MAX, CLIENT_OUTBOX_MAX
from zmqim.wkproto.codec import LATEST_VERSION, ClientCodec
from zmqim.wkproto.crypto import KEY_BYTES
from zmqim.wkproto.packets import Setting

READ_BYTES = 1 << 16


def endpoint(address: str) -> tuple[str, int]:
    """Host and port of ``tcp://host:port`` (the scheme may be left out)."""
    url = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        port = url.port
    except ValueError:
        port = None
    if url.scheme not in ("tcp", "wkproto") or not url.hostname or port is None:
        raise UsageError(f"{address!r} is not an address like tcp://127.0.0.1:5100")
    return url.hostname, port


class Client:
    """A user's session with a cluster.

        async with Client("tcp://127.0.0.1:5100", "alice", token) as alice:
            sent = await alice.send("bob", "hello")
            async for message in alice:
                ...

    Several addresses (a list, or between commas) are those of several gateways: at each failure
    the next one is tried. `api`, which may be several likewise, and `api_key` are for `history`.
    """

    def __init__(
        self,
        address: str | Sequence[str],
        uid: str,
        token: str,
        *,
        device_flag: int = 0,
        device_id: str = "",
        api: str | Sequence[str] = "",
        api_key: str = "",
        version: int = LATEST_VERSION,
    ) -> None:
        addresses = http.addresses_of(address)
        if not addresses:
            raise UsageError("a client needs an address")
        self.uid = uid
        self._endpoints = cycle([endpoint(one) for one in addresses])
        self._api = api
        self._api_key = api_key
        self._version = version
        random = Random(token_bytes(16))
        self._core = ClientCore(uid, token, device_flag, device_id or token_hex(16), random)
        self._room = asyncio.Semaphore(CLIENT_OUTBOX_MAX)
        self._answers: dict[int, asyncio.Future[Sent]] = {}
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        """Bounded by the core. None: the client stopped."""
        self._online = asyncio.Event()
        self._error: ZmqimError | None = None
        self._fault = ""
        """Why there is no connection, for people."""
        self._codec: ClientCodec | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    # ---- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self, deadline_seconds: float = 10.0) -> None:
        """Wait until the server accepted the login; afterwards the client reconnects by itself.

        `RefusedByServer` if it refused, `DeadlinePassed` if no server answered in time.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"zmqim client {self.uid}")
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._online.wait()
        except TimeoutError:
            await self.close()
            raise DeadlinePassed(
                f"no login of {self.uid} within {deadline_seconds:g} s: {self._fault}",
                hint="Does the cluster run? `zmqim status` tells.",
            ) from None
        if self._error is not None:
            await self.close()
            raise self._error

    async def close(self) -> None:
        """End the connection. Open `send` calls raise `ClientClosed`, iteration ends."""
        self._core.stop(ClientClosed(f"the client of {self.uid} was closed"))
        self._perform()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    @property
    def is_online(self) -> bool:
        """Whether the server has accepted the present connection."""
        return self._core.state is State.ONLINE

    # ---- messages --------------------------------------------------------------------------------

    async def send(
        self,
        channel_id: str,
        payload: bytes | str,
        channel_type: int = 1,
        *,
        client_msg_no: str = "",
        red_dot: bool = True,
        no_persist: bool = False,
        sync_once: bool = False,
        expire: int = 0,
        topic: str = "",
    ) -> Sent:
        """Send a message; what the server acknowledged, once it did.

        Without a connection it waits for one, and a full outbox waits for room. `RefusedByServer`
        is the server's definite no. After a cancellation the message may still have been stored; to
        ask again, send it with the same `client_msg_no`. Other SDKs expect JSON: `text_payload`.
        """
        flags = (
            MessageFlag.NO_PERSIST * no_persist
            | MessageFlag.RED_DOT * red_dot
            | MessageFlag.SYNC_ONCE * sync_once
        )
        async with self._room:
            if self._error is not None:
                raise self._error
            client_seq = self._core.send(
                self._now(),
                channel_id,
                channel_type,
                payload.encode() if isinstance(payload, str) else payload,
                client_msg_no or token_hex(16),
                flags=flags,
                setting=Setting.TOPIC if topic else 0,
                expire=expire,
                topic=topic,
            )
            answer: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
            self._answers[client_seq] = answer
            try:
                self._perform()
                return await answer
            finally:
                del self._answers[client_seq]
                self._core.withdraw(client_seq)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """The next message, which is acknowledged by this. Ends when the client was closed; raises
        `RefusedByServer` when the server ended the session."""
        message = await self._messages.get()
        if message is None:
            self._messages.put_nowait(None)
            if self._error is None or isinstance(self._error, ClientClosed):
                raise StopAsyncIteration
            raise self._error
        self._core.take(message)
        self._perform()
        return message

    async def history(
        self,
        channel_id: str,
        channel_type: int = 1,
        *,
        start: int = 0,
        end: int = 0,
        limit: int = 50,
        upwards: bool = False,
    ) -> list[Message]:
        """Stored messages, ascending: the newest page, or from sequence `start` (inclusive) towards
        `end` (exclusive), downwards or upwards. Asks the HTTP API."""
        if not self._api:
            raise UsageError("history needs the address of the HTTP API (api=…, api_key=…)")
        question = {
            "login_uid": self.uid,
            "channel_id": channel_id,
            "channel_type": channel_type,
            "start_message_seq": start,
            "end_message_seq": end,
            "limit": limit,
            "pull_mode": int(upwards),
        }
        page = await http.call(self._api, "/channel/messagesync", question, key=self._api_key)
        return [message_of_row(row) for row in page["messages"]]

    # ---- the connection --------------------------------------------------------------------------

    def _now(self) -> int:
        return int(time.monotonic() * 1000)

    async def _run(self) -> None:
        core = self._core
        try:
            for host, port in self._endpoints:
                await asyncio.sleep(max(0, core.retry_at - self._now()) / 1000)
                try:
                    await self._converse(host, port)
                    self._fault = self._fault or "the server closed the connection"
                except (OSError, WireError) as error:
                    self._fault = f"{host}:{port}: {error or type(error).__name__}"
                if core.state is State.STOPPED:
                    return
                core.lost(self._now())
        finally:
            core.stop(ClientClosed(f"the client of {self.uid} ended"))
            self._perform()

    async def _converse(self, host: str, port: int) -> None:
        """One connection, from opening to its end."""
        async with asyncio.timeout(CLIENT_OPEN_MS_MAX / 1000):
            reader, writer = await asyncio.open_connection(host, port)
        codec = ClientCodec(token_bytes(KEY_BYTES), self._version)
        self._codec, self._writer, self._fault = codec, writer, ""
        try:
            self._core.opened(self._now(), int(time.time() * 1000), codec.client_key, self._version)
            self._perform()
            while data := await reader.read(READ_BYTES):
                now = self._now()
                for packet in codec.feed(data):
                    self._core.received(now, packet)
                self._perform()
        finally:
            self._codec = self._writer = None
            writer.close()

    def _perform(self) -> None:
        """Do what the core wants done, and come back when it next needs the time."""
        for effect in self._core.turn():
            match effect:
                case Transmit(packets):
                    if self._writer is not None and self._codec is not None:
                        self._writer.write(self._codec.encode(packets))
                case Resolve(client_seq, answer):
                    self._resolve(client_seq, answer)
                case Deliver(message):
                    self._messages.put_nowait(message)
                case Online():
                    self._online.set()
                case HangUp(why):
                    self._fault = why
                    if self._writer is not None:
                        self._writer.transport.abort()
                case Stop(error):
                    self._stop(error)
        self._arm()

    def _resolve(self, client_seq: int, answer: Sent | ZmqimError) -> None:
        future = self._answers.get(client_seq)
        if future is None or future.done():
            return
        if isinstance(answer, ZmqimError):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _stop(self, error: ZmqimError) -> None:
        self._error = error
        for client_seq in list(self._answers):
            self._resolve(client_seq, error)
        self._messages.put_nowait(None)
        self._online.set()
        if self._writer is not None:
            self._writer.close()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._core.next_wake()
        if at is not None:
            delay = max(0, at - self._now()) / 1000
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._core.wake(self._now())
        self._perform()
