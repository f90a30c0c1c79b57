"""The client's core by itself: plain calls in, whole lists of effects out."""

from __future__ import annotations

from random import Random

import pytest

from zmqim.client.core import (
    ClientClosed,
    ClientCore,
    Deliver,
    Effect,
    HangUp,
    Online,
    Resolve,
    State,
    Stop,
    Transmit,
)
from zmqim.client.messages import Message, Sent, message_of_row, text_payload
from zmqim.errors import RefusedByServer, UsageError
from zmqim.limits import (
    CLIENT_CONNACK_MS_MAX,
    CLIENT_PING_MS,
    CLIENT_PONG_MS_MAX,
    CLIENT_RECENT_MAX,
    CLIENT_RETRY_MS_MAX,
    CLIENT_RETRY_MS_MIN,
    CLIENT_SENDACK_MS_MAX,
    CLIENT_WAITING_MAX,
    PAYLOAD_BYTES_MAX,
)
from zmqim.wkproto.packets import (
    Connack,
    Connect,
    Disconnect,
    Event,
    Ping,
    Pong,
    Recv,
    Recvack,
    Send,
    Sendack,
)


def offline() -> ClientCore:
    return ClientCore("alice", "token", 0, "device", Random(1))


def online(core: ClientCore | None = None, now: int = 0) -> ClientCore:
    core = core or offline()
    core.opened(now, 1_700_000_000_000, "key", 6)
    core.received(now, Connack(1))
    core.turn()
    return core


def recv(message_id: int, flags: int = 0) -> Recv:
    return Recv(message_id, message_id, 9, "bob", "bob", 1, f"n{message_id}", b"hello", 0, flags)


def shown(packet: Recv) -> Message:
    return Message(
        packet.message_id, packet.message_seq, "bob", "bob", 1, b"hello", 9,
        packet.client_msg_no, packet.flags,
    )  # fmt: skip


def send(core: ClientCore, number: str, now: int = 0) -> int:
    return core.send(now, "bob", 1, b"hello", number)


def refused(effects: list[Effect]) -> RefusedByServer:
    [effect] = effects
    assert isinstance(effect, Stop)
    assert isinstance(effect.error, RefusedByServer)
    return effect.error


def test_a_new_connection_begins_with_connect() -> None:
    core = offline()
    core.opened(0, 1_700_000_000_000, "key", 6)
    connect = Connect(6, 0, "device", "alice", "token", 1_700_000_000_000, "key")
    assert core.turn() == [Transmit([connect])]
    core.received(5, Connack(1))
    assert core.turn() == [Online()]
    assert core.state is State.ONLINE


def test_a_message_is_answered_by_its_sendack_once() -> None:
    core = online()
    number = send(core, "m1")
    assert core.turn() == [Transmit([Send(1, "m1", "bob", 1, b"hello")])]
    core.received(1, Sendack(77, number, 5, 1))
    core.received(1, Sendack(78, number, 6, 1))
    assert core.turn() == [Resolve(number, Sent(77, 5))]
    assert core.unanswered == 0


def test_a_refused_message_is_answered_with_the_reason() -> None:
    core = online()
    number = send(core, "m1")
    core.turn()
    core.received(1, Sendack(0, number, 0, 4))
    [effect] = core.turn()
    assert isinstance(effect, Resolve)
    assert isinstance(effect.answer, RefusedByServer)
    assert effect.answer.reason == 4
    assert "in blacklist" in str(effect.answer)


def test_what_is_unanswered_goes_out_again_in_order_under_the_same_numbers() -> None:
    core = offline()
    packets = []
    for index in range(12):
        number = send(core, f"m{index}")
        packets.append(Send(number, f"m{index}", "bob", 1, b"hello"))
    assert core.turn() == []
    online_core = online(core)
    core.received(0, Sendack(1, packets[3].client_seq, 1, 1))
    core.withdraw(packets[5].client_seq)
    core.turn()
    core.lost(10)
    core.opened(20, 1, "key", 6)
    core.turn()
    core.received(20, Connack(1))
    left = packets[:3] + packets[4:5] + packets[6:]
    assert online_core.turn() == [Transmit([*left]), Online()]


