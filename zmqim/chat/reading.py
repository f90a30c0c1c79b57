"""Reads of the applied state of a partition."""

from __future__ import annotations

from typing import Final, assert_never

from zmqim.chat.changes import list_tag
from zmqim.chat.channels import members_channel, named_in
from zmqim.chat.codes import ChannelType, ListName
from zmqim.chat.heads import Channel
from zmqim.chat.keys import MEMBER_TAG
from zmqim.chat.look_up import messages_by
from zmqim.chat.messages import says_stream
from zmqim.chat.queries import (
    ChannelQuery,
    CommandsQuery,
    CommandsWanted,
    ConversationsQuery,
    EventsQuery,
    FollowQuery,
    HeadsQuery,
    HeadWanted,
    ListQuery,
    MembersQuery,
    MessagesBy,
    MessagesQuery,
    OutboxQuery,
    PendingQuery,
    Probe,
    Query,
    Together,
    UserQuery,
)
from zmqim.chat.results import (
    ChannelRow,
    CommandsOf,
    CommandsPage,
    Done,
    FollowedPage,
    HeadsPage,
    HeadView,
    MembersPage,
    MessageRow,
    MessagesPage,
    PackedConversations,
    PendingCommands,
    Result,
    StreamView,
)
from zmqim.chat.state import ChatState
from zmqim.chat.stream_views import events_of, size_of, with_streams
from zmqim.chat.unread import floor_leaving, unread_behind
from zmqim.limits import CONVERSATIONS_PAGE_MAX, MEMBERS_PAGE_MAX, PULL_BYTES_MAX, PULL_MESSAGES_MAX

_UPWARDS: Final = 1
_TOPIC: Final = int(ChannelType.COMMUNITY_TOPIC)


def answer(state: ChatState, query: Query) -> Result | PackedConversations:
    """What the applied state says to `query`. An `OutboxQuery` is Done: whoever knows how far the
    outbox is asks only then. A `FollowQuery` learns where it stands: whoever holds the log adds
    what the log has. The parts of a `Together` are asked one by one."""
    match query:
        case HeadsQuery():
            return _heads(state, query)
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
        case ConversationsQuery():
            return _conversations(state, query)
        case CommandsQuery():
            return _commands(state, query)
        case PendingQuery():
            row = state.commands.pending(query.uid)
            return PendingCommands(row.last_number, row.commands)
        case MessagesBy():
            channel = state.heads.find(query.channel_type, query.channel_id)
            return messages_by(state, channel, query, _visible(state, query, channel))
        case FollowQuery():
            return _standing(state, query)
        case EventsQuery():
            channel = state.heads.find(query.channel_type, query.channel_id)
            return events_of(state, channel, query)
        case Together():
            raise AssertionError("each part is a partition's own to answer")
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
    # Whoever moved the position beyond what is asked for told of all up to there: two that follow
    # under one name for a moment miss nothing.
    return FollowedPage(position, max(position, query.after))


def _page_limit(limit: int) -> int:
    return max(1, min(limit, MEMBERS_PAGE_MAX))


def _members(state: ChatState, query: MembersQuery) -> MembersPage:
    channel = state.heads.find(query.channel_type, query.channel_id)
    head = channel.head
    limit = _page_limit(query.limit)
    if query.channel_type in (ChannelType.PERSON, ChannelType.AGENT):
        both = sorted(named_in(query.channel_type, query.channel_id), key=str.encode)
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
    streams: list[StreamView] = []
    if query.streams and not query.command:
        uid = query.login_uid
        found, streams = with_streams(state, channel, found, uid, query.streams, down=not upwards)
    more = found[-1].sequence < bound if upwards else found[0].sequence > bound
    return MessagesPage(found, more, visible, streams)


def _conversations(state: ChatState, query: ConversationsQuery) -> PackedConversations:
    limit = max(1, min(query.limit, CONVERSATIONS_PAGE_MAX))
    rows, following = state.conversations.page(query.uid, query.after, limit)
    return PackedConversations(rows, following, state.applied.hlc)


