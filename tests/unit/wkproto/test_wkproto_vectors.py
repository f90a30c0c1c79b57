"""Known bytes: the vectors of the protocol's description, taken over byte for byte."""

from __future__ import annotations

import pytest

from zmqim.wkproto.codec import ClientCodec, ServerCodec
from zmqim.wkproto.crypto import KeyPair
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
)

CLIENT_PRIVATE = bytes(range(0x01, 0x21))
SERVER_PRIVATE = bytes(range(0x21, 0x41))
SALT = "abcdefghijklmnop"
ENTROPY = SERVER_PRIVATE + bytes(range(16))
PLAIN = b'{"type":1,"content":"hello"}'
WIRE = b"osCCSwLzwq49FmcOr6wm5Eq4gRt1+XlTSgMpSihyz+E="
SEND_MSG_KEY = b"b525c8119e390dcd2ac25dc926576999"
RECV_MSG_KEY = b"90fba046bd2550cf60f4799b2e5f8f10"

CONNECT = (
    "10470500000464657631000275310003746f6b0000018bcfe56800002c42364e38764251676b38693356647762454f"
    "687374435933537446717146507443392f41737268744848773d"
)
CONNACK = (
    "215205000000000000000c01002c57476d76394642556c7a4c4c7175316558666d7a436d326a484c446c6443757457"
    "74536870326a78706e733d00106162636465666768696a6b6c6d6e6f700000000000000001"
)
SEND = (
    "3260000000000100026d31000275320100000000002062353235633831313965333930646364326163323564633932"
    "363537363939396f73434353774c7a77713439466d634f7236776d35457134675274312b586c5453674d7053696879"
    "7a2b453d"
)
RECV = (
    "527000002039306662613034366264323535306366363066343739396232653566386631300002753100027531010000"
    "000000026d3100000000000003e8000000076553f1016f73434353774c7a77713439466d634f7236776d3545713467"
    "5274312b586c5453674d70536968797a2b453d"
)


def pair(version: int = 5) -> tuple[ClientCodec, ServerCodec]:
    """Both ends after CONNECT and CONNACK, with the keys and the salt of the vectors."""
    client, server = ClientCodec(CLIENT_PRIVATE, version), ServerCodec(ENTROPY)
    connect = Connect(version, 0, "dev1", "u1", "tok", 1_700_000_000_000, client.client_key)
    server.feed(client.encode_one(connect))
    client.feed(server.encode_one(Connack(1, 12, 1)))
    return client, server


def test_both_sides_agree_on_the_key_of_the_vectors() -> None:
    client, server = KeyPair(CLIENT_PRIVATE), KeyPair(SERVER_PRIVATE)
    assert client.public_text == "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw="
    assert server.public_text == "WGmv9FBUlzLLqu1eXfmzCm2jHLDldCutWtShp2jxpns="
    for cipher in (
        client.agree(server.public_text, SALT),
        server.agree(client.public_text, SALT),
    ):
        assert cipher.encrypt(PLAIN) == WIRE
        assert cipher.decrypt(WIRE) == PLAIN
        assert cipher.msg_key(b"1m1u21" + WIRE) == SEND_MSG_KEY
        assert cipher.msg_key(b"10007m11700000001u1u11" + WIRE) == RECV_MSG_KEY


def test_connect_and_connack_are_the_bytes_of_the_vectors() -> None:
    client, server = ClientCodec(CLIENT_PRIVATE, 5), ServerCodec(ENTROPY)
    connect = Connect(5, 0, "dev1", "u1", "tok", 1_700_000_000_000, client.client_key)
    assert client.encode_one(connect).hex() == CONNECT
    assert server.feed(bytes.fromhex(CONNECT)) == [connect]
    connack = server.encode_one(Connack(1, 12, 1))
    assert connack.hex() == CONNACK
    assert client.feed(connack) == [
        Connack(1, 12, 1, 5, "WGmv9FBUlzLLqu1eXfmzCm2jHLDldCutWtShp2jxpns=", SALT)
    ]


def test_send_and_recv_are_the_bytes_of_the_vectors_each_time() -> None:
    client, server = pair()
    send = Send(1, "m1", "u2", 1, PLAIN, flags=2)
    recv = Recv(1000, 7, 1_700_000_001, "u1", "u1", 1, "m1", PLAIN, flags=2)
    for _ in range(3):
        assert client.encode_one(send).hex() == SEND
        assert server.feed(bytes.fromhex(SEND)) == [send]
        assert server.encode_one(recv).hex() == RECV
        assert client.feed(bytes.fromhex(RECV)) == [recv]


@pytest.mark.parametrize(
    ("version", "packet", "octets"),
    [
        (5, Sendack(1000, 1, 7, 1, flags=2), "421100000000000003e8000000010000000701"),
        (
            6,
            Sendack(1000, 1, 7, 1, "m1"),
            "401900000000000003e80000000100000000000000070100026d31",
        ),
        (5, Pong(), "80"),
        (
            5,
            Disconnect(12, "login in other device"),
            "90180c00156c6f67696e20696e206f7468657220646576696365",
        ),
    ],
)
def test_packets_to_clients_are_the_bytes_of_the_vectors(
    version: int, packet: Packet, octets: str
) -> None:
    client, server = pair(version)
    assert server.encode_one(packet).hex() == octets
    assert client.feed(bytes.fromhex(octets)) == [packet]


@pytest.mark.parametrize(
    ("packet", "octets"),
    [(Recvack(1000, 7), "600c00000000000003e800000007"), (Ping(), "70")],
)
def test_packets_to_servers_are_the_bytes_of_the_vectors(packet: Packet, octets: str) -> None:
    client, server = pair()
    assert client.encode_one(packet).hex() == octets
    assert server.feed(bytes.fromhex(octets)) == [packet]
