"""What the storages of a host say of their replicas, put together."""

from __future__ import annotations

from typing import Any

import pytest
from replica_answers import NAMES, Answers, answers, follows, leads, led_by_storage_1, voter

from zmqim.node.partitions import Partition, Source, StorageShare, partitions_of, shares_of


def the_one(told: Answers, *ended: str) -> Partition:
    (found,) = partitions_of(1, NAMES, told, frozenset(ended))
    return found


def test_a_whole_partition_is_shown_as_the_issue_demands() -> None:
    assert the_one(led_by_storage_1(leads(0, "storage-1", 4))).to_json() == {
        "id": 0,
        "leader": "storage-1",
        "term": 4,
        "voters": [
            {"name": "storage-1", "match_lag": 0, "state": "leader"},
            {"name": "storage-2", "match_lag": 0, "state": "replicating"},
            {"name": "storage-3", "match_lag": 0, "state": "replicating"},
        ],
        "learners": [],
        "replicas_wanted": 3,
        "serving": True,
        "fully_replicated": True,
        "known_by": "leader",
    }


@pytest.mark.parametrize(
    ("third", "whole"),
    [
        (voter("storage-3", lag=999), True),
        (voter("storage-3", lag=1_000), False),
        (voter("storage-3", "probing"), False),
        (voter("storage-3", "snapshot"), False),
        (voter("storage-3", "down"), False),
        (voter("storage-3", "damaged"), False),
    ],
)
def test_fully_replicated_means_that_every_voter_stores_what_is_appended(
    third: dict[str, Any], whole: bool
) -> None:
    voters = [voter("storage-1", "leader"), voter("storage-2"), third]
    told = led_by_storage_1(leads(0, "storage-1", voters=voters))
    assert the_one(told).fully_replicated is whole


def test_fewer_voters_than_wanted_are_not_fully_replicated_and_learners_do_not_count() -> None:
    voters = [voter("storage-1", "leader"), voter("storage-2")]
    learners = [voter("storage-3")]
    found = the_one(led_by_storage_1(leads(0, "storage-1", voters=voters, learners=learners)))
    assert found.fully_replicated is False
    assert [learner.name for learner in found.learners] == ["storage-3"]


def test_of_two_that_say_they_lead_the_higher_term_does() -> None:
    told = answers(
        storage_1=[leads(0, "storage-1", 4)],
        storage_2=[leads(0, "storage-2", 5)],
        storage_3=[follows(0, "storage-1", 4)],
    )
    found = the_one(told)
    assert (found.leader, found.term) == ("storage-2", 5)


def test_a_leader_is_not_believed_when_a_follower_hears_of_a_higher_term() -> None:
    told = answers(storage_1=[leads(0, "storage-1", 4)], storage_2=[follows(0, "storage-3", 5)])
    found = the_one(told)
    assert (found.leader, found.term, found.source) == ("storage-3", 5, Source.FOLLOWERS)
    assert found.fully_replicated is None


def test_a_candidate_of_a_higher_term_does_not_unseat_a_leader() -> None:
    told = answers(
        storage_1=[leads(0, "storage-1", 4)], storage_2=[follows(0, "", 9, role="candidate")]
    )
    assert the_one(told).leader == "storage-1"


def test_what_is_led_elsewhere_is_known_by_its_followers_and_their_lag_is_not() -> None:
    told = answers(
        storage_1=[follows(0, "storage-9", 7)],
        storage_2=[follows(0, "storage-9", 7, role="learner")],
    )
    shown = the_one(told).to_json()
    assert (shown["leader"], shown["term"], shown["known_by"]) == ("storage-9", 7, "followers")
    assert shown["voters"] == [{"name": "storage-1", "match_lag": None, "state": "follower"}]
    assert shown["learners"] == [{"name": "storage-2", "match_lag": None, "state": "learner"}]
    assert shown["fully_replicated"] is None


def test_a_partition_that_nobody_leads_is_shown_without_leader() -> None:
    told = answers(
        storage_1=[follows(0, "", 3)],
        storage_2=[follows(0, "", 4, role="candidate")],
    )
    found = the_one(told)
    assert (found.leader, found.term) == (None, 4)
    assert found.fully_replicated is False


def test_a_leader_that_has_ended_leads_no_more_whatever_its_followers_still_think() -> None:
    told = answers(storage_1=[follows(0, "storage-3")], storage_2=[follows(0, "storage-3")])
    assert the_one(told).leader == "storage-3"
    assert the_one(told, "storage-3").leader is None


def test_a_voter_that_has_ended_is_down_before_its_leader_notices() -> None:
    found = the_one(led_by_storage_1(leads(0, "storage-1")), "storage-2")
    assert [one.state for one in found.voters] == ["leader", "down", "replicating"]
    assert found.fully_replicated is False


def test_damage_is_known_from_the_leader_and_from_the_replica_itself() -> None:
    voters = [voter("storage-1", "leader"), voter("storage-2", "damaged"), voter("storage-3")]
    told = answers(
        storage_1=[leads(0, "storage-1", voters=voters)],
        storage_3=[follows(0, "storage-1", role="damaged")],
    )
    assert the_one(told).damaged == {"storage-2", "storage-3"}


def test_when_no_storage_answers_every_partition_is_shown_as_unknown() -> None:
    found = partitions_of(4, NAMES, {}, frozenset())
    assert [one.to_json()["known_by"] for one in found] == ["nobody"] * 4
    assert {one.fully_replicated for one in found} == {None}


def test_storages_that_tell_nothing_of_partitions_have_none() -> None:
    assert partitions_of(4, NAMES, {"storage-1": {"members": []}}, frozenset()) == ()


def test_the_meta_group_is_shown_like_a_partition_and_comes_last() -> None:
    told = led_by_storage_1(leads("meta", "storage-1"), leads(0, "storage-1"))
    assert [one.id for one in partitions_of(1, NAMES, told, frozenset())] == [0, "meta"]


def test_each_storage_has_a_share_in_which_the_meta_group_is_not_counted() -> None:
    late = [voter("storage-1", "leader"), voter("storage-2", lag=70), voter("storage-3", lag=5)]
    joins = [voter("storage-1", "leader"), voter("storage-2")]
    told = led_by_storage_1(
        leads(0, "storage-1", voters=late),
        leads(1, "storage-1", voters=joins, learners=[voter("storage-3", "snapshot", 8_000)]),
        leads("meta", "storage-1"),
    )
    found = partitions_of(2, NAMES, told, frozenset())
    assert shares_of(found, NAMES, ["storage-1", "storage-2"]) == (
        StorageShare("storage-1", leads=2, leads_away=1, follows=0, learns=0, lag_max=0),
        StorageShare("storage-2", leads=0, leads_away=0, follows=2, learns=0, lag_max=70),
        StorageShare("storage-3", leads=0, leads_away=0, follows=1, learns=1, lag_max=8_000),
    )


def test_the_lag_of_a_storage_is_unknown_where_no_leader_tells() -> None:
    found = partitions_of(1, NAMES, answers(storage_1=[follows(0, "storage-3")]), frozenset())
    assert [share.lag_max for share in shares_of(found, NAMES, ["storage-3"])] == [None] * 3
    assert [share.leads for share in shares_of(found, NAMES, ["storage-3"])] == [0, 0, 1]
