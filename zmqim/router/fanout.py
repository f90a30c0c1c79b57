"""Committed notices become deliveries: one queue a partition, in log order.

An entry goes out when those before it are out; a message waits until the members of its channel are
known. It is crossed with presence and goes to each gateway concerned once. What a turn fanned out
of a partition is acknowledged to the leader when every frame that carries it was taken over, or its
gateway holds a dirty mark or is gone: then the leader forgets it. Until then the leader repeats,
and what is queued or out already is not pushed twice.

The queue needs no bound of its own but for a faulty leader: a leader keeps NOTICES_UNACKED_MAX.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Final

import msgspec

from zmqim import limits
from zmqim.bus.effects import Send
from zmqim.bus.messages import (
    Delivery,
    Message,
    MissingPlan,
    NoticeAck,
    NoticeAcks,
    NoticeItem,
    Notices,
    Outcome,
)
from zmqim.chat.channels import COMMAND_SUFFIX, members_channel
from zmqim.chat.codes import ChannelType
from zmqim.chat.notices import EventNotice, MembersNotice, MessageNotice, Notice, UserNotice
from zmqim.ids import Channel, Milliseconds, NodeName, PartitionId
from zmqim.router.credits import GatewayLink, LinkCounts, TurnMark
from zmqim.router.members import Ask, Members, Readings, Snapshot
from zmqim.router.plans import LargeChannel, Places, Plans
from zmqim.router.pushes import Pushes

_decode_notice: Final = msgspec.msgpack.Decoder(Notice).decode
_PERSON: Final = int(ChannelType.PERSON)
_AGENT: Final = int(ChannelType.AGENT)
TRANSIENT: Final = 0


class NoticeStream:
    """The notices of one partition: what waits, what is out, what was acknowledged."""

    __slots__ = ("acked", "answer", "last", "marks", "open", "queue", "source", "term")

    def __init__(self) -> None:
        self.source = NodeName("")
        self.term = 0
        self.last = 0
        """Newest index taken in."""
        self.acked = 0
        self.queue: deque[tuple[int, Notice | None]] = deque()
        self.marks: deque[TurnMark] = deque()
        """What is out and not acknowledged, turn by turn; the newest may be `open`."""
        self.open: TurnMark | None = None
        self.answer = False
        """The leader is to hear how far we are, even if that is no news."""


class Fanout:
    """Streams of all partitions, members and plans; pushes into the links of gateways."""

    def __init__(self, plans: Plans, places: Places, ask: Ask) -> None:
        self._places = places
        self._plans = plans
        self._members = Members()
        self._readings = Readings(ask)
        self._streams: dict[PartitionId, NoticeStream] = {}
        self._links: dict[NodeName, GatewayLink] = {}
        self._pushes = Pushes(self._links, places)
        self._counts = LinkCounts()
        self._settled: dict[PartitionId, None] = {}
        """Partitions that may have more to acknowledge at the end of the turn."""
        self._retry_at: Milliseconds | None = None
        """When to send again what the bus refused."""
        self._nudge_at: Milliseconds | None = None
        """When to look for frames that nobody acknowledged."""
        self.is_held = True
        """Nothing goes out until it is known who is online (`release`)."""
        self.notices_taken = 0
        self.notices_bad = 0
        self.notices_repeated = 0
        self.gaps = 0
        self.frames_missing = 0

    # Notices -------------------------------------------------------------------------------------

    def notices(self, now: Milliseconds, source: NodeName, batch: Notices) -> bool:
        """Take in a leader's batch; False: from a leader that another one has followed."""
        partition = PartitionId(batch.partition)
        stream = self._streams.get(partition)
        if stream is None:
            stream = self._streams[partition] = NoticeStream()
        if batch.term < stream.term:
            return False
        stream.term = batch.term
        stream.source = source
        if batch.previous > stream.last:
            self.gaps += 1
            self._answer(partition, stream)
        elif len(stream.queue) < limits.NOTICES_UNACKED_MAX:
            self._take_in(now, partition, stream, batch.items)
        return True

    def _take_in(
        self,
        now: Milliseconds,
        partition: PartitionId,
        stream: NoticeStream,
        items: list[NoticeItem],
    ) -> None:
        queue = stream.queue
        decode = _decode_notice
        notice: Notice | None
        blocked = bool(queue) or self.is_held
        repeated = 0
        for item in items:
            index = item.index
            if index != TRANSIENT:
                if index <= stream.last:
                    repeated += 1
                    continue
                stream.last = index
            try:
                notice = decode(item.body)
            except (msgspec.DecodeError, ValueError):
                self.notices_bad += 1
                notice = None
            if blocked or not self._put_out(partition, stream, index, notice):
                blocked = True
                queue.append((index, notice))
        self.notices_taken += len(items) - repeated
        if repeated:
            self.notices_repeated += repeated
            self._answer(partition, stream)
        if queue and not self.is_held:
            self._await_members(now, partition, queue[0][1])

    def _answer(self, partition: PartitionId, stream: NoticeStream) -> None:
        stream.answer = True
        self._settled[partition] = None

    def release(self, now: Milliseconds) -> None:
        """It is known who is online: what waited goes out."""
        self.is_held = False
        for partition, stream in self._streams.items():
            self._pump(now, partition, stream)

    def _pump(self, now: Milliseconds, partition: PartitionId, stream: NoticeStream) -> None:
        queue = stream.queue
        while queue:
            index, notice = queue[0]
            if not self._put_out(partition, stream, index, notice):
                self._await_members(now, partition, notice)
                return
            queue.popleft()

    # One notice ----------------------------------------------------------------------------------

    def _put_out(
        self, partition: PartitionId, stream: NoticeStream, index: int, notice: Notice | None
    ) -> bool:
        """Send a notice on its way; False: the members of its channel are not known yet.

        None was not to be read: it only counts as seen.
        """
        if type(notice) is MessageNotice or type(notice) is EventNotice:
            channel_type = notice.channel_type
            if channel_type in (_PERSON, _AGENT):
                one, _, other = notice.channel_id.removesuffix(COMMAND_SUFFIX).partition("@")
                mark = self._mark(partition, stream, index)
                self._pushes.push(notice, (one, other) if one != other else (one,), mark)
                return True
            channel = audience_of(channel_type, notice.channel_id)
            snapshot = self._members.get(channel, notice.member_version)
            if snapshot is None:
                return False
            mark = self._mark(partition, stream, index)
            large = self._large(channel, snapshot)
            if large is None:
                self._pushes.push(notice, snapshot.uids, mark)
            else:
                self._pushes.push_by_plan(notice, large, mark)
            return True
        mark = self._mark(partition, stream, index)
        if isinstance(notice, MembersNotice):
            self._change_members(notice)
        elif isinstance(notice, UserNotice):
            self._pushes.change_user(notice, mark)
        return True

    def _mark(self, partition: PartitionId, stream: NoticeStream, index: int) -> TurnMark | None:
        if index == TRANSIENT:
            return None
        mark = stream.open
        if mark is None:
            mark = stream.open = TurnMark(partition)
            stream.marks.append(mark)
            self._settled[partition] = None
        mark.index = index
        return mark

    # Members -------------------------------------------------------------------------------------

    def _large(self, channel: Channel, snapshot: Snapshot) -> LargeChannel | None:
        """The channel's plan, begun or ended where its size asks for it."""
        count = len(snapshot.uids)
        large = self._plans.get(channel)
        if large is None:
            if count <= limits.LARGE_CHANNEL_UP_COUNT:
                return None
            return self._plans.build(channel, snapshot.uids, self._places)
        if count < limits.LARGE_CHANNEL_DOWN_COUNT:
            self._end_plan(channel)
            return None
        return large

    def _end_plan(self, channel: Channel) -> None:
        for gateway, plan in self._plans.drop(channel).items():
            link = self._links.get(gateway)
            if link is not None and link.linked:
                link.change_plan(plan)

    def _change_members(self, notice: MembersNotice) -> None:
        channel = (notice.channel_type, notice.channel_id)
        change = self._members.apply(notice)
        if change is None:
            self._end_plan(channel)
        else:
            self._plans.members_changed(channel, change.added, change.removed, self._places)

    def _await_members(
        self, now: Milliseconds, partition: PartitionId, notice: Notice | None
    ) -> None:
        """The head of the queue needs members: begin to read them unless that is under way."""
        assert isinstance(notice, MessageNotice | EventNotice)
        channel = audience_of(notice.channel_type, notice.channel_id)
        self._readings.begin(now, partition, channel, notice.member_version)

    def leader_moved(self, now: Milliseconds, partition: PartitionId) -> None:
        """Members that were asked of another storage than the one asked now are asked again."""
        self._readings.leader_moved(now, partition)

    def own_outcome(self, now: Milliseconds, outcome: Outcome) -> None:
        """An answer to a question for members."""
        read = self._readings.take(now, outcome.request, outcome.code, outcome.result)
        if read is None:
            return
        reading, snapshot = read
        self._end_plan(reading.channel)
        dropped = self._members.put(reading.channel, snapshot)
        if dropped is not None:
            self._end_plan(dropped)
        self._pump(now, reading.partition, self._streams[reading.partition])

    # Gateways ------------------------------------------------------------------------------------

    def is_linked(self, gateway: NodeName) -> bool:
        """Whether deliveries reach that gateway now."""
        link = self._links.get(gateway)
        return link is not None and link.linked

    def gateway_up(self, now: Milliseconds, gateway: NodeName) -> None:
        """A link to a gateway stands."""
        if self._nudge_at is None:
            self._nudge_at = Milliseconds(now + limits.REQUEST_RETRY_MS)
        link = self._links.get(gateway)
        if link is None:
            link = self._links[gateway] = GatewayLink(gateway, self._settled, self._counts)
        link.go_up()

    def gateway_down(self, gateway: NodeName) -> None:
        """The link is gone, the gateway perhaps not: messages for it become dirty marks."""
        link = self._links.get(gateway)
        if link is not None:
            link.go_down(partial(self._audience, gateway))
            self._plans.link_lost(gateway)

    def gateway_gone(self, gateway: NodeName) -> None:
        """That life is over and presence has forgotten its sessions: nothing waits for it."""
        link = self._links.pop(gateway, None)
        if link is not None:
            link.abandon()
            self._plans.link_lost(gateway)

    def acknowledged(self, gateway: NodeName, frame: int) -> None:
        """A gateway took over everything up to that frame."""
        link = self._links.get(gateway)
        if link is not None:
            link.acknowledge(frame)

    def refused(self, now: Milliseconds, gateway: NodeName, message: Message) -> None:
        """The bus did not take a frame for that gateway: it goes again in a moment."""
        link = self._links.get(gateway)
        if link is not None and link.refused(message):
            self._retry_at = Milliseconds(now + limits.NOT_LEADER_RETRY_MS)

    def missing_plan(self, gateway: NodeName, missing: MissingPlan) -> None:
        """Send the list anew and repeat from the frame that named it; plan 0: only the frames.

        A complaint about a version from before the list was last sent whole is stale.
        """
        link = self._links.get(gateway)
        if link is None or not link.linked:
            return
        self.frames_missing += 1
        large = self._plans.by_number(missing.plan)
        one = large.lists.get(gateway) if large is not None else None
        if one is not None:
            if missing.version < one.whole_version:
                return
            one.start_anew()
            if (plan := one.change()) is not None:
                link.change_plan(plan)
        link.repeat_from(missing.frame, partial(self._renewed, gateway))

    def _renewed(self, gateway: NodeName, delivery: Delivery) -> Delivery:
        """A delivery as it has to be repeated: with the list as the gateway now holds it."""
        if not delivery.plan:
            return delivery
        large = self._plans.by_number(delivery.plan)
        if large is not None and gateway in large.lists:
            version = large.lists[gateway].version
            return msgspec.structs.replace(delivery, plan_version=version)
        sessions = self._audience(gateway, delivery)
        return msgspec.structs.replace(delivery, sessions=sessions, plan=0, plan_version=0)

    def _audience(self, gateway: NodeName, delivery: Delivery) -> list[int]:
        """For whom a delivery is at that gateway, as of now where it went by plan."""
        if not delivery.plan:
            return delivery.sessions
        large = self._plans.by_number(delivery.plan)
        if large is not None:
            return list(large.list_of(gateway).sessions)
        channel = audience_of(delivery.channel_type, delivery.channel_id)
        snapshot = self._members.peek(channel)
        return [
            session
            for uid in (snapshot.uids if snapshot is not None else ())
            for place, session in self._places.get(uid, ())
            if place == gateway
        ]

    # Time and the end of the turn ----------------------------------------------------------------

    def wake(self, now: Milliseconds) -> None:
        """Ask again for members, and send again what the bus had refused."""
        self._readings.wake(now)
        if self._retry_at is not None and self._retry_at <= now:
            self._retry_at = None
            for name, link in self._links.items():
                link.retry(partial(self._renewed, name))
        if self._nudge_at is not None and self._nudge_at <= now:
            self._nudge_at = Milliseconds(now + limits.REQUEST_RETRY_MS) if self._links else None
            for name, link in self._links.items():
                link.nudge(partial(self._renewed, name))

    def next_wake(self) -> Milliseconds | None:
        """When `wake` has something to do."""
        times = self._readings.dues()
        times += [time for time in (self._retry_at, self._nudge_at) if time is not None]
        return min(times, default=None)

    def take_sends(self) -> Iterator[Send]:
        """Frames for gateways, then acknowledgements for leaders."""
        for link in self._links.values():
            for message in link.take_ready():
                yield Send(link.name, message)
        if not self._settled:
            return
        acks: dict[NodeName, list[NoticeAck]] = {}
        settled = list(self._settled)
        self._settled.clear()
        for partition in settled:
            stream = self._streams[partition]
            stream.open = None
            marks = stream.marks
            acked = stream.acked
            while marks and marks[0].waiting == 0:
                acked = marks.popleft().index
            if acked > stream.acked or stream.answer:
                stream.acked = acked
                stream.answer = False
                ack = NoticeAck(partition, stream.term, acked)
                acks.setdefault(stream.source, []).append(ack)
        for storage, items in acks.items():
            yield Send(storage, NoticeAcks(items))

    def counters(self) -> dict[str, int]:
        """Counts since the start, for metrics."""
        return {
            "notices": self.notices_taken,
            "notices_bad": self.notices_bad,
            "notices_repeated": self.notices_repeated,
            "notice_gaps": self.gaps,
            "deliveries": self._pushes.deliveries,
            "frames_missing": self.frames_missing,
            "dirty_marked": self._counts.dirty_marked,
            "dirty_dropped": self._counts.dirty_dropped,
            "frames_refused": self._counts.refused,
        }

    def gauges(self) -> dict[str, int]:
        """Sizes as of now, for metrics."""
        return {
            "notices_waiting": sum(len(one.queue) for one in self._streams.values()),
            "member_snapshots": len(self._members),
            "large_channels": len(self._plans),
        }


def audience_of(channel_type: int, channel_id: str) -> Channel:
    """The channel whose members hear a message to this one, which may be a command channel."""
    return members_channel(channel_type, channel_id.removesuffix(COMMAND_SUFFIX))
