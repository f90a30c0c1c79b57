"""Reading back, at the end: every channel through every gateway, as pages of the HTTP API."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from typing import Any

import aiohttp

from tools.chaos.plan import ChannelPlan, GatewayAddress, Plan
from zmqim.sim.history import ChannelKey, History, Pull, Seen, SessionKey

PAGE = 1_000
READ_SECONDS_MAX = 60.0
"""A page that cannot be read for so long counts as missing."""
READS_AT_ONCE = 8


async def read_all(plan: Plan, history: History) -> None:
    """Every channel through every gateway into `history`; what the first gateway shows is what is
    stored, and the checks compare the others with it."""
    for number, gateway in enumerate(plan.gateways):
        gate = asyncio.Semaphore(READS_AT_ONCE)
        headers = {"token": plan.api_key}
        async with aiohttp.ClientSession(gateway.api, headers=headers) as session:

            async def read(
                channel: ChannelPlan,
                reader: SessionKey = ("http", number, 0),
                session: aiohttp.ClientSession = session,
                gate: asyncio.Semaphore = gate,
                gateway: GatewayAddress = gateway,
            ) -> None:
                async with gate:
                    pulls = await _read(session, plan, channel, reader)
                history.pulls += pulls or ()
                if pulls is None:
                    history.missing.append(f"{channel} cannot be read through {gateway.name}")
                elif reader[1] == 0:
                    history.stored[_key(channel)] = [row for pull in pulls for row in pull.rows]

            await asyncio.gather(*map(read, plan.channels))


async def _read(
    session: aiohttp.ClientSession, plan: Plan, channel: ChannelPlan, reader: SessionKey
) -> list[Pull] | None:
    """The pages of a channel; None if one cannot be had in time."""
    pulls: list[Pull] = []
    start = 1
    while True:
        began = time.monotonic_ns() // 1_000
        question = {
            "login_uid": plan.users[channel.members[0]],
            "channel_id": channel.channel_id,
            "channel_type": channel.channel_type,
            "start_message_seq": start,
            "limit": PAGE,
            "pull_mode": 1,
        }
        page = await _ask(session, question)
        if page is None:
            return None
        rows = tuple(_seen(_key(channel), row) for row in page["messages"])
        last = max((row.sequence for row in rows), default=start - 1)
        more = bool(page["more"])
        ended = time.monotonic_ns() // 1_000
        pulls.append(Pull(began, ended, reader, _key(channel), start, rows, more, last))
        if not more:
            return pulls
        start = last + 1


async def _ask(session: aiohttp.ClientSession, question: dict[str, Any]) -> Any:
    deadline = time.monotonic() + READ_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            async with session.post("/channel/messagesync", json=question) as answer:
                if answer.status == 200:
                    return await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(0.5)
    return None


def _seen(channel: ChannelKey, row: dict[str, Any]) -> Seen:
    return Seen(
        channel,
        row["message_seq"],
        row["message_id"],
        row["from_uid"],
        row["client_msg_no"],
        b64decode(row["payload"]),
    )


def _key(channel: ChannelPlan) -> ChannelKey:
    return channel.channel_type, channel.channel_id, False
