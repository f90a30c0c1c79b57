"""What a listener sees of its gateway, and the gateway of it: the plug-in contract.

A listener is a class that an entry point of the group ``zmqim.gateways`` names; the entry point's
name is the URL scheme that a topology uses (``wkproto://127.0.0.1:5100``). It owns its sockets and
its codec; between it and the gateway travel the packets of `zmqim.wkproto.packets`, whatever the
bytes on its wire look like. docs/GATEWAYS.md has a complete one in 60 lines.

Everything here is called on the gateway's event loop, from no other thread. Calls towards the port
return at once; what follows from them comes back at the end of the loop turn through `Connection`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from zmqim.bus.effects import View
from zmqim.process import ProcessContext
from zmqim.wkproto.packets import FromClient, FromServer

ENTRY_POINT_GROUP: Final = "zmqim.gateways"


class CloseReason(StrEnum):
    """Why a session ends, for counters, logs and WebSocket close codes.

    `temporary` ones invite the client to come back: nothing final was said on the wire.
    """

    CLIENT_LEFT = "client_left"
    """The client closed the connection or sent DISCONNECT."""
    WRONG_ORDER = "wrong_order"
    """The first packet was not CONNECT, or something else than CONNACK was not awaited."""
    CONNECT_TIMEOUT = "connect_timeout"
    REFUSED = "refused"
    """CONNACK told why."""
    KICKED = "kicked"
    """DISCONNECT told why."""
    REMOVED = "removed"
    """An operator dropped the connection without a word."""
    REPLACED = "replaced"
    """The same device came back on a new connection."""
    IDLE = "idle"
    UNAVAILABLE = "unavailable"
    """The session could not be admitted: no router, no leader, or too slow."""
    UNKNOWN_OUTCOME = "unknown_outcome"
    """A SEND stayed without an answer for SEND_DEADLINE_MS."""
    TOO_FAR_BEHIND = "too_far_behind"
    """LAGGING by more than LAGGING_MESSAGES_MAX, or not writable for too long."""
    DRAINING = "draining"
    """The gateway leaves."""
    BAD_BYTES = "bad_bytes"
    """The listener could not read what the client sent."""

    @property
    def temporary(self) -> bool:
        """Whether the client should simply connect again."""
        return self in _TEMPORARY


_TEMPORARY: Final = frozenset(
    {
        CloseReason.UNAVAILABLE,
        CloseReason.UNKNOWN_OUTCOME,
        CloseReason.TOO_FAR_BEHIND,
        CloseReason.DRAINING,
        CloseReason.REMOVED,
    }
)


class Answer(NamedTuple):
    """What became of something asked of a partition: a `zmqim.bus.messages.OutcomeCode`, and with
    DONE an encoded `zmqim.chat.results.Result`."""

    code: int
    result: bytes


class SessionRow(NamedTuple):
    """A client connection as operators see it. Messages count once, however often they are pushed
    again; bytes are those of messages with their overhead on the bus."""

    session: int
    uid: str
    peer_address: str
    """``host:port``."""
    device_flag: int
    device_level: int
    device_id: str
    version: int
    """Of the client protocol, as the client asked for it."""
    age_ms: int
    idle_ms: int
    """Since the last packet of the client."""
    sends: int
    send_bytes: int
    pushes: int
    push_bytes: int
    packets_in: int
    packets_out: int
    pending_bytes: int
    """Pushed and not acknowledged."""


class SessionsPage(NamedTuple):
    """Some of the sessions that a question is about, and how many there are."""

    rows: list[SessionRow]
    total: int


class SessionTotals(NamedTuple):
    """All sessions past CONNACK together; bytes also of those that are over."""

    sessions: int
    lagging: int
    """Whose client reads too slowly to be pushed to."""
    pushes_pending: int
    """Pushes without RECVACK."""
    send_bytes: int
    push_bytes: int


class SessionChanged(NamedTuple):
    """`uid` came or went with a session, for whoever watches.

    `of_device` and `of_uid` count the sessions that are open here afterwards, with that device flag
    and in all.
    """

    uid: str
    device_flag: int
    online: bool
    session: int
    of_device: int
    of_uid: int


class Draft(NamedTuple):
    """A message before it is proposed. `channel_id` as the sender wrote it; `flags` are
    `zmqim.chat.codes.MessageFlag`."""

    from_uid: str
    channel_type: int
    channel_id: str
    client_msg_no: str
    payload: bytes
    flags: int
    setting: int
    topic: str
    expire: int


class HookVerdict(NamedTuple):
    """What the application says of a draft: reason 1 allows it, with `payload` if that is given;
    any other `zmqim.chat.codes.Reason` refuses it, and `text` says why."""

    reason: int
    payload: bytes | None = None
    text: str = ""


class Connection(Protocol):
    """One client connection, as its listener offers it to the gateway."""

    def deliver(self, packets: Sequence[FromServer]) -> None:
        """Write these packets, in order: all that this loop turn has for the client."""

    def close(self, reason: CloseReason) -> None:
        """End the connection after what was delivered is written. The session is gone already."""

    def set_reading(self, on: bool) -> None:
        """Stop or go on reading from the client: too much of its waits."""


class GatewayPort(Protocol):
    """The gateway, as a listener uses it."""

    @property
    def name(self) -> str:
        """Name of this process in the topology."""

    @property
    def context(self) -> ProcessContext:
        """What the process was given: topology, API key, metrics, logger."""

    @property
    def ready(self) -> bool:
        """Whether clients can be served now: a leader of every partition has answered once, the
        system uids are known, and a router is linked."""

    @property
    def system_uids(self) -> frozenset[str]:
        """The uids that no list stops, as known here: a change is seen within seconds."""

    def not_ready(self) -> str:
        """Why not, as a sentence (``"no leader of 3 of 64 partitions has answered yet"``); empty
        when `ready`."""

    def view(self) -> View:
        """Who is alive, as gossip here sees it."""

    def open_session(self, connection: Connection, peer_address: str) -> int | None:
        """A client connected. Its session number; None: close at once (draining, or a bound)."""

    def packets(self, session: int, packets: Sequence[FromClient]) -> None:
        """What the client sent, in order. For a session that is over: ignored."""

    def writable(self, session: int, on: bool) -> None:
        """The client's write buffer is above its bound (False), or has drained (True)."""

    def close_session(self, session: int) -> None:
        """The connection is gone."""

    def ask(self, kind: int, key: bytes, body: bytes, deadline_ms: int) -> Awaitable[Answer]:
        """Ask the partition of route key `key`; `kind` is a `zmqim.bus.messages.ItemKind`. It is
        asked at once; several may be asked before the first answer is awaited.

        Retried until the deadline. Then UNAVAILABLE: nothing happened; UNKNOWN: it may have.
        """

    async def online(self, uids: Sequence[str]) -> list[tuple[str, int]]:
        """(uid, device flag) of whoever of `uids` is online; `DeadlinePassed` without a router."""

    def sessions(
        self, uid: str, order: str, descending: bool, offset: int, limit: int
    ) -> SessionsPage:
        """Sessions past CONNACK whose uid contains `uid`, ordered by that field of `SessionRow`.

        It looks at every session: for operators, not for each message.
        """

    def session_totals(self) -> SessionTotals:
        """All sessions together; it looks at every one."""

    def dismiss_session(self, session: int, uid: str, kick: bool) -> bool:
        """End that session if it is `uid`'s; False: there is none such here. `kick` tells the
        client with DISCONNECT 12, so that its SDK stays away; else the connection just ends."""

    @property
    def uptime_ms(self) -> int:
        """Since this process began to serve."""

    async def before_send(self, draft: Draft) -> HookVerdict:
        """What the application says of a message that does not come from a session."""

    def watch_sessions(self, watcher: Callable[[SessionChanged], None]) -> None:
        """From now on `watcher` is told of each session of this gateway that opens or ends."""

    def report(self, source: str, problem: str) -> None:
        """A sentence that `zmqim status` shows until `source` reports another, or an empty one."""

    def count(self, counter: str, by: int = 1) -> None:
        """Add to a counter of the gateway's metrics, e.g. ``wire_errors``."""

    def counters(self) -> Mapping[str, int]:
        """All counters and gauges of this gateway, by name."""

    def addresses(self) -> Mapping[str, str]:
        """What clients connect to, by scheme: a listener's ``advertise``, or where it is bound."""


class Listener(Protocol):
    """What an entry point of the group ``zmqim.gateways`` names."""

    def __init__(self, url: str, port: GatewayPort, settings: Mapping[str, str]) -> None:
        """`url` as written in the topology; `settings` what else the listener's table says."""

    async def start(self) -> None:
        """Bind and accept; `zmqim.errors.PortInUse` if that is not possible."""

    def stop_accepting(self) -> None:
        """Take no more connections; those that stand go on."""

    async def close(self) -> None:
        """End every connection and give back every resource."""

    @property
    def bound(self) -> str:
        """``host:port`` that it listens on, known after `start`."""
