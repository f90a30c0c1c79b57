"""The way in: SEND → checks → one encoded operation → this turn's `Submit`; answers → SENDACK.

What a session sends to one channel goes through a *lane*, which has one batch in flight: otherwise
a batch that is asked again would come behind its successor (docs/REPLICATION.md 8). A batch travels
in one frame, so that a leader that changes takes all of it or none. It is asked again with the same
bytes and numbers until every item of it is answered; duplicates are found where they are applied.
An item without an answer for SEND_DEADLINE_MS closes the session without a SENDACK, because an SDK
sends again only what was never answered.

A definite refusal of the batch (BUSY, a full disk) also refuses what waits behind it in the lane:
it was sent before the client could know, and must not overtake what is sent again. A refusal is not
definite if an earlier attempt of the same item may have been taken: then the lane goes on asking.

To a person nobody looks first whether strangers may write to him: the channel's partition answers
`Strangers` if the two never exchanged a message. Then the receiver's row is read, and what is open
of the batch goes again under new numbers, with what it says (docs/adr/0010).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from zmqim import limits
from zmqim.bus.messages import Item, ItemKind
from zmqim.chat.channels import (
    canonical_channel_id,
    fault_of_name,
    peer_of,
    peers_of,
    route_key_of_channel,
    route_key_of_user,
)
from zmqim.chat.codes import ChannelType, MessageFlag, Reason, Stranger
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage, decode_send
from zmqim.chat.queries import UserQuery
from zmqim.chat.results import Rejected, Sent, Strangers, decode_result
from zmqim.errors import WireError
from zmqim.gateway.counters import Counters
from zmqim.gateway.lanes import Lane, Waiting, batch_of
from zmqim.gateway.plugin import CloseReason
from zmqim.gateway.requests import (
    BAD_REQUEST,
    BUSY,
    DISK_FULL,
    DONE,
    ITEM_OVERHEAD_BYTES,
    UNKNOWN,
    Numbers,
    Requests,
    Routers,
    longest_pause,
    user_row,
)
from zmqim.gateway.sessions import Phase, Session, Sessions
from zmqim.gateway.system_uids import SystemUids
from zmqim.gateway.wheel import Wheel
from zmqim.ids import NodeName
from zmqim.topology_values import Limits
from zmqim.wkproto.packets import BadSend, Send, Sendack

if TYPE_CHECKING:
    from collections.abc import Container
    from random import Random

LANES_MAX: Final = 256
"""Lanes that a session keeps. Above: the idle ones are made anew when they are needed."""
STORED_FLAGS: Final = MessageFlag.NO_PERSIST | MessageFlag.RED_DOT | MessageFlag.SYNC_ONCE

_NO_PERSIST: Final = int(MessageFlag.NO_PERSIST)
_STORED_FLAGS: Final = int(STORED_FLAGS)
_WRITE: Final = int(ItemKind.WRITE)
_TRANSIENT: Final = int(ItemKind.TRANSIENT)
_PAYLOAD_MAX: Final = limits.PAYLOAD_BYTES_MAX
_PERSON: Final = int(ChannelType.PERSON)
_ASK: Final = int(Stranger.ASK)


class Sending:
    """All lanes of all sessions."""

    def __init__(
        self,
        sessions: Sessions,
        requests: Requests,
        system: SystemUids,
        routers: Routers,
        wheel: Wheel,
        numbers: Numbers,
        random: Random,
        counters: Counters,
        bounds: Limits,
        gateway_origin: int,
    ) -> None:
        """`gateway_origin`: this gateway's part of every `SendMessage.origin`."""
        self._sessions = sessions
        self._requests = requests
        self._system = system
        self._routers = routers
        self._wheel = wheel
        self._numbers = numbers
        self._random = random
        self._counters = counters
        self._per_second = bounds.sends_per_second
        self._burst = bounds.send_burst
        self._origin = gateway_origin
        self._waiting: dict[int, Waiting] = {}
        self._ready: list[Lane] = []
        self.turn = 0
        """Of the core: what was refused in it is refused behind, too."""
        sessions.on_end.append(self._ended)

    def __len__(self) -> int:
        return len(self._waiting)

    # ---- SEND --------------------------------------------------------------------------------

    def send(self, now: int, session: Session, packet: Send) -> None:
        """Check one SEND of an OPEN session and queue it; refused ones are answered at once."""
        lane = session.lanes.get((packet.channel_type, packet.channel_id))
        if self._passes(now, session, packet, lane):
            self._accept(now, session, packet, lane)

    def passes(self, now: int, session: Session, packet: Send) -> bool:
        """Check one SEND of an OPEN session; a refused one is answered."""
        lane = session.lanes.get((packet.channel_type, packet.channel_id))
        return self._passes(now, session, packet, lane)

    def accept(self, now: int, session: Session, packet: Send) -> None:
        """Queue one SEND that passed, now or a while ago."""
        lane = session.lanes.get((packet.channel_type, packet.channel_id))
        self._accept(now, session, packet, lane)

    def _passes(self, now: int, session: Session, packet: Send, lane: Lane | None) -> bool:
        self._counters.sends += 1
        reason = self._refusal(now, session, packet, lane)
        if not reason:
            return True
        if reason == Reason.RATE_LIMITED:
            session.refused_in = self.turn
        self.refuse(session, packet, reason)
        return False

    def _accept(self, now: int, session: Session, packet: Send, lane: Lane | None) -> None:
        if lane is None:
            lane = self._lane(session, packet.channel_type, packet.channel_id)
        payload = packet.payload
        flags = packet.flags & _STORED_FLAGS
        client_msg_no = packet.client_msg_no or f"{self._random.getrandbits(128):032x}"
        body = encode(
            SendMessage(
                packet.channel_type,
                lane.channel_id,
                session.uid,
                client_msg_no,
                payload,
                packet.setting,
                flags,
                packet.expire,
                packet.topic,
                self._origin | session.number,
                session.uid in self._system.uids,
                _ASK if packet.channel_type == _PERSON else 0,
            )
        )
        kind = _TRANSIENT if flags & _NO_PERSIST else _WRITE
        request = self._numbers.take()
        size = len(body)
        waiting = Waiting(
            Item(request, lane.key, kind, body), lane, packet.client_seq, client_msg_no, now, size
        )
        self._waiting[request] = waiting
        lane.queue.append(waiting)
        session.sends += 1
        session.send_bytes += size
        if not lane.ready and not lane.flight:
            lane.ready = True
            self._ready.append(lane)

    def _refusal(self, now: int, session: Session, packet: Send, lane: Lane | None) -> int:
        """The reason to refuse, 0 if there is none."""
        if now != session.tokens_at:
            gained = (now - session.tokens_at) * self._per_second // 1000
            if gained:
                session.tokens = min(self._burst, session.tokens + gained)
                session.tokens_at = now
        no_room = session.tokens < 1 or len(self._waiting) >= limits.GATEWAY_REQUESTS_MAX
        if no_room or session.refused_in == self.turn:
            return Reason.RATE_LIMITED
        session.tokens -= 1
        if len(packet.payload) > _PAYLOAD_MAX:
            return Reason.PAYLOAD_DECODE_ERROR
        if session.send_ban:
            return Reason.SEND_BANNED
        return 0 if lane is not None else _channel_refusal(packet, session.uid)

    def refuse(self, session: Session, packet: Send | BadSend, reason: int) -> None:
        """Answer a SEND with a definite refusal."""
        self._counters.sends_refused += 1
        self._sessions.tell(session, Sendack(0, packet.client_seq, 0, reason, packet.client_msg_no))

    def _lane(self, session: Session, channel_type: int, wire_id: str) -> Lane:
        """The lane of a channel under this name: made, or found under the channel's other name."""
        if len(session.lanes) >= LANES_MAX:
            session.lanes = {name: lane for name, lane in session.lanes.items() if not lane.idle}
        channel_id = canonical_channel_id(channel_type, wire_id, session.uid)
        lane = session.lanes.get((channel_type, channel_id))
        if lane is None:
            key = route_key_of_channel(channel_type, channel_id)
            lane = Lane(session, channel_id, key, self._routers.partition_of(key))
            session.lanes[(channel_type, channel_id)] = lane
        session.lanes[(channel_type, wire_id)] = lane
        return lane

    # ---- out and again -----------------------------------------------------------------------

    def launch_ready(self, now: int) -> None:
        """At the end of the turn: every lane without a flight sends what it has."""
        self.turn += 1
        ready, self._ready = self._ready, []
        for lane in ready:
            lane.ready = False
            if lane.queue and not lane.flight:
                lane.flight, lane.queue = batch_of(lane.queue)
                lane.open_count = len(lane.flight)
                lane.pause = limits.NOT_LEADER_RETRY_MS
                lane.patience = limits.REQUEST_RETRY_MS
                lane.tries = 0
                self._launch(now, lane)
        for session in {lane.session.number: lane.session for lane in ready}.values():
            self._sessions.balance_reading(session)

    def _launch(self, now: int, lane: Lane, router: NodeName | None = None) -> None:
        router = router or self._routers.router_for(lane.partition, lane.tries)
        lane.router = router
        if router is None:
            self._again(now, lane, limits.LEADER_RETRY_MS_MAX)
            return
        waiting = self._waiting
        items = []
        size = 0
        for each in lane.flight:
            if each.item.request in waiting:
                items.append(each.item)
                size += each.size + ITEM_OVERHEAD_BYTES
                if each.proposed:
                    each.doubtful = True
                each.proposed = True
        self._routers.submit(router, items, size)
        self._look_at(lane, now + lane.patience)

    def _again(self, now: int, lane: Lane, longest: int) -> None:
        """Launch the flight's unanswered items again after the lane's pause."""
        lane.router = None
        lane.tries += 1
        pause = min(lane.pause, longest)
        lane.pause = 2 * pause
        self._look_at(lane, now + pause)

    def _look_at(self, lane: Lane, retry_at: int) -> None:
        """Only one timer a lane: it is moved when it comes, so a busy lane costs one a second."""
        lane.retry_at = retry_at
        if not lane.timer_at or retry_at < lane.timer_at:
            lane.timer_at = retry_at
            self._wheel.add(retry_at, self._due, lane)

    def _due(self, now: int, lane: Lane) -> None:
        if now < lane.timer_at or not lane.timer_at:
            return
        lane.timer_at = 0
        if not lane.flight or lane.session.phase is Phase.CLOSED:
            return
        if now - self._oldest(lane) >= limits.SEND_DEADLINE_MS:
            self._sessions.end(lane.session, CloseReason.UNKNOWN_OUTCOME)
        elif now < lane.retry_at:
            self._look_at(lane, lane.retry_at)
        else:
            if lane.router is not None:
                lane.tries += 1
                lane.patience = min(2 * lane.patience, limits.REQUEST_RETRY_MS_MAX)
            self._counters.sends_retried += lane.open_count
            self._launch(now, lane)

    def _oldest(self, lane: Lane) -> int:
        return next(each.since for each in lane.flight if each.item.request in self._waiting)

    # ---- answers -----------------------------------------------------------------------------

    def answered(self, now: int, request: int, code: int, result: bytes) -> bool:
        """What became of an item; False: it is for nobody here."""
        waiting = self._waiting.get(request)
        if waiting is None:
            return False
        if code == DONE:
            try:
                done = decode_result(result)
            except WireError:
                self._counters.wire_errors += 1
                self._retry(now, waiting.lane, code)
                return True
            if type(done) is Sent:
                self._finish(waiting, done.message_id, done.sequence, 1)
            elif type(done) is Strangers:
                waiting.proposed = False
                self._ask_receiver(now, waiting.lane)
            else:
                reason = done.reason if isinstance(done, Rejected) else Reason.SYSTEM_ERROR
                self._finish(waiting, 0, 0, reason)
        elif waiting.doubtful and code in (BUSY, DISK_FULL):
            waiting.proposed = False
            self._retry(now, waiting.lane, code)
        elif code == BUSY:
            self._finish(waiting, 0, 0, Reason.RATE_LIMITED)
            self._refuse_queue(waiting.lane, Reason.RATE_LIMITED)
        elif code == DISK_FULL:
            self._finish(waiting, 0, 0, Reason.SYSTEM_ERROR)
            self._refuse_queue(waiting.lane, Reason.SYSTEM_ERROR)
        elif code == BAD_REQUEST:
            self._finish(waiting, 0, 0, Reason.SYSTEM_ERROR)
        else:
            waiting.proposed = code == UNKNOWN
            self._retry(now, waiting.lane, code)
        return True

    def _ask_receiver(self, now: int, lane: Lane) -> None:
        """Read whether the receiver takes messages of strangers."""
        if lane.asking:
            return
        lane.asking = True
        receiver = peer_of(lane.channel_id, lane.session.uid)
        self._requests.ask(
            now,
            ItemKind.READ,
            route_key_of_user(receiver),
            encode(UserQuery(receiver, 0)),
            limits.READ_DEADLINE_MS,
            self._receiver_read,
            lane,
            patient=True,
        )

    def _receiver_read(self, now: int, lane: Lane, code: int, result: bytes) -> None:
        """Say it in what is open of the flight; if it could not be read, the flight is asked again
        as it was, and the answer is the same."""
        lane.asking = False
        if not lane.flight:
            return
        row = user_row(result) if code == DONE else None
        if row is None:
            self._retry(now, lane, code)
            return
        says = Stranger.WELCOME if row.allow_stranger else Stranger.UNWELCOME
        for waiting in lane.flight:
            item = waiting.item
            if self._waiting.pop(item.request, None) is not None:
                send = replace(decode_send(item.body), stranger=int(says))
                request = self._numbers.take()
                waiting.item = Item(request, item.key, item.kind, encode(send))
                self._waiting[request] = waiting
        self._launch(now, lane)

    def _finish(self, waiting: Waiting, message_id: int, sequence: int, reason: int) -> None:
        del self._waiting[waiting.item.request]
        lane = waiting.lane
        session = lane.session
        session.sends_done += 1
        session.send_bytes_done += waiting.size
        if reason == 1:
            self._counters.sends_acknowledged += 1
        else:
            self._counters.sends_refused += 1
        self._sessions.tell(
            session,
            Sendack(message_id, waiting.client_seq, sequence, reason, waiting.client_msg_no),
        )
        lane.open_count -= 1
        if lane.open_count == 0:
            lane.flight = []
            if lane.queue and not lane.ready:
                lane.ready = True
                self._ready.append(lane)
        if not session.reading:
            self._sessions.balance_reading(session)

    def _refuse_queue(self, lane: Lane, reason: int) -> None:
        queue, lane.queue = lane.queue, []
        lane.open_count += len(queue)
        for waiting in queue:
            self._finish(waiting, 0, 0, reason)

    def _retry(self, now: int, lane: Lane, code: int) -> None:
        """Something of the flight was not taken: one pause, however many items say so."""
        if lane.router is not None:
            self._again(now, lane, longest_pause(code))

    def bounced(self, now: int, request: int) -> bool:
        """The bus did not take the item; False: it is for nobody here."""
        waiting = self._waiting.get(request)
        if waiting is None:
            return False
        waiting.proposed = False
        self._retry(now, waiting.lane, BUSY)
        return True

    def router_down(self, now: int, name: NodeName) -> None:
        """What that router had may be lost: ask another one soon."""
        for waiting in self._waiting.values():
            if waiting.lane.router == name:
                self._again(now, waiting.lane, limits.LEADER_RETRY_MS_MAX)

    def leader_moved(self, now: int, name: NodeName, partitions: Container[int]) -> None:
        """That router asks another storage for these partitions now: what it has, and what waits
        out a pause, goes to it again."""
        waiting = self._waiting.values()
        lanes = {each.lane: None for each in waiting if each.lane.partition in partitions}
        for lane in lanes:
            if lane.flight and lane.router in (None, name):
                self._counters.sends_retried += lane.open_count
                self._launch(now, lane, name)

    def _ended(self, session: Session) -> None:
        """Nobody waits any more: an SDK sends again what got no answer."""
        for lane in session.lanes.values():
            for waiting in (*lane.flight, *lane.queue):
                self._waiting.pop(waiting.item.request, None)
            lane.flight, lane.queue, lane.open_count = [], [], 0
        session.lanes = {}


def _channel_refusal(packet: Send, uid: str) -> int:
    """The reason why `uid` cannot send to the channel by its name alone, 0 if it can."""
    name, channel_type = packet.channel_id, packet.channel_type
    if not 1 <= channel_type <= ChannelType.AGENT_GROUP:
        return Reason.CHANNEL_TYPE_NOT_SUPPORTED
    if not name:
        return Reason.CHANNEL_ID_ERROR
    channel_id = canonical_channel_id(channel_type, name, uid)
    if fault_of_name(channel_type, channel_id):
        return Reason.CHANNEL_ID_ERROR
    is_others = channel_type == ChannelType.PERSON and uid not in peers_of(channel_id)
    return Reason.CHANNEL_ID_ERROR if is_others else 0
