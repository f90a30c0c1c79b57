"""The state machine of a partition: log entries in, rows, answers and notices out.

Deterministic: everything it computes follows from the entries and the rows before them, never from
a clock, a configuration or the order of a set. So every replica that applies the same log holds the
same rows, and a storage that crashed between the journal's write and the rows' applies the same
entries again with the same outcome.

A message is judged in the order of docs/REPLICATION.md 6: duplicate first, permission second; only
then does it get its sequence and its id. A refusal changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, assert_never

import msgspec

from zmqim.chat.applied import read_applied
from zmqim.chat.changes import (
    Change,
    add_members,
    change_list,
    derive_rule,
    remove_members,
    upsert_channel,
)
from zmqim.chat.channels import members_channel
from zmqim.chat.codes import ChannelType, MessageFlag, Reason, Stranger
from zmqim.chat.commands import Commands
from zmqim.chat.conversations import Conversations, begun
from zmqim.chat.digest import DigestNotes, fold, fold_message
from zmqim.chat.encoding import encode
from zmqim.chat.followers import Followers
from zmqim.chat.heads import Channel, Heads
from zmqim.chat.keys import Keys
from zmqim.chat.members import MemberSets
from zmqim.chat.messages import MessageRows, next_message_id
from zmqim.chat.notices import MessageNotice, Notice
from zmqim.chat.operations import (
    AcknowledgeCommands,
    AddMembers,
    AppendEvent,
    BindCommands,
    ChangeList,
    ClearToken,
    DeriveConversations,
    DerivePersonRule,
    Follow,
    FollowerMoved,
    MoveCursor,
    NoteCommands,
    Notified,
    Operation,
    OutboxDone,
    RemoveMembers,
    SendMessage,
    SetToken,
    SetUser,
    Unfollow,
    UpsertChannel,
    decode_operation,
    decode_send,
)
from zmqim.chat.permissions import are_strangers, judge
from zmqim.chat.results import Done, MessageRow, Rejected, Result, Sent, Strangers
from zmqim.chat.rows import Derived, OutboxRow, Remembered
from zmqim.chat.streams import Streams
from zmqim.chat.unread import Senders
from zmqim.chat.users import Users
from zmqim.chat.view import RowView
from zmqim.ids import HLC_COUNTER_BITS
from zmqim.limits import DIGEST_ENTRIES, REQUEST_MEMORY_MS

_SUCCESS: Final = Reason.SUCCESS
_RED_DOT: Final = int(MessageFlag.RED_DOT)
_SYNC_ONCE: Final = int(MessageFlag.SYNC_ONCE)
_TOPIC: Final = int(ChannelType.COMMUNITY_TOPIC)
_ASK: Final = int(Stranger.ASK)
_UNWELCOME: Final = int(Stranger.UNWELCOME)
_STRANGERS: Final = encode(Strangers())
_REQUEST_MEMORY_HLC: Final = REQUEST_MEMORY_MS << HLC_COUNTER_BITS
REQUESTS_FORGOTTEN_MAX: Final = 8
"""Old request ids that one operation with a request id removes: more than it adds."""


_Change = (
    SetToken
    | ClearToken
    | SetUser
    | UpsertChannel
    | AddMembers
    | RemoveMembers
    | ChangeList
    | MoveCursor
    | BindCommands
    | NoteCommands
    | AcknowledgeCommands
    | AppendEvent
)
"""Operations that somebody asked for over HTTP, once per request id."""
_Booked = DerivePersonRule | DeriveConversations | Notified | OutboxDone
"""Operations that storages make; each may be applied again."""


Outcome = tuple[bytes, bytes | None]
"""What an entry came to: the encoded result, and the encoded notice if there is one."""

_decode_outbox: Final = msgspec.msgpack.Decoder(OutboxRow).decode
_decode_remembered: Final = msgspec.msgpack.Decoder(Remembered).decode
_NEVER: Final = (1 << 64) - 1
_INDEX: Final = Struct(">Q")
_QUIET: Final[Outcome] = (encode(Done()), None)
_NOTICED: Final[Outcome] = (b"", b"")
"""Of a message that was stored where nobody waits for it."""


class ChatState:
    """The applied state of one partition."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        install: int,
        view: RowView,
        heads_max: int,
        digest_entries: int = DIGEST_ENTRIES,
    ) -> None:
        """`partition` is one of `partitions`, which the cluster has for good."""
        self._partition = partition
        self._partitions = partitions
        self._view = view
        self.keys = Keys(partition, install)
        self.applied = read_applied(self.keys.applied, view)
        self.notes = DigestNotes(digest_entries)
        self._digest_entries = digest_entries
        self.heads = Heads(self.keys, view, heads_max)
        self.sets = MemberSets(self.keys, view)
        self.users = Users(self.keys, view)
        self.conversations = Conversations(self.keys, view, heads_max)
        self.commands = Commands(self.keys, view, self.conversations)
        self.senders = Senders(self.keys, view)
        self.messages = MessageRows(self.keys, view)
        self.followers = Followers(self.keys, view)
        self.streams = Streams(self.keys, view, self.heads, self.sets, self.messages)
        self._notice_rows = self._numbers_of(self.keys.notice(0), self.keys.notice(_NEVER))
        """Log indexes of the rows `V`, ascending: known, so that none is searched for."""
        self._outbox_rows = self._numbers_of(self.keys.outbox(0), self.keys.outbox(_NEVER))
        self.outbox_added = False
        """The entries applied since this was last cleared put rows into the outbox."""

    def apply(
        self,
        index: int,
        term: int,
        hlc: int,
        payload: bytes,
        operation: Operation | None,
        *,
        quiet: bool = False,
    ) -> Outcome:
        """Apply the entry at `index`. `operation` is `payload` decoded, if that was done before.

        With `quiet` nobody is told of it here: of a message only whether it makes a notice is said.
        """
        self.skip(index, term, hlc)
        if operation is None:
            operation = decode_operation(payload)
        if isinstance(operation, SendMessage):
            return self._send(hlc, operation, payload, quiet)
        if isinstance(operation, DerivePersonRule | DeriveConversations | Notified | OutboxDone):
            self._book(operation)
            return _QUIET
        if isinstance(operation, Follow | FollowerMoved | Unfollow):
            return self._unsent(encode(self.followers.apply(index, operation)))
        result, notice = self._remember(index, hlc, operation)
        made = result if notice is None else result + notice
        self.applied.digest = fold(self.applied.digest, made)
        return result, notice

    def skip(self, index: int, term: int, hlc: int) -> None:
        """Apply an entry that changes nothing else, such as a NO-OP."""
        applied = self.applied
        before = applied.index
        assert index == before + 1
        if not before % self._digest_entries:
            self.notes.note(before, applied.digest)
        applied.index = index
        applied.term = term
        applied.hlc = hlc

    def put_config(self, index: int, config: bytes) -> None:
        """The entry at `index` brought the group's configuration: it belongs to the rows."""
        self._view.put(self.keys.config, _INDEX.pack(index) + config)

    def config(self) -> tuple[int, bytes] | None:
        """(index, encoded configuration) as of the last applied entry; None: that of birth."""
        body = self._view.get(self.keys.config)
        if body is None:
            return None
        (index,) = _INDEX.unpack_from(body)
        return index, body[_INDEX.size :]

    def flush(self) -> None:
        """Put heads and `Applied` into the view, at the end of a turn that applied something."""
        self.heads.flush()
        applied = self.applied
        self._view.put(self.keys.applied, applied.encode())
        if not applied.index % self._digest_entries:
            self.notes.note(applied.index, applied.digest)

    def refusal(self, send: SendMessage) -> bytes | None:
        """The encoded refusal of a message, which changes nothing; None: it may go out."""
        return self._refusal(self.heads.find(send.channel_type, send.channel_id), send)

    def member_version(self, send: SendMessage) -> int:
        """At which version its audience must be read."""
        return self._audience(send).head.member_version

    def notice_again(self, index: int, hlc: int, payload: bytes) -> bytes | None:
        """The notice that the applied entry at `index`, stamped `hlc`, made, from its rows."""
        stored = self._view.get(self.keys.notice(index))
        if stored is not None:
            return stored
        send, first = self._message_of(hlc, payload)
        if send is None or first is None:
            return None
        version = self.member_version(send)
        return _message_notice(version, send, payload, first.sequence, first.message_id, first.hlc)

    def message_again(self, hlc: int, payload: bytes) -> MessageRow | None:
        """The message that the applied entry with this payload, stamped `hlc`, stored."""
        return self._message_of(hlc, payload)[1]

    def _message_of(self, hlc: int, payload: bytes) -> tuple[SendMessage | None, MessageRow | None]:
        """(the send, the message that it stored): an entry that repeated one stored nothing."""
        send = decode_operation(payload)
        if type(send) is not SendMessage:
            return None, None
        first = self._stored(send)
        return send, None if first is None or first.hlc != hlc else first

    def result_before(self, operation: Operation) -> bytes | None:
        """The result of this operation if it was applied before, and is repeated. Only reads."""
        if isinstance(operation, SendMessage):
            first = self._stored(operation)
            return None if first is None else _answer_again(first, operation.payload)
        if isinstance(operation, _Booked | Follow | FollowerMoved | Unfollow):
            return None
        body = self._view.get(self.keys.request(operation.request_id))
        if not operation.request_id or body is None:
            return None
        remembered = _decode_remembered(body)
        recent = self.applied.hlc - remembered.hlc < _REQUEST_MEMORY_HLC
        return remembered.result if recent else None

    def outbox_after(self, number: int, limit: int) -> list[tuple[int, OutboxRow]]:
        """Outbox rows above `number`, at most `limit`, in order."""
        start, stop = self.keys.outbox(number + 1), self.keys.outbox(_NEVER)
        return [
            (self.keys.number_of(key), _decode_outbox(body))
            for key, body in self._view.scan(start, stop, limit=limit)
        ]

    # ---- messages --------------------------------------------------------------------------------

    def _send(self, hlc: int, send: SendMessage, payload: bytes, quiet: bool) -> Outcome:
        heads, messages, flags = self.heads, self.messages, send.flags
        channel_type, sender = send.channel_type, send.from_uid
        log = base = heads.find(channel_type, send.channel_id)
        if flags & _SYNC_ONCE:
            log = heads.find(channel_type, send.channel_id, True)
        key = b""
        if log.chan16:
            key = messages.first_key(log, sender, send.client_msg_no)
            first = messages.first(log, key)
            if first is not None:
                return self._unsent(_answer_again(first, send.payload))
        refusal = self._refusal(base, send)
        if refusal is not None:
            return self._unsent(refusal)
        if not log.dirty:
            heads.changed(log)
        if not key:
            key = messages.first_key(log, sender, send.client_msg_no)
        head = log.head
        sequence = head.last_sequence = head.last_sequence + 1
        if flags & _RED_DOT:
            head.red_count += 1
        if log is base:
            self.senders.note(log, sender)
        if sequence == 1 and (derived := begun(log, self.applied.index, self._partitions)):
            self._put_outbox(derived)
        applied = self.applied
        message_id = next_message_id(applied.last_message_id, hlc, self._partition)
        applied.last_message_id = message_id
        applied.digest = fold_message(applied.digest, message_id, sequence)
        messages.put(log, message_id, hlc, payload, key)
        if quiet:
            return _NOTICED
        if channel_type == _TOPIC:
            base = self._audience(send)
        version = base.head.member_version
        notice = _message_notice(version, send, payload, sequence, message_id, hlc)
        return encode(Sent(sequence, message_id, hlc)), notice

    def _refusal(self, base: Channel, send: SendMessage) -> bytes | None:
        reason = judge(self.heads, base, send, self.sets)
        if reason is _SUCCESS and send.stranger and are_strangers(base.head, send):
            if send.stranger == _ASK:
                return _STRANGERS
            if send.stranger == _UNWELCOME:
                reason = Reason.NOT_ALLOWED
        return None if reason is _SUCCESS else encode(Rejected(reason))

    def _audience(self, send: SendMessage) -> Channel:
        """The channel whose members hear the message, also if it is a command."""
        return self.heads.find(*members_channel(send.channel_type, send.channel_id))

    def _unsent(self, result: bytes) -> Outcome:
        self.applied.digest = fold(self.applied.digest, result)
        return result, None

    def _stored(self, send: SendMessage) -> MessageRow | None:
        """The message that was stored for this send or for one that it repeats."""
        command = bool(send.flags & _SYNC_ONCE)
        channel = self.heads.find(send.channel_type, send.channel_id, command)
        if not channel.exists:
            return None
        key = self.messages.first_key(channel, send.from_uid, send.client_msg_no)
        return self.messages.first(channel, key)

    # ---- state changes ---------------------------------------------------------------------------

    def _remember(self, index: int, hlc: int, operation: _Change) -> Outcome:
        """Apply once per request id: within the memory, a repeated one gets its first result."""
        request_id = operation.request_id
        if not request_id:
            return self._change(index, hlc, operation)
        key = self.keys.request(request_id)
        body = self._view.get(key)
        if body is not None:
            remembered = _decode_remembered(body)
            if hlc - remembered.hlc < _REQUEST_MEMORY_HLC:
                return remembered.result, None
            self._view.delete(self.keys.request_age(remembered.hlc, request_id))
        self._forget_requests(hlc)
        result, notice = self._change(index, hlc, operation)
        self._view.put(key, encode(Remembered(hlc, result)))
        self._view.put(self.keys.request_age(hlc, request_id), b"")
        return result, notice

    def _forget_requests(self, hlc: int) -> None:
        oldest = max(hlc - _REQUEST_MEMORY_HLC, 0) + 1
        start, stop = self.keys.requests_before(oldest)
        for key, _ in self._view.scan(start, stop, limit=REQUESTS_FORGOTTEN_MAX):
            self._view.delete(key)
            self._view.delete(self.keys.request(self.keys.request_of_age(key)))

    def _change(self, index: int, hlc: int, operation: _Change) -> Outcome:
        result: Result = Done(index)
        notice: Notice | None = None
        changed: Rejected | Change | None = None
        match operation:
            case SetToken():
                user = self.users.find(operation.uid)
                if user is not None and user.ban:
                    changed = Rejected(Reason.BANNED, "the user is banned")
                else:
                    notice = self.users.set_token(index, operation)
            case ClearToken():
                notice = self.users.clear_token(index, operation)
            case SetUser():
                notice = self.users.set_bans(index, operation)
            case UpsertChannel():
                changed = upsert_channel(self.heads, operation)
            case AddMembers():
                changed = add_members(self.heads, self.sets, index, operation, self._partitions)
            case RemoveMembers():
                changed = remove_members(self.heads, self.sets, index, operation, self._partitions)
            case ChangeList():
                changed = change_list(self.heads, self.sets, index, operation)
            case MoveCursor():
                self.conversations.move(hlc, operation)
            case BindCommands():
                self.conversations.bind(operation)
            case NoteCommands():
                changed = self.commands.note(operation)
            case AcknowledgeCommands():
                self.commands.acknowledge(operation)
            case AppendEvent():
                result, notice = self.streams.append(index, hlc, operation)
            case _:
                assert_never(operation)
        if isinstance(changed, Rejected):
            result = changed
        elif changed is not None:
            notice = changed.notice
            if changed.derived:
                upto = self._put_outbox(changed.derived)
                result = Done(index, upto)
        if notice is None:
            return encode(result), None
        body = encode(notice)
        self._view.put(self.keys.notice(index), body)
        self._notice_rows.append(index)
        return encode(result), body

    def _put_outbox(self, derived: Sequence[Derived]) -> int:
        number = self.applied.outbox_last
        for route_key, operation in derived:
            number += 1
            self._view.put(self.keys.outbox(number), encode(OutboxRow(route_key, operation)))
            self._outbox_rows.append(number)
        self.applied.outbox_last = number
        self.outbox_added = True
        return number

    def _book(self, operation: _Booked) -> None:
        match operation:
            case DerivePersonRule():
                derive_rule(self.heads, operation)
            case DeriveConversations():
                self.conversations.derive(self.applied.hlc, operation)
            case Notified(upto=upto):
                self.applied.notified = max(self.applied.notified, upto)
                self._delete(self._notice_rows, upto, self.keys.notice)
            case OutboxDone(upto=upto):
                self._delete(self._outbox_rows, upto, self.keys.outbox)
            case _:
                assert_never(operation)

    def _delete(self, numbers: deque[int], upto: int, key_of: Callable[[int], bytes]) -> None:
        while numbers and numbers[0] <= upto:
            self._view.delete(key_of(numbers.popleft()))

    def _numbers_of(self, start: bytes, stop: bytes) -> deque[int]:
        return deque(self.keys.number_of(key) for key, _ in self._view.scan(start, stop))


def _message_notice(
    version: int, send: SendMessage, payload: bytes, sequence: int, message_id: int, hlc: int
) -> bytes:
    return encode(
        MessageNotice(
            send.channel_type,
            send.channel_id,
            sequence,
            message_id,
            hlc,
            version,
            payload,
        )
    )


def _answer_again(first: MessageRow, payload: bytes) -> bytes:
    if decode_send(first.operation).payload == payload:
        return encode(Sent(first.sequence, first.message_id, first.hlc, duplicate=True))
    return encode(
        Rejected(Reason.IDEMPOTENCY_CONFLICT, "this client_msg_no was used for another payload")
    )
