"""Birth, storage by storage: who is asked, who writes, who joins, and what the operator reads."""

from __future__ import annotations

import pytest
from birth_world import CLUSTER, ring_for, shares_of

from zmqim.bus.effects import Send
from zmqim.bus.replication import BirthOffer, BirthStatus
from zmqim.errors import WireError
from zmqim.ids import NodeName, NodeUuid
from zmqim.limits import BIRTH_REPEAT_MS
from zmqim.meta.birth import SET_ASIDE, BirthCore, CompleteBirth, Phase, WriteBirth
from zmqim.meta.record import BirthRecord, born, meta_voters
from zmqim.ring.placement import Share

ONE, TWO, THREE = (NodeName(f"storage-{n}") for n in (1, 2, 3))
UUIDS = {name: NodeUuid(name[-1].encode() * 16) for name in (ONE, TWO, THREE)}
RECORD = born(CLUSTER, ring_for(3), shares_of(3), UUIDS)
EMPTY = BirthStatus(b"", False, False)
HELD = BirthStatus(RECORD.digest, False, False)
RUNNING = BirthStatus(RECORD.digest, True, False)


def core(name: NodeName, record: BirthRecord | None = None, uuid: bytes = b"") -> BirthCore:
    own = NodeUuid(uuid or UUIDS[name])
    return BirthCore(name, own, CLUSTER, ring_for(3), shares_of(3), record)


def linked(one: BirthCore, *names: NodeName) -> BirthCore:
    for name in names:
        one.linked(name, UUIDS[name])
    one.turn(0)
    return one


def test_a_single_storage_is_born_at_once() -> None:
    alone = BirthCore(ONE, UUIDS[ONE], CLUSTER, ring_for(1), shares_of(1), None)
    (effect,) = alone.turn(0)
    record = born(CLUSTER, ring_for(1), shares_of(1), {ONE: UUIDS[ONE]}).with_complete(True)
    assert effect == WriteBirth(record)
    assert (alone.phase, alone.sentence, alone.next_wake()) == (Phase.READY, "", None)


def test_the_first_by_name_writes_once_all_are_empty_and_offers_behind_its_write() -> None:
    one = linked(core(ONE), TWO, THREE)
    one.receive(TWO, EMPTY)
    assert one.turn(1) == []
    assert one.sentence.startswith("waits for storage-3: a new cluster is born only when")
    one.receive(THREE, EMPTY)
    assert one.turn(2) == [
        WriteBirth(RECORD),
        Send(TWO, HELD),
        Send(TWO, BirthOffer(RECORD.encode())),
        Send(THREE, HELD),
        Send(THREE, BirthOffer(RECORD.encode())),
    ]
    assert one.phase is Phase.WAITING
    assert one.sentence == "waits for storage-2 and storage-3 to write the birth record"
    one.receive(TWO, HELD)
    assert one.turn(3) == []
    one.receive(THREE, HELD)
    whole = RECORD.with_complete(True)
    assert one.turn(4) == [CompleteBirth(whole), Send(TWO, RUNNING), Send(THREE, RUNNING)]
    assert one.phase is Phase.READY


def test_the_others_wait_for_the_first_and_ask_again() -> None:
    two = linked(core(TWO), ONE, THREE)
    two.receive(ONE, EMPTY)
    two.receive(THREE, EMPTY)
    assert two.turn(1) == []
    assert two.sentence == "waits for storage-1 to write the birth record"
    assert two.next_wake() == BIRTH_REPEAT_MS
    ask = BirthStatus(b"", False, True)
    assert two.turn(BIRTH_REPEAT_MS) == [Send(ONE, ask), Send(THREE, ask)]


def test_an_offer_is_written_before_it_is_answered_and_passed_on_to_whom_it_names() -> None:
    two = linked(core(TWO), ONE, THREE)
    two.receive(THREE, EMPTY)
    two.receive(ONE, BirthOffer(RECORD.encode()))
    assert two.turn(1) == [
        WriteBirth(RECORD),
        Send(ONE, HELD),
        Send(THREE, HELD),
        Send(THREE, BirthOffer(RECORD.encode())),
    ]


