"""Who this storage is: the ``NODE`` file, the lock on the folder, and the ``BIRTH`` record.

A storage that lost its data and keeps its name would answer for what it no longer has. So the
folder itself says who the node is: a node uuid that is made once, in an empty folder, and an
incarnation that rises at each start before any message is sent. ``NODE`` holds the number of its
own inode: a copied or restored folder shows itself and is refused.

``BIRTH`` is the record of what the storage was born into. It is written, synced, once the stores
exist; without it nothing was ever acknowledged, so until then missing stores may be created. It is
replaced once, to say that it is complete: all storages of the record have it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zlib_ng.zlib_ng import crc32

from zmqim.errors import UsageError
from zmqim.ids import ClusterId, Incarnation, NodeUuid
from zmqim.meta.record import BirthRecord, Genesis
from zmqim.raft.config import GroupConfig, Place
from zmqim.store.damage import damaged
from zmqim.store.files import FileLock, create_folder, disk_errors, sync_folder
from zmqim.store.names import BIRTH_NAME, LOCK_NAME, NODE_NAME, NOT_DATA, TEMPORARY_SUFFIX
from zmqim.store.quarantine import finish_quarantine

FORMAT: Final = 1

_NOT_STRANGE: Final = NOT_DATA | {NODE_NAME + TEMPORARY_SUFFIX}
"""What a folder may hold before its first start was finished."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Which process this is, and which life of it. `lock` is held until the process ends."""

    node_uuid: NodeUuid
    incarnation: Incarnation
    lock: FileLock
    is_new: bool


def open_node(
    folder: Path, cluster_id: ClusterId, random_bytes: Callable[[int], bytes]
) -> NodeIdentity:
    """Lock the folder, read or make NODE, and begin the next incarnation, durably.

    Data that was being put into quarantine is moved there first: the folder is empty then.
    Raises `AlreadyRunning` if the folder is in use, `UsageError` if it belongs to another cluster,
    is a copy, or holds something else, and `DamagedData` if NODE is damaged.
    """
    create_folder(folder)
    lock = FileLock(folder / LOCK_NAME, folder)
    try:
        finish_quarantine(folder)
        path = folder / NODE_NAME
        is_new = not path.exists()
        if is_new:
            _refuse_strange_content(folder)
            uuid, incarnation = random_bytes(16), 1
        else:
            uuid, incarnation = _read_node(path, cluster_id)
            incarnation += 1
        _write_node(path, uuid, cluster_id, incarnation)
    except BaseException:
        lock.release()
        raise
    return NodeIdentity(NodeUuid(uuid), Incarnation(incarnation), lock, is_new)


