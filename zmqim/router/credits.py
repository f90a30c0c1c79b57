"""What is on its way to one gateway: numbered frames, byte credit, and marks for what was left out.

A gateway that takes over frames too slowly runs out of credit (docs/ARCHITECTURE.md 4). From then
on messages for it become dirty marks, until acknowledgements have freed half of the credit and
there is room for the marks themselves: the gateway pulls what they name. The same happens while its
link is down but its life is not over. A mark keeps the sessions that a message was meant for, and a
new one begins when somebody is no longer among them, so that a pull shows a removed member nothing
that came after the removal (promise P5).

A partition's notices are acknowledged to its leader turn by turn: each turn that fanned something
out holds a `TurnMark` with the number of frames that carry it, over all gateways.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from zmqim.bus.messages import (
    Deliver,
    Delivery,
    Dirty,
    DirtyChannel,
    Message,
    Plan,
    UserChanged,
)
from zmqim.chat.channels import COMMAND_SUFFIX
from zmqim.chat.codes import MessageFlag
from zmqim.chat.notices import UserNotice
from zmqim.chat.operations import decode_send
from zmqim.errors import WireError
from zmqim.ids import NodeName, PartitionId
from zmqim.limits import (
    BATCH_BYTES_MAX,
    BATCH_ITEMS_MAX,
    DIRTY_CHANNELS_MAX,
    GATEWAY_CREDIT_BYTES,
)

DELIVERY_OVERHEAD_BYTES: Final = 64
SESSION_BYTES: Final = 8
"""What a delivery and each session in its list count besides the operation."""

Revision = tuple[int, int]
"""(plan, revision of its list at this gateway): stands for exact sessions."""
Renew = Callable[[Delivery], Delivery]
"""A delivery as it has to be repeated."""
SessionsOf = Callable[[Delivery], list[int]]
"""The sessions that a delivery by plan is meant for now."""


class TurnMark:
    """What one turn fanned out of a partition: up to `index`, in `waiting` frames."""

    __slots__ = ("index", "partition", "waiting")

    def __init__(self, partition: PartitionId) -> None:
        self.partition = partition
        self.index = 0
        self.waiting = 0


class LinkCounts:
    """What all links count together: it outlives them."""

    __slots__ = ("dirty_dropped", "dirty_marked", "refused")

    def __init__(self) -> None:
        self.dirty_dropped = 0
        self.dirty_marked = 0
        self.refused = 0


class _InFlight(NamedTuple):
    frame: int
    size: int
    marks: list[TurnMark]
    message: Deliver | Dirty | UserChanged


class _DirtyRange:
    """Messages of one channel that were left out, and for whom."""

    __slots__ = ("first", "last", "revision", "sessions")

    def __init__(
        self, first: int, last: int, sessions: Iterable[int], revision: Revision | None
    ) -> None:
        self.first = first
        self.last = last
        self.sessions = dict.fromkeys(sessions)
        self.revision = revision


_DirtyKey = tuple[int, str, bool]
"""(channel type, channel id, command)."""


class GatewayLink:
    """Deliveries to one life of a gateway. `settled` gathers partitions with fewer to wait for."""

    def __init__(
        self, name: NodeName, settled: dict[PartitionId, None], counts: LinkCounts
    ) -> None:
        self.name = name
        self.linked = False
        self._counts = counts
        self._settled = settled
        self._frame = 0
        self._used = 0
        self._refused: int | None = None
        """Frame from which on the bus took nothing, until `retry`."""
        self._unmoved = 0
        """Oldest frame in flight at the last `nudge`."""
        self._ready: list[Message] = []
        self._items: list[Delivery] = []
        self._items_size = 0
        self._marks: list[TurnMark] = []
        self._last_mark: TurnMark | None = None
        self._in_flight: deque[_InFlight] = deque()
        self._dirty: OrderedDict[_DirtyKey, list[_DirtyRange]] = OrderedDict()
        self._dirty_ranges = 0
        self._held_back: dict[tuple[str, int | None], UserNotice] = {}

    # Sending -------------------------------------------------------------------------------------

    def has_credit(self) -> bool:
        """Whether a delivery would go out now, rather than become a dirty mark."""
        return (
            self.linked
            and not self._dirty
            and self._refused is None
            and self._used < GATEWAY_CREDIT_BYTES
        )

    def push(self, delivery: Delivery, mark: TurnMark | None) -> bool:
        """Put a delivery into the open frame; False: no credit, see `leave_out`."""
        size = (
            len(delivery.operation)
            + SESSION_BYTES * len(delivery.sessions)
            + DELIVERY_OVERHEAD_BYTES
        )
        if (
            self._dirty
            or not self.linked
            or self._refused is not None
            or self._used + size > GATEWAY_CREDIT_BYTES
        ):
            return False
        self._used += size
        self._items.append(delivery)
        self._items_size += size
        if mark is not None and mark is not self._last_mark:
            mark.waiting += 1
            self._marks.append(mark)
            self._last_mark = mark
        if self._items_size >= BATCH_BYTES_MAX or len(self._items) >= BATCH_ITEMS_MAX:
            self._cut()
        return True

    def change_plan(self, plan: Plan) -> None:
        """A plan goes between what was pushed before and after it."""
        self._cut()
        self._ready.append(plan)

    def change_user(self, notice: UserNotice, mark: TurnMark | None) -> None:
        """Bans are never left out: they wait for the link if it is down."""
        if not self.linked:
            self._held_back[notice.uid, notice.kick_flag] = notice
            return
        self._cut()
        self._frame += 1
        changed = UserChanged(
            self._frame,
            notice.uid,
            notice.ban,
            notice.send_ban,
            notice.kick_flag,
            notice.kick_reason,
            notice.version,
        )
        marks = []
        if mark is not None:
            mark.waiting += 1
            marks.append(mark)
        self._in_flight.append(_InFlight(self._frame, 0, marks, changed))
        self._ready.append(changed)

    def take_ready(self) -> list[Message]:
        """End of the turn: what goes to this gateway, in order."""
        if self._items:
            self._cut()
        ready = self._ready
        if ready:
            self._ready = []
        return ready

    def _cut(self) -> None:
        """Close the open frame. The next one lists its turn marks anew."""
        if not self._items:
            return
        self._frame += 1
        message = Deliver(self._frame, self._items)
        self._in_flight.append(_InFlight(self._frame, self._items_size, self._marks, message))
        self._ready.append(message)
        self._items = []
        self._items_size = 0
        self._marks = []
        self._last_mark = None

    # Acknowledgements ----------------------------------------------------------------------------

    def acknowledge(self, frame: int) -> None:
        """The gateway took over everything up to `frame`."""
        in_flight = self._in_flight
        while in_flight and in_flight[0].frame <= frame:
            sent = in_flight.popleft()
            self._used -= sent.size
            self._release(sent.marks)
        self._send_dirty()

    def _release(self, marks: list[TurnMark]) -> None:
        for mark in marks:
            mark.waiting -= 1
            self._settled[mark.partition] = None

    def repeat_from(self, frame: int, renew: Renew) -> None:
        """Send the unacknowledged frames from `frame` again; `renew` rewrites their deliveries."""
        self._cut()
        for place, sent in enumerate(self._in_flight):
            if sent.frame >= frame:
                self._repeat(place, renew)

    def _repeat(self, place: int, renew: Renew) -> None:
        sent = self._in_flight[place]
        message = sent.message
        if isinstance(message, Deliver):
            message = Deliver(message.frame, [renew(item) for item in message.items])
            self._in_flight[place] = sent._replace(message=message)
        self._ready.append(message)

    # What was left out ---------------------------------------------------------------------------

    def leave_out(
        self, delivery: Delivery, sessions: Iterable[int], revision: Revision | None = None
    ) -> None:
        """Remember that `sessions` have to pull this message. Transient ones are dropped.

        The same `revision` as before means the same sessions: those of a plan are many to compare.
        """
        sequence = delivery.sequence
        if sequence == 0:
            return
        self._counts.dirty_marked += 1
        key = (
            delivery.channel_type,
            delivery.channel_id.removesuffix(COMMAND_SUFFIX),
            _is_command(delivery),
        )
        ranges = self._dirty.get(key)
        newest = ranges[-1] if ranges else None
        if newest is not None and revision is not None and newest.revision == revision:
            newest.last = sequence
            return
        found = _DirtyRange(sequence, sequence, sessions, revision)
        if (
            newest is not None
            and newest.last < sequence
            and newest.sessions.keys() == found.sessions.keys()
        ):
            newest.last = sequence
            newest.revision = revision
            return
        self._add_range(key, found)

    def _add_range(self, key: _DirtyKey, found: _DirtyRange) -> None:
        """At the bound the oldest channel's marks are dropped: its sessions learn by sync."""
        if self._dirty_ranges >= DIRTY_CHANNELS_MAX:
            _, dropped = self._dirty.popitem(last=False)
            self._dirty_ranges -= len(dropped)
            self._counts.dirty_dropped += len(dropped)
        self._dirty.setdefault(key, []).append(found)
        self._dirty_ranges += 1

    def _send_dirty(self) -> None:
        """Name what was left out, as far as half of the credit is free."""
        while (
            self._dirty
            and self.linked
            and self._refused is None
            and self._used <= GATEWAY_CREDIT_BYTES // 2
        ):
            channels: list[DirtyChannel] = []
            size = 0
            while self._dirty and len(channels) < BATCH_ITEMS_MAX and size < BATCH_BYTES_MAX:
                key, ranges = self._dirty.popitem(last=False)
                for one in ranges:
                    self._dirty_ranges -= 1
                    channels.append(DirtyChannel(*key, one.first, one.last, list(one.sessions)))
                    size += DELIVERY_OVERHEAD_BYTES + SESSION_BYTES * len(one.sessions)
            self._cut()
            self._frame += 1
            message = Dirty(self._frame, channels)
            self._used += size
            self._in_flight.append(_InFlight(self._frame, size, [], message))
            self._ready.append(message)

    # The link ------------------------------------------------------------------------------------

    def go_up(self) -> None:
        """The link stands: frames are numbered from 1, and what waited goes out."""
        self.linked = True
        self._frame = 0
        self._unmoved = 0
        self._send_waiting()

    def go_down(self, sessions_of: SessionsOf) -> None:
        """The link is gone: what was in flight becomes marks, for the case that it comes back."""
        self._cut()
        self.linked = False
        self._ready = []
        in_flight, self._in_flight = self._in_flight, deque()
        self._used = 0
        self._refused = None
        for sent in in_flight:
            self._put_back(sent, sessions_of)

    def refused(self, message: Message) -> bool:
        """The bus did not take this frame: nothing is added until it does. False: not in flight."""
        for sent in self._in_flight:
            if sent.message is message:
                self._counts.refused += 1
                self._refused = min(sent.frame, self._refused or sent.frame)
                return True
        return False

    def nudge(self, renew: Renew) -> None:
        """Repeat the oldest frame if it has not moved since the last call: it may be lost.

        The gateway acknowledges it anew, or asks for those behind it.
        """
        oldest = self._in_flight[0].frame if self._in_flight else 0
        if oldest and oldest == self._unmoved and self._refused is None:
            self._repeat(0, renew)
        self._unmoved = oldest

    def _put_back(self, sent: _InFlight, sessions_of: SessionsOf) -> None:
        message = sent.message
        if isinstance(message, Deliver):
            for item in message.items:
                self.leave_out(item, sessions_of(item))
        elif isinstance(message, Dirty):
            for channel in message.channels:
                key = (channel.channel_type, channel.channel_id, channel.command)
                self._add_range(
                    key, _DirtyRange(channel.first, channel.last, channel.sessions, None)
                )
        else:
            notice = UserNotice(
                message.uid,
                message.ban,
                message.send_ban,
                message.kick_flag,
                message.kick_reason,
                message.version,
            )
            self._held_back[notice.uid, notice.kick_flag] = notice
        self._release(sent.marks)

    def retry(self, renew: Renew) -> None:
        """Send what was refused by the bus, and what waited behind it."""
        refused, self._refused = self._refused, None
        if refused is not None:
            self.repeat_from(refused, renew)
        self._send_waiting()

    def _send_waiting(self) -> None:
        self._send_dirty()
        held_back, self._held_back = self._held_back, {}
        for notice in held_back.values():
            self.change_user(notice, None)

    def abandon(self) -> None:
        """That life of the gateway is over: nobody waits for it any more."""
        self._cut()
        self.linked = False
        for sent in self._in_flight:
            self._release(sent.marks)
        self._in_flight.clear()
        self._ready = []


def _is_command(delivery: Delivery) -> bool:
    """Whether its sequence counts in the command channel. Decoded only when a message waits."""
    try:
        return bool(decode_send(delivery.operation).flags & MessageFlag.SYNC_ONCE)
    except WireError:
        return False
