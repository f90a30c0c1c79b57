"""Items go to whom the ring names and answers to who asked."""

from __future__ import annotations

import pytest
from router_rig import GATEWAY_1, GATEWAY_2, PARTITIONS, STORAGE_1, STORAGE_2, Rig, peer

from zmqim.bus.effects import Send
from zmqim.bus.messages import (
    Answer,
    Answers,
    Item,
    Outcome,
    OutcomeCode,
    Outcomes,
    Propose,
    RoutedItem,
    Submit,
)
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
    rig.core.undeliverable(rig.now, STORAGE_1, send.message)
    assert rig.turn() == [Send(GATEWAY_1, Answers([Answer(9, code, b"")]))]
    assert rig.core.items_in_flight == 0


def test_not_leader_with_a_name_corrects_the_route_and_without_one_forgets_it() -> None:
    rig = Rig()
    origin = origin_of(rig.say(GATEWAY_1, Submit([Item(1, key_in(0), 0, b"")])))
    for hint, leader in [(b"storage-2", STORAGE_2), (b"", STORAGE_1), (b"storage-9", STORAGE_1)]:
        answer = Answer(1, OutcomeCode.NOT_LEADER, hint)
        outcome = Outcome(origin, 1, 0, OutcomeCode.NOT_LEADER, hint)
        assert rig.say(STORAGE_1, Outcomes([outcome])) == [Send(GATEWAY_1, Answers([answer]))]
        assert rig.say(GATEWAY_1, Submit([Item(2, key_in(0), 0, b"")]))[0].to == leader


def test_a_corrected_route_falls_back_to_the_ring_when_that_link_goes() -> None:
    rig = Rig()
    origin = origin_of(rig.say(GATEWAY_1, Submit([Item(1, key_in(0), 0, b"")])))
    code = OutcomeCode.NOT_LEADER
    rig.say(STORAGE_1, Outcomes([Outcome(origin, 1, 0, code, b"storage-2")]))
    rig.core.peer_down(rig.now, STORAGE_2)
    assert rig.say(GATEWAY_1, Submit([Item(2, key_in(0), 0, b"")]))[0].to == STORAGE_1


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


def test_a_batch_keeps_to_its_bounds_in_items_and_bytes() -> None:
    rig = Rig()
    key = key_in(0)
    many = [Item(number, key, 0, b"") for number in range(BATCH_ITEMS_MAX + 1)]
    assert [len(send.message.items) for send in rig.say(GATEWAY_1, Submit(many))] == [  # type: ignore[union-attr]
        BATCH_ITEMS_MAX,
        1,
    ]
    large = [Item(number, key, 0, bytes(BATCH_BYTES_MAX // 2 + 1)) for number in range(3)]
    assert [len(send.message.items) for send in rig.say(GATEWAY_1, Submit(large))] == [1, 1, 1]  # type: ignore[union-attr]


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
