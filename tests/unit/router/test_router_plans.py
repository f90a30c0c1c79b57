"""Large channels: the gateway learns a list once, then only what changes (docs/adr/0002)."""

from __future__ import annotations

import pytest
from router_rig import (
    GATEWAY_1,
    GATEWAY_2,
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
    Deliver,
    DeliverAck,
    Dirty,
    DirtyChannel,
    Message,
    MissingPlan,
    Outcome,
    Outcomes,
    Plan,
    Propose,
    Withdraw,
)
from zmqim.chat.encoding import encode
from zmqim.chat.notices import MembersNotice, MessageNotice
from zmqim.chat.results import MembersPage
from zmqim.limits import LARGE_CHANNEL_DOWN_COUNT, LARGE_CHANNEL_UP_COUNT
from zmqim.router import credits
from zmqim.router import members as members_module

PARTITION = 3
CROWD = [f"u{number:04}" for number in range(LARGE_CHANNEL_UP_COUNT)]
VERSION = 5


def chat(sequence: int, version: int = VERSION) -> MessageNotice:
    return message("group", sequence, channel_type=2, member_version=version)


class LargeRig(Rig):
    """ann at the first gateway, bob and cid at the second; ann and bob are of the group's 202."""

    def __init__(self) -> None:
        super().__init__()
        self.index = 10
        self.say(GATEWAY_1, Announce([entry(1, "ann")]))
        self.say(GATEWAY_2, Announce([entry(2, "bob"), entry(3, "cid")]))

    def commit(self, *items: MessageNotice | MembersNotice) -> list[Send]:
        """Notices with the next indices; a member query is answered with ann, bob, the crowd."""
        numbered = []
        for item in items:
            self.index += 1
            numbered.append((self.index, item))
        sends = self.say(STORAGE_2, notices(PARTITION, 0, *numbered))
        if sends and isinstance(sends[-1].message, Propose):
            (item,) = sends[-1].message.items
            page = encode(MembersPage(VERSION, 202, ["ann", "bob", *CROWD], False))
            sends = self.say(STORAGE_2, Outcomes([Outcome(0, item.request, PARTITION, 0, page)]))
        return sends

    def started(self) -> int:
        """The first message is out and acknowledged; gives the plan's number."""
        plan = plan_in(self.commit(chat(1)))
        self.say(GATEWAY_1, DeliverAck(1))
        self.say(GATEWAY_2, DeliverAck(1))
        return plan


def plan_in(sends: list[Send]) -> int:
    return next(send.message.plan for send in sends if isinstance(send.message, Plan))


def to(sends: list[Send], gateway: str) -> list[Message]:
    return [send.message for send in sends if send.to == gateway]


def test_the_first_message_sends_each_gateway_its_list_before_the_message() -> None:
    rig = LargeRig()
    sends = rig.commit(chat(1))
    plan = plan_in(sends)
    item = delivery(chat(1), [], plan, 1)
    assert sends == [
        Send(GATEWAY_1, Plan(plan, 1, True, [1], [])),
        Send(GATEWAY_1, Deliver(1, [item])),
        Send(GATEWAY_2, Plan(plan, 1, True, [2], [])),
        Send(GATEWAY_2, Deliver(1, [item])),
    ]
    assert rig.core.gauges()["large_channels"] == 1


def test_a_visitor_is_on_the_list_of_his_large_channel_though_no_member() -> None:
    rig = LargeRig()
    rig.say(GATEWAY_2, Announce([entry(9, "vic")]))
    one = message("vic", 1, channel_type=10, member_version=VERSION)
    sends = rig.commit(one)
    plan = plan_in(sends)
    assert to(sends, GATEWAY_2) == [
        Plan(plan, 1, True, [2, 9], []),
        Deliver(1, [delivery(one, [], plan, 1)]),
    ]


def test_later_messages_name_the_list_that_the_gateway_holds() -> None:
    rig = LargeRig()
    plan = rig.started()
    item = delivery(chat(2), [], plan, 1)
    assert rig.commit(chat(2)) == [
        Send(GATEWAY_1, Deliver(2, [item])),
        Send(GATEWAY_2, Deliver(2, [item])),
    ]


def test_sessions_that_come_and_go_travel_as_a_difference() -> None:
    rig = LargeRig()
    plan = rig.started()
    rig.say(GATEWAY_1, Announce([entry(4, "bob"), entry(5, "ann"), entry(6, "cid")]))
    rig.say(GATEWAY_1, Withdraw([1, 5]))
    assert to(rig.commit(chat(2)), GATEWAY_1) == [
        Plan(plan, 2, False, [4], [1]),
        Deliver(2, [delivery(chat(2), [], plan, 2)]),
    ]
    rig.say(GATEWAY_1, Withdraw([4]))
    assert to(rig.commit(chat(3)), GATEWAY_1) == []


@pytest.mark.promise("P5")
def test_a_removed_member_leaves_the_list_between_two_messages_of_one_turn() -> None:
    rig = LargeRig()
    plan = rig.started()
    change = members("group", 12, ["cid"], ["bob"], previous=VERSION, count=202)
    assert to(rig.commit(chat(2), change, chat(3, 12)), GATEWAY_2) == [
        Deliver(2, [delivery(chat(2), [], plan, 1)]),
        Plan(plan, 2, False, [3], [2]),
        Deliver(3, [delivery(chat(3, 12), [], plan, 2)]),
    ]


