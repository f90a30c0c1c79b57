"""Frames to gateways: what happens without credit, without a link, and when the bus refuses."""

from __future__ import annotations

import pytest
from router_rig import (
    GATEWAY_1,
    ROUTER,
    STORAGE_1,
    STORAGE_2,
    Rig,
    ack_of,
    delivery,
    entry,
    members,
    message,
    notices,
    peer,
)

from zmqim.bus.effects import Send, View
from zmqim.bus.messages import (
    Announce,
    Answers,
    Deliver,
    DeliverAck,
    Dirty,
    DirtyChannel,
    MissingPlan,
    UserChanged,
    Withdraw,
)
from zmqim.chat.encoding import encode
from zmqim.chat.notices import MessageNotice, UserNotice
from zmqim.chat.results import MembersPage
from zmqim.limits import NOT_LEADER_RETRY_MS, REQUEST_RETRY_MS
from zmqim.router import credits

PARTITION = 3


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """ann and bob at one gateway, with credit for four small messages."""
    monkeypatch.setattr(credits, "GATEWAY_CREDIT_BYTES", 4 * size(message("bob@ann", 1)))
    made = Rig()
    made.say(GATEWAY_1, Announce([entry(1, "ann"), entry(2, "bob")]))
    return made


def size(notice: MessageNotice, sessions: int = 2) -> int:
    overhead = credits.DELIVERY_OVERHEAD_BYTES
    return len(notice.operation) + overhead + sessions * credits.SESSION_BYTES


def commit(rig: Rig, *items: tuple[int, MessageNotice]) -> list[Send]:
    return rig.say(STORAGE_2, notices(PARTITION, 0, *items))


def chat(first: int, last: int) -> list[tuple[int, MessageNotice]]:
    return [(number, message("bob@ann", number)) for number in range(first, last + 1)]


@pytest.mark.promise("P4")
def test_without_credit_messages_become_one_mark_that_is_sent_when_half_is_free(rig: Rig) -> None:
    sends = commit(rig, *chat(1, 6))
    assert sends == [
        Send(GATEWAY_1, Deliver(1, [delivery(notice, [2, 1]) for _, notice in chat(1, 4)]))
    ]
    assert commit(rig, *chat(7, 7)) == []
    ack = Send(STORAGE_2, ack_of(PARTITION, 1, 7))
    dirty = Dirty(2, [DirtyChannel(1, "bob@ann", False, 5, 7, [2, 1])])
    assert rig.say(GATEWAY_1, DeliverAck(1)) == [Send(GATEWAY_1, dirty), ack]
    assert commit(rig, *chat(8, 8)) == [
        Send(GATEWAY_1, Deliver(3, [delivery(message("bob@ann", 8), [2, 1])]))
    ]
    assert rig.core.counters()["dirty_marked"] == 3


def test_while_marks_wait_nothing_overtakes_them(rig: Rig) -> None:
    commit(rig, *chat(1, 1))
    commit(rig, *chat(2, 2))
    commit(rig, *chat(3, 3))
    commit(rig, *chat(4, 4))
    commit(rig, *chat(5, 5))
    assert rig.say(GATEWAY_1, DeliverAck(1)) == [Send(STORAGE_2, ack_of(PARTITION, 1, 1))]
    assert commit(rig, *chat(6, 6)) == []
    dirty = Dirty(5, [DirtyChannel(1, "bob@ann", False, 5, 6, [2, 1])])
    assert rig.say(GATEWAY_1, DeliverAck(2))[0] == Send(GATEWAY_1, dirty)


def test_transient_messages_without_credit_are_dropped(rig: Rig) -> None:
    commit(rig, *chat(1, 4))
    assert commit(rig, (0, message("bob@ann", 0))) == []
    assert rig.say(GATEWAY_1, DeliverAck(1)) == [Send(STORAGE_2, ack_of(PARTITION, 1, 4))]


def test_a_mark_of_a_command_message_says_so(rig: Rig) -> None:
    commit(rig, *chat(1, 4))
    commit(rig, (5, message("bob@ann____cmd", 1, flags=4)))
    broken = MessageNotice(1, "bob@ann", 9, 1, 1, 0, b"\xc1")
    commit(rig, (6, broken))
    dirty = Dirty(
        2,
        [
            DirtyChannel(1, "bob@ann", True, 1, 1, [2, 1]),
            DirtyChannel(1, "bob@ann", False, 9, 9, [2, 1]),
        ],
    )
    assert rig.say(GATEWAY_1, DeliverAck(1))[0] == Send(GATEWAY_1, dirty)


