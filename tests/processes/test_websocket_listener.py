"""WKProto over WebSocket, with a WebSocket client of another make."""

from __future__ import annotations

import json
import secrets
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from running_cluster import RunningCluster
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from zmqim.wkproto.codec import ClientCodec
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    FromServer,
    Packet,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
)

SECONDS = 10


class WsClient:
    """One WebSocket connection and its codec."""

    def __init__(self, socket: ClientConnection, version: int = 5) -> None:
        self.socket = socket
        self.codec = ClientCodec(secrets.token_bytes(32), version)
        self.version = version

    def put(self, *packets: Packet) -> None:
        """All of them in one message."""
        self.socket.send(self.codec.encode(packets))

    def get(self) -> FromServer:
        """The packet in the next message; there must be exactly one."""
        data = self.socket.recv(SECONDS)
        assert isinstance(data, bytes)
        [packet] = self.codec.feed(data)
        return packet

    def connect_packet(self, uid: str, token: str, level_device: str = "") -> Connect:
        device = level_device or secrets.token_hex(8)
        now = int(time.time() * 1000)
        return Connect(self.version, 1, device, uid, token, now, self.codec.client_key)

    def login(self, uid: str, token: str) -> Connack:
        self.put(self.connect_packet(uid, token))
        answer = self.get()
        assert isinstance(answer, Connack)
        return answer

    def close_code(self) -> int:
        """The code with which the server ends the connection."""
        with pytest.raises(ConnectionClosed) as closed:
            self.socket.recv(SECONDS)
        assert closed.value.rcvd is not None, "no close frame"
        return closed.value.rcvd.code


@contextmanager
def client(cluster: RunningCluster, version: int = 5) -> Iterator[WsClient]:
    with connect(cluster.ws, compression=None, close_timeout=1) as socket:
        yield WsClient(socket, version)


def token_of(cluster: RunningCluster, uid: str, level: int = 0) -> str:
    token = secrets.token_hex(8)
    body = {"uid": uid, "token": token, "device_flag": 1, "device_level": level}
    headers = {"token": cluster.api_key, "content-type": "application/json"}
    url = f"{cluster.http}/user/token"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        assert answer.status == 200
    return token


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
def test_each_packet_out_is_a_message_of_its_own(cluster: RunningCluster, version: int) -> None:
    ada, bob = (f"{name}-{secrets.token_hex(4)}" for name in ("ada", "bob"))
    with client(cluster, version) as one, client(cluster, version) as other:
        assert one.login(ada, token_of(cluster, ada)).reason == 1
        assert other.login(bob, token_of(cluster, bob)).reason == 1
        sends = [Send(seq, f"no-{seq}", bob, 1, b'{"n":%d}' % seq) for seq in range(1, 6)]
        one.put(*sends, Ping())
        got = [one.get() for _ in range(6)]
        assert got.count(Pong()) == 1
        acks = [packet for packet in got if isinstance(packet, Sendack)]
        assert [(ack.reason, ack.client_seq, ack.message_seq) for ack in acks] == [
            (1, seq, seq) for seq in range(1, 6)
        ]
        pushed = [other.get() for _ in range(5)]
        assert [(p.message_seq, p.channel_id) for p in pushed if isinstance(p, Recv)] == [
            (seq, ada) for seq in range(1, 6)
        ]
        other.put(*[Recvack(p.message_id, p.message_seq) for p in pushed if isinstance(p, Recv)])


def test_a_packet_may_come_in_fragments_and_pieces(cluster: RunningCluster) -> None:
    uid = f"ada-{secrets.token_hex(4)}"
    with client(cluster) as one:
        data = one.codec.encode([one.connect_packet(uid, token_of(cluster, uid))])
        one.socket.send([data[:3], data[3:40], data[40:60]])
        one.socket.send(data[60:])
        answer = one.get()
        assert isinstance(answer, Connack)
        assert answer.reason == 1


@pytest.mark.promise("P10")
def test_a_wrong_token_is_told_before_the_connection_closes(cluster: RunningCluster) -> None:
    with client(cluster) as one:
        assert one.login("ada", "wrong").reason == 2
        assert one.close_code() == 1000


def test_a_kick_is_told_before_the_connection_closes(cluster: RunningCluster) -> None:
    uid = f"ada-{secrets.token_hex(4)}"
    token = token_of(cluster, uid, level=1)
    with client(cluster) as one, client(cluster) as other:
        assert one.login(uid, token).reason == 1
        assert other.login(uid, token).reason == 1
        answer = one.get()
        assert isinstance(answer, Disconnect)
        assert answer.reason == 12
        assert one.close_code() == 1000


@pytest.mark.parametrize(
    "message", ["neither this nor that", b"\x00\x01\x02", b"\x30\x01\x00", b"\x10\xff\xff\xff\x7f"]
)
def test_what_is_not_wkproto_closes_with_1000(
    cluster: RunningCluster, message: str | bytes
) -> None:
    with client(cluster) as one:
        one.socket.send(message)
        assert one.close_code() == 1000


def test_another_path_is_not_found(cluster: RunningCluster) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"{cluster.ws}/other"):
        pass
    assert refused.value.response.status_code == 404
    with connect(f"{cluster.ws}/?a=b") as socket:
        socket.close()


def test_a_drained_gateway_invites_its_clients_back(
    new_cluster: object,
) -> None:
    cluster: RunningCluster = new_cluster().up()  # type: ignore[operator]
    uid = f"ada-{secrets.token_hex(4)}"
    with client(cluster) as one:
        assert one.login(uid, token_of(cluster, uid)).reason == 1
        cluster.down()
        assert one.close_code() == 1013
