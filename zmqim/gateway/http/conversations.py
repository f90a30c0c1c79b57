"""Calls about conversations: the list with its unread counts, and how far a person has read.

One meaning in two shapes: /conversation/sync and its kin as WuKongIM v2.2 has them, and
/conversation/list as its v3 does. docs/HTTP.md says where we differ.
"""

from __future__ import annotations

import binascii
from operator import attrgetter
from typing import Final, NamedTuple

from litestar import Router, post

from zmqim import limits
from zmqim.chat.listing import (
    changed_at,
    head_wanted,
    is_listed,
    read_to,
    unread_of,
    version_of,
)
from zmqim.chat.operations import MoveCursor, decode_send
from zmqim.chat.results import HeadView, decode_head
from zmqim.chat.rows import ConversationRow
from zmqim.chat.stream_views import WITH_SNAPSHOTS
from zmqim.gateway.http.asking import channel_of, check_uid
from zmqim.gateway.http.conversation_shapes import (
    ClearUnreadRequest,
    ConversationAnswer,
    ConversationListAnswer,
    ConversationListRequest,
    ConversationRetryRequest,
    ConversationsByChannelsRequest,
    ConversationSyncRequest,
    DeleteConversationRequest,
    LastMessage,
    ListedConversation,
    RecentMessages,
    RecentMessagesRequest,
    SetUnreadRequest,
    UidRequest,
)
from zmqim.gateway.http.directory import Directory, StoredRow, stored_row
from zmqim.gateway.http.expiring import has_expired, wall_clock_ms
from zmqim.gateway.http.finished import Finished, Shown
from zmqim.gateway.http.given import GivenDirectory, GivenFinished
from zmqim.gateway.http.portions import request_id
from zmqim.gateway.http.problems import bad_request
from zmqim.gateway.http.shapes import ChannelKey, Ok
from zmqim.gateway.http.stored import channel_shown, stored_messages
from zmqim.ids import HLC_COUNTER_BITS

_ORDER: Final = attrgetter("order")


# ---- the shapes of v2.2 --------------------------------------------------------------------------


@post("/conversation/sync", status_code=200)
async def conversation_sync(
    data: ConversationSyncRequest, directory: GivenDirectory, finished: GivenFinished
) -> list[ConversationAnswer]:
    """The conversations of a person that changed since `version` (0: all), with what is unread and
    the newest messages. Ask next with the highest `version` of the answer: a conversation may then
    come again, none is left out. Without `page` the newest come first; with it (1, 2, …) they come
    in an order that stays."""
    check_uid(data.uid)
    known = _known(data.last_msg_seqs)
    found, promise, _ = await directory.rows(data.uid)
    left_out = frozenset(data.exclude_channel_types)
    rows = [one for one in found if one.row.present and one.row.channel_type not in left_out]
    showing = _Showing(directory, finished, data.uid, data.msg_count, known)
    shown, told = await showing.of(rows, 0 if data.page else max(1, data.msg_count))
    version = version_of(min(promise, told))
    if data.version or data.only_unread:
        shown = [
            one
            for one in shown
            if one.changed_at >= data.version and (one.unread or not data.only_unread)
        ]
    if data.page:
        first = (data.page - 1) * data.page_size
        rows = [stored_row(one.packed_row) for one in shown[first : first + data.page_size]]
        shown, _ = await showing.of(rows, max(1, data.msg_count))
        if data.page > 1:
            # What came meanwhile on an earlier page was not seen: only that page's version counts.
            version = min(version, data.version)
    else:
        shown.sort(key=_ORDER)
    return [one.answer(version) for one in shown]


@post("/conversation/syncByChannels", status_code=200)
async def sync_by_channels(
    data: ConversationsByChannelsRequest, directory: GivenDirectory, finished: GivenFinished
) -> list[ConversationAnswer]:
    """The same for the channels named, as far as they are among the person's conversations."""
    check_uid(data.uid)
    found, promise, _ = await directory.rows(data.uid)
    wanted = {_channel_of(data.uid, key) for key in data.channels}
    rows = [one for one in found if one.row.present and _channel(one.row) in wanted]
    showing = _Showing(directory, finished, data.uid, data.msg_count, {})
    shown, told = await showing.of(rows, max(1, data.msg_count))
    version = version_of(min(promise, told))
    return [one.answer(version) for one in shown]


