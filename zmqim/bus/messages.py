"""The typed messages of the bus: the body of every frame between two processes.

Each is a msgpack array in the order of its fields; which one it is stands in the envelope's `type`
byte (`zmqim.bus.codes`). Fields are only ever added at the end. docs/PROTOCOL.md describes them for
gateways written in other languages.

Who sends what:

    gateway → router   Submit, Login, Announce, Withdraw, PresenceDigest, PresenceShard,
                       DeliverAck, OnlineQuery, MissingPlan
    router → gateway   Answers, LeaderMoved, LoginAck, Kick, Deliver, Dirty, Plan, PresenceDiffers,
                       OnlineAnswer, UserChanged
    router → storage   Propose, NoticeAcks
    storage → router   Outcomes, NoticeBatches, Submit (outbox: operations for other partitions)
    storage ↔ storage  zmqim.bus.replication
    everyone           Hello, Welcome, JoinRefused, WhoAreYou, Ping, Goodbye, PushPull;
                       Heartbeat (PUB)
"""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Role(IntEnum):
    """Kind of process."""

    GATEWAY = 1
    ROUTER = 2
    STORAGE = 3


class ItemKind(IntEnum):
    """What the body of a submitted item is."""

    WRITE = 0
    """An encoded operation: logged, committed, applied."""
    READ = 1
    """An encoded query."""
    TRANSIENT = 2
    """An encoded NO_PERSIST SendMessage: judged by the leader, pushed, never logged."""


class OutcomeCode(IntEnum):
    """What became of an item."""

    DONE = 0
    """It was applied or read: `result` is an encoded `chat.results.Result`."""
    NOT_LEADER = 1
    """Not proposed; `result` is the leader's name if known."""
    BUSY = 2
    """Not proposed: a bound was reached."""
    DISK_FULL = 3
    """Not proposed: too little room on the disk."""
    UNAVAILABLE = 4
    """Not proposed: no leader, no link."""
    UNKNOWN = 5
    """It may or may not be applied."""
    BAD_REQUEST = 6
    """Not proposed: the item cannot be decoded; `result` is the sentence."""