def test_nobody_is_empty_again_in_the_same_link_and_everyone_may_be_in_a_new_one() -> None:
    one = linked(core(ONE), TWO, THREE)
    one.receive(THREE, EMPTY)
    one.receive(TWO, HELD)
    one.receive(TWO, EMPTY)
    assert one.turn(1) == []
    assert one.sentence == "waits for storage-2 to finish the birth of the cluster"
    one.linked(TWO, NodeUuid(b"x" * 16))
    one.turn(2)
    assert one.record is None
    one.receive(TWO, EMPTY)
    effects = one.turn(3)
    assert effects[0] == WriteBirth(
        born(CLUSTER, ring_for(3), shares_of(3), {**UUIDS, TWO: b"x" * 16})
    )


def test_what_an_unlinked_storage_said_does_not_count() -> None:
    one = linked(core(ONE), TWO, THREE)
    one.receive(TWO, EMPTY)
    one.unlinked(TWO)
    one.receive(THREE, EMPTY)
    one.receive(TWO, EMPTY)
    assert one.turn(1) == []


def test_a_born_storage_starts_without_anybody() -> None:
    two = core(TWO, RECORD.with_complete(True))
    assert (two.phase, two.sentence, two.turn(0), two.next_wake()) == (Phase.READY, "", [], None)


def test_an_emptied_folder_joins_what_is_complete_and_makes_no_replica() -> None:
    one = linked(core(ONE, uuid=b"x" * 16), TWO)
    one.receive(TWO, BirthOffer(RECORD.encode()))
    assert one.turn(1) == []
    assert one.phase is Phase.WAITING
    one.receive(TWO, BirthOffer(RECORD.with_complete(True).encode()))
    assert one.turn(2)[0] == WriteBirth(RECORD.with_complete(True))
    assert one.phase is Phase.JOINING
    assert core(ONE, RECORD.with_complete(True), b"x" * 16).phase is Phase.JOINING


def test_a_running_storage_hands_the_record_to_an_emptied_one() -> None:
    two = linked(core(TWO, RECORD.with_complete(True)), THREE)
    two.linked(ONE, NodeUuid(b"x" * 16))
    two.turn(1)
    two.receive(ONE, BirthStatus(b"", False, True))
    assert two.turn(2) == [
        Send(ONE, RUNNING),
        Send(ONE, BirthOffer(RECORD.with_complete(True).encode())),
    ]


def test_a_disk_lost_before_the_end_counts_if_every_group_keeps_a_majority() -> None:
    one = linked(core(ONE, RECORD), TWO)
    one.linked(THREE, NodeUuid(b"x" * 16))
    one.turn(1)
    one.receive(TWO, HELD)
    one.receive(THREE, EMPTY)
    assert CompleteBirth(RECORD.with_complete(True)) in one.turn(2)


def test_two_disks_lost_before_the_end_need_the_operator() -> None:
    one = core(ONE, RECORD)
    for name in (TWO, THREE):
        one.linked(name, NodeUuid(b"x" * 16))
        one.receive(name, EMPTY)
    one.turn(1)
    assert one.phase is Phase.WAITING
    assert one.sentence.startswith("storage-2 and storage-3 lost the folder before")


def test_storages_of_two_births_never_begin_and_say_what_to_do() -> None:
    one = linked(core(ONE, RECORD), TWO, THREE)
    one.receive(TWO, HELD)
    one.receive(THREE, BirthStatus(b"another birth...", False, False))
    one.turn(1)
    assert one.phase is Phase.WAITING
    assert one.sentence.startswith("storage-3 holds another birth of the cluster")
    one.receive(THREE, BirthStatus(b"another birth...", True, False))
    one.turn(2)
    assert one.phase is Phase.WAITING
    assert one.sentence.endswith("empty this folder and it joins")


@pytest.mark.parametrize("cluster", [b"d" * 16, CLUSTER])
def test_the_record_of_another_topology_is_not_written(cluster: bytes) -> None:
    two = linked(core(TWO), ONE, THREE)
    other = born(cluster, ring_for(3, replicas=1), shares_of(3), UUIDS)
    two.receive(ONE, BirthOffer(other.encode()))
    assert two.turn(1) == []
    assert two.sentence.startswith("storage-1 holds the birth record of another topology")


def test_what_is_no_record_and_no_message_of_birth_is_counted() -> None:
    two = linked(core(TWO), ONE)
    two.receive(ONE, BirthOffer(b"?"))
    two.receive(ONE, BirthOffer(RECORD.encode()[:-2]))
    assert (two.turn(1), two.refused) == ([], 2)


