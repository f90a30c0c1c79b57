"""Catching up by snapshot: who gets one, what is lost on the way, who dies when, what is left."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import msgspec
import pytest
from storage_trio import ONE, THREE, TWO, Member, Trio
from storage_world import ROUTER, ack_of, message

from zmqim.bus.effects import Send
from zmqim.bus.messages import Message
from zmqim.bus.replication import (
    AppendResults,
    GroupBody,
    SnapshotChunk,
    SnapshotOffer,
    SnapshotPull,
)
from zmqim.chat.codes import ChannelType
from zmqim.chat.keys import Keys, install_of
from zmqim.chat.operations import AddMembers, Follow, FollowerMoved, decode_send
from zmqim.chat.queries import FollowQuery
from zmqim.chat.results import Done, FollowedPage, Sent, decode_result
from zmqim.chat.view import RowView
from zmqim.errors import DamagedData
from zmqim.ids import NodeName
from zmqim.limits import (
    GARBAGE_ROWS_MAX,
    SNAPSHOT_BYTES_PER_SECOND,
    SNAPSHOT_CHUNK_BYTES,
    SNAPSHOT_SILENCE_MS,
    SNAPSHOTS_PER_NODE_MAX,
)
from zmqim.raft.config import GroupConfig
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.storage.effects import Effect, WriteJournal, WriteState
from zmqim.storage.opening import open_group
from zmqim.storage.pushing import BOOK_MS
from zmqim.storage.sizes import Sizes

KEPT = 4
SIZES = Sizes(entries_kept=KEPT, chunk_bytes=400, chunk_rows=5, rows_wait_ms=0)


class Wired(Trio):
    """Three storages with short logs and small snapshots; `passing` sees what is sent of those."""

    def __init__(self, partitions: int = 1) -> None:
        self.passing: Callable[[NodeName, NodeName, Message], list[Message]] | None = None
        self.seen: list[Message] = []
        self.dies_after = -1
        """`THREE` dies after so many more effects; -1: not."""
        super().__init__(partitions, sizes=SIZES)

    def _put(self, name: NodeName, to: NodeName, message: Message, effect: Send) -> None:
        passed = [message]
        if isinstance(message, SnapshotOffer | SnapshotPull | SnapshotChunk):
            self.seen.append(message)
        if isinstance(message, GroupBody | AppendResults) and self.passing is not None:
            passed = self.passing(name, to, message)
        for one in passed:
            super()._put(name, to, one, effect)

    def turn(self, name: NodeName, effects_max: int | None = None) -> list[Effect]:
        """As ever; but `THREE` may have only so many effects to live."""
        if name != THREE or self.dies_after < 0 or effects_max is not None:
            return super().turn(name, effects_max)
        left = self.dies_after
        effects = self.members[name].core.turn(self.now, self.wall_ms)
        member = self.members[name]
        member.effects = effects
        for effect in effects[:left]:
            match effect:
                case WriteJournal(batch):
                    member.journal.write(batch)
                case WriteState(rows):
                    member.rows.write(rows)
                case Send(to, message):
                    self._put(name, to, message, effect)
        self.dies_after -= min(left, len(effects))
        if left < len(effects):
            self.dies_after = -1
            self.crash(name)
        return effects

    def talk(self, first: int, last: int) -> None:
        """Messages in every partition, one turn each."""
        for number in range(first, last):
            for partition in self.members[ONE].core.groups:
                sent = self.write(message("alice", "g", str(number), b"x" * 50), partition)
                assert isinstance(sent, Sent)
                leader = self.leader(partition)
                assert leader is not None
                index = self.group(leader, partition).raft.applied
                self.members[leader].core.receive(self.now, ROUTER, ack_of(partition, 0, index))

    def fall_behind(self) -> None:
        """`THREE` is dead while the others go on, and forget what it lacks."""
        for partition in self.members[ONE].core.groups:
            self.write_members(partition)
        self.until(self.are_alike)
        self.crash(THREE)
        self.talk(0, 6 * KEPT)
        for partition, group in self.members[ONE].core.groups.items():
            assert group.raft.log.extent.first > self.members[THREE].last(partition) + 1

    def write_members(self, partition: int) -> None:
        self.write(AddMembers(ChannelType.GROUP, "g", ["alice", "bob"]), partition)

    def contents(self, name: NodeName) -> list[tuple[int, bytes, bytes]]:
        """All rows of chat that are alive, as (partition, key without prefix, body)."""
        member = self.members[name]
        found = []
        for partition, group in member.core.groups.items():
            keys = Keys(partition, group.meta.install)
            rows = member.rows.scan(keys.prefix, keys.stop)
            found += [(partition, key[6:], body) for key, body in rows]
        return found

    def are_alike(self) -> bool:
        """Does everyone live, and hold and have applied the same?"""
        return (
            all(member.is_alive for member in self.members.values())
            and self.applied_alike()
            and self.contents(ONE) == self.contents(TWO) == self.contents(THREE)
        )

    def installed(self, name: NodeName = THREE) -> int:
        return self.members[name].core.counters["snapshots_installed"]

    def meta(self, name: NodeName = THREE, partition: int = 0) -> ReplicaMeta:
        """As its journal has it."""
        body = self.members[name].journal.load()[partition].replica_meta
        assert body is not None
        return ReplicaMeta.decode(body)

    def is_clean(self, name: NodeName) -> bool:
        """Has it no rows under dead install numbers?"""
        member = self.members[name]
        alive = {p: group.meta.install for p, group in member.core.groups.items()}
        rows = member.rows.scan(b"", Keys(len(alive), 0).prefix)
        return all(alive[key[1]] == install_of(key) for key, _ in rows)

    def of_kind(self, kind: type[Message]) -> list[Message]:
        return [one for one in self.seen if type(one) is kind]


@pytest.fixture
def trio() -> Wired:
    """`THREE` lacks entries that nobody holds any more, and is down."""
    trio = Wired()
    trio.fall_behind()
    return trio


@pytest.mark.promise("P1")
def test_a_follower_whose_entries_are_gone_gets_the_rows_and_then_the_rest_of_the_log(
    trio: Wired,
) -> None:
    trio.boot(THREE)
    trio.until(trio.are_alike)
    assert trio.installed() == 1
    assert len(trio.of_kind(SnapshotChunk)) > 3
    assert trio.meta().install == trio.group(THREE).meta.install > 1
    trio.talk(100, 105)
    trio.until(trio.are_alike)
    trio.until(lambda: trio.is_clean(THREE))
    assert trio.installed() == 1
    trio.crash(THREE)
    trio.boot(THREE)
    trio.until(trio.are_alike)


def test_the_others_go_on_meanwhile(trio: Wired) -> None:
    trio.boot(THREE)
    trio.until(lambda: len(trio.of_kind(SnapshotChunk)) > 1)
    trio.talk(100, 120)
    trio.until(trio.are_alike)


def test_every_piece_is_small_and_a_turn_sends_one(trio: Wired) -> None:
    trio.boot(THREE)
    trio.until(trio.are_alike)
    for chunk in trio.of_kind(SnapshotChunk):
        assert isinstance(chunk, SnapshotChunk)
        assert len(chunk.rows) <= SIZES.chunk_rows
        assert sum(len(body) for _, body in chunk.rows[:-1]) < SIZES.chunk_bytes
    for turn in trio[ONE].turns:
        sent = [one for one in turn if isinstance(one, Send)]
        assert sum(isinstance(one.message, SnapshotChunk) for one in sent) <= 1


def test_the_switch_is_written_in_a_later_turn_than_the_last_rows(trio: Wired) -> None:
    trio.boot(THREE)
    trio.until(trio.are_alike)
    install = trio.meta().install
    writing, switching = [], []
    for number, turn in enumerate(trio[THREE].turns):
        for effect in turn:
            if isinstance(effect, WriteState) and any(
                body is not None and install_of(key) == install and key[:2] == b"\0\0"
                for key, body in effect.rows
            ):
                writing.append(number)
            if isinstance(effect, WriteJournal) and 0 in effect.batch.replica_metas:
                switching.append(number)
    (switch,) = switching
    before = [number for number in writing if number < switch]
    assert len(before) == len(trio.of_kind(SnapshotChunk))
    assert max(before) < switch


@pytest.mark.promise("P1")
@pytest.mark.parametrize("effects", range(0, 60, 3))
def test_a_receiver_that_dies_anywhere_has_the_old_rows_or_the_new_ones(
    trio: Wired, effects: int
) -> None:
    old = trio.group(ONE).raft.applied
    trio.dies_after = effects
    trio.boot(THREE)
    trio.until(lambda: not trio[THREE].is_alive or trio.are_alike())
    trio.dies_after = -1
    if not trio[THREE].is_alive:
        trio.boot(THREE)
        applied = trio.group(THREE).state.applied.index
        assert trio.group(THREE).raft.log.extent.first - 1 <= applied <= old + 10
    trio.until(trio.are_alike)
    trio.until(lambda: trio.is_clean(THREE))
    trio.talk(100, 103)
    trio.until(trio.are_alike)


@pytest.mark.parametrize("lost", [SnapshotOffer, SnapshotPull, SnapshotChunk])
@pytest.mark.parametrize("place", [0, 2])
def test_what_is_lost_is_asked_for_again(trio: Wired, lost: type[Message], place: int) -> None:
    numbers = count()

    def lose(_source: NodeName, _to: NodeName, one: Message) -> list[Message]:
        return [] if type(one) is lost and next(numbers) == place else [one]

    trio.passing = lose
    trio.boot(THREE)
    trio.until(trio.are_alike)
    assert trio.installed() == 1
    offers = {one.snapshot for one in trio.of_kind(SnapshotOffer) if isinstance(one, SnapshotOffer)}
    assert len(offers) == 1


def test_when_the_last_answer_is_lost_no_second_snapshot_is_sent(trio: Wired) -> None:
    def lose(source: NodeName, _to: NodeName, one: Message) -> list[Message]:
        is_lost = (
            isinstance(one, AppendResults)
            and source == THREE
            and any(item.partition == 0 for item in one.items)
        )
        return [] if is_lost and not lost and trio.installed() and not lost.append(one) else [one]

    lost: list[Message] = []
    trio.passing = lose
    trio.boot(THREE)
    trio.until(trio.are_alike)
    trio.until(lambda: trio[ONE].core.offering.open == 0)
    assert lost
    assert trio[ONE].core.counters["snapshots_opened"] == 1
    assert trio.installed() == 1


def test_what_comes_twice_or_from_another_snapshot_is_taken_once(trio: Wired) -> None:
    def confuse(_source: NodeName, _to: NodeName, one: Message) -> list[Message]:
        if not isinstance(one, SnapshotChunk):
            return [one, one] if isinstance(one, SnapshotOffer | SnapshotPull) else [one]
        other = msgspec.structs.replace(one, snapshot=one.snapshot + 1, rows=[(b"Z", b"wrong")])
        early = msgspec.structs.replace(one, after=b"\xff", rows=[(b"\xff\xff", b"wrong")])
        old = msgspec.structs.replace(one, term=one.term - 1, rows=[(b"Z", b"wrong")])
        return [other, early, old, one, one]

    trio.passing = confuse
    trio.boot(THREE)
    trio.until(trio.are_alike)
    assert trio.installed() == 1


def test_rows_out_of_order_are_a_reason_to_begin_anew(trio: Wired) -> None:
    numbers = count()

    def reverse(_source: NodeName, _to: NodeName, one: Message) -> list[Message]:
        if isinstance(one, SnapshotChunk) and next(numbers) == 1:
            return [msgspec.structs.replace(one, rows=one.rows[::-1])]
        return [one]

    trio.passing = reverse
    trio.boot(THREE)
    trio.until(trio.are_alike)
    assert trio[THREE].core.counters["snapshots_abandoned"] == 1
    trio.until(lambda: trio.is_clean(THREE))


def test_rows_that_are_not_those_of_the_offer_are_never_installed(trio: Wired) -> None:
    numbers = count()

    def exchange(_source: NodeName, _to: NodeName, one: Message) -> list[Message]:
        if isinstance(one, SnapshotChunk) and not one.after and next(numbers) == 0:
            rows = [(key, body) for key, body in one.rows if key != b"A"]
            return [msgspec.structs.replace(one, rows=rows)]
        return [one]

    trio.passing = exchange
    trio.boot(THREE)
    trio.until(trio.are_alike)
    assert trio[THREE].core.counters["snapshots_abandoned"] == 1
    assert trio.installed() == 1


def test_offers_of_old_leaders_and_of_what_is_applied_are_refused(trio: Wired) -> None:
    trio.boot(THREE)
    trio.until(trio.are_alike)
    trio.until(lambda: trio.is_clean(THREE))
    core = trio[THREE].core
    (offer, *_) = [one for one in trio.seen if isinstance(one, SnapshotOffer)]
    raft = trio.group(THREE).raft
    fresh = msgspec.structs.replace(offer, snapshot=99, index=raft.applied + 5)
    replace = msgspec.structs.replace
    for stale in (
        replace(fresh, index=raft.applied),
        replace(fresh, term=raft.term - 1),
        replace(fresh, target=raft.replica - 1),
        replace(fresh, group=b"history"),
    ):
        core.receive(trio.now, ONE, stale)
        trio.turn(THREE)
        assert core.installing.open == 0
    core.receive(trio.now, TWO, fresh)
    trio.turn(THREE)
    assert core.installing.open == 0
    core.receive(trio.now, ONE, fresh)
    trio.turn(THREE)
    assert core.installing.open == 1
    trio.until(lambda: core.installing.open == 0)
    assert trio.are_alike()


@pytest.mark.promise("P1")
def test_when_the_leader_is_lost_what_came_is_garbage_and_the_next_one_feeds(trio: Wired) -> None:
    def stop(source: NodeName, _to: NodeName, one: Message) -> list[Message]:
        return [] if source == ONE and isinstance(one, SnapshotChunk) and one.done else [one]

    trio.passing = stop
    trio.boot(THREE)
    trio.until(lambda: any(isinstance(one, SnapshotChunk) and one.done for one in trio.seen))
    assert trio.installed() == 0
    trio.crash(ONE)
    trio.until(lambda: trio.leader() in (TWO, THREE))
    trio.until(lambda: trio[THREE].core.counters["snapshots_abandoned"] == 1)
    trio.boot(ONE)
    trio.until(trio.are_alike)
    trio.until(lambda: trio.is_clean(THREE))


@pytest.mark.promise("P12")
def test_a_new_leader_feeds_the_only_other_one_before_it_serves(trio: Wired) -> None:
    for number in range(200, 220):
        trio.run(BOOK_MS)
        trio.talk(number, number + 1)
    assert trio.group(TWO).raft.log.extent.first > trio[THREE].last() + 1
    trio.crash(ONE)
    trio.boot(THREE)
    trio.until(lambda: trio.group(TWO).raft.lead is not None)
    trio.until(lambda: trio.leader() == TWO)
    trio.until(lambda: trio.installed() == 1)
    trio.talk(100, 103)
    trio.boot(ONE)
    trio.until(trio.are_alike)


def test_a_leader_that_dies_while_it_sends_offers_anew_in_its_next_life(trio: Wired) -> None:
    trio.boot(THREE)
    trio.until(lambda: len(trio.of_kind(SnapshotChunk)) > 1)
    trio.crash(ONE)
    trio.boot(ONE)
    trio.until(trio.are_alike)
    trio.until(lambda: trio.is_clean(THREE))


def test_snapshots_are_closed_when_they_are_done_when_the_lead_is_lost_and_in_silence(
    trio: Wired,
) -> None:
    trio.boot(THREE)
    trio.until(trio.are_alike)
    trio.until(lambda: trio[ONE].core.offering.open == 0)

    trio.crash(THREE)
    trio.talk(200, 200 + 6 * KEPT)
    trio.passing = lambda _source, _to, one: [] if isinstance(one, SnapshotPull) else [one]
    trio.boot(THREE)
    trio.until(lambda: trio[ONE].core.offering.open == 1)
    opened = trio[ONE].core.counters["snapshots_opened"]
    trio.run(SNAPSHOT_SILENCE_MS // 2)
    assert trio[ONE].core.counters["snapshots_opened"] == opened
    trio.until(lambda: trio[ONE].core.counters["snapshots_opened"] > opened)
    assert trio[ONE].core.offering.open == 1
    trio.cut(ONE)
    trio.until(lambda: trio[ONE].core.offering.open == 0)


def test_a_node_is_fed_few_snapshots_at_once() -> None:
    trio = Wired(2 * SNAPSHOTS_PER_NODE_MAX)
    trio.fall_behind()
    most = 0

    def look(_source: NodeName, _to: NodeName, one: Message) -> list[Message]:
        nonlocal most
        most = max(most, trio[ONE].core.offering.open)
        assert trio[THREE].core.installing.open <= SNAPSHOTS_PER_NODE_MAX
        return [one]

    trio.passing = look
    trio.boot(THREE)
    trio.until(trio.are_alike)
    assert most == SNAPSHOTS_PER_NODE_MAX
    assert trio.installed() == 2 * SNAPSHOTS_PER_NODE_MAX


def test_with_a_full_disk_nothing_is_pulled(trio: Wired) -> None:
    trio.boot(THREE)
    trio[THREE].core.disk_state(trio.now, True)
    trio.run(2 * SNAPSHOT_SILENCE_MS)
    assert trio.installed() == 0
    assert not trio.of_kind(SnapshotPull)
    trio[THREE].core.disk_state(trio.now, False)
    trio.until(trio.are_alike)


def test_garbage_is_deleted_in_slices_also_after_a_restart(trio: Wired) -> None:
    rows = [
        (Keys(0, 77).prefix + number.to_bytes(4, "big"), b"dead")
        for number in range(2 * GARBAGE_ROWS_MAX + 10)
    ]
    trio[THREE].rows.write(list(rows))
    trio.boot(THREE)
    trio.until(trio.are_alike)
    assert trio.meta().install > 77
    trio.until(lambda: trio.is_clean(THREE))
    for turn in trio[THREE].turns:
        for effect in turn:
            if isinstance(effect, WriteState):
                deleted = [key for key, body in effect.rows if body is None and key[:2] == b"\0\0"]
                assert len(deleted) <= GARBAGE_ROWS_MAX + SIZES.chunk_rows


def lose_rows(member: Member, partition: int = 0) -> None:
    found = member.rows.scan(Keys(partition, 0).prefix, Keys(partition + 1, 0).prefix)
    member.rows.write([(key, None) for key, _ in found])


@pytest.mark.promise("P1")
def test_a_replica_that_lost_its_rows_says_so_abstains_and_gets_them_again() -> None:
    trio = Wired()
    trio.fall_behind()
    trio.boot(THREE)
    trio.until(trio.are_alike)
    trio.crash(THREE)
    lose_rows(trio[THREE])
    last = trio[THREE].last()
    kinds = SnapshotOffer | SnapshotPull | SnapshotChunk
    trio.passing = lambda _source, _to, one: [] if isinstance(one, kinds) else [one]
    trio.boot(THREE)
    raft = trio.group(THREE).raft
    assert raft.is_damaged
    assert not raft.may_stand
    trio.until(lambda: trio.meta().status == ReplicaStatus.DAMAGED)
    trio.until(lambda: bool(trio.seen))
    assert trio[THREE].last() == last
    trio.crash(THREE)
    trio.boot(THREE)
    assert trio.group(THREE).raft.is_damaged
    trio.passing = None
    trio.until(trio.are_alike)
    assert trio.meta().status == ReplicaStatus.VOTER
    assert not trio.group(THREE).raft.is_damaged
    trio.crash(ONE)
    trio.until(lambda: trio.leader() in (TWO, THREE))


def test_a_follower_below_the_snapshot_of_a_new_leader_is_told_what_it_missed() -> None:
    trio = Wired()
    trio.fall_behind()
    trio.boot(THREE)
    trio.until(trio.are_alike)
    followed = trio.write(Follow("v"))
    assert isinstance(followed, Done)
    trio.talk(100, 100 + 3 * KEPT)
    trio.until(trio.are_alike)
    firsts = [trio.group(name).raft.log.extent.first for name in (ONE, TWO, THREE)]
    assert max(firsts) <= followed.log_index + 1, "the log is kept for the follower"
    trio.crash(THREE)
    lose_rows(trio[THREE])
    trio.boot(THREE)
    trio.until(trio.are_alike)
    assert trio.installed() == 1, "in this life"
    first = trio.group(THREE).raft.log.extent.first
    assert first > followed.log_index + 1
    trio.part(ONE, TWO)
    trio.write(message("alice", "g", "after"))
    trio.crash(ONE)
    trio.until(lambda: trio.leads(THREE))
    page = decode_result(trio.answered(trio.ask(THREE, FollowQuery("v"))).result)
    assert isinstance(page, FollowedPage)
    assert page.position == followed.log_index
    assert (page.lost_from, page.lost_upto) == (followed.log_index + 1, first - 1)
    assert decode_send(page.messages[-1].operation).client_msg_no == "after"
    trio.write(FollowerMoved("v", page.upto))
    again = decode_result(trio.answered(trio.ask(THREE, FollowQuery("v"))).result)
    assert isinstance(again, FollowedPage)
    assert (again.lost_from, again.lost_upto) == (0, 0)


def test_rows_that_are_lost_while_the_log_is_whole_are_made_again_from_it() -> None:
    trio = Wired()
    trio.write_members(0)
    trio.until(trio.are_alike)
    trio.crash(THREE)
    lose_rows(trio[THREE])
    trio.boot(THREE)
    trio.until(trio.are_alike)
    assert trio.installed() == 0


@pytest.mark.parametrize("voters", [1, 2])
def test_without_a_majority_of_others_damaged_rows_are_refused(voters: int) -> None:
    trio = Wired()
    trio.fall_behind()
    member = trio[ONE]
    trio.crash(ONE)
    lose_rows(member)
    few = GroupConfig(trio.group(ONE).raft.config.voters[:voters])
    loaded = member.journal.load()[0]
    with pytest.raises(DamagedData, match="rows are applied up to 0"):
        open_group(0, 8, RowView(member.rows), member.journal, loaded, few, 10)


def test_the_bucket_lets_pass_what_a_second_may_cost() -> None:
    trio = Wired()
    offering = trio[ONE].core.offering
    assert 0 < offering._tokens < SNAPSHOT_BYTES_PER_SECOND
    assert offering._tokens >= SNAPSHOT_CHUNK_BYTES