@post("/conversation/channels", status_code=200)
async def conversation_channels(data: UidRequest, directory: GivenDirectory) -> list[ChannelKey]:
    """The channels of a person's conversations, those that /conversation/sync shows."""
    check_uid(data.uid)
    rows = [one.row for one in (await directory.rows(data.uid)).rows if one.row.present]
    return [_key(data.uid, row) for row, _ in await _seen(directory, data.uid, rows, 0)]


@post("/conversation/syncMessages", status_code=200)
async def sync_messages(
    data: RecentMessagesRequest, directory: GivenDirectory
) -> list[RecentMessages]:
    """The newest messages behind `last_msg_seq` of the channels named, as far as they are among the
    person's conversations."""
    check_uid(data.uid)
    known = {
        _channel_of(data.uid, ChannelKey(one.channel_id, one.channel_type)): one.last_msg_seq
        for one in data.channels
    }
    rows = [one.row for one in (await directory.rows(data.uid)).rows if one.row.present]
    rows = [row for row in rows if _channel(row) in known]
    answers = []
    for row, head in await _seen(directory, data.uid, rows, max(1, data.msg_count)):
        above = known[_channel(row)]
        found = [
            one
            for one in head.messages[-data.msg_count :]
            if one.sequence > above and not has_expired(one, wall_clock_ms())
        ]
        name = channel_shown(row.channel_type, row.channel_id, data.uid)
        recents = found if data.msg_count else []
        messages = stored_messages(recents, head.streams, name, basic=False)
        if data.order_by_last:
            messages.reverse()
        answers.append(RecentMessages(name, row.channel_type, messages, head.sent))
    return answers


@post("/conversations/clearUnread", status_code=200)
async def clear_unread(data: ClearUnreadRequest, directory: GivenDirectory) -> Ok:
    """The person has read everything, or up to `message_seq`."""
    return await _read(directory, data.uid, data.channel_type, data.channel_id, data.message_seq)


@post("/conversations/setUnread", status_code=200)
async def set_unread(data: SetUnreadRequest, directory: GivenDirectory) -> Ok:
    """Leave so many messages unread; more than there are marks the conversation as unread, until
    more is read."""
    if not data.unread:
        return await _read(directory, data.uid, data.channel_type, data.channel_id, 0)
    channel_id = _canonical(data.uid, data.channel_type, data.channel_id)
    head = await directory.head(data.uid, data.channel_type, channel_id, data.unread)
    await directory.write(
        MoveCursor(
            data.uid,
            data.channel_type,
            channel_id,
            read=head.read_to,
            marked_count=data.unread,
            request_id=request_id(),
        )
    )
    return Ok()


@post("/conversations/delete", status_code=200)
async def delete_conversation(data: DeleteConversationRequest, directory: GivenDirectory) -> Ok:
    """Hide a conversation until a newer message comes; older ones stay hidden in it."""
    channel_id = _canonical(data.uid, data.channel_type, data.channel_id)
    head = await directory.head(data.uid, data.channel_type, channel_id, -1)
    await directory.write(
        MoveCursor(
            data.uid,
            data.channel_type,
            channel_id,
            deleted=head.last_sequence,
            request_id=request_id(),
        )
    )
    return Ok()


# ---- the shapes of v3 ----------------------------------------------------------------------------


@post("/conversation/list", status_code=200)
async def conversation_list(
    data: ConversationListRequest, directory: GivenDirectory
) -> ConversationListAnswer:
    """A page of a person's conversations. Ask on with `next_cursor` until `done`, and later with
    `completed_coverage` = the last page's `coverage` for what changed since: `deletes` names what
    is gone. `unresolved` could not be read: ask /conversation/retry for it."""
    check_uid(data.uid)
    start = _Cursor.read(data.cursor, data.completed_coverage)
    page = await directory.page(data.uid, start.after, data.limit or 100)
    rows = [one.row for one in page.rows]
    views, told = await directory.heads(data.uid, [head_wanted(row, 1) for row in rows])
    promise = min(start.promise, page.promise, told)
    listed, gone, unresolved = _sorted_out(data.uid, rows, views, start.since)
    deletes = gone if start.since else []
    done = not page.next
    following = "" if done else _Cursor(page.next, promise, start.since).text()
    coverage = str(version_of(promise)) if done else ""
    return ConversationListAnswer(listed, deletes, unresolved, following, done, coverage)


