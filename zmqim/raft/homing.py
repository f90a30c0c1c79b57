"""Which of its groups a process hands to another, and to whom.

Leads are spread as long as each group is led at its home: whoever leads it in between gives it
back, a few at a time, once the home has been back for a while. A process without room for
proposals gives all that it leads to those who have room, and nobody hands it anything meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from zmqim.ids import NodeName
from zmqim.limits import HAND_HOME_COUNT, HAND_HOME_MS, QUORUM_SILENCE_MS
from zmqim.raft.core import RaftCore
from zmqim.raft.peers import Peers

Preference = Mapping[int, Sequence[NodeName]]
"""Who should lead each group, in order."""


def homeward(
    now: int, led: Iterable[RaftCore], preference: Preference, peers: Peers
) -> Iterator[tuple[RaftCore, int]]:
    """(group, replica to lead it next) of what is led away from home, HAND_HOME_COUNT at most."""
    count = 0
    for core in led:
        home = preference[core.identity.partition][0]
        peer = peers.by_name.get(home)
        if home == peers.me or peer is None or now - peer.changed_at < HAND_HOME_MS:
            continue
        replica = _heir(now, core, home, peers)
        if replica:
            yield core, replica
            count += 1
            if count >= HAND_HOME_COUNT:
                return


def away(
    now: int, led: Iterable[RaftCore], preference: Preference, peers: Peers
) -> Iterator[tuple[RaftCore, int]]:
    """(group, replica to lead it next) of everything for which there is somebody with room."""
    for core in led:
        heirs = (_heir(now, core, name, peers) for name in preference[core.identity.partition])
        replica = next(filter(None, heirs), 0)
        if replica:
            yield core, replica


def _heir(now: int, core: RaftCore, name: NodeName, peers: Peers) -> int:
    """The replica of `name`, if it could lead at once; else 0."""
    peer = peers.by_name.get(name)
    if core.lead is None or not core.serving:
        return 0
    if peer is None or not peer.is_linked or not peer.has_room:
        return 0
    if now - peer.echo_at > QUORUM_SILENCE_MS:
        return 0
    for replica, other in peers.reached(core).items():
        if other == name and core.lead.may_inherit(replica):
            return replica
    return 0