def _heads(state: ChatState, query: HeadsQuery) -> HeadsPage:
    heads: list[HeadView] = []
    room = PULL_BYTES_MAX
    for wanted in query.channels:
        view, size = _head(state, query.uid, wanted)
        room -= size
        if room < 0 and heads:
            break
        heads.append(view)
    return HeadsPage(heads, state.applied.hlc)


def _head(state: ChatState, uid: str, wanted: HeadWanted) -> tuple[HeadView, int]:
    """A channel as `uid` sees it, and the bytes of what it shows of its messages."""
    channel = state.heads.find(wanted.channel_type, wanted.channel_id)
    if channel.head.channel_type == _TOPIC and not _visible_to(state, uid, channel):
        return HeadView(0, 0, 0, 0, []), 0
    last = channel.head.last_sequence
    sent = state.senders.last(channel, uid)
    floor = max(wanted.floor, sent)
    unread = unread_behind(state.messages, channel, floor)
    newest = state.messages.newest(channel)
    if newest is None:
        return HeadView(0, 0, unread, sent, []), 0
    first, mode = max(wanted.above + 1, last - wanted.messages + 1, 1), wanted.streams
    if first == last:
        messages, size, has_bit = [newest.row], newest.size, newest.has_bit
    else:
        messages = state.messages.run(channel, first, last, down=True, bytes_max=PULL_BYTES_MAX)
        size = _size(messages)
        has_bit = mode != 0 and any(says_stream(message) for message in messages)
    leaving = wanted.leaving
    read_to = floor_leaving(state.messages, channel, leaving) if leaving >= 0 else 0
    streams: list[StreamView] = []
    if mode != 0 and has_bit:
        messages, streams = with_streams(state, channel, messages, uid, mode, down=True)
        size = _size(messages) + sum([size_of(stream) for stream in streams])
    return HeadView(last, newest.hlc, unread, sent, messages, read_to, streams), size


def _size(messages: list[MessageRow]) -> int:
    return sum([len(message.operation) for message in messages])


def _commands(state: ChatState, query: CommandsQuery) -> CommandsPage:
    found: list[CommandsOf] = []
    room = PULL_BYTES_MAX
    for wanted in query.channels:
        channel = state.heads.find(wanted.channel_type, wanted.channel_id, command=True)
        last = channel.head.last_sequence
        messages = _commands_of(state, channel, wanted, max(1, min(query.limit, PULL_MESSAGES_MAX)))
        room -= _size(messages)
        if room < 0 and found:
            break
        found.append(CommandsOf(last, messages))
    return CommandsPage(found)


def _commands_of(
    state: ChatState, channel: Channel, wanted: CommandsWanted, limit: int
) -> list[MessageRow]:
    """The oldest of the commands that are wanted: what lies between the runs that are not."""
    end = channel.head.last_sequence
    found: list[MessageRow] = []
    start = wanted.above + 1
    room = PULL_BYTES_MAX
    for first, last in (*wanted.taken, (end + 1, end)):
        stop = min(first - 1, end, start + limit - len(found) - 1)
        if start <= stop:
            messages = state.messages.run(channel, start, stop, down=False, bytes_max=room)
            found += messages
            room -= _size(messages)
            if len(messages) <= stop - start or room <= 0:
                break
        start = max(start, last + 1)
    return found


def _visible(state: ChatState, query: MessagesQuery | MessagesBy, channel: Channel) -> int:
    return _visible_to(state, query.login_uid, channel)


def _visible_to(state: ChatState, uid: str, channel: Channel) -> int:
    """The last sequence that `uid` may see: someone removed sees what was before (P5).

    Of a topic nothing: a removal from the community does not say where each of its topics was.
    """
    head = channel.head
    last, channel_type, channel_id = head.last_sequence, head.channel_type, head.channel_id
    if not uid or uid in named_in(channel_type, channel_id):
        return last
    home = state.heads.find(*members_channel(channel_type, channel_id))
    membership = state.sets.get(MEMBER_TAG, home, uid)
    if membership is None or membership.present:
        return last
    if channel_type == _TOPIC:
        return 0
    removed = membership.last_command if channel.head.command else membership.last_sequence
    return min(last, removed)
