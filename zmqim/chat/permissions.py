"""May this message go into that channel? (WuKongIM v2.2, docs/CHANNELS.md)

In this order: the channel's ban 19, its disbandment 24; a type that there is not 23; a channel that
lives by its members and was never made 5; then a privileged sender passes all lists. Person: only
its two uids, the receiver's deny list 4, the receiver's allow list 13. Others: deny list 4; whoever
does not belong 3, in agent channels 11; allow list if it holds anyone 13; the channel's send ban
25. The allow list does not apply to whom the channel's id names. A topic asks for the permission of
its community first, and then its own lists. The sender's own bans are facts of the session, judged
by the gateway.

A deny list counts in every type: WuKongIM does not look at it in info, customer service and agent
channels, nor for a visitor.
"""

from __future__ import annotations

from typing import Final

from zmqim.chat.channels import members_channel, named_in, peer_of
from zmqim.chat.codes import ChannelType, Reason
from zmqim.chat.heads import Channel, Head, Heads
from zmqim.chat.keys import ALLOW_TAG, DENY_TAG, MEMBER_TAG
from zmqim.chat.members import MemberSets
from zmqim.chat.operations import SendMessage

_PERSON: Final = int(ChannelType.PERSON)
_TOPIC: Final = int(ChannelType.COMMUNITY_TOPIC)
_SUCCESS: Final = Reason.SUCCESS
"""Named here, for each message: Python 3.11 takes ten times as long to find it in its enum."""
SERVED_TYPES: Final = frozenset(ChannelType)
MEMBER_TYPES: Final = SERVED_TYPES - {
    ChannelType.PERSON,
    ChannelType.AGENT,
    ChannelType.COMMUNITY_TOPIC,
}
"""Types that have members of their own."""
_OPEN_TYPES: Final = frozenset((ChannelType.CUSTOMER_SERVICE, ChannelType.INFO))
"""Everybody belongs to them."""
_NAMING_TYPES: Final = frozenset(
    (ChannelType.CUSTOMER_SERVICE, ChannelType.VISITORS, ChannelType.AGENT)
)
_MADE_TYPES: Final = MEMBER_TYPES - _OPEN_TYPES - _NAMING_TYPES
"""Nobody can write to them before somebody made them."""


def judge(heads: Heads, channel: Channel, send: SendMessage, sets: MemberSets) -> Reason:
    """SUCCESS, or why the message is refused."""
    head = channel.head
    if head.ban:
        return Reason.BANNED
    if head.disband:
        return Reason.DISBANDED
    channel_type = head.channel_type
    if channel_type == _PERSON:
        return _SUCCESS if send.privileged else _judge_person(head, send.from_uid)
    if channel_type == _TOPIC:
        return _judge_topic(heads, channel, send, sets)
    if channel_type in _MADE_TYPES:
        if not channel.exists:
            return Reason.CHANNEL_NOT_FOUND
        return _SUCCESS if send.privileged else _judge_member(channel, send.from_uid, sets)
    if channel_type not in SERVED_TYPES:
        return Reason.CHANNEL_TYPE_NOT_SUPPORTED
    return _SUCCESS if send.privileged else _judge_open(channel, send.from_uid, sets)


def are_strangers(head: Head, send: SendMessage) -> bool:
    """Would it be the first message between two persons, and not one that the receiver's allow list
    lets pass? `head` is that of the channel, also for a command message."""
    if head.last_sequence or head.channel_type != _PERSON or send.privileged:
        return False
    sender = send.from_uid
    receiver = peer_of(head.channel_id, sender)
    if receiver == sender:
        return False
    return not any(rule.allow for rule in head.rules if rule.owner == receiver)


def _judge_person(head: Head, sender: str) -> Reason:
    one, _, other = head.channel_id.partition("@")
    if sender == one:
        receiver = other
    elif sender == other:
        receiver = one
    else:
        return Reason.NOT_ALLOWED
    for rule in head.rules:
        if rule.owner == receiver:
            if rule.deny:
                return Reason.IN_BLACKLIST
            if rule.restricts and not rule.allow:
                return Reason.NOT_IN_WHITELIST
    return Reason.SEND_BANNED if head.send_ban else _SUCCESS


def _judge_member(channel: Channel, sender: str, sets: MemberSets) -> Reason:
    """A channel that only its members write to."""
    if _is_denied(channel, sender, sets):
        return Reason.IN_BLACKLIST
    if not sets.holds(MEMBER_TAG, channel, sender):
        return Reason.NOT_SUBSCRIBER
    return _judge_allowed(channel, sender, sets)


def _judge_topic(heads: Heads, topic: Channel, send: SendMessage, sets: MemberSets) -> Reason:
    """The community says who may write; the topic's own lists and bans can only take away."""
    community = heads.find(*members_channel(_TOPIC, topic.head.channel_id))
    reason = judge(heads, community, send, sets)
    if reason is not _SUCCESS or send.privileged:
        return reason
    if _is_denied(topic, send.from_uid, sets):
        return Reason.IN_BLACKLIST
    return _judge_allowed(topic, send.from_uid, sets)


def _judge_open(channel: Channel, sender: str, sets: MemberSets) -> Reason:
    """A channel to which others than its members may write: by its type, or named in its id."""
    head = channel.head
    if _is_denied(channel, sender, sets):
        return Reason.IN_BLACKLIST
    if sender in named_in(head.channel_type, head.channel_id):
        return Reason.SEND_BANNED if head.send_ban else _SUCCESS
    if head.channel_type == ChannelType.AGENT:
        return Reason.NOT_ALLOWED
    if head.channel_type not in _OPEN_TYPES and not sets.holds(MEMBER_TAG, channel, sender):
        return Reason.NOT_SUBSCRIBER
    return _judge_allowed(channel, sender, sets)


def _is_denied(channel: Channel, sender: str, sets: MemberSets) -> bool:
    return channel.head.deny_count > 0 and sets.holds(DENY_TAG, channel, sender)


def _judge_allowed(channel: Channel, sender: str, sets: MemberSets) -> Reason:
    head = channel.head
    if head.allow_count and not sets.holds(ALLOW_TAG, channel, sender):
        return Reason.NOT_IN_WHITELIST
    return Reason.SEND_BANNED if head.send_ban else _SUCCESS
