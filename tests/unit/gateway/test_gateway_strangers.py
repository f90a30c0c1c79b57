"""First messages between two persons: asked for, and sent again with the answer (docs/adr/0010)."""

from __future__ import annotations

import pytest
from gateway_rig import Rig, closed, queries, send_packet, submitted, to_client, user_row

from zmqim import limits
from zmqim.bus.messages import Item, OutcomeCode
from zmqim.chat.channels import route_key_of_user
from zmqim.chat.codes import Stranger
from zmqim.chat.queries import UserQuery
from zmqim.chat.results import Rejected, Strangers, UserRow
from zmqim.gateway.effects import Effect
from zmqim.gateway.plugin import CloseReason
from zmqim.wkproto.packets import Sendack

ASK, WELCOME, UNWELCOME = Stranger.ASK, Stranger.WELCOME, Stranger.UNWELCOME


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.up("router-1")
    rig.open_session(1, "ada")
    return rig


def said(effects: list[Effect]) -> list[tuple[bytes, int]]:
    """(payload, what it says of strangers) of what the turn submits."""
    return [(message.payload, message.stranger) for message in submitted(effects)]


def reading(rig: Rig) -> Item:
    [item] = [item for item in rig.asked if item.kind == 1]
    return item


def sends(rig: Rig) -> list[Item]:
    return [item for item in rig.asked if item.kind != 1]


def asked_for_strangers(rig: Rig) -> None:
    """Two SENDs to bob are out, the partition has answered both, bob's row is being read."""
    rig.send(1, "bob", b"1", 1)
    rig.send(1, "bob", b"2", 2)
    assert said(rig.turn()) == [(b"1", ASK), (b"2", ASK)]
    for item in sends(rig):
        rig.answer(item, Strangers())
    effects = rig.turn()
    assert queries(effects) == [UserQuery("bob", 0)]
    assert reading(rig).key == route_key_of_user("bob")
    assert to_client(effects, 1) == []


def test_only_messages_to_persons_ask(rig: Rig) -> None:
    rig.send(1, "bob", b"1", 1)
    assert said(rig.turn()) == [(b"1", ASK)]
    rig.sent(rig.asked[0], 1)
    rig.packets(1, send_packet("g", channel_type=2, seq=2))
    assert said(rig.turn()) == [(b"hi", Stranger.UNSAID)]


@pytest.mark.promise("P2")
@pytest.mark.parametrize(("allows", "says"), [(True, WELCOME), (False, UNWELCOME)])
def test_the_batch_goes_again_in_order_with_what_the_row_says(
    rig: Rig, allows: bool, says: Stranger
) -> None:
    asked_for_strangers(rig)
    rig.answer(reading(rig), user_row("bob", allow_stranger=allows))
    assert said(rig.turn()) == [(b"1", says), (b"2", says)]
    one, two = sends(rig)
    rig.sent(one, 1)
    rig.answer(two, Rejected(11))
    assert to_client(rig.turn(), 1) == [
        Sendack(1_001, 1, 1, 1, "no-1"),
        Sendack(0, 2, 0, 11, "no-2"),
    ]
    assert rig.core.in_flight == 0


def test_what_waited_behind_asks_anew(rig: Rig) -> None:
    asked_for_strangers(rig)
    rig.send(1, "bob", b"3", 3)
    rig.answer(reading(rig), user_row("bob", allow_stranger=False))
    rig.turn()
    for item in sends(rig):
        rig.answer(item, Rejected(11))
    assert said(rig.turn()) == [(b"3", ASK)]


def test_somebody_of_whom_nothing_is_stored_takes_strangers(rig: Rig) -> None:
    asked_for_strangers(rig)
    rig.answer(reading(rig), UserRow("bob", False))
    assert said(rig.turn()) == [(b"1", WELCOME), (b"2", WELCOME)]


def test_late_answers_to_what_was_sent_before_are_for_nobody(rig: Rig) -> None:
    rig.send(1, "bob", b"1", 1)
    rig.send(1, "bob", b"2", 2)
    rig.turn()
    one, two = sends(rig)
    rig.answer(one, Strangers())
    rig.turn()
    rig.answer(reading(rig), user_row("bob"))
    assert said(rig.turn()) == [(b"1", WELCOME), (b"2", WELCOME)]
    rig.answer(two, Strangers())
    assert queries(rig.turn()) == []
    for sequence, item in enumerate(sends(rig), 1):
        rig.sent(item, sequence)
    assert [ack.reason for ack in to_client(rig.turn(), 1)] == [1, 1]  # type: ignore[union-attr]


def test_a_row_that_cannot_be_read_is_asked_for_until_the_deadline_of_the_send(rig: Rig) -> None:
    asked_for_strangers(rig)
    asked = 0
    ended: dict[int, CloseReason] = {}
    while not ended:
        for item in list(rig.asked):
            if item.kind == 1:
                asked += 1
                rig.answer(item, None, OutcomeCode.DISK_FULL)
            else:
                rig.answer(item, Strangers())
        effects = rig.advance(100)
        assert submitted(effects) == [] or {says for _, says in said(effects)} == {ASK}
        ended = closed(effects)
        assert rig.now < 2 * limits.SEND_DEADLINE_MS
    assert ended == {1: CloseReason.UNKNOWN_OUTCOME}
    assert asked > 5


def test_a_session_that_ends_meanwhile_sends_nothing_more(rig: Rig) -> None:
    asked_for_strangers(rig)
    rig.core.session_closed(rig.now, 1)
    rig.answer(reading(rig), user_row("bob"))
    assert submitted(rig.turn()) == []
    assert rig.core.in_flight == 0


@pytest.mark.promise("P9")
def test_a_refusal_of_the_second_try_is_definite_because_the_first_did_nothing(rig: Rig) -> None:
    asked_for_strangers(rig)
    rig.answer(reading(rig), user_row("bob"))
    rig.turn()
    for item in sends(rig):
        rig.answer(item, None, OutcomeCode.BUSY)
    assert [ack.reason for ack in to_client(rig.turn(), 1)] == [22, 22]  # type: ignore[union-attr]
