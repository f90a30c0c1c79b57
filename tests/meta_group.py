"""The state machine of the meta group over memory rows, fed with one entry after the other."""

from __future__ import annotations

from zmqim.chat.view import RowView, digest_of
from zmqim.ids import ClusterId, NodeName, NodeUuid
from zmqim.meta.boot import founding
from zmqim.meta.operations import MetaOperation, MetaResult, decode_result, encode
from zmqim.meta.record import BirthRecord, born
from zmqim.meta.state import MetaState
from zmqim.ring.document import RingDocument
from zmqim.ring.placement import Share, placed
from zmqim.store.memory import END_OF_KEYS, MemoryRowStore

CLUSTER = ClusterId(b"c" * 16)


class MetaGroup:
    """`count` storages, every one in its own zone, with disks named after their numbers."""

    def __init__(self, count: int = 3, partitions: int = 4, replicas: int = 3) -> None:
        self.shares = [Share(NodeName(f"storage-{n}"), f"zone-{n}", 1) for n in range(1, count + 1)]
        placement = placed(partitions, replicas, self.shares)
        wide = len(placement[0])
        self.ring = RingDocument(1, partitions, wide, wide, placement)
        self.uuids = {
            share.name: NodeUuid(bytes([n]) * 16) for n, share in enumerate(self.shares, 1)
        }
        self.record: BirthRecord = born(CLUSTER, self.ring, self.shares, self.uuids)
        self.store = MemoryRowStore()
        self.log: list[bytes] = []
        self.open()

    def open(self) -> None:
        """Forget everything but the stored rows."""
        self.view = RowView(self.store)
        self.state = MetaState(self.record.meta_group, 1, self.view)

    def apply(self, operation: MetaOperation) -> MetaResult:
        """One log entry, and its rows durable."""
        body = encode(operation)
        self.log.append(body)
        index = len(self.log)
        result, notice = self.state.apply(index, 1, index << 16, body, None)
        assert notice is None
        self.state.flush()
        self.store.write(list(self.view.changes.items()))
        self.view.forget()
        return decode_result(result)

    def found(self) -> MetaGroup:
        """The birth record becomes its first content."""
        self.apply(founding(self.record, self.ring, self.shares))
        return self

    def digest(self) -> str:
        """Of all rows."""
        return digest_of(self.store.scan(b"", END_OF_KEYS))
