"""Committed notices reach the gateways concerned once, in order, and are then acknowledged."""

from __future__ import annotations

import pytest
from router_rig import (
    GATEWAY_1,
    GATEWAY_2,
    RING_OF_THREE,
    ROUTER,
    STORAGE_1,
    STORAGE_2,
    STORAGE_3,
    Rig,
    ack_of,
    delivery,
    entry,
    members,
    message,
    notices,
    peer,
    to,
)

from zmqim.bus.effects import Send, View
from zmqim.bus.messages import (
    Announce,
    Deliver,
    DeliverAck,
    Delivery,
    LeaderMoved,
    NoticeAck,
    NoticeAcks,
    NoticeBatches,
    NoticeItem,
    Notices,
    Outcome,
    OutcomeCode,
    Outcomes,
    Plan,
    PresenceDigest,
    Propose,
    RoutedItem,
    Submit,
    UserChanged,
)
from zmqim.bus.replication import Leading
from zmqim.chat.encoding import encode
from zmqim.chat.notices import EventNotice, UserNotice
from zmqim.chat.queries import MembersQuery, decode_query
from zmqim.chat.results import MembersPage, Rejected
from zmqim.limits import (
    LARGE_CHANNEL_UP_COUNT,
    NOT_LEADER_RETRY_MS,
    NOTICES_UNACKED_MAX,
    PRESENCE_SETTLE_MS_MAX,
    PRESENCE_SETTLE_MS_MIN,
    REQUEST_RETRY_MS,
)
from zmqim.router import members as members_module

PARTITION = 3
"""Led by storage-2."""


def rig_with_people() -> Rig:
    """ann has a session on each gateway, bob and cid one on the second."""
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann")]))
    rig.say(GATEWAY_2, Announce([entry(1, "ann"), entry(2, "bob"), entry(3, "cid")]))
    return rig


def page(
    rig: Rig, sends: list[Send], version: int, uids: list[str], more: bool = False
) -> list[Send]:
    """The leader answers the member query in `sends`."""
    (propose,) = [send.message for send in sends if isinstance(send.message, Propose)]
    (item,) = propose.items
    result = encode(MembersPage(version, len(uids), uids, more))
    return rig.say(STORAGE_2, Outcomes([Outcome(0, item.request, item.partition, 0, result)]))


def queries(sends: list[Send]) -> list[object]:
    return [
        decode_query(item.body)
        for send in sends
        if isinstance(send.message, Propose)
        for item in send.message.items
    ]


@pytest.mark.promise("P4")
def test_a_person_message_goes_to_every_gateway_of_both_with_its_sessions() -> None:
    rig = rig_with_people()
    one = message("bob@ann", 1)
    assert rig.say(STORAGE_2, notices(PARTITION, 0, (7, one))) == [
        Send(GATEWAY_1, Deliver(1, [delivery(one, [1])])),
        Send(GATEWAY_2, Deliver(1, [delivery(one, [2, 1])])),
    ]


def test_a_message_to_oneself_lists_each_session_once() -> None:
    rig = rig_with_people()
    one = message("bob@bob", 1)
    assert rig.say(STORAGE_2, notices(PARTITION, 0, (7, one))) == [
        Send(GATEWAY_2, Deliver(1, [delivery(one, [2])]))
    ]


@pytest.mark.promise("P4")
def test_an_index_is_acknowledged_when_every_gateway_concerned_took_its_frame() -> None:
    rig = rig_with_people()
    rig.say(STORAGE_2, notices(PARTITION, 0, (7, message("bob@ann", 1))))
    rig.say(STORAGE_2, notices(PARTITION, 7, (8, message("cid@bob", 1))))
    assert rig.say(GATEWAY_2, DeliverAck(2)) == []
    assert rig.say(GATEWAY_1, DeliverAck(1)) == [Send(STORAGE_2, ack_of(PARTITION, 1, 8))]


def test_a_message_for_nobody_online_is_acknowledged_in_the_same_turn() -> None:
    rig = rig_with_people()
    assert rig.say(STORAGE_2, notices(PARTITION, 0, (7, message("x@y", 1)))) == [
        Send(STORAGE_2, ack_of(PARTITION, 1, 7))
    ]


def test_what_was_out_already_is_not_pushed_twice_but_acknowledged_again() -> None:
    rig = rig_with_people()
    one = notices(PARTITION, 0, (7, message("cid@bob", 1)))
    rig.say(STORAGE_2, one)
    assert rig.say(STORAGE_2, one) == [Send(STORAGE_2, ack_of(PARTITION, 1, 0))]
    rig.say(GATEWAY_2, DeliverAck(1))
    assert rig.say(STORAGE_2, one) == [Send(STORAGE_2, ack_of(PARTITION, 1, 7))]


