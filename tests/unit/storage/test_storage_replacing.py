"""The meta group at work in three storages: lives are granted, lost disks are replaced.

An empty disk under an old name begins with nothing. It is registered, every group removes the dead
replica and gets a new one under a fresh id, the meta group among them, and then the cluster is as
whole as before, whoever dies in the middle.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from storage_trio import NAMES, ONE, THREE, TWO, Trio
from storage_world import ROUTER, StorageWorld, ack_of, message, ring, storage_peer

from zmqim.bus.effects import Send
from zmqim.bus.messages import Message
from zmqim.bus.replication import (
    Append,
    Appends,
    BootCode,
    BootRequest,
    BootResult,
    ChangeCode,
    ChangeGroup,
    ChangeResult,
    VoteRequest,
    VoteResult,
)
from zmqim.chat.results import Sent
from zmqim.errors import NotAdmitted
from zmqim.ids import NodeName
from zmqim.limits import BOOT_REQUESTS_MAX, LEADER_SILENCE_MS, SETTLED_MS, VOTE_WITHOUT_GRANT_MS
from zmqim.meta.rows import NodeState
from zmqim.meta.state import MetaState
from zmqim.raft.config import StepKind
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus
from zmqim.storage.sizes import Sizes
from zmqim.store.memory import MemoryRowStore

META = 2
"""The meta group of a cluster of two partitions."""
GROUPS = (0, 1, META)
BORN_REPLICAS = 9
"""Ids that were given out at birth."""


@pytest.fixture
def trio() -> Trio:
    """Two partitions with something in them; everyone's life is granted."""
    trio = Trio(2)
    trio.until(lambda: is_whole(trio))
    trio.add("g", "alice")
    trio.write(message("alice", "g", "1"))
    return trio


def sentences(trio: Trio) -> list[str]:
    """What lives still wait for."""
    living = [member.core for member in trio.members.values() if member.is_alive]
    return [core.registry.sentence for core in living if core.registry.sentence]


def meta_leader(trio: Trio) -> NodeName | None:
    """Who serves the meta group, of those who live."""
    found = []
    for name, member in trio.members.items():
        group = member.core.registry.group
        if member.is_alive and group is not None and group.raft.serving:
            found.append((group.raft.term, name))
    return max(found)[1] if found else None


def state_of(trio: Trio) -> MetaState:
    """The meta state as its leader applied it."""
    leader = meta_leader(trio)
    assert leader is not None
    group = trio[leader].core.registry.group
    assert group is not None
    return group.state


def is_whole(trio: Trio) -> bool:
    """Has every group three voters on the disks of now, nobody behind, and no task open?"""
    if meta_leader(trio) is None or sentences(trio):
        return False
    disks = {name: trio[name].peer.node_uuid for name in NAMES}
    for number in GROUPS:
        cores = [trio[name].core.replicas.cores.get(number) for name in NAMES]
        for core in cores:
            if core is None or core.config.learners:
                return False
            if {place.name: place.node_uuid for place in core.config.voters} != disks:
                return False
        if len({(core.last, core.commit, core.applied) for core in cores if core}) != 1:
            return False
    return not state_of(trio).replacing


def replica_of(trio: Trio, name: NodeName, number: int) -> int:
    """The id under which a storage holds a replica of the group; 0: it holds none."""
    core = trio[name].core.replicas.cores.get(number)
    return 0 if core is None else core.replica


def replace(trio: Trio, name: NodeName) -> None:
    """The disk of that name is lost, and an empty one comes under it."""
    trio.lose_disk(name)
    trio.run(1_000)
    trio.boot(name)


def tell(trio: Trio, name: NodeName, source: NodeName, message: Message) -> list[Message]:
    """`source` says this to `name`; what is answered in the next turn."""
    trio[name].core.receive(trio.now, source, message)
    return [
        effect.message
        for effect in trio.turn(name)
        if isinstance(effect, Send) and effect.to == source
    ]


# ---- lives ---------------------------------------------------------------------------------------


def test_every_life_is_granted_and_stands_in_the_meta_group(trio: Trio) -> None:
    for life in (1, 2):
        nodes = {node.name: node for node in state_of(trio).nodes.values()}
        granted = {name: node.incarnation for name, node in nodes.items()}
        assert granted == {ONE: 1, TWO: 1, THREE: life}
        assert {node.state for node in nodes.values()} == {NodeState.MEMBER}
        if life == 1:
            trio.crash(THREE)
            trio.boot(THREE)
            trio.until(lambda: is_whole(trio))


