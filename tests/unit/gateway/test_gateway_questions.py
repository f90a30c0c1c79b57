"""Questions of listeners: asked until there is an answer, a definite refusal, or the deadline."""

from __future__ import annotations

import pytest
from gateway_rig import Rig, messages, queries, submitted

from zmqim import limits
from zmqim.bus.effects import Send
from zmqim.bus.messages import ItemKind, LeaderMoved, OnlineAnswer, OnlineQuery, OutcomeCode
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage
from zmqim.chat.queries import Probe, UserQuery
from zmqim.chat.results import Done
from zmqim.gateway.effects import Answered, Effect, OnlineFound

KEY = b"\x00ada"
READ = encode(UserQuery("ada", 0))
WRITE = encode(SendMessage(2, "g", "ada", "n", b"hi"))


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.up("router-1")
    return rig


def ask(rig: Rig, kind: int = ItemKind.WRITE, deadline_ms: int = 5_000) -> None:
    rig.core.ask(rig.now, 31, kind, KEY, READ if kind == ItemKind.READ else WRITE, deadline_ms)


def answers(effects: list[Effect]) -> list[Answered]:
    return [effect for effect in effects if isinstance(effect, Answered)]


@pytest.mark.parametrize("code", [OutcomeCode.BUSY, OutcomeCode.DISK_FULL, OutcomeCode.BAD_REQUEST])
def test_a_definite_refusal_is_handed_on(rig: Rig, code: OutcomeCode) -> None:
    ask(rig)
    rig.turn()
    assert rig.core.in_flight == 1
    rig.answer(rig.asked[0], None, code)
    assert rig.turn() == [Answered(31, code, b"")]
    assert rig.core.in_flight == 0


def test_the_result_is_handed_on(rig: Rig) -> None:
    ask(rig, ItemKind.READ)
    assert queries(rig.turn()) == [UserQuery("ada", 0)]
    rig.answer(rig.asked[0], Done(5))
    assert rig.turn() == [Answered(31, OutcomeCode.DONE, encode(Done(5)))]


class TestDeadline:
    def test_without_a_router_nothing_happened(self) -> None:
        rig = Rig()
        ask(rig)
        assert answers(rig.advance(5_100)) == [Answered(31, OutcomeCode.UNAVAILABLE, b"")]

    def test_a_write_that_was_never_proposed_is_unavailable(self, rig: Rig) -> None:
        ask(rig)
        effects = self.refuse_until_the_end(rig, OutcomeCode.NOT_LEADER)
        assert answers(effects) == [Answered(31, OutcomeCode.UNAVAILABLE, b"")]

    @pytest.mark.parametrize("code", [OutcomeCode.UNKNOWN])
    def test_a_write_whose_outcome_nobody_knows_is_unknown(
        self, rig: Rig, code: OutcomeCode
    ) -> None:
        ask(rig)
        effects = self.refuse_until_the_end(rig, code)
        assert answers(effects) == [Answered(31, OutcomeCode.UNKNOWN, b"")]

    def test_silence_makes_a_write_unknown_and_a_read_unavailable(self, rig: Rig) -> None:
        ask(rig)
        assert answers(rig.advance(5_100)) == [Answered(31, OutcomeCode.UNKNOWN, b"")]
        ask(rig, ItemKind.READ)
        assert answers(rig.advance(5_100)) == [Answered(31, OutcomeCode.UNAVAILABLE, b"")]

    @pytest.mark.parametrize("code", [OutcomeCode.BUSY, OutcomeCode.DISK_FULL])
    def test_a_refusal_says_nothing_of_an_earlier_attempt(
        self, rig: Rig, code: OutcomeCode
    ) -> None:
        ask(rig)
        rig.turn()
        item = rig.asked.pop()
        rig.advance(1_020)
        rig.answer(item, None, code)
        assert answers(rig.turn()) == []
        assert answers(rig.advance(5_100)) == [Answered(31, OutcomeCode.UNKNOWN, b"")]

    def test_a_short_deadline_is_kept(self, rig: Rig) -> None:
        ask(rig, deadline_ms=300)
        effects = rig.advance(320)
        assert answers(effects) == [Answered(31, OutcomeCode.UNKNOWN, b"")]
        assert len(submitted(effects)) == 1

    def refuse_until_the_end(self, rig: Rig, code: OutcomeCode) -> list[Effect]:
        effects = rig.turn()
        for _ in range(600):
            for item in list(rig.asked):
                rig.answer(item, None, code)
            effects += rig.advance(10)
        return effects


class TestRetries:
    def test_silence_is_asked_again_with_the_same_item(self, rig: Rig) -> None:
        ask(rig, deadline_ms=10_000)
        rig.turn()
        item = rig.asked.pop()
        rig.advance(7_100)  # after 1, 2 and 4 s more
        assert rig.asked == [item, item, item]

    def test_a_lost_router_is_left_for_another(self, rig: Rig) -> None:
        rig.up("router-2")
        ask(rig)
        [effect] = rig.turn()
        assert isinstance(effect, Send)
        other = "router-1" if effect.to == "router-2" else "router-2"
        rig.down(other)
        rig.down(effect.to)
        item = rig.asked.pop()
        rig.up(other, answer_probes=False)
        assert item in rig.asked

    def test_a_bounced_item_is_asked_again_soon(self, rig: Rig) -> None:
        ask(rig)
        [effect] = rig.turn()
        assert isinstance(effect, Send)
        rig.core.undeliverable(rig.now, effect.to, effect.message)
        assert len(submitted(rig.advance(80))) == 1
        rig.answer(rig.asked[0], Done())
        rig.turn()
        rig.core.undeliverable(rig.now, effect.to, effect.message)
        assert rig.turn() == []

    def test_two_answers_to_one_try_make_one_pause(self, rig: Rig) -> None:
        ask(rig)
        rig.turn()
        item = rig.asked.pop()
        rig.answer(item, None, OutcomeCode.NOT_LEADER)
        rig.answer(item, None, OutcomeCode.NOT_LEADER)
        rig.advance(80)
        assert rig.asked == [item]


