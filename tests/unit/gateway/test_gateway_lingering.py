"""Connections that are over wait for their clients, not for ever and not without a bound."""

from __future__ import annotations

import asyncio

import pytest

from zmqim.gateway.listeners import server
from zmqim.gateway.listeners.server import LINGERING_MAX, Connections
from zmqim.gateway.plugin import CloseReason


class Silent:
    """A connection whose client never closes."""

    def __init__(self) -> None:
        self.aborted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close(self, reason: CloseReason) -> None:
        raise AssertionError("the listener closes, not the table")

    def abort(self) -> None:
        self.aborted.set_result(None)


def test_only_so_many_wait_for_their_clients_until_some_are_gone() -> None:
    async def scenario() -> None:
        connections: Connections[Silent] = Connections()
        silent = [Silent() for _ in range(LINGERING_MAX + 2)]
        for one in silent:
            connections.add(one)
        assert [connections.linger(one) for one in silent] == [True] * LINGERING_MAX + [False] * 2
        for one in silent[:3]:
            connections.remove(one)
        assert list(connections) == silent[3:]
        assert len(connections) == LINGERING_MAX - 1
        another = Silent()
        connections.add(another)
        assert connections.linger(another)

    asyncio.run(scenario())


def test_who_waits_too_long_is_aborted_and_who_is_gone_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        connections: Connections[Silent] = Connections()
        gone, waiting = Silent(), Silent()
        for one in (gone, waiting):
            connections.add(one)
            connections.linger(one)
        connections.remove(gone)
        async with asyncio.timeout(10):
            await waiting.aborted
        assert not gone.aborted.done()

    monkeypatch.setattr(server, "CLOSE_GRACE_SECONDS", 0.01)
    asyncio.run(scenario())
