"""Sessions: what the gateway knows of each client connection, and the table of all of them.

A session is a row of plain fields that the modules beside this one read and write: `connecting`
until it is OPEN, `sending` its lanes and tokens, `pushing` its cursors and window. The table owns
what all of them need: saying something to a client, ending a session, and stopping to read.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from zmqim import limits
from zmqim.gateway.effects import CloseClient, Effect, SetReading, ToClient
from zmqim.gateway.plugin import CloseReason, SessionChanged
from zmqim.topology_values import Limits
from zmqim.wkproto.packets import Connect, Disconnect, FromServer

if TYPE_CHECKING:
    from zmqim.gateway.lanes import Lane
    from zmqim.gateway.pushing import Behind, Unacked


class Phase(IntEnum):
    """How far a session is; it only moves forward."""

    NEW = 0
    """Nothing but CONNECT may come."""
    READING = 1
    """The user's row is being read."""
    ADMITTING = 2
    """The token is right; the shard's owner has been asked to admit the session."""
    OPEN = 3
    CLOSED = 4


OPEN: Final = Phase.OPEN
"""By itself: a look-up in the enumeration would be paid several times a message."""

EVENTS_VERSION: Final = 5
"""The WKProto version that came with EVENT (WuKongIM v2.2). 0 asks for the latest."""


class Session:
    """One client connection."""

    __slots__ = (
        "active_at",
        "asked",
        "asked_bytes",
        "ban_version",
        "behind",
        "behind_count",
        "connect",
        "cursors",
        "device_flag",
        "device_id",
        "device_level",
        "lagging",
        "lanes",
        "number",
        "opened_at",
        "out",
        "packets_in",
        "packets_out",
        "peer_address",
        "phase",
        "pulls",
        "push_bytes",
        "push_bytes_done",
        "pushes",
        "reading",
        "redeliver_at",
        "refused_in",
        "send_ban",
        "send_bytes",
        "send_bytes_done",
        "sends",
        "sends_done",
        "takes_events",
        "tokens",
        "tokens_at",
        "uid",
        "unwritable_at",
        "user_version",
        "version",
        "window",
        "writable",
    )

    def __init__(self, now: int, number: int, peer_address: str, tokens: int) -> None:
        self.number = number
        self.peer_address = peer_address
        self.phase = Phase.NEW
        self.opened_at = now
        self.active_at = now
        self.connect: Connect | None = None
        self.uid = ""
        self.device_flag = 0
        self.device_level = 0
        self.device_id = ""
        self.version = 0
        """Of the protocol, as the client asked for it."""
        self.send_ban = False
        self.ban_version = 0
        """Version of the newest news or row that `send_ban` is from; 0: none came."""
        self.user_version = -1
        """Version of the user's row that admitted it; -1: not read yet."""
        self.takes_events = False
        """Clients of an older protocol break at a frame of a kind that they do not know."""
        self.out: list[FromServer] = []
        self.packets_in = 0
        self.packets_out = 0
        # sending
        self.tokens = tokens
        self.tokens_at = now
        self.refused_in = -1
        """The turn in which a SEND found no room: what comes behind it finds none either."""
        self.lanes: dict[tuple[int, str], Lane] = {}
        self.sends = 0
        self.send_bytes = 0
        """SENDs that were taken; `_done` of them are answered."""
        self.sends_done = 0
        self.send_bytes_done = 0
        self.asked = 0
        self.asked_bytes = 0
        """SENDs that wait for an application's word (`zmqim.gateway.approving`)."""
        self.reading = True
        # pushing
        self.writable = True
        self.unwritable_at = 0
        self.lagging = False
        self.cursors: dict[tuple[int, str, bool], int] = {}
        self.window: dict[int, Unacked] = {}
        self.pushes = 0
        self.push_bytes = 0
        """Messages that were pushed, repeats not counted; `_done` of the bytes are out of the
        window."""
        self.push_bytes_done = 0
        self.redeliver_at = 0
        self.behind: dict[tuple[int, str, bool], Behind] = {}
        self.behind_count = 0
        self.pulls = 0

    @property
    def window_bytes(self) -> int:
        """Of the pushes without RECVACK."""
        return self.push_bytes - self.push_bytes_done