class TestLeaderMoved:
    ALL = LeaderMoved([0, 1, 2, 3])

    @pytest.mark.promise("P6")
    def test_what_is_in_flight_or_pauses_goes_again_at_once(self, rig: Rig) -> None:
        ask(rig)
        rig.turn()
        item = rig.asked.pop()
        rig.receive(self.ALL)
        rig.turn()
        assert rig.asked.pop() == item
        rig.answer(item, None, OutcomeCode.UNAVAILABLE)
        rig.receive(self.ALL)
        rig.turn()
        assert rig.asked == [item]
        rig.answer(item, Done())
        assert answers(rig.turn()) == [Answered(31, OutcomeCode.DONE, encode(Done()))]
        assert answers(rig.advance(6_000)) == []

    def test_what_was_in_flight_may_have_been_done(self, rig: Rig) -> None:
        ask(rig)
        rig.turn()
        rig.receive(self.ALL)
        rig.turn()
        rig.answer(rig.asked[0], None, OutcomeCode.BUSY)
        assert answers(rig.turn()) == []
        assert answers(rig.advance(5_100)) == [Answered(31, OutcomeCode.UNKNOWN, b"")]

    def test_other_partitions_stay(self, rig: Rig) -> None:
        ask(rig)
        rig.turn()
        rig.receive(LeaderMoved([99]))
        rig.receive(self.ALL, "router-2")
        assert submitted(rig.turn()) == []


@pytest.mark.promise("P6")
def test_a_question_goes_to_another_router_when_the_first_cannot_reach_the_leader(rig: Rig) -> None:
    rig.up("router-2")
    ask(rig)
    asked = []
    while len(asked) < limits.ROUTER_TRIES + 1:
        asked += [e.to for e in rig.advance(20) if submitted([e]) and isinstance(e, Send)]
        for item in list(rig.asked):
            rig.answer(item, None, OutcomeCode.NOT_LEADER)
    assert set(asked[:-1]) == {asked[0]}
    assert asked[-1] != asked[0]


@pytest.mark.promise("P9")
def test_above_the_bound_a_question_is_busy(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GATEWAY_REQUESTS_MAX", 0)
    ask(rig)
    assert rig.turn() == [Answered(31, OutcomeCode.BUSY, b"")]


class TestReadiness:
    def test_every_partition_must_have_answered_once(self) -> None:
        rig = Rig()
        assert not rig.core.ready
        rig.up(answer_probes=False)
        probes = [item for item in rig.asked if item.body == encode(Probe())]
        assert len({item.key for item in probes}) == 4
        rig.asked.clear()
        for item in probes[:3]:
            rig.answer(item, Done())
        assert not rig.core.ready
        assert rig.core.problems() == ["1 partitions have no leader that answered yet"]
        rig.answer(probes[3], None, OutcomeCode.NOT_LEADER)
        rig.advance(6_000)
        assert not rig.core.ready
        rig.answer(rig.asked[-1], Done())
        assert rig.core.ready
        assert rig.core.problems() == []

    def test_afterwards_a_router_is_enough(self, rig: Rig) -> None:
        assert rig.core.ready
        rig.down("router-1")
        assert not rig.core.ready
        assert rig.core.problems() == ["no router is linked: nothing can be sent or delivered"]
        rig.up("router-2", answer_probes=False)
        assert rig.core.ready

    def test_a_probe_outlives_its_deadline(self) -> None:
        rig = Rig(partitions=1)
        rig.advance(20_000)
        rig.up(answer_probes=True)
        assert rig.core.ready


class TestOnline:
    def test_a_router_tells_who_is_online(self, rig: Rig) -> None:
        rig.core.online(rig.now, 5, ["ada", "bob"])
        [query] = messages(rig.turn())
        assert isinstance(query, OnlineQuery)
        assert query.uids == ["ada", "bob"]
        rig.receive(OnlineAnswer(query.request, [("ada", 1)]))
        assert rig.turn() == [OnlineFound(5, [("ada", 1)])]
        rig.receive(OnlineAnswer(query.request, [("ada", 1)]))
        assert rig.advance(6_000) == []

    def test_silence_is_asked_again_and_ends(self, rig: Rig) -> None:
        rig.core.online(rig.now, 5, ["ada"])
        effects = rig.advance(5_100)
        asked = [m for m in messages(effects) if isinstance(m, OnlineQuery)]
        assert len(asked) == 5
        assert OnlineFound(5, None) in effects

    def test_without_a_router_it_waits_for_one(self) -> None:
        rig = Rig()
        rig.core.online(rig.now, 5, ["ada"])
        assert messages(rig.advance(200)) == []
        asked = [m for m in messages(rig.up()) if isinstance(m, OnlineQuery)]
        assert len(asked) == 1