@pytest.mark.promise("P1")
def test_a_life_without_a_grant_neither_votes_nor_stands_in_any_partition(trio: Trio) -> None:
    trio.run(100)
    before = {name: trio.group(name).raft.term for name in (TWO, THREE)}
    for name in NAMES:
        trio.crash(name)
    trio.boot(TWO)
    trio.boot(THREE)
    # Only the meta group's own messages pass: it elects a leader, but grants nobody.
    pass_on = trio._put

    def put(name: NodeName, to: NodeName, message: Message, effect: Send) -> None:
        if not isinstance(message, BootRequest | BootResult):
            pass_on(name, to, message, effect)

    trio._put = put  # type: ignore[method-assign]
    for name in (TWO, THREE):
        trio[name].core.registry._storages = ()
        trio[name].core.registry._boot._storages = [ONE]
    trio.run(VOTE_WITHOUT_GRANT_MS - 1)
    votes = [
        effect.message
        for name in (TWO, THREE)
        for effects in trio[name].turns
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, VoteRequest | VoteResult)
    ]
    assert {vote.partition for vote in votes} == {META}
    assert {name: trio.group(name).raft.term for name in (TWO, THREE)} == before
    trio.until(lambda: trio.leader() is not None)


def test_a_life_that_was_granted_before_is_a_copy_and_its_process_ends(trio: Trio) -> None:
    trio.crash(THREE)
    trio.boot(THREE)
    trio.until(lambda: is_whole(trio))
    trio.crash(THREE)
    trio[THREE].incarnation = 0  # The folder is put back as it was before its first life.
    trio.boot(THREE)
    with pytest.raises(NotAdmitted, match="incarnation 1 of storage-3 was granted before"):
        trio.until(lambda: trio[THREE].core.replicas.may_vote)
    assert not trio[THREE].core.replicas.may_vote


def test_a_disk_whose_name_another_disk_has_now_is_not_admitted(trio: Trio) -> None:
    trio.crash(THREE)
    old = trio[THREE]
    kept = (old.journal, old.rows, old.incarnation)
    replace(trio, THREE)
    trio.until(lambda: is_whole(trio))
    trio.crash(THREE)
    old.journal, old.rows, old.incarnation = kept
    old.node_uuid = None
    trio.boot(THREE)
    with pytest.raises(NotAdmitted, match="was given to a new disk"):
        trio.until(lambda: trio[THREE].core.replicas.may_vote)


def test_a_life_that_is_older_than_one_that_was_heard_is_not_linked(trio: Trio) -> None:
    core = trio[ONE].core
    core.peer_down(trio.now, THREE)
    core.peer_up(trio.now, storage_peer(THREE, 3))
    core.peer_down(trio.now, THREE)
    core.peer_up(trio.now, storage_peer(THREE, 2))
    assert core.counters["stale_lives"] == 1
    assert THREE not in core.replicas.peers.disks()
    trio.turn(ONE)
    trio.crash(ONE)
    trio.boot(ONE)
    core = trio[ONE].core
    assert core.counters["stale_lives"] == 1, "the journal remembers the third life"
    assert THREE not in core.replicas.peers.disks()
    assert TWO in core.replicas.peers.disks()


def test_who_does_not_lead_the_meta_group_names_its_leader(trio: Trio) -> None:
    leader = meta_leader(trio)
    follower = next(name for name in NAMES if name != leader)
    asked = BootRequest("storage-9", b"9" * 16, 1, b"start", "zone", 1)
    assert BootResult(b"start", BootCode.NOT_LEADER, str(leader)) in tell(
        trio, follower, ONE if follower != ONE else TWO, asked
    )


def test_a_name_that_no_storage_has_is_refused_for_good(trio: Trio) -> None:
    leader = meta_leader(trio)
    assert leader is not None
    asker = next(name for name in NAMES if name != leader)
    results: list[BootResult] = []
    pass_on = trio._put

    def put(name: NodeName, to: NodeName, message: Message, effect: Send) -> None:
        if isinstance(message, BootResult):
            results.append(message)
        pass_on(name, to, message, effect)

    trio._put = put  # type: ignore[method-assign]
    asked = BootRequest("storage-9", b"9" * 16, 1, b"start", "zone", 1)
    trio[leader].core.receive(trio.now, asker, asked)
    trio.until(lambda: bool(results))
    assert (results[0].code, results[0].start) == (BootCode.REFUSED, b"start")
    assert "no storage of this cluster is named storage-9" in results[0].text


