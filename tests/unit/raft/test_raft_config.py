"""Configurations: their bytes, and one step at a time."""

from __future__ import annotations

import pytest

from zmqim.errors import WireError
from zmqim.raft.config import GroupConfig, Place, Step, StepKind, StepRefused, stepped
from zmqim.sim.raft_replica import places

THREE = GroupConfig(places(1, 2, 3))


def test_a_configuration_comes_back_from_its_bytes() -> None:
    config = GroupConfig(places(1, 2), places(3))
    assert GroupConfig.decode(config.encode()) == config
    for body in (b"", b"\x91\x01", b"\xc1"):
        with pytest.raises(WireError):
            GroupConfig.decode(body)


def test_places_are_found_by_replica_and_only_voters_count() -> None:
    config = GroupConfig(places(1, 2), places(3))
    assert config.places == dict(zip((1, 2, 3), places(1, 2, 3), strict=True))
    assert [config.is_voter(one) for one in (1, 2, 3, 4)] == [True, True, False, False]


def test_a_replica_comes_as_a_learner_becomes_a_voter_and_goes() -> None:
    four = Place(4, "s4", b"uuid-4")
    learning = stepped(THREE, Step(StepKind.ADD_LEARNER, 0, four))
    assert learning == GroupConfig(places(1, 2, 3), (four,))
    voting = stepped(learning, Step(StepKind.PROMOTE, 0, Place(4, "", b"")))
    assert voting == GroupConfig(places(1, 2, 3, 4))
    without_two = stepped(voting, Step(StepKind.REMOVE, 0, Place(2, "", b"")))
    assert without_two == GroupConfig(places(1, 3, 4))
    assert stepped(learning, Step(StepKind.REMOVE, 0, four)) == THREE


@pytest.mark.parametrize(
    ("config", "kind", "place", "why"),
    [
        (THREE, StepKind.ADD_LEARNER, Place(3, "s9", b"u"), "replica 3 is there already"),
        (THREE, StepKind.ADD_LEARNER, Place(9, "s3", b"u"), "s3 holds a replica already"),
        (THREE, StepKind.PROMOTE, Place(4, "s4", b"u"), "there is no replica 4"),
        (THREE, StepKind.PROMOTE, Place(3, "s3", b"u"), "replica 3 votes already"),
        (THREE, StepKind.REMOVE, Place(4, "s4", b"u"), "there is no replica 4"),
        (GroupConfig(places(1), places(2)), StepKind.REMOVE, places(1)[0], "the last voter stays"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(
    config: GroupConfig, kind: StepKind, place: Place, why: str
) -> None:
    with pytest.raises(StepRefused, match=why):
        stepped(config, Step(kind, 0, place))
