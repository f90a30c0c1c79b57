"""SEND to SENDACK: checks, lanes, retries, refusals and backpressure."""

from __future__ import annotations

import pytest
from gateway_rig import ORIGIN, Rig, closed, send_packet, submitted, to_client

from zmqim import limits
from zmqim.bus.effects import Peer, Send
from zmqim.bus.messages import (
    Answer,
    Answers,
    Item,
    ItemKind,
    LeaderMoved,
    OutcomeCode,
    Role,
    Submit,
)
from zmqim.chat.channels import person_channel_id, route_key_of_channel
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage
from zmqim.chat.results import Done, Rejected
from zmqim.gateway.effects import SetReading, ToClient
from zmqim.gateway.plugin import CloseReason
from zmqim.gateway.sending import LANES_MAX
from zmqim.ring.partitions import partition_of
from zmqim.wkproto.packets import Sendack

ADA_BOB = person_channel_id("ada", "bob")


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.up("router-1")
    rig.open_session(1, "ada")
    return rig


def payloads(rig: Rig) -> list[bytes]:
    """Payloads of what the turn submits."""
    return [message.payload for message in submitted(rig.turn())]


def frames(rig: Rig) -> list[list[bytes]]:
    """Payloads of the turn's SENDs, Submit by Submit."""
    return [
        [m.payload for m in submitted([effect])] for effect in rig.turn() if submitted([effect])
    ]


class TestOneSend:
    def test_it_is_encoded_once_for_the_partition_of_its_channel(self, rig: Rig) -> None:
        packet = send_packet("bob", b"hi", 7, setting=0x82, flags=0xA, expire=60, topic="t")
        rig.packets(1, packet)
        operation = SendMessage(
            1, ADA_BOB, "ada", "no-7", b"hi", 0x82, 2, 60, "t", ORIGIN | 1, False, 1
        )
        key = route_key_of_channel(1, ADA_BOB)
        [effect] = rig.turn()
        assert isinstance(effect, Send)
        assert isinstance(effect.message, Submit)
        request = effect.message.items[0].request
        assert effect.message == Submit([Item(request, key, ItemKind.WRITE, encode(operation))])
        rig.sent(rig.asked[0], 41, 9_000)
        assert rig.turn() == [ToClient(1, [Sendack(9_000, 7, 41, 1, "no-7")])]

    def test_no_persist_is_transient_and_has_no_sequence(self, rig: Rig) -> None:
        rig.packets(1, send_packet("bob", flags=1))
        rig.turn()
        assert rig.asked[0].kind == ItemKind.TRANSIENT
        rig.sent(rig.asked[0], 0, 77)
        assert to_client(rig.turn(), 1) == [Sendack(77, 1, 0, 1, "no-1")]

    def test_an_empty_client_msg_no_is_replaced_by_one_of_its_own(self, rig: Rig) -> None:
        rig.packets(1, send_packet("bob", seq=1, client_msg_no=""))
        rig.packets(1, send_packet("bob", seq=2, client_msg_no=""))
        numbers = [message.client_msg_no for message in submitted(rig.turn())]
        assert len({*numbers, ""}) == 3

    def test_the_system_uid_is_privileged(self, rig: Rig) -> None:
        rig.open_session(2, "____system")
        rig.send(2, "bob")
        rig.send(1, "bob")
        assert [m.privileged for m in submitted(rig.turn())] == [True, False]

    @pytest.mark.promise("P9")
    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"channel": ""}, 16),
            ({"channel": "g____cmd", "channel_type": 2}, 16),
            ({"channel": "x@y"}, 16),
            ({"channel": "a#b"}, 16),
            ({"channel": "ada@bob@cid"}, 16),
            ({"channel": "g#1", "channel_type": 2}, 16),
            ({"channel": "v", "channel_type": 3}, 16),
            ({"channel": "c", "channel_type": 5}, 16),
            ({"channel": "v@x", "channel_type": 10}, 16),
            ({"channel": "ada@bot@x", "channel_type": 11}, 16),
            ({"channel": "g", "channel_type": 0}, 23),
            ({"channel": "g", "channel_type": 200}, 23),
            ({"channel": "bob", "payload": b"x" * (limits.PAYLOAD_BYTES_MAX + 1)}, 9),
        ],
    )
    def test_what_cannot_be_sent_is_refused_at_once(
        self, rig: Rig, fields: dict[str, object], reason: int
    ) -> None:
        rig.packets(1, send_packet(**fields))  # type: ignore[arg-type]
        assert rig.turn() == [ToClient(1, [Sendack(0, 1, 0, reason, "no-1")])]

    def test_the_largest_payload_passes(self, rig: Rig) -> None:
        rig.send(1, "bob", b"x" * limits.PAYLOAD_BYTES_MAX)
        assert len(payloads(rig)) == 1

    def test_an_agent_channel_has_one_lane_under_both_its_names(self, rig: Rig) -> None:
        rig.packets(1, send_packet("bot", b"1", 1, channel_type=11))
        rig.packets(1, send_packet("ada@bot", b"2", 2, channel_type=11))
        assert [m.channel_id for m in submitted(rig.turn())] == ["ada@bot", "ada@bot"]
        rig.packets(1, send_packet("bot", b"3", 3, channel_type=11))
        assert submitted(rig.turn()) == []

    @pytest.mark.promise("P9")
    def test_a_send_ban_refuses_with_25(self, rig: Rig) -> None:
        rig.open_session(2, "cid", send_ban=True)
        rig.send(2, "bob")
        assert to_client(rig.turn(), 2) == [Sendack(0, 1, 0, 25, "no-1")]

    @pytest.mark.promise("P9")
    def test_a_rejection_of_the_leader_gives_its_reason(self, rig: Rig) -> None:
        rig.send(1, "bob")
        rig.turn()
        rig.answer(rig.asked[0], Rejected(4))
        assert rig.turn() == [ToClient(1, [Sendack(0, 1, 0, 4, "no-1")])]

    def test_another_result_is_a_system_error(self, rig: Rig) -> None:
        rig.send(1, "bob")
        rig.turn()
        rig.answer(rig.asked[0], Done())
        assert to_client(rig.turn(), 1) == [Sendack(0, 1, 0, 15, "no-1")]

    def test_an_answer_for_nobody_is_ignored(self, rig: Rig) -> None:
        rig.receive(Answers([Answer(9_999, 0, b"")]))
        assert rig.turn() == []


