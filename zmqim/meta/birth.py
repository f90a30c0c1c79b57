"""How a cluster is born, and how a storage learns that it already was (docs/REPLICATION.md 2).

A storage with an empty folder asks every storage of the topology. Only when all answer "empty"
does the first by name write the birth record; it offers it to the others, and each writes it,
synced, before it says that it has it. Whoever holds a record may pass it on to a storage that the
record names. The groups run once everyone is known to have it: that is noted in the record on disk
(`complete`), so that a later start waits for nobody. Who hears of a complete birth that does not
name its folder joins instead.

Why there is never a second birth: the founder needs "empty" from every other storage, under links
of its present life, and a link drops what was sent in earlier lives of either end. Where disks are
lost in the middle of a birth, two records may come to exist; but neither is then ever complete,
because each one needs the storages that have the other, and the sentence says what to do.

A storage whose disk was lost before the birth was complete is replaced like any other: it counts as
having the record if every group keeps a majority without it.

`turn` gives effects to be performed in order; a write is durable before any later effect.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from zmqim.bus.effects import Send
from zmqim.bus.messages import Message
from zmqim.bus.replication import BirthOffer, BirthStatus
from zmqim.errors import WireError
from zmqim.ids import NodeName, NodeUuid
from zmqim.limits import BIRTH_REPEAT_MS
from zmqim.meta.record import BirthRecord, born
from zmqim.ring.document import RingDocument, StorageLike

SET_ASIDE = b"-"
"""What a storage tells instead of a digest when its folder is empty only because damaged data was
set aside: it joins, and never helps to give birth to a cluster that may have had data."""


class Phase(Enum):
    """How far the storage is."""

    WAITING = "waiting"
    """No group may run; `sentence` says for whom it waits."""
    READY = "ready"
    """The cluster is born and this folder was there: its replicas of the record may run."""
    JOINING = "joining"
    """The cluster was born without this folder: it registers under its name and is given replicas
    by the groups' leaders; it never makes one from the record."""


class WriteBirth(NamedTuple):
    """Write the record, durably; the folder has none yet."""

    record: BirthRecord


class CompleteBirth(NamedTuple):
    """Note durably in the record that it is complete."""

    record: BirthRecord


Effect = Send | WriteBirth | CompleteBirth


class _Peer:
    """A linked storage, as far as it told us in this link. `told`: None is nothing yet."""

    __slots__ = ("complete", "node_uuid", "told")

    def __init__(self, node_uuid: bytes) -> None:
        self.node_uuid = node_uuid
        self.told: bytes | None = None
        self.complete = False


