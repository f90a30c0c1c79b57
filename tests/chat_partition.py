"""A partition's state machine over memory rows, fed with one entry after the other."""

from __future__ import annotations

import msgspec
from hypothesis.stateful import RuleBasedStateMachine, rule

from zmqim.chat.encoding import encode
from zmqim.chat.notices import Notice
from zmqim.chat.operations import Operation
from zmqim.chat.queries import Query
from zmqim.chat.reading import answer
from zmqim.chat.results import Result, decode_result
from zmqim.chat.state import ChatState
from zmqim.chat.view import RowView, digest_of
from zmqim.store.memory import END_OF_KEYS, MemoryRowStore

PARTITION, PARTITIONS = 5, 64
HLC = 1_750_000_000_000 << 16
_notice = msgspec.msgpack.Decoder(Notice)


class Partition:
    """Applies operations as log entries; `turn` writes the rows as the storage does."""

    def __init__(self, heads_max: int = 100) -> None:
        self.store = MemoryRowStore()
        self.heads_max = heads_max
        self.log: list[tuple[int, bytes]] = []
        self.hlc = HLC
        self.notices: list[tuple[int, Notice]] = []
        self.open()

    def open(self) -> None:
        """Forget everything but the stored rows."""
        self.view = RowView(self.store)
        self.state = ChatState(PARTITION, PARTITIONS, 1, self.view, self.heads_max)

    def turn(self) -> None:
        """The rows of the turn become durable."""
        self.state.flush()
        self.state.heads.trim()
        self.store.write(list(self.view.changes.items()))
        self.view.forget()

    def apply(self, operation: Operation, *, ms: int = 1) -> Result:
        """One log entry, `ms` after the one before."""
        self.hlc += ms << 16
        body = encode(operation)
        self.log.append((self.hlc, body))
        return self._apply(len(self.log), self.hlc, body, operation)

    def _apply(self, index: int, hlc: int, body: bytes, operation: Operation | None) -> Result:
        result, notice = self.state.apply(index, 1, hlc, body, operation)
        if notice is not None:
            self.notices.append((index, _notice.decode(notice)))
        return decode_result(result)

    def query(self, query: Query) -> Result:
        """What whoever asked reads."""
        return decode_result(encode(answer(self.state, query)))

    def digest(self) -> str:
        return digest_of(self.store.scan(b"", END_OF_KEYS))

    def replayed(self) -> Partition:
        """Another replica that applied the same log, in one turn."""
        other = Partition(self.heads_max)
        for index, (hlc, body) in enumerate(self.log, 1):
            other._apply(index, hlc, body, None)
        other.turn()
        return other


class PartitionMachine(RuleBasedStateMachine):
    """A model of one partition, whose turns end and which is restarted at any moment; at the end
    another replica that applies the same log holds the same rows."""

    partition: Partition

    @rule()
    def turn(self) -> None:
        self.partition.turn()

    @rule()
    def restart(self) -> None:
        self.partition.turn()
        self.partition.open()

    def teardown(self) -> None:
        if hasattr(self, "partition"):
            self.partition.turn()
            assert self.partition.replayed().digest() == self.partition.digest()