def read_birth(folder: Path) -> BirthRecord | None:
    """The birth record, or None before the first start was finished."""
    path = folder / BIRTH_NAME
    if not path.exists():
        return None
    fields = _unsealed(path)
    try:
        node_uuids = {name: bytes.fromhex(uuid) for name, uuid in fields["node_uuids"].items()}
        return BirthRecord(
            cluster_id=bytes.fromhex(fields["cluster_id"]),
            node_uuids=node_uuids,
            ring_version=fields["ring_version"],
            ring_hash=bytes.fromhex(fields["ring_hash"]),
            partitions=fields["partitions"],
            genesis=tuple(
                Genesis(
                    bytes.fromhex(uuid),
                    GroupConfig(
                        tuple(Place(replica, name, node_uuids[name]) for replica, name in voters)
                    ),
                )
                for uuid, voters in fields["groups"]
            ),
            complete=fields["complete"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, f"cannot be read: {error}") from error


def write_birth(folder: Path, record: BirthRecord) -> None:
    """Write the record, durably. What it says is never changed afterwards."""
    path = folder / BIRTH_NAME
    assert not path.exists(), f"{path} is written once"
    _write_birth(path, record)


def complete_birth(folder: Path, record: BirthRecord) -> None:
    """Note durably that everyone has the record, which the folder holds."""
    known = read_birth(folder)
    assert known is not None
    assert known.digest == record.digest, "a birth is never changed"
    _write_birth(folder / BIRTH_NAME, record.with_complete(True))


def _write_birth(path: Path, record: BirthRecord) -> None:
    fields = {
        "cluster_id": record.cluster_id.hex(),
        "node_uuids": {name: uuid.hex() for name, uuid in record.node_uuids.items()},
        "ring_version": record.ring_version,
        "ring_hash": record.ring_hash.hex(),
        "partitions": record.partitions,
        "groups": [
            (one.group_uuid.hex(), [(place.replica, place.name) for place in one.config.voters])
            for one in record.genesis
        ],
        "complete": record.complete,
    }
    _write_sealed(path, lambda inode: fields)


def _refuse_strange_content(folder: Path) -> None:
    """A first start takes only an empty folder: anything else may be data without its NODE."""
    with disk_errors(folder):
        strange = sorted(entry.name for entry in folder.iterdir() if entry.name not in _NOT_STRANGE)
    if strange:
        raise UsageError(
            f"{folder} has no {NODE_NAME} file but holds other things: {', '.join(strange[:5])}.",
            hint="Name an empty folder for a new storage. If this one held a storage, its NODE"
            " file is lost: move the folder aside; with three replicas or more the storage joins"
            " anew on an empty one, and the others give it its data.",
        )


def _read_node(path: Path, cluster_id: bytes) -> tuple[bytes, int]:
    """(node uuid, incarnation) of the last life."""
    fields = _unsealed(path)
    try:
        uuid = bytes.fromhex(fields["node_uuid"])
        stored_cluster = bytes.fromhex(fields["cluster_id"])
        incarnation = int(fields["incarnation"])
        inode = int(fields["inode"])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"cannot be read: {error}") from error
    if stored_cluster != cluster_id:
        raise UsageError(
            f"{path.parent} belongs to another cluster ({stored_cluster.hex()}, this one is"
            f" {cluster_id.hex()}).",
            hint="Check the cluster name and id in the topology, and the data folder.",
        )
    if inode != path.stat().st_ino:
        raise UsageError(
            f"{path.parent} is a copy: its {NODE_NAME} file was written on inode {inode}, this one"
            f" has inode {path.stat().st_ino}.",
            hint="Start the storage on the original folder, or on an empty one. A copy is never"
            " started: it would answer for messages that only the original has.",
        )
    return uuid, incarnation


def _write_node(path: Path, uuid: bytes, cluster_id: bytes, incarnation: int) -> None:
    _write_sealed(
        path,
        lambda inode: {
            "node_uuid": uuid.hex(),
            "cluster_id": cluster_id.hex(),
            "incarnation": incarnation,
            "inode": inode,
        },
    )


def _write_sealed(path: Path, fields_on: Callable[[int], dict[str, Any]]) -> None:
    """Replace the file, durably. `fields_on` is given the inode on which the file will lie."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    with disk_errors(path), open(temporary, "wb") as file:
        fields = {"format": FORMAT, **fields_on(os.fstat(file.fileno()).st_ino)}
        line = json.dumps(fields).encode()
        file.write(b"%s\n%08x\n" % (line, crc32(line)))
        file.flush()
        os.fsync(file.fileno())
        temporary.rename(path)
        sync_folder(path.parent)


def _unsealed(path: Path) -> dict[str, Any]:
    """The fields of a file that `_write_sealed` wrote. Raises `DamagedData`."""
    with disk_errors(path):
        content = path.read_bytes()
    line, _, rest = content.partition(b"\n")
    if rest != b"%08x\n" % crc32(line):
        raise damaged(path, "has a wrong checksum")
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise damaged(path, f"cannot be read: {error}") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise damaged(path, f"is not of format {FORMAT}")
    return fields