class Body(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Common shape of all messages: an immutable msgpack array."""


# ---- links and membership -----------------------------------------------------------------------


class Hello(Body, frozen=True):
    """First frame of a DEALER on every (re)connection.

    `key_digests` maps each dotted topology key that decides the ring to a short digest, so that a
    refusal can name what differs; a follower (a gateway in another language) sends an empty
    `ring_hash`.
    """

    name: str
    role: int
    host: str
    node_uuid: bytes
    incarnation: int
    pub_address: str
    ring_hash: bytes
    key_digests: dict[str, str]


class Welcome(Body, frozen=True):
    """Answer to Hello: who is here. `ring_document` is the JSON of zmqim.ring for followers."""

    name: str
    role: int
    node_uuid: bytes
    incarnation: int
    ring_hash: bytes
    ring_document: bytes


class JoinRefused(Body, frozen=True):
    """Answer to Hello from a process that must not join; `keys` are the differing topology keys."""

    sentence: str
    keys: list[str]


class WhoAreYou(Body, frozen=True):
    """Answer to any frame from an identity without a Hello in this life: say Hello again."""


class Ping(Body, frozen=True):
    """Keeps a silent link alive; answered by a Ping with `answer` true."""

    answer: bool


class Goodbye(Body, frozen=True):
    """The sender drains and leaves: not an error, take it out of routing now."""


class MemberState(IntEnum):
    """Ordered by precedence within one (incarnation, refute)."""

    ALIVE = 0
    SUSPECT = 1
    DOWN = 2
    LEFT = 3


class Member(Body, frozen=True):
    """One process as somebody sees it."""

    name: str
    role: int
    host: str
    node_uuid: bytes
    incarnation: int
    refute: int
    state: int
    counter: int
    address: str
    pub_address: str


class PushPull(Body, frozen=True):
    """The sender's whole member table; answered by one with `answer` true."""

    answer: bool
    members: list[Member]


class Load(Body, frozen=True):
    """What a process says of itself in each heartbeat."""

    loop_lag_ms: int = 0
    fsync_p99_us: int = 0
    queue_depth: int = 0
    disk_free_mb: int = 0
    rss_mb: int = 0
    sessions: int = 0
    groups_led: int = 0
    groups_total: int = 0


class Suspicion(Body, frozen=True):
    """Whom a heartbeat's sender holds for SUSPECT or DOWN; that life answers with `refute` + 1."""

    node_uuid: bytes
    incarnation: int
    refute: int


class Heartbeat(Body, frozen=True):
    """Published by the main loop every HEARTBEAT_MS under the topic ``hb.`` + role letter."""

    name: str
    role: int
    host: str
    node_uuid: bytes
    incarnation: int
    refute: int
    counter: int
    state: int
    flags: int
    hlc: int
    ring_version: int
    ring_hash: bytes
    load: Load
    suspects: list[Suspicion] = []


# ---- the way of a message -----------------------------------------------------------------------


class Item(Body, frozen=True):
    """One thing asked of a partition. `key` is the route key that decides the partition."""

    request: int
    key: bytes
    kind: int
    body: bytes


class Submit(Body, frozen=True):
    """A turn's batch; answered item by item in `Answers`, in any order across partitions, in the
    order given within one partition."""

    items: list[Item]


class Answer(Body, frozen=True):
    """What became of the item with that request number."""

    request: int
    code: int
    result: bytes


class Answers(Body, frozen=True):
    """Answers to items of one or several Submits of this gateway."""

    items: list[Answer]


class LeaderMoved(Body, frozen=True):
    """The router now asks another storage for these partitions, or one that serves only now.

    What it had on its way may stay unanswered: whoever waits for an answer asks again at once.
    """

    partitions: list[int]


class RoutedItem(Body, frozen=True):
    """An item on its way to the leader. `origin` is the router's own number of who asked."""

    origin: int
    request: int
    partition: int
    kind: int
    body: bytes


class Propose(Body, frozen=True):
    """A router's batch for the partitions that one storage leads."""

    items: list[RoutedItem]


class Outcome(Body, frozen=True):
    """What became of a routed item."""

    origin: int
    request: int
    partition: int
    code: int
    result: bytes


class Outcomes(Body, frozen=True):
    """Answers to routed items, and how far the storage's terms are (for hints)."""

    items: list[Outcome]


class NoticeItem(Body, frozen=True):
    """`index` is the log index that made it; `body` an encoded `chat.notices.Notice`."""

    index: int
    body: bytes


class Notices(Body, frozen=True):
    """Committed notices of one partition in log order, at least once.

    `previous` is the index of the notice before the first of these (0: none is unacknowledged):
    a router that has not seen it acknowledges what it has, and the leader repeats from there.
    An item with `index` 0 is transient (NO_PERSIST): never repeated, never acknowledged.
    """

    partition: int
    term: int
    previous: int
    items: list[NoticeItem]


class NoticeAck(Body, frozen=True):
    """All notices of the partition up to `index` reached every gateway concerned."""

    partition: int
    term: int
    index: int


class NoticeBatches(Body, frozen=True):
    """A turn's notices for one router, of all partitions that it serves."""

    items: list[Notices]


class NoticeAcks(Body, frozen=True):
    """A turn's acknowledgements for one storage."""

    items: list[NoticeAck]


# ---- presence and fan-out -----------------------------------------------------------------------


class PresenceEntry(Body, frozen=True):
    """A session as routers know it. `login_no` orders the logins of one (uid, device flag)."""

    session: int
    uid: str
    device_flag: int
    device_level: int
    device_id: str
    login_no: int


class Login(Body, frozen=True):
    """Asks the shard's owner to admit a session; answered by `LoginAck`."""

    request: int
    entry: PresenceEntry


class LoginAck(Body, frozen=True):
    """The session is in the shard under `login_no`; earlier sessions it displaced get `Kick`."""

    request: int
    login_no: int


class Announce(Body, frozen=True):
    """Entries for the routers that did not admit the session. Unacknowledged: digests repair."""

    entries: list[PresenceEntry]


class Withdraw(Body, frozen=True):
    """Sessions that ended."""

    sessions: list[int]


class Kick(Body, frozen=True):
    """End these sessions: DISCONNECT with `reason` and `text`, then close.

    `reason` 0: close without DISCONNECT (the same device has come back on a new connection).
    """

    sessions: list[int]
    reason: int
    text: str


class ShardDigest(Body, frozen=True):
    """Number of entries of one partition's shard and the XOR of their hashes."""

    partition: int
    count: int
    digest: int


class PresenceDigest(Body, frozen=True):
    """A gateway's digests of all its non-empty shards, every PRESENCE_DIGEST_MS."""

    shards: list[ShardDigest]


class PresenceDiffers(Body, frozen=True):
    """The router holds something else for these partitions: send them whole."""

    partitions: list[int]


class PresenceShard(Body, frozen=True):
    """The whole truth of this gateway for one partition's shard; replaces what the router has.

    Sent for every partition that `PresenceDiffers` names, with no entries where there are none.
    """

    partition: int
    entries: list[PresenceEntry]


class OnlineQuery(Body, frozen=True):
    """Which devices of these users are online; answered by `OnlineAnswer`."""

    request: int
    uids: list[str]


class OnlineAnswer(Body, frozen=True):
    """`devices` holds (uid, device_flag) of everyone online."""

    request: int
    devices: list[tuple[str, int]]


class Delivery(Body, frozen=True):
    """One message for sessions of one gateway: `sessions` in full, or those of fan-out list `plan`
    at `plan_version` (0: no plan)."""

    channel_type: int
    channel_id: str
    sequence: int
    message_id: int
    hlc: int
    operation: bytes
    sessions: list[int]
    plan: int = 0
    plan_version: int = 0


class Deliver(Body, frozen=True):
    """A turn's deliveries to one gateway. `frame` counts from 1 per link, without gaps."""

    frame: int
    items: list[Delivery]


class DeliverAck(Body, frozen=True):
    """Every Deliver and Dirty frame up to `frame` was taken over by the gateway."""

    frame: int


class DirtyChannel(Body, frozen=True):
    """Messages `first` to `last` were not sent for lack of credit; pull them for `sessions`."""

    channel_type: int
    channel_id: str
    command: bool
    first: int
    last: int
    sessions: list[int]


class Dirty(Body, frozen=True):
    """Sent when credit is back. Shares the frame numbers of Deliver."""

    frame: int
    channels: list[DirtyChannel]


class Plan(Body, frozen=True):
    """The fan-out list of a large channel at this gateway: replaced (`reset`) or changed from
    `version` - 1. Sent on the same link as the deliveries that name it, before them."""

    plan: int
    version: int
    reset: bool
    added: list[int]
    removed: list[int]


class MissingPlan(Body, frozen=True):
    """The gateway does not hold that version: send the list anew and repeat from `frame`."""

    plan: int
    version: int
    frame: int


class UserChanged(Body, frozen=True):
    """A person's bans or tokens changed. Shares the frame numbers of Deliver.

    Sessions whose `UserRow` was of `version` or later were admitted after the change.
    """

    frame: int
    uid: str
    ban: bool
    send_ban: bool
    kick_flag: int | None
    kick_reason: int
    version: int = 0


Message = Body
"""What a frame carries: a `Body` that has a code (`zmqim.bus.codes`)."""
