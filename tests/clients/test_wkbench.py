"""WuKongIM's load driver as a black box: what wkbench does to a server, without wkbench.

Its Go client is played by hand (`LoadClient`), apart from our own codec: it writes and reads
version 6 whatever CONNACK says, seals each SEND with the key of CONNACK, finds the SENDACK by
(clientSeq, clientMsgNo), where clientSeq is the number of a message in its channel and so comes
again in the next channel, acknowledges what it receives, and pings.
"""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple, Self

import pytest
from http_calls import Api
from raw_client import fresh, token_for
from running_cluster import RunningCluster, topology_text

from zmqim.wkproto.crypto import KeyPair, SessionCipher

DEADLINE_SECONDS = 10.0
CONNECT, CONNACK, SEND, SENDACK, RECV, RECVACK, PING, PONG = range(1, 9)
VERSION = 6
GROUPS, MEMBERS, MESSAGES = 5, 4, 8


class Ack(NamedTuple):
    message_id: int
    message_seq: int
    reason: int


class Received(NamedTuple):
    from_uid: str
    channel_id: str
    client_msg_no: str
    message_id: int
    message_seq: int
    payload: bytes


def text(value: str) -> bytes:
    return struct.pack(">H", len(value.encode())) + value.encode()


def read_text(body: bytes, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from(">H", body, at)
    return body[at + 2 : at + 2 + size].decode(), at + 2 + size


class LoadClient:
    """One TCP session of the driver."""

    def __init__(self, address: str, uid: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), DEADLINE_SECONDS)
        self._stream = self.socket.makefile("rb")
        self.uid = uid
        self.acks: dict[tuple[int, str], Ack] = {}
        self.received: list[Received] = []
        self.pongs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.socket.close()

    def connect(self, token: str) -> int:
        """CONNECT; the reason that CONNACK gives."""
        keys = KeyPair(secrets.token_bytes(32))
        body = bytes((VERSION, 0)) + text(f"device-of-{self.uid}") + text(self.uid) + text(token)
        self.put(CONNECT, body + struct.pack(">q", 1) + text(keys.public_text))
        kind, flags, body = self._frame()
        assert kind == CONNACK
        at = 10 if flags & 1 else 9
        server_key, end = read_text(body, at)
        salt, _ = read_text(body, end)
        if server_key:
            self.cipher: SessionCipher = keys.agree(server_key, salt)
        return body[at - 1]

    def put(self, kind: int, body: bytes) -> None:
        size, length = len(body), b""
        while size:
            size, octet = size >> 7, size & 127
            length += bytes((octet | 128 if size else octet,))
        self.socket.sendall(bytes((kind << 4,)) + length + body)

    def send(self, seq: int, number: str, channel_id: str, kind: int, payload: bytes) -> None:
        """A sealed SEND, without waiting for its SENDACK."""
        sealed = self.cipher.encrypt(payload)
        signed = f"{seq}{number}{channel_id}{kind}".encode() + sealed
        key = self.cipher.msg_key(signed).decode()
        head = struct.pack(">BI", 0, seq) + text(number) + text(channel_id)
        self.put(SEND, head + struct.pack(">BI", kind, 0) + text(key) + sealed)

    def ack_of(self, seq: int, number: str) -> Ack:
        """The SENDACK of exactly this SEND."""
        while (seq, number) not in self.acks:
            self.read()
        return self.acks.pop((seq, number))

    def receive(self, count: int) -> list[Received]:
        """The next messages, each acknowledged."""
        while len(self.received) < count:
            self.read()
        found, self.received = self.received[:count], self.received[count:]
        for each in found:
            self.put(RECVACK, struct.pack(">qQ", each.message_id, each.message_seq))
        return found

    def ping(self) -> None:
        """One heartbeat and its answer."""
        before = self.pongs
        self.socket.sendall(bytes((PING << 4,)))
        while self.pongs == before:
            self.read()

    def read(self) -> None:
        """Take in one frame, read as version 6."""
        kind, _, body = self._frame()
        if kind == SENDACK:
            message_id, seq, message_seq, reason = struct.unpack_from(">qIQB", body)
            number, at = read_text(body, 21)
            assert at == len(body)
            self.acks[seq, number] = Ack(message_id, message_seq, reason)
        elif kind == RECV:
            self.received.append(self._message(body))
        else:
            assert kind == PONG, kind
            self.pongs += 1

    def _message(self, body: bytes) -> Received:
        assert body[0] == 0, "a setting that nobody sent"
        _, at = read_text(body, 1)
        from_uid, at = read_text(body, at)
        channel_id, at = read_text(body, at)
        number, at = read_text(body, at + 5)
        message_id, message_seq, _ = struct.unpack_from(">qQi", body, at)
        payload = self.cipher.decrypt(body[at + 20 :])
        return Received(from_uid, channel_id, number, message_id, message_seq, payload)

    def _frame(self) -> tuple[int, int, bytes]:
        first = self._octets(1)[0]
        size = 0
        for place in range(0 if first >> 4 == PONG else 4):
            octet = self._octets(1)[0]
            size |= (octet & 127) << 7 * place
            if octet < 128:
                break
        return first >> 4, first & 15, self._octets(size)

    def _octets(self, count: int) -> bytes:
        data = self._stream.read(count)
        assert len(data) == count, f"{self.uid}: the server closed the connection"
        return data


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """One process of each kind, with /bench/v1 switched on."""
    running = RunningCluster(tmp_path_factory.mktemp("bench"), topology_text(bench=True))
    try:
        yield running.up()
    finally:
        running.close()


@pytest.fixture(scope="module")
def driver(cluster: RunningCluster) -> Api:
    """The HTTP API as the driver calls it, with its `bench_api.token`."""
    return Api(cluster.http, headers={"authorization": f"Bearer {cluster.api_key}"})


