"""The process of the clients: ``python -m tools.chaos.load``, a `Plan` on stdin as a line of JSON.

It registers users and groups, connects, and then answers lines on stdin:

    go      offer messages at the planned rate
    quiet   offer nothing new; finish what is open, send one more message to every channel, read
            every channel through every gateway, write the history, end

On stdout it says ``{"ready": …}``, once a second what it counted, and ``{"done": …}``.
"""

from __future__ import annotations

import asyncio
import gc
import pickle
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop

from tools.chaos.guests import keep_leaving
from tools.chaos.person import Book, Person, now_us
from tools.chaos.plan import GROUP, ChannelPlan, Plan
from tools.chaos.reading import keep_reading, read_all
from zmqim.bench.prepare import REQUESTS_AT_ONCE

TICK_SECONDS = 0.002
LOGIN_SECONDS = 60.0
FINISH_SECONDS = 90.0
"""Once everything has healed, every open message has its answer so soon."""
GROUP_SHARE = 0.7
"""Of the messages: the groups are spread over all partitions."""
LATE_TICK_SECONDS = 1.0
"""If this process slept longer than that, its own clock of events is not to be trusted."""


class Load:
    """The users of this process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.book = Book(plan.seed, plan.payload)
        self.persons: list[Person] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.is_offering = False
        self.slept: list[tuple[int, int]] = []
        """When this process itself was late."""

    async def prepare(self) -> None:
        """Register users and groups."""
        plan = self.plan
        gate = asyncio.Semaphore(REQUESTS_AT_ONCE)
        headers = {"token": plan.api_key}
        async with aiohttp.ClientSession(plan.gateways[0].api, headers=headers) as session:

            async def post(path: str, body: dict[str, Any]) -> None:
                async with gate, session.post(path, json=body) as answer:
                    if answer.status != 200:
                        raise OSError(f"{path}: {answer.status} {await answer.text()}")

            for number, uid in enumerate(plan.users):
                token = secrets.token_hex(12)
                self.persons.append(Person(self.book, number, uid, token, plan.gateways))
            users = [
                {"uid": one.uid, "token": one.token, "device_level": 1} for one in self.persons
            ]
            await asyncio.gather(*(post("/user/token", user) for user in users))
            await asyncio.gather(
                *(post("/channel", self._group(one)) for one in plan.channels if is_group(one))
            )

    def _group(self, channel: ChannelPlan) -> dict[str, Any]:
        members = [self.plan.users[number] for number in channel.members]
        return {"channel_id": channel.channel_id, "channel_type": GROUP, "subscribers": members}

    async def connect(self) -> None:
        """Everybody online for the first time."""
        self.tasks = [asyncio.create_task(person.live()) for person in self.persons]
        if not await until(self.all_online, LOGIN_SECONDS):
            raise OSError(f"only {self.book.online} of {len(self.persons)} users got online")

    def all_online(self) -> bool:
        """Whether everybody is logged in."""
        return all(person.is_online for person in self.persons)

    def all_answered(self) -> bool:
        """Whether nothing is open."""
        return not any(person.outbox for person in self.persons)

    async def offer(self) -> None:
        """Let messages become due at the planned rate, on time, whatever the cluster does."""
        random = self.book.random
        groups = [one for one in self.plan.channels if is_group(one)]
        chats = [one for one in self.plan.channels if not is_group(one)]
        due = now_us()
        while self.is_offering:
            now = now_us()
            while due <= now:
                channel = random.choice(groups if random.random() < GROUP_SHARE else chats)
                self.persons[random.choice(channel.speakers)].speak(channel)
                due += int(random.expovariate(self.plan.rate) * 1_000_000)
            await asyncio.sleep(TICK_SECONDS)
            woken = now_us()
            if woken - now > LATE_TICK_SECONDS * 1_000_000:
                self.slept.append((now, woken))

    async def finish(self) -> None:
        """Everything has healed: what is open is answered, and every channel takes a message."""
        missing = self.book.history.missing
        if not await until(self.all_online, FINISH_SECONDS):
            away = [one.uid for one in self.persons if not one.is_online]
            missing.append(f"after healing {len(away)} users do not get online: {away[:5]}")
        if not await until(self.all_answered, FINISH_SECONDS):
            self._tell_open("after healing")
        for channel in self.plan.channels:
            self.persons[channel.members[0]].speak(channel)
        refused = self._refusals()
        if not await until(self.all_answered, FINISH_SECONDS):
            self._tell_open("of the last messages to each channel")
        if self._refusals() != refused:
            missing.append(f"after healing messages were refused: {self.book.counts}")
        await asyncio.sleep(1.0)  # what was acknowledged last is still being pushed
        self.book.history.ended = now_us()
        self.book.is_over = True
        for person in self.persons:
            if person.connection is not None:
                person.connection.close()
        await asyncio.gather(*self.tasks)

    def _tell_open(self, when: str) -> None:
        waiting = [(one.uid, len(one.outbox)) for one in self.persons if one.outbox]
        self.book.history.missing.append(f"{when} messages have no answer: {waiting[:10]}")

    def _refusals(self) -> int:
        return sum(count for name, count in self.book.counts.items() if name.startswith("refused"))

    def counted(self) -> dict[str, Any]:
        """For the one who started this process."""
        book = self.book
        return {
            "sent": len(book.history.sendings),
            "acknowledged": book.acknowledged,
            "pushed": len(book.history.pushes),
            "online": book.online,
            "open": sum(len(person.outbox) for person in self.persons),
            "counts": dict(book.counts),
        }


def is_group(channel: ChannelPlan) -> bool:
    """Or a private chat."""
    return channel.channel_type == GROUP


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` became true in time."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        return False
    return True


async def repeat(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    """Do it again and again."""
    while True:
        await asyncio.sleep(seconds)
        await act()


async def run(plan: Plan) -> dict[str, Any]:
    """The whole life of the process."""
    load = Load(plan)
    await load.prepare()
    await load.connect()
    say({"ready": True})

    async def count() -> None:
        say({"counted": load.counted()})

    counting = asyncio.create_task(repeat(1.0, count))
    assert await asyncio.to_thread(sys.stdin.readline) == "go\n"
    load.is_offering = True
    began, cpu_before = time.monotonic(), time.process_time()
    offering = asyncio.create_task(load.offer())
    others = [
        asyncio.create_task(act(plan, number, load.book))
        for number in range(len(plan.gateways))
        for act in (keep_reading, keep_leaving)
    ]
    await asyncio.to_thread(sys.stdin.readline)
    load.is_offering = False
    await offering
    cpu_share = round((time.process_time() - cpu_before) / (time.monotonic() - began), 3)
    await load.finish()
    for other in others:
        other.cancel()
    await asyncio.wait(others)
    await read_all(plan, load.book.history)
    counting.cancel()
    with Path(plan.history).open("wb") as file:
        pickle.dump(load.book.history, file, pickle.HIGHEST_PROTOCOL)
    return {"counted": load.counted(), "slept": load.slept, "cpu": cpu_share}


def say(value: object) -> None:
    """One line of JSON for the process that started this one."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    """Entry point of the process."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)  # the history only grows: looking through it is in vain
    try:
        say({"done": uvloop.run(run(plan))})
    except OSError as error:
        say({"failed": str(error)})


if __name__ == "__main__":
    main()
