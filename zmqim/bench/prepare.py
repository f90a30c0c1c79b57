"""What must exist before load: a token for every user and the groups with their members."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable
from typing import Any

import aiohttp

from zmqim.bench.plan import Plan, Shape, group_of, members_of, uid_of
from zmqim.errors import ZmqimError

REQUESTS_AT_ONCE = 32
REQUEST_SECONDS_MAX = 600
"""A group of 100,000 members is one request."""


async def prepare(plan: Plan, api: str, key: str) -> tuple[list[str], float]:
    """Register a fresh token for each connection's user and create the groups; the tokens, and the
    seconds that the groups took."""
    tokens = [secrets.token_hex(12) for _ in range(plan.connections)]
    connector = aiohttp.TCPConnector(limit=REQUESTS_AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)
    async with aiohttp.ClientSession(
        api, headers={"token": key}, connector=connector, timeout=timeout
    ) as session:
        users = (
            ("/user/token", {"uid": uid_of(plan, n), "token": token, "device_level": 1})
            for n, token in enumerate(tokens)
        )
        await _post_all(session, users)
        started = time.perf_counter()
        if plan.shape in (Shape.GROUP, Shape.CROWD):
            await _post_all(session, (_group(plan, number) for number in range(plan.groups)))
    return tokens, time.perf_counter() - started


def _group(plan: Plan, number: int) -> tuple[str, dict[str, Any]]:
    uids = [uid_of(plan, member) for member in members_of(plan, number)]
    return "/channel", {
        "channel_id": group_of(plan, number),
        "channel_type": 2,
        "subscribers": uids,
    }


async def _post_all(
    session: aiohttp.ClientSession, calls: Iterable[tuple[str, dict[str, Any]]]
) -> None:
    gate = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def post(path: str, body: dict[str, Any]) -> None:
        async with gate, session.post(path, json=body) as answer:
            if answer.status != 200:
                raise ZmqimError(f"{path} answered {answer.status}: {await answer.text()}")

    async with asyncio.TaskGroup() as group:
        for path, body in calls:
            group.create_task(post(path, body))