class TestRate:
    @pytest.mark.promise("P9")
    def test_above_the_burst_sends_are_refused_with_22_until_time_passes(self) -> None:
        rig = Rig(sends_per_second=100, send_burst=5)
        rig.up()
        rig.open_session(1, "ada")
        for seq in range(1, 8):
            rig.send(1, "bob", seq=seq)
        effects = rig.turn()
        assert len(submitted(effects)) == 5
        assert [ack.reason for ack in to_client(effects, 1)] == [22, 22]  # type: ignore[union-attr]
        rig.advance(25)
        for seq in range(8, 12):
            rig.packets(1, send_packet("cid", seq=seq))
        effects = rig.turn()
        assert len(submitted(effects)) == 2

    def test_the_bound_of_requests_refuses_with_22(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "GATEWAY_REQUESTS_MAX", 2)
        for seq in range(1, 4):
            rig.send(1, "bob", seq=seq)
        effects = rig.turn()
        assert len(submitted(effects)) == 2
        assert to_client(effects, 1) == [Sendack(0, 3, 0, 22, "no-3")]


class TestLanes:
    def test_one_batch_is_in_flight_per_channel(self, rig: Rig) -> None:
        rig.send(1, "bob", b"1", 1)
        rig.send(1, "bob", b"2", 2)
        assert payloads(rig) == [b"1", b"2"]
        rig.send(1, "bob", b"3", 3)
        rig.send(1, "cid", b"other", 4)
        assert payloads(rig) == [b"other"]
        first, second = rig.asked[:2]
        rig.sent(first, 1)
        assert payloads(rig) == []
        rig.sent(second, 2)
        assert payloads(rig) == [b"3"]

    def test_both_names_of_a_person_channel_share_a_lane(self, rig: Rig) -> None:
        rig.send(1, "bob", b"1", 1)
        assert payloads(rig) == [b"1"]
        rig.send(1, "bob@ada", b"2", 2)
        rig.send(1, "ada@bob", b"3", 3)
        assert payloads(rig) == []
        rig.sent(rig.asked[0], 1)
        assert payloads(rig) == [b"2", b"3"]

    def test_idle_lanes_above_the_bound_are_forgotten(self, rig: Rig) -> None:
        for number in range(LANES_MAX + 10):
            rig.packets(1, send_packet(f"u{number}", seq=number))
        assert len(payloads(rig)) == LANES_MAX + 10
        for item in list(rig.asked):
            rig.sent(item, 1)
        rig.turn()
        rig.packets(1, send_packet("fresh", b"x", 1), send_packet("u1", b"y", 2))
        assert payloads(rig) == [b"x", b"y"]

    @pytest.mark.promise("P2")
    def test_a_batch_is_never_cut_and_keeps_to_the_bounds_of_a_frame(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "BATCH_ITEMS_MAX", 3)
        for seq in range(1, 5):
            rig.send(1, "bob", b"%d" % seq, seq)
        for seq in range(5, 7):
            rig.send(1, "cid", b"%d" % seq, seq)
        rig.send(1, "dan", b"7", 7)
        assert frames(rig) == [[b"1", b"2", b"3"], [b"5", b"6", b"7"]]
        for item in rig.asked[:3]:
            rig.sent(item, 1)
        assert frames(rig) == [[b"4"]]

    def test_a_batch_keeps_to_the_bytes_of_a_frame(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "BATCH_BYTES_MAX", 3_000)
        for seq in range(1, 5):
            rig.packets(1, send_packet("bob", b"x" * 1_000, seq))
        rig.packets(1, send_packet("cid", b"x" * 4_000, 5), send_packet("cid", b"y", 6))
        assert [len(payloads) for payloads in frames(rig)] == [2, 1]
        for item in list(rig.asked):
            rig.sent(item, 1)
        assert frames(rig) == [[b"x" * 1_000] * 2 + [b"y"]]


