"""Everything that each client can, on quickstart, and on three-storages while all of its processes
are killed one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
from easy_scenario import EasyScenario
from js_scenario import JsScenario
from places import Place, topology_of
from raw_scenario import RawScenario
from running_cluster import RunningCluster

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.promise("P2"),
    pytest.mark.promise("P3"),
    pytest.mark.promise("P4"),
    pytest.mark.promise("P6"),
]


@pytest.fixture(scope="module", params=["quickstart", "three-storages"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    name = request.param
    running = RunningCluster(tmp_path_factory.mktemp("place"), topology_of(name))
    try:
        yield Place(running.up(), kills=name == "three-storages")
    finally:
        running.close()


@pytest.mark.needs_node
def test_everything_the_javascript_sdk_can(place: Place, tmp_path: Path) -> None:
    with ExitStack() as stack:
        scenario = JsScenario(place, stack, tmp_path)
        with place.trouble() as trouble:
            while trouble.goes_on():
                scenario.round()
        scenario.check()


def test_everything_the_easy_sdk_can(place: Place) -> None:
    async def play() -> None:
        scenario = EasyScenario(place)
        async with AsyncExitStack() as stack:
            await scenario.begin(stack)
            with place.trouble() as trouble:
                while trouble.goes_on():
                    await scenario.round()
            await scenario.check()

    asyncio.run(play())


def test_everything_else_over_the_raw_protocol(place: Place) -> None:
    with ExitStack() as stack:
        scenario = RawScenario(place, stack)
        with place.trouble() as trouble:
            while trouble.goes_on():
                scenario.round()
        scenario.check()
