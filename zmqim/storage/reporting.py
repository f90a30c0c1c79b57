"""What a storage says of its replicas: for `zmqim status` and for the driver of the meta group."""

from __future__ import annotations

from typing import Final, TypedDict

from zmqim.raft.core import RaftCore
from zmqim.raft.groups import Groups
from zmqim.raft.progress import Sending
from zmqim.raft.state import Role

_SENDING: Final = {
    Sending.PROBING: "probing",
    Sending.STREAMING: "replicating",
    Sending.SNAPSHOT: "snapshot",
}


class ReplicaStatus(TypedDict):
    """Another replica in the eyes of its leader."""

    name: str
    replica: int
    match_lag: int
    state: str


class GroupStatus(TypedDict, total=False):
    """A replica of this storage; what only a leader knows is there while it leads."""

    id: int | str
    term: int
    role: str
    leader: str
    last: int
    commit: int
    applied: int
    conf_id: int
    serving: bool
    replicas_wanted: int
    voters: list[ReplicaStatus]
    learners: list[ReplicaStatus]


def status_of(
    replicas: Groups, now: int, partition: int, name: int | str, wanted: int
) -> GroupStatus:
    """One group of this storage, called `name`, which should have `wanted` voters."""
    core = replicas.cores[partition]
    status = GroupStatus(
        id=name,
        term=core.term,
        role=_role_of(core),
        leader=replicas.leader_of(partition),
        last=core.last,
        commit=core.commit,
        applied=core.applied,
        conf_id=core.conf_id,
    )
    if core.lead is not None:
        status["serving"] = core.serving
        status["replicas_wanted"] = wanted
        status["voters"] = [
            _replica(replicas, now, core, place.replica) for place in core.config.voters
        ]
        status["learners"] = [
            _replica(replicas, now, core, place.replica) for place in core.config.learners
        ]
    return status


def _role_of(core: RaftCore) -> str:
    if core.is_damaged:
        return "damaged"
    if core.lead is not None:
        return "leader"
    if not core.is_voter:
        return "learner"
    return "follower" if core.role is Role.FOLLOWER else "candidate"


def _replica(replicas: Groups, now: int, core: RaftCore, replica: int) -> ReplicaStatus:
    assert core.lead is not None
    name = core.places[replica].name
    if replica == core.replica:
        return ReplicaStatus(name=name, replica=replica, match_lag=0, state="leader")
    progress = core.lead.progress[replica]
    state = "damaged" if progress.is_damaged else _SENDING[progress.sending]
    is_there = replicas.peers.is_at(now, core, replica)
    return ReplicaStatus(
        name=name,
        replica=replica,
        match_lag=core.last - progress.match,
        state=state if is_there else "down",
    )
