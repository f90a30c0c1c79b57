"""The way out to one session: in order, once while it can be helped, again until RECVACK.

A *cursor* per (session, channel) says how far pushes have come. A push at or below it is a repeat
and dropped; one that skips makes the session pull the gap first. What was pushed stays in the
session's *window* until RECVACK, and is pushed again after 5, 10, 20, 40 and 80 s. A session whose
window is full or whose connection takes nothing is LAGGING: it keeps only (cursor, last) per
channel, and pulls when half the window is free. So a slow session costs its own memory alone, and
nobody waits for it (docs/ARCHITECTURE.md 4).

A message whose `expire` seconds have passed, by this gateway's clock, is not pushed any more: the
cursor moves over it.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import astuple

from zmqim import limits
from zmqim.bus.messages import ItemKind
from zmqim.chat.channels import peer_of, route_key_of_channel
from zmqim.chat.codes import ChannelType, MessageFlag
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage, decode_send
from zmqim.chat.queries import MessagesQuery
from zmqim.chat.results import MessageRow, MessagesPage, decode_result
from zmqim.errors import WireError
from zmqim.gateway.command_acks import CommandAcks
from zmqim.gateway.counters import Counters
from zmqim.gateway.plugin import CloseReason
from zmqim.gateway.requests import DONE, Requests
from zmqim.gateway.sessions import Phase, Session, Sessions
from zmqim.gateway.wheel import Wheel
from zmqim.ids import expiry_of, seconds_of
from zmqim.wkproto.packets import Recv, Setting

ChannelKey = tuple[int, str, bool]
"""(channel type, canonical id, whether it is the command channel)."""

PULLS_PER_SESSION_MAX: Final = 4
"""Ranges that one session reads at a time. Above: the rest waits for those."""
CURSORS_MAX = 10_000
"""Cursors of one session. Above: the oldest is forgotten, and a late repeat could pass. (Tests set
it and `_WINDOW_MAX`, so they are not `Final`: compiled code would not see that.)"""
PUSH_OVERHEAD_BYTES: Final = 64

_PAUSES: Final = limits.REDELIVERY_PAUSES_MS
_FIRST_PAUSE: Final = _PAUSES[0]
_WINDOW_MAX = limits.UNACKED_PUSHES_MAX
_WINDOW_BYTES_MAX: Final = limits.UNACKED_BYTES_MAX
_RECV_SETTING: Final = 0xFF & ~int(Setting.OLD_STREAM)
_RECV_FLAGS: Final = int(MessageFlag.NO_PERSIST | MessageFlag.RED_DOT | MessageFlag.SYNC_ONCE)
_RED_DOT: Final = int(MessageFlag.RED_DOT)
_SYNC_ONCE: Final = int(MessageFlag.SYNC_ONCE)
_DUP: Final = int(MessageFlag.DUP)
_PERSON: Final = int(ChannelType.PERSON)


class Unacked:
    """A push without RECVACK: when it is repeated, and how often it was."""

    __slots__ = ("due", "expires_at", "recv", "size", "tries")

    def __init__(self, recv: Recv, due: int, size: int, expires_at: int) -> None:
        self.recv = recv
        self.expires_at = expires_at
        self.due = due
        self.size = size
        self.tries = 0


class Behind:
    """Messages of a channel up to `last` that a session has to pull."""

    __slots__ = ("last", "pulling")

    def __init__(self, last: int) -> None:
        self.last = last
        self.pulling = False


class Message:
    """A message on its way out; what receivers share of it is made once."""

    __slots__ = (
        "_others",
        "_own",
        "channel_id",
        "channel_type",
        "client_msg_no",
        "expire",
        "expires_at",
        "flags",
        "from_uid",
        "hlc",
        "key",
        "message_id",
        "origin",
        "payload",
        "sequence",
        "setting",
        "size",
        "topic",
    )

    def __init__(self, sequence: int, message_id: int, hlc: int, operation: SendMessage) -> None:
        self.sequence = sequence
        self.message_id = message_id
        self.hlc = hlc
        # By one call: each look-up of a struct's field costs compiled code as much.
        fields = astuple(operation)
        self.channel_type: int = fields[0]
        self.channel_id: str = fields[1]
        self.from_uid: str = fields[2]
        self.client_msg_no: str = fields[3]
        self.payload: bytes = fields[4]
        self.setting: int = fields[5]
        self.flags: int = fields[6]
        self.expire: int = fields[7]
        self.topic: str = fields[8]
        self.origin: int = fields[9]
        self.expires_at = expiry_of(hlc, self.expire)
        self.key: ChannelKey = (self.channel_type, self.channel_id, self.flags & _SYNC_ONCE != 0)
        self.size = len(self.payload) + PUSH_OVERHEAD_BYTES
        self._others: Recv | None = None
        self._own: Recv | None = None

    def for_uid(self, uid: str) -> Recv:
        """The message as `uid` sees it: a person channel is the peer; the sender's own other
        devices get no red dot."""
        if uid == self.from_uid:
            if self._own is None:
                self._own = self._recv(uid, self.flags & ~_RED_DOT)
            return self._own
        if self._others is None:
            self._others = self._recv(uid, self.flags)
        return self._others

    def _recv(self, uid: str, flags: int) -> Recv:
        channel_id = self.channel_id
        if self.channel_type == _PERSON:
            channel_id = peer_of(channel_id, uid)
        return Recv(
            self.message_id,
            self.sequence,
            seconds_of(self.hlc),
            self.from_uid,
            channel_id,
            self.channel_type,
            self.client_msg_no,
            self.payload,
            self.setting & _RECV_SETTING,
            flags & _RECV_FLAGS,
            self.expire,
            self.topic,
        )


class Pushing:
    """Cursors, windows, redelivery and pulls of all sessions."""

    def __init__(
        self,
        sessions: Sessions,
        requests: Requests,
        wheel: Wheel,
        counters: Counters,
        command_acks: CommandAcks,
        gateway_origin: int,
    ) -> None:
        self._sessions = sessions
        self._requests = requests
        self._wheel = wheel
        self._counters = counters
        self._command_acks = command_acks
        self._origin = gateway_origin
        self._pulls: dict[tuple[ChannelKey, int], list[Session]] = {}
        self.wall_offset_ms = 0
        """Wall clock minus `now`, in milliseconds; the shell keeps it right."""

    # ---- pushes ------------------------------------------------------------------------------

    def push(self, now: int, session: Session, message: Message) -> None:
        """One message for an OPEN session: pushed, dropped as a repeat, or to be pulled later."""
        sequence = message.sequence
        if not sequence:
            self._push_transient(now, session, message)
            return
        key = message.key
        cursor = session.cursors.get(key)
        if cursor is None:
            cursor = sequence - 1
            self._place_cursor(session, key, cursor)
        elif sequence <= cursor:
            self._counters.deliver_repeats += 1
            return
        if session.lagging or sequence != cursor + 1 or (session.behind and key in session.behind):
            self._fall_behind(now, session, key, sequence)
        elif _has_room(session):
            self._put(now, session, message)
        else:
            session.lagging = True
            self._counters.count("sessions_lagging")
            self._fall_behind(now, session, key, sequence)

    def _push_transient(self, now: int, session: Session, message: Message) -> None:
        """NO_PERSIST: now or never."""
        if message.origin == self._origin | session.number:
            return
        if self._is_over(now, message.expires_at):
            return
        if session.lagging or not session.writable:
            self._counters.transient_dropped += 1
            return
        self._counters.pushed += 1
        session.pushes += 1
        self._sessions.tell(session, message.for_uid(session.uid))

    def _put(self, now: int, session: Session, message: Message) -> None:
        """Push the message that follows the cursor; the session that sent it only moves on."""
        session.cursors[message.key] = message.sequence
        if message.origin == self._origin | session.number:
            return
        if self._is_over(now, message.expires_at):
            return
        recv = message.for_uid(session.uid)
        out = session.out
        if out:
            out.append(recv)
        else:
            self._sessions.tell(session, recv)
        due = now + _FIRST_PAUSE
        session.window[message.message_id] = Unacked(recv, due, message.size, message.expires_at)
        session.pushes += 1
        session.push_bytes += message.size
        self._counters.pushed += 1
        if not session.redeliver_at or due < session.redeliver_at:
            session.redeliver_at = due
            self._wheel.add(due, self._redeliver, session)

    def _is_over(self, now: int, expires_at: int) -> bool:
        if not expires_at or now + self.wall_offset_ms < expires_at:
            return False
        self._counters.count("pushes_expired")
        return True

    def _place_cursor(self, session: Session, key: ChannelKey, cursor: int) -> None:
        cursors = session.cursors
        if len(cursors) >= CURSORS_MAX:
            oldest = next((each for each in cursors if each not in session.behind), None)
            if oldest is not None:
                del cursors[oldest]
        cursors[key] = cursor

    # ---- RECVACK and redelivery --------------------------------------------------------------

    def acknowledged(self, now: int, session: Session, message_id: int) -> None:
        """RECVACK: the message is out of the window; a lagging session may go on."""
        unacked = session.window.pop(message_id, None)
        if unacked is not None:
            if unacked.recv.flags & _SYNC_ONCE:
                self._command_acks.note(now, session, unacked.recv)
            session.push_bytes_done += unacked.size
            self._counters.pushes_acknowledged += 1
            if session.lagging:
                self.relieve(now, session)

    def _redeliver(self, now: int, session: Session) -> None:
        """Push again what is due; after the last pause a message is given up."""
        if session.phase is Phase.CLOSED or now < session.redeliver_at or not session.redeliver_at:
            return
        next_due = 0
        for message_id, unacked in list(session.window.items()):
            due = unacked.due
            if due <= now and self._is_over(now, unacked.expires_at):
                del session.window[message_id]
                session.push_bytes_done += unacked.size
                continue
            if due <= now and session.writable:
                self._counters.pushes_again += 1
                if not unacked.tries:
                    unacked.recv = _with_dup(unacked.recv)
                self._sessions.tell(session, unacked.recv)
                unacked.tries += 1
                if unacked.tries == len(_PAUSES):
                    del session.window[message_id]
                    session.push_bytes_done += unacked.size
                    self._counters.pushes_given_up += 1
                    continue
                due = unacked.due = now + _PAUSES[unacked.tries]
            elif due <= now:
                due = now + _FIRST_PAUSE
            next_due = min(next_due or due, due)
        session.redeliver_at = next_due
        if next_due:
            self._wheel.add(next_due, self._redeliver, session)
        if session.lagging:
            self.relieve(now, session)

    def writable(self, now: int, session: Session, on: bool) -> None:
        """The client's write buffer is full, or has drained."""
        if on == session.writable:
            return
        session.writable = on
        self._sessions.balance_reading(session)
        if on:
            self.relieve(now, session)
        else:
            session.unwritable_at = now
            self._wheel.add(now + limits.LAGGING_UNWRITABLE_MS_MAX, self._still_unwritable, session)

    def _still_unwritable(self, now: int, session: Session) -> None:
        if (
            session.phase is not Phase.CLOSED
            and not session.writable
            and now - session.unwritable_at >= limits.LAGGING_UNWRITABLE_MS_MAX
        ):
            self._sessions.end(session, CloseReason.TOO_FAR_BEHIND)

    # ---- falling behind and catching up ------------------------------------------------------

    def mark_behind(
        self, now: int, session: Session, key: ChannelKey, first: int, last: int
    ) -> None:
        """The router did not send `first` to `last` of a channel: the session pulls them."""
        cursor = session.cursors.get(key)
        if cursor is None:
            self._place_cursor(session, key, first - 1)
        elif last <= cursor:
            return
        self._fall_behind(now, session, key, last)

    def _fall_behind(self, now: int, session: Session, key: ChannelKey, last: int) -> None:
        behind = session.behind.get(key)
        if behind is None:
            behind = session.behind[key] = Behind(last)
            session.behind_count += last - session.cursors[key]
        elif last > behind.last:
            session.behind_count += last - behind.last
            behind.last = last
        if session.behind_count > limits.LAGGING_MESSAGES_MAX:
            self._sessions.end(session, CloseReason.TOO_FAR_BEHIND)
        elif not session.lagging:
            self._pull(now, session)

    def relieve(self, now: int, session: Session) -> None:
        """A lagging session with half its window free goes on."""
        if (
            session.writable
            and len(session.window) * 2 <= _WINDOW_MAX
            and session.window_bytes * 2 <= _WINDOW_BYTES_MAX
        ):
            session.lagging = False
            self._pull(now, session)

    def _pull(self, now: int, session: Session) -> None:
        """Read the next range of every channel in which the session is behind."""
        for key, behind in session.behind.items():
            if session.pulls >= PULLS_PER_SESSION_MAX:
                return
            if not behind.pulling:
                behind.pulling = True
                session.pulls += 1
                self._read(now, session, key, behind.last)

    def _read(self, now: int, session: Session, key: ChannelKey, last: int) -> None:
        """Sessions that are behind at the same place share a read."""
        start = session.cursors[key] + 1
        waiting = self._pulls.get((key, start))
        if waiting is not None:
            waiting.append(session)
            return
        self._pulls[(key, start)] = [session]
        channel_type, channel_id, command = key
        end = min(last + 1, start + _WINDOW_MAX)
        query = MessagesQuery(channel_type, channel_id, "", start, end, _WINDOW_MAX, 1, command)
        self._requests.ask(
            now,
            ItemKind.READ,
            route_key_of_channel(channel_type, channel_id),
            encode(query),
            limits.READ_DEADLINE_MS,
            self._page_read,
            (key, start, end),
            patient=True,
        )

    def _page_read(
        self, now: int, argument: tuple[ChannelKey, int, int], code: int, result: bytes
    ) -> None:
        key, start, end = argument
        sessions = self._pulls.pop((key, start))
        page = _messages_of(result) if code == DONE else None
        if page is None:
            self._counters.count("pulls_failed")
        for session in sessions:
            if session.phase is Phase.CLOSED:
                continue
            session.pulls -= 1
            session.behind[key].pulling = False
            if page is None:
                self._wheel.add(now + limits.REQUEST_RETRY_MS, self._pull_again, session)
            else:
                messages, more = page
                reached = messages[-1].sequence if more and messages else end - 1
                self._catch_up(now, session, key, messages, reached)

    def _pull_again(self, now: int, session: Session) -> None:
        if session.phase is not Phase.CLOSED and not session.lagging:
            self._pull(now, session)

    def _catch_up(
        self, now: int, session: Session, key: ChannelKey, messages: list[Message], reached: int
    ) -> None:
        """Push what was read, up to where the session's own deliveries have come.

        What lies beyond was not sent to this session: it may have left the channel before.
        """
        behind = session.behind[key]
        before = session.cursors[key]
        for message in messages:
            if message.sequence > behind.last:
                break
            if message.sequence > session.cursors[key]:
                if session.lagging or not _has_room(session):
                    session.lagging = True
                    break
                self._put(now, session, message)
        else:
            # Sequences that the leader no longer has are skipped.
            session.cursors[key] = max(session.cursors[key], min(reached, behind.last))
        cursor = session.cursors[key]
        session.behind_count -= cursor - before
        if cursor >= behind.last:
            del session.behind[key]
        if session.lagging:
            self.relieve(now, session)
        else:
            self._pull(now, session)


def _has_room(session: Session) -> bool:
    return (
        session.writable
        and len(session.window) < _WINDOW_MAX
        and session.push_bytes - session.push_bytes_done < _WINDOW_BYTES_MAX
    )


def _messages_of(result: bytes) -> tuple[list[Message], bool] | None:
    """The messages of a page and whether the range goes on; None if it cannot be read.

    A refusal is an empty page: there is nothing to be had any more.
    """
    try:
        page = decode_result(result)
        if not isinstance(page, MessagesPage):
            return [], False
        return [_message_of(row) for row in page.messages], page.more
    except WireError:
        return None


def _message_of(row: MessageRow) -> Message:
    return Message(row.sequence, row.message_id, row.hlc, decode_send(row.operation))


def _with_dup(recv: Recv) -> Recv:
    """The same message with DUP set."""
    return Recv(
        recv.message_id,
        recv.message_seq,
        recv.timestamp,
        recv.from_uid,
        recv.channel_id,
        recv.channel_type,
        recv.client_msg_no,
        recv.payload,
        recv.setting,
        recv.flags | _DUP,
        recv.expire,
        recv.topic,
    )
