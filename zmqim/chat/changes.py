"""Changes of channels, members and lists: what each operation does to the rows.

Person lists. The truth is in the owner's user partition, under the channel (PERSON, owner's uid).
A change derives one `DerivePersonRule` for the person channel of each uid that it concerns, through
the outbox. The rule for the allow list: it is in force while it names anyone, and then stops
whomever it once named and names no longer. So when its first name comes or its last one goes,
a rule is derived anew for everyone it ever named. Somebody it never named has no derived row and
passes, since a send reads no other partition; WuKongIM by default ignores a person's allow list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zmqim.chat.channels import SYSTEM_UIDS, person_channel_id, route_key_of_channel
from zmqim.chat.codes import ChannelType, ListAction, ListName, Reason
from zmqim.chat.conversations import joined
from zmqim.chat.encoding import encode
from zmqim.chat.heads import Channel, Heads
from zmqim.chat.keys import ALLOW_TAG, DENY_TAG, MEMBER_TAG
from zmqim.chat.members import MemberSets, Membership
from zmqim.chat.notices import MembersNotice
from zmqim.chat.operations import (
    AddMembers,
    ChangeList,
    DerivePersonRule,
    RemoveMembers,
    UpsertChannel,
)
from zmqim.chat.permissions import MEMBER_TYPES, SERVED_TYPES
from zmqim.chat.results import Rejected
from zmqim.chat.rows import Derived, PersonRule


class Change(NamedTuple):
    """What a change of a channel is followed by: what routers are told, and other partitions."""

    notice: MembersNotice | None = None
    derived: Sequence[Derived] = ()


def list_tag(which: int) -> bytes:
    """Under which tag the rows of that list are."""
    return DENY_TAG if which == ListName.DENY else ALLOW_TAG


def upsert_channel(heads: Heads, operation: UpsertChannel) -> Rejected | Change:
    """Create a channel or change its flags."""
    if operation.channel_type not in SERVED_TYPES:
        return _type_not_served(operation.channel_type)
    channel = heads.find(operation.channel_type, operation.channel_id)
    heads.changed(channel)
    head = channel.head
    head.large = operation.large
    head.ban = operation.ban
    head.disband = head.disband or operation.disband
    head.send_ban = operation.send_ban
    head.allow_stranger = operation.allow_stranger
    return Change()


def add_members(
    heads: Heads, sets: MemberSets, index: int, operation: AddMembers, partitions: int
) -> Rejected | Change:
    """Add members; with `reset`, everybody else leaves."""
    name = (operation.channel_type, operation.channel_id)
    if operation.channel_type not in MEMBER_TYPES and name != SYSTEM_UIDS:
        return Rejected(
            Reason.CHANNEL_TYPE_NOT_SUPPORTED,
            f"a channel of type {operation.channel_type} has no members of its own",
        )
    channel = heads.find(operation.channel_type, operation.channel_id)
    if channel.head.disband:
        return Rejected(Reason.DISBANDED, "the channel is disbanded")
    heads.changed(channel)
    removed: list[str] = []
    if operation.reset:
        stays = frozenset(operation.uids)
        leaving = [uid for uid in sets.everyone(MEMBER_TAG, channel) if uid not in stays]
        removed = sets.remove(MEMBER_TAG, channel, leaving, _tombstone(heads, channel, index))
    added = sets.add(MEMBER_TAG, channel, operation.uids, index)
    if not added and not removed:
        return Change()
    told = list(dict.fromkeys(operation.uids)) if operation.reset else added
    notice = _members_changed(channel, index, told, removed, len(added), operation.reset)
    return Change(notice, joined(heads, channel, index, added, removed, partitions))


def remove_members(
    heads: Heads, sets: MemberSets, index: int, operation: RemoveMembers, partitions: int
) -> Change:
    """Remove some members or all. A channel that is not there has none."""
    channel = heads.find(operation.channel_type, operation.channel_id)
    everyone = operation.everyone
    leaving = sets.everyone(MEMBER_TAG, channel) if everyone else operation.uids
    removed = sets.remove(MEMBER_TAG, channel, leaving, _tombstone(heads, channel, index))
    if not removed:
        return Change()
    heads.changed(channel)
    notice = _members_changed(channel, index, [], removed, 0, everyone)
    return Change(notice, joined(heads, channel, index, [], removed, partitions))


def change_list(
    heads: Heads, sets: MemberSets, index: int, operation: ChangeList
) -> Rejected | Change:
    """Change a deny or allow list, and say what it means for person channels."""
    if operation.channel_type not in SERVED_TYPES:
        return _type_not_served(operation.channel_type)
    channel = heads.find(operation.channel_type, operation.channel_id)
    heads.changed(channel)
    head = channel.head
    tag = list_tag(operation.which)
    action = operation.action
    wanted = () if action == ListAction.REMOVE_ALL else operation.uids
    if action in (ListAction.SET, ListAction.REMOVE_ALL):
        stays = frozenset(wanted)
        leaving = [uid for uid in sets.everyone(tag, channel) if uid not in stays]
    else:
        leaving = operation.uids if action == ListAction.REMOVE else []
    removed = sets.remove(tag, channel, leaving, Membership(False, index))
    added: list[str] = []
    if action in (ListAction.ADD, ListAction.SET):
        added = sets.add(tag, channel, wanted, index)
    before = head.deny_count if operation.which == ListName.DENY else head.allow_count
    count = before + len(added) - len(removed)
    if operation.which == ListName.DENY:
        head.deny_count = count
    else:
        head.allow_count = count
    if operation.channel_type != ChannelType.PERSON:
        return Change()
    concerned = [(uid, True) for uid in added] + [(uid, False) for uid in removed]
    if operation.which == ListName.ALLOW and (before == 0) != (count == 0):
        concerned = sets.ever(tag, channel)
    rules = [_derive(operation, uid, present, index, count > 0) for uid, present in concerned]
    return Change(None, rules)


def derive_rule(heads: Heads, operation: DerivePersonRule) -> None:
    """Take over what the owner's partition derived, unless something newer is known."""
    channel = heads.find(ChannelType.PERSON, operation.channel_id)
    heads.changed(channel)
    rules = channel.head.rules
    for rule in rules:
        if rule.owner == operation.owner:
            break
    else:
        rule = PersonRule(operation.owner)
        rules.append(rule)
    if operation.which == ListName.DENY:
        if operation.version > rule.deny_version:
            rule.deny, rule.deny_version = operation.present, operation.version
    elif operation.version > rule.allow_version:
        rule.allow, rule.allow_version = operation.present, operation.version
        rule.restricts = operation.owner_restricts


