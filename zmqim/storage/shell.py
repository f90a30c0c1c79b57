"""The storage as a process: one thread, one poll around `StorageCore`, and its disk.

    poll → take in a bounded batch → end of the turn → journal, rows, answers in order → poll

While a turn's writes are synced, the next batch gathers: that is the group commit. Any error of a
write, and any damage that is read, leaves `run` at once; the stores are not touched again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom
from typing import Final, assert_never

from zmqim.bus.effects import Send
from zmqim.bus.endpoint import Endpoint, feed, perform_send
from zmqim.bus.messages import Load
from zmqim.errors import DamagedData, SetAside
from zmqim.ids import Milliseconds
from zmqim.limits import DURABLE_MARK_MS, MB
from zmqim.meta.birth import BirthCore, Phase
from zmqim.process import ProcessContext
from zmqim.ring.document import RingDocument, ring_of
from zmqim.storage.beginning import Beginning, begin
from zmqim.storage.clocks import now_ms, wall_ms
from zmqim.storage.core import StorageCore
from zmqim.storage.effects import WriteJournal, WriteState
from zmqim.storage.happenings import Happenings
from zmqim.storage.opening import VOTERS_TO_REBUILD
from zmqim.storage.stores import Stores, check_birth, open_stores
from zmqim.store.disk import DiskState
from zmqim.store.identity import read_birth
from zmqim.store.names import ROWS_NAME
from zmqim.store.quarantine import holds_quarantine, quarantine, set_store_aside

WAIT_MS_MAX: Final = 1_000
"""The longest sleep: heartbeats end it earlier."""


def run(context: ProcessContext) -> None:
    """Runs the storage until it is told to stop."""
    try:
        _run(context)
    except DamagedData as fault:
        folder = str(context.folder)
        what = fault.what if folder in fault.what else f"{folder}/{fault.path}: {fault.what}"
        if ring_of(context.topology).voters < VOTERS_TO_REBUILD:
            raise DamagedData(what, path=fault.path, hint=fault.hint) from fault
        if Path(fault.path).is_relative_to(context.folder / ROWS_NAME):
            place = set_store_aside(context.folder / ROWS_NAME)
            raise SetAside(
                f"{what} The rows were set aside in {place}; the other voters give them again.",
                hint=f"Look at the disk. {place} may be removed once the partitions are fully"
                " replicated again (`zmqim status`).",
            ) from fault
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
        place = quarantine(context.folder, moment)
        raise SetAside(
            f"{what} Everything was set aside in {place}; this storage joins anew, and the other"
            " voters give it their data.",
            hint="Look at the disk. The folder in quarantine may be removed once the partitions are"
            " fully replicated again (`zmqim status`).",
        ) from fault


def _run(context: ProcessContext) -> None:
    topology, identity, folder = context.topology, context.identity, context.folder
    ring = ring_of(topology)
    record = read_birth(folder)
    if record is not None:
        check_birth(folder, record, topology, ring)
    birth = BirthCore(
        identity.name,
        identity.node_uuid,
        topology.cluster_id,
        ring,
        topology.storages,
        record,
        was_set_aside=holds_quarantine(folder),
    )
    # What was born opens its data before it speaks: what is damaged is not admitted anywhere.
    opened = None if birth.phase is Phase.WAITING else _open(context, ring, birth)
    endpoint = Endpoint(identity, topology, ring, SystemRandom(), now_ms())
    beginning = Beginning(birth)
    try:
        if opened is None:
            if not begin(context, endpoint, beginning):
                return
            opened = _open(context, ring, birth)
        stores, core = opened
        for peer in beginning.peers.values():
            core.peer_up(now_ms(), peer)
        core.view_changed(now_ms(), beginning.view)
        _Shell(context, endpoint, core, stores).run()
        stores.close()
    finally:
        endpoint.close()


def _open(
    context: ProcessContext, ring: RingDocument, birth: BirthCore
) -> tuple[Stores, StorageCore]:
    may_rebuild = ring.voters >= VOTERS_TO_REBUILD
    stores = open_stores(context.folder, context.topology, may_rebuild=may_rebuild)
    core = StorageCore(
        context.identity,
        ring,
        stores.rows,
        stores.journal,
        stores.journal.load(),
        birth,
        SystemRandom(),
        now_ms(),
        storages=context.topology.storages,
        memory=stores.journal.peers(),
    )
    stores.check(core.log_ends(), core.applied_ends())
    return stores, core


class _Shell:
    """The loop, and what it tells the supervisor, the operator and the other processes."""

    def __init__(
        self, context: ProcessContext, endpoint: Endpoint, core: StorageCore, stores: Stores
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._core = core
        self._stores = stores
        self._is_ready = False
        self._core_due = now_ms()
        """When the core needs a turn although nothing comes."""
        self._disk = DiskState.OK
        self._next_second = 0
        self._loop_lag_ms = 0
        self._mismatches = 0
        self._happenings = Happenings()
        context.metrics.counters("storage", "What the storage did.", lambda: core.counters)
        context.metrics.gauges("storage", "What the storage holds.", self._gauges)
        context.metrics.counters("bus", "What happened on the bus.", endpoint.counters)

    def run(self) -> None:
        """Turn after turn until a stop was asked for; what came before it is answered."""
        context = self._context
        control_fd = context.control.fileno()
        extra_fds = (context.stopping.fileno(), control_fd)
        while True:
            now = now_ms()
            stopping = context.stopping.requested
            if stopping:
                self._core.settle()
                self._core_due = now
            self._turn(now)
            if stopping:
                self._endpoint.leave(now)
                return
            self._tell(now)
            self._loop_lag_ms = max(self._loop_lag_ms, now_ms() - now)
            if control_fd in self._endpoint.wait(self._timeout_ms(), extra_fds):
                context.control.serve(self._status)

    def _turn(self, now: Milliseconds) -> None:
        """One turn. If nothing but heartbeats came, the core has nothing to do in it."""
        endpoint, core, stores = self._endpoint, self._core, self._stores
        wall = wall_ms()
        events = endpoint.turn(now, wall)
        self._look_at_disk(now)
        if not events and now < self._core_due:
            return
        feed(core, now, events)
        for effect in core.turn(now, wall):
            match effect:
                case Send():
                    perform_send(endpoint, core, now, effect)
                case WriteJournal(batch):
                    endpoint.flush(now)
                    stores.write_journal(batch)
                case WriteState(rows):
                    endpoint.flush(now)
                    stores.write_rows(rows)
                case _:
                    assert_never(effect)
        endpoint.flush(now)
        due = core.next_wake()
        self._core_due = Milliseconds(now + WAIT_MS_MAX if due is None else due)

    def _look_at_disk(self, now: Milliseconds) -> None:
        state = self._stores.disk_state(now)
        if state is not self._disk:
            self._disk = state
            self._core_due = now
            self._core.disk_state(now, state is DiskState.FULL)
            level = self._context.logger
            tell = level.info if state is DiskState.OK else level.warning
            tell("disk room", state=state.name, free_mb=self._stores.room.free_bytes // MB)

    def _timeout_ms(self) -> int:
        now = now_ms()
        wake = min(self._endpoint.next_wake(now), self._next_second, self._core_due)
        return max(0, min(wake - now, WAIT_MS_MAX))

    def _tell(self, now: Milliseconds) -> None:
        """Readiness once; each second the witness is synced and the load measured."""
        core, stores = self._core, self._stores
        if not self._is_ready and core.serving:
            self._is_ready = True
            self._context.ready()
            self._context.logger.info("storage serves", partitions=len(core.groups))
        if now < self._next_second:
            return
        self._next_second = now + DURABLE_MARK_MS
        stores.keep_witness()
        logger = self._context.logger
        for line in self._happenings.look(core):
            tell = logger.warning if line.is_warning else logger.info
            tell(line.words, partitions=line.partitions)
        digests = core.digests
        if digests.counters["digest_mismatches"] != self._mismatches:
            self._mismatches = digests.counters["digest_mismatches"]
            logger.error(digests.last_words, digest_mismatches=self._mismatches)
        self._endpoint.set_load(
            Load(
                loop_lag_ms=self._loop_lag_ms,
                fsync_p99_us=stores.sync_p99_us(),
                queue_depth=core.queued,
                disk_free_mb=stores.room.free_bytes // MB,
                rss_mb=_rss_mb(),
                groups_led=core.led,
                groups_total=len(core.groups),
            )
        )
        self._loop_lag_ms = 0

    def _gauges(self) -> dict[str, float]:
        return {
            "partitions_led": self._core.led,
            "disk_free_bytes": self._stores.room.free_bytes,
            "journal_bytes": self._stores.journal.bytes_used(),
            "sync_p99_us": self._stores.sync_p99_us(),
        }

    def _status(self) -> dict[str, object]:
        """What `zmqim status` shows of this storage."""
        problems = self._endpoint.problems()
        if self._disk is DiskState.FULL:
            problems.append("the disk is nearly full: messages are refused with reason 15")
        elif self._disk is DiskState.WARN:
            problems.append("the disk is filling up")
        counters = self._core.counters
        problems += self._core.digests.problems
        if self._core.registry.sentence:
            problems.append(self._core.registry.sentence)
        return {
            "members": self._endpoint.roster(),
            "problems": problems,
            "partitions": self._core.statuses(now_ms()),
            "journal_syncs": counters["journal_syncs"],
            "journal_entries": counters["journal_entries"],
            **self._gauges(),
        }


def _rss_mb() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 // MB