def test_a_record_is_what_topology_and_uuids_say_and_shares_nothing_with_another() -> None:
    assert BirthRecord.decode(RECORD.encode()) == RECORD
    assert RECORD.with_complete(True).digest == RECORD.digest
    places = [place for one in RECORD.genesis for place in one.config.voters]
    assert [place.replica for place in places] == list(range(1, len(places) + 1))
    assert {place.node_uuid for place in places} == set(UUIDS.values())
    assert RECORD.meta_group == len(RECORD.genesis) - 1 == 4
    other = born(CLUSTER, ring_for(3), shares_of(3), {**UUIDS, TWO: b"x" * 16})
    assert not {one.group_uuid for one in RECORD.genesis} & {
        one.group_uuid for one in other.genesis
    }
    with pytest.raises(WireError):
        BirthRecord.decode(b"\x90")


def test_the_meta_group_lives_on_one_three_or_five_in_distinct_zones() -> None:
    def names(*zones: str) -> str:
        storages = [Share(NodeName(f"s{n}"), zone, 1) for n, zone in enumerate(zones)]
        return " ".join(meta_voters(reversed(storages)))

    assert names("a") == "s0"
    assert names("a", "b") == "s0"
    assert names("a", "b", "c") == "s0 s1 s2"
    assert names("a", "a", "b", "c") == "s0 s2 s3"
    assert names("a", "a", "b", "b") == "s0 s1 s2"
    assert names("a", "a", "a", "b", "c", "c") == "s0 s1 s2 s3 s4"
    assert names("a", "a", "b", "c", "d", "e") == "s0 s2 s3 s4 s5"


# ---- folders whose damaged data was set aside ----------------------------------------------------

ASIDE = BirthStatus(SET_ASIDE, False, False)


def set_aside(name: NodeName) -> BirthCore:
    """A storage whose folder is empty because what was in it was damaged."""
    return BirthCore(
        name, UUIDS[name], CLUSTER, ring_for(3), shares_of(3), None, was_set_aside=True
    )


@pytest.mark.promise("P8")
@pytest.mark.parametrize("aside", [ONE, TWO, THREE])
def test_nothing_is_founded_while_anyone_set_data_aside(aside: NodeName) -> None:
    cores = {name: core(name) for name in (ONE, TWO, THREE)}
    cores[aside] = set_aside(aside)
    for name, one in cores.items():
        linked(one, *(other for other in cores if other != name))
        for other in cores:
            if other != name:
                one.receive(other, ASIDE if other == aside else EMPTY)
        effects = one.turn(BIRTH_REPEAT_MS)
        assert all(isinstance(effect, Send) for effect in effects)
        told = {effect.message for effect in effects if isinstance(effect, Send)}
        asked = SET_ASIDE if name == aside else b""
        assert told == {BirthStatus(asked, False, True)}
        assert one.record is None
        assert one.sentence == (
            f"{aside} set damaged data aside and nobody else holds the cluster's: it is not born"
            " anew by itself. Put a good copy back, or, to begin with nothing, remove the folder"
            " quarantine there"
        )


def test_who_set_data_aside_joins_as_an_emptied_folder_does() -> None:
    holder = linked(core(ONE, RECORD.with_complete(True)), TWO)
    fresh = NodeUuid(b"f" * 16)
    holder.linked(TWO, fresh)
    holder.receive(TWO, ASIDE)
    offer = BirthOffer(RECORD.with_complete(True).encode())
    assert Send(TWO, offer) in holder.turn(1)
    joining = BirthCore(TWO, fresh, CLUSTER, ring_for(3), shares_of(3), None, was_set_aside=True)
    linked(joining, ONE, THREE)
    joining.receive(THREE, EMPTY)
    joining.receive(ONE, RUNNING)
    assert joining.sentence == "waits for storage-1 to finish the birth of the cluster"
    joining.receive(ONE, offer)
    assert WriteBirth(RECORD.with_complete(True)) in joining.turn(2)
    assert joining.phase is Phase.JOINING


def test_a_disk_that_was_set_aside_before_the_birth_was_complete_is_lost() -> None:
    one = core(ONE, RECORD)
    linked(one, TWO)
    one.linked(THREE, NodeUuid(b"f" * 16))
    one.receive(TWO, HELD)
    one.receive(THREE, ASIDE)
    assert CompleteBirth(RECORD.with_complete(True)) in one.turn(1)
