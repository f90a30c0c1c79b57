"""Items go to who leads, or to the next that may, and answers to who asked."""

from __future__ import annotations

import pytest
from router_rig import (
    GATEWAY_1,
    GATEWAY_2,
    PARTITIONS,
    RING_OF_THREE,
    STORAGE_1,
    STORAGE_2,
    STORAGE_3,
    Rig,
    message,
    notices,
    peer,
    to,
)

from zmqim.bus.effects import Send
from zmqim.bus.messages import (
    Answer,
    Answers,
    Item,
    LeaderMoved,
    Outcome,
    OutcomeCode,
    Outcomes,
    Propose,
    RoutedItem,
    Submit,
)
from zmqim.bus.replication import Leading
from zmqim.ids import NodeName
from zmqim.limits import BATCH_BYTES_MAX, BATCH_ITEMS_MAX
from zmqim.ring.partitions import partition_of
from zmqim.router import routing


def key_in(partition: int) -> bytes:
    return next(
        key
        for key in (b"\x01%d" % number for number in range(1000))
        if partition_of(key, PARTITIONS) == partition
    )


def origin_of(sends: list[Send]) -> int:
    (send,) = sends
    assert isinstance(send.message, Propose)
    return send.message.items[0].origin


def test_a_turn_makes_one_propose_for_each_leading_storage() -> None:
    rig = Rig()
    items = [Item(number, key_in(number % 4), 0, b"body%d" % number) for number in range(8)]
    sends = rig.say(GATEWAY_1, Submit(items[:4]), Submit(items[4:]))
    origin = sends[0].message.items[0].origin  # type: ignore[union-attr]
    routed = [RoutedItem(origin, number, number % 4, 0, b"body%d" % number) for number in range(8)]
    assert sends == [
        Send(STORAGE_1, Propose([routed[0], routed[2], routed[4], routed[6]])),
        Send(STORAGE_2, Propose([routed[1], routed[3], routed[5], routed[7]])),
    ]


def test_outcomes_of_a_turn_become_one_answers_for_each_gateway() -> None:
    rig = Rig()
    one = origin_of(rig.say(GATEWAY_1, Submit([Item(1, key_in(0), 0, b"")])))
    two = origin_of(rig.say(GATEWAY_2, Submit([Item(1, key_in(0), 0, b"")])))
    outcomes = [Outcome(one, 1, 0, 0, b"a"), Outcome(two, 1, 0, 0, b"b")]
    more = [Outcome(one, 2, 1, OutcomeCode.BUSY, b"")]
    rig.core.receive(rig.now, STORAGE_1, Outcomes(outcomes))
    assert rig.say(STORAGE_2, Outcomes(more)) == [
        Send(GATEWAY_1, Answers([Answer(1, 0, b"a"), Answer(2, OutcomeCode.BUSY, b"")])),
        Send(GATEWAY_2, Answers([Answer(1, 0, b"b")])),
    ]


def test_a_storage_can_submit_what_its_outbox_holds() -> None:
    rig = Rig()
    origin = origin_of(rig.say(STORAGE_2, Submit([Item(5, key_in(0), 0, b"rule")])))
    assert rig.say(STORAGE_1, Outcomes([Outcome(origin, 5, 0, 0, b"done")])) == [
        Send(STORAGE_2, Answers([Answer(5, 0, b"done")]))
    ]


def test_items_for_a_storage_without_link_are_unavailable_at_once() -> None:
    rig = Rig()
    rig.core.peer_down(rig.now, STORAGE_1)
    rig.turn()
    assert not rig.core.is_serving()
    assert rig.say(GATEWAY_1, Submit([Item(9, key_in(0), 0, b"")])) == [
        Send(GATEWAY_1, Answers([Answer(9, OutcomeCode.UNAVAILABLE, b"")]))
    ]
    rig.core.peer_up(rig.now, peer(STORAGE_1, 2))
    assert rig.core.is_serving()
    assert [send.to for send in rig.say(GATEWAY_1, Submit([Item(9, key_in(0), 0, b"")]))] == [
        STORAGE_1
    ]


@pytest.mark.parametrize(
    ("linked", "code"), [(True, OutcomeCode.BUSY), (False, OutcomeCode.UNAVAILABLE)]
)
def test_a_propose_that_the_bus_refused_is_answered(linked: bool, code: OutcomeCode) -> None:
    rig = Rig()
    (send,) = rig.say(GATEWAY_1, Submit([Item(9, key_in(0), 0, b"")]))
    if not linked:
        rig.core.peer_down(rig.now, STORAGE_1)
        rig.turn()
    rig.core.undeliverable(rig.now, STORAGE_1, send.message)
    assert rig.turn() == [Send(GATEWAY_1, Answers([Answer(9, code, b"")]))]
    assert rig.core.items_in_flight == 0


