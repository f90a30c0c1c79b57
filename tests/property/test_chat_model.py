"""The state machine against a naive model of dictionaries, and against its own replay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from chat_partition import Partition, PartitionMachine
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import ChannelType, ListAction, ListName, MessageFlag, Reason, Stranger
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
from zmqim.chat.queries import FollowQuery, ListQuery, MembersQuery, MessagesBy, MessagesQuery
from zmqim.chat.results import (
    Done,
    FollowedPage,
    MembersPage,
    MessagesFound,
    MessagesPage,
    Rejected,
    Sent,
    Strangers,
)

pytestmark = [pytest.mark.promise("P2"), pytest.mark.promise("P3"), pytest.mark.promise("P5")]

GROUP, PERSON = ChannelType.GROUP, ChannelType.PERSON
COMMUNITY, TOPIC = ChannelType.COMMUNITY, ChannelType.COMMUNITY_TOPIC
DENIED = Reason.IN_BLACKLIST
UIDS = ("a", "b", "c", "d")
MADE = [(int(GROUP), "g"), (int(GROUP), "h"), (int(COMMUNITY), "g"), (int(ChannelType.LIVE), "g")]
"""Channels that are there only once somebody made them."""
NAMED = {
    (int(ChannelType.VISITORS), "a"): {"a"},
    (int(ChannelType.CUSTOMER_SERVICE), "a|desk"): {"a"},
    (int(ChannelType.AGENT), "a@b"): {"a", "b"},
}
"""Channels with the uids that their ids name."""
INFO = (int(ChannelType.INFO), "g")
TOPICS = [(int(TOPIC), "g@1"), (int(TOPIC), "g@2")]
BETWEEN = (int(PERSON), person_channel_id("a", "b"))
OTHER = {"a": "b", "b": "a", "c": "", "d": ""}
EVERY = [*MADE, *NAMED, INFO, *TOPICS, BETWEEN]
HAVE_MEMBERS = [*MADE, INFO, *[name for name in NAMED if name[0] != ChannelType.AGENT]]
uids = st.sampled_from(UIDS)
names = st.sampled_from(EVERY)
member_names = st.sampled_from(HAVE_MEMBERS)
listed_names = st.sampled_from([name for name in EVERY if name != BETWEEN])
some = st.lists(uids, max_size=3)


@dataclass
class Model:
    """What one channel should hold."""

    exists: bool = False
    ban: bool = False
    disband: bool = False
    send_ban: bool = False
    members: set[str] = field(default_factory=set)
    removed_at: dict[str, int] = field(default_factory=dict)
    lists: dict[int, set[str]] = field(default_factory=lambda: {0: set(), 1: set()})
    denies: dict[str, bool] = field(default_factory=dict)
    allows: dict[str, bool] = field(default_factory=dict)
    restricts: dict[str, bool] = field(default_factory=dict)
    messages: dict[bool, list[bytes]] = field(default_factory=lambda: {False: [], True: []})
    answers: dict[tuple[bool, str, str], tuple[int, int, bytes]] = field(default_factory=dict)

    def closed(self) -> Iterator[tuple[bool, Reason]]:
        """What stops everybody."""
        yield self.ban, Reason.BANNED
        yield self.disband, Reason.DISBANDED

    def listed(self, sender: str, by_name: bool = False) -> Iterator[tuple[bool, Reason]]:
        """What the lists say to somebody who belongs, `by_name` if the id names them."""
        allow = self.lists[1]
        yield bool(allow) and sender not in allow and not by_name, Reason.NOT_IN_WHITELIST
        yield self.send_ban, Reason.SEND_BANNED


class ChatMachine(PartitionMachine):
    @initialize()
    def begin(self) -> None:
        self.partition = Partition(heads_max=1)
        self.models: dict[tuple[int, str], Model] = {}
        self.last_id = 0
        self.version = 0
        self.positions: dict[str, int] = {}

    def model(self, name: tuple[int, str]) -> Model:
        return self.models.setdefault(name, Model())

    def objections(
        self, name: tuple[int, str], sender: str, privileged: bool
    ) -> Iterator[tuple[bool, Reason]]:
        """The table of docs/CHANNELS.md, top down: the first that is true refuses."""
        model, home = self.model(name), self.home(name)
        yield from model.closed()
        if name in TOPICS:
            yield from home.closed()
        if name in MADE or name in TOPICS:
            yield not home.exists, Reason.CHANNEL_NOT_FOUND
        yield privileged, Reason.SUCCESS
        if name == BETWEEN:
            yield sender not in ("a", "b"), Reason.NOT_ALLOWED
            yield model.denies.get(OTHER[sender], False), DENIED
            yield model.restricts.get(OTHER[sender], False), Reason.NOT_IN_WHITELIST
            yield model.send_ban, Reason.SEND_BANNED
            return
        by_name = sender in NAMED.get(name, ())
        yield sender in home.lists[0], DENIED
        if name[0] == ChannelType.AGENT:
            yield not by_name, Reason.NOT_ALLOWED
        elif name != INFO and name[0] != ChannelType.CUSTOMER_SERVICE and not by_name:
            yield sender not in home.members, Reason.NOT_SUBSCRIBER
        yield from home.listed(sender, by_name)
        if name in TOPICS:
            yield sender in model.lists[0], DENIED
            yield from model.listed(sender)

    def home(self, name: tuple[int, str]) -> Model:
        """Whose members those of the channel are."""
        return self.model((int(COMMUNITY), "g") if name in TOPICS else name)

    def verdict(self, name: tuple[int, str], sender: str, privileged: bool) -> Reason:
        found = (reason for holds, reason in self.objections(name, sender, privileged) if holds)
        return next(found, Reason.SUCCESS)

    @rule(
        name=names,
        sender=uids,
        number=st.sampled_from("123"),
        payload=st.sampled_from((b"x", b"y")),
        command=st.booleans(),
        privileged=st.booleans(),
        stranger=st.sampled_from(Stranger),
    )
    def send(
        self,
        name: tuple[int, str],
        sender: str,
        number: str,
        payload: bytes,
        command: bool,
        privileged: bool,
        stranger: int,
    ) -> None:
        model = self.model(name)
        flags = MessageFlag.SYNC_ONCE if command else 0
        send = SendMessage(
            *name, sender, number, payload, flags=flags, privileged=privileged, stranger=stranger
        )
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
        verdict = self.verdict(name, sender, privileged)
        never_met = name == BETWEEN and not model.messages[False] and not privileged
        if verdict is Reason.SUCCESS and never_met and not model.allows.get(OTHER[sender]):
            if stranger == Stranger.ASK:
                assert result == Strangers()
                return
            if stranger == Stranger.UNWELCOME:
                verdict = Reason.NOT_ALLOWED
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

    @rule(name=member_names, who=some, reset=st.booleans())
    def add(self, name: tuple[int, str], who: list[str], reset: bool) -> None:
        model = self.model(name)
        result = self.partition.apply(AddMembers(*name, who, reset=reset))
        if model.disband:
            assert isinstance(result, Rejected)
            return
        assert isinstance(result, Done)
        model.exists = True
        if reset:
            self._leave(model, model.members - set(who))
        model.members |= set(who)

    @rule(name=member_names, who=some, everyone=st.booleans())
    def remove(self, name: tuple[int, str], who: list[str], everyone: bool) -> None:
        model = self.model(name)
        self.partition.apply(RemoveMembers(*name, who, everyone=everyone))
        self._leave(model, set(model.members) if everyone else model.members & set(who))

    def _leave(self, model: Model, who: set[str]) -> None:
        model.members -= who
        for uid in who:
            model.removed_at[uid] = len(model.messages[False])

    @rule(
        name=listed_names,
        which=st.sampled_from(ListName),
        action=st.sampled_from(ListAction),
        who=some,
    )
    def change_list(self, name: tuple[int, str], which: int, action: int, who: list[str]) -> None:
        model = self.model(name)
        self.partition.apply(ChangeList(*name, which, action, who))
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

    @rule(name=names, ban=st.booleans(), disband=st.integers(0, 9), send_ban=st.booleans())
    def upsert(self, name: tuple[int, str], ban: bool, disband: int, send_ban: bool) -> None:
        model = self.model(name)
        change = UpsertChannel(*name, ban=ban, disband=disband == 0, send_ban=send_ban)
        self.partition.apply(change)
        model.exists = True
        model.ban, model.send_ban = ban, send_ban
        model.disband = model.disband or disband == 0

    @rule(
        owner=st.sampled_from("ab"),
        which=st.sampled_from(ListName),
        present=st.booleans(),
        in_force=st.booleans(),
    )
    def derive(self, owner: str, which: ListName, present: bool, in_force: bool) -> None:
        self.version += 1
        self.partition.apply(
            DerivePersonRule(BETWEEN[1], owner, which, present, self.version, in_force)
        )
        model = self.model(BETWEEN)
        if which == ListName.DENY:
            model.denies[owner] = present
        else:
            model.allows[owner] = present
            model.restricts[owner] = in_force and not present

    @rule(
        name=names,
        uid=st.sampled_from(("", *UIDS)),
        sequences=st.lists(st.integers(0, 9), max_size=3),
        near=st.lists(st.tuples(st.integers(0, 9), st.sampled_from((-1, 0, 1))), max_size=3),
        numbers=st.lists(st.sampled_from("1234"), max_size=3),
    )
    def look_up(
        self,
        name: tuple[int, str],
        uid: str,
        sequences: list[int],
        near: list[tuple[int, int]],
        numbers: list[str],
    ) -> None:
        """By sequences, by ids that exist and their neighbours, and by client_msg_nos."""
        model = self.model(name)
        history = {
            (sequence, message_id, number)
            for (command, _, number), (sequence, message_id, _) in model.answers.items()
            if not command and sequence <= self.visible_to(uid, name)
        }
        known = sorted(message_id for _, message_id, _ in history) or [1]
        ids = [known[place % len(known)] + step for place, step in near]
        result = self.partition.query(MessagesBy(*name, uid, sequences, ids, numbers))
        assert isinstance(result, MessagesFound)
        assert [(row.sequence, row.message_id) for row in result.messages] == sorted(
            (sequence, message_id)
            for sequence, message_id, number in history
            if sequence in sequences or message_id in ids or number in numbers
        )
        assert (result.cut, result.after_uid) == (False, "")

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
        for (kind, channel), model in list(self.models.items()):
            for command in (False, True):
                self._check_history(kind, channel, model, command)
            if (kind, channel) == BETWEEN:
                continue
            if (kind, channel) in HAVE_MEMBERS:
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
            assert len(pulled.messages) == self.visible_to(uid, (kind, channel))

    def visible_to(self, uid: str, name: tuple[int, str]) -> int:
        """The last sequence of the history that `uid` may see; "" sees all."""
        home = self.home(name)
        gone = uid in home.removed_at and uid not in home.members
        if gone and uid not in NAMED.get(name, ()):
            return 0 if name in TOPICS else home.removed_at[uid]
        return len(self.model(name).messages[False])


ChatMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestChatModel = ChatMachine.TestCase