def test_below_the_lower_bound_the_plan_ends_and_the_gateways_empty_it() -> None:
    rig = LargeRig()
    plan = rig.started()
    shrunk = CROWD[: 202 - LARGE_CHANNEL_DOWN_COUNT]
    change = members("group", 12, [], shrunk, previous=VERSION, count=150)
    assert to(rig.commit(change, chat(2, 12)), GATEWAY_2) == [
        Deliver(2, [delivery(chat(2, 12), [], plan, 1)])
    ]
    change = members("group", 14, [], CROWD[-1:], previous=12, count=149)
    assert to(rig.commit(change, chat(3, 14)), GATEWAY_2) == [
        Plan(plan, 2, True, [], []),
        Deliver(3, [delivery(chat(3, 14), [2])]),
    ]
    assert rig.core.gauges()["large_channels"] == 0
    assert to(rig.commit(chat(4, 14)), GATEWAY_1) == [Deliver(4, [delivery(chat(4, 14), [1])])]


def test_a_gateway_that_misses_the_list_gets_it_whole_and_the_frames_again() -> None:
    rig = LargeRig()
    plan = rig.started()
    rig.commit(chat(2))
    rig.say(GATEWAY_1, Announce([entry(4, "ann")]))
    rig.commit(chat(3))
    complaint = MissingPlan(plan, 1, 2)
    again = [delivery(chat(2), [], plan, 3), delivery(chat(3), [], plan, 3)]
    assert rig.say(GATEWAY_1, complaint) == [
        Send(GATEWAY_1, Plan(plan, 3, True, [1, 4], [])),
        Send(GATEWAY_1, Deliver(2, [again[0]])),
        Send(GATEWAY_1, Deliver(3, [again[1]])),
    ]
    assert rig.say(GATEWAY_1, complaint, MissingPlan(plan, 2, 3)) == []
    rig.core.peer_down(rig.now, GATEWAY_1)
    assert rig.say(GATEWAY_1, complaint) == []


def test_a_missing_list_that_ended_meanwhile_is_replaced_by_the_sessions() -> None:
    rig = LargeRig()
    plan = rig.started()
    rig.commit(chat(2))
    rig.commit(members("group", 13, ["ann", "bob"], [], previous=12, reset=True, count=2))
    rig.commit(chat(3, 13))
    assert rig.say(GATEWAY_1, MissingPlan(plan, 1, 2)) == [
        Send(GATEWAY_1, Deliver(2, [delivery(chat(2), [1])])),
        Send(GATEWAY_1, Deliver(3, [delivery(chat(3, 13), [1])])),
    ]
    assert rig.say(GATEWAY_1, MissingPlan(plan + 1, 1, 9)) == []


def test_a_missing_list_of_a_channel_that_is_forgotten_is_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(members_module, "MEMBER_SNAPSHOTS_MAX", 1)
    rig = LargeRig()
    plan = rig.started()
    rig.commit(chat(2))
    other = message("other", 1, channel_type=2, member_version=VERSION)
    sends = rig.commit(other)
    assert to(sends, GATEWAY_1)[0] == Plan(plan, 2, True, [], [])
    assert rig.say(GATEWAY_1, MissingPlan(plan, 1, 2))[0] == Send(
        GATEWAY_1, Deliver(2, [delivery(chat(2), [])])
    )


def test_a_gateway_whose_link_was_down_gets_the_list_whole() -> None:
    rig = LargeRig()
    plan = rig.started()
    rig.commit(chat(2))
    rig.core.peer_down(rig.now, GATEWAY_1)
    rig.turn()
    rig.commit(chat(3))
    rig.core.peer_up(rig.now, peer(GATEWAY_1))
    dirty = Dirty(1, [DirtyChannel(2, "group", False, 2, 3, [1])])
    assert to(rig.turn(), GATEWAY_1) == [dirty]
    assert to(rig.commit(chat(4)), GATEWAY_1) == [
        Plan(plan, 2, True, [1], []),
        Deliver(2, [delivery(chat(4), [], plan, 2)]),
    ]


def test_a_gateway_that_died_leaves_its_list_empty() -> None:
    rig = LargeRig()
    rig.started()
    rig.core.view_changed(rig.now, View((GATEWAY_2,), (ROUTER,), (STORAGE_1, STORAGE_2)))
    rig.core.peer_down(rig.now, GATEWAY_1)
    assert to(rig.commit(chat(2)), GATEWAY_1) == []


@pytest.mark.promise("P5")
def test_marks_of_a_large_channel_follow_its_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credits, "GATEWAY_CREDIT_BYTES", 150)
    rig = LargeRig()
    rig.say(GATEWAY_2, Announce([entry(4, "bob")]))
    rig.commit(chat(1))
    change = members("group", 15, ["cid"], ["bob"], previous=VERSION, count=202)
    rig.commit(chat(2), chat(3), change, chat(4, 15))
    assert rig.say(GATEWAY_2, DeliverAck(1))[0] == Send(
        GATEWAY_2,
        Dirty(
            2,
            [
                DirtyChannel(2, "group", False, 2, 3, [2, 4]),
                DirtyChannel(2, "group", False, 4, 4, [3]),
            ],
        ),
    )


def test_a_large_channel_whose_members_were_missed_gets_a_new_list() -> None:
    rig = LargeRig()
    plan = rig.started()
    sends = rig.commit(members("group", 99, ["cid"], [], previous=90, count=300))
    assert sends == [
        Send(GATEWAY_1, Plan(plan, 2, True, [], [])),
        Send(GATEWAY_2, Plan(plan, 2, True, [], [])),
        Send(STORAGE_2, ack_of(PARTITION, 1, 12)),
    ]
    assert plan_in(rig.commit(chat(2, 99))) == plan + 1
