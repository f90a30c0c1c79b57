"""One link as its process holds it: the state that `zmqim.bus.links` moves by its table."""

from __future__ import annotations

from zmqim.bus.effects import Peer
from zmqim.bus.envelope import Header
from zmqim.bus.link_events import Place
from zmqim.bus.link_table import State


class Link:
    """One pair of processes, as one of them holds it."""

    __slots__ = (
        "agrees",
        "complaint",
        "header",
        "heard",
        "hello_due",
        "number",
        "peer",
        "pinged",
        "place",
        "refused_since",
        "route",
        "since",
        "state",
    )

    def __init__(self, place: Place, state: State, now: int) -> None:
        self.place = place
        self.state = state
        self.since = now
        self.peer: Peer | None = None
        self.header: Header | None = None
        """How every frame of a link that stands begins: the lives of both ends, and `number`."""
        self.number = 1 if state is State.CONNECTING else 0
        self.route = b""
        """Where we are dialled: the routing id of the connection."""
        self.heard = now
        self.pinged = now
        self.hello_due = now
        self.complaint = ""
        """Why it does not come up, as a sentence."""
        self.refused_since: int | None = None
        self.agrees = True
        """Whether its ring is known to be ours; a follower has none."""

    @property
    def stands(self) -> bool:
        """Whether messages may pass."""
        return self.state is State.UP or self.state is State.ADMITTED
