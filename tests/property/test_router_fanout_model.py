"""Fan-out against a naive model of a leader and two gateways, with large channels of four members.

Whatever happens in whatever order, nobody gets what was sequenced after their removal, everybody
who stayed gets everything in order, and the leader hears of it only afterwards.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from router_rig import GATEWAY_1, GATEWAY_2, STORAGE_2, Rig, entry, members, message, peer

from zmqim import limits
from zmqim.bus.effects import Send
from zmqim.bus.messages import (
    Announce,
    Deliver,
    DeliverAck,
    Dirty,
    Message,
    MissingPlan,
    NoticeAcks,
    NoticeBatches,
    NoticeItem,
    Notices,
    Outcome,
    Outcomes,
    Plan,
    Propose,
    Withdraw,
)
from zmqim.chat.encoding import encode
from zmqim.chat.notices import MembersNotice, Notice
from zmqim.chat.queries import MembersQuery, decode_query
from zmqim.chat.results import MembersPage
from zmqim.ids import NodeName
from zmqim.limits import PRESENCE_DIGEST_MS
from zmqim.router import credits

PARTITION = 3
UIDS = ["ann", "bob", "cid", "dan", "eve"]
gateways = st.sampled_from([GATEWAY_1, GATEWAY_2])
uids = st.sampled_from(UIDS)


class Gateway:
    """Takes frames in order, as zmqim/gateway/delivery.py does, and acknowledges when told to."""

    def __init__(self) -> None:
        self.sessions: dict[int, str] = {}
        self.got: dict[int, list[int]] = {}
        self.new_link()

    def new_link(self) -> None:
        self.taken = 0
        self.plans: dict[int, tuple[int, set[int]]] = {}
        self.complaint: MissingPlan | None = None

    def take(self, message: Message, pushed: Callable[[int, int], None]) -> None:
        if isinstance(message, Plan):
            version, sessions = self.plans.get(message.plan, (0, set()))
            if message.reset:
                sessions = set()
            elif version != message.version - 1:
                self.plans.pop(message.plan, None)
                return
            changed = (sessions - set(message.removed)) | set(message.added)
            self.plans[message.plan] = (message.version, changed)
        elif isinstance(message, Deliver | Dirty):
            if message.frame != self.taken + 1:
                if message.frame > self.taken and self.complaint is None:
                    self.complaint = MissingPlan(0, 0, self.taken + 1)
                return
            if isinstance(message, Deliver):
                for item in message.items:
                    if item.plan and self.plans.get(item.plan, (0,))[0] < item.plan_version:
                        self.complaint = MissingPlan(item.plan, item.plan_version, message.frame)
                        return
            self.taken = message.frame
            self.complaint = None
            self.push(message, pushed)

    def push(self, message: Deliver | Dirty, pushed: Callable[[int, int], None]) -> None:
        if isinstance(message, Deliver):
            for item in message.items:
                for session in self.plans[item.plan][1] if item.plan else item.sessions:
                    assert item.sequence > max(self.got.get(session, [0]), default=0)
                    self.got.setdefault(session, []).append(item.sequence)
                    pushed(session, item.sequence)
        else:
            for channel in message.channels:
                for session in channel.sessions:
                    for sequence in range(channel.first, channel.last + 1):
                        if sequence not in self.got.setdefault(session, []):
                            self.got[session].append(sequence)
                            pushed(session, sequence)


class FanoutModel(RuleBasedStateMachine):
    """One channel in one partition; index, member version and sequence as a leader makes them."""

    credit_bytes = credits.GATEWAY_CREDIT_BYTES
    channel = (2, "group")
    home = (2, "group")
    """Whose members hear the channel."""
    named: frozenset[str] = frozenset()
    """Who hears it without being a member."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(limits, "LARGE_CHANNEL_UP_COUNT", 3)
        self.patch.setattr(limits, "LARGE_CHANNEL_DOWN_COUNT", 2)
        self.patch.setattr(credits, "GATEWAY_CREDIT_BYTES", self.credit_bytes)
        self.rig = Rig()
        self.gateways = {GATEWAY_1: Gateway(), GATEWAY_2: Gateway()}
        self.log: list[tuple[int, Notice]] = []
        self.versions: list[tuple[int, frozenset[str]]] = [(0, frozenset())]
        self.sent_at: dict[int, int] = {}
        self.online_at: dict[tuple[NodeName, int], int] = {}
        self.marks_possible = self.credit_bytes < 1_000_000
        self.acked = 0
        self.sent = 0
        self.queries: list[tuple[int, MembersQuery]] = []
        self.last_session = 0

    def teardown(self) -> None:
        try:
            self.drain()
        finally:
            self.patch.undo()

    @initialize()
    def everybody_is_there(self) -> None:
        for uid in UIDS:
            for name in self.gateways:
                self.session_comes(name, uid)
        self.all_join()

    @rule()
    def everything_settles(self) -> None:
        """A message is out and acknowledged: the router knows the members."""
        self.message_is_committed()
        self.drain()

    # Sessions and members ------------------------------------------------------------------------

    @rule(gateway=gateways, uid=uids)
    def session_comes(self, gateway: NodeName, uid: str) -> None:
        self.last_session += 1
        self.gateways[gateway].sessions[self.last_session] = uid
        self.online_at[gateway, self.last_session] = len(self.log)
        self.perform(self.rig.say(gateway, Announce([entry(self.last_session, uid)])))

    @rule(gateway=gateways)
    def session_goes(self, gateway: NodeName) -> None:
        for session in list(self.gateways[gateway].sessions)[:1]:
            del self.gateways[gateway].sessions[session]
            self.perform(self.rig.say(gateway, Withdraw([session])))

    @rule(uid=uids)
    def member_comes_or_goes(self, uid: str) -> None:
        previous, held = self.versions[-1]
        index = len(self.log) + 1
        after = held ^ {uid}
        added, removed = ([], [uid]) if uid in held else ([uid], [])
        notice = self.change(index, added, removed, previous=previous, count=len(after))
        self.versions.append((index, after))
        self.log.append((index, notice))

    @rule()
    def all_join(self) -> None:
        index = len(self.log) + 1
        previous = self.versions[-1][0]
        count = len(UIDS)
        notice = self.change(index, UIDS, [], previous=previous, reset=True, count=count)
        self.versions.append((index, frozenset(UIDS)))
        self.log.append((index, notice))

    def change(
        self, index: int, added: list[str], removed: list[str], **more: int
    ) -> MembersNotice:
        kind, name = self.home
        return members(name, index, added, removed, channel_type=kind, **more)  # type: ignore[arg-type]

    # The leader ----------------------------------------------------------------------------------

    @rule()
    def message_is_committed(self) -> None:
        index = len(self.log) + 1
        sequence = len(self.sent_at) + 1
        self.sent_at[sequence] = index
        version = self.versions[-1][0]
        kind, name = self.channel
        one = message(name, sequence, channel_type=kind, member_version=version)
        self.log.append((index, one))

    @rule()
    def leader_sends(self) -> None:
        batch = [NoticeItem(index, encode(notice)) for index, notice in self.log[self.sent :]]
        previous = self.sent if self.sent > self.acked else 0
        self.sent = len(self.log)
        if batch:
            notices = Notices(PARTITION, 1, previous, batch)
            self.perform(self.rig.say(STORAGE_2, NoticeBatches([notices])))

    @rule()
    def leader_repeats(self) -> None:
        self.sent = self.acked
        self.leader_sends()

    @rule(page=st.integers(1, 3))
    def leader_answers(self, page: int) -> None:
        for request, query in self.queries[:1]:
            del self.queries[0]
            assert (query.channel_type, query.channel_id) == self.home
            version, held = self.versions[-1]
            found = sorted(uid for uid in held if uid > query.after_uid)
            result = MembersPage(version, len(held), found[:page], len(found) > page)
            outcome = Outcome(0, request, PARTITION, 0, encode(result))
            self.perform(self.rig.say(STORAGE_2, Outcomes([outcome])))

    # Gateways ------------------------------------------------------------------------------------

    @rule(gateway=gateways)
    def gateway_acknowledges(self, gateway: NodeName) -> None:
        held = self.gateways[gateway]
        if held.complaint is not None:
            complaint, held.complaint = held.complaint, None
            self.perform(self.rig.say(gateway, complaint))
        self.perform(self.rig.say(gateway, DeliverAck(held.taken)))

    @rule(gateway=gateways)
    def gateway_loses_its_plans(self, gateway: NodeName) -> None:
        self.gateways[gateway].plans.clear()

    @rule(gateway=gateways)
    def link_breaks_and_heals(self, gateway: NodeName) -> None:
        self.marks_possible = True
        self.rig.core.peer_down(self.rig.now, gateway)
        self.perform(self.rig.turn())
        self.gateways[gateway].new_link()
        self.leader_sends()
        self.rig.core.peer_up(self.rig.now, peer(gateway))
        self.perform(self.rig.turn())

    @rule(milliseconds=st.integers(1, 2_500))
    def time_passes(self, milliseconds: int) -> None:
        if self.rig.now < 1_000_000 + PRESENCE_DIGEST_MS * 2:
            self.perform(self.rig.wait(milliseconds))

    # What must hold ------------------------------------------------------------------------------

    def perform(self, sends: list[Send]) -> None:
        for send in sends:
            if isinstance(send.message, NoticeAcks):
                (ack,) = send.message.items
                assert ack.index <= self.sent
                self.acked = max(self.acked, ack.index)
            elif isinstance(send.message, Propose):
                for item in send.message.items:
                    query = decode_query(item.body)
                    assert isinstance(query, MembersQuery)
                    self.queries.append((item.request, query))
            else:
                gateway = self.gateways[send.to]
                gateway.take(send.message, self.check_push(send.to))

    def check_push(self, name: NodeName) -> Callable[[int, int], None]:
        def pushed(session: int, sequence: int) -> None:
            uid = self.gateways[name].sessions.get(session)
            if uid is not None:
                assert self.may_see(uid, sequence), f"{uid} was pushed {sequence} after removal"

        return pushed

    def may_see(self, uid: str, sequence: int) -> bool:
        index = self.sent_at[sequence]
        current = max(version for version, _ in self.versions if version < index)
        return uid in self.named or any(
            uid in held for version, held in self.versions if version >= current
        )

    def missed(self, upto: int) -> list[tuple[int, int]]:
        """(session, sequence) of those online since before and members ever since, up to index."""
        return [
            (session, sequence)
            for name, gateway in self.gateways.items()
            for session, uid in gateway.sessions.items()
            for sequence, index in self.sent_at.items()
            if index <= upto
            and self.online_at[name, session] < index
            and all(
                uid in held or uid in self.named
                for version, held in self.versions
                if version >= max(one for one, _ in self.versions if one < index)
            )
            and sequence not in gateway.got.get(session, [])
        ]

    @invariant()
    def the_leader_hears_only_of_what_was_taken_over(self) -> None:
        if not self.marks_possible:
            assert self.missed(self.acked) == []

    def drain(self) -> None:
        self.leader_sends()
        for _ in range(100):
            while self.queries:
                self.leader_answers(10)
            for name in self.gateways:
                self.gateway_acknowledges(name)
            if self.acked == len(self.log) and not self.missed(self.acked):
                return
            self.perform(self.rig.wait(100))
        raise AssertionError(
            f"acknowledged {self.acked} of {len(self.log)}: {self.missed(1 << 40)}"
        )


class FanoutWithLittleCredit(FanoutModel):
    """Two messages fill the credit."""

    credit_bytes = 250


class FanoutOfAVisitor(FanoutWithLittleCredit):
    """Ann's channel: she hears everything, whether she is listed or not."""

    channel = home = (10, "ann")
    named = frozenset({"ann"})


class FanoutOfATopic(FanoutWithLittleCredit):
    """What is said in the topic is for the members of the community."""

    channel = (5, "town@square")
    home = (4, "town")


TestFanout = pytest.mark.promise("P5")(pytest.mark.promise("P4")(FanoutModel.TestCase))
TestFanout.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestFanoutWithLittleCredit = FanoutWithLittleCredit.TestCase
TestFanoutWithLittleCredit.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestFanoutOfAVisitor = pytest.mark.promise("P4")(FanoutOfAVisitor.TestCase)
TestFanoutOfAVisitor.settings = TestFanoutWithLittleCredit.settings
TestFanoutOfATopic = pytest.mark.promise("P5")(FanoutOfATopic.TestCase)
TestFanoutOfATopic.settings = TestFanoutWithLittleCredit.settings