class Sessions:
    """All sessions of this gateway, by number and by uid."""

    def __init__(self, bounds: Limits, count: Callable[[str], None]) -> None:
        self.by_number: dict[int, Session] = {}
        self.connecting = 0
        """Sessions that are not OPEN yet."""
        self.draining = False
        self.send_bytes_over = 0
        self.push_bytes_over = 0
        """Of sessions that are over."""
        self.on_end: list[Callable[[Session], None]] = []
        """Called when a session ends, with its phase still as it was."""
        self.is_watched = False
        """Is everyone told who comes and goes?"""
        self._bounds = bounds
        self._count = count
        self._by_uid: dict[str, list[Session]] = {}
        self._spoken_to: list[Session] = []
        self._effects: list[Effect] = []

    @property
    def has_room(self) -> bool:
        """Whether a further connection may be accepted."""
        return (
            not self.draining
            and len(self.by_number) < self._bounds.sessions_max
            and self.connecting < self._bounds.connects_pending_max
        )

    def open(self, now: int, number: int, peer_address: str) -> Session:
        """A new connection, in phase NEW."""
        session = Session(now, number, peer_address, self._bounds.send_burst)
        self.by_number[number] = session
        self.connecting += 1
        return session

    def name(self, session: Session, connect: Connect) -> None:
        """The session says whose it is: from now on `of_uid` finds it."""
        session.connect = connect
        session.uid = connect.uid
        session.device_flag = connect.device_flag
        session.device_id = connect.device_id
        session.version = connect.version
        session.takes_events = not 0 < connect.version < EVENTS_VERSION
        self._by_uid.setdefault(connect.uid, []).append(session)

    def opened(self, session: Session) -> None:
        """The session is OPEN."""
        session.phase = Phase.OPEN
        session.connect = None
        self.connecting -= 1
        if self.is_watched:
            self._effects.append(self._change(session, online=True))

    def of_uid(self, uid: str) -> tuple[Session, ...]:
        """Sessions that CONNECTed as `uid`, admitted or not."""
        return tuple(self._by_uid.get(uid, ()))

    def tell(self, session: Session, packet: FromServer) -> None:
        """Write `packet` to the client at the end of the turn."""
        out = session.out
        if not out:
            self._spoken_to.append(session)
        out.append(packet)

    def dismiss(self, session: Session, reason: int, text: str) -> None:
        """End an OPEN session for good: DISCONNECT, then close."""
        self.tell(session, Disconnect(int(reason), text))
        self.end(session, CloseReason.KICKED)

    def end(self, session: Session, reason: CloseReason) -> None:
        """Forget the session and close its connection."""
        if session.phase is not Phase.CLOSED:
            self._forget(session)
            self._count(f"closed_{reason}")
            self._effects.append(CloseClient(session.number, reason))

    def left(self, session: Session) -> None:
        """The connection is gone: forget the session."""
        session.out = []
        self._forget(session)
        self._count(f"closed_{CloseReason.CLIENT_LEFT}")

    def _forget(self, session: Session) -> None:
        for end in self.on_end:
            end(session)
        was_open = session.phase is Phase.OPEN
        if not was_open:
            self.connecting -= 1
        session.phase = Phase.CLOSED
        self.send_bytes_over += session.send_bytes
        self.push_bytes_over += session.push_bytes
        del self.by_number[session.number]
        mates = self._by_uid.get(session.uid)
        if mates is not None and session in mates:
            mates.remove(session)
            if not mates:
                del self._by_uid[session.uid]
        if was_open and self.is_watched:
            self._effects.append(self._change(session, online=False))

    def _change(self, session: Session, *, online: bool) -> SessionChanged:
        flag = session.device_flag
        flags = [one.device_flag for one in self.of_uid(session.uid) if one.phase is Phase.OPEN]
        of_device = flags.count(flag)
        return SessionChanged(session.uid, flag, online, session.number, of_device, len(flags))

    def balance_reading(self, session: Session) -> None:
        """Stop reading from a client of whom too much waits; go on once half of it is done."""
        share = 1 if session.reading else 2
        pending = session.sends - session.sends_done + session.asked
        pending_bytes = session.send_bytes - session.send_bytes_done + session.asked_bytes
        on = (
            session.writable
            and pending * share <= limits.SESSION_SENDS_PENDING_MAX
            and pending_bytes * share <= limits.SESSION_SEND_BYTES_PENDING_MAX
            and not self.draining
        )
        if on != session.reading and session.phase is not Phase.CLOSED:
            session.reading = on
            self._effects.append(SetReading(session.number, on))

    def drain(self) -> None:
        """Take no more connections and read nothing more from those that stand."""
        self.draining = True
        for session in self.by_number.values():
            self.balance_reading(session)

    def flush(self) -> list[Effect]:
        """What the turn has for clients."""
        effects: list[Effect] = []
        for session in self._spoken_to:
            if session.out:
                session.packets_out += len(session.out)
                effects.append(ToClient(session.number, session.out))
                session.out = []
        self._spoken_to = []
        if self._effects:
            effects += self._effects
            self._effects = []
        return effects