def test_requests_that_wait_are_bounded(trio: Trio) -> None:
    leader = meta_leader(trio)
    assert leader is not None
    trio.cut(leader)
    group = trio[leader].core.registry.group
    assert group is not None
    before = group.raft.last
    for number in range(2 * BOOT_REQUESTS_MAX):
        start = number.to_bytes(16, "big")
        asked = BootRequest(leader, trio[leader].peer.node_uuid, number + 2, start, "zone", 1)
        trio[leader].core.receive(trio.now, TWO if leader != TWO else ONE, asked)
    trio.turn(leader)
    assert group.raft.last == before + 2 * BOOT_REQUESTS_MAX, "two entries for each that waits"


# ---- replacing a lost disk -----------------------------------------------------------------------


@pytest.mark.promise("P1")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("name", NAMES)
def test_an_empty_disk_under_an_old_name_gets_a_replica_of_every_group(
    trio: Trio, name: NodeName
) -> None:
    old = {number: replica_of(trio, name, number) for number in GROUPS}
    replace(trio, name)
    trio.until(lambda: is_whole(trio))
    assert len({one.core.holdings.heads_max for one in trio.members.values()}) == 1
    assert len(trio.digests()) == 1
    fresh = {number: replica_of(trio, name, number) for number in GROUPS}
    assert sorted(fresh.values()) == [BORN_REPLICAS + n for n in (1, 2, 3)]
    assert set(old.values()).isdisjoint(fresh.values())
    # What it holds counts: with the two others it was given, one of them may go.
    other = next(one for one in NAMES if one != name)
    trio.crash(other)
    trio.until(lambda: trio.leader() is not None)
    again = trio.write(message("alice", "g", "1"))
    assert isinstance(again, Sent)
    assert again.duplicate


@pytest.mark.promise("P1")
@pytest.mark.promise("P7")
def test_one_disk_after_the_other_may_be_lost(trio: Trio) -> None:
    for number, name in enumerate((TWO, ONE, THREE, TWO)):
        replace(trio, name)
        trio.until(lambda: is_whole(trio))
        assert isinstance(trio.write(message("alice", "g", f"after {number}")), Sent)
    trio.until(trio.applied_alike)
    assert len(trio.digests()) == 1
    states = [node.state for node in state_of(trio).nodes.values()]
    assert sorted(states) == [NodeState.MEMBER] * 3 + [NodeState.GONE] * 4


def test_the_former_disk_must_be_known_to_be_down_first(trio: Trio) -> None:
    trio.run(SETTLED_MS)
    leader = meta_leader(trio)
    assert leader is not None
    other = next(name for name in NAMES if name != leader)
    asked = BootRequest(other, b"copy" * 4, 1, b"start", "zone", 1)
    results = [one for one in tell(trio, leader, other, asked) if isinstance(one, BootResult)]
    assert [(one.code, one.text) for one in results] == [
        (BootCode.WAIT, f"waits until the former disk of {other} is known to be down")
    ]


def _registered(trio: Trio) -> bool:
    return bool(meta_leader(trio) and state_of(trio).replacing)


def _removed(trio: Trio) -> bool:
    return _registered(trio) and len(state_of(trio).groups[0].config.voters) == 2


def _learning(trio: Trio) -> bool:
    return _registered(trio) and bool(state_of(trio).groups[META].config.learners)


def _promoted(trio: Trio) -> bool:
    return _removed(trio) is False and any(
        replica > BORN_REPLICAS for replica in state_of(trio).groups[0].config.places
    )


@pytest.mark.promise("P1")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("moment", [_registered, _removed, _learning, _promoted])
@pytest.mark.parametrize("victim", ["leader", "new", "other"])
def test_a_replacement_goes_on_whoever_dies_in_the_middle(
    trio: Trio, moment: Callable[[Trio], bool], victim: str
) -> None:
    replace(trio, THREE)
    trio.until(lambda: moment(trio))
    leader = meta_leader(trio)
    assert leader is not None
    other = next(name for name in NAMES if name not in (leader, THREE))
    name = {"leader": leader, "new": THREE, "other": other}[victim]
    trio.crash(name)
    trio.run(2_000)
    trio.boot(name)
    trio.until(lambda: is_whole(trio))
    assert len(trio.digests()) == 1
    again = trio.write(message("alice", "g", "1"))
    assert isinstance(again, Sent)
    assert (again.sequence, again.duplicate) == (1, True)