def test_behind_a_gap_nothing_is_taken_and_the_leader_hears_how_far_we_are() -> None:
    rig = rig_with_people()
    assert rig.say(STORAGE_2, notices(PARTITION, 6, (7, message("cid@bob", 1)))) == [
        Send(STORAGE_2, ack_of(PARTITION, 1, 0))
    ]
    assert rig.core.counters()["notice_gaps"] == 1


def test_a_new_leader_takes_over_and_the_old_one_is_not_heard_any_more() -> None:
    rig = rig_with_people()
    one, two = message("cid@bob", 1), message("cid@bob", 2)
    rig.say(STORAGE_2, notices(PARTITION, 0, (7, one)))
    sends = rig.say(STORAGE_1, notices(PARTITION, 0, (7, one), (9, two), term=2))
    moved = LeaderMoved([PARTITION])
    assert sends == [
        Send(GATEWAY_1, moved),
        Send(GATEWAY_2, moved),
        Send(GATEWAY_2, Deliver(2, [delivery(two, [3, 2])])),
        Send(STORAGE_1, ack_of(PARTITION, 2, 0)),
    ]
    assert rig.say(STORAGE_2, notices(PARTITION, 9, (10, one), term=1)) == []
    assert rig.say(GATEWAY_2, DeliverAck(2)) == [Send(STORAGE_1, ack_of(PARTITION, 2, 9))]


def test_transient_messages_are_pushed_and_never_acknowledged() -> None:
    rig = rig_with_people()
    one = message("cid@bob", 0)
    assert rig.say(STORAGE_2, notices(PARTITION, 0, (0, one))) == [
        Send(GATEWAY_2, Deliver(1, [delivery(one, [3, 2])]))
    ]
    assert rig.say(GATEWAY_2, DeliverAck(1)) == []


def test_a_notice_that_cannot_be_read_is_counted_and_passed() -> None:
    rig = rig_with_people()
    batch = NoticeBatches([Notices(PARTITION, 1, 0, [NoticeItem(7, b"\xc1")])])
    assert rig.say(STORAGE_2, batch) == [Send(STORAGE_2, ack_of(PARTITION, 1, 7))]
    assert rig.core.counters()["notices_bad"] == 1
    assert rig.say(STORAGE_2, NoticeBatches([Notices(999, 1, 0, [])])) == []


def test_acknowledgements_for_one_leader_travel_together_and_a_bad_partition_stops_no_other() -> (
    None
):
    rig = rig_with_people()
    one, two = (notices(n, 0, (7, message("x@y", 1))).items[0] for n in (1, 3))
    bad = [Notices(partition, 1, 0, []) for partition in (-1, 999)]
    acks = [NoticeAck(partition, 1, 7) for partition in (1, 3)]
    assert rig.say(STORAGE_2, NoticeBatches([bad[0], one, bad[1], two])) == [
        Send(STORAGE_2, NoticeAcks(acks))
    ]


def test_a_group_message_waits_for_the_members_and_those_behind_it_for_their_turn() -> None:
    rig = rig_with_people()
    group = message("group", 1, channel_type=2, member_version=5)
    person = message("cid@bob", 1)
    sends = rig.say(STORAGE_2, notices(PARTITION, 0, (7, group), (8, person)))
    assert queries(sends) == [MembersQuery(2, "group")]
    sends = page(rig, sends, 5, ["ann", "bob"], more=True)
    assert queries(sends) == [MembersQuery(2, "group", "bob")]
    assert page(rig, sends, 6, ["dan"]) == [
        Send(GATEWAY_1, Deliver(1, [delivery(group, [1])])),
        Send(GATEWAY_2, Deliver(1, [delivery(group, [1, 2]), delivery(person, [3, 2])])),
    ]


def test_an_agent_channel_is_heard_by_its_two_parties() -> None:
    rig = rig_with_people()
    one = message("cid@bob", 1, channel_type=11)
    assert rig.say(STORAGE_2, notices(PARTITION, 0, (7, one))) == [
        Send(GATEWAY_2, Deliver(1, [delivery(one, [3, 2])]))
    ]