def test_an_outcome_for_a_partition_that_does_not_exist_corrects_nothing() -> None:
    rig = Rig()
    rig.say(STORAGE_1, Outcomes([Outcome(77, 1, 999, OutcomeCode.NOT_LEADER, b"storage-2")]))
    assert rig.say(GATEWAY_1, Submit([Item(1, key_in(0), 0, b"")]))[0].to == STORAGE_1


def test_answers_for_an_earlier_life_of_a_gateway_reach_nobody() -> None:
    rig = Rig()
    origin = origin_of(rig.say(GATEWAY_1, Submit([Item(1, key_in(0), 0, b"")])))
    rig.core.peer_down(rig.now, GATEWAY_1)
    rig.core.peer_up(rig.now, peer(GATEWAY_1, 2))
    assert rig.say(STORAGE_1, Outcomes([Outcome(origin, 1, 0, 0, b"")])) == []


def test_answers_for_the_same_life_arrive_after_its_link_was_down() -> None:
    rig = Rig()
    origin = origin_of(rig.say(GATEWAY_1, Submit([Item(1, key_in(0), 0, b"")])))
    rig.core.peer_down(rig.now, GATEWAY_1)
    assert rig.say(STORAGE_1, Outcomes([Outcome(origin, 1, 0, 0, b"lost")])) == []
    rig.core.peer_up(rig.now, peer(GATEWAY_1))
    assert rig.say(STORAGE_1, Outcomes([Outcome(origin, 1, 0, 0, b"")])) == [
        Send(GATEWAY_1, Answers([Answer(1, 0, b"")]))
    ]


def sizes(sends: list[Send]) -> list[int]:
    return [len(send.message.items) for send in sends]  # type: ignore[union-attr]


