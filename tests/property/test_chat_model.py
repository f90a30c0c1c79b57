"""The state machine against a naive model of dictionaries, and against its own replay."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from chat_partition import Partition
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from zmqim.chat.channels import peers_of, person_channel_id
from zmqim.chat.codes import ChannelType, ListAction, ListName, MessageFlag, Reason
from zmqim.chat.encoding import encode
from zmqim.chat.operations import (
    AddMembers,
    ChangeList,
    DerivePersonRule,
    Follow,
    FollowerMoved,
    RemoveMembers,
    SendMessage,
    Unfollow,
    UpsertChannel,
    decode_send,
)
from zmqim.chat.queries import FollowQuery, ListQuery, MembersQuery, MessagesQuery
from zmqim.chat.results import Done, FollowedPage, MembersPage, MessagesPage, Rejected, Sent

pytestmark = [pytest.mark.promise("P2"), pytest.mark.promise("P3"), pytest.mark.promise("P5")]

GROUP, PERSON = ChannelType.GROUP, ChannelType.PERSON
UIDS = ("a", "b", "c", "d")
uids = st.sampled_from(UIDS)
groups = st.sampled_from(("g", "h"))
names = st.one_of(
    st.tuples(st.just(int(GROUP)), groups),
    st.tuples(st.just(int(PERSON)), st.sampled_from([person_channel_id("a", "b")])),
)
some = st.lists(uids, max_size=3)


@dataclass
class Model:
    """What one channel should hold."""

    exists: bool = False
    ban: bool = False
    disband: bool = False
    members: set[str] = field(default_factory=set)
    removed_at: dict[str, int] = field(default_factory=dict)
    lists: dict[int, set[str]] = field(default_factory=lambda: {0: set(), 1: set()})
    denies: dict[str, bool] = field(default_factory=dict)
    messages: dict[bool, list[bytes]] = field(default_factory=lambda: {False: [], True: []})
    answers: dict[tuple[bool, str, str], tuple[int, int, bytes]] = field(default_factory=dict)

    def verdict(self, kind: int, channel: str, sender: str, privileged: bool) -> Reason:
        if self.ban:
            return Reason.BANNED
        if self.disband:
            return Reason.DISBANDED
        if kind == PERSON:
            if privileged:
                return Reason.SUCCESS
            if sender not in peers_of(channel):
                return Reason.NOT_ALLOWED
            other = next(uid for uid in peers_of(channel) if uid != sender)
            return Reason.IN_BLACKLIST if self.denies.get(other) else Reason.SUCCESS
        if not self.exists:
            return Reason.CHANNEL_NOT_FOUND
        if privileged:
            return Reason.SUCCESS
        if sender in self.lists[0]:
            return Reason.IN_BLACKLIST
        if sender not in self.members:
            return Reason.NOT_SUBSCRIBER
        if self.lists[1] and sender not in self.lists[1]:
            return Reason.NOT_IN_WHITELIST
        return Reason.SUCCESS


class ChatMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.partition = Partition(heads_max=1)
        self.models: dict[tuple[int, str], Model] = {}
        self.last_id = 0
        self.version = 0
        self.positions: dict[str, int] = {}

    def model(self, name: tuple[int, str]) -> Model:
        return self.models.setdefault(name, Model())

    @rule(
        name=names,
        sender=uids,
        number=st.sampled_from("123"),
        payload=st.sampled_from((b"x", b"y")),
        command=st.booleans(),
        privileged=st.booleans(),
    )
    def send(
        self,
        name: tuple[int, str],
        sender: str,
        number: str,
        payload: bytes,
        command: bool,
        privileged: bool,
    ) -> None:
        model = self.model(name)
        flags = MessageFlag.SYNC_ONCE if command else 0
        send = SendMessage(*name, sender, number, payload, flags=flags, privileged=privileged)
        result = self.partition.apply(send)
        first = model.answers.get((command, sender, number))
        if first is not None:
            if first[2] == payload:
                assert isinstance(result, Sent)
                assert (result.sequence, result.message_id, result.duplicate) == (*first[:2], True)
            else:
                assert isinstance(result, Rejected)
                assert result.reason == Reason.IDEMPOTENCY_CONFLICT
            return
        verdict = model.verdict(*name, sender, privileged)
        if verdict is not Reason.SUCCESS:
            assert result == Rejected(verdict)
            return
        assert isinstance(result, Sent)
        model.exists = True
        model.messages[command].append(encode(send))
        assert (result.sequence, result.duplicate) == (len(model.messages[command]), False)
        assert result.message_id > self.last_id
        self.last_id = result.message_id
        model.answers[command, sender, number] = (result.sequence, result.message_id, payload)

    @rule(group=groups, who=some, reset=st.booleans())
    def add(self, group: str, who: list[str], reset: bool) -> None:
        model = self.model((GROUP, group))
        result = self.partition.apply(AddMembers(GROUP, group, who, reset=reset))
        if model.disband:
            assert isinstance(result, Rejected)
            return
        assert isinstance(result, Done)
        model.exists = True
        if reset:
            self._leave(model, model.members - set(who))
        model.members |= set(who)

    @rule(group=groups, who=some, everyone=st.booleans())
    def remove(self, group: str, who: list[str], everyone: bool) -> None:
        model = self.model((GROUP, group))
        self.partition.apply(RemoveMembers(GROUP, group, who, everyone=everyone))
        self._leave(model, set(model.members) if everyone else model.members & set(who))

    def _leave(self, model: Model, who: set[str]) -> None:
        model.members -= who
        for uid in who:
            model.removed_at[uid] = len(model.messages[False])

    @rule(
        group=groups, which=st.sampled_from(ListName), action=st.sampled_from(ListAction), who=some
    )
    def change_list(self, group: str, which: int, action: int, who: list[str]) -> None:
        model = self.model((GROUP, group))
        self.partition.apply(ChangeList(GROUP, group, which, action, who))
        model.exists = True
        listed = model.lists[which]
        if action == ListAction.ADD:
            listed |= set(who)
        elif action == ListAction.SET:
            model.lists[which] = set(who)
        elif action == ListAction.REMOVE:
            listed -= set(who)
        else:
            listed.clear()

    @rule(name=names, ban=st.booleans(), disband=st.integers(0, 9))
    def upsert(self, name: tuple[int, str], ban: bool, disband: int) -> None:
        model = self.model(name)
        self.partition.apply(UpsertChannel(*name, ban=ban, disband=disband == 0))
        model.exists = True
        model.ban = ban
        model.disband = model.disband or disband == 0

    @rule(owner=st.sampled_from("ab"), present=st.booleans())
    def derive(self, owner: str, present: bool) -> None:
        channel = person_channel_id("a", "b")
        self.version += 1
        change = DerivePersonRule(channel, owner, ListName.DENY, present, self.version)
        self.partition.apply(change)
        self.model((PERSON, channel)).denies[owner] = present

    @rule(name=st.sampled_from("vw"))
    def follow(self, name: str) -> None:
        index = len(self.partition.log) + 1
        position = self.positions.setdefault(name, index)
        assert self.partition.apply(Follow(name)) == Done(position)

    @rule(name=st.sampled_from("vw"), upto=st.integers(0, 60))
    def move_follower(self, name: str, upto: int) -> None:
        index = len(self.partition.log) + 1
        if name in self.positions:
            self.positions[name] = max(self.positions[name], min(upto, index))
        moved = self.partition.apply(FollowerMoved(name, upto))
        assert moved == Done(self.positions.get(name, 0))

    @rule(name=st.sampled_from("vw"))
    def unfollow(self, name: str) -> None:
        self.partition.apply(Unfollow(name))
        self.positions.pop(name, None)

    @rule()
    def turn(self) -> None:
        self.partition.turn()

    @rule()
    def restart(self) -> None:
        self.partition.turn()
        self.partition.open()

    @invariant()
    def the_log_is_needed_after_the_lowest_follower(self) -> None:
        assert self.partition.state.followers.lowest == min(self.positions.values(), default=None)
        for name in "vw":
            page = self.partition.query(FollowQuery(name))
            position = self.positions.get(name, -1)
            assert page == FollowedPage(position, max(position, 0))

    @invariant()
    def every_message_is_found_again_by_the_entry_that_stored_it_and_by_no_other(self) -> None:
        found: dict[tuple[int, str, bool], list[bytes]] = {}
        for hlc, body in self.partition.log:
            row = self.partition.state.message_again(hlc, body)
            if row is None:
                continue
            send = decode_send(row.operation)
            command = bool(send.flags & MessageFlag.SYNC_ONCE)
            name = (send.channel_type, send.channel_id, command)
            found.setdefault(name, []).append(row.operation)
            assert row.sequence == len(found[name])
        stored = {
            (*name, command): messages
            for name, model in self.models.items()
            for command, messages in model.messages.items()
            if messages
        }
        assert found == stored

    @invariant()
    def reads_show_what_was_done(self) -> None:
        for (kind, channel), model in self.models.items():
            for command in (False, True):
                self._check_history(kind, channel, model, command)
            if kind != GROUP:
                continue
            page = self.partition.query(MembersQuery(kind, channel))
            assert isinstance(page, MembersPage)
            assert (page.uids, page.count) == (sorted(model.members), len(model.members))
            for which in ListName:
                page = self.partition.query(ListQuery(kind, channel, which))
                assert isinstance(page, MembersPage)
                assert page.uids == sorted(model.lists[which])

    def _check_history(self, kind: int, channel: str, model: Model, command: bool) -> None:
        page = self.partition.query(MessagesQuery(kind, channel, limit=999, command=command))
        assert isinstance(page, MessagesPage)
        assert [row.operation for row in page.messages] == model.messages[command]
        assert [row.sequence for row in page.messages] == list(range(1, len(page.messages) + 1))
        if command:
            return
        for uid in UIDS:
            pulled = self.partition.query(MessagesQuery(kind, channel, uid, limit=999))
            assert isinstance(pulled, MessagesPage)
            visible = len(page.messages)
            if uid in model.removed_at and uid not in model.members:
                visible = model.removed_at[uid]
            assert len(pulled.messages) == visible

    def teardown(self) -> None:
        if hasattr(self, "partition"):
            self.partition.turn()
            assert self.partition.replayed().digest() == self.partition.digest()


ChatMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestChatModel = ChatMachine.TestCase
