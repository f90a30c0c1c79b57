"""Conversations and unread counts against a naive model that keeps everything and counts by hand.

One partition plays the persons' and the channels'. What one owes the other is delivered late, in
another order and more than once; once all is delivered, everybody must see what the model says.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from chat_partition import Partition, PartitionMachine
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from zmqim.chat.channels import peers_of, person_channel_id
from zmqim.chat.codes import ChannelType, MessageFlag
from zmqim.chat.listing import changed_at, head_wanted, is_listed, unread_of
from zmqim.chat.operations import (
    AddMembers,
    MoveCursor,
    RemoveMembers,
    SendMessage,
    decode_operation,
)
from zmqim.chat.queries import ConversationsQuery, HeadsQuery
from zmqim.chat.results import ConversationsPage, HeadsPage, Sent

GROUP, PERSON = int(ChannelType.GROUP), int(ChannelType.PERSON)
UIDS = ("a", "b", "c")
PAIR = person_channel_id("a", "b")
uids = st.sampled_from(UIDS)
names = st.sampled_from([(GROUP, "g"), (GROUP, "h"), (PERSON, PAIR)])
Name = tuple[int, str]


@dataclass
class Person:
    """One person in one channel."""

    member: bool = False
    joined: int = 0
    read: int = 0
    deleted: int = 0
    marked: int = 0


@dataclass
class Model:
    """One channel: (sender, has a red dot) of each message, and the persons in it."""

    messages: list[tuple[str, bool]] = field(default_factory=list)
    persons: dict[str, Person] = field(default_factory=dict)

    def person(self, uid: str) -> Person:
        return self.persons.setdefault(uid, Person())

    def unread(self, uid: str) -> int:
        person = self.person(uid)
        counted = 0
        for number, (sender, red) in enumerate(self.messages, 1):
            if sender == uid:
                counted = 0
            elif red and number > max(person.joined, person.read, person.deleted):
                counted += 1
        return max(counted, person.marked)


class ConversationMachine(PartitionMachine):
    @initialize()
    def begin(self) -> None:
        self.partition = Partition(heads_max=1)
        self.models: dict[Name, Model] = {}
        self.number = 0
        self.delivered: set[int] = set()
        self.promises: list[tuple[int, dict[tuple[str, Name], int]]] = []

    def model(self, name: Name) -> Model:
        return self.models.setdefault(name, Model())

    @rule(
        name=names, sender=uids, red=st.booleans(), command=st.booleans(), count=st.integers(1, 3)
    )
    def send(self, name: Name, sender: str, red: bool, command: bool, count: int) -> None:
        flags = (MessageFlag.RED_DOT if red else 0) | (MessageFlag.SYNC_ONCE if command else 0)
        for _ in range(count):
            self.number += 1
            sent = self.partition.apply(
                SendMessage(*name, sender, str(self.number), b"x", flags=flags)
            )
            model = self.model(name)
            if isinstance(sent, Sent) and not command:
                model.messages.append((sender, red))
                assert sent.sequence == len(model.messages)
                if name[0] == PERSON:
                    for uid in peers_of(name[1]):
                        model.person(uid).member = True

    @rule(group=st.sampled_from("gh"), who=st.lists(uids, max_size=3), reset=st.booleans())
    def add(self, group: str, who: list[str], reset: bool) -> None:
        self.partition.apply(AddMembers(GROUP, group, who, reset=reset))
        model = self.model((GROUP, group))
        for uid in UIDS:
            person = model.person(uid)
            if uid in who:
                if not person.member:
                    person.member, person.joined = True, len(model.messages)
            elif reset:
                person.member = False

    @rule(group=st.sampled_from("gh"), who=st.lists(uids, max_size=3), everyone=st.booleans())
    def remove(self, group: str, who: list[str], everyone: bool) -> None:
        gone = [] if everyone else who
        self.partition.apply(RemoveMembers(GROUP, group, gone, everyone=everyone))
        for uid in UIDS if everyone else who:
            self.model((GROUP, group)).person(uid).member = False

    @rule(
        name=names,
        uid=uids,
        back=st.integers(0, 2),
        what=st.sampled_from("rdm"),
        count=st.integers(0, 3),
    )
    def move(self, name: Name, uid: str, back: int, what: str, count: int) -> None:
        model = self.model(name)
        person = model.person(uid)
        to = max(len(model.messages) - back, 0)
        match what:
            case "r":
                self.partition.apply(MoveCursor(uid, *name, read=to))
                if to > person.read:
                    person.read, person.marked = to, 0
            case "d":
                self.partition.apply(MoveCursor(uid, *name, deleted=to))
                if to > person.deleted:
                    person.deleted, person.marked = to, 0
            case _:
                self.partition.apply(MoveCursor(uid, *name, marked_count=count))
                person.marked = count

    @rule(count=st.integers(1, 4), backwards=st.booleans())
    def deliver(self, count: int, backwards: bool) -> None:
        """Some of what the partition owes; what was delivered may come again."""
        rows = self.partition.state.outbox_after(0, 10_000)
        for number, row in (rows[::-1] if backwards else rows)[:count]:
            self.delivered.add(number)
            self.partition.apply(decode_operation(row.operation))

    @rule()
    def everybody_sees_what_is_so(self) -> None:
        for number, row in self.partition.state.outbox_after(0, 10_000):
            if number not in self.delivered:
                self.delivered.add(number)
                self.partition.apply(decode_operation(row.operation))
        for uid in UIDS:
            seen = {name: shown[0] for name, shown in self.shown(uid).items()}
            assert seen == {
                name: model.unread(uid)
                for name, model in self.models.items()
                if model.person(uid).member and len(model.messages) > model.person(uid).deleted
            }

    @rule()
    def remember_a_version(self) -> None:
        shown = {(uid, name): stamp for uid in UIDS for name, (_, stamp) in self.shown(uid).items()}
        self.promises.append((self.partition.state.applied.hlc, shown))

    @precondition(lambda self: self.promises)
    @rule()
    def nothing_changed_under_a_version_that_was_given(self) -> None:
        for promise, before in self.promises:
            for uid in UIDS:
                for name, (_, stamp) in self.shown(uid).items():
                    assert stamp > promise or before.get((uid, name)) == stamp

    def shown(self, uid: str) -> dict[Name, tuple[int, int]]:
        """(unread, stamp) of each conversation that `uid` sees, read two rows at a time."""
        rows = []
        after = b""
        while True:
            page = self.partition.query(ConversationsQuery(uid, after, 2))
            assert isinstance(page, ConversationsPage)
            rows += page.rows
            after = page.next
            if not after:
                break
        heads = self.partition.query(HeadsQuery(uid, [head_wanted(row, 1) for row in rows]))
        assert isinstance(heads, HeadsPage)
        return {
            (row.channel_type, row.channel_id): (unread_of(row, head), changed_at(row, head))
            for row, head in zip(rows, heads.heads, strict=True)
            if is_listed(row, head)
        }

    def teardown(self) -> None:
        if hasattr(self, "partition"):
            self.everybody_sees_what_is_so()
        super().teardown()


ConversationMachine.TestCase.settings = settings(
    max_examples=200, stateful_step_count=60, deadline=None
)
TestConversationModel = pytest.mark.promise("P11")(ConversationMachine.TestCase)
