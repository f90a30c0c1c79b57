"""Reading back, as pages of the HTTP API: ends of channels all the time, everything at last.

A reader that the cluster lets down is let down: only pages that came are written down, and they
must hold what was acknowledged before they were asked for, whoever leads.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from typing import Any

import aiohttp

from tools.chaos.person import Book, now_us
from tools.chaos.plan import ChannelPlan, GatewayAddress, Plan
from zmqim.sim.history import ChannelKey, History, Pull, Seen, SessionKey

PAGE = 1_000
READ_SECONDS_MAX = 60.0
"""A page that cannot be read for so long counts as missing."""
READS_AT_ONCE = 8
TAIL = 20
"""Messages before the newest acknowledged one that a reader of ends asks for."""
TAIL_EVERY_SECONDS = 0.2
TAIL_SECONDS_MAX = 5.0
READERS_FROM = 100
"""Numbers of those readers, apart from those who read everything."""


async def keep_reading(plan: Plan, number: int, book: Book) -> None:
    """The end of one channel after the other through one gateway, until cancelled."""
    reader: SessionKey = ("http", READERS_FROM + number, 0)
    headers = {"token": plan.api_key}
    timeout = aiohttp.ClientTimeout(TAIL_SECONDS_MAX)
    api = plan.gateways[number].api
    async with aiohttp.ClientSession(api, headers=headers, timeout=timeout) as session:
        while True:
            channel = book.random.choice(plan.channels)
            start = max(1, book.newest.get(_key(channel), 0) - TAIL)
            pull = await _page(session, plan, channel, reader, start)
            if pull is None:
                book.counts["reads without an answer"] += 1
            else:
                book.history.pulls.append(pull)
            await asyncio.sleep(TAIL_EVERY_SECONDS)


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
    while not pulls or pulls[-1].more:
        deadline = time.monotonic() + READ_SECONDS_MAX
        while (pull := await _page(session, plan, channel, reader, start)) is None:
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(0.5)
        pulls.append(pull)
        start = pull.last_sequence + 1
    return pulls


async def _page(
    session: aiohttp.ClientSession, plan: Plan, channel: ChannelPlan, reader: SessionKey, start: int
) -> Pull | None:
    """One page upwards from `start`; None if it was not answered."""
    question = {
        "login_uid": plan.users[channel.members[0]],
        "channel_id": channel.channel_id,
        "channel_type": channel.channel_type,
        "start_message_seq": start,
        "limit": PAGE,
        "pull_mode": 1,
    }
    began = now_us()
    try:
        async with session.post("/channel/messagesync", json=question) as answer:
            if answer.status != 200:
                return None
            page = await answer.json()
    except (aiohttp.ClientError, TimeoutError):
        return None
    key = _key(channel)
    rows = tuple(_seen(key, row) for row in page["messages"])
    last = max((row.sequence for row in rows), default=start - 1)
    return Pull(began, now_us(), reader, key, start, rows, bool(page["more"]), last)


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