@pytest.mark.parametrize(("kind", "name"), [(10, "bob"), (3, "bob|desk")])
def test_a_visitor_hears_his_channel_without_being_its_member(kind: int, name: str) -> None:
    rig = rig_with_people()
    one = message(name, 1, channel_type=kind, member_version=5)
    sends = rig.say(STORAGE_2, notices(PARTITION, 0, (7, one)))
    assert queries(sends) == [MembersQuery(kind, name)]
    assert page(rig, sends, 5, ["cid"]) == [Send(GATEWAY_2, Deliver(1, [delivery(one, [3, 2])]))]
    joined = notices(
        PARTITION, 7, (8, members(name, 8, ["bob"], [], previous=5, channel_type=kind))
    )
    rig.say(STORAGE_2, joined)
    left = members(name, 9, [], ["bob", "cid"], previous=8, channel_type=kind)
    two, three = (
        message(name, number, channel_type=kind, member_version=version)
        for number, version in ((2, 8), (3, 9))
    )
    assert rig.say(STORAGE_2, notices(PARTITION, 8, (9, two), (10, left), (11, three))) == [
        Send(GATEWAY_2, Deliver(2, [delivery(two, [3, 2]), delivery(three, [2])]))
    ]


@pytest.mark.promise("P5")
def test_all_topics_of_a_community_are_heard_by_its_members() -> None:
    rig = rig_with_people()
    one = message("c@news", 1, channel_type=5, member_version=5)
    sends = rig.say(STORAGE_2, notices(PARTITION, 0, (7, one)))
    assert queries(sends) == [MembersQuery(4, "c")]
    assert page(rig, sends, 5, ["bob", "cid"]) == [
        Send(GATEWAY_2, Deliver(1, [delivery(one, [2, 3])]))
    ]
    left = members("c", 8, [], ["cid"], previous=5, channel_type=4)
    two = message("c@talk", 1, channel_type=5, member_version=8)
    assert rig.say(STORAGE_2, notices(PARTITION, 7, (8, left), (9, two))) == [
        Send(GATEWAY_2, Deliver(2, [delivery(two, [2])]))
    ]


def test_a_snapshot_serves_later_messages_of_its_version() -> None:
    rig = rig_with_people()
    one = message("group", 1, channel_type=2, member_version=5)
    page(rig, rig.say(STORAGE_2, notices(PARTITION, 0, (7, one))), 5, ["bob"])
    two = message("group", 2, channel_type=2, member_version=5)
    assert rig.say(STORAGE_2, notices(PARTITION, 7, (8, two))) == [
        Send(GATEWAY_2, Deliver(2, [delivery(two, [2])]))
    ]
    assert rig.core.gauges()["member_snapshots"] == 1


def test_events_wait_for_the_members_like_messages_and_come_in_their_order() -> None:
    rig = rig_with_people()
    one = message("group", 1, channel_type=2, member_version=5)
    event = EventNotice(2, "group", 5, b"events")
    told = Delivery(2, "group", 0, 0, 0, b"events", [2])
    sends = rig.say(STORAGE_2, notices(PARTITION, 0, (7, event), (8, one)))
    assert queries(sends) == [MembersQuery(2, "group")]
    assert page(rig, sends, 5, ["bob"]) == [
        Send(GATEWAY_2, Deliver(1, [told, delivery(one, [2])])),
    ]
    assert rig.say(GATEWAY_2, DeliverAck(1)) == [Send(STORAGE_2, ack_of(PARTITION, 1, 8))]


def test_events_of_a_large_channel_go_by_its_list() -> None:
    rig = rig_with_people()
    event = EventNotice(2, "group", 5, b"events")
    uids = [f"m{number:04}" for number in range(LARGE_CHANNEL_UP_COUNT)] + ["zoe"]
    rig.say(GATEWAY_2, Announce([entry(9, "zoe")]))
    sends = rig.say(STORAGE_2, notices(PARTITION, 0, (7, event)))
    plan, deliver = [send.message for send in page(rig, sends, 5, uids)]
    assert isinstance(plan, Plan)
    assert plan.added == [9]
    told = Delivery(2, "group", 0, 0, 0, b"events", [], plan.plan, plan.version)
    assert deliver == Deliver(1, [told])


def test_an_event_leaves_no_mark_where_there_is_no_link() -> None:
    rig = rig_with_people()
    event = EventNotice(1, "bob@cid", 0, b"events")
    rig.core.peer_down(rig.now, GATEWAY_2)
    assert rig.say(STORAGE_2, notices(PARTITION, 0, (7, event))) == [
        Send(STORAGE_2, ack_of(PARTITION, 1, 7))
    ]
    assert rig.core.counters()["dirty_marked"] == 0


