"""The gateway's core: sessions in, bus messages out, without a clock, a socket or a loop.

The contract is that of `zmqim.bus.effects`, with these events of clients and listeners beside it:

    core.session_opened(now, session, peer_address)   a connection was accepted
    core.packets(now, session, packets)               what its client sent, in order
    core.writable(now, session, on)                   its write buffer is full, or drained
    core.session_closed(now, session)                 the connection is gone
    core.ask(now, token, kind, key, body, deadline_ms)  answered by the effect `Answered`
    core.online(now, token, uids)                     answered by the effect `OnlineFound`

This module only hands events on: `connecting` admits, `sending` is the way in, `delivery` and
`pushing` the way out, `command_acks` stores what came of commands, `presence` tells routers who is
here, `requests` asks until it is answered, `system_uids` knows whom no list stops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from zmqim.bus.effects import Peer, View
from zmqim.bus.messages import (
    Answers,
    Deliver,
    DeliverAck,
    Dirty,
    Kick,
    LeaderMoved,
    Login,
    LoginAck,
    Message,
    MissingPlan,
    OnlineAnswer,
    Plan,
    PresenceDiffers,
    Role,
    Submit,
    UserChanged,
)
from zmqim.chat.codes import Reason
from zmqim.gateway.approving import Approving
from zmqim.gateway.command_acks import CommandAcks
from zmqim.gateway.connecting import Connecting
from zmqim.gateway.counters import Counters
from zmqim.gateway.delivery import FanOut
from zmqim.gateway.effects import Effect
from zmqim.gateway.listing import page, totals
from zmqim.gateway.plugin import CloseReason, HookVerdict, SessionsPage, SessionTotals
from zmqim.gateway.presence import Presence
from zmqim.gateway.pushing import Pushing
from zmqim.gateway.questions import Questions
from zmqim.gateway.requests import Numbers, Requests, Routers
from zmqim.gateway.sending import Sending
from zmqim.gateway.sessions import OPEN, Phase, Session, Sessions
from zmqim.gateway.system_uids import SystemUids
from zmqim.gateway.wheel import Wheel
from zmqim.ids import Milliseconds, NodeName, NodeUuid
from zmqim.ring.document import RingDocument
from zmqim.topology_values import Limits
from zmqim.wkproto.packets import (
    BadSend,
    Connect,
    Disconnect,
    FromClient,
    Ping,
    Pong,
    Recvack,
    Send,
    Sub,
    Suback,
)

if TYPE_CHECKING:
    from random import Random

ORIGIN_BYTES: Final = 4
"""Of the node uuid, in `SendMessage.origin` above the session number."""
PONG: Final = Pong()


class GatewayCore:
    """One gateway."""

    def __init__(
        self,
        name: NodeName,
        node_uuid: NodeUuid,
        ring: RingDocument,
        bounds: Limits,
        random: Random,
        now: Milliseconds,
        node_id: int = 0,
    ) -> None:
        """`bounds` is what the topology says of limits; `node_id` what
        clients are told of this gateway (0: a part of the node uuid)."""
        self.name = name
        self.counters = Counters()
        number = int.from_bytes(node_uuid[:ORIGIN_BYTES])
        origin = number << 32
        self._wheel = Wheel()
        self._routers = Routers(ring)
        numbers = Numbers()
        self._sessions = Sessions(bounds, self.counters.count)
        self._requests = Requests(self._routers, self._wheel, numbers)
        self._system = SystemUids(self._requests, self._wheel)
        self._sending = Sending(
            self._sessions,
            self._requests,
            self._system,
            self._routers,
            self._wheel,
            numbers,
            random,
            self.counters,
            bounds,
            origin,
        )
        self._approving = Approving(self._sessions, self._sending)
        self._uses_hook = False
        self._command_acks = CommandAcks(self._requests, self._wheel, self.counters)
        self._pushing = Pushing(
            self._sessions, self._requests, self._wheel, self.counters, self._command_acks, origin
        )
        self._fan_out = FanOut(self._sessions, self._pushing, self._wheel, self.counters)
        self._presence = Presence(self._routers, self._wheel)
        self._connecting = Connecting(
            self._sessions,
            self._requests,
            self._routers,
            self._presence,
            self._wheel,
            numbers,
            self.counters,
            node_id or number,
        )
        self._questions = Questions(
            self._requests, self._routers, self._wheel, numbers, ring.partitions
        )
        self._presence.start(now)
        self._questions.probe(now)
        self._system.read(now)

    # ---- state for the shell -----------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """A leader of every partition has answered once, the system uids are known, and a router is
        linked now."""
        return self._questions.all_led and self._system.known and bool(self._routers.live)

    @property
    def system_uids(self) -> frozenset[str]:
        """The uids that no list stops, as far as it is known here."""
        return self._system.uids

    @property
    def has_room(self) -> bool:
        """Whether a further connection may be accepted."""
        return self._sessions.has_room

    @property
    def in_flight(self) -> int:
        """SENDs and questions without an answer, and acknowledgements that are not stored."""
        sends = len(self._sending) + len(self._approving)
        return sends + self._questions.waiting + len(self._command_acks)

    def gauges(self) -> Mapping[str, int]:
        """Sizes, by name, for metrics and status."""
        return {
            "sessions": len(self._sessions.by_number) - self._sessions.connecting,
            "sessions_connecting": self._sessions.connecting,
            "sends_waiting": len(self._sending),
            "requests_waiting": len(self._requests),
            "routers": len(self._routers.live),
            "partitions_unprobed": len(self._questions.unprobed),
        }

    def problems(self) -> list[str]:
        """What an operator should know, as sentences."""
        found = []
        if not self._routers.live:
            found.append("no router is linked: nothing can be sent or delivered")
        unprobed = self._questions.unprobed
        if unprobed:
            found.append(f"{len(unprobed)} partitions have no leader that answered yet")
        elif not self._system.known:
            found.append("the system uids have not been read yet")
        return found

    def set_wall_offset(self, offset_ms: int) -> None:
        """Wall clock minus `now`: for CONNACK's time difference, and for messages that expire."""
        self._connecting.wall_offset_ms = offset_ms
        self._pushing.wall_offset_ms = offset_ms

    # ---- clients -----------------------------------------------------------------------------

    def session_opened(self, now: Milliseconds, session: int, peer_address: str) -> None:
        """A connection was accepted. Session numbers are never used twice."""
        self._connecting.opened(now, self._sessions.open(now, session, peer_address))

    def session_closed(self, now: Milliseconds, session: int) -> None:
        """The connection is gone."""
        found = self._sessions.by_number.get(session)
        if found is not None:
            self._sessions.left(found)

    def writable(self, now: Milliseconds, session: int, on: bool) -> None:
        """The client's write buffer is above its bound (False), or has drained (True)."""
        found = self._sessions.by_number.get(session)
        if found is not None:
            self._pushing.writable(now, found, on)

    def packets(self, now: Milliseconds, session: int, packets: Sequence[FromClient]) -> None:
        """What a client sent, in order."""
        found = self._sessions.by_number.get(session)
        if found is None:
            return
        found.active_at = now
        found.packets_in += len(packets)
        for packet in packets:
            if found.phase is not OPEN:
                self._before_open(now, found, packet)
            elif isinstance(packet, Send):
                if self._uses_hook:
                    self._approving.send(now, found, packet)
                else:
                    self._sending.send(now, found, packet)
            elif isinstance(packet, Recvack):
                self._pushing.acknowledged(now, found, packet.message_id)
            else:
                self._rare(found, packet)

    def _before_open(self, now: Milliseconds, session: Session, packet: FromClient) -> None:
        """CONNECT must be first, and alone until CONNACK. What follows the end is ignored."""
        if session.phase is Phase.NEW and isinstance(packet, Connect):
            self._connecting.connect(now, session, packet)
        else:
            self._sessions.end(session, CloseReason.WRONG_ORDER)

    def _rare(self, session: Session, packet: FromClient) -> None:
        match packet:
            case Ping():
                self._sessions.tell(session, PONG)
            case BadSend():
                self._sending.refuse(session, packet, packet.reason)
            case Disconnect():
                self._sessions.end(session, CloseReason.CLIENT_LEFT)
            case Sub():
                answer = Suback(
                    packet.sub_no,
                    packet.channel_id,
                    packet.channel_type,
                    packet.action,
                    Reason.NOT_ALLOWED,
                )
                self._sessions.tell(session, answer)
            case _:
                self.counters.count("packets_ignored")

    # ---- listeners ---------------------------------------------------------------------------

    def ask(
        self,
        now: Milliseconds,
        token: int,
        kind: int,
        key: bytes,
        body: bytes,
        deadline_ms: int,
    ) -> None:
        """Ask the partition of route key `key`; answered once by `Answered` with `token`."""
        self._questions.ask(now, token, kind, key, body, deadline_ms)

    def online(self, now: Milliseconds, token: int, uids: Sequence[str]) -> None:
        """Who of `uids` is online; answered once by `OnlineFound` with `token`."""
        self._questions.online(now, token, list(uids))

    def sessions(
        self, now: Milliseconds, uid: str, order: str, descending: bool, offset: int, limit: int
    ) -> SessionsPage:
        """Some sessions, for operators; see `zmqim.gateway.plugin.GatewayPort`."""
        return page(self._sessions, now, uid, order, descending, offset, limit)

    def session_totals(self) -> SessionTotals:
        """All sessions together; see `zmqim.gateway.plugin.GatewayPort`."""
        return totals(self._sessions)

    def dismiss_session(self, now: Milliseconds, session: int, uid: str, kick: bool) -> bool:
        """End a session of `uid`; see `zmqim.gateway.plugin.GatewayPort`."""
        found = self._sessions.by_number.get(session)
        if found is None or found.phase is not OPEN or found.uid != uid:
            return False
        if kick:
            self._sessions.dismiss(found, Reason.KICKED, "ended by an operator")
        else:
            self._sessions.end(found, CloseReason.REMOVED)
        return True

    def use_hook(self) -> None:
        """From now on each SEND is asked for by the effect `AskHook` before it is proposed."""
        self._uses_hook = True

    def hook_answered(self, now: Milliseconds, token: int, verdict: HookVerdict) -> None:
        """What the application, or the topology in its place, says of a SEND."""
        self._approving.answered(now, token, verdict)

    def watch_sessions(self) -> None:
        """From now on each session that opens or ends is told by the effect `SessionChanged`."""
        self._sessions.is_watched = True

    def drain(self, now: Milliseconds) -> None:
        """Take nothing new; what is in flight goes on. Over when `in_flight` is 0."""
        self._sessions.drain()
        self._command_acks.drain(now)

    def close_all(self, now: Milliseconds) -> None:
        """End every session without DISCONNECT: the SDKs connect again, elsewhere."""
        for session in list(self._sessions.by_number.values()):
            self._sessions.end(session, CloseReason.DRAINING)

    # ---- the bus -----------------------------------------------------------------------------

    def peer_up(self, now: Milliseconds, peer: Peer) -> None:
        """A link to that process stands."""
        if peer.role == Role.ROUTER:
            self._routers.up(peer.name)
            self._fan_out.router_up(peer.name)
            self._presence.router_up(peer.name)

    def peer_down(self, now: Milliseconds, name: NodeName) -> None:
        """The link is gone; what was in flight may be lost."""
        self._routers.down(name)
        self._fan_out.router_down(name)
        self._presence.router_down(name)
        self._sending.router_down(now, name)
        self._requests.router_down(now, name)
        self._connecting.router_down(now, name)

    def view_changed(self, now: Milliseconds, view: View) -> None:
        """Gossip sees other live processes, or suspects others."""
        for name in self._routers.view_changed(view):
            self._sending.router_down(now, name)
            self._requests.router_down(now, name)

    def receive(self, now: Milliseconds, source: NodeName, message: Message) -> None:
        """A message of a linked process."""
        match message:
            case Answers():
                for answer in message.items:
                    request, code, result = answer.request, answer.code, answer.result
                    if not self._sending.answered(now, request, code, result):
                        self._requests.answered(now, request, code, result)
            case Deliver():
                self._fan_out.deliver(now, source, message)
            case Plan():
                self._fan_out.plan(source, message)
            case Dirty():
                self._fan_out.dirty(now, source, message)
            case UserChanged():
                self._fan_out.user_changed(now, source, message)
            case LeaderMoved():
                partitions = frozenset(message.partitions)
                self._sending.leader_moved(now, source, partitions)
                self._requests.leader_moved(now, source, partitions)
            case LoginAck():
                self._connecting.admitted(now, source, message)
            case Kick():
                self._fan_out.kick(message.sessions, message.reason, message.text)
            case PresenceDiffers():
                self._presence.differs(source, message.partitions)
            case OnlineAnswer():
                self._questions.online_answered(message)
            case _:
                self.counters.count("messages_ignored")

    def undeliverable(self, now: Milliseconds, to: NodeName, message: Message) -> None:
        """A `Send` that the bus refused. Presence is repaired by digests, the rest by timers."""
        self.counters.count("sends_bounced")
        match message:
            case Submit():
                for item in message.items:
                    if not self._sending.bounced(now, item.request):
                        self._requests.bounced(now, item.request)
            case Login():
                self._connecting.bounced(now, message.request)
            case DeliverAck():
                self._fan_out.acknowledgement_lost(now, to)
            case MissingPlan():
                self._fan_out.question_lost(now, to, message)
            case _:
                pass

    # ---- time --------------------------------------------------------------------------------

    def wake(self, now: Milliseconds) -> None:
        """Time passed: do what is due."""
        self._wheel.run(now)

    def next_wake(self) -> Milliseconds | None:
        """When `wake` must be called at the latest."""
        due = self._wheel.next_due()
        return None if due is None else Milliseconds(due)

    def turn(self, now: Milliseconds) -> list[Effect]:
        """End of the turn: what gathered, one `Submit` a router and one write a session."""
        self._sending.launch_ready(now)
        effects: list[Effect] = []
        effects += self._connecting.flush()
        effects += self._approving.flush()
        effects += self._presence.flush()
        effects += self._routers.flush()
        effects += self._fan_out.flush()
        effects += self._questions.flush()
        effects += self._sessions.flush()
        return effects
