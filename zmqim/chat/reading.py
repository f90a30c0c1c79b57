"""Reads of the applied state of a partition."""

from __future__ import annotations

from typing import Final, assert_never

from zmqim.chat.changes import list_tag
from zmqim.chat.channels import peers_of
from zmqim.chat.codes import ChannelType, ListName
from zmqim.chat.heads import Channel
from zmqim.chat.keys import MEMBER_TAG
from zmqim.chat.queries import (
    ChannelQuery,
    FollowQuery,
    ListQuery,
    MembersQuery,
    MessagesQuery,
    OutboxQuery,
    Probe,
    Query,
    UserQuery,
)
from zmqim.chat.results import ChannelRow, Done, FollowedPage, MembersPage, MessagesPage, Result
from zmqim.chat.state import ChatState
from zmqim.limits import MEMBERS_PAGE_MAX, PULL_BYTES_MAX, PULL_MESSAGES_MAX

_UPWARDS: Final = 1


def answer(state: ChatState, query: Query) -> Result:
    """What the applied state says to `query`. An `OutboxQuery` is Done: whoever knows how far the
    outbox is asks only then. A `FollowQuery` learns where it stands: whoever holds the log adds
    what the log has."""
    match query:
        case Probe() | OutboxQuery():
            return Done(state.applied.index)
        case UserQuery():
            return state.users.row(query.uid, query.device_flag)
        case ChannelQuery():
            return _channel(state.heads.find(query.channel_type, query.channel_id))
        case MembersQuery():
            return _members(state, query)
        case ListQuery():
            return _list(state, query)
        case MessagesQuery():
            return _messages(state, query)
        case FollowQuery():
            return _standing(state, query)
        case _:
            assert_never(query)


def _channel(channel: Channel) -> ChannelRow:
    head = channel.head
    return ChannelRow(
        channel.exists,
        head.large,
        head.ban,
        head.disband,
        head.send_ban,
        head.allow_stranger,
        head.last_sequence,
        head.member_count,
        head.member_version,
    )


def _standing(state: ChatState, query: FollowQuery) -> FollowedPage:
    position = state.followers.position(query.name)
    if position is None:
        return FollowedPage(-1)
    return FollowedPage(position, position if query.after < 0 else query.after)


def _page_limit(limit: int) -> int:
    return max(1, min(limit, MEMBERS_PAGE_MAX))


def _members(state: ChatState, query: MembersQuery) -> MembersPage:
    channel = state.heads.find(query.channel_type, query.channel_id)
    head = channel.head
    limit = _page_limit(query.limit)
    if query.channel_type == ChannelType.PERSON:
        both = sorted(set(peers_of(query.channel_id)), key=str.encode)
        after = query.after_uid.encode()
        left = [uid for uid in both if uid.encode() > after]
        return MembersPage(head.member_version, len(both), left[:limit], len(left) > limit)
    uids, more = state.sets.page(MEMBER_TAG, channel, query.after_uid, limit)
    return MembersPage(head.member_version, head.member_count, uids, more)


def _list(state: ChatState, query: ListQuery) -> MembersPage:
    channel = state.heads.find(query.channel_type, query.channel_id)
    head = channel.head
    count = head.deny_count if query.which == ListName.DENY else head.allow_count
    tag = list_tag(query.which)
    uids, more = state.sets.page(tag, channel, query.after_uid, _page_limit(query.limit))
    return MembersPage(head.member_version, count, uids, more)


def _messages(state: ChatState, query: MessagesQuery) -> MessagesPage:
    channel = state.heads.find(query.channel_type, query.channel_id, query.command)
    visible = _visible(state, query, channel)
    limit = max(1, min(query.limit, PULL_MESSAGES_MAX))
    start, end = max(query.start, 0), max(query.end, 0)
    upwards = query.pull_mode == _UPWARDS and (start or end)
    if upwards:
        first = max(start, 1)
        bound = min(visible, end - 1) if end else visible
        last = min(bound, first + limit - 1)
    else:
        last = min(start, visible) if start else visible
        bound = end + 1
        first = max(bound, last - limit + 1)
    found = state.messages.run(channel, first, last, down=not upwards, bytes_max=PULL_BYTES_MAX)
    if not found:
        return MessagesPage([], False, visible)
    more = found[-1].sequence < bound if upwards else found[0].sequence > bound
    return MessagesPage(found, more, visible)


def _visible(state: ChatState, query: MessagesQuery, channel: Channel) -> int:
    """The last sequence that the asker may see: someone removed sees what was before (P5)."""
    last = channel.head.last_sequence
    if query.login_uid and query.channel_type != ChannelType.PERSON:
        base = state.heads.find(query.channel_type, query.channel_id)
        membership = state.sets.get(MEMBER_TAG, base, query.login_uid)
        if membership is not None and not membership.present:
            removed = membership.last_command if query.command else membership.last_sequence
            return min(last, removed)
    return last