def test_a_message_is_acknowledged_when_the_application_takes_it() -> None:
    core = online()
    core.received(0, recv(1, flags=2))
    assert core.turn() == [Deliver(shown(recv(1, flags=2)))]
    core.take(shown(recv(1, flags=2)))
    assert core.turn() == [Transmit([Recvack(1, 1, 2)])]


def test_a_repeat_is_shown_once_and_acknowledged_again_once_it_was_taken() -> None:
    core = online()
    core.received(0, recv(1))
    core.received(0, recv(1))
    assert core.turn() == [Deliver(shown(recv(1)))]
    core.take(shown(recv(1)))
    core.turn()
    core.received(0, recv(1, flags=8))
    assert core.turn() == [Transmit([Recvack(1, 1, 8)])]


def test_a_message_taken_while_offline_is_acknowledged_when_it_is_pushed_again() -> None:
    core = online()
    core.received(0, recv(1))
    core.turn()
    core.lost(0)
    core.take(shown(recv(1)))
    assert core.turn() == []
    online(core)
    core.received(0, recv(1))
    assert core.turn() == [Transmit([Recvack(1, 1, 0)])]


def test_beyond_the_bound_messages_are_left_for_the_server_to_repeat() -> None:
    core = online()
    for message_id in range(CLIENT_WAITING_MAX + 1):
        core.received(0, recv(message_id))
    assert len(core.turn()) == CLIENT_WAITING_MAX
    core.take(shown(recv(0)))
    core.received(0, recv(CLIENT_WAITING_MAX))
    assert core.turn() == [Transmit([Recvack(0, 0, 0)]), Deliver(shown(recv(CLIENT_WAITING_MAX)))]


def test_what_is_remembered_of_old_messages_is_bounded() -> None:
    core = online()
    for message_id in range(CLIENT_RECENT_MAX + 1):
        core.received(0, recv(message_id))
        core.take(shown(recv(message_id)))
    core.turn()
    core.received(0, recv(0))
    core.received(0, recv(CLIENT_RECENT_MAX))
    assert core.turn() == [
        Transmit([Recvack(CLIENT_RECENT_MAX, CLIENT_RECENT_MAX, 0)]),
        Deliver(shown(recv(0))),
    ]
    core.take(shown(recv(1)))
    assert core.turn() == [Transmit([Recvack(1, 1, 0)])]


@pytest.mark.parametrize("reason", [2, 14, 15, 19, 21, 200])
def test_a_refused_connect_stops_the_client_for_good(reason: int) -> None:
    core = offline()
    core.opened(0, 1, "key", 6)
    core.turn()
    core.received(0, Connack(reason))
    assert refused(core.turn()).reason == reason
    core.lost(1)
    assert core.state is State.STOPPED
    assert core.next_wake() is None


def test_a_kick_stops_the_client_and_empties_its_outbox() -> None:
    core = online()
    send(core, "m1")
    core.turn()
    core.received(0, Disconnect(12, "login in other device"))
    error = refused(core.turn())
    assert error.reason == 12
    assert "login in other device" in str(error)
    assert core.unanswered == 0
    core.stop(ClientClosed("closed"))
    assert core.turn() == []


def test_it_pings_and_hangs_up_without_a_pong() -> None:
    core = online()
    assert core.next_wake() == CLIENT_PING_MS
    core.wake(CLIENT_PING_MS - 1)
    assert core.turn() == []
    core.wake(CLIENT_PING_MS)
    assert core.turn() == [Transmit([Ping()])]
    core.received(CLIENT_PING_MS, Pong())
    core.wake(2 * CLIENT_PING_MS)
    assert core.turn() == [Transmit([Ping()])]
    assert core.next_wake() == 2 * CLIENT_PING_MS + CLIENT_PONG_MS_MAX
    core.wake(2 * CLIENT_PING_MS + CLIENT_PONG_MS_MAX)
    assert core.turn() == [HangUp("no PONG in time")]
    assert core.state is State.OFFLINE


