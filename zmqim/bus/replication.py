"""The messages between storages: one replicated log per partition (docs/REPLICATION.md 4).

Every message of a group names the partition, the history it belongs to (`group`, the first 8 bytes
of the group uuid), and the replica ids of both ends: a replica that was removed, or one of another
history, is not taken for a voter. Whatever does not fit is dropped and counted.

    leader → follower   Appends, TimeoutNow, SnapshotOffer, SnapshotChunk, DigestWrong
    follower → leader   AppendResults, SnapshotPull, DigestReport
    candidate ↔ voter   VoteRequest, VoteResult
    storage ↔ storage   NodeHeartbeat, NodeHeartbeatEcho (one a pair of processes, for all groups)
    storage → router    Leading
    storage ↔ storage   BirthStatus, BirthOffer (before there is a cluster)
    storage → meta leader  BootRequest, GroupReports, ChangeResult
    meta leader → storage  BootResult, ChangeGroup
"""

from __future__ import annotations

from enum import IntEnum

from zmqim.bus.messages import Body


class BootCode(IntEnum):
    """What the meta group says to a process that begins a life."""

    GRANTED = 0
    REFUSED = 1
    """For good: the process must end; `text` says why."""
    NOT_LEADER = 2
    """`text` is the leader's name if it is known."""
    WAIT = 3
    """Not yet; `text` says for what."""


class ChangeCode(IntEnum):
    """What a group's leader made of a `ChangeGroup`."""

    APPENDED = 0
    """The new configuration is in the log; the next report says when it is committed."""
    REFUSED = 1
    """Nothing was changed; `text` says why."""


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
    committed, up to `match`, is the leader's all the same: there the leader begins anew. With
    `damaged` it has lost its rows: it takes nothing but a snapshot.
    """

    accepted: bool
    match: int
    refused: int = 0
    damaged: bool = False


class Appends(Body, frozen=True):
    """A turn's Appends for one storage, of all groups: each is judged by itself."""

    items: list[Append]


class AppendResults(Body, frozen=True):
    """A turn's answers to one storage, of all groups: each is judged by itself."""

    items: list[AppendResult]


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
    replica: the echo confirms the leader of all others. Without `has_room` on its disk the
    responder should lead nothing."""

    round: int
    digest: int
    wall_ms: int
    refused: list[tuple[int, int]]
    has_room: bool = True


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


class DigestReport(GroupBody, frozen=True):
    """A follower applied everything up to `index` and has this digest of what came of it."""

    index: int
    digest: int


class DigestWrong(GroupBody, frozen=True):
    """A majority of the voters has `digest` at `index`. The follower has not: it is damaged."""

    index: int
    digest: int


class Leading(Body, frozen=True):
    """(partition, term) of groups that the sending storage leads and serves. Told to each router
    when its link comes up and when a lead begins; of two, the higher term is right."""

    groups: list[tuple[int, int]]


class BirthStatus(Body, frozen=True):
    """What the sender's folder holds: `born` is the digest of its birth record, empty for none.

    `complete`: everyone is known to have that record. `asks`: the receiver should answer with its
    own status.
    """

    born: bytes
    complete: bool
    asks: bool


class BirthOffer(Body, frozen=True):
    """The birth record (`zmqim.meta.record`), for a storage that has none."""

    record: bytes


class BootRequest(Body, frozen=True):
    """A storage begins a life: it asks for its name and for its incarnation.

    `start` is drawn at each start: it tells a repeated request from a copy of the folder.
    """

    name: str
    node_uuid: bytes
    incarnation: int
    start: bytes
    zone: str
    weight: int


class BootResult(Body, frozen=True):
    """The answer to the request with that `start`; `code` is a `BootCode`."""

    start: bytes
    code: int
    text: str


class MemberReport(Body, frozen=True):
    """One replica as its group's leader sees it: entries behind; heard lately and not damaged."""

    replica: int
    lag: int
    live: bool


class GroupReport(Body, frozen=True):
    """A group as its serving leader, replica `source`, sees it.

    `config` is the last *committed* configuration (`zmqim.raft.config.GroupConfig`) and `conf_id`
    the index of its entry; `changing`: a later one is appended and not yet committed. `members`
    has an item for every replica of `config`, the leader included.
    """

    partition: int
    group: bytes
    source: int
    term: int
    conf_id: int
    config: bytes
    changing: bool
    members: list[MemberReport]


class GroupReports(Body, frozen=True):
    """Of the groups that the sender leads: all each REPORT_MS, one at once when its configuration
    was committed or a learner came close enough to be promoted."""

    groups: list[GroupReport]


class ChangeGroup(Body, frozen=True):
    """The driver asks a group's leader for one `zmqim.raft.config.Step`.

    The leader does it only if `conf_id` is its configuration, which is committed, it serves, and
    the voters afterwards have a live majority.
    """

    partition: int
    group: bytes
    kind: int
    conf_id: int
    replica: int
    name: str
    node_uuid: bytes


class ChangeResult(Body, frozen=True):
    """What became of the `ChangeGroup` with that `conf_id`; `code` is a `ChangeCode`."""

    partition: int
    conf_id: int
    code: int
    text: str


GroupMessage = (
    VoteRequest
    | VoteResult
    | Append
    | AppendResult
    | TimeoutNow
    | SnapshotOffer
    | SnapshotPull
    | SnapshotChunk
    | DigestReport
    | DigestWrong
)
"""What `zmqim.raft` speaks, group by group; Append and AppendResult travel in lists."""
MetaMessage = BootRequest | BootResult | GroupReports | ChangeGroup | ChangeResult
"""What the meta group and the leaders of groups speak, once there is a cluster."""