@pytest.mark.promise("P5")
def test_a_removed_member_gets_nothing_that_is_sequenced_after_the_removal() -> None:
    rig = rig_with_people()
    one, two, three = (
        message("group", number, channel_type=2, member_version=version)
        for number, version in [(1, 5), (2, 8), (3, 10)]
    )
    sends = rig.say(STORAGE_2, notices(PARTITION, 0, (7, one)))
    page(rig, sends, 5, ["bob", "cid"])
    assert rig.say(
        STORAGE_2,
        notices(
            PARTITION,
            7,
            (8, members("group", 8, [], ["cid"], previous=5, count=1)),
            (9, two),
            (10, members("group", 10, ["cid"], ["bob"], previous=8, count=1)),
            (11, three),
        ),
    ) == [Send(GATEWAY_2, Deliver(2, [delivery(two, [2]), delivery(three, [3])]))]


@pytest.mark.promise("P5")
def test_a_change_that_was_missed_makes_the_router_read_the_members_anew() -> None:
    rig = rig_with_people()
    one = message("group", 1, channel_type=2, member_version=5)
    page(rig, rig.say(STORAGE_2, notices(PARTITION, 0, (7, one))), 5, ["bob", "cid"])
    two = message("group", 2, channel_type=2, member_version=20)
    change = members("group", 20, ["ann"], [], previous=15, count=2)
    sends = rig.say(STORAGE_2, notices(PARTITION, 0, (20, change), (21, two)))
    assert queries(sends) == [MembersQuery(2, "group")]
    assert page(rig, sends, 20, ["bob"]) == [Send(GATEWAY_2, Deliver(2, [delivery(two, [2])]))]


@pytest.mark.promise("P5")
def test_a_message_of_a_newer_version_makes_the_router_read_the_members_anew() -> None:
    rig = rig_with_people()
    one = message("group", 1, channel_type=2, member_version=5)
    page(rig, rig.say(STORAGE_2, notices(PARTITION, 0, (7, one))), 5, ["bob", "cid"])
    two = message("group", 2, channel_type=2, member_version=9)
    sends = rig.say(STORAGE_2, notices(PARTITION, 0, (10, two)))
    assert queries(sends) == [MembersQuery(2, "group")]


def test_a_change_without_a_previous_version_is_checked_by_the_count_of_members() -> None:
    rig = rig_with_people()
    one = message("group", 1, channel_type=2, member_version=5)
    page(rig, rig.say(STORAGE_2, notices(PARTITION, 0, (7, one))), 5, ["bob", "cid"])
    rig.say(STORAGE_2, notices(PARTITION, 7, (8, members("group", 8, ["dan"], [], count=3))))
    assert rig.core.gauges()["member_snapshots"] == 1
    rig.say(STORAGE_2, notices(PARTITION, 8, (9, members("group", 9, ["eve"], [], count=9))))
    assert rig.core.gauges()["member_snapshots"] == 0


def test_a_reset_replaces_all_members_and_an_old_change_nothing() -> None:
    rig = rig_with_people()
    one = message("group", 1, channel_type=2, member_version=5)
    page(rig, rig.say(STORAGE_2, notices(PARTITION, 0, (7, one))), 5, ["bob", "cid"])
    old = members("group", 4, [], ["bob", "cid"], previous=3, count=0)
    reset = members("group", 30, ["cid", "ann"], [], previous=29, reset=True, count=2)
    two = message("group", 2, channel_type=2, member_version=30)
    assert rig.say(STORAGE_2, notices(PARTITION, 7, (8, old), (30, reset), (31, two))) == [
        Send(GATEWAY_1, Deliver(1, [delivery(two, [1])])),
        Send(GATEWAY_2, Deliver(2, [delivery(two, [3, 1])])),
    ]


def test_an_unanswered_or_refused_member_query_is_asked_again() -> None:
    rig = rig_with_people()
    group = message("group", 1, channel_type=2, member_version=5)
    rig.say(STORAGE_2, notices(PARTITION, 0, (7, group)))
    sends = rig.wait(REQUEST_RETRY_MS)
    (send,) = sends
    assert isinstance(send.message, Propose)
    request = send.message.items[0].request
    late = Outcome(0, request - 1, PARTITION, 0, encode(MembersPage(5, 1, ["ann"], False)))
    busy = Outcome(0, request, PARTITION, OutcomeCode.BUSY, b"")
    assert rig.say(STORAGE_2, Outcomes([late, busy])) == []
    assert queries(rig.wait(NOT_LEADER_RETRY_MS - 1)) == []
    again = rig.wait_until(lambda sends: bool(queries(sends)))
    assert page(rig, again, 5, ["bob"]) == [Send(GATEWAY_2, Deliver(1, [delivery(group, [2])]))]