@post("/conversation/retry", status_code=200)
async def conversation_retry(
    data: ConversationRetryRequest, directory: GivenDirectory
) -> ConversationListAnswer:
    """The conversations that a page could not tell of."""
    check_uid(data.uid)
    wanted = {_channel_of(data.uid, key) for key in data.channels}
    found = (await directory.rows(data.uid)).rows
    rows = [one.row for one in found if _channel(one.row) in wanted]
    views, _ = await directory.heads(data.uid, [head_wanted(row, 1) for row in rows])
    return ConversationListAnswer(*_sorted_out(data.uid, rows, views, 0), "", True, "")


@post("/conversations/activate", status_code=200)
async def activate(data: ConversationRetryRequest, directory: GivenDirectory) -> Ok:
    """Put channels among a person's conversations although nobody added the person to them."""
    check_uid(data.uid)
    if len(data.channels) > limits.ACTIVATED_MAX:
        raise bad_request(f"more than {limits.ACTIVATED_MAX} channels", "ask several times")
    for channel_type, channel_id in [_channel_of(data.uid, key) for key in data.channels]:
        await directory.write(
            MoveCursor(data.uid, channel_type, channel_id, listed=True, request_id=request_id())
        )
    return Ok()


def conversation_router() -> Router:
    """All calls of this module."""
    return Router(
        path="/",
        route_handlers=[
            conversation_sync,
            sync_by_channels,
            conversation_channels,
            sync_messages,
            clear_unread,
            set_unread,
            delete_conversation,
            conversation_list,
            conversation_retry,
            activate,
        ],
        tags=["conversations"],
    )


# ---- in common -----------------------------------------------------------------------------------