class TestRetries:
    @pytest.mark.promise("P6")
    @pytest.mark.parametrize(
        "code", [OutcomeCode.NOT_LEADER, OutcomeCode.UNAVAILABLE, OutcomeCode.UNKNOWN]
    )
    def test_the_same_bytes_go_again_after_growing_pauses(
        self, rig: Rig, code: OutcomeCode
    ) -> None:
        rig.send(1, "bob")
        rig.turn()
        item = rig.asked.pop()
        times = []
        for _ in range(5):
            rig.answer(item, None, code)
            started = rig.now
            while not rig.asked:
                rig.advance(10)
            assert rig.asked.pop() == item
            times.append(rig.now - started)
        assert times == pytest.approx([50, 100, 200, 250, 250], abs=30)
        rig.sent(item, 1)
        assert [ack.reason for ack in to_client(rig.turn(), 1)] == [1]  # type: ignore[union-attr]

    def test_a_full_link_is_left_alone_for_longer(self, rig: Rig) -> None:
        rig.send(1, "bob")
        [submit] = [e.message for e in rig.turn() if isinstance(e, Send)]
        times = []
        for _ in range(6):
            rig.core.undeliverable(rig.now, "router-1", submit)
            rig.asked.clear()
            started = rig.now
            while not rig.asked:
                rig.advance(10)
            times.append(rig.now - started)
        assert times == pytest.approx([50, 100, 200, 400, 800, 1_000], abs=30)

    def test_silence_is_asked_again_after_a_second(self, rig: Rig) -> None:
        rig.send(1, "bob")
        rig.turn()
        item = rig.asked.pop()
        assert submitted(rig.advance(990)) == []
        rig.advance(30)
        assert rig.asked == [item]

    def test_only_what_has_no_answer_is_asked_again(self, rig: Rig) -> None:
        for seq in (1, 2, 3):
            rig.send(1, "bob", b"%d" % seq, seq)
        rig.turn()
        first, second, third = rig.asked
        rig.sent(first, 1)
        rig.answer(second, None, OutcomeCode.NOT_LEADER)
        rig.answer(third, None, OutcomeCode.NOT_LEADER)
        rig.asked.clear()
        rig.advance(80)
        assert rig.asked == [second, third]

    @pytest.mark.promise("P6")
    def test_after_fifteen_seconds_the_session_is_closed_without_an_answer(self, rig: Rig) -> None:
        rig.send(1, "bob")
        rig.turn()
        effects = rig.advance(14_900)
        assert closed(effects) == {}
        assert len(submitted(effects)) == 4  # after 1, 3, 7 and 11 s
        effects = rig.advance(1_200)
        assert closed(effects) == {1: CloseReason.UNKNOWN_OUTCOME}
        assert to_client(effects, 1) == []
        rig.sent(rig.asked[0], 1)
        assert rig.turn() == []
        assert rig.core.in_flight == 0

    def test_a_lost_router_is_left_for_another_one_soon(self, rig: Rig) -> None:
        rig.send(1, "bob")
        rig.turn()
        item = rig.asked.pop()
        rig.down("router-1")
        assert submitted(rig.advance(300)) == []
        rig.up("router-2", answer_probes=False)
        assert rig.asked == [item]

    @pytest.mark.promise("P6")
    def test_a_suspected_router_is_passed_over_and_what_it_has_goes_to_another(
        self, rig: Rig
    ) -> None:
        rig.up("router-2", answer_probes=False)
        rig.view("router-1", "router-2")
        rig.send(1, "bob")
        (first,) = [e.to for e in rig.turn() if submitted([e]) and isinstance(e, Send)]
        other = "router-2" if first == "router-1" else "router-1"
        item = rig.asked.pop()
        rig.view("router-1", "router-2", suspected=(first,))
        again = [e.to for e in rig.advance(300) if submitted([e]) and isinstance(e, Send)]
        assert (again, rig.asked) == ([other], [item])
        rig.sent(item, 1)
        rig.send(1, "bob")
        assert [e.to for e in rig.turn() if submitted([e]) and isinstance(e, Send)] == [other]
        rig.sent(rig.asked.pop(), 2)
        rig.view("router-1", "router-2")
        rig.send(1, "bob")
        assert [e.to for e in rig.turn() if submitted([e]) and isinstance(e, Send)] == [first]

    def test_where_every_router_is_suspected_they_are_asked_all_the_same(self, rig: Rig) -> None:
        rig.view("router-1", suspected=("router-1",))
        rig.send(1, "bob")
        assert len(submitted(rig.turn())) == 1

    @pytest.mark.promise("P6")
    @pytest.mark.parametrize("code", [OutcomeCode.UNAVAILABLE, None])
    def test_after_some_tries_that_come_to_nothing_another_router_is_asked(
        self, rig: Rig, code: OutcomeCode | None
    ) -> None:
        rig.up("router-2", answer_probes=False)
        asked: list[str] = []
        rig.send(1, "bob")
        while len(asked) < 2 * limits.ROUTER_TRIES + 1:
            asked += [e.to for e in rig.advance(20) if submitted([e]) and isinstance(e, Send)]
            for item in rig.asked if code is not None else []:
                rig.answer(item, None, code, source=asked[-1])
            rig.asked.clear()
        first, second = asked[0], asked[limits.ROUTER_TRIES]
        assert {first, second} == {"router-1", "router-2"}
        tries = limits.ROUTER_TRIES
        assert asked == [first] * tries + [second] * tries + [first]

    def test_without_a_router_sends_wait(self) -> None:
        rig = Rig()
        rig.up()
        rig.open_session(1, "ada")
        rig.down("router-1")
        rig.send(1, "bob")
        assert submitted(rig.advance(2_000)) == []
        rig.core.peer_up(rig.now, Peer("router-1", Role.ROUTER, bytes(16), 2))  # type: ignore[arg-type]
        assert len(submitted(rig.advance(1_100))) == 1

    def test_a_bounced_submit_is_asked_again_soon(self, rig: Rig) -> None:
        rig.send(1, "bob")
        [submit] = [e.message for e in rig.turn() if isinstance(e, Send)]
        rig.asked.clear()
        rig.core.undeliverable(rig.now, "router-1", submit)
        assert len(submitted(rig.advance(80))) == 1

    def test_an_unreadable_result_is_asked_again(self, rig: Rig) -> None:
        rig.send(1, "bob")
        rig.turn()
        item = rig.asked.pop()
        rig.receive(Answers([Answer(item.request, 0, b"\xc1")]))
        rig.advance(80)
        assert rig.asked == [item]
        assert rig.core.counters.wire_errors == 1