def test_a_propose_keeps_to_its_bounds_in_items_and_bytes_and_cuts_no_submit() -> None:
    rig = Rig()
    key = key_in(0)
    most = [Item(number, key, 0, b"") for number in range(BATCH_ITEMS_MAX - 1)]
    two = [Item(number, key, 0, b"x") for number in (1, 2)]
    sends = rig.say(GATEWAY_1, Submit(two), Submit(most), Submit(two), Submit(two))
    assert sizes(sends) == [2, BATCH_ITEMS_MAX - 1, 4]
    halves = [Item(number, key, 0, bytes(BATCH_BYTES_MAX // 2)) for number in (1, 2)]
    sends = rig.say(GATEWAY_1, Submit(two), Submit(halves), Submit(two))
    assert sizes(sends) == [2, 2, 2]


def test_answers_keep_to_their_bounds_in_items_and_bytes() -> None:
    rig = Rig()
    origin = origin_of(rig.say(GATEWAY_1, Submit([Item(1, key_in(0), 0, b"")])))
    many = [Outcome(origin, number, 0, 0, b"") for number in range(BATCH_ITEMS_MAX + 1)]
    assert sizes(rig.say(STORAGE_1, Outcomes(many))) == [BATCH_ITEMS_MAX, 1]
    large = [Outcome(origin, one, 0, 0, bytes(BATCH_BYTES_MAX // 2 + 1)) for one in range(3)]
    assert sizes(rig.say(STORAGE_1, Outcomes(large))) == [1, 1, 1]


def test_remembered_partitions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "PARTITION_CACHE_MAX", 2)
    rig = Rig()
    for partition in (0, 2, 4, 6, 0):
        assert rig.say(GATEWAY_1, Submit([Item(1, key_in(partition), 0, b"")]))[0].to == STORAGE_1
    assert len(rig.core.routing._partitions) <= 2


def test_messages_without_a_link_or_from_the_wrong_kind_of_process_are_strays() -> None:
    rig = Rig()
    rig.core.peer_down(rig.now, GATEWAY_1)
    assert rig.say(GATEWAY_1, Submit([Item(1, key_in(0), 0, b"")])) == []
    assert rig.say(STORAGE_1, Answers([])) == []
    assert rig.say(GATEWAY_2, Answers([])) == []
    assert rig.core.counters()["strays"] == 3


class TestWhoLeads:
    """Three voters a partition, in the ring's order storage-1, storage-2, storage-3."""

    @pytest.fixture
    def rig(self) -> Rig:
        return Rig(RING_OF_THREE, told=False)

    @staticmethod
    def asked(rig: Rig, partition: int = 0) -> NodeName | None:
        """The storage that gets an item of the partition now; None: it is UNAVAILABLE."""
        (send,) = rig.say(GATEWAY_1, Submit([Item(1, key_in(partition), 0, b"")]))
        if isinstance(send.message, Propose):
            return send.to
        assert send.message == Answers([Answer(1, OutcomeCode.UNAVAILABLE, b"")])
        return None

    @staticmethod
    def refuse(
        rig: Rig,
        source: NodeName,
        hint: bytes = b"",
        partition: int = 0,
        code: int = OutcomeCode.NOT_LEADER,
    ) -> list[Send]:
        """An outcome that the asked storage gives for want of a lead."""
        return rig.say(source, Outcomes([Outcome(99, 1, partition, code, hint)]))

    def test_nobody_having_told_the_home_leader_is_asked(self, rig: Rig) -> None:
        assert self.asked(rig) == STORAGE_1

    def test_whoever_says_that_it_leads_is_asked(self, rig: Rig) -> None:
        rig.say(STORAGE_2, Leading([(0, 1), (3, 7)]))
        rig.say(STORAGE_3, notices(5, 0, (4, message("ann@bob", 1)), term=2))
        assert [self.asked(rig, partition) for partition in (0, 1, 3, 5)] == [
            STORAGE_2, STORAGE_1, STORAGE_2, STORAGE_3,
        ]  # fmt: skip

    def test_of_two_that_say_so_the_higher_term_is_right_in_whatever_order(self, rig: Rig) -> None:
        rig.say(STORAGE_2, Leading([(0, 4)]))
        rig.say(STORAGE_1, Leading([(0, 3)]))
        rig.say(STORAGE_1, notices(0, 0, (4, message("ann@bob", 1)), term=3))
        assert self.asked(rig) == STORAGE_2
        rig.say(STORAGE_3, Leading([(0, 5)]))
        assert self.asked(rig) == STORAGE_3

    def test_a_leader_that_the_ring_does_not_name_is_believed_and_left(self) -> None:
        rig = Rig(told=False)
        rig.say(STORAGE_2, Leading([(0, 4)]))
        assert self.asked(rig) == STORAGE_2
        self.refuse(rig, STORAGE_2)
        assert self.asked(rig) == STORAGE_1

    def test_without_a_hint_the_next_voter_is_asked_all_the_way_round(self, rig: Rig) -> None:
        for follower in (STORAGE_2, STORAGE_3, STORAGE_1, STORAGE_2):
            now = self.asked(rig)
            assert now is not None
            self.refuse(rig, now)
            assert self.asked(rig) == follower

    def test_a_hint_is_followed_to_a_linked_voter_only(self, rig: Rig) -> None:
        self.refuse(rig, STORAGE_1, b"storage-3")
        assert self.asked(rig) == STORAGE_3
        for useless in (b"storage-9", b"gateway-1", b"\xff", b"storage-1"):
            rig = Rig(RING_OF_THREE, told=False)
            self.refuse(rig, STORAGE_1, useless)
            assert self.asked(rig) == STORAGE_2
        rig = Rig(RING_OF_THREE, told=False)
        rig.core.peer_down(rig.now, STORAGE_3)
        rig.turn()
        self.refuse(rig, STORAGE_1, b"storage-3")
        assert self.asked(rig) == STORAGE_2

    def test_a_batch_of_refusals_moves_on_once(self, rig: Rig) -> None:
        code = OutcomeCode.NOT_LEADER
        rig.say(STORAGE_1, Outcomes([Outcome(99, number, 0, code, b"") for number in range(5)]))
        assert self.asked(rig) == STORAGE_2
        self.refuse(rig, STORAGE_1, b"storage-3")
        assert self.asked(rig) == STORAGE_2

    def test_an_elected_leader_that_does_not_serve_yet_is_asked_on(self, rig: Rig) -> None:
        self.refuse(rig, STORAGE_1, b"storage-3")
        self.refuse(rig, STORAGE_3, code=OutcomeCode.UNAVAILABLE)
        assert self.asked(rig) == STORAGE_3

    def test_a_leader_without_link_is_forgotten_at_once(self, rig: Rig) -> None:
        rig.say(STORAGE_2, Leading([(0, 4)]))
        rig.core.peer_down(rig.now, STORAGE_2)
        rig.turn()
        assert self.asked(rig) == STORAGE_3
        rig.core.peer_up(rig.now, peer(STORAGE_2))
        assert self.asked(rig) == STORAGE_1
        rig.say(STORAGE_2, Leading([(0, 4)]))
        assert self.asked(rig) == STORAGE_2

    def test_a_link_that_comes_up_takes_nothing_from_a_known_leader(self, rig: Rig) -> None:
        rig.core.peer_down(rig.now, STORAGE_1)
        rig.say(STORAGE_3, Leading([(0, 4)]))
        rig.core.peer_up(rig.now, peer(STORAGE_1, 2))
        assert self.asked(rig) == STORAGE_3

    def test_without_a_linked_voter_items_are_unavailable_until_one_is_there(
        self, rig: Rig
    ) -> None:
        for name in (STORAGE_1, STORAGE_2, STORAGE_3):
            rig.core.peer_down(rig.now, name)
        rig.turn()
        assert self.asked(rig) is None
        rig.core.peer_up(rig.now, peer(STORAGE_3))
        assert self.asked(rig) == STORAGE_3

    def test_what_is_said_of_partitions_that_do_not_exist_is_ignored(self, rig: Rig) -> None:
        assert rig.say(STORAGE_2, Leading([(-1, 3), (PARTITIONS, 3)])) == []
        assert self.refuse(rig, STORAGE_1, b"storage-2", PARTITIONS) == []
        assert self.asked(rig) == STORAGE_1

    def test_items_of_one_turn_go_to_one_storage_each(self, rig: Rig) -> None:
        items = [Item(number, key_in(0), 0, b"") for number in range(3)]
        rig.core.receive(rig.now, GATEWAY_1, Submit(items[:1]))
        rig.core.receive(rig.now, STORAGE_2, Leading([(0, 4)]))
        sends = rig.say(GATEWAY_1, Submit(items[1:]))
        (first,), (rest,) = to(sends, STORAGE_1, Propose), to(sends, STORAGE_2, Propose)
        assert [item.request for item in first.items] == [0]  # type: ignore[union-attr]
        assert [item.request for item in rest.items] == [1, 2]  # type: ignore[union-attr]


class TestLeaderMoved:
    """Gateways hear when it is worth while to ask again, behind the answers of the turn."""

    @staticmethod
    def moved(sends: list[Send]) -> list[list[int]]:
        found = to(sends, GATEWAY_1, LeaderMoved)
        assert found == to(sends, GATEWAY_2, LeaderMoved)
        return [one.partitions for one in found]  # type: ignore[union-attr]

    def test_a_new_leader_is_told_to_every_gateway_in_one_message(self) -> None:
        rig = Rig(RING_OF_THREE)
        origin = origin_of(rig.say(GATEWAY_1, Submit([Item(1, key_in(3), 0, b"")])))
        outcome = Outcome(origin, 1, 3, OutcomeCode.UNKNOWN, b"")
        rig.core.receive(rig.now, STORAGE_2, Leading([(3, 2), (1, 2)]))
        moved = LeaderMoved([1, 3])
        assert rig.say(STORAGE_1, Outcomes([outcome])) == [
            Send(GATEWAY_1, Answers([Answer(1, OutcomeCode.UNKNOWN, b"")])),
            Send(GATEWAY_1, moved),
            Send(GATEWAY_2, moved),
        ]
        assert rig.core.counters()["leader_moves"] == PARTITIONS + 2

    def test_a_lost_link_moves_what_was_asked_there(self) -> None:
        rig = Rig()
        rig.core.peer_down(rig.now, STORAGE_2)
        assert self.moved(rig.turn()) == [[1, 3, 5, 7]]

    def test_a_leader_that_is_elected_again_serves_only_now(self) -> None:
        rig = Rig(RING_OF_THREE)
        assert self.moved(rig.say(STORAGE_1, Leading([(0, 1)]))) == []
        assert self.moved(rig.say(STORAGE_1, Leading([(0, 2)]))) == [[0]]

    def test_what_is_known_or_of_the_past_moves_nothing(self) -> None:
        rig = Rig(RING_OF_THREE)
        rig.say(STORAGE_2, Leading([(0, 4)]))
        rig.core.receive(rig.now, STORAGE_1, Leading([(0, 3)]))
        assert self.moved(rig.say(STORAGE_2, Leading([(0, 4)]))) == []

    def test_a_refusal_moves_nothing_since_it_is_an_answer(self) -> None:
        rig = Rig(RING_OF_THREE)
        outcome = Outcome(99, 1, 0, OutcomeCode.NOT_LEADER, b"storage-2")
        assert rig.say(STORAGE_1, Outcomes([outcome])) == []
