"""What WuKongIM's load driver, wkbench, asks of its target: /bench/v1.

It knows a server by its HTTP API and the wire alone: here it registers users, groups and members,
and learns where clients connect and what was counted. Each item of a batch means what the call of
its kind means, /user/token, /channel/info, /channel/subscriber_add or _remove; nothing is faked.

A batch is checked as a whole before anything is touched. Then it is written side by side; items of
one user or channel go one after the other, in their order. The first refusal stops what has not
begun, and says how much is done: the same batch again does no harm.

The listener must say ``bench = true``; docs/BENCH.md tells the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from litestar import Router, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from zmqim import limits
from zmqim.chat.channels import route_key_of_user
from zmqim.chat.codes import Reason
from zmqim.gateway.http.asking import check_group, check_members, check_uid, check_uids
from zmqim.gateway.http.bench_shapes import (
    BenchAnswer,
    BenchCapabilities,
    BenchChannelsRequest,
    BenchGateway,
    BenchLimits,
    BenchMembersRequest,
    BenchSnapshot,
    BenchSupports,
    BenchTarget,
    BenchTokensRequest,
)
from zmqim.gateway.http.channels import upsert_of
from zmqim.gateway.http.given import Given, GivenPort
from zmqim.gateway.http.portions import add_members, remove_members
from zmqim.gateway.http.problems import Problem, bad_request, refused
from zmqim.gateway.http.shapes import TokenRequest
from zmqim.gateway.http.system import addresses_here
from zmqim.gateway.http.users import store_token

Job = tuple[bytes, Callable[[], Awaitable[object]]]
"""The route key of what is written, and the writing."""


@get("/capabilities")
async def capabilities() -> BenchCapabilities:
    """Which of these calls there are, and how much one batch may hold."""
    bounds = BenchLimits(limits.BENCH_ITEMS_MAX, limits.HTTP_BODY_BYTES_MAX)
    return BenchCapabilities(BenchSupports(), bounds)


@get("/capacity-target")
async def capacity_target(port: GivenPort) -> BenchTarget:
    """Where clients connect to this gateway, as /route says it."""
    here = addresses_here(port)
    return BenchTarget(BenchGateway(here.tcp_addr, here.ws_addr, here.wss_addr))


@get("/snapshot")
async def snapshot(port: GivenPort) -> BenchSnapshot:
    """What this gateway has counted since it started, and how much there is now; the names are
    those of /metrics without `zmqim_gateway_` and `_total`."""
    return BenchSnapshot(dict(port.counters()))


@post("/users/tokens", status_code=200)
async def bench_tokens(data: BenchTokensRequest, asking: Given) -> BenchAnswer:
    """Store many login tokens, each as /user/token does. A banned user stops the batch."""
    for item in data.users:
        check_uid(item.uid)

    async def store(item: TokenRequest) -> None:
        if not await store_token(asking, item):
            raise refused(Reason.BANNED, f"{item.uid[:64]!r} is banned")

    await _write([(route_key_of_user(item.uid), partial(store, item)) for item in data.users])
    return BenchAnswer(data.run_id, data.batch_id, len(data.users))


@post("/channels", status_code=200)
async def bench_channels(data: BenchChannelsRequest, asking: Given) -> BenchAnswer:
    """Create many channels or change their flags, each as /channel/info does for a group. A person
    channel needs none of it: its first message makes it."""
    jobs: list[Job] = []
    for item in data.channels:
        key = check_group(item.channel_type, item.channel_id)
        jobs.append((key, partial(asking.write, key, upsert_of(item))))
    await _write(jobs)
    return BenchAnswer(data.run_id, data.batch_id, len(jobs))


@post("/channels/subscribers", status_code=200)
async def bench_subscribers(data: BenchMembersRequest, asking: Given) -> BenchAnswer:
    """Add members to many channels, each as /channel/subscriber_add does."""
    jobs: list[Job] = []
    for item, key in zip(data.items, _keys(data), strict=True):
        name = (item.channel_type, item.channel_id)
        reset = bool(item.reset)
        jobs.append((key, partial(add_members, asking, key, *name, item.subscribers, reset)))
    await _write(jobs)
    return BenchAnswer(data.run_id, data.batch_id, len(jobs))


@post("/channels/subscribers/remove", status_code=200)
async def bench_subscribers_remove(data: BenchMembersRequest, asking: Given) -> BenchAnswer:
    """Remove members from many channels, each as /channel/subscriber_remove does."""
    jobs: list[Job] = []
    for item, key in zip(data.items, _keys(data), strict=True):
        if item.reset:
            raise bad_request("reset is for adding members", "leave it out where they are removed")
        name = (item.channel_type, item.channel_id)
        jobs.append((key, partial(remove_members, asking, key, *name, item.subscribers)))
    await _write(jobs)
    return BenchAnswer(data.run_id, data.batch_id, len(jobs))


def bench_router(is_on: bool) -> Router:
    """All calls of this module; unless `is_on` each says how they are switched on."""

    # Not a plain function: the framework would run it in a thread, for each request.
    async def check_switch(
        connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        if not is_on:
            raise Problem(
                404,
                "bench_off",
                "the calls of WuKongIM's load driver are switched off here",
                hint="write the HTTP listener of the gateway in the topology as "
                '{ url = "http://…", bench = true }, then `zmqim down` and `zmqim up`',
            )

    return Router(
        "/bench/v1",
        route_handlers=[
            capabilities,
            capacity_target,
            snapshot,
            bench_tokens,
            bench_channels,
            bench_subscribers,
            bench_subscribers_remove,
        ],
        guards=[check_switch],
        tags=["bench"],
    )


def _keys(data: BenchMembersRequest) -> list[bytes]:
    """The route key of each item's channel; `Problem` for the first that cannot be."""
    total = sum(len(item.subscribers) for item in data.items)
    if total > limits.HTTP_LIST_MAX:
        raise bad_request(
            f"{total} subscribers in one batch are more than {limits.HTTP_LIST_MAX}",
            "make more batches of them",
        )
    keys = []
    for item in data.items:
        keys.append(check_members(item.channel_type, item.channel_id))
        check_uids(item.subscribers)
    return keys


async def _write(jobs: Sequence[Job]) -> None:
    """Do all of them, those of one key in their order, HTTP_SENDS_AT_ONCE_MAX keys at a time.

    The first `Problem` ends it when what has begun is over; it says how many are done.
    """
    lanes: dict[bytes, list[Callable[[], Awaitable[object]]]] = {}
    for key, job in jobs:
        lanes.setdefault(key, []).append(job)
    left = iter(lanes.values())
    done = 0
    refusals: list[Problem] = []

    async def work() -> None:
        nonlocal done
        for lane in left:
            for job in lane:
                if refusals:
                    return
                try:
                    await job()
                except Problem as problem:
                    refusals.append(problem)
                    return
                done += 1

    workers = min(len(lanes), limits.HTTP_SENDS_AT_ONCE_MAX)
    await asyncio.gather(*[work() for _ in range(workers)])
    if refusals:
        first = refusals[0]
        raise Problem(
            first.status,
            first.code,
            f"{done} of {len(jobs)} are done: {first.msg}",
            hint="send the batch again: repeats do no harm",
            reason=first.reason,
        )