@pytest.mark.promise("P5")
def test_marks_after_a_removal_do_not_name_the_removed(rig: Rig) -> None:
    group = [
        (number, message("group", number, channel_type=2, member_version=1))
        for number in range(1, 8)
    ]
    (send,) = commit(rig, group[0])
    page = MembersPage(1, 2, ["ann", "bob"], False)
    answer_query(rig, send, page)
    commit(rig, *group[1:5])
    change = members("group", 6, [], ["bob"], previous=1, count=1)
    rig.say(STORAGE_2, notices(PARTITION, 5, (6, change)))
    commit(rig, (7, message("group", 6, channel_type=2, member_version=6)))
    sends = rig.say(GATEWAY_1, DeliverAck(2))
    (dirty,) = [send.message for send in sends if isinstance(send.message, Dirty)]
    assert dirty.channels == [
        DirtyChannel(2, "group", False, 5, 5, [1, 2]),
        DirtyChannel(2, "group", False, 6, 6, [1]),
    ]


def answer_query(rig: Rig, send: Send, page: MembersPage) -> list[Send]:
    from zmqim.bus.messages import Outcome, Outcomes, Propose

    assert isinstance(send.message, Propose)
    request = send.message.items[0].request
    return rig.say(STORAGE_2, Outcomes([Outcome(0, request, PARTITION, 0, encode(page))]))


def test_at_the_bound_of_marks_the_oldest_channel_goes_and_is_counted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credits, "DIRTY_CHANNELS_MAX", 2)
    commit(rig, *chat(1, 4))
    for number, uid in enumerate(["x", "y", "z"], start=5):
        commit(rig, (number, message(f"ann@{uid}", 1)))
    sends = rig.say(GATEWAY_1, DeliverAck(1))
    (dirty,) = [send.message for send in sends if isinstance(send.message, Dirty)]
    assert [channel.channel_id for channel in dirty.channels] == ["ann@y", "ann@z"]
    assert rig.core.counters()["dirty_dropped"] == 1


def test_bans_go_out_even_without_credit(rig: Rig) -> None:
    commit(rig, *chat(1, 6))
    notice = UserNotice("bob", True, False)
    assert rig.say(STORAGE_2, notices(PARTITION, 0, (7, notice))) == [
        Send(GATEWAY_1, UserChanged(2, "bob", True, False, None, 12))
    ]


@pytest.mark.promise("P4")
def test_what_was_on_its_way_when_a_link_broke_is_pulled_when_it_stands_again(rig: Rig) -> None:
    commit(rig, *chat(1, 2))
    ban = UserNotice("bob", False, True)
    rig.say(STORAGE_2, notices(PARTITION, 0, (3, ban)))
    rig.core.peer_down(rig.now, GATEWAY_1)
    assert rig.turn() == [Send(STORAGE_2, ack_of(PARTITION, 1, 3))]
    assert commit(rig, *chat(4, 4)) == [Send(STORAGE_2, ack_of(PARTITION, 1, 4))]
    rig.core.peer_up(rig.now, peer(GATEWAY_1))
    dirty = Dirty(1, [DirtyChannel(1, "bob@ann", False, 1, 4, [2, 1])])
    changed = UserChanged(2, "bob", False, True, None, 12)
    assert rig.turn() == [Send(GATEWAY_1, dirty), Send(GATEWAY_1, changed)]
    rig.core.peer_down(rig.now, GATEWAY_1)
    rig.core.peer_up(rig.now, peer(GATEWAY_1))
    assert rig.turn() == [Send(GATEWAY_1, dirty), Send(GATEWAY_1, changed)]


def test_a_ban_that_came_while_the_link_was_down_waits_for_it(rig: Rig) -> None:
    rig.core.peer_down(rig.now, GATEWAY_1)
    ban = UserNotice("bob", True, False)
    assert rig.say(STORAGE_2, notices(PARTITION, 0, (3, ban))) == [
        Send(STORAGE_2, ack_of(PARTITION, 1, 3))
    ]
    rig.core.peer_up(rig.now, peer(GATEWAY_1))
    assert rig.turn() == [Send(GATEWAY_1, UserChanged(1, "bob", True, False, None, 12))]


