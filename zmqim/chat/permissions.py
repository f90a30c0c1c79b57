"""May this message go into that channel? (wukongim.md 1.11)

In this order: the channel's ban 19, its disbandment 24; a type that is not served 23; an unknown
group 5; then a privileged sender passes all lists. Person: only its two uids, the receiver's deny
list 4, the receiver's allow list 13. Others: deny list 4, member 3, allow list if it holds anyone
13, the channel's send ban 25. The sender's own bans are facts of the session, judged by the
gateway.
"""

from __future__ import annotations

from typing import Final

from zmqim.chat.channels import peers_of
from zmqim.chat.codes import ChannelType, Reason
from zmqim.chat.heads import Channel, Head
from zmqim.chat.keys import ALLOW_TAG, DENY_TAG, MEMBER_TAG
from zmqim.chat.members import MemberSets
from zmqim.chat.operations import SendMessage

_PERSON: Final = int(ChannelType.PERSON)
_SUCCESS: Final = Reason.SUCCESS
"""Named here, for each message: Python 3.11 takes ten times as long to find it in its enum."""
_OPEN_TYPES: Final = frozenset((ChannelType.CUSTOMER_SERVICE, ChannelType.INFO))
SERVED_TYPES: Final = frozenset(
    (ChannelType.PERSON, ChannelType.GROUP, ChannelType.VISITORS, ChannelType.AGENT)
) | frozenset(_OPEN_TYPES)


def judge(channel: Channel, send: SendMessage, sets: MemberSets) -> Reason:
    """SUCCESS, or why the message is refused."""
    head = channel.head
    if head.ban:
        return Reason.BANNED
    if head.disband:
        return Reason.DISBANDED
    channel_type = head.channel_type
    if channel_type == _PERSON:
        return _SUCCESS if send.privileged else _judge_person(head, send.from_uid)
    if channel_type not in SERVED_TYPES:
        return Reason.CHANNEL_TYPE_NOT_SUPPORTED
    if channel_type == ChannelType.GROUP and not channel.exists:
        return Reason.CHANNEL_NOT_FOUND
    if send.privileged or channel_type in _OPEN_TYPES:
        return Reason.SUCCESS
    if channel_type == ChannelType.AGENT:
        parties = peers_of(head.channel_id)
        return Reason.SUCCESS if send.from_uid in parties else Reason.NOT_ALLOWED
    if channel_type == ChannelType.VISITORS and send.from_uid == head.channel_id:
        return Reason.SUCCESS
    return _judge_member(channel, send.from_uid, sets)


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
    return _SUCCESS


def _judge_member(channel: Channel, sender: str, sets: MemberSets) -> Reason:
    head = channel.head
    if head.deny_count and sets.holds(DENY_TAG, channel, sender):
        return Reason.IN_BLACKLIST
    if not sets.holds(MEMBER_TAG, channel, sender):
        return Reason.NOT_SUBSCRIBER
    if head.allow_count and not sets.holds(ALLOW_TAG, channel, sender):
        return Reason.NOT_IN_WHITELIST
    if head.send_ban:
        return Reason.SEND_BANNED
    return Reason.SUCCESS