async def _heads(
    directory: Directory, uid: str, rows: list[ConversationRow], messages: int
) -> tuple[list[bytes], int]:
    """The encoded `HeadView`s of `rows`, and what the channels' partitions promised."""
    messages = min(messages, max(1, limits.RECENTS_ASKED_MAX // max(1, len(rows))))
    wanted = [head_wanted(row, messages, WITH_SNAPSHOTS) for row in rows]
    return await directory.all_heads(uid, wanted)


async def _seen(
    directory: Directory, uid: str, rows: list[ConversationRow], messages: int
) -> list[tuple[ConversationRow, HeadView]]:
    """Those of `rows` that the person sees."""
    heads, _ = await _heads(directory, uid, rows, messages)
    both = zip(rows, map(decode_head, heads), strict=True)
    return [(row, head) for row, head in both if is_listed(row, head)]


async def _read(
    directory: Directory, uid: str, channel_type: int, channel_id: str, upto: int
) -> Ok:
    """Store that `uid` has read up to a sequence, 0: everything."""
    channel_id = _canonical(uid, channel_type, channel_id)
    last = (await directory.head(uid, channel_type, channel_id, -1)).last_sequence
    everything = not 0 < upto < last
    await directory.write(
        MoveCursor(
            uid,
            channel_type,
            channel_id,
            read=last if everything else upto,
            marked_count=0 if everything else -1,
            request_id=request_id(),
        )
    )
    return Ok()


class _Showing:
    """How one call shows conversations in the shape of v2.2: with the newest `count` messages of
    each, down to what the caller knows of it."""

    def __init__(
        self,
        directory: Directory,
        finished: Finished,
        uid: str,
        count: int,
        known: dict[tuple[int, str], int],
    ) -> None:
        self._directory = directory
        self._finished = finished
        self._uid = uid
        self._count = count
        self._known = known

    async def of(self, rows: list[StoredRow], messages: int) -> tuple[list[Shown], int]:
        """Those of `rows` that the person sees, read with so many messages, and what the channels'
        partitions promised."""
        uid, count, conversation = self._uid, self._count, self._finished.conversation
        heads, promise = await _heads(self._directory, uid, [one.row for one in rows], messages)
        wall_ms = wall_clock_ms()
        shown = [
            conversation(uid, one.packed, head, count, self._above(one.row), wall_ms)
            for one, head in zip(rows, heads, strict=True)
        ]
        return [one for one in shown if one.is_listed], promise

    def _above(self, row: ConversationRow) -> int:
        if not self._known:
            return 0
        name = channel_shown(row.channel_type, row.channel_id, self._uid)
        return self._known.get((row.channel_type, name), 0)


def _sorted_out(
    uid: str, rows: list[ConversationRow], views: list[bytes | None], since: int
) -> tuple[list[ListedConversation], list[ChannelKey], list[ChannelKey]]:
    """Those that changed since then: what the person sees, what not, and what was not read."""
    listed, gone, unresolved = [], [], []
    for row, view in zip(rows, views, strict=True):
        if view is None:
            unresolved.append(_key(uid, row))
            continue
        head = decode_head(view)
        if changed_at(row, head) < since:
            continue
        if is_listed(row, head):
            listed.append(_listed(uid, row, head))
        else:
            gone.append(_key(uid, row))
    return listed, gone, unresolved


def _listed(uid: str, row: ConversationRow, head: HeadView) -> ListedConversation:
    newest = head.messages[-1]
    send = decode_send(newest.operation)
    return ListedConversation(
        channel_shown(row.channel_type, row.channel_id, uid),
        row.channel_type,
        head.last_hlc >> HLC_COUNTER_BITS,
        read_to(row, head),
        row.deleted,
        unread_of(row, head),
        None
        if has_expired(newest, wall_clock_ms())
        else LastMessage(
            newest.message_id,
            str(newest.message_id),
            newest.sequence,
            send.from_uid,
            send.client_msg_no,
            newest.hlc >> HLC_COUNTER_BITS,
            binascii.b2a_base64(send.payload, newline=False).decode(),
        ),
    )


def _channel(row: ConversationRow) -> tuple[int, str]:
    return row.channel_type, row.channel_id


def _key(uid: str, row: ConversationRow) -> ChannelKey:
    return ChannelKey(channel_shown(row.channel_type, row.channel_id, uid), row.channel_type)


def _channel_of(uid: str, key: ChannelKey) -> tuple[int, str]:
    return key.channel_type, channel_of(key.channel_type, key.channel_id, uid)


def _canonical(uid: str, channel_type: int, channel_id: str) -> str:
    check_uid(uid)
    return channel_of(channel_type, channel_id, uid)


def _known(text: str) -> dict[tuple[int, str], int]:
    """``id:type:seq|…``: what the client has of each channel. The id may hold colons."""
    known = {}
    for part in filter(None, text.split("|")):
        channel_id, _, rest = part.rpartition(":")
        channel_id, _, channel_type = channel_id.rpartition(":")
        if not (channel_id and channel_type.isdecimal() and rest.isdecimal()):
            raise bad_request(f"last_msg_seqs: {part[:64]!r} is not id:type:seq")
        known[int(channel_type), channel_id] = int(rest)
    return known


class _Cursor(NamedTuple):
    """Where a list goes on: behind which place, what was promised so far, since when."""

    after: bytes
    promise: int
    since: int

    @classmethod
    def read(cls, cursor: str, coverage: str) -> _Cursor:
        """From what the caller gives back; `Problem` for anything else."""
        try:
            if not cursor:
                return cls(b"", 1 << 63, int(coverage or "0"))
            after, promise, since = cursor.split("-")
            return cls(bytes.fromhex(after), int(promise), int(since))
        except ValueError:
            raise bad_request(
                "cursor or completed_coverage is not one that an answer gave",
                "begin without them",
            ) from None

    def text(self) -> str:
        """For `next_cursor`."""
        return f"{self.after.hex()}-{self.promise}-{self.since}"
