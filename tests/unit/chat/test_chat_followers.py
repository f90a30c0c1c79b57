"""Followers of a partition's log: who, how far, and what that keeps of the log."""

from __future__ import annotations

from chat_partition import Partition

from zmqim.chat.codes import Reason
from zmqim.chat.operations import Follow, FollowerMoved, Unfollow
from zmqim.chat.queries import FollowQuery
from zmqim.chat.results import Done, FollowedPage, Rejected
from zmqim.limits import FOLLOWERS_MAX


def test_a_follower_begins_behind_the_entry_that_names_it_and_asking_again_changes_nothing() -> (
    None
):
    partition = Partition()
    assert partition.apply(Follow("v")) == Done(1)
    assert partition.apply(Follow("w")) == Done(2)
    assert partition.apply(Follow("v")) == Done(1)
    assert partition.query(FollowQuery("v")) == FollowedPage(1, 1)
    assert partition.query(FollowQuery("x")) == FollowedPage(-1)


def test_a_position_grows_and_never_goes_beyond_the_log() -> None:
    partition = Partition()
    partition.apply(Follow("v"))
    assert partition.apply(FollowerMoved("v", 999)) == Done(2)
    assert partition.apply(FollowerMoved("v", 1)) == Done(2)
    assert partition.apply(FollowerMoved("w", 1)) == Done(0)
    assert partition.query(FollowQuery("v")) == FollowedPage(2, 2)


def test_the_lowest_of_all_counts_until_it_goes_and_after_a_restart() -> None:
    partition = Partition()
    assert partition.state.followers.lowest is None
    partition.apply(Follow("v"))
    partition.apply(Follow("w"))
    assert partition.state.followers.lowest == 1
    partition.turn()
    partition.open()
    assert partition.state.followers.lowest == 1
    partition.apply(Unfollow("v"))
    assert partition.state.followers.lowest == 2
    partition.apply(Unfollow("w"))
    assert partition.state.followers.lowest is None
    partition.turn()
    assert partition.replayed().digest() == partition.digest()


def test_more_followers_than_the_bound_are_refused_and_one_that_goes_makes_room() -> None:
    partition = Partition()
    for number in range(FOLLOWERS_MAX):
        partition.apply(Follow(f"v{number}"))
    refused = partition.apply(Follow("one more"))
    assert isinstance(refused, Rejected)
    assert refused.reason == Reason.NOT_ALLOWED
    partition.apply(Unfollow("v3"))
    assert isinstance(partition.apply(Follow("one more")), Done)