@pytest.mark.parametrize(
    ("code", "result"),
    [
        (OutcomeCode.DONE, encode(Rejected(5))),
        (OutcomeCode.DONE, b"\xc1"),
        (OutcomeCode.BAD_REQUEST, b"no such thing"),
    ],
)
def test_a_channel_whose_members_cannot_be_had_holds_nobody_up(
    code: OutcomeCode, result: bytes
) -> None:
    rig = rig_with_people()
    group = message("group", 1, channel_type=2, member_version=5)
    (send,) = rig.say(STORAGE_2, notices(PARTITION, 0, (7, group)))
    assert isinstance(send.message, Propose)
    request = send.message.items[0].request
    assert rig.say(STORAGE_2, Outcomes([Outcome(0, request, PARTITION, code, result)])) == [
        Send(STORAGE_2, ack_of(PARTITION, 1, 7))
    ]


def test_members_are_asked_for_when_the_leader_is_linked_again() -> None:
    rig = rig_with_people()
    group = message("group", 1, channel_type=2, member_version=5)
    rig.core.receive(rig.now, STORAGE_2, notices(PARTITION, 0, (7, group)))
    rig.core.peer_down(rig.now, STORAGE_2)
    rig.turn()
    assert queries(rig.wait(REQUEST_RETRY_MS)) == []
    rig.core.peer_up(rig.now, peer(STORAGE_2))
    assert queries(rig.wait_until(lambda sends: bool(queries(sends)))) == [MembersQuery(2, "group")]


def test_the_least_used_snapshot_goes_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(members_module, "MEMBER_SNAPSHOTS_MAX", 2)
    rig = rig_with_people()
    for index, name in enumerate(["a", "b", "a", "c"], start=1):
        one = message(name, index, channel_type=2, member_version=1)
        sends = rig.say(STORAGE_2, notices(PARTITION, 0, (index, one)))
        if queries(sends):
            page(rig, sends, 1, ["bob"])
    one = message("b", 9, channel_type=2, member_version=1)
    assert queries(rig.say(STORAGE_2, notices(PARTITION, 0, (9, one)))) == [MembersQuery(2, "b")]


def test_a_change_of_a_user_goes_to_the_gateways_that_hold_it() -> None:
    rig = rig_with_people()
    notice = UserNotice("bob", True, False, -1, 12)
    assert rig.say(STORAGE_2, notices(PARTITION, 0, (7, notice))) == [
        Send(GATEWAY_2, UserChanged(1, "bob", True, False, -1, 12))
    ]
    assert rig.say(GATEWAY_2, DeliverAck(1)) == [Send(STORAGE_2, ack_of(PARTITION, 1, 7))]


def test_a_command_message_goes_to_the_members_of_its_channel() -> None:
    rig = rig_with_people()
    one = message("cid@bob____cmd", 1, flags=4)
    assert rig.say(STORAGE_2, notices(PARTITION, 0, (7, one))) == [
        Send(GATEWAY_2, Deliver(1, [delivery(one, [3, 2])]))
    ]


def test_a_leader_that_floods_is_not_listened_to_before_its_queue_moves() -> None:
    rig = rig_with_people()
    group = message("group", 1, channel_type=2, member_version=5)
    flood = [(index, group) for index in range(1, NOTICES_UNACKED_MAX + 1)]
    sends = rig.say(STORAGE_2, notices(PARTITION, 0, *flood))
    more = (NOTICES_UNACKED_MAX + 1, group)
    assert rig.say(STORAGE_2, notices(PARTITION, NOTICES_UNACKED_MAX, more)) == []
    assert rig.core.gauges()["notices_waiting"] == NOTICES_UNACKED_MAX
    page(rig, sends, 5, [])
    assert rig.say(STORAGE_2, notices(PARTITION, NOTICES_UNACKED_MAX, more)) == [
        Send(STORAGE_2, ack_of(PARTITION, 1, NOTICES_UNACKED_MAX + 1))
    ]


