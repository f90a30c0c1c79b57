"""Frames of routers to RECVs: cursors, fan-out lists, redelivery and lagging sessions."""

from __future__ import annotations

import pytest
from gateway_rig import (
    HLC,
    ORIGIN,
    SECONDS,
    Rig,
    closed,
    delivery,
    group_message,
    messages,
    queries,
    recvs,
    sequences,
    to_client,
)

from zmqim import limits
from zmqim.bus.effects import Send
from zmqim.bus.messages import (
    Deliver,
    DeliverAck,
    Delivery,
    Dirty,
    DirtyChannel,
    MissingPlan,
    OutcomeCode,
    Plan,
    UserChanged,
)
from zmqim.chat.channels import person_channel_id
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage
from zmqim.chat.queries import MessagesQuery
from zmqim.chat.results import MessageRow, MessagesPage, Rejected
from zmqim.gateway import pushing
from zmqim.gateway.effects import ToClient
from zmqim.gateway.plugin import CloseReason
from zmqim.wkproto.packets import Ping, Recv, Recvack


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.up("router-1")
    rig.open_session(1, "ada")
    rig.open_session(2, "bob")
    return rig


def page(first: int, last: int, more: bool = False, **fields: object) -> MessagesPage:
    """Messages `first` to `last` of group "g"."""
    body = group_message(**fields)  # type: ignore[arg-type]
    rows = [MessageRow(seq, 5_000 + seq, HLC, 0, body) for seq in range(first, last + 1)]
    return MessagesPage(rows, more, last)


def pull(start: int, end: int, **fields: object) -> MessagesQuery:
    """The query for sequences `start` to `end` of group "g"."""
    limit = limits.UNACKED_PUSHES_MAX
    return MessagesQuery(2, "g", "", start, end + 1, limit, 1, **fields)  # type: ignore[arg-type]


class TestRecv:
    def test_a_group_message_is_pushed_as_it_is(self, rig: Rig) -> None:
        body = encode(
            SendMessage(2, "g", "cid", "no", b"hi", 0x8E, 2, 60, "topic", origin=ORIGIN | 9)
        )
        rig.deliver(Delivery(2, "g", 5, 77, HLC, body, [1, 2, 99]))
        recv = Recv(77, 5, SECONDS, "cid", "g", 2, "no", b"hi", 0x8A, 2, 60, "topic")
        assert rig.turn() == [
            Send("router-1", DeliverAck(1)),
            ToClient(1, [recv]),
            ToClient(2, [recv]),
        ]

    def test_a_person_channel_is_the_peer_and_own_devices_get_no_red_dot(self, rig: Rig) -> None:
        rig.open_session(3, "ada")
        channel = person_channel_id("ada", "bob")
        body = encode(SendMessage(1, channel, "ada", "no", b"hi", flags=2, origin=ORIGIN | 1))
        rig.deliver(Delivery(1, channel, 1, 77, HLC, body, [1, 2, 3]))
        effects = rig.turn()
        assert recvs(effects, 1) == []
        [seen] = recvs(effects, 2)
        assert (seen.channel_id, seen.from_uid, seen.flags) == ("ada", "ada", 2)
        [own] = recvs(effects, 3)
        assert (own.channel_id, own.from_uid, own.flags) == ("bob", "ada", 0)

    def test_sessions_that_are_not_open_get_nothing(self, rig: Rig) -> None:
        rig.accept(3)
        rig.push(1, [3])
        assert rig.turn() == [Send("router-1", DeliverAck(1))]

    def test_an_unreadable_message_is_counted(self, rig: Rig) -> None:
        rig.deliver(Delivery(2, "g", 1, 1, HLC, b"\xc1", [1]))
        assert rig.turn() == [Send("router-1", DeliverAck(1))]
        assert rig.core.counters.wire_errors == 1


