"""A client of the raw protocol over TCP, for tests: blocking, with a deadline on everything."""

from __future__ import annotations

import secrets
import socket
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from http_calls import Api

from zmqim.wkproto.codec import LATEST_VERSION, ClientCodec
from zmqim.wkproto.crypto import KEY_BYTES
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    FromServer,
    Packet,
    Recv,
    Recvack,
    Send,
    Sendack,
)

DEADLINE_SECONDS = 10.0
APP, WEB = 0, 1
_Kind = TypeVar("_Kind", bound=FromServer)


def fresh(name: str) -> str:
    """A uid or channel id that no other test uses."""
    return f"{name}-{secrets.token_hex(4)}"


def token_for(api: Api, uid: str, flag: int = APP, level: int = 0) -> str:
    """Register and return a login token."""
    token = secrets.token_hex(16)
    api.done("/user/token", uid=uid, token=token, device_flag=flag, device_level=level)
    return token


class RawClient:
    """One TCP connection and its codec."""

    def __init__(self, address: tuple[str, int], version: int = LATEST_VERSION) -> None:
        self.socket = socket.create_connection(address, DEADLINE_SECONDS)
        self.codec = ClientCodec(secrets.token_bytes(KEY_BYTES), version)
        self.version = version
        self.seq = 0
        self._received: list[FromServer] = []

    @classmethod
    def login(
        cls,
        cluster: Any,
        api: Api,
        uid: str,
        *,
        version: int = LATEST_VERSION,
        flag: int = APP,
        level: int = 0,
        device_id: str = "",
    ) -> Self:
        """A connection that is online as `uid`, with a fresh token."""
        token = token_for(api, uid, flag, level)
        client = cls(cluster.tcp_address, version)
        with ExitStack() as stack:
            stack.push(client)
            answer = client.connect(uid, token, flag, device_id)
            assert answer.reason == 1, answer
            stack.pop_all()
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def put(self, *packets: Packet) -> None:
        """Send packets."""
        self.socket.sendall(self.codec.encode(packets))

    def connect(self, uid: str, token: str, flag: int = APP, device_id: str = "") -> Connack:
        """CONNECT and its answer."""
        self.put(self.connect_packet(uid, token, flag, device_id))
        return self.expect(Connack)

    def connect_packet(self, uid: str, token: str, flag: int = APP, device_id: str = "") -> Connect:
        """The CONNECT of this connection."""
        device = device_id or secrets.token_hex(8)
        stamp = int(time.time() * 1000)
        return Connect(self.version, flag, device, uid, token, stamp, self.codec.client_key)

    def send(self, channel_id: str, payload: bytes, channel_type: int = 1, **more: Any) -> Sendack:
        """SEND and its answer; a RECV that comes first is kept."""
        self.seq += 1
        number = more.pop("client_msg_no", "") or secrets.token_hex(16)
        self.put(Send(self.seq, number, channel_id, channel_type, payload, **more))
        return self.expect(Sendack)

    def receive(self, count: int = 1, acknowledge: bool = True) -> list[Recv]:
        """The next `count` messages."""
        messages = [self.expect(Recv) for _ in range(count)]
        if acknowledge:
            self.put(*(Recvack(one.message_id, one.message_seq, one.flags & 7) for one in messages))
        return messages

    def expect(self, kind: type[_Kind], seconds: float = DEADLINE_SECONDS) -> _Kind:
        """The next packet of this kind; others wait their turn. EOFError when closed."""
        deadline = time.monotonic() + seconds
        while True:
            for index, packet in enumerate(self._received):
                if isinstance(packet, kind):
                    del self._received[index]
                    return packet
            left = deadline - time.monotonic()
            assert left > 0, f"no {kind.__name__} within {seconds} s, only {self._received}"
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                continue
            if not data:
                raise EOFError(f"closed, waiting for {kind.__name__}; got {self._received}")
            self._received += self.codec.feed(data)

    def take(self, seconds: float) -> list[FromServer]:
        """All packets that came, waiting so long for the first. EOFError when closed."""
        deadline = time.monotonic() + seconds
        while not self._received and (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                break
            if not data:
                raise EOFError("closed")
            self._received += self.codec.feed(data)
        taken, self._received = self._received, []
        return taken

    def is_closed(self, seconds: float = DEADLINE_SECONDS) -> bool:
        """Whether the server closes the connection without another word."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False
