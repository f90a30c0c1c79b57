"""What one message costs in the client protocol's codec, in microseconds of one core.

    .venv/bin/python tools/bench/wkproto.py [payload bytes]

Aims (100 bytes, encryption on): decode SEND ≤ 8 µs, encode RECV ≤ 8 µs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from os import urandom
from timeit import repeat

from zmqim.wkproto.codec import ENTROPY_BYTES, LATEST_VERSION, ClientCodec, ServerCodec
from zmqim.wkproto.crypto import KEY_BYTES
from zmqim.wkproto.packets import Connack, Connect, Recv, Recvack, Send, Sendack
from zmqim.wkproto.sealed import SharedRecv

ROUNDS = 20_000
NUMBER = "0123456789abcdef0123456789abcdef3"


def best_of_five(name: str, call: Callable[[], object]) -> None:
    """Print the shortest time of one call."""
    microseconds = min(repeat(call, number=ROUNDS, repeat=5)) / ROUNDS * 1e6
    print(f"{name:40} {microseconds:6.2f} µs")


def main() -> None:
    payload = bytes(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
    client, server = ClientCodec(urandom(KEY_BYTES)), ServerCodec(urandom(ENTROPY_BYTES))
    connect = Connect(LATEST_VERSION, 0, "device", "alice", "token", 0, client.client_key)
    server.feed(client.encode_one(connect))
    client.feed(server.encode_one(Connack(1)))
    send = Send(1, NUMBER, "user-00002", 1, payload)
    frame = client.encode_one(send)
    recv = Recv(1 << 60, 7, 1_700_000_000, "user-00001", "user-00001", 1, NUMBER, payload, flags=2)
    shared = SharedRecv(recv)
    recvack = client.encode_one(Recvack(1 << 60, 7))
    sendack = Sendack(1 << 60, 1, 7, 1, NUMBER)
    best_of_five("server: decode SEND", lambda: server.feed(frame))
    best_of_five("server: encode RECV", lambda: server.encode_one(recv))
    best_of_five("server: encode RECV, shared by sessions", lambda: server.encode_shared(shared))
    best_of_five("server: encode SENDACK", lambda: server.encode_one(sendack))
    best_of_five("server: decode RECVACK", lambda: server.feed(recvack))
    best_of_five("client: encode SEND", lambda: client.encode_one(send))
    pushed = server.encode_one(recv)
    best_of_five("client: decode RECV", lambda: client.feed(pushed))
    best_of_five(
        "server: CONNECT, key exchange, CONNACK",
        lambda: ServerCodec(urandom(ENTROPY_BYTES)).feed(client.encode_one(connect)),
    )


if __name__ == "__main__":
    main()
