"""What is remembered of other storages: bounded, the oldest first forgotten."""

from __future__ import annotations

import pytest

from zmqim.ids import NodeName
from zmqim.raft.peers import Peers

ONE, TWO = NodeName("storage-1"), NodeName("storage-2")


def test_of_replicas_that_no_configuration_names_only_so_many_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zmqim.raft.peers.UNKNOWN_REPLICAS_MAX", 3)
    peers = Peers(ONE)
    for replica in (1, 2, 3):
        peers.speaks(0, replica, TWO)
    peers.speaks(0, 1, TWO)
    peers.speaks(7, 4, TWO)
    assert list(peers.spoke) == [(0, 3), (0, 1), (7, 4)]