class TestDefiniteRefusals:
    @pytest.mark.promise("P9")
    @pytest.mark.parametrize(
        ("code", "reason"), [(OutcomeCode.BUSY, 22), (OutcomeCode.DISK_FULL, 15)]
    )
    def test_the_rest_of_the_lane_is_refused_too(
        self, rig: Rig, code: OutcomeCode, reason: int
    ) -> None:
        rig.send(1, "bob", b"1", 1)
        rig.send(1, "bob", b"2", 2)
        rig.turn()
        rig.send(1, "bob", b"3", 3)
        rig.send(1, "cid", b"4", 4)
        rig.turn()
        first, second = rig.asked[:2]
        rig.answer(first, None, code)
        rig.answer(second, None, code)
        acks = [(p.client_seq, p.reason) for p in to_client(rig.turn(), 1)]  # type: ignore[union-attr]
        assert sorted(acks) == [(1, reason), (2, reason), (3, reason)]
        rig.send(1, "bob", b"5", 5)
        assert payloads(rig) == [b"5"]

    @pytest.mark.promise("P3")
    @pytest.mark.parametrize("code", [OutcomeCode.BUSY, OutcomeCode.DISK_FULL])
    def test_no_refusal_is_definite_once_an_earlier_attempt_may_have_been_taken(
        self, rig: Rig, code: OutcomeCode
    ) -> None:
        rig.send(1, "bob", b"1", 1)
        rig.turn()
        item = rig.asked.pop()
        rig.advance(1_020)
        assert rig.asked.pop() == item
        rig.answer(item, None, code)
        assert to_client(rig.turn(), 1) == []
        rig.advance(80)
        assert rig.asked == [item]
        rig.sent(item, 1)
        assert [ack.reason for ack in to_client(rig.turn(), 1)] == [1]  # type: ignore[union-attr]

    @pytest.mark.parametrize(
        "code", [OutcomeCode.NOT_LEADER, OutcomeCode.UNAVAILABLE, OutcomeCode.BUSY]
    )
    def test_a_refusal_after_attempts_that_were_not_taken_is_definite(
        self, rig: Rig, code: OutcomeCode
    ) -> None:
        rig.send(1, "bob", b"1", 1)
        rig.turn()
        item = rig.asked.pop()
        if code is not OutcomeCode.BUSY:
            rig.answer(item, None, code)
            rig.advance(80)
        rig.answer(item, None, OutcomeCode.BUSY)
        assert [ack.reason for ack in to_client(rig.turn(), 1)] == [22]  # type: ignore[union-attr]

    def test_an_item_that_cannot_be_decoded_is_a_system_error(self, rig: Rig) -> None:
        rig.send(1, "bob")
        rig.turn()
        rig.answer(rig.asked[0], None, OutcomeCode.BAD_REQUEST)
        assert to_client(rig.turn(), 1) == [Sendack(0, 1, 0, 15, "no-1")]

    @pytest.mark.promise("P9")
    def test_what_comes_behind_a_send_without_room_is_refused_for_the_turn(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "GATEWAY_REQUESTS_MAX", 1)
        rig.send(1, "cid", b"0", 1)
        assert payloads(rig) == [b"0"]
        rig.send(1, "bob", b"1", 2)
        rig.sent(rig.asked[0], 1)
        rig.send(1, "bob", b"2", 3)
        effects = rig.turn()
        assert submitted(effects) == []
        acks = [(ack.client_seq, ack.reason) for ack in to_client(effects, 1)]  # type: ignore[union-attr]
        assert acks == [(2, 22), (1, 1), (3, 22)]
        rig.send(1, "bob", b"3", 4)
        assert payloads(rig) == [b"3"]


