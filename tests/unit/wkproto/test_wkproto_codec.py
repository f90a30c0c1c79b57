"""The codec against every packet and version, streams cut anywhere, and hostile bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from zmqim.errors import WireError
from zmqim.limits import (
    CONNECT_FRAME_BYTES_MAX,
    FRAME_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    STRING_BYTES_MAX,
)
from zmqim.wkproto.codec import ENTROPY_BYTES, LATEST_VERSION, ClientCodec, ServerCodec
from zmqim.wkproto.crypto import UndecryptablePayload, padding_of, salt_from
from zmqim.wkproto.framing import frame_head, text_field
from zmqim.wkproto.packets import (
    BadSend,
    Connack,
    Connect,
    Disconnect,
    Event,
    FromClient,
    Packet,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
    Setting,
    Sub,
    Suback,
)
from zmqim.wkproto.sealed import SharedRecv, frame_of_send

CLIENT_PRIVATE = bytes(range(1, 33))
ENTROPY = bytes(range(33, 33 + ENTROPY_BYTES))
VERSIONS = range(1, LATEST_VERSION + 1)
PLAIN = b'{"type":1,"content":"hello"}'


def pair(version: int = 5) -> tuple[ClientCodec, ServerCodec]:
    """Both ends after CONNECT and CONNACK."""
    client, server = ClientCodec(CLIENT_PRIVATE, version), ServerCodec(ENTROPY)
    [connect] = server.feed(client.encode_one(connect_of(client, version)))
    assert isinstance(connect, Connect)
    assert connect.key_usable
    client.feed(server.encode_one(Connack(1)))
    return client, server


def connect_of(client: ClientCodec, version: int) -> Connect:
    return Connect(version, 1, "device", "alice", "token", 1_700_000_000_000, client.client_key)


def u(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


TEXTS = st.text(max_size=40)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
VERSION = st.sampled_from(VERSIONS)
FLAGS = u(4)


def sequence_of(version: int) -> st.SearchStrategy[int]:
    return u(64 if version >= 6 else 32)


def packets_to_server(version: int) -> st.SearchStrategy[Packet]:
    settings = u(8).filter(lambda setting: not setting & Setting.TOPIC)
    return st.one_of(
        st.builds(
            Send, u(32), TEXTS, TEXTS, u(8), st.binary(max_size=300), settings, FLAGS,
            expire=u(32) if version >= 3 else st.just(0),
        ),
        st.builds(
            Send, u(32), TEXTS, TEXTS, u(8), st.binary(max_size=300),
            u(8).map(lambda setting: setting | Setting.TOPIC), FLAGS, topic=TEXTS,
        ),
        st.builds(Recvack, I64, sequence_of(version), FLAGS),
        st.builds(Ping),
        st.builds(Disconnect, u(8), TEXTS, FLAGS),
        st.builds(Sub, TEXTS, TEXTS, u(8), u(8), TEXTS, u(8), FLAGS),
    )  # fmt: skip


def packets_to_client(version: int) -> st.SearchStrategy[Packet]:
    lost = 0x14 if version >= 5 else 0x16
    kept = u(8).map(lambda setting: setting & ~lost & 0xFF)
    recv = st.builds(
        Recv, I64, sequence_of(version), u(32), TEXTS, TEXTS, u(8), TEXTS, st.binary(max_size=300),
        kept.map(lambda setting: setting & ~Setting.TOPIC), FLAGS,
        expire=u(32) if version >= 3 else st.just(0),
    )  # fmt: skip
    recv_with_topic = st.builds(
        Recv, I64, sequence_of(version), u(32), TEXTS, TEXTS, u(8), TEXTS, st.binary(max_size=300),
        kept.map(lambda setting: setting | Setting.TOPIC), FLAGS, topic=TEXTS,
    )  # fmt: skip
    number = TEXTS if version >= 6 else st.just("")
    return st.one_of(
        recv,
        recv_with_topic,
        st.builds(Sendack, I64, u(32), sequence_of(version), u(8), number, FLAGS),
        st.builds(Pong),
        st.builds(Disconnect, u(8), TEXTS, FLAGS),
        st.builds(Suback, TEXTS, TEXTS, u(8), u(8), u(8), FLAGS),
        st.builds(Event, TEXTS, TEXTS, I64, st.binary(max_size=300), FLAGS),
    )


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


# ---- round trips ---------------------------------------------------------------------------------


@given(st.data(), VERSION, st.lists(u(16), max_size=8))
def test_what_a_client_encodes_the_server_reads_however_it_is_cut(
    data: st.DataObject, version: int, places: list[int]
) -> None:
    client, server = pair(version)
    packets = data.draw(st.lists(packets_to_server(version), max_size=6))
    received: list[FromClient] = []
    for piece in cut(client.encode(packets), places):
        received += server.feed(piece)
    assert received == packets
    assert server.pending_bytes == 0


@given(st.data(), VERSION, st.lists(u(16), max_size=8))
def test_what_a_server_encodes_the_client_reads_however_it_is_cut(
    data: st.DataObject, version: int, places: list[int]
) -> None:
    client, server = pair(version)
    packets = data.draw(st.lists(packets_to_client(version), max_size=6))
    received: list[Packet] = []
    for piece in cut(server.encode(packets), places):
        received += client.feed(piece)
    assert received == packets
    assert client.pending_bytes == 0


@given(
    st.builds(Connect, u(8), u(8), TEXTS, TEXTS, TEXTS, I64, TEXTS, flags=FLAGS),
    st.builds(Connack, u(8).filter(lambda reason: reason != 1), I64, u(64)),
)
def test_connect_and_refusals_survive_the_way_there_and_back(
    connect: Connect, refusal: Connack
) -> None:
    client, server = ClientCodec(CLIENT_PRIVATE), ServerCodec(ENTROPY)
    [received] = server.feed(client.encode_one(connect))
    assert isinstance(received, Connect)
    assert not received.key_usable
    assert replace(received, key_usable=True) == connect
    client.version = server.version
    [answer] = client.feed(server.encode_one(refusal))
    assert isinstance(answer, Connack)
    assert (answer.reason, answer.time_diff) == (refusal.reason, refusal.time_diff)
    assert (answer.server_key, answer.salt) == ("", "")
    assert answer.node_id == (refusal.node_id if server.version >= 4 else 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_cut_at_every_byte_give_the_same_packets(version: int) -> None:
    client, server = pair(version)
    packets = [
        Send(1, "number", "bob", 1, PLAIN * 10),
        Ping(),
        Recvack(1, 2),
        Sub("s", "c", 2, 0),
        Send(2, "number 2", "group", 2, b"", Setting.TOPIC, topic="news"),
    ]
    stream = client.encode(packets)
    for place in range(len(stream) + 1):
        assert server.feed(stream[:place]) + server.feed(stream[place:]) == packets
    assert [p for i in range(len(stream)) for p in server.feed(stream[i : i + 1])] == packets


# ---- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "spoken", "announced"),
    [(1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 4, 4), (5, 5, 5), (6, 6, 6), (0, 6, 6), (7, 6, 6)],
)
def test_the_version_is_the_smaller_one_and_announced_above_3(
    asked: int, spoken: int, announced: int
) -> None:
    client, server = ClientCodec(CLIENT_PRIVATE, spoken), ServerCodec(ENTROPY)
    server.feed(client.encode_one(connect_of(client, asked)))
    connack = server.encode_one(Connack(1, node_id=9))
    assert server.version == spoken
    assert connack[0] == (0x21 if announced else 0x20)
    [answer] = client.feed(connack)
    assert isinstance(answer, Connack)
    assert answer.server_version == announced
    assert answer.node_id == (9 if spoken >= 4 else 0)
    assert len(answer.salt) == 16


@pytest.mark.parametrize("setting", [Setting.STREAM, Setting.OLD_STREAM])
@pytest.mark.parametrize("version", VERSIONS)
def test_stream_numbers_stand_in_versions_2_to_4_only(version: int, setting: Setting) -> None:
    client, server = pair(version)
    send = Send(1, "m", "bob", 1, PLAIN, setting, stream_no="stream")
    [received] = server.feed(client.encode_one(send))
    assert isinstance(received, Send)
    assert received.stream_no == ("stream" if version in (2, 3, 4) else "")
    assert received.payload == PLAIN


@pytest.mark.parametrize("version", VERSIONS)
def test_expire_stands_from_version_3(version: int) -> None:
    client, server = pair(version)
    [send] = server.feed(client.encode_one(Send(1, "m", "bob", 1, PLAIN, expire=60)))
    [recv] = client.feed(server.encode_one(Recv(1, 1, 1, "a", "a", 1, "m", PLAIN, expire=60)))
    assert isinstance(send, Send)
    assert isinstance(recv, Recv)
    assert send.expire == recv.expire == (60 if version >= 3 else 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_sendack_ends_with_the_client_msg_no_in_version_6_only(version: int) -> None:
    client, server = pair(version)
    frame = server.encode_one(Sendack(5, 1, 2, 1, "number"))
    assert frame.endswith(b"number") == (version == 6)
    [answer] = client.feed(frame)
    assert answer == Sendack(5, 1, 2, 1, "number" if version == 6 else "")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sequence_above_32_bits_needs_version_6(version: int) -> None:
    client, server = pair(version)
    sequence = 1 << 32
    packets = (Sendack(1, 1, sequence, 1), Recv(1, sequence, 1, "a", "a", 1, "m", PLAIN))
    for packet in packets:
        if version == 6:
            assert client.feed(server.encode_one(packet)) == [packet]
        else:
            with pytest.raises(WireError, match="version 6"):
                server.encode_one(packet)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recv_never_carries_bits_behind_which_old_clients_read_other_fields(version: int) -> None:
    client, server = pair(version)
    [recv] = client.feed(server.encode_one(Recv(1, 1, 1, "a", "a", 1, "m", PLAIN, setting=0xF7)))
    assert isinstance(recv, Recv)
    assert recv.setting == (0xE3 if version >= 5 else 0xE1)
    assert recv.payload == PLAIN


def test_a_client_reads_the_stream_fields_of_other_servers() -> None:
    client, server = pair(4)
    frame = server.encode_one(Recv(1, 1, 1, "a", "b", 1, "m", PLAIN))
    body = bytearray(frame[2:])
    body[0] |= Setting.STREAM
    at = body.index(text_field("m"), 40) + 3
    body[at:at] = b"\x01" + text_field("stream") + bytes(8)
    [recv] = client.feed(frame_head(0x50, len(body)) + bytes(body))
    assert recv == Recv(1, 1, 1, "a", "b", 1, "m", PLAIN, Setting.STREAM)


def test_a_client_lowers_its_version_to_the_servers() -> None:
    client, server = ClientCodec(CLIENT_PRIVATE, 6), ServerCodec(ENTROPY)
    server.feed(client.encode_one(connect_of(client, 5)))
    client.feed(server.encode_one(Connack(1)))
    assert client.version == 5


# ---- encryption ----------------------------------------------------------------------------------


@pytest.mark.parametrize("client_key", ["", "AAAA", "not base64!", "é", "A" * 43 + "="])
def test_a_client_key_that_gives_no_secret_is_told_apart(client_key: str) -> None:
    client, server = ClientCodec(CLIENT_PRIVATE), ServerCodec(ENTROPY)
    frame = client.encode_one(replace(connect_of(client, 6), client_key=client_key))
    [connect] = server.feed(frame)
    assert isinstance(connect, Connect)
    assert not connect.key_usable
    assert client.feed(server.encode_one(Connack(21))) == [Connack(21, server_version=6)]


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_every_message_is_encrypted_as_if_it_were_the_first(messages: list[bytes]) -> None:
    _, used = pair()
    for message in messages:
        _, fresh = pair()
        recv = Recv(1, 1, 1, "a", "a", 1, "m", message)
        assert used.encode_one(recv) == fresh.encode_one(recv)


@given(st.data(), VERSION, VERSION)
def test_a_shared_recv_is_what_each_session_would_have_encoded(
    data: st.DataObject, one: int, other: int
) -> None:
    recv = data.draw(packets_to_client(1).filter(lambda packet: isinstance(packet, Recv)))
    assert isinstance(recv, Recv)
    shared = SharedRecv(recv)
    for version in (one, other, one):
        _, server = pair(version)
        assert server.encode_shared(shared) == server.encode_one(recv)


def test_a_send_that_was_changed_on_its_way_is_a_msg_key_error() -> None:
    client, server = pair()
    frame = bytearray(client.encode_one(Send(7, "number", "bob", 1, PLAIN, flags=2)))
    frame[-1] ^= 1
    assert server.feed(bytes(frame)) == [BadSend(7, "number", 8, 2)]
    assert server.feed(client.encode_one(Send(8, "n", "bob", 1, PLAIN))) == [
        Send(8, "n", "bob", 1, PLAIN)
    ]


@pytest.mark.plain_source
@pytest.mark.parametrize("payload", [b"", b"%%%", b"YWJj", b"A" * 64])
def test_a_signed_send_that_cannot_be_decrypted_is_a_payload_error(payload: bytes) -> None:
    client, server = pair()

    class Sealing:
        """Signs as the client does, but leaves the payload as it is."""

        encrypt = staticmethod(lambda plain: plain)
        msg_key = client._cipher.msg_key  # type: ignore[union-attr]

    frame = frame_of_send(Send(7, "n", "bob", 1, payload), 5, Sealing())  # type: ignore[arg-type]
    assert server.feed(frame) == [BadSend(7, "n", 9)]
    assert server.feed(client.encode_one(Send(8, "n", "bob", 1, PLAIN))) == [
        Send(8, "n", "bob", 1, PLAIN)
    ]


def test_a_signed_send_above_64_kib_is_refused_before_it_is_decrypted() -> None:
    client, server = pair()
    largest = Send(1, "n", "bob", 1, bytes(PAYLOAD_BYTES_MAX))
    assert server.feed(client.encode_one(largest)) == [largest]
    above = bytearray(client.encode_one(Send(1, "n", "bob", 1, bytes(PAYLOAD_BYTES_MAX + 16))))
    above[-1] ^= 1
    assert server.feed(bytes(above)) == [BadSend(1, "n", 9)]


def test_a_plain_send_needs_the_no_encrypt_setting() -> None:
    client, server = pair()
    plain = Send(1, "m", "bob", 1, PLAIN, Setting.NO_ENCRYPT)
    frame = client.encode_one(plain)
    assert frame.endswith(PLAIN)
    assert server.feed(frame) == [plain]
    without = bytearray(frame)
    without[2] = 0
    assert server.feed(bytes(without)) == [BadSend(1, "m", 8)]


def test_a_send_with_no_encrypt_and_a_msg_key_is_checked_and_decrypted() -> None:
    client, server = pair()
    frame = bytearray(client.encode_one(Send(1, "m", "bob", 1, PLAIN)))
    frame[2] = Setting.NO_ENCRYPT
    assert server.feed(bytes(frame)) == [Send(1, "m", "bob", 1, PLAIN, Setting.NO_ENCRYPT)]


def test_a_client_refuses_a_message_with_a_wrong_msg_key() -> None:
    client, server = pair()
    frame = bytearray(server.encode_one(Recv(1, 1, 1, "a", "a", 1, "m", PLAIN)))
    frame[-1] ^= 1
    with pytest.raises(WireError, match="msgKey"):
        client.feed(bytes(frame))


def test_a_client_refuses_a_signed_message_that_cannot_be_decrypted() -> None:
    client, server = pair(3)
    cipher = server._cipher
    assert cipher is not None
    payload = b"AAAA"
    msg_key = cipher.msg_key(b"111maa1".replace(b"111m", b"11m1") + payload)
    body = b"".join(
        (b"\x00", text_field(msg_key.decode()), text_field("a"), text_field("a"), b"\x01", bytes(4),
         text_field("m"), (1).to_bytes(8, "big"), (1).to_bytes(4, "big"), (1).to_bytes(4, "big"),
         payload)
    )  # fmt: skip
    with pytest.raises(WireError, match="decrypted"):
        client.feed(frame_head(0x50, len(body)) + body)


def test_a_client_reads_a_plain_recv_only_with_the_no_encrypt_setting() -> None:
    client, _ = pair(3)
    rest = b"".join(
        (text_field(""), text_field("a"), text_field("b"), b"\x01", bytes(4), text_field("m"),
         (1).to_bytes(8, "big"), (2).to_bytes(4, "big"), (3).to_bytes(4, "big"), PLAIN)
    )  # fmt: skip
    body = bytes((Setting.NO_ENCRYPT,)) + rest
    assert client.feed(frame_head(0x50, len(body)) + body) == [
        Recv(1, 2, 3, "a", "b", 1, "m", PLAIN, Setting.NO_ENCRYPT)
    ]
    with pytest.raises(WireError, match="msgKey"):
        client.feed(frame_head(0x50, len(body)) + b"\x00" + rest)


@pytest.mark.parametrize(
    ("server_key", "salt"), [("", ""), ("AAAA", "a" * 16), (None, "short"), (None, "é" * 16)]
)
def test_a_client_does_not_go_on_without_encryption(server_key: str | None, salt: str) -> None:
    client, other = ClientCodec(CLIENT_PRIVATE), ClientCodec(bytes(range(2, 34)))
    packet = Connack(1, 0, 0, 6, other.client_key if server_key is None else server_key, salt)
    with pytest.raises(WireError, match="no key"):
        client.feed(client.encode_one(packet))


def test_wrong_padding_is_found_and_leaves_the_cipher_usable() -> None:
    client, server = pair()
    cipher, peer = client._cipher, server._cipher
    assert cipher is not None
    assert peer is not None
    for wrong in (bytes(16), b"x" * 15 + b"\x11", b"x" * 14 + b"\x03\x02"):
        with pytest.raises(UndecryptablePayload, match="padding"):
            peer.decrypt(cipher.encrypt_padded(wrong))
        assert peer.decrypt(cipher.encrypt(PLAIN)) == PLAIN


@given(st.binary(min_size=16, max_size=16))
def test_a_salt_is_16_letters_and_digits(entropy: bytes) -> None:
    salt = salt_from(entropy)
    assert len(salt) == 16
    assert salt.isascii()
    assert salt.isalnum()


@given(st.integers(0, 1000))
def test_padding_fills_the_last_block(size: int) -> None:
    padding = padding_of(size)
    assert (size + len(padding)) % 16 == 0
    assert set(padding) == {len(padding)}


# ---- hostile bytes -------------------------------------------------------------------------------


@given(st.binary(max_size=400), st.booleans())
@example(b"\x00", True)
@example(b"\x10\xff\xff\xff\xff\x01", False)
def test_random_bytes_raise_nothing_but_wire_error(data: bytes, connected: bool) -> None:
    client, server = pair() if connected else (ClientCodec(CLIENT_PRIVATE), ServerCodec(ENTROPY))
    for codec in (client, server):
        with contextlib.suppress(WireError):
            codec.feed(data)
        assert codec.pending_bytes <= len(data)


@given(st.sampled_from([1, 3, 6, 9, 10, 2, 4, 5, 11, 12]), FLAGS, st.binary(max_size=200), VERSION)
def test_random_bodies_raise_nothing_but_wire_error(
    packet_type: int, flags: int, body: bytes, version: int
) -> None:
    client, server = pair(version)
    frame = frame_head(packet_type << 4 | flags, len(body)) + body
    for codec in (client, server, ServerCodec(ENTROPY)):
        with contextlib.suppress(WireError):
            codec.feed(frame)


@given(st.data(), VERSION, u(16), st.integers(1, 255))
def test_a_damaged_byte_raises_nothing_but_wire_error(
    data: st.DataObject, version: int, place: int, damage: int
) -> None:
    client, server = pair(version)
    for source, sink, packets in (
        (client, server, packets_to_server(version)),
        (server, client, packets_to_client(version)),
    ):
        frame = bytearray(source.encode_one(data.draw(packets)))
        frame[place % len(frame)] ^= damage
        with contextlib.suppress(WireError):
            sink.feed(bytes(frame))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_body_that_ends_early_is_refused(version: int) -> None:
    client, server = pair(version)
    for source, sink, packet in (
        (client, server, Recvack(1, 2)),
        (client, server, Sub("number", "channel", 2, 0, "param")),
        (client, server, Disconnect(1, "text")),
        (client, server, Send(1, "m", "bob", 1, b"", Setting.TOPIC, topic="news")),
        (server, client, Sendack(1, 2, 3, 1)),
        (server, client, Suback("number", "channel", 2, 0, 1)),
        (server, client, Event("id", "type", 1, b"")),
    ):
        frame = source.encode_one(packet)
        fields = frame[2:].removesuffix(frame[-24:]) if isinstance(packet, Send) else frame[2:]
        for size in range(len(fields)):
            with pytest.raises(WireError):
                sink.feed(bytes((frame[0], size)) + fields[:size])


def test_bytes_behind_the_last_field_are_ignored() -> None:
    _, server = pair()
    assert server.feed(b"\x60\x0e" + bytes(7) + b"\x05" + bytes(3) + b"\x06zz") == [Recvack(5, 6)]


@pytest.mark.parametrize(
    "first", [0x00, 0x0F, 0x20, 0x40, 0x50, 0x80, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0]
)
def test_a_type_that_no_client_sends_is_refused_at_its_first_byte(first: int) -> None:
    _, server = pair()
    with pytest.raises(WireError, match="not expected"):
        server.feed(bytes((first,)))


@pytest.mark.parametrize("frame", [b"\x30\x01a", b"\x60\x01a", b"\x70", b"\x90\x01a", b"\xa0\x01a"])
def test_nothing_may_come_before_connect(frame: bytes) -> None:
    server = ServerCodec(ENTROPY)
    with pytest.raises(WireError, match="before CONNECT"):
        server.feed(frame)


def test_a_second_connect_is_out_of_order() -> None:
    client, server = pair()
    with pytest.raises(WireError, match="out of order"):
        server.feed(client.encode_one(connect_of(client, 5)))


def test_a_client_takes_no_message_before_connack() -> None:
    _, server = pair()
    client = ClientCodec(CLIENT_PRIVATE)
    with pytest.raises(WireError, match="out of order"):
        client.feed(server.encode_one(Recv(1, 1, 1, "a", "a", 1, "m", PLAIN)))


@pytest.mark.parametrize(
    ("length", "fault"),
    [
        (b"\x81\x80\x40", "1048577 bytes"),
        (b"\xff\xff\xff\x7f", "bytes, allowed"),
        (b"\x80\x80\x80\x80", "does not end"),
        (b"\xff\xff\xff\xff\x01", "does not end"),
    ],
)
def test_a_length_above_1_mib_or_without_an_end_is_refused_before_the_body(
    length: bytes, fault: str
) -> None:
    _, server = pair()
    with pytest.raises(WireError, match=fault):
        server.feed(b"\x30" + length)
    _, server = pair()
    with pytest.raises(WireError, match=fault):
        list(map(server.feed, [bytes((octet,)) for octet in b"\x30" + length]))


def test_a_frame_of_exactly_1_mib_is_read() -> None:
    client, server = pair()
    head = len(client.encode_one(Send(1, "m", "bob", 1, b"", Setting.NO_ENCRYPT))) - 2
    send = Send(1, "m", "bob", 1, bytes(FRAME_BYTES_MAX - head), Setting.NO_ENCRYPT)
    stream = client.encode_one(send)
    received = [p for i in range(0, len(stream), 4096) for p in server.feed(stream[i : i + 4096])]
    assert received == [send]
    with pytest.raises(WireError, match="1048577 bytes"):
        client.encode_one(Send(1, "m", "bob", 1, send.payload + b"x", Setting.NO_ENCRYPT))


def test_an_unauthenticated_client_cannot_make_the_server_keep_much() -> None:
    server = ServerCodec(ENTROPY)
    head = frame_head(0x10, CONNECT_FRAME_BYTES_MAX)
    assert server.feed(head + bytes(1000)) == []
    assert server.pending_bytes == len(head) + 1000
    with pytest.raises(WireError, match="allowed are"):
        ServerCodec(ENTROPY).feed(frame_head(0x10, CONNECT_FRAME_BYTES_MAX + 1))


@pytest.mark.parametrize("number", [b"\xff\xfe", b"\xc3", b"\xed\xa0\x80"])
def test_a_string_that_is_not_utf_8_is_refused(number: bytes) -> None:
    _, server = pair()
    body = (
        bytes((Setting.NO_ENCRYPT,))
        + bytes(4)
        + len(number).to_bytes(2, "big")
        + number
        + text_field("bob")
        + b"\x01"
        + bytes(6)
    )
    with pytest.raises(WireError, match="UTF-8"):
        server.feed(frame_head(0x30, len(body)) + body)


def test_a_string_above_32767_bytes_is_refused_on_both_sides() -> None:
    client, server = pair()
    longest = Disconnect(1, "x" * STRING_BYTES_MAX)
    assert server.feed(client.encode_one(longest)) == [longest]
    with pytest.raises(WireError, match="string of 32768"):
        client.encode_one(Disconnect(1, "x" * (STRING_BYTES_MAX + 1)))
    body = b"\x01\x80\x00" + bytes(STRING_BYTES_MAX + 1)
    with pytest.raises(WireError, match="32,767"):
        server.feed(frame_head(0x90, len(body)) + body)