def test_it_hangs_up_without_a_sendack_and_sends_again() -> None:
    core = online()
    number = send(core, "m1", now=1)
    core.turn()
    assert core.next_wake() == 1 + CLIENT_SENDACK_MS_MAX
    core.wake(1 + CLIENT_SENDACK_MS_MAX)
    assert core.turn() == [HangUp("no SENDACK in time")]
    core.lost(1 + CLIENT_SENDACK_MS_MAX)
    core.opened(30_000, 1, "key", 6)
    core.turn()
    core.received(30_000, Connack(1))
    assert core.turn() == [Transmit([Send(number, "m1", "bob", 1, b"hello")]), Online()]
    assert core.next_wake() == 30_000 + CLIENT_SENDACK_MS_MAX


def test_it_hangs_up_without_a_connack() -> None:
    core = offline()
    assert core.next_wake() is None
    core.opened(0, 1, "key", 6)
    core.turn()
    assert core.next_wake() == CLIENT_CONNACK_MS_MAX
    core.wake(CLIENT_CONNACK_MS_MAX - 1)
    assert core.turn() == []
    core.wake(CLIENT_CONNACK_MS_MAX)
    assert core.turn() == [HangUp("no CONNACK in time")]


def test_a_second_connack_ends_the_connection() -> None:
    core = online()
    core.received(0, Connack(1))
    assert core.turn() == [HangUp("a CONNACK that nobody waits for")]


def test_packets_that_mean_nothing_to_it_are_ignored() -> None:
    core = online()
    core.received(0, Event("id", "type", 1, b"{}"))
    assert core.turn() == []


def test_pauses_between_connections_grow_differ_and_start_anew_after_a_login() -> None:
    core, other = offline(), ClientCore("bob", "token", 0, "device", Random(2))
    pauses = []
    for _ in range(12):
        core.lost(0)
        other.lost(0)
        pauses.append((core.retry_at, other.retry_at))
    for index, both in enumerate(pauses):
        longest = min(CLIENT_RETRY_MS_MIN << index, CLIENT_RETRY_MS_MAX)
        assert all(longest / 2 <= pause <= longest for pause in both)
    assert all(one != another for one, another in pauses)
    online(core)
    core.lost(0)
    assert core.retry_at <= CLIENT_RETRY_MS_MIN


@pytest.mark.parametrize(
    ("channel_id", "channel_type", "payload", "expire"),
    [
        ("bob", 1, bytes(PAYLOAD_BYTES_MAX + 1), 0),
        ("b" * 1025, 1, b"", 0),
        ("bob", 256, b"", 0),
        ("bob", 1, b"", 1 << 32),
    ],
)
def test_what_no_server_takes_never_enters_the_outbox(
    channel_id: str, channel_type: int, payload: bytes, expire: int
) -> None:
    core = online()
    with pytest.raises(UsageError):
        core.send(0, channel_id, channel_type, payload, "m1", expire=expire)
    assert core.unanswered == 0
    assert core.turn() == []


def test_text_is_shown_from_the_sdks_json_and_from_anything_else() -> None:
    for payload, text in (
        (text_payload("grüß dich"), "grüß dich"),
        (b"plain", "plain"),
        (b'{"type":2}', '{"type":2}'),
        (b"[1]", "[1]"),
        (b"\xff", "�"),
    ):
        assert Message(1, 1, "bob", "bob", 1, payload, 0, "").text == text


def test_a_row_of_history_becomes_a_message() -> None:
    row = {
        "header": {"no_persist": 0, "red_dot": 1, "sync_once": 0},
        "message_id": 7, "message_idstr": "7", "message_seq": 3, "from_uid": "bob",
        "channel_id": "bob", "channel_type": 1, "payload": "aGVsbG8=", "timestamp": 9,
        "client_msg_no": "m1", "setting": 8, "topic": "news", "expire": 5,
    }  # fmt: skip
    assert message_of_row(row) == Message(7, 3, "bob", "bob", 1, b"hello", 9, "m1", 2, 8, "news", 5)