class TestLeaderMoved:
    """A router says that it asks another storage now: what it had may never be answered."""

    ALL = LeaderMoved([0, 1, 2, 3])

    @pytest.mark.promise("P6")
    def test_what_is_in_flight_goes_again_at_once_with_the_same_bytes(self, rig: Rig) -> None:
        for seq in (1, 2, 3):
            rig.send(1, "bob", b"%d" % seq, seq)
        rig.turn()
        first, second, third = rig.asked
        rig.sent(first, 1)
        rig.asked.clear()
        rig.receive(self.ALL)
        assert payloads(rig) == [b"2", b"3"]
        assert rig.asked == [second, third]
        rig.answer(second, None, OutcomeCode.BUSY)
        assert to_client(rig.advance(80), 1) == []
        assert rig.asked == [third, second, third]

    @pytest.mark.promise("P6")
    def test_a_pause_ends_at_once(self, rig: Rig) -> None:
        rig.send(1, "bob")
        rig.turn()
        item = rig.asked.pop()
        rig.answer(item, None, OutcomeCode.UNAVAILABLE)
        rig.receive(self.ALL)
        rig.turn()
        assert rig.asked == [item]
        rig.sent(item, 1)
        assert [ack.reason for ack in to_client(rig.turn(), 1)] == [1]  # type: ignore[union-attr]
        assert submitted(rig.advance(2_000)) == []

    def test_other_partitions_and_other_routers_flights_stay(self, rig: Rig) -> None:
        rig.send(1, "bob")
        rig.turn()
        rig.up("router-2", answer_probes=False)
        rig.asked.clear()
        key = route_key_of_channel(1, ADA_BOB)
        partition = partition_of(key, 4)
        rig.receive(LeaderMoved([one for one in range(4) if one != partition]))
        rig.receive(LeaderMoved([partition]), "router-2")
        rig.receive(LeaderMoved([99, -1]))
        assert submitted(rig.turn()) == []
        rig.receive(LeaderMoved([partition]))
        assert len(submitted(rig.turn())) == 1

    def test_what_pauses_goes_to_the_router_that_knows_and_only_once(self, rig: Rig) -> None:
        rig.send(1, "bob")
        rig.turn()
        rig.up("router-2", answer_probes=False)
        for item in rig.asked:
            rig.answer(item, None, OutcomeCode.NOT_LEADER)
        for router in ("router-2", "router-1"):
            rig.receive(self.ALL, router)
        assert [e.to for e in rig.turn() if isinstance(e, Send)] == ["router-2"]

    def test_a_late_answer_of_the_old_leader_makes_no_refusal_definite(self, rig: Rig) -> None:
        rig.send(1, "bob")
        rig.turn()
        item = rig.asked.pop()
        rig.receive(self.ALL)
        rig.turn()
        rig.answer(item, None, OutcomeCode.NOT_LEADER)
        rig.advance(80)
        rig.answer(item, None, OutcomeCode.BUSY)
        assert to_client(rig.turn(), 1) == []
        rig.sent(item, 1)
        assert [ack.reason for ack in to_client(rig.turn(), 1)] == [1]  # type: ignore[union-attr]


