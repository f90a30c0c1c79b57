"""A RouterCore with peers, driven by plain calls: what it sends comes back as a list."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.messages import (
    Body,
    Delivery,
    Message,
    NoticeAck,
    NoticeAcks,
    NoticeBatches,
    NoticeItem,
    Notices,
    PresenceDigest,
    PresenceEntry,
    Role,
)
from zmqim.bus.replication import Leading
from zmqim.chat.channels import route_key_of_channel
from zmqim.chat.encoding import encode
from zmqim.chat.notices import MembersNotice, MessageNotice, Notice
from zmqim.chat.operations import SendMessage
from zmqim.ids import Incarnation, Milliseconds, NodeName, NodeUuid, PartitionId
from zmqim.limits import PRESENCE_SETTLE_MS_MAX
from zmqim.ring.document import RingDocument
from zmqim.ring.partitions import partition_of
from zmqim.router.core import RouterCore

PARTITIONS = 8
GATEWAY_1 = NodeName("gateway-1")
GATEWAY_2 = NodeName("gateway-2")
STORAGE_1 = NodeName("storage-1")
STORAGE_2 = NodeName("storage-2")
STORAGE_3 = NodeName("storage-3")
ROUTER = NodeName("router-1")
ROLES = {"gateway": Role.GATEWAY, "router": Role.ROUTER, "storage": Role.STORAGE}
RING = RingDocument(
    version=1,
    partitions=PARTITIONS,
    replicas=1,
    voters=1,
    placement=tuple(((STORAGE_1, STORAGE_2)[number % 2],) for number in range(PARTITIONS)),
)

RING_OF_THREE = RingDocument(
    version=1,
    partitions=PARTITIONS,
    replicas=3,
    voters=3,
    placement=((STORAGE_1, STORAGE_2, STORAGE_3),) * PARTITIONS,
)


def peer(name: NodeName, life: int = 1) -> Peer:
    """One life of a process."""
    role = ROLES[name.partition("-")[0]]
    return Peer(name, role, NodeUuid(name.encode().ljust(16, b".")), Incarnation(life))


def entry(
    session: int, uid: str, *, flag: int = 0, level: int = 0, device: str = "", login_no: int = 1
) -> PresenceEntry:
    """A session of `uid`."""
    return PresenceEntry(session, uid, flag, level, device or f"device-{session}", login_no)


def operation(channel_type: int, channel_id: str, flags: int = 0, payload: bytes = b"hi") -> bytes:
    """An encoded message."""
    return encode(SendMessage(channel_type, channel_id, "u1", "n1", payload, flags=flags))


def message(
    channel_id: str,
    sequence: int,
    *,
    channel_type: int = 1,
    member_version: int = 0,
    flags: int = 0,
    payload: bytes = b"hi",
) -> MessageNotice:
    """The notice of a committed message."""
    body = operation(channel_type, channel_id, flags, payload)
    return MessageNotice(
        channel_type, channel_id, sequence, 1000 + sequence, sequence << 16, member_version, body
    )


def members(
    channel_id: str,
    version: int,
    added: list[str],
    removed: list[str],
    *,
    previous: int = -1,
    reset: bool = False,
    count: int = -1,
    channel_type: int = 2,
) -> MembersNotice:
    """The notice of a change of members."""
    return MembersNotice(channel_type, channel_id, version, added, removed, reset, count, previous)


def delivery(
    notice: MessageNotice, sessions: list[int], plan: int = 0, version: int = 0
) -> Delivery:
    """What a gateway gets for `notice`."""
    return Delivery(
        notice.channel_type,
        notice.channel_id,
        notice.sequence,
        notice.message_id,
        notice.hlc,
        notice.operation,
        sessions,
        plan,
        version,
    )


def partition_of_channel(channel_id: str, channel_type: int = 1) -> PartitionId:
    """Where the channel lives."""
    return partition_of(route_key_of_channel(channel_type, channel_id), PARTITIONS)


class Rig:
    """Two gateways and the ring's storages linked to one router, which has settled.

    `told`: the home leaders have said that they lead, in term 1.
    """

    def __init__(
        self, ring: RingDocument = RING, *, settled: bool = True, told: bool = True
    ) -> None:
        self.now = Milliseconds(1_000_000)
        self.core = RouterCore(ROUTER, ring, Random(7))
        storages = tuple(sorted({name for owners in ring.placement for name in owners}))
        self.core.view_changed(self.now, View((GATEWAY_1, GATEWAY_2), (ROUTER,), storages))
        for name in (*storages, GATEWAY_1, GATEWAY_2):
            self.core.peer_up(self.now, peer(name))
        if told:
            for storage in storages:
                led = [(partition, 1) for partition in ring.led_by(storage)]
                self.core.receive(self.now, storage, Leading(led))
            self.turn()
        if settled:
            self.wait(PRESENCE_SETTLE_MS_MAX)

    def turn(self) -> list[Send]:
        """End the turn."""
        return self.core.turn(self.now)

    def say(self, source: NodeName, *messages: Message) -> list[Send]:
        """Messages of one turn, and what follows from them."""
        for one in messages:
            self.core.receive(self.now, source, one)
        return self.turn()

    def wait(self, milliseconds: int) -> list[Send]:
        """Time passes, in one step."""
        self.now = Milliseconds(self.now + milliseconds)
        self.core.wake(self.now)
        return self.turn()

    def wake_next(self) -> list[Send]:
        """Time passes until the core wants to be woken."""
        wake = self.core.next_wake()
        assert wake is not None
        return self.wait(max(0, wake - self.now))

    def wait_until(self, found: Callable[[list[Send]], bool]) -> list[Send]:
        """Time passes from wake to wake until what it brings is what was looked for."""
        for _ in range(100):
            sends = self.wake_next()
            if found(sends):
                return sends
        raise AssertionError("it did not happen")

    def digest(self, gateway: NodeName) -> list[Send]:
        """A digest of a gateway that has no sessions."""
        return self.say(gateway, PresenceDigest([]))


def notices(
    partition: int, previous: int, *items: tuple[int, Notice], term: int = 1
) -> NoticeBatches:
    """A leader's batch of (index, notice), alone."""
    bodies = [NoticeItem(index, encode(notice)) for index, notice in items]
    return NoticeBatches([Notices(partition, term, previous, bodies)])


def ack_of(partition: int, term: int, index: int) -> NoticeAcks:
    """The acknowledgement of one partition's notices."""
    return NoticeAcks([NoticeAck(partition, term, index)])


def to(sends: list[Send], name: NodeName, kind: type[Body]) -> list[Message]:
    """The messages of one type for one process."""
    return [send.message for send in sends if send.to == name and type(send.message) is kind]