class BirthCore:
    """The birth as one storage sees it."""

    def __init__(
        self,
        name: NodeName,
        node_uuid: NodeUuid,
        cluster_id: bytes,
        ring: RingDocument,
        storages: Iterable[StorageLike],
        record: BirthRecord | None,
        *,
        was_set_aside: bool = False,
    ) -> None:
        """`record` is what the folder holds; `was_set_aside`: it held more once."""
        self._empty = SET_ASIDE if was_set_aside else b""
        self.record = record
        self.refused = 0
        """Messages that were not what the protocol says."""
        self._name = name
        self._node_uuid = node_uuid
        self._cluster_id = cluster_id
        self._ring = ring
        self._storages = tuple(storages)
        self._others = tuple(sorted(one.name for one in self._storages if one.name != name))
        self._peers: dict[NodeName, _Peer] = {}
        self._effects: list[Effect] = []
        self._ask_at = 0
        self._changed = True
        """Something came since the last turn."""
        self._foreign: set[NodeName] = set()
        """Who offered a record that is not this topology's."""

    # ---- events ----------------------------------------------------------------------------------

    def linked(self, name: NodeName, node_uuid: NodeUuid) -> None:
        """A link to the storage `name` stands; what was known of it in earlier links is void."""
        if name in self._others:
            self._peers[name] = _Peer(node_uuid)
            self._foreign.discard(name)
            self._tell(name, asks=True)
            self._changed = True

    def unlinked(self, name: NodeName) -> None:
        """The link is gone."""
        self._peers.pop(name, None)

    def receive(self, source: NodeName, message: Message) -> None:
        """A message that came over the present link to `source`."""
        peer = self._peers.get(source)
        if peer is None:
            return
        self._changed = True
        match message:
            case BirthStatus(born=told, complete=complete, asks=asks):
                self._told(peer, told, complete)
                if asks:
                    self._tell(source, asks=False)
                self._offer(source, peer)
            case BirthOffer(record=body):
                try:
                    record = BirthRecord.decode(body)
                except WireError:
                    self.refused += 1
                    return
                self._told(peer, record.digest, record.complete)
                self._offered(source, record)
            case _:
                self.refused += 1

    # ---- what the shell asks ---------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """How far this storage is."""
        record = self.record
        if record is None or not record.complete:
            return Phase.WAITING
        return Phase.READY if record.names(self._name, self._node_uuid) else Phase.JOINING

    def next_wake(self) -> int | None:
        """When `turn` must be called at the latest; None: only after an event."""
        if self._effects or self._changed:
            return 0
        return self._ask_at if self.phase is Phase.WAITING and self._others else None

    def turn(self, now: int) -> list[Effect]:
        """What is to be done, in order."""
        self._changed = False
        if self.record is None:
            self._found()
        if self.record is not None and not self.record.complete:
            self._look_for_all(self.record)
        if self.phase is Phase.WAITING and now >= self._ask_at:
            self._ask_at = now + BIRTH_REPEAT_MS
            for name in self._peers:
                self._tell(name, asks=True)
        effects, self._effects = self._effects, []
        return effects

    @property
    def sentence(self) -> str:
        """For whom or what it waits, in words; empty if for nobody."""
        if self.phase is not Phase.WAITING:
            return ""
        if self._foreign:
            return (
                f"{_listed(self._foreign)} holds the birth record of another topology;"
                " start it on the folder that belongs to this cluster"
            )
        if self.record is None:
            return self._sentence_of_empty()
        return self._sentence_of_unfinished(self.record)

    def _sentence_of_empty(self) -> str:
        silent = [name for name in self._others if self._told_by(name) is None]
        if silent:
            return (
                f"waits for {_listed(silent)}: a new cluster is born only when every storage is"
                " there, and an emptied folder joins only when it has heard of the others"
            )
        aside = [name for name in self._others if self._told_by(name) == SET_ASIDE]
        if self._empty:
            aside.append(self._name)
        holders = [name for name in self._others if self._told_by(name) not in (b"", SET_ASIDE)]
        if aside and not holders:
            return (
                f"{_listed(aside)} set damaged data aside and nobody else holds the cluster's: it"
                " is not born anew by itself. Put a good copy back, or, to begin with nothing,"
                " remove the folder quarantine there"
            )
        if holders:
            return f"waits for {_listed(holders)} to finish the birth of the cluster"
        return f"waits for {self._founder} to write the birth record"

    def _sentence_of_unfinished(self, record: BirthRecord) -> str:
        missing, lost = self._missing_and_lost(record)
        other = [name for name in missing if self._told_by(name)]
        if any(self._peers[name].complete for name in other):
            return (
                f"{_listed(other)} belongs to a later birth of the cluster than this folder."
                " Nothing was ever stored here: empty this folder and it joins"
            )
        if other:
            return (
                f"{_listed(other)} holds another birth of the cluster than this folder, and neither"
                " was finished. Nothing was ever stored there: empty the folders of all storages"
                " and start again"
            )
        if missing:
            return f"waits for {_listed(missing)} to write the birth record"
        return (
            f"{_listed(lost)} lost the folder before the birth was complete, and too few are left."
            " Nothing was ever stored in the others: empty the folders of all storages, start again"
        )

    # ---- what happens ----------------------------------------------------------------------------

    @property
    def _founder(self) -> NodeName:
        return min(self._name, *self._others) if self._others else self._name

    def _told_by(self, name: NodeName) -> bytes | None:
        peer = self._peers.get(name)
        return None if peer is None else peer.told

    def _told(self, peer: _Peer, told: bytes, complete: bool) -> None:
        """A record is never unwritten: an empty status behind one is late."""
        if told or peer.told is None:
            peer.told = told
            peer.complete = peer.complete or complete

    def _found(self) -> None:
        """Write the birth record, if that is our part and everyone is empty."""
        if self._founder != self._name or self._empty:
            return
        if any(self._told_by(name) != b"" for name in self._others):
            return
        uuids: dict[str, bytes] = {name: peer.node_uuid for name, peer in self._peers.items()}
        uuids[self._name] = self._node_uuid
        record = born(self._cluster_id, self._ring, self._storages, uuids)
        self._write(record.with_complete(not self._others))

    def _write(self, record: BirthRecord) -> None:
        """Write, then tell everyone; whoever is empty is offered it."""
        self.record = record
        self._effects.append(WriteBirth(record))
        self._tell_all()

    def _tell_all(self) -> None:
        for name, peer in self._peers.items():
            self._tell(name, asks=False)
            self._offer(name, peer)

    def _tell(self, name: NodeName, *, asks: bool) -> None:
        record = self.record
        status = (
            BirthStatus(self._empty, False, asks)
            if record is None
            else BirthStatus(record.digest, record.complete, asks)
        )
        self._effects.append(Send(name, status))

    def _offer(self, name: NodeName, peer: _Peer) -> None:
        record = self.record
        if record is None or peer.told not in (b"", SET_ASIDE):
            return
        if record.complete or record.names(name, peer.node_uuid):
            self._effects.append(Send(name, BirthOffer(record.encode())))

    def _offered(self, source: NodeName, record: BirthRecord) -> None:
        if record.cluster_id != self._cluster_id:
            self._foreign.add(source)
        elif self.record is not None:
            return
        elif record.names(self._name, self._node_uuid):
            expected = born(self._cluster_id, self._ring, self._storages, record.node_uuids)
            if expected.digest == record.digest:
                self._write(record)
            else:
                self._foreign.add(source)
        elif record.complete:
            self._write(record)

    def _look_for_all(self, record: BirthRecord) -> None:
        """Is everyone known to have the record?"""
        digest = record.digest
        if not any(peer.complete and peer.told == digest for peer in self._peers.values()):
            missing, lost = self._missing_and_lost(record)
            if missing or not _survives(record, lost):
                return
        self.record = record.with_complete(True)
        self._effects.append(CompleteBirth(self.record))
        self._tell_all()

    def _missing_and_lost(self, record: BirthRecord) -> tuple[list[NodeName], list[NodeName]]:
        """Who is not known to have the record, and whose disk of that time is gone."""
        missing: list[NodeName] = []
        lost: list[NodeName] = []
        for name in self._others:
            peer = self._peers.get(name)
            if peer is None or peer.told is None:
                missing.append(name)
            elif not record.names(name, peer.node_uuid):
                (lost if peer.told in (b"", SET_ASIDE) else missing).append(name)
            elif peer.told != record.digest:
                missing.append(name)
        return missing, lost


def _survives(record: BirthRecord, lost: Iterable[str]) -> bool:
    """Does every group keep a majority of its voters?"""
    gone = set(lost)
    for genesis in record.genesis:
        voters = genesis.config.voters
        kept = sum(place.name not in gone for place in voters)
        if 2 * kept <= len(voters):
            return False
    return True


def _listed(names: Iterable[str]) -> str:
    *first, last = sorted(names)
    return f"{', '.join(first)} and {last}" if first else last
