"""From CONNECT to CONNACK: the token is read and compared, the shard's owner admits the session.

Only what is final is answered with a refusal (2, 19, 21, 15 for a uid that cannot be): the SDKs
never come back after one. Everything that may pass (no router, no leader, too slow, draining)
closes without a word, and the SDKs are here again after 3 s (docs/REPLICATION.md 8).
"""

from __future__ import annotations

import msgspec

from zmqim import limits
from zmqim.bus.effects import Send
from zmqim.bus.messages import ItemKind, Login, LoginAck, PresenceEntry
from zmqim.chat.channels import is_valid_uid, route_key_of_user
from zmqim.chat.codes import Reason
from zmqim.chat.encoding import encode
from zmqim.chat.queries import UserQuery
from zmqim.chat.results import UserRow
from zmqim.gateway.counters import Counters
from zmqim.gateway.plugin import CloseReason
from zmqim.gateway.presence import Presence
from zmqim.gateway.requests import DONE, Numbers, OnAnswer, Requests, Routers, user_row
from zmqim.gateway.sessions import Phase, Session, Sessions
from zmqim.gateway.tokens import token_is_right
from zmqim.gateway.wheel import Wheel
from zmqim.ids import NodeName
from zmqim.wkproto.packets import Connack, Connect


class _LoginAsked:
    """A login that waits for the owner's number."""

    __slots__ = ("ask_at", "entry", "partition", "request", "router", "session")

    def __init__(
        self, request: int, session: Session, entry: PresenceEntry, partition: int
    ) -> None:
        self.request = request
        self.session = session
        self.entry = entry
        self.partition = partition
        self.router: NodeName | None = None
        """Whom it was sent to."""
        self.ask_at = 0


def _take_send_ban(session: Session, row: UserRow) -> None:
    """What the row says of sending, unless newer news came while it was read. Where the two are of
    one version they say the same, or it is 0 and does not say which is newer: a ban holds then."""
    if row.version > session.ban_version:
        session.send_ban, session.ban_version = row.send_ban, row.version
    elif row.version == session.ban_version:
        session.send_ban = session.send_ban or row.send_ban