def test_a_disk_that_is_lost_while_it_is_made_whole_is_replaced_itself(trio: Trio) -> None:
    replace(trio, THREE)
    trio.until(lambda: _learning(trio))
    replace(trio, THREE)
    trio.until(lambda: is_whole(trio))
    assert len(trio.digests()) == 1
    assert min(replica_of(trio, THREE, number) for number in GROUPS) > BORN_REPLICAS


# ---- replicas come and go ------------------------------------------------------------------------


def _remove(trio: Trio, name: NodeName, number: int = 0) -> None:
    """The leader of the group is asked to remove the replica of `name`."""
    leader = trio.leader(number)
    assert leader is not None
    core = trio[leader].core.replicas.cores[number]
    place = core.config.places[replica_of(trio, name, number)]
    change = ChangeGroup(
        number,
        core.identity.group,
        StepKind.REMOVE,
        core.conf_id,
        place.replica,
        place.name,
        place.node_uuid,
    )
    asker = next(one for one in NAMES if one != leader)
    answers = [one for one in tell(trio, leader, asker, change) if isinstance(one, ChangeResult)]
    assert [(one.code, one.text) for one in answers] == [(ChangeCode.APPENDED, "")]


@pytest.mark.promise("P6")
def test_a_leader_that_is_removed_says_so_and_another_one_leads_soon(trio: Trio) -> None:
    assert trio.leader(0) == ONE
    _remove(trio, ONE)
    trio.until(lambda: 0 not in trio[ONE].core.groups)
    began = trio.now
    trio.until(lambda: any(trio.group(name).raft.serving for name in (TWO, THREE)))
    assert trio.now - began < LEADER_SILENCE_MS


def test_a_removed_replica_is_held_no_more_and_its_id_never_comes_back(trio: Trio) -> None:
    old = replica_of(trio, THREE, 0)
    group = trio.group(ONE).raft.identity.group
    _remove(trio, THREE)
    trio.until(lambda: 0 not in trio[THREE].core.groups)
    trio.run(1)
    body = trio[THREE].journal.load()[0].replica_meta
    assert body is not None
    meta = ReplicaMeta.decode(body)
    assert (meta.status, meta.replica_id_min) == (ReplicaStatus.REMOVED, old + 1)
    feed = Append(0, group, 1, old, 1, 0, 0, 0, 0, [])
    for _ in range(2):
        trio[THREE].core.receive(trio.now, ONE, Appends([feed]))
        trio.turn(THREE)
        assert 0 not in trio[THREE].core.groups, "an old Append makes no replica"
        trio.crash(THREE)
        trio.boot(THREE)
    trio.until(lambda: is_whole(trio))
    assert replica_of(trio, THREE, 0) > BORN_REPLICAS
    assert len(trio.digests()) == 1


@pytest.mark.promise("P1")
@pytest.mark.promise("P8")
def test_lost_rows_under_a_short_log_are_given_again_or_the_replicas_replaced() -> None:
    trio = Trio(2, sizes=Sizes(entries_kept=4, rows_wait_ms=0))
    trio.until(lambda: is_whole(trio))
    trio.add("g", "alice")
    for number in range(24):
        trio.write(message("alice", "g", str(number)))
        term = trio.group(ONE).raft.term
        trio[ONE].core.receive(trio.now, ROUTER, ack_of(0, term, trio.group(ONE).raft.last))
        trio.run(100)
    trio.until(lambda: trio.group(THREE).raft.log.extent.first > 2)
    trio.crash(THREE)
    trio[THREE].rows = MemoryRowStore()
    trio.boot(THREE)
    assert trio.group(THREE).raft.is_damaged
    trio.until(lambda: is_whole(trio))
    assert not trio.group(THREE).raft.is_damaged
    assert len(trio.digests()) == 1


