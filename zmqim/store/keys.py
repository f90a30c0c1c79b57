"""Keys and bodies of the journal's rows.

| key | body |
|---|---|
| ``E`` partition u16 | first u64, last u64, base term u64, base chain u64: what runs do not say |
| ``H`` partition u16 | hard state, as the raft core encodes it |
| ``L`` partition u16, index u64 | a run: entries from that index on, each behind its length, u32 |
| ``P`` node uuid | highest incarnation seen, u64 |
| ``R`` partition u16 | replica meta |
| ``READY`` | number of the generation, u64 |

All numbers are big-endian, so that runs sort by partition and index. What a turn appends to a
partition is one run, as a row costs far more than the bytes in it. The memory store keeps a row for
each entry instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from struct import error as StructError
from typing import Final

from zmqim.limits import KB
from zmqim.store.interface import Extent, JournalBatch, LoadedPartition, Rows

ENTRY_TAG: Final = b"L"
RUN_BYTES_MAX = 64 * KB
"""A longer run becomes several, so that reading a part of it stays cheap. (Tests set it.)"""
READY_KEY: Final = b"READY"

_ENTRY_KEY: Final = Struct(">cHQ")
_entry_key: Final = _ENTRY_KEY.pack
_STATE_KEY: Final = Struct(">cH")
_EXTENT: Final = Struct(">QQQQ")
_NUMBER: Final = Struct(">Q")
_LENGTH: Final = Struct(">I")
_length_at: Final = _LENGTH.unpack_from


def entry_key(partition: int, index: int) -> bytes:
    """Key of the run that begins with this entry."""
    return _entry_key(ENTRY_TAG, partition, index)


def index_of(key: bytes) -> int:
    """Index of the first entry of the run whose key this is."""
    index: int = _ENTRY_KEY.unpack(key)[2]
    return index


def number_body(number: int) -> bytes:
    """Body of ``P`` and ``READY`` rows."""
    return _NUMBER.pack(number)


def run_of(entries: list[bytes]) -> bytes:
    """Body of a run."""
    parts: list[bytes] = []
    for entry in entries:
        parts.append(len(entry).to_bytes(4, "big"))
        parts.append(entry)
    return b"".join(parts)


def entries_in(run: bytes, count: int) -> list[bytes]:
    """The entries of a run, `count` at most. ValueError if it is not as `run_of` makes it."""
    entries: list[bytes] = []
    place, end = 0, len(run)
    while place < end and len(entries) < count:
        try:
            (size,) = _length_at(run, place)
        except StructError as error:
            raise ValueError(str(error)) from error
        place += _LENGTH.size + size
        entries.append(run[place - size : place])
    if place > end:
        raise ValueError(f"{end} bytes, of which the last entry lacks {place - end}")
    return entries


def runs_of(entries: list[bytes]) -> list[list[bytes]]:
    """The new entries of a log, cut into runs: one, unless they are long."""
    runs: list[list[bytes]] = []
    run: list[bytes] = []
    size, longest = 0, RUN_BYTES_MAX
    for body in entries:
        size += len(body)
        if size > longest and run:
            runs.append(run)
            run, size = [], len(body)
        run.append(body)
    if run:
        runs.append(run)
    return runs


def first_new(batch: JournalBatch, partition: int) -> int:
    """Index of the partition's first entry in `batch`, which changes its extent; the one behind its
    last entry if there is none."""
    extent = batch.extents[partition]
    entries = batch.entries.get(partition)
    first = extent.last + 1 if entries is None else extent.last + 1 - len(entries)
    assert first >= extent.first, f"partition {partition}: an entry in front of {extent}"
    return first


def extents_beside(batch: JournalBatch, known: Mapping[int, Extent]) -> dict[int, Extent]:
    """The extents of `batch` that need a row beside the runs: all but those of logs that are as
    they were `known`, or that only grew, right behind their last entry."""
    said: dict[int, Extent] = {}
    for partition, extent in batch.extents.items():
        before = known.get(partition)
        if (
            before is None
            or first_new(batch, partition) != before.last + 1
            or extent.first != before.first
            or extent.base_term != before.base_term
            or extent.base_chain != before.base_chain
        ):
            said[partition] = extent
    return said


def rows_of(batch: JournalBatch, extents: Mapping[int, Extent]) -> Rows:
    """Everything in `batch` but its entries, as rows; of its extents those that are given."""
    state_key, extent_body = _STATE_KEY.pack, _EXTENT.pack
    rows: Rows = [
        (
            state_key(b"E", partition),
            extent_body(extent.first, extent.last, extent.base_term, extent.base_chain),
        )
        for partition, extent in extents.items()
    ]
    rows += [(state_key(b"H", partition), body) for partition, body in batch.hard_states.items()]
    rows += [(state_key(b"R", partition), body) for partition, body in batch.replica_metas.items()]
    rows += [(b"P" + uuid, _NUMBER.pack(number)) for uuid, number in batch.peers.items()]
    return rows


class JournalState:
    """What the newest rows other than entries say: extents, hard states, metas, peers."""

    def __init__(self) -> None:
        self.ready: int | None = None
        self.extents: dict[int, Extent] = {}
        self.hard_states: dict[int, bytes] = {}
        self.replica_metas: dict[int, bytes] = {}
        self.peers: dict[bytes, int] = {}

    def read(self, rows: list[tuple[bytes, bytes]]) -> None:
        """Take over stored rows. Raises ValueError on one that is not as `rows_of` writes it."""
        try:
            for key, body in rows:
                self._read_row(key, body)
        except StructError as error:
            raise ValueError(f"row {key.hex()}: {error}") from error

    def _read_row(self, key: bytes, body: bytes) -> None:
        if key == READY_KEY:
            (self.ready,) = _NUMBER.unpack(body)
            return
        tag = key[:1]
        if tag == b"P":
            (self.peers[key[1:]],) = _NUMBER.unpack(body)
            return
        _, partition = _STATE_KEY.unpack(key)
        if tag == b"E":
            self.extents[partition] = Extent(*_EXTENT.unpack(body))
        elif tag == b"H":
            self.hard_states[partition] = body
        elif tag == b"R":
            self.replica_metas[partition] = body
        else:
            raise ValueError(f"row {key.hex()} is unknown")

    def take(self, batch: JournalBatch) -> None:
        """Take over what a batch changed."""
        self.extents.update(batch.extents)
        self.hard_states.update(batch.hard_states)
        self.replica_metas.update(batch.replica_metas)
        self.peers.update(batch.peers)

    def as_batch(self) -> JournalBatch:
        """All of it, to be written into a new generation."""
        return JournalBatch(
            extents=dict(self.extents),
            hard_states=dict(self.hard_states),
            replica_metas=dict(self.replica_metas),
            peers=dict(self.peers),
        )

    def loaded(self) -> dict[int, LoadedPartition]:
        """By partition, in order."""
        known = self.extents.keys() | self.hard_states.keys() | self.replica_metas.keys()
        return {
            partition: LoadedPartition(
                hard_state=self.hard_states.get(partition),
                replica_meta=self.replica_metas.get(partition),
                extent=self.extents.get(partition),
            )
            for partition in sorted(known)
        }
