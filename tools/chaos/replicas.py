"""What every replica holds once its storage has ended: read from the stores, compared.

    python -m tools.chaos.replicas STORAGE_FOLDER...

Rows are compared under the partition's present install number, each side's own, so that a replica
that was rebuilt by a snapshot compares with one that was not. Two replicas that applied the same
index must hold the same rows; whatever both hold of a log below what both applied must be the same
bytes; and a message that two replicas hold must be the same, even where one is behind.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct

from xxhash import xxh3_128

from zmqim.chat.applied import Applied, decode_applied
from zmqim.chat.codes import MessageFlag
from zmqim.chat.keys import Keys
from zmqim.chat.operations import decode_send
from zmqim.errors import ZmqimError
from zmqim.limits import TEST_WRITE_BUFFER_BYTES
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.sim.history import ChannelKey, Seen
from zmqim.storage.stores import JOURNAL_NAME, ROWS_NAME
from zmqim.store.interface import Journal, LoadedPartition, RowReader
from zmqim.store.journal import open_journal
from zmqim.store.rows import open_rows

SCAN_ROWS = 4_096
READ_BYTES = 8 << 20
_ALIVE = (ReplicaStatus.VOTER, ReplicaStatus.LEARNER)
_LENGTHS = Struct(">II")
_MESSAGE = Struct(">QQQ")
_SEQUENCE_AT = -8


@dataclass
class Replica:
    """One storage's copy of a partition."""

    storage: str
    partition: int
    applied: Applied
    digest: str
    rows: int
    messages: dict[ChannelKey, list[Seen]] = field(default_factory=dict)
    log: dict[int, int] = field(default_factory=dict)
    """Index → the entry's chain, of what the journal still holds up to what is applied."""

    @property
    def name(self) -> str:
        """For sentences."""
        return f"partition {self.partition} on {self.storage}"


def read_storage(folder: Path) -> list[Replica]:
    """Every live replica in a storage's folder. Raises `DamagedData` and its like."""
    journal = open_journal(folder / JOURNAL_NAME, write_buffer_bytes=TEST_WRITE_BUFFER_BYTES)
    try:
        rows = open_rows(folder / ROWS_NAME, write_buffer_bytes=TEST_WRITE_BUFFER_BYTES)
        try:
            found = [
                _read(folder.name, partition, loaded, journal, rows)
                for partition, loaded in journal.load().items()
            ]
        finally:
            rows.close()
    finally:
        journal.close()
    return [replica for replica in found if replica is not None]


def differences(replicas: list[Replica]) -> list[str]:
    """What is not as it must be, as sentences."""
    found = []
    by_partition: dict[int, list[Replica]] = defaultdict(list)
    for replica in replicas:
        by_partition[replica.partition].append(replica)
    for copies in by_partition.values():
        first = max(copies, key=lambda one: one.applied.index)
        for other in copies:
            if other is not first:
                found += _differences(first, other)
    return found


def lags(replicas: list[Replica]) -> dict[str, int]:
    """How many entries each storage's worst replica is behind the newest of its partition."""
    newest: dict[int, int] = defaultdict(int)
    for replica in replicas:
        newest[replica.partition] = max(newest[replica.partition], replica.applied.index)
    found: dict[str, int] = defaultdict(int)
    for replica in replicas:
        lag = newest[replica.partition] - replica.applied.index
        found[replica.storage] = max(found[replica.storage], lag)
    return dict(found)


def _differences(first: Replica, other: Replica) -> list[str]:
    found = []
    same_index = first.applied.index == other.applied.index
    if same_index and first.digest != other.digest:
        found.append(
            f"{first.name} and {other.name} applied {first.applied.index} and differ:"
            f" {first.rows} and {other.rows} rows"
        )
    for channel, messages in other.messages.items():
        more = first.messages.get(channel, [])
        if more[: len(messages)] != messages:
            found.append(f"{first.name} and {other.name} hold other messages of {channel}")
    common = first.log.keys() & other.log.keys()
    apart = sorted(index for index in common if first.log[index] != other.log[index])
    if apart:
        found.append(f"the logs of {first.name} and {other.name} differ from {apart[0]} on")
    return found


def _read(
    storage: str, partition: int, loaded: LoadedPartition, journal: Journal, rows: RowReader
) -> Replica | None:
    if loaded.replica_meta is None or loaded.extent is None:
        return None
    meta = ReplicaMeta.decode(loaded.replica_meta)
    keys = Keys(partition, meta.install)
    body = rows.get(keys.applied)
    if body is None or meta.status not in _ALIVE:
        return None
    digest, count = xxh3_128(), 0
    replica = Replica(storage, partition, decode_applied(body), "", 0)
    start, stop = keys.prefix, Keys(partition, meta.install + 1).prefix
    while found := rows.scan(start, stop, limit=SCAN_ROWS):
        for key, body in found:
            short = key[len(keys.prefix) :]
            digest.update(_LENGTHS.pack(len(short), len(body)))
            digest.update(short + body)
            if short[:1] == b"M":
                seen = _seen(key, body)
                replica.messages.setdefault(seen.channel, []).append(seen)
        count += len(found)
        start = found[-1][0] + b"\0"
    replica.digest, replica.rows = digest.hexdigest(), count
    index, last = loaded.extent.first, min(loaded.extent.last, replica.applied.index)
    while index <= last:
        for entry in journal.read(partition, index, last, READ_BYTES):
            replica.log[index] = int.from_bytes(entry[:8], "big")
            index += 1
    return replica


def _seen(key: bytes, body: bytes) -> Seen:
    message_id, _, _ = _MESSAGE.unpack_from(body)
    sent = decode_send(body[_MESSAGE.size :])
    command = bool(sent.flags & MessageFlag.SYNC_ONCE)
    sequence = int.from_bytes(key[_SEQUENCE_AT:], "big")
    channel = (sent.channel_type, sent.channel_id, command)
    return Seen(channel, sequence, message_id, sent.from_uid, sent.client_msg_no, sent.payload)


def main() -> int:
    """Compare the storages named on the command line; 1 if they differ."""
    replicas: list[Replica] = []
    for folder in sys.argv[1:]:
        try:
            replicas += read_storage(Path(folder))
        except ZmqimError as error:
            print(error)
            return error.exit_code
    found = differences(replicas)
    for sentence in found:
        print(sentence)
    print(f"{len(replicas)} replicas, entries behind: {lags(replicas)}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