def answered(driver: Api, path: str) -> Any:
    status, answer = driver.call("GET", path)
    assert status == 200, answer
    return answer


def test_the_preflight_finds_what_it_needs(cluster: RunningCluster, driver: Api) -> None:
    nobody = Api(cluster.http, headers={})
    for path in ("/healthz", "/readyz"):
        assert nobody.call("GET", path)[0] == 200
    for path in ("/capabilities", "/capacity-target", "/snapshot"):
        assert nobody.call("GET", f"/bench/v1{path}")[0] == 401
        assert answered(driver, f"/bench/v1{path}")["version"] == "bench/v1"
    told = answered(driver, "/bench/v1/capabilities")
    assert told["enabled"] is True
    needed = ("users_tokens_batch", "channels_batch", "channel_subscribers_batch", "snapshot")
    assert [told["supports"][name] for name in needed] == [True] * 4
    assert "group" in told["supports"]["channel_types"]
    assert driver.call("GET", "/bench/v1/presence/snapshot")[0] == 404


def test_a_run_of_groups_and_pairs_loses_nothing(cluster: RunningCluster, driver: Api) -> None:
    run = fresh("run")
    uids = [f"{run}-u-{number}" for number in range(MEMBERS)]
    groups = [f"{run}-small-group-{number}" for number in range(GROUPS)]
    prepare(driver, run, uids, groups)
    target = answered(driver, "/bench/v1/capacity-target")["gateway"]
    assert target["tcp_addr"] == cluster.tcp
    before = answered(driver, "/bench/v1/snapshot")["counts"]
    with ExitStack() as stack:
        clients = {uid: stack.enter_context(LoadClient(cluster.tcp, uid)) for uid in uids}
        assert [client.connect(token_of(uid)) for uid, client in clients.items()] == [1] * MEMBERS
        sender = clients[uids[0]]
        sent = {}
        for index in range(MESSAGES):
            for group in groups:
                number = f"msg-run-{group}-{index}"
                sender.send(index, number, group, 2, f"{group} {index}".encode() * 8)
                sent[index, number] = group
        acks = {key: sender.ack_of(*key) for key in sent}
        assert {ack.reason for ack in acks.values()} == {1}
        for group in groups:
            sequences = [acks[key].message_seq for key in sent if sent[key] == group]
            assert sequences == list(range(1, MESSAGES + 1))
        for uid in uids[1:]:
            clients[uid].ping()
            heard = clients[uid].receive(len(sent))
            assert {(one.client_msg_no, one.message_id, one.message_seq) for one in heard} == {
                (number, ack.message_id, ack.message_seq) for (_, number), ack in acks.items()
            }
            assert {one.from_uid for one in heard} == {uids[0]}
            assert all(one.payload.startswith(one.channel_id.encode()) for one in heard)
            assert [one.message_seq for one in heard if one.channel_id == groups[0]] == list(
                range(1, MESSAGES + 1)
            )
        a_pair_chats(clients[uids[1]], clients[uids[2]])
        after = answered(driver, "/bench/v1/snapshot")["counts"]
    assert after["sends"] - before["sends"] == len(sent) + 1
    assert after["sends_acknowledged"] - before["sends_acknowledged"] == len(sent) + 1
    assert after["sessions"] - before["sessions"] == MEMBERS


def prepare(driver: Api, run: str, uids: list[str], groups: list[str]) -> None:
    """Users, channels and members, in the driver's batches."""
    users = [{"uid": uid, "token": token_of(uid)} for uid in uids]
    channels = [{"channel_id": group, "channel_type": 2} for group in groups]
    members = [{"channel_id": group, "channel_type": 2, "subscribers": uids} for group in groups]
    gone = [{"channel_id": group, "channel_type": 2, "subscribers": ["gone"]} for group in groups]
    for path, name, items in (
        ("users/tokens", "users", users),
        ("channels", "channels", channels),
        ("channels/subscribers", "items", members + gone),
        ("channels/subscribers/remove", "items", gone),
    ):
        names = {"run_id": run, "batch_id": f"{run}-{name}-0"}
        more = {} if name == "items" else {"upsert": True}
        answer = driver.done(f"/bench/v1/{path}", **names, **more, **{name: items})
        assert answer == {**names, "accepted": len(items)}


def token_of(uid: str) -> str:
    """What the driver gives its users in token mode `bench_api`."""
    return f"bench-token-{uid}"


def a_pair_chats(one: LoadClient, two: LoadClient) -> None:
    """A person channel begins with its first SEND; clientSeq 0 is a number like others."""
    one.send(0, "msg-pair-0", two.uid, 1, b"to a person")
    ack = one.ack_of(0, "msg-pair-0")
    assert (ack.reason, ack.message_seq) == (1, 1)
    [heard] = two.receive(1)
    assert heard == (one.uid, one.uid, "msg-pair-0", ack.message_id, 1, b"to a person")


def test_the_driver_without_tokens_is_refused_with_reason_2(cluster: RunningCluster) -> None:
    with LoadClient(cluster.tcp, fresh("user")) as client:
        assert client.connect("") == 2


def test_a_refused_send_is_found_by_its_number_too(cluster: RunningCluster, driver: Api) -> None:
    uid = fresh("user")
    token = token_for(driver, uid)
    with LoadClient(cluster.tcp, uid) as client:
        assert client.connect(token) == 1
        client.send(3, "msg-3", "nobodys-group", 2, b"x")
        refused = client.ack_of(3, "msg-3")
        assert refused.reason not in (0, 1)
        assert (refused.message_id, refused.message_seq) == (0, 0)