class TestBackpressure:
    @pytest.mark.promise("P9")
    def test_reading_pauses_above_the_bound_and_goes_on_at_half(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "SESSION_SENDS_PENDING_MAX", 4)
        for seq in range(1, 6):
            rig.send(1, "bob", seq=seq)
        assert SetReading(1, False) in rig.turn()
        items = list(rig.asked)
        rig.sent(items[0], 1)
        rig.sent(items[1], 2)
        assert not [e for e in rig.turn() if isinstance(e, SetReading)]
        rig.sent(items[2], 3)
        assert SetReading(1, True) in rig.turn()

    def test_bytes_count_as_well(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "SESSION_SEND_BYTES_PENDING_MAX", 1_000)
        rig.send(1, "bob", b"x" * 1_000)
        assert SetReading(1, False) in rig.turn()

    def test_a_client_that_does_not_read_is_not_read_from(self, rig: Rig) -> None:
        rig.core.writable(rig.now, 1, False)
        assert rig.turn() == [SetReading(1, False)]
        rig.core.writable(rig.now, 1, False)
        rig.core.writable(rig.now, 99, False)
        assert rig.turn() == []
        rig.core.writable(rig.now, 1, True)
        assert rig.turn() == [SetReading(1, True)]

    def test_a_closed_session_leaves_nothing_behind(self, rig: Rig) -> None:
        rig.send(1, "bob", seq=1)
        rig.turn()
        rig.send(1, "bob", seq=2)
        rig.turn()
        assert rig.core.in_flight == 2
        rig.core.session_closed(rig.now, 1)
        assert rig.core.in_flight == 0
        rig.packets(1, send_packet("bob"))
        assert submitted(rig.advance(20_000)) == []
