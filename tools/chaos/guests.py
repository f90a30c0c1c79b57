"""Guests who are removed from groups and added again, to see that nobody hears what is not meant
for him: they only listen.

An absence lasts from the answer to the removal until the addition is asked for. A removal that has
no answer is asked for again. An addition without one may still happen at any time, so that guest is
left alone in that group from then on.
"""

from __future__ import annotations

import asyncio

import aiohttp

from tools.chaos.person import Book, now_us
from tools.chaos.plan import GROUP, GUESTS_FROM, ChannelPlan, Plan
from zmqim.sim.history import Absence

ABSENCES_MAX = 40
"""In a run: each is compared with every push."""
AWAY_SECONDS = (0.5, 3.0)
BETWEEN_SECONDS = (0.2, 1.5)
ANSWER_SECONDS_MAX = 20.0

Stay = tuple[str, ChannelPlan]
"""A guest's uid and a group that he is in."""


async def keep_leaving(plan: Plan, number: int, book: Book) -> None:
    """Through one gateway, until cancelled or ABSENCES_MAX is reached."""
    stays = stays_of(plan)[number :: len(plan.gateways)]
    headers = {"token": plan.api_key}
    timeout = aiohttp.ClientTimeout(ANSWER_SECONDS_MAX)
    api = plan.gateways[number].api
    async with aiohttp.ClientSession(api, headers=headers, timeout=timeout) as session:
        while stays and len(book.history.absences) < ABSENCES_MAX:
            await asyncio.sleep(book.random.uniform(*BETWEEN_SECONDS))
            stay = book.random.choice(stays)
            while not await _change(session, "/channel/subscriber_remove", stay):
                await asyncio.sleep(0.5)
            await _be_away(book, stay)
            if not await _change(session, "/channel/subscriber_add", stay):
                stays.remove(stay)


def stays_of(plan: Plan) -> list[Stay]:
    """Every guest in every group that he begins in."""
    return [
        (plan.users[member], channel)
        for channel in plan.channels
        for member in channel.members
        if member >= GUESTS_FROM
    ]


async def _be_away(book: Book, stay: Stay) -> None:
    uid, channel = stay
    since = now_us()
    try:
        await asyncio.sleep(book.random.uniform(*AWAY_SECONDS))
    finally:
        key = channel.channel_type, channel.channel_id, False
        book.history.absences.append(Absence(uid, key, since, now_us()))


async def _change(session: aiohttp.ClientSession, path: str, stay: Stay) -> bool:
    uid, channel = stay
    body = {"channel_id": channel.channel_id, "channel_type": GROUP, "subscribers": [uid]}
    try:
        async with session.post(path, json=body) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
