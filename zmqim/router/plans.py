"""The fan-out lists of large channels: per gateway the sessions of members (docs/adr/0002).

A list is computed once, from the members and who is online, and kept up by what changes: a session
comes or goes, a member is added or removed. The gateway learns the list as a `Plan` when the next
message needs it: whole the first time, afterwards as the difference to what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zmqim.bus.messages import Plan
from zmqim.ids import Channel, NodeName
from zmqim.router.presence import Place

Places = dict[str, tuple[Place, ...]]


class PlanList:
    """One gateway's part of a large channel's audience."""

    __slots__ = (
        "_added",
        "_plan",
        "_removed",
        "_reset",
        "revision",
        "sessions",
        "version",
        "whole_version",
    )

    def __init__(self, plan: int) -> None:
        self.sessions: dict[int, None] = {}
        self.version = 0
        """What the gateway holds, once the plans sent so far have reached it."""
        self.whole_version = 0
        """The version at which the list was last sent whole."""
        self.revision = 0
        """Grows with every change of `sessions`."""
        self._plan = plan
        self._reset = True
        self._added: dict[int, None] = {}
        self._removed: dict[int, None] = {}

    def add(self, session: int) -> None:
        """A session of a member."""
        if session not in self.sessions:
            self.sessions[session] = None
            self.revision += 1
            if self._removed.pop(session, self) is self:
                self._added[session] = None

    def remove(self, session: int) -> None:
        """A session that ended, or whose user is no longer a member."""
        if session in self.sessions:
            del self.sessions[session]
            self.revision += 1
            if self._added.pop(session, self) is self:
                self._removed[session] = None

    def start_anew(self) -> None:
        """The gateway does not hold the list (any more)."""
        self._reset = True

    def change(self) -> Plan | None:
        """What brings the gateway up to `sessions`; from here on it counts as sent."""
        if not (self._reset or self._added or self._removed):
            return None
        self.version += 1
        if self._reset:
            self.whole_version = self.version
            plan = Plan(self._plan, self.version, True, sorted(self.sessions), [])
        else:
            added, removed = sorted(self._added), sorted(self._removed)
            plan = Plan(self._plan, self.version, False, added, removed)
        self._reset = False
        self._added = {}
        self._removed = {}
        return plan


class LargeChannel:
    """A channel that is fanned out by plan: its members and the list of every gateway."""

    __slots__ = ("lists", "members", "number")

    def __init__(self, number: int, members: Mapping[str, None]) -> None:
        self.number = number
        self.members = members
        self.lists: dict[NodeName, PlanList] = {}

    def list_of(self, gateway: NodeName) -> PlanList:
        """The gateway's list, begun empty."""
        found = self.lists.get(gateway)
        if found is None:
            found = self.lists[gateway] = PlanList(self.number)
        return found


class Plans:
    """All large channels that this router fans out. Watches presence for changes.

    Plans are numbered upwards from `first_number`, which each life draws anew: gateways may
    still hold those of the life before.
    """

    def __init__(self, first_number: int) -> None:
        self._channels: dict[Channel, LargeChannel] = {}
        self._by_number: dict[int, tuple[Channel, LargeChannel]] = {}
        self._last_number = first_number

    def __len__(self) -> int:
        return len(self._channels)

    def get(self, channel: Channel) -> LargeChannel | None:
        """The channel, if it is fanned out by plan."""
        return self._channels.get(channel)

    def by_number(self, number: int) -> LargeChannel | None:
        """The large channel whose plan has that number."""
        found = self._by_number.get(number)
        return found[1] if found is not None else None

    def build(self, channel: Channel, members: Mapping[str, None], places: Places) -> LargeChannel:
        """Compute the lists from scratch: one pass over the members."""
        self._last_number += 1
        large = LargeChannel(self._last_number, members)
        self._channels[channel] = large
        self._by_number[large.number] = (channel, large)
        for uid in members:
            for gateway, session in places.get(uid, ()):
                large.list_of(gateway).add(session)
        return large

    def drop(self, channel: Channel) -> dict[NodeName, Plan]:
        """The channel is no longer fanned out by plan: what empties the lists at gateways."""
        large = self._channels.pop(channel, None)
        if large is None:
            return {}
        del self._by_number[large.number]
        return {
            gateway: Plan(large.number, one.version + 1, True, [], [])
            for gateway, one in large.lists.items()
            if one.version
        }

    def members_changed(
        self, channel: Channel, added: Iterable[str], removed: Iterable[str], places: Places
    ) -> None:
        """Members came and went; `LargeChannel.members` is shared and already changed."""
        large = self._channels.get(channel)
        if large is None:
            return
        for uid in removed:
            for gateway, session in places.get(uid, ()):
                large.list_of(gateway).remove(session)
        for uid in added:
            for gateway, session in places.get(uid, ()):
                large.list_of(gateway).add(session)

    # Presence tells ------------------------------------------------------------------------------

    def session_added(self, uid: str, gateway: NodeName, session: int) -> None:
        """One set probe per large channel."""
        for large in self._channels.values():
            if uid in large.members:
                large.list_of(gateway).add(session)

    def session_removed(self, gateway: NodeName, session: int) -> None:
        """A session ended."""
        for large in self._channels.values():
            found = large.lists.get(gateway)
            if found is not None:
                found.remove(session)

    def gateway_removed(self, gateway: NodeName) -> None:
        """All sessions of the gateway are gone; it may still hold its lists."""
        for large in self._channels.values():
            found = large.lists.get(gateway)
            if found is not None:
                for session in list(found.sessions):
                    found.remove(session)

    def link_lost(self, gateway: NodeName) -> None:
        """What the gateway holds is unknown until its lists are sent anew."""
        for large in self._channels.values():
            found = large.lists.get(gateway)
            if found is not None:
                found.start_anew()