def test_a_second_link_of_the_same_life_counts_frames_anew(rig: Rig) -> None:
    commit(rig, *chat(1, 1))
    rig.core.peer_up(rig.now, peer(GATEWAY_1))
    assert rig.turn()[0] == Send(
        GATEWAY_1, Dirty(1, [DirtyChannel(1, "bob@ann", False, 1, 1, [2, 1])])
    )


def test_marks_of_a_gateway_that_died_are_forgotten(rig: Rig) -> None:
    commit(rig, *chat(1, 6))
    rig.core.peer_down(rig.now, GATEWAY_1)
    rig.core.view_changed(rig.now, View((), (ROUTER,), (STORAGE_1, STORAGE_2)))
    rig.core.peer_up(rig.now, peer(GATEWAY_1, 2))
    assert [send for send in rig.turn() if send.to == GATEWAY_1] == []


@pytest.mark.promise("P4")
def test_frames_that_the_bus_refused_go_again_in_order_and_nothing_overtakes(rig: Rig) -> None:
    (one,) = commit(rig, *chat(1, 1))
    (two,) = commit(rig, *chat(2, 2))
    rig.core.undeliverable(rig.now, GATEWAY_1, two.message)
    rig.core.undeliverable(rig.now, GATEWAY_1, one.message)
    assert commit(rig, *chat(3, 3)) == []
    dirty = Dirty(3, [DirtyChannel(1, "bob@ann", False, 3, 3, [2, 1])])
    assert rig.wait(NOT_LEADER_RETRY_MS) == [
        one,
        two,
        Send(GATEWAY_1, dirty),
    ]
    assert rig.say(GATEWAY_1, DeliverAck(3)) == [Send(STORAGE_2, ack_of(PARTITION, 1, 3))]


def test_refused_frames_of_gateways_that_are_gone_are_nobodys(rig: Rig) -> None:
    (one,) = commit(rig, *chat(1, 1))
    rig.say(GATEWAY_1, DeliverAck(1))
    rig.core.undeliverable(rig.now, GATEWAY_1, one.message)
    rig.core.undeliverable(rig.now, ROUTER, one.message)
    rig.core.undeliverable(rig.now, GATEWAY_1, Answers([]))
    assert rig.wait(NOT_LEADER_RETRY_MS) == []


@pytest.mark.promise("P4")
def test_a_frame_that_nobody_acknowledged_for_a_while_is_repeated(rig: Rig) -> None:
    (one,) = commit(rig, *chat(1, 1))
    commit(rig, *chat(2, 2))
    rig.wait(REQUEST_RETRY_MS)
    assert rig.wait(REQUEST_RETRY_MS) == [one]
    rig.say(GATEWAY_1, DeliverAck(2))
    assert rig.wait(REQUEST_RETRY_MS) == []


def test_a_gateway_that_missed_a_frame_gets_it_and_those_behind_it_again(rig: Rig) -> None:
    (one,) = commit(rig, *chat(1, 1))
    (two,) = commit(rig, *chat(2, 2))
    (changed,) = rig.say(STORAGE_2, notices(PARTITION, 0, (3, UserNotice("bob", True, False))))
    assert rig.say(GATEWAY_1, MissingPlan(0, 0, 2)) == [two, changed]
    assert rig.say(GATEWAY_1, MissingPlan(0, 0, 1)) == [one, two, changed]
    assert rig.core.counters()["frames_missing"] == 2


def test_a_turn_beyond_the_bounds_of_a_frame_makes_a_second_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credits, "BATCH_ITEMS_MAX", 2)
    sends = commit(rig, *chat(1, 3))
    assert [send.message.frame for send in sends] == [1, 2]  # type: ignore[union-attr]
    assert rig.say(GATEWAY_1, DeliverAck(1)) == []
    assert rig.say(GATEWAY_1, DeliverAck(2)) == [Send(STORAGE_2, ack_of(PARTITION, 1, 3))]


def test_a_session_that_ended_is_not_in_the_next_mark(rig: Rig) -> None:
    commit(rig, *chat(1, 5))
    rig.say(GATEWAY_1, Withdraw([2]))
    commit(rig, *chat(6, 6))
    sends = rig.say(GATEWAY_1, DeliverAck(1))
    assert sends[0].message == Dirty(
        2,
        [
            DirtyChannel(1, "bob@ann", False, 5, 5, [2, 1]),
            DirtyChannel(1, "bob@ann", False, 6, 6, [1]),
        ],
    )
