"""The first start of a storage: its loop until the cluster is born (`zmqim.meta.birth`).

Nothing is served meanwhile. The links that came up are given to the storage core when it begins.
"""

from __future__ import annotations

from typing import assert_never

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.endpoint import Endpoint, feed, perform_send
from zmqim.bus.messages import Message, Role
from zmqim.ids import Milliseconds, NodeName, NodeUuid
from zmqim.limits import BIRTH_REPEAT_MS
from zmqim.meta.birth import BirthCore, CompleteBirth, Effect, Phase, WriteBirth
from zmqim.process import ProcessContext
from zmqim.storage.clocks import now_ms, wall_ms
from zmqim.storage.stores import create_stores
from zmqim.store.identity import complete_birth


class Beginning:
    """A core for the endpoint (zmqim.bus.effects) until there is a storage core."""

    def __init__(self, birth: BirthCore) -> None:
        self.birth = birth
        self.peers: dict[NodeName, Peer] = {}
        """Everyone linked, for the storage core."""
        self.view = View((), (), ())

    def peer_up(self, now: Milliseconds, peer: Peer) -> None:
        """A link to `peer` stands."""
        self.peers[peer.name] = peer
        if peer.role == Role.STORAGE:
            self.birth.linked(peer.name, NodeUuid(peer.node_uuid))

    def peer_down(self, now: Milliseconds, name: NodeName) -> None:
        """The link to `name` is gone."""
        self.peers.pop(name, None)
        self.birth.unlinked(name)

    def view_changed(self, now: Milliseconds, view: View) -> None:
        """Gossip sees other live processes."""
        self.view = view

    def receive(self, now: Milliseconds, source: NodeName, message: Message) -> None:
        """A message of a linked process: what a storage that serves would do is not done yet."""
        self.birth.receive(source, message)

    def undeliverable(self, now: Milliseconds, to: NodeName, message: Message) -> None:
        """Everything is told again."""


def begin(context: ProcessContext, endpoint: Endpoint, beginning: Beginning) -> bool:
    """Run until the cluster is born; False: the process is to stop."""
    birth = beginning.birth
    control_fd = context.control.fileno()
    extra_fds = (context.stopping.fileno(), control_fd)
    said = ""

    def status() -> dict[str, object]:
        problems = endpoint.problems()
        return {
            "members": endpoint.roster(),
            "problems": [f"{context.me.name} {birth.sentence}.", *problems],
        }

    while birth.phase is Phase.WAITING:
        now = now_ms()
        if context.stopping.requested:
            endpoint.leave(now)
            return False
        feed(beginning, now, endpoint.turn(now, wall_ms()))
        for effect in birth.turn(now):
            _perform(context, endpoint, beginning, now, effect)
        endpoint.flush(now)
        if birth.sentence != said:
            said = birth.sentence
            context.logger.info("not born yet", why=said)
        wake = min(endpoint.next_wake(now), now + BIRTH_REPEAT_MS, birth.next_wake() or now)
        if control_fd in endpoint.wait(max(0, wake - now), extra_fds):
            context.control.serve(status)
    return True


def _perform(
    context: ProcessContext,
    endpoint: Endpoint,
    beginning: Beginning,
    now: Milliseconds,
    effect: Effect,
) -> None:
    match effect:
        case Send():
            perform_send(endpoint, beginning, now, effect)
        case WriteBirth(record):
            node_uuid = context.identity.node_uuid
            create_stores(context.folder, node_uuid, context.topology, record)
        case CompleteBirth(record):
            complete_birth(context.folder, record)
        case _:
            assert_never(effect)