@pytest.mark.promise("P4")
class TestOrder:
    def test_repeats_are_dropped(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.push(2, [1])
        rig.push(1, [1])
        rig.push(2, [1])
        rig.push(3, [1])
        assert sequences(rig.turn(), 1) == [1, 2, 3]

    def test_a_gap_is_pulled_before_what_follows_it(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.push(4, [1])
        effects = rig.turn()
        assert sequences(effects, 1) == [1]
        assert queries(effects) == [pull(2, 4)]
        rig.push(5, [1])
        assert sequences(rig.turn(), 1) == []
        rig.answer(rig.asked[0], page(2, 4))
        effects = rig.turn()
        assert sequences(effects, 1) == [2, 3, 4]
        assert queries(effects) == [pull(5, 5)]
        rig.answer(rig.asked[0], page(5, 5))
        assert sequences(rig.turn(), 1) == [5]
        rig.push(6, [1])
        assert sequences(rig.turn(), 1) == [6]

    def test_the_cursor_of_the_sending_session_moves_on(self, rig: Rig) -> None:
        rig.push(1, [1, 2])
        rig.push(2, [1, 2], origin=ORIGIN | 1)
        rig.push(3, [1, 2])
        effects = rig.turn()
        assert sequences(effects, 1) == [1, 3]
        assert sequences(effects, 2) == [1, 2, 3]
        assert queries(effects) == []

    def test_the_command_channel_has_a_cursor_of_its_own(self, rig: Rig) -> None:
        rig.push(5, [1])
        rig.push(1, [1], flags=4)
        rig.push(3, [1], flags=4)
        effects = rig.turn()
        assert [(r.message_seq, r.flags) for r in recvs(effects, 1)] == [(5, 0), (1, 4)]
        assert queries(effects) == [pull(2, 3, command=True)]

    def test_sequences_that_are_gone_are_skipped(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.push(9, [1])
        rig.turn()
        rig.answer(rig.asked[0], page(4, 5))
        rig.push(10, [1])
        assert sequences(rig.turn(), 1) == [4, 5, 10]

    def test_a_page_that_goes_on_is_read_on(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.push(9, [1])
        rig.turn()
        rig.answer(rig.asked[0], page(2, 3, more=True))
        effects = rig.turn()
        assert sequences(effects, 1) == [2, 3]
        assert queries(effects) == [pull(4, 9)]

    def test_sessions_at_the_same_place_share_a_pull(self, rig: Rig) -> None:
        rig.push(1, [1, 2])
        rig.push(3, [1, 2])
        effects = rig.turn()
        assert queries(effects) == [pull(2, 3)]
        rig.core.session_closed(rig.now, 1)
        rig.answer(rig.asked[0], page(2, 3))
        effects = rig.turn()
        assert sequences(effects, 1) == []
        assert sequences(effects, 2) == [2, 3]

    def test_a_pull_that_fails_is_tried_again(self, rig: Rig) -> None:
        rig.push(1, [1, 2])
        rig.push(3, [1, 2])
        rig.advance(5_500)
        rig.core.session_closed(rig.now, 2)
        effects = rig.advance(1_000)
        assert queries(effects) == [pull(2, 3)]
        rig.answer(rig.asked[-1], "nonsense")
        assert queries(rig.advance(1_000)) == [pull(2, 3)]
        rig.answer(rig.asked[-1], page(2, 3))
        assert sequences(rig.turn(), 1) == [2, 3]

    def test_a_refused_pull_gives_the_range_up(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.push(3, [1])
        rig.turn()
        rig.answer(rig.asked[0], Rejected(5))
        rig.push(4, [1])
        assert sequences(rig.turn(), 1) == [4]

    @pytest.mark.promise("P5")
    def test_a_pull_shows_nothing_beyond_what_was_meant_for_the_session(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.push(3, [1])
        rig.turn()
        rig.answer(rig.asked[0], page(2, 6))
        effects = rig.turn()
        assert sequences(effects, 1) == [2, 3]
        assert queries(effects) == []

    def test_the_oldest_cursor_is_forgotten_at_the_bound(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pushing, "CURSORS_MAX", 2)
        for channel in ("a", "b", "c"):
            body = group_message(channel_id=channel)
            rig.deliver(Delivery(2, channel, 5, 1, HLC, body, [1]))
        body = group_message(channel_id="a")
        rig.deliver(Delivery(2, "a", 5, 1, HLC, body, [1]))
        assert [r.channel_id for r in recvs(rig.turn(), 1)] == ["a", "b", "c", "a"]


class TestTransient:
    def test_it_is_pushed_once_and_never_again(self, rig: Rig) -> None:
        rig.push(0, [1, 2], flags=1, origin=ORIGIN | 2)
        effects = rig.turn()
        assert sequences(effects, 1) == [0]
        assert sequences(effects, 2) == []
        assert recvs(rig.advance(200_000), 1) == []

    def test_a_session_that_takes_nothing_misses_it(self, rig: Rig) -> None:
        rig.core.writable(rig.now, 1, False)
        rig.push(0, [1], flags=1)
        assert sequences(rig.turn(), 1) == []
        assert rig.core.counters.transient_dropped == 1


@pytest.mark.promise("P4")
class TestRedelivery:
    def keep_alive(self, rig: Rig, milliseconds: int) -> list[Recv]:
        """RECVs of session 1 while its client only pings."""
        found = []
        for _ in range(milliseconds // 5_000):
            rig.packets(1, Ping())
            found += recvs(rig.advance(5_000), 1)
        return found

    def test_without_recvack_it_comes_again_five_times_with_dup(self, rig: Rig) -> None:
        rig.push(1, [1])
        [first] = recvs(rig.turn(), 1)
        times = []
        started = rig.now
        while rig.now < started + 400_000:
            if self_times := recvs(rig.advance(100), 1):
                assert self_times == [
                    Recv(
                        first.message_id,
                        1,
                        first.timestamp,
                        "ada",
                        "g",
                        2,
                        "n",
                        b"hi",
                        flags=8,
                    )
                ]
                times.append(rig.now - started)
            rig.packets(1, Ping())
        assert times == pytest.approx([5_000, 15_000, 35_000, 75_000, 155_000], abs=250)
        assert rig.core.counters.pushes_given_up == 1

    def test_recvack_ends_it(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.push(2, [1])
        first, second = recvs(rig.turn(), 1)
        rig.acknowledge(1, first)
        assert [r.message_seq for r in self.keep_alive(rig, 5_000)] == [2]
        rig.acknowledge(1, second)
        rig.acknowledge(1, second)
        assert self.keep_alive(rig, 300_000) == []
        assert rig.core.counters.pushes_acknowledged == 2

    def test_a_new_push_does_not_wait_for_an_old_ones_long_pause(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.turn()
        assert [r.message_seq for r in self.keep_alive(rig, 10_000)] == [1]
        rig.push(2, [1])
        rig.turn()
        again = [r.message_seq for r in self.keep_alive(rig, 10_000)]
        assert sorted(again) == [1, 2]

    def test_a_session_that_takes_nothing_is_tried_later(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.turn()
        rig.core.writable(rig.now, 1, False)
        assert recvs(rig.advance(12_000), 1) == []
        rig.core.writable(rig.now, 1, True)
        assert [r.message_seq for r in recvs(rig.advance(5_000), 1)] == [1]

    def test_a_closed_session_gets_nothing_more(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.turn()
        rig.core.session_closed(rig.now, 1)
        assert to_client(rig.advance(300_000), 1) == []


@pytest.mark.promise("P9")
class TestLagging:
    def test_a_full_window_is_pulled_when_half_of_it_is_free(self, rig: Rig) -> None:
        window = limits.UNACKED_PUSHES_MAX
        for sequence in range(1, window + 11):
            rig.push(sequence, [1])
        effects = rig.turn()
        got = recvs(effects, 1)
        assert len(got) == window
        assert queries(effects) == []
        rig.acknowledge(1, *got[: window // 2 - 1])
        assert queries(rig.turn()) == []
        rig.acknowledge(1, got[window // 2])
        assert queries(rig.turn()) == [pull(window + 1, window + 10)]
        rig.answer(rig.asked[0], page(window + 1, window + 10))
        assert sequences(rig.turn(), 1) == list(range(window + 1, window + 11))
        rig.push(window + 11, [1])
        assert sequences(rig.turn(), 1) == [window + 11]

    def test_bytes_fill_the_window_too(self, rig: Rig) -> None:
        for sequence in range(1, 10):
            rig.push(sequence, [1], payload=b"x" * 60_000)
        got = recvs(rig.turn(), 1)
        assert len(got) == 5
        rig.acknowledge(1, *got[:3])
        assert queries(rig.turn()) == [pull(6, 9)]
        rig.answer(rig.asked[0], page(6, 9, payload=b"x" * 60_000))
        assert sequences(rig.turn(), 1) == [6, 7, 8]
        rig.acknowledge(1, *got[3:])
        rig.packets(1, Recvack(5_006, 6))
        assert queries(rig.turn()) == [pull(9, 9)]

    def test_other_channels_wait_as_well_and_come_in_order(self, rig: Rig) -> None:
        for sequence in range(1, 6):
            rig.push(sequence, [1], payload=b"x" * 60_000)
        got = recvs(rig.turn(), 1)
        rig.push(6, [1])
        body = group_message(channel_id="h")
        rig.deliver(Delivery(2, "h", 3, 1, HLC, body, [1]))
        assert recvs(rig.turn(), 1) == []
        rig.acknowledge(1, *got)
        effects = rig.turn()
        expected = MessagesQuery(2, "h", "", 3, 4, limits.UNACKED_PUSHES_MAX, 1)
        assert queries(effects) == [pull(6, 6), expected]

    def test_only_so_many_ranges_are_pulled_at_a_time(self, rig: Rig) -> None:
        for number in range(6):
            body = group_message(channel_id=f"c{number}")
            for sequence in (1, 3):
                rig.deliver(Delivery(2, f"c{number}", sequence, 1, HLC, body, [1]))
        assert len(queries(rig.turn())) == pushing.PULLS_PER_SESSION_MAX
        rig.answer(rig.asked[0], MessagesPage([], False, 3))
        assert len(queries(rig.turn())) == 1

    def test_a_slow_session_holds_nobody_back(self, rig: Rig) -> None:
        rig.core.writable(rig.now, 1, False)
        for sequence in range(1, 400):
            rig.push(sequence, [1, 2])
            effects = rig.turn()
            assert sequences(effects, 2) == [sequence]
            assert sequences(effects, 1) == []
            rig.acknowledge(2, *recvs(effects, 2))
        rig.core.writable(rig.now, 1, True)
        assert queries(rig.turn()) == [pull(1, 256)]

    def test_more_than_a_thousand_behind_is_closed_without_a_word(self, rig: Rig) -> None:
        rig.core.writable(rig.now, 1, False)
        for sequence in range(1, limits.LAGGING_MESSAGES_MAX + 1):
            rig.push(sequence, [1])
        assert closed(rig.turn()) == {}
        rig.push(limits.LAGGING_MESSAGES_MAX + 1, [1])
        effects = rig.turn()
        assert closed(effects) == {1: CloseReason.TOO_FAR_BEHIND}
        assert to_client(effects, 1) == []

    def test_not_writable_for_a_minute_is_closed(self, rig: Rig) -> None:
        rig.core.writable(rig.now, 1, False)
        rig.core.writable(rig.now, 2, False)
        rig.advance(30_000)
        rig.core.writable(rig.now, 2, True)
        rig.core.writable(rig.now, 2, False)
        assert closed(rig.advance(31_000)) == {1: CloseReason.TOO_FAR_BEHIND}
        rig.core.session_closed(rig.now, 2)
        assert closed(rig.advance(40_000)) == {}


class TestDirty:
    def dirty(self, rig: Rig, first: int, last: int, sessions: list[int]) -> None:
        rig.frame += 1
        rig.receive(Dirty(rig.frame, [DirtyChannel(2, "g", False, first, last, sessions)]))

    def test_what_was_left_out_is_pulled(self, rig: Rig) -> None:
        rig.push(3, [1])
        self.dirty(rig, 4, 6, [1, 2, 99])
        effects = rig.turn()
        assert messages(effects) == [DeliverAck(2)]
        assert queries(effects) == [pull(4, 6)]
        rig.answer(rig.asked[0], page(4, 6))
        effects = rig.turn()
        assert sequences(effects, 1) == [4, 5, 6]
        assert sequences(effects, 2) == [4, 5, 6]

    def test_what_was_pushed_already_is_not(self, rig: Rig) -> None:
        rig.push(3, [1])
        self.dirty(rig, 2, 3, [1])
        assert queries(rig.turn()) == []

    def test_a_range_that_grows_is_pulled_to_its_end(self, rig: Rig) -> None:
        self.dirty(rig, 1, 2, [1])
        self.dirty(rig, 3, 5, [1])
        rig.turn()
        rig.answer(rig.asked[0], page(1, 2))
        effects = rig.turn()
        assert sequences(effects, 1) == [1, 2]
        assert queries(effects) == [pull(3, 5)]


class TestFrames:
    def test_one_acknowledgement_a_turn_covers_all(self, rig: Rig) -> None:
        for sequence in (1, 2, 3):
            rig.push(sequence, [1])
        assert messages(rig.turn()) == [DeliverAck(3)]
        assert messages(rig.turn()) == []

    def test_a_repeated_frame_is_acknowledged_again(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.turn()
        rig.receive(Deliver(1, [delivery(1, [1])]))
        effects = rig.turn()
        assert messages(effects) == [DeliverAck(1)]
        assert recvs(effects, 1) == []

    def test_a_number_left_out_was_refused_by_the_routers_bus(self, rig: Rig) -> None:
        rig.receive(Deliver(3, [delivery(1, [1])]))
        effects = rig.turn()
        assert messages(effects) == [DeliverAck(3)]
        assert sequences(effects, 1) == [1]

    def test_a_new_link_counts_anew(self, rig: Rig) -> None:
        rig.push(1, [1])
        rig.turn()
        rig.down("router-1")
        rig.receive(Deliver(2, [delivery(2, [1])]))
        assert rig.turn() == []
        rig.up("router-1")
        rig.push(2, [1])
        effects = rig.turn()
        assert messages(effects) == [DeliverAck(1)]
        assert sequences(effects, 1) == [2]

    def test_a_lost_acknowledgement_goes_out_again(self, rig: Rig) -> None:
        rig.push(1, [1])
        [ack] = messages(rig.turn())
        rig.core.undeliverable(rig.now, "router-1", ack)
        rig.core.undeliverable(rig.now, "router-7", ack)
        assert messages(rig.advance(100)) == [DeliverAck(1)]


class TestFanOutLists:
    def test_a_delivery_goes_to_the_list_at_its_version(self, rig: Rig) -> None:
        rig.receive(Plan(4, 1, True, [1, 2, 50], []))
        rig.push(1, [], plan=4, plan_version=1)
        effects = rig.turn()
        assert (sequences(effects, 1), sequences(effects, 2)) == ([1], [1])

    @pytest.mark.promise("P5")
    def test_changes_act_before_what_follows_them(self, rig: Rig) -> None:
        rig.receive(Plan(4, 1, True, [1], []))
        rig.push(1, [], plan=4, plan_version=1)
        rig.receive(Plan(4, 2, False, [2], [1]))
        rig.push(2, [], plan=4, plan_version=2)
        effects = rig.turn()
        assert (sequences(effects, 1), sequences(effects, 2)) == ([1], [2])

    @pytest.mark.parametrize("held", [None, Plan(4, 1, True, [1], []), Plan(4, 2, False, [1], [])])
    def test_a_list_that_is_not_held_is_asked_for_and_nothing_is_taken(
        self, rig: Rig, held: Plan | None
    ) -> None:
        if held:
            rig.receive(held)
        rig.push(1, [], plan=4, plan_version=2)
        rig.push(2, [1])
        effects = rig.turn()
        assert messages(effects) == [MissingPlan(4, 2, 1)]
        assert recvs(effects, 1) == []
        rig.receive(Plan(4, 3, True, [1], []))
        rig.frame = 0
        rig.push(1, [], plan=4, plan_version=3)
        rig.push(2, [1])
        effects = rig.turn()
        assert messages(effects) == [DeliverAck(2)]
        assert sequences(effects, 1) == [1, 2]

    def test_a_change_that_does_not_follow_drops_the_list(self, rig: Rig) -> None:
        rig.receive(Plan(4, 1, True, [1], []))
        rig.receive(Plan(4, 3, False, [2], []))
        rig.push(1, [], plan=4, plan_version=3)
        assert messages(rig.turn()) == [MissingPlan(4, 3, 1)]

    def test_an_empty_list_is_not_kept(self, rig: Rig) -> None:
        rig.receive(Plan(4, 1, True, [1], []))
        rig.receive(Plan(4, 2, True, [], []))
        rig.push(1, [], plan=4, plan_version=2)
        assert messages(rig.turn()) == [MissingPlan(4, 2, 1)]

    def test_a_router_without_a_link_is_not_listened_to(self, rig: Rig) -> None:
        rig.receive(Plan(4, 1, True, [1], []), "router-9")
        rig.receive(Deliver(1, [delivery(1, [1])]), "router-9")
        rig.receive(Dirty(1, [DirtyChannel(2, "g", False, 1, 2, [1])]), "router-9")
        rig.receive(UserChanged(1, "ada", True, True, None, 0), "router-9")
        assert rig.turn() == []

    def test_a_lost_question_is_asked_again(self, rig: Rig) -> None:
        rig.push(1, [], plan=4, plan_version=1)
        [question] = messages(rig.turn())
        rig.core.undeliverable(rig.now, "router-1", question)
        assert messages(rig.advance(100)) == [question]
        rig.core.undeliverable(rig.now, "router-1", question)
        rig.down("router-1")
        assert messages(rig.advance(100)) == []

    def test_a_repeat_that_never_comes_holds_nothing_up(self, rig: Rig) -> None:
        rig.push(1, [], plan=4, plan_version=1)
        rig.turn()
        rig.push(2, [1])
        assert messages(rig.advance(1_100)) == []
        rig.push(3, [1])
        assert messages(rig.turn()) == [DeliverAck(3)]


def test_pulls_are_patient_with_a_busy_leader(rig: Rig) -> None:
    rig.push(1, [1])
    rig.push(3, [1])
    rig.turn()
    rig.answer(rig.asked[0], None, OutcomeCode.BUSY)
    assert queries(rig.advance(80)) == [pull(2, 3)]


class TestExpired:
    """The rig's clock is 1 s after 1970 but for what it is told; messages are of 2023."""

    def at(self, rig: Rig, seconds: int) -> None:
        """The wall clock stands so long after the messages' time."""
        rig.core.set_wall_offset((HLC >> 16) + seconds * 1000 - rig.now)

    def test_what_is_over_moves_the_cursor_and_is_not_pushed(self, rig: Rig) -> None:
        self.at(rig, 10)
        rig.push(1, [1], expire=10)
        rig.push(2, [1], expire=11)
        rig.push(3, [1])
        effects = rig.turn()
        assert sequences(effects, 1) == [2, 3]
        assert queries(effects) == []
        assert rig.core.counters.read()["pushes_expired"] == 1

    def test_a_transient_one_neither(self, rig: Rig) -> None:
        self.at(rig, 10)
        rig.push(0, [1], expire=10)
        rig.push(0, [1], expire=11)
        assert len(recvs(rig.turn(), 1)) == 1

    def test_it_is_not_pushed_again(self, rig: Rig) -> None:
        self.at(rig, 0)
        rig.push(1, [1], expire=4)
        rig.push(2, [1], expire=8)
        assert sequences(rig.turn(), 1) == [1, 2]
        assert sequences(rig.advance(limits.REDELIVERY_PAUSES_MS[0] + 100), 1) == [2]
        assert sequences(rig.advance(200_000), 1) == []

    def test_a_pull_passes_over_it(self, rig: Rig) -> None:
        self.at(rig, 10)
        rig.push(1, [1])
        rig.push(4, [1])
        rig.turn()
        body = [group_message(expire=seconds) for seconds in (5, 0, 0)]
        rows = [MessageRow(seq, 5_000 + seq, HLC, 0, body[seq - 2]) for seq in (2, 3, 4)]
        rig.answer(rig.asked[-1], MessagesPage(rows, False, 4))
        assert sequences(rig.turn(), 1) == [3, 4]
