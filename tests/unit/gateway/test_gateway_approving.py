"""SENDs that wait for the application's word: in order, bounded, and without a trace afterwards."""

from __future__ import annotations

import pytest
from gateway_rig import Rig, send_packet, submitted, to_client
from hypothesis import given
from hypothesis import strategies as st

from zmqim import limits
from zmqim.chat.codes import Reason
from zmqim.gateway.effects import AskHook, Effect
from zmqim.gateway.plugin import Draft, HookVerdict
from zmqim.wkproto.packets import Sendack

ALLOWED = HookVerdict(1)
REFUSED = HookVerdict(int(Reason.NOT_ALLOWED))


class Hooked(Rig):
    """Keeps what was asked of the application."""

    def __init__(self, **bounds: int) -> None:
        super().__init__(**bounds)
        self.drafts: list[AskHook] = []
        self.up()
        self.core.use_hook()
        self.open_session(1, "ada")

    def turn(self) -> list[Effect]:
        effects = super().turn()
        self.drafts += [effect for effect in effects if isinstance(effect, AskHook)]
        return effects

    def sends(self, *payloads: bytes, channel: str = "bob", session: int = 1) -> None:
        for payload in payloads:
            self.packets(session, send_packet(channel, payload, len(self.drafts) + 1))
            self.turn()

    def says(self, number: int, verdict: HookVerdict) -> None:
        """The application answers the question with that place among all."""
        self.core.hook_answered(self.now, self.drafts[number].token, verdict)


@pytest.fixture
def rig() -> Hooked:
    return Hooked()


def payloads(effects: list[Effect]) -> list[bytes]:
    return [message.payload for message in submitted(effects)]


def test_the_application_is_asked_with_everything_the_sender_wrote(rig: Hooked) -> None:
    packet = send_packet("bob", b"hi", 7, setting=2, flags=2, expire=60, topic="t")
    rig.packets(1, packet)
    assert payloads(rig.turn()) == []
    draft = Draft("ada", 1, "bob", "no-7", b"hi", 2, 2, "t", 60)
    assert [asked.draft for asked in rig.drafts] == [draft]
    rig.says(0, ALLOWED)
    assert payloads(rig.turn()) == [b"hi"]
    assert rig.core.in_flight == 1


def test_another_payload_is_proposed_in_place_of_the_senders(rig: Hooked) -> None:
    rig.sends(b"hi")
    rig.says(0, HookVerdict(1, b"changed"))
    [message] = submitted(rig.turn())
    assert (message.payload, message.client_msg_no, message.from_uid) == (b"changed", "no-1", "ada")


def test_a_refusal_is_answered_with_its_reason_and_proposes_nothing(rig: Hooked) -> None:
    rig.sends(b"hi")
    rig.says(0, REFUSED)
    effects = rig.turn()
    assert payloads(effects) == []
    assert to_client(effects, 1) == [Sendack(0, 1, 0, Reason.NOT_ALLOWED, "no-1")]
    assert rig.core.in_flight == 0


def test_a_late_answer_holds_back_its_session_and_channel_and_nothing_else(rig: Hooked) -> None:
    rig.open_session(2, "cid")
    rig.sends(b"one", b"two")
    rig.sends(b"elsewhere", channel="dan")
    rig.sends(b"of another", session=2)
    for number in (1, 2, 3):
        rig.says(number, ALLOWED)
    assert sorted(payloads(rig.turn())) == [b"elsewhere", b"of another"]
    rig.says(0, ALLOWED)
    assert payloads(rig.turn()) == [b"one", b"two"]


def test_both_names_of_a_person_channel_share_one_order(rig: Hooked) -> None:
    rig.sends(b"one", channel="bob")
    rig.sends(b"two", channel="bob@ada")
    rig.says(1, ALLOWED)
    assert payloads(rig.turn()) == []
    rig.says(0, ALLOWED)
    assert payloads(rig.turn()) == [b"one", b"two"]


@given(st.permutations(range(6)), st.lists(st.booleans(), min_size=6, max_size=6))
def test_order_is_kept_in_whatever_order_answers_come(
    order: list[int], allowed: list[bool]
) -> None:
    rig = Hooked()
    texts = [b"%d" % number for number in range(6)]
    rig.sends(*texts)
    found: list[bytes] = []
    for number in order:
        rig.says(number, ALLOWED if allowed[number] else REFUSED)
        found += payloads(rig.turn())
        for item in [one for one in rig.asked if one.kind == 0]:
            rig.sent(item, 1)
        found += payloads(rig.turn())
    assert found == [text for text, is_allowed in zip(texts, allowed, strict=True) if is_allowed]


def test_what_is_wrong_is_refused_before_anybody_is_asked(rig: Hooked) -> None:
    rig.packets(1, send_packet("", b"hi"))
    [refused] = to_client(rig.turn(), 1)
    assert isinstance(refused, Sendack)
    assert (refused.reason, rig.drafts) == (Reason.CHANNEL_ID_ERROR, [])


def test_the_end_of_a_session_leaves_nothing_behind(rig: Hooked) -> None:
    rig.sends(b"one", b"two")
    rig.core.session_closed(rig.now, 1)
    rig.says(1, ALLOWED)
    rig.says(0, ALLOWED)
    assert payloads(rig.turn()) == []
    assert rig.core.in_flight == 0
    assert rig.core._approving._queues == {}


def test_above_the_bound_a_send_is_refused_as_too_much(
    rig: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HOOK_WAITING_MAX", 2)
    rig.sends(b"one", b"two")
    rig.packets(1, send_packet("bob", b"three", 3))
    assert to_client(rig.turn(), 1) == [Sendack(0, 3, 0, Reason.RATE_LIMITED, "no-3")]
    rig.says(0, ALLOWED)
    rig.sends(b"four")
    assert len(rig.drafts) == 3


def test_what_waits_for_the_application_counts_as_pending(
    rig: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SESSION_SENDS_PENDING_MAX", 2)
    rig.sends(b"one", b"two", b"three")
    session = rig.core._sessions.by_number[1]
    assert (session.asked, session.reading) == (3, False)
    for number in range(3):
        rig.says(number, REFUSED)
    rig.turn()
    assert (session.asked, session.asked_bytes, session.reading) == (0, 0, True)