def test_a_replica_begins_only_for_a_leader_of_the_groups_own_history(trio: Trio) -> None:
    _remove(trio, THREE)
    trio.until(lambda: 0 not in trio[THREE].core.groups)
    group = trio.group(ONE).raft.identity.group
    cut = VoteRequest(0, group, 1, 99, 9, 0, 0, False, False)
    foreign = Append(0, b"another!", 1, 99, 9, 0, 0, 0, 0, [])
    unknown = Append(META + 1, group, 1, 99, 9, 0, 0, 0, 0, [])
    for stray in (cut, Appends([foreign]), Appends([unknown])):
        trio[THREE].core.receive(trio.now, ONE, stray)
        trio.turn(THREE)
        assert sorted(trio[THREE].core.replicas.cores) == [1, META]
    feed = Append(0, group, 1, 99, 9, 0, 0, 0, 0, [])
    trio[THREE].core.receive(trio.now, ONE, Appends([foreign, feed, unknown]))
    trio.turn(THREE)
    core = trio[THREE].core.replicas.cores[0]
    assert (core.replica, core.is_voter, core.last) == (99, False, 0)


def test_changes_that_do_not_fit_are_refused_in_words(trio: Trio) -> None:
    core = trio.group(ONE).raft
    place = core.config.places[replica_of(trio, THREE, 0)]
    member = (place.replica, place.name, place.node_uuid)
    changes = [
        ChangeGroup(0, b"another!", StepKind.REMOVE, core.conf_id, *member),
        ChangeGroup(9, core.identity.group, StepKind.REMOVE, core.conf_id, *member),
        ChangeGroup(0, core.identity.group, StepKind.REMOVE, core.conf_id + 7, *member),
    ]
    texts = []
    for change in changes:
        for answer in tell(trio, ONE, TWO, change):
            if isinstance(answer, ChangeResult):
                assert answer.code == ChangeCode.REFUSED
                texts.append(answer.text)
    assert texts == [
        "no replica of that group is here",
        "no replica of that group is here",
        f"the configuration is {core.conf_id}, not {core.conf_id + 7}",
    ]
    follower = ChangeGroup(0, core.identity.group, StepKind.REMOVE, core.conf_id, *member)
    (refusal,) = [one for one in tell(trio, TWO, ONE, follower) if isinstance(one, ChangeResult)]
    assert refusal.text == "this replica does not lead, or not yet"


# ---- what is told --------------------------------------------------------------------------------


def test_a_leader_tells_of_its_followers_and_a_follower_of_its_leader(trio: Trio) -> None:
    trio.until(lambda: meta_leader(trio) == ONE and trio.leads(ONE))
    trio.run(200)
    leads = {one["id"]: one for one in trio[ONE].core.statuses(trio.now)}
    assert sorted(map(str, leads)) == ["0", "1", "meta"]
    for number, told in leads.items():
        assert (told["role"], told["leader"], told["serving"]) == ("leader", ONE, True)
        assert told["replicas_wanted"] == 3
        assert told["last"] == told["commit"] == told["applied"]
        voters = [(one["name"], one["match_lag"], one["state"]) for one in told["voters"]]
        assert voters == [(ONE, 0, "leader"), (TWO, 0, "replicating"), (THREE, 0, "replicating")]
        assert told["learners"] == [], number
    follows = {one["id"]: one for one in trio[TWO].core.statuses(trio.now)}
    assert {(one["role"], one["leader"]) for one in follows.values()} == {("follower", ONE)}
    assert not any("voters" in one for one in follows.values())
    trio.crash(THREE)
    trio.write(message("alice", "g", "2"))
    told = trio[ONE].core.statuses(trio.now)[0]
    state = {one["name"]: (one["match_lag"], one["state"]) for one in told["voters"]}
    assert state == {ONE: (0, "leader"), TWO: (0, "replicating"), THREE: (1, "down")}


def test_who_stands_and_who_learns_say_so(trio: Trio) -> None:
    trio.crash(ONE)
    trio.cut(TWO)
    trio.until(lambda: not trio.group(TWO).raft.leader)
    told = {one["id"]: one["role"] for one in trio[TWO].core.statuses(trio.now)}
    assert told[0] == "candidate"
    trio.heal()
    trio.boot(ONE)
    trio.until(lambda: is_whole(trio))
    replace(trio, THREE)
    roles: set[str] = set()

    def learns() -> bool:
        roles.update(one["role"] for one in trio[THREE].core.statuses(trio.now))
        return is_whole(trio)

    trio.until(learns)
    assert "learner" in roles


def test_alone_a_storage_is_its_own_meta_group() -> None:
    world = StorageWorld(ring(1))
    told = {one["id"]: one for one in world.core.statuses(world.now)}
    assert told["meta"]["role"] == told[0]["role"] == "leader"
    assert told["meta"]["replicas_wanted"] == 1
    assert world.core.registry.sentence == ""
    assert [send for send in world.sent if send.to != ROUTER] == []
