"""Who is online: all sessions of all gateways, as this router knows them (docs/adr/0001).

The truth is the gateway that holds the connection. It announces every session to every router, and
every PRESENCE_DIGEST_MS sends a digest per partition of uids; where that differs, the router asks
for the whole shard. So whatever is lost, doubled or reordered is right again after one period.

A login is numbered by the router that admits it. A later login of the same uid and device flag ends
the earlier sessions of its own device id, and as a master those of every other, as
WuKongIM does. Two routers that did not agree on the shard's owner may both have admitted:
the digests then show the sessions to everyone, and a session that is still displaced after a whole
digest period is ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from zmqim.bus.messages import PresenceEntry, ShardDigest
from zmqim.bus.presence import entry_hash
from zmqim.chat.codes import MASTER, Reason
from zmqim.ids import Milliseconds, NodeName
from zmqim.limits import LINK_SILENCE_MS_MAX, PRESENCE_DIGEST_MS, PRESENCE_TTL_MS

KICK_TEXT: Final = "signed in on another device"
CONFLICT_AGE_MS: Final = PRESENCE_DIGEST_MS + 1_000
"""A displaced session older than this is no leftover that a digest would have cleared."""
FRESH_MS: Final = LINK_SILENCE_MS_MAX
"""A shard may have been sent before the gateway learned of a login: no frame is older than this."""

Place = tuple[NodeName, int]
"""(gateway, session)."""
Device = tuple[str, int]
"""(uid, device flag)."""


class Displaced(NamedTuple):
    """A session that a later login ends; `reason` 0: closed without a word."""

    gateway: NodeName
    session: int
    reason: int


class PresenceObserver(Protocol):
    """Who wants to know of sessions that come and go (zmqim.router.plans)."""

    def session_added(self, uid: str, gateway: NodeName, session: int) -> None: ...
    def session_removed(self, gateway: NodeName, session: int) -> None: ...
    def gateway_removed(self, gateway: NodeName) -> None: ...


class _Shard:
    """The sessions of one gateway whose uids fall into one partition."""

    __slots__ = ("digest", "sessions")

    def __init__(self) -> None:
        self.sessions: set[int] = set()
        self.digest = 0


class _Gateway:
    """What is known of one gateway."""

    __slots__ = ("awaited", "entries", "fresh", "heard", "shards", "synced")

    def __init__(self, now: Milliseconds) -> None:
        self.entries: dict[int, PresenceEntry] = {}
        self.shards: dict[int, _Shard] = {}
        self.fresh: dict[int, Milliseconds] = {}
        self.heard = now
        self.synced = False
        self.awaited: set[int] = set()


class Presence:
    """The table of everyone online. `partition_of_uid` says which shard a uid belongs to."""

    def __init__(self, partition_of_uid: Callable[[str], int], observer: PresenceObserver) -> None:
        self._partition_of_uid = partition_of_uid
        self._observer = observer
        self._gateways: dict[NodeName, _Gateway] = {}
        self._conflicts: dict[Device, Milliseconds] = {}
        self.places: dict[str, tuple[Place, ...]] = {}
        """uid → where its sessions are. Read by the fan-out; changed only here."""

    # What is known -------------------------------------------------------------------------------

    def session_count(self) -> int:
        """Sessions of all gateways."""
        return sum(len(gateway.entries) for gateway in self._gateways.values())

    def entry(self, place: Place) -> PresenceEntry:
        """The entry of a session that `places` names."""
        return self._gateways[place[0]].entries[place[1]]

    def devices_of(
        self, uids: Sequence[str], is_linked: Callable[[NodeName], bool]
    ) -> list[Device]:
        """(uid, device flag) of those of `uids` that are online, each once."""
        devices: dict[Device, None] = {}
        for uid in uids:
            for place in self.places.get(uid, ()):
                if is_linked(place[0]):
                    devices[uid, self.entry(place).device_flag] = None
        return list(devices)

    def is_settled(self, gateway: NodeName) -> bool:
        """Whether that gateway told all its sessions since its link stands."""
        known = self._gateways.get(gateway)
        return known is not None and known.synced

    # Gateways ------------------------------------------------------------------------------------

    def expect(self, now: Milliseconds, gateway: NodeName) -> None:
        """A gateway is about to tell all its sessions: it has when a digest agrees."""
        known = self._known(now, gateway)
        known.heard = now
        known.synced = False
        known.awaited.clear()

    def forget(self, gateway: NodeName) -> None:
        """That gateway is dead: its sessions are gone at once."""
        if gateway in self._gateways:
            self._drop_entries(gateway)
            del self._gateways[gateway]

    def _drop_entries(self, name: NodeName) -> None:
        gateway = self._gateways[name]
        self._observer.gateway_removed(name)
        for entry in gateway.entries.values():
            self._drop_place(entry.uid, (name, entry.session))
        gateway.entries.clear()
        gateway.shards.clear()
        gateway.fresh.clear()
        gateway.synced = False

    # What gateways say ---------------------------------------------------------------------------

    def login(
        self, now: Milliseconds, gateway: NodeName, entry: PresenceEntry
    ) -> tuple[int, list[Displaced]]:
        """Admit a session: its login number, and whom it displaces. Repeats change nothing.

        Displaced sessions stay until their gateway withdraws them, and are named again by `due`
        if it does not.
        """
        known = self._known(now, gateway)
        same = known.entries.get(entry.session)
        if same is not None and _is_repeat(same, entry):
            return same.login_no, []
        numbers = [other.login_no for _, other in self._logins((entry.uid, entry.device_flag))]
        login_no = max(numbers, default=0) + 1
        self._put(
            gateway,
            PresenceEntry(
                entry.session,
                entry.uid,
                entry.device_flag,
                entry.device_level,
                entry.device_id,
                login_no,
            ),
        )
        known.fresh[entry.session] = now
        device = (entry.uid, entry.device_flag)
        self._suspect(now, device)
        return login_no, self._displaced(device)

    def announce(
        self, now: Milliseconds, gateway: NodeName, entries: Sequence[PresenceEntry]
    ) -> None:
        """Sessions that another router admitted."""
        self._known(now, gateway)
        for entry in entries:
            self._put(gateway, entry)
            self._suspect(now, (entry.uid, entry.device_flag))

    def withdraw(self, gateway: NodeName, sessions: Sequence[int]) -> None:
        """Sessions that ended."""
        if gateway in self._gateways:
            for session in sessions:
                self._remove(gateway, session)

    def differing(
        self, now: Milliseconds, gateway: NodeName, digests: Sequence[ShardDigest]
    ) -> list[int]:
        """Take in a gateway's digests: the partitions whose shards it should send whole."""
        known = self._known(now, gateway)
        known.heard = now
        told = {digest.partition: (digest.count, digest.digest) for digest in digests}
        held = {
            partition: (len(shard.sessions), shard.digest)
            for partition, shard in known.shards.items()
        }
        differing = sorted(
            partition
            for partition in told.keys() | held.keys()
            if told.get(partition, (0, 0)) != held.get(partition, (0, 0))
        )
        if differing:
            known.awaited.update(differing)
        else:
            known.awaited.clear()
            known.synced = True
        return differing

    def replace_shard(
        self,
        now: Milliseconds,
        gateway: NodeName,
        partition: int,
        entries: Sequence[PresenceEntry],
    ) -> None:
        """The whole truth of one gateway for one partition. Sessions admitted just now stay."""
        known = self._known(now, gateway)
        told = {entry.session for entry in entries}
        shard = known.shards.get(partition)
        if shard is not None:
            for session in sorted(shard.sessions - told):
                if now - known.fresh.get(session, now - FRESH_MS) >= FRESH_MS:
                    self._remove(gateway, session)
        self.announce(now, gateway, entries)
        if known.awaited:
            known.awaited.discard(partition)
            known.synced = not known.awaited

    # What time brings ----------------------------------------------------------------------------

    def due(self, now: Milliseconds) -> list[Displaced]:
        """Drop what nobody vouched for, and name sessions that stayed displaced for too long."""
        for name, gateway in self._gateways.items():
            if now - gateway.heard >= PRESENCE_TTL_MS:
                gateway.heard = now
                self._drop_entries(name)
            for session, admitted in list(gateway.fresh.items()):
                if now - admitted < FRESH_MS:
                    break
                del gateway.fresh[session]
        displaced: list[Displaced] = []
        for device, since in list(self._conflicts.items()):
            if now - since < CONFLICT_AGE_MS:
                break
            del self._conflicts[device]
            found = self._displaced(device)
            if found:
                self._conflicts[device] = now
                displaced += found
        return displaced

    def next_due(self) -> Milliseconds | None:
        """When `due` has something to do at the latest."""
        times = [Milliseconds(one.heard + PRESENCE_TTL_MS) for one in self._gateways.values()]
        for since in self._conflicts.values():
            times.append(Milliseconds(since + CONFLICT_AGE_MS))
            break
        return min(times, default=None)

    # Entries -------------------------------------------------------------------------------------

    def _known(self, now: Milliseconds, gateway: NodeName) -> _Gateway:
        known = self._gateways.get(gateway)
        if known is None:
            known = self._gateways[gateway] = _Gateway(now)
        return known

    def _put(self, name: NodeName, entry: PresenceEntry) -> None:
        gateway = self._gateways[name]
        held = gateway.entries.get(entry.session)
        if held is not None:
            if held == entry:
                return
            self._remove(name, entry.session)
        gateway.entries[entry.session] = entry
        shard = gateway.shards.setdefault(self._partition_of_uid(entry.uid), _Shard())
        shard.sessions.add(entry.session)
        shard.digest ^= entry_hash(entry)
        self.places[entry.uid] = (*self.places.get(entry.uid, ()), (name, entry.session))
        self._observer.session_added(entry.uid, name, entry.session)

    def _remove(self, name: NodeName, session: int) -> None:
        gateway = self._gateways[name]
        entry = gateway.entries.pop(session, None)
        if entry is None:
            return
        gateway.fresh.pop(session, None)
        partition = self._partition_of_uid(entry.uid)
        shard = gateway.shards[partition]
        shard.sessions.remove(session)
        shard.digest ^= entry_hash(entry)
        if not shard.sessions:
            del gateway.shards[partition]
        self._drop_place(entry.uid, (name, session))
        self._observer.session_removed(name, session)

    def _drop_place(self, uid: str, place: Place) -> None:
        left = tuple(other for other in self.places[uid] if other != place)
        if left:
            self.places[uid] = left
        else:
            del self.places[uid]

    # Displaced logins ----------------------------------------------------------------------------

    def _logins(self, device: Device) -> list[tuple[Place, PresenceEntry]]:
        uid, flag = device
        logins = [(place, self.entry(place)) for place in self.places.get(uid, ())]
        return [login for login in logins if login[1].device_flag == flag]

    def _displaced(self, device: Device) -> list[Displaced]:
        logins = self._logins(device)
        logins.sort(key=lambda login: (login[1].login_no, login[0]), reverse=True)
        later_devices: set[str] = set()
        later_masters: set[str] = set()
        displaced: list[Displaced] = []
        for (gateway, session), entry in logins:
            if later_masters or entry.device_id in later_devices:
                returned = later_masters <= {entry.device_id}
                reason = 0 if returned else int(Reason.KICKED)
                displaced.append(Displaced(gateway, session, reason))
            later_devices.add(entry.device_id)
            if entry.device_level == MASTER:
                later_masters.add(entry.device_id)
        return displaced

    def _suspect(self, now: Milliseconds, device: Device) -> None:
        """Look again later whether the logins of this device still contradict each other."""
        if (
            len(self.places[device[0]]) > 1
            and device not in self._conflicts
            and self._displaced(device)
        ):
            self._conflicts[device] = now


def _is_repeat(held: PresenceEntry, entry: PresenceEntry) -> bool:
    return (
        held.uid == entry.uid
        and held.device_flag == entry.device_flag
        and held.device_level == entry.device_level
        and held.device_id == entry.device_id
    )
