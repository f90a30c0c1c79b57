"""The messages between storages: one replicated log per partition (REPLICATION.md 2.5).

Every message of a group names the partition, the history it belongs to (`group`, the first 8 bytes
of the group uuid), and the replica ids of both ends: a replica that was removed, or one of another
history, is not taken for a voter. Whatever does not fit is dropped and counted.

    leader → follower   Append, TimeoutNow, SnapshotOffer, SnapshotChunk
    follower → leader   AppendResult, SnapshotPull
    candidate ↔ voter   VoteRequest, VoteResult
    storage ↔ storage   NodeHeartbeat, NodeHeartbeatEcho (one a pair of processes, for all groups)
    storage → router    Leading
"""

from __future__ import annotations

from zmqim.bus.messages import Body


class GroupBody(Body, frozen=True):
    """What every message of a group begins with. `term` is the sender's."""

    partition: int
    group: bytes
    source: int
    target: int
    term: int


class VoteRequest(GroupBody, frozen=True):
    """A candidate asks for a vote in `term`; with `pre`, whether it would get one in that term.

    `transfer` is set when the leader itself asked for the election (TimeoutNow).
    """

    last_index: int
    last_term: int
    pre: bool
    transfer: bool


class VoteResult(GroupBody, frozen=True):
    """The answer. A grant of a pre-vote repeats the request's term, a refusal tells the voter's."""

    pre: bool
    granted: bool


class Append(GroupBody, frozen=True):
    """Entries behind (prev_index, prev_term, prev_chain), as the journal stores them."""

    prev_index: int
    prev_term: int
    prev_chain: int
    commit: int
    entries: list[bytes]


class AppendResult(GroupBody, frozen=True):
    """Accepted: everything up to `match` is durable here and is the leader's.

    Refused: the follower has nothing at `refused` with the leader's term and chain. What it holds
    committed, up to `match`, is the leader's all the same: there the leader begins anew.
    """

    accepted: bool
    match: int
    refused: int = 0


class TimeoutNow(GroupBody, frozen=True):
    """The leader hands over: the receiver, which holds the whole log, is to stand at once."""


class GroupPulse(Body, frozen=True):
    """One group in a NodeHeartbeat. `commit` is at most what this follower is known to hold;
    `term` 0: the sender leads that group no more."""

    partition: int
    group: bytes
    source: int
    target: int
    term: int
    commit: int


class NodeHeartbeat(Body, frozen=True):
    """One a pair of processes and round, for every group that the sender leads with a replica at
    the receiver. `groups` holds what changed since the last one, or with `full` all of them;
    `digest` is that of all of them."""

    round: int
    full: bool
    digest: int
    wall_ms: int
    groups: list[GroupPulse]


class NodeHeartbeatEcho(Body, frozen=True):
    """`digest` is that of the groups that the responder now holds of the sender; with another one
    than the sender's, the next heartbeat is full. `refused` names (partition, term) of the groups
    that the responder knows in a later term, or with term 0 those of which it has only a damaged
    replica: the echo confirms the leader of all others."""

    round: int
    digest: int
    wall_ms: int
    refused: list[tuple[int, int]]


class SnapshotOffer(GroupBody, frozen=True):
    """The log before `index` is gone: the follower is to pull the rows as of that entry.

    `index_term`, `chain` and `hlc` are those of the entry at `index`.
    """

    snapshot: int
    index: int
    index_term: int
    chain: int
    hlc: int


class SnapshotPull(GroupBody, frozen=True):
    """Send the rows behind the key `after` (without its prefix; empty: from the first)."""

    snapshot: int
    after: bytes


class SnapshotChunk(GroupBody, frozen=True):
    """Rows behind `after`, keys without partition and install; `done` with the last of them."""

    snapshot: int
    after: bytes
    rows: list[tuple[bytes, bytes]]
    done: bool


class Leading(Body, frozen=True):
    """(partition, term) of groups that the sending storage leads and serves. Told to each router
    when its link comes up and when a lead begins; of two, the higher term is right."""

    groups: list[tuple[int, int]]


GroupMessage = (
    VoteRequest
    | VoteResult
    | Append
    | AppendResult
    | TimeoutNow
    | SnapshotOffer
    | SnapshotPull
    | SnapshotChunk
)
"""What `zmqim.raft` speaks, group by group."""
ReplicationMessage = GroupMessage | NodeHeartbeat | NodeHeartbeatEcho | Leading
