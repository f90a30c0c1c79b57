"""The gateway's process under clients that misbehave, and when it is told to stop."""

from __future__ import annotations

import json
import secrets
import socket
import struct
import time
import urllib.request

import pytest
from running_cluster import RunningCluster, topology_text, wait_for

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
    Send,
    Sendack,
)

SECONDS = 10


class Tcp:
    """One TCP connection and its codec."""

    def __init__(self, cluster: RunningCluster) -> None:
        self.socket = socket.create_connection(cluster.tcp_address, SECONDS)
        self.codec = ClientCodec(secrets.token_bytes(32), 5)
        self._packets: list[FromServer] = []

    def put(self, *packets: Packet) -> None:
        self.socket.sendall(self.codec.encode(packets))

    def get(self) -> FromServer | None:
        """The next packet; None when the server closed the connection."""
        while not self._packets:
            data = self.socket.recv(65_536)
            if not data:
                return None
            self._packets += self.codec.feed(data)
        return self._packets.pop(0)

    def connect_packet(self, uid: str, token: str) -> Connect:
        device = secrets.token_hex(8)
        return Connect(5, 0, device, uid, token, int(time.time() * 1000), self.codec.client_key)

    def login(self, cluster: RunningCluster, uid: str) -> Tcp:
        token = secrets.token_hex(8)
        body = {"uid": uid, "token": token, "device_flag": 0, "device_level": 0}
        headers = {"token": cluster.api_key, "content-type": "application/json"}
        url = f"{cluster.http}/user/token"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=SECONDS):
            self.put(self.connect_packet(uid, token))
        answer = self.get()
        assert isinstance(answer, Connack)
        assert answer.reason == 1
        return self

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def fresh(name: str) -> str:
    return f"{name}-{secrets.token_hex(4)}"


def test_clients_that_leave_in_the_same_moment_harm_nobody(cluster: RunningCluster) -> None:
    pid = cluster.pid("gateway-1")
    for number in range(150):
        one = Tcp(cluster)
        one.put(one.connect_packet(fresh("eve"), "x"))
        if number % 3 == 0:
            one.put(Ping(), Disconnect(0))
        if number % 2:
            one.reset()
        else:
            one.socket.close()
    ada = Tcp(cluster).login(cluster, fresh("ada"))
    ada.put(Ping())
    assert ada.get() == Pong()
    ada.socket.close()
    assert cluster.pid("gateway-1") == pid


@pytest.mark.promise("P9")
def test_a_client_that_never_reads_holds_nobody_back(cluster: RunningCluster) -> None:
    names = [fresh(name) for name in ("ada", "bob")]
    ada, slow = (Tcp(cluster).login(cluster, name) for name in names)
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    payload = b"x" * 30_000
    for seq in range(1, 201):
        ada.put(Send(seq, f"no-{seq}", names[1], 1, payload))
        answer = ada.get()
        assert isinstance(answer, Sendack)
        assert (answer.reason, answer.message_seq) == (1, seq)
    first = slow.get()
    assert isinstance(first, Recv)
    assert first.message_seq == 1
    ada.socket.close()
    slow.socket.close()


def test_a_stopped_gateway_closes_without_disconnect(new_cluster: object) -> None:
    cluster: RunningCluster = new_cluster().up()  # type: ignore[operator]
    ada = Tcp(cluster).login(cluster, fresh("ada"))
    started = time.monotonic()
    cluster.down()
    assert time.monotonic() - started < SECONDS
    assert ada.get() is None
    ada.socket.close()


def test_metrics_and_status_tell_of_sessions(cluster: RunningCluster) -> None:
    ada = Tcp(cluster).login(cluster, fresh("ada"))

    def metrics() -> str:
        headers = {"token": cluster.api_key}
        request = urllib.request.Request(f"{cluster.http}/metrics", headers=headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            text: bytes = answer.read()
        return text.decode()

    wait_for(lambda: "zmqim_gateway_sessions 1.0" in metrics(), SECONDS, "one session")
    assert "zmqim_gateway_sends_acknowledged_total" in metrics()
    ada.socket.close()
    wait_for(lambda: "zmqim_gateway_sessions 0.0" in metrics(), SECONDS, "no session")


@pytest.mark.promise("P9")
def test_a_flood_of_connects_is_turned_away_at_its_bound(new_cluster: object) -> None:
    text = topology_text(
        extra="[limits]\nconnects_pending_max = 20\nreserve_file_bytes = 1_048_576"
    )
    cluster: RunningCluster = new_cluster(text).up()  # type: ignore[operator]
    ada = Tcp(cluster).login(cluster, fresh("ada"))
    flood = [Tcp(cluster) for _ in range(60)]
    turned_away = 0
    for one in flood:
        one.socket.settimeout(0.2)
        try:
            turned_away += not one.socket.recv(1)
        except TimeoutError:
            continue
        except ConnectionResetError:
            turned_away += 1
    assert turned_away == 40
    ada.put(Ping())
    assert ada.get() == Pong()
    for one in flood:
        one.socket.close()
    bob = Tcp(cluster).login(cluster, fresh("bob"))
    ada.socket.close()
    bob.socket.close()