def _derive(operation: ChangeList, uid: str, present: bool, index: int, in_force: bool) -> Derived:
    owner = operation.channel_id
    channel_id = person_channel_id(owner, uid)
    rule = DerivePersonRule(
        channel_id,
        owner,
        operation.which,
        present,
        index,
        in_force and operation.which == ListName.ALLOW,
    )
    return Derived(route_key_of_channel(ChannelType.PERSON, channel_id), encode(rule))


def _members_changed(
    channel: Channel, index: int, added: list[str], removed: list[str], joined: int, reset: bool
) -> MembersNotice:
    head = channel.head
    previous = head.member_version
    head.member_version = index
    head.member_count += joined - len(removed)
    return MembersNotice(
        head.channel_type,
        head.channel_id,
        index,
        added,
        [] if reset else removed,
        reset,
        head.member_count,
        previous,
    )


def _tombstone(heads: Heads, channel: Channel, index: int) -> Membership:
    head = channel.head
    command = heads.find(head.channel_type, head.channel_id, command=True)
    return Membership(False, index, head.last_sequence, command.head.last_sequence)


def _type_not_served(channel_type: int) -> Rejected:
    return Rejected(Reason.CHANNEL_TYPE_NOT_SUPPORTED, f"channel type {channel_type} is not served")
