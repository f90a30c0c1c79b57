"""The router as a core: events in, effects out (zmqim/bus/effects.py). What it knows is soft: a new
router learns the sessions from the gateways and what is unacknowledged from the leaders.

While it has only just started it does not know who is online, and would acknowledge notices that
nobody got. So nothing is fanned out until the gateways have told their sessions, or
PRESENCE_SETTLE_MS_MAX have passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.messages import (
    Announce,
    Deliver,
    DeliverAck,
    Dirty,
    Kick,
    LeaderMoved,
    Login,
    LoginAck,
    Message,
    MissingPlan,
    NoticeBatches,
    Notices,
    OnlineAnswer,
    OnlineQuery,
    Outcomes,
    PresenceDiffers,
    PresenceDigest,
    PresenceShard,
    Propose,
    Role,
    Submit,
    UserChanged,
    Withdraw,
)
from zmqim.bus.replication import Leading
from zmqim.chat.channels import route_key_of_user
from zmqim.ids import Milliseconds, NodeName, PartitionId
from zmqim.limits import PRESENCE_SETTLE_MS_MAX, PRESENCE_SETTLE_MS_MIN
from zmqim.ring.partitions import partition_of
from zmqim.router.fanout import Fanout
from zmqim.router.plans import Plans
from zmqim.router.presence import KICK_TEXT, Displaced, Presence
from zmqim.router.routing import Ring, Routing

if TYPE_CHECKING:
    from random import Random

PLAN_NUMBER_BITS: Final = 48


class RouterCore:
    """Routing, presence and fan-out of one router, without clock, socket or thread."""

    def __init__(self, name: NodeName, ring: Ring, random: Random) -> None:
        self.name = name
        self._partitions = ring.partitions
        plans = Plans(random.getrandbits(PLAN_NUMBER_BITS))
        self.presence = Presence(self._partition_of_uid, plans)
        self.routing = Routing(ring, self._partition_of)
        self.fanout = Fanout(plans, self.presence.places, self.routing.ask)
        self._peers: dict[NodeName, Peer] = {}
        self._linked: dict[NodeName, None] = {}
        self._view = View((), (), ())
        self._started: Milliseconds | None = None
        self._settle_at: Milliseconds | None = None
        """When to look again whether the fan-out may begin."""
        self._sends: list[Send] = []
        self.kicks = 0
        self.strays = 0

    def _partition_of(self, key: bytes) -> PartitionId:
        return partition_of(key, self._partitions)

    def _partition_of_uid(self, uid: str) -> PartitionId:
        return partition_of(route_key_of_user(uid), self._partitions)

    # Peers ---------------------------------------------------------------------------------------

    def peer_up(self, now: Milliseconds, peer: Peer) -> None:
        """A link stands. A gateway tells its sessions now; those of an earlier life are gone."""
        self._start(now)
        name = peer.name
        known = self._peers.get(name)
        if known is not None and known.role == Role.GATEWAY:
            if known != peer:
                self._gateway_gone(name)
            elif name in self._linked:
                self.fanout.gateway_down(name)
        self._peers[name] = peer
        self._linked[name] = None
        self.routing.peer_up(peer)
        if peer.role == Role.GATEWAY:
            self.fanout.gateway_up(now, name)
            self.presence.expect(now, name)

    def peer_down(self, now: Milliseconds, name: NodeName) -> None:
        """A link is gone. A gateway that is still in the view may come back to what it missed."""
        self._start(now)
        self._linked.pop(name, None)
        self.routing.peer_down(name)
        peer = self._peers.get(name)
        if peer is not None and peer.role == Role.GATEWAY:
            if name in self._view.gateways:
                self.fanout.gateway_down(name)
            else:
                self._gateway_gone(name)

    def view_changed(self, now: Milliseconds, view: View) -> None:
        """Gossip sees other processes: sessions of gateways that left it are gone at once."""
        self._start(now)
        before, self._view = self._view.gateways, view
        for name in before:
            if name in view.gateways:
                continue
            if name in self._linked:
                self.presence.forget(name)
            else:
                self._gateway_gone(name)
        for name in view.gateways:
            if name not in before and name in self._linked:
                self.presence.expect(now, name)
                self._sends.append(Send(name, PresenceDiffers(list(range(self._partitions)))))

    def _gateway_gone(self, name: NodeName) -> None:
        self.presence.forget(name)
        self.fanout.gateway_gone(name)

    # Messages ------------------------------------------------------------------------------------

    def receive(self, now: Milliseconds, source: NodeName, message: Message) -> None:
        """A message of a linked process."""
        if source not in self._linked:
            self.strays += 1
            return
        if type(message) is NoticeBatches:
            for batch in message.items:
                self._notices(now, source, batch)
        elif isinstance(message, Submit):
            self.routing.submit(source, message.items)
        elif isinstance(message, Outcomes):
            self.routing.outcomes(source, message.items)
        elif isinstance(message, Leading):
            for partition, term in message.groups:
                self.routing.learn_leader(partition, source, term)
        elif self._peers[source].role == Role.GATEWAY:
            self._receive_from_gateway(now, source, message)
        else:
            self.strays += 1

    def _notices(self, now: Milliseconds, source: NodeName, batch: Notices) -> None:
        if 0 <= batch.partition < self._partitions and self.fanout.notices(now, source, batch):
            self.routing.learn_leader(batch.partition, source, batch.term)

    def _receive_from_gateway(self, now: Milliseconds, source: NodeName, message: Message) -> None:
        match message:
            case DeliverAck():
                self.fanout.acknowledged(source, message.frame)
            case Login():
                login_no, displaced = self.presence.login(now, source, message.entry)
                self._sends.append(Send(source, LoginAck(message.request, login_no)))
                self._kick(displaced)
            case Announce():
                self.presence.announce(now, source, message.entries)
            case Withdraw():
                self.presence.withdraw(source, message.sessions)
            case PresenceDigest():
                differing = self.presence.differing(now, source, message.shards)
                if differing:
                    self._sends.append(Send(source, PresenceDiffers(differing)))
            case PresenceShard():
                self.presence.replace_shard(now, source, message.partition, message.entries)
            case OnlineQuery():
                devices = self.presence.devices_of(message.uids, self.fanout.is_linked)
                self._sends.append(Send(source, OnlineAnswer(message.request, devices)))
            case MissingPlan():
                self.fanout.missing_plan(source, message)
            case _:
                self.strays += 1

    def _kick(self, displaced: list[Displaced]) -> None:
        """End displaced sessions; those whose gateway has no link are named again later."""
        for gateway, session, reason in displaced:
            if gateway in self._linked:
                self.kicks += 1
                text = KICK_TEXT if reason else ""
                self._sends.append(Send(gateway, Kick([session], reason, text)))

    def undeliverable(self, now: Milliseconds, to: NodeName, message: Message) -> None:
        """The bus refused a frame. Everything but these is asked for or told again by the peer."""
        if isinstance(message, Propose):
            self.routing.undelivered(to, message)
        elif isinstance(message, Deliver | Dirty | UserChanged):
            self.fanout.refused(now, to, message)

    # Time and turns ------------------------------------------------------------------------------

    def _start(self, now: Milliseconds) -> None:
        if self._started is None:
            self._started = now
            self._settle_at = Milliseconds(now + PRESENCE_SETTLE_MS_MIN)

    def wake(self, now: Milliseconds) -> None:
        """Do what is due."""
        self._start(now)
        self._kick(self.presence.due(now))
        self.fanout.wake(now)

    def turn(self, now: Milliseconds) -> list[Send]:
        """End of the turn: what gathered, in batches per peer."""
        self._settle(now)
        moved = self.routing.take_moved()
        for partition in moved:
            self.fanout.leader_moved(now, partition)
        while own := self.routing.take_own_outcomes():
            for outcome in own:
                self.fanout.own_outcome(now, outcome)
        sends, self._sends = self._sends, []
        sends += self.routing.take_sends()
        sends += self._tell_moved(moved)
        sends += self.fanout.take_sends()
        return sends

    def _tell_moved(self, partitions: list[PartitionId]) -> list[Send]:
        """To gateways, behind the answers of the turn: what is still without one is asked again."""
        if not partitions:
            return []
        message = LeaderMoved([*partitions])
        gateways = [name for name in self._linked if self._peers[name].role == Role.GATEWAY]
        return [Send(name, message) for name in gateways]

    def next_wake(self) -> Milliseconds | None:
        """When `wake` and a turn are needed at the latest."""
        times = (self.presence.next_due(), self.fanout.next_wake(), self._settle_at)
        return min((time for time in times if time is not None), default=None)

    def _settle(self, now: Milliseconds) -> None:
        """Begin to fan out once the gateways that live have told their sessions, or had time to."""
        if self._started is None or self._settle_at is None:
            return
        age = now - self._started
        if age < PRESENCE_SETTLE_MS_MIN:
            return
        self._settle_at = Milliseconds(self._started + PRESENCE_SETTLE_MS_MAX)
        linked = [name for name in self._linked if self._peers[name].role == Role.GATEWAY]
        gateways = {*linked, *self._view.gateways}
        if age >= PRESENCE_SETTLE_MS_MAX or (
            gateways and all(self.presence.is_settled(name) for name in gateways)
        ):
            self._settle_at = None
            self.fanout.release(now)

    # What a shell asks -----------------------------------------------------------------------

    def is_serving(self) -> bool:
        """Whether every storage that gossip sees is linked, and there is one."""
        storages = self._view.storages
        return bool(storages) and all(name in self._linked for name in storages)

    @property
    def items_in_flight(self) -> int:
        """Items whose outcome has not come; what a storage took to its grave counts on."""
        return self.routing.items_in_flight

    # What is counted -----------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """Counts since the start, for metrics."""
        return {
            "items_routed": self.routing.items_routed,
            "items_refused": self.routing.items_refused,
            "leader_moves": self.routing.leader_moves,
            "kicks": self.kicks,
            "strays": self.strays,
            **self.fanout.counters(),
        }

    def gauges(self) -> dict[str, int]:
        """Sizes as of now, for metrics."""
        return {"sessions": self.presence.session_count(), **self.fanout.gauges()}