class Connecting:
    """Sessions that are not OPEN yet."""

    def __init__(
        self,
        sessions: Sessions,
        requests: Requests,
        routers: Routers,
        presence: Presence,
        wheel: Wheel,
        numbers: Numbers,
        counters: Counters,
        gateway_number: int,
    ) -> None:
        """`gateway_number` is told to clients as their node id."""
        self._sessions = sessions
        self._requests = requests
        self._routers = routers
        self._presence = presence
        self._wheel = wheel
        self._numbers = numbers
        self._counters = counters
        self._gateway_number = gateway_number
        self._logins: dict[int, _LoginAsked] = {}
        self._by_session: dict[int, int] = {}
        self._sends: list[Send] = []
        self.wall_offset_ms = 0
        """Wall clock minus `now`, in milliseconds; the shell keeps it right."""
        sessions.on_end.append(self._ended)

    def opened(self, now: int, session: Session) -> None:
        """A connection stands; its CONNECT is awaited."""
        self._wheel.add(now + limits.CONNECT_DEADLINE_MS, self._connect_overdue, session)

    def _connect_overdue(self, now: int, session: Session) -> None:
        if session.phase is Phase.NEW:
            self._sessions.end(session, CloseReason.CONNECT_TIMEOUT)

    def connect(self, now: int, session: Session, packet: Connect) -> None:
        """CONNECT in phase NEW."""
        if not is_valid_uid(packet.uid):
            self._refuse(now, session, packet, Reason.SYSTEM_ERROR)
            return
        if not packet.key_usable:
            self._refuse(now, session, packet, Reason.CLIENT_KEY_EMPTY)
            return
        if self._sessions.draining:
            self._sessions.end(session, CloseReason.DRAINING)
            return
        self._sessions.name(session, packet)
        session.phase = Phase.READING
        self._wheel.add(now + limits.CONNACK_DEADLINE_MS, self._connack_overdue, session)
        self._read_user(now, session, self._user_read)

    def _read_user(self, now: int, session: Session, answer: OnAnswer) -> None:
        self._requests.ask(
            now,
            ItemKind.READ,
            route_key_of_user(session.uid),
            encode(UserQuery(session.uid, session.device_flag)),
            limits.READ_DEADLINE_MS,
            answer,
            session,
            patient=True,
        )

    def _connack_overdue(self, now: int, session: Session) -> None:
        if session.phase in (Phase.READING, Phase.ADMITTING):
            self._sessions.end(session, CloseReason.UNAVAILABLE)

    def _refuse(self, now: int, session: Session, packet: Connect, reason: int) -> None:
        """A final refusal: say why, then close."""
        self._counters.count(f"connects_refused_{int(reason)}")
        self._sessions.tell(session, self._connack(now, packet, reason))
        self._sessions.end(session, CloseReason.REFUSED)

    def _connack(self, now: int, packet: Connect, reason: int) -> Connack:
        difference = now + self.wall_offset_ms - packet.client_timestamp
        return Connack(int(reason), difference, self._gateway_number)

    def _user_read(self, now: int, session: Session, code: int, result: bytes) -> None:
        packet = session.connect
        if session.phase is not Phase.READING or packet is None:
            return
        row = user_row(result) if code == DONE else None
        if row is None:
            self._sessions.end(session, CloseReason.UNAVAILABLE)
        elif not token_is_right(packet.token, row.salt, row.token_hash):
            self._refuse(now, session, packet, Reason.AUTH_FAILED)
        elif row.ban:
            self._refuse(now, session, packet, Reason.BANNED)
        else:
            _take_send_ban(session, row)
            session.device_level = row.device_level
            session.user_version = row.version
            session.phase = Phase.ADMITTING
            self._log_in(now, session, packet)

    def _log_in(self, now: int, session: Session, packet: Connect) -> None:
        entry = PresenceEntry(
            session.number,
            session.uid,
            session.device_flag,
            session.device_level,
            packet.device_id,
            0,
        )
        partition = self._routers.partition_of(route_key_of_user(session.uid))
        login = _LoginAsked(self._numbers.take(), session, entry, partition)
        self._logins[login.request] = login
        self._by_session[session.number] = login.request
        self._ask_owner(now, login)

    def _ask_owner(self, now: int, login: _LoginAsked) -> None:
        """Again until the session's CONNACK is overdue: the same session is admitted only once."""
        if login.request not in self._logins or now < login.ask_at:
            return
        owner = login.router = self._routers.owner_of(login.partition)
        pause = limits.NOT_LEADER_RETRY_MS
        if owner is not None:
            self._sends.append(Send(owner, Login(login.request, login.entry)))
            pause = limits.REQUEST_RETRY_MS
        self._ask_again(now, login, pause)

    def _ask_again(self, now: int, login: _LoginAsked, pause: int) -> None:
        login.ask_at = now + pause
        self._wheel.add(login.ask_at, self._ask_owner, login)

    def bounced(self, now: int, request: int) -> None:
        """The bus did not take a `Login`: ask again soon."""
        login = self._logins.get(request)
        if login is not None:
            self._ask_again(now, login, limits.NOT_LEADER_RETRY_MS)

    def router_down(self, now: int, name: NodeName) -> None:
        """What that router had may be lost: another one owns the shards now and is asked soon."""
        for login in self._logins.values():
            if login.router == name:
                self._ask_again(now, login, limits.NOT_LEADER_RETRY_MS)

    def admitted(self, now: int, source: NodeName, message: LoginAck) -> None:
        """The owner numbered the login: the session is OPEN."""
        login = self._logins.pop(message.request, None)
        if login is None:
            return
        session = login.session
        packet = session.connect
        assert packet is not None, "a session that waits for its login keeps its CONNECT"
        entry = msgspec.structs.replace(login.entry, login_no=message.login_no)
        self._presence.admitted(entry, login.partition, source)
        self._sessions.tell(session, self._connack(now, packet, Reason.SUCCESS))
        self._sessions.opened(session)
        self._counters.count("connects")
        session.active_at = now
        self._wheel.add(now + limits.IDLE_MS_MAX, self._idle, session)
        self._read_user_again(now, session)

    def _read_user_again(self, now: int, session: Session) -> None:
        """A ban between the first reading and the login was told to nobody here: look once more."""
        if session.phase is Phase.OPEN:
            self._read_user(now, session, self._user_read_again)

    def _user_read_again(self, now: int, session: Session, code: int, result: bytes) -> None:
        row = user_row(result) if code == DONE else None
        if session.phase is not Phase.OPEN:
            return
        if row is None:
            self._wheel.add(now + limits.REQUEST_RETRY_MS, self._read_user_again, session)
        elif row.ban:
            self._sessions.dismiss(session, Reason.BANNED, "the user is banned")
        elif not row.salt:
            self._sessions.dismiss(session, Reason.KICKED, "the login was ended")
        else:
            _take_send_ban(session, row)

    def _idle(self, now: int, session: Session) -> None:
        if session.phase is Phase.CLOSED:
            return
        if now - session.active_at >= limits.IDLE_MS_MAX:
            self._sessions.end(session, CloseReason.IDLE)
        else:
            self._wheel.add(session.active_at + limits.IDLE_MS_MAX, self._idle, session)

    def _ended(self, session: Session) -> None:
        """Whoever was told of the session is told that it is gone."""
        request = self._by_session.pop(session.number, None)
        if request is not None:
            self._logins.pop(request, None)
            self._presence.withdraw(session.number)

    def flush(self) -> list[Send]:
        """The turn's logins."""
        sends, self._sends = self._sends, []
        return sends