@pytest.mark.promise("P4")
def test_a_new_router_pushes_nothing_before_the_gateways_told_their_sessions() -> None:
    rig = Rig(settled=False)
    one = message("bob@ann", 1)
    assert rig.say(STORAGE_2, notices(PARTITION, 0, (7, one))) == []
    rig.say(GATEWAY_1, Announce([entry(1, "ann")]))
    rig.say(GATEWAY_2, PresenceDigest([]))
    assert rig.wait(PRESENCE_SETTLE_MS_MIN) == []
    (differs,) = rig.say(GATEWAY_1, PresenceDigest([]))
    assert rig.say(GATEWAY_1, PresenceDigest([])) == [differs]
    assert rig.wait(PRESENCE_SETTLE_MS_MAX - PRESENCE_SETTLE_MS_MIN) == [
        Send(GATEWAY_1, Deliver(1, [delivery(one, [1])]))
    ]


@pytest.mark.promise("P4")
def test_a_new_router_begins_once_every_gateway_agrees_with_it() -> None:
    rig = Rig(settled=False)
    one = message("bob@ann", 1)
    rig.say(STORAGE_2, notices(PARTITION, 0, (7, one)))
    rig.wait(PRESENCE_SETTLE_MS_MIN)
    assert rig.digest(GATEWAY_1) == []
    assert rig.digest(GATEWAY_2) == [Send(STORAGE_2, ack_of(PARTITION, 1, 7))]


def test_the_storage_that_sends_notices_is_the_leader_that_is_asked() -> None:
    rig = rig_with_people()
    rig.say(STORAGE_1, notices(PARTITION, 0, (7, message("x@y", 1)), term=4))
    group = message("group", 1, channel_type=2, member_version=5)
    sends = rig.say(STORAGE_1, notices(PARTITION, 7, (8, group), term=4))
    assert [send.to for send in sends] == [STORAGE_1]
    assert to(sends, STORAGE_1, Propose) != []


@pytest.mark.promise("P4")
@pytest.mark.parametrize("is_silent", [True, False])
def test_members_are_read_from_the_new_leader_at_once(is_silent: bool) -> None:
    rig = Rig(RING_OF_THREE)
    rig.say(GATEWAY_2, Announce([entry(1, "ann")]))
    group = message("group", 1, channel_type=2, member_version=5)
    sends = rig.say(STORAGE_2, notices(PARTITION, 0, (8, group), term=2))
    (asked,) = to(sends, STORAGE_2, Propose)
    if not is_silent:
        code = OutcomeCode.NOT_LEADER
        rig.say(STORAGE_2, Outcomes([Outcome(0, asked.items[0].request, PARTITION, code, b"")]))  # type: ignore[union-attr]
    sends = rig.say(STORAGE_3, Leading([(PARTITION, 3)]))
    (again,) = to(sends, STORAGE_3, Propose)
    assert [decode_query(item.body) for item in again.items] == [  # type: ignore[union-attr]
        MembersQuery(2, "group", "", 10_000)
    ]
    page = encode(MembersPage(5, 1, ["ann"], False))
    request = again.items[0].request  # type: ignore[union-attr]
    sends = rig.say(STORAGE_3, Outcomes([Outcome(0, request, PARTITION, 0, page)]))
    assert to(sends, GATEWAY_2, Deliver) == [Deliver(1, [delivery(group, [1])])]


@pytest.mark.promise("P4")
def test_a_dead_gateway_holds_no_acknowledgement_up() -> None:
    rig = rig_with_people()
    rig.say(STORAGE_2, notices(PARTITION, 0, (7, message("bob@ann", 1))))
    rig.say(GATEWAY_2, DeliverAck(1))
    rig.core.peer_down(rig.now, GATEWAY_1)
    assert rig.turn() == [Send(STORAGE_2, ack_of(PARTITION, 1, 7))]
    rig.core.view_changed(rig.now, View((GATEWAY_2,), (ROUTER,), (STORAGE_2,)))
    assert rig.say(STORAGE_2, notices(PARTITION, 7, (8, message("ann@x", 1)))) == [
        Send(GATEWAY_2, Deliver(2, [delivery(message("ann@x", 1), [1])]))
    ]


def test_items_of_gateways_and_own_queries_share_a_propose() -> None:
    rig = rig_with_people()
    group = message("group", 1, channel_type=2, member_version=5)
    rig.core.receive(rig.now, GATEWAY_1, Submit([]))
    (send,) = rig.say(STORAGE_2, notices(PARTITION, 0, (7, group)))
    assert isinstance(send.message, Propose)
    assert send.message.items == [
        RoutedItem(0, 1, PARTITION, 1, encode(MembersQuery(2, "group", "", 10_000)))
    ]
