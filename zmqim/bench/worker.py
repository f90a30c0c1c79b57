"""One process of the load: ``python -m zmqim.bench.worker``, a `Part` on stdin, lines of JSON on
stdout.

It connects, says ``{"connected": seconds}``, waits for a line on stdin, offers load for warm-up and
measurement, waits for what is unanswered, and prints its `Figures`.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from time import perf_counter

import msgspec
import uvloop

from zmqim.bench.connection import Connection, tail_bytes_of
from zmqim.bench.histogram import Histogram
from zmqim.bench.plan import Part, Plan, Shape, targets_of, uid_of

CONNECTS_AT_ONCE = 256
TICK_SECONDS = 0.001
DRAIN_SECONDS = 5.0
PING_SECONDS = 60.0
LOGIN_SECONDS = 30.0
REACHED_SECONDS_MAX = 60.0
"""In the shape `crowd`, until everybody has a message."""


class Figures(msgspec.Struct):
    """What one worker counted between the end of warm-up and the end of measurement."""

    seconds: float
    acknowledged: int
    delivered: int
    refused: dict[int, int]
    unanswered: int
    lost_connections: int
    corrupt: int
    latencies: dict[int, int]
    total_sent: int
    total_acknowledged: int
    total_delivered: int
    reached: list[float]
    """Shape `crowd`: the seconds from each SEND to the RECV of the last one online."""
    first_reached: float
    """The same of the first message, also in the warm-up: for it the router reads the members."""


class Connected(msgspec.Struct):
    """The seconds until the last connection stood."""

    connected: float


class Failed(msgspec.Struct):
    """What a worker says instead when it cannot go on."""

    failed: str


class Load:
    """State that the connections of this worker share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.payload = b"x" * plan.payload
        self.tail_bytes = tail_bytes_of(plan.payload)
        self.closed_loop = plan.rate == 0 and plan.shape is not Shape.CROWD
        self.stopping = False
        self.measuring = False
        self.sent = self.acknowledged = self.delivered = 0
        self.lost_connections = self.corrupt = 0
        self.refused: dict[int, int] = {}
        self.latencies = Histogram()
        self.reached: list[float] = []
        self.first_reached = 0.0

    def answered(self, durations: list[float]) -> None:
        """SENDACKs of success came, that many seconds after their SENDs were due."""
        self.acknowledged += len(durations)
        if self.measuring:
            self.latencies.add(durations)

    def refuse(self, reason: int) -> None:
        """A SENDACK with another reason came."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


async def connect_all(part: Part, load: Load) -> list[Connection]:
    """All connections of this part, logged in, CONNECTS_AT_ONCE at a time."""
    loop = asyncio.get_running_loop()
    targets = targets_of(part.plan)
    gate = asyncio.Semaphore(CONNECTS_AT_ONCE)

    async def connect(number: int, token: str) -> Connection:
        uid = uid_of(part.plan, number)
        async with gate:
            _, connection = await loop.create_connection(
                lambda: Connection(load, number, uid, token, targets.get(number)),
                part.host,
                part.port,
            )
            async with asyncio.timeout(LOGIN_SECONDS):
                await connection.ready
        return connection

    numbers = range(part.first, part.first + part.count)
    return list(await asyncio.gather(*map(connect, numbers, part.tokens)))


async def offer(part: Part, load: Load, connections: list[Connection], seconds: float) -> None:
    """Offer load for that long: all places at once, or at the planned rate, by due time."""
    senders = [connection for connection in connections if connection.target is not None]
    if part.plan.shape is Shape.CROWD:
        await reach(load, senders[0], len(connections) - 1, seconds)
        return
    start = perf_counter()
    if load.closed_loop or not senders:
        if load.sent == 0:
            for connection in senders:
                connection.offer([start] * part.plan.in_flight)
        await asyncio.sleep(seconds)
        return
    interval = len(targets_of(part.plan)) / part.plan.rate / len(senders)
    due, turn = start, 0
    while (now := perf_counter()) < start + seconds:
        while due <= now:
            senders[turn % len(senders)].offer([due])
            due += interval
            turn += 1
        await asyncio.sleep(TICK_SECONDS)


async def reach(load: Load, sender: Connection, others: int, seconds: float) -> None:
    """One message after the other for that long, each when all `others` have the one before and,
    with a planned rate, when it is due."""
    start = due = perf_counter()
    pause = 1 / load.plan.rate if load.plan.rate else 0.0
    while (now := perf_counter()) < start + seconds:
        if now < due:
            await asyncio.sleep(TICK_SECONDS)
            continue
        wanted = load.delivered + others
        sender.offer([now])
        async with asyncio.timeout(REACHED_SECONDS_MAX):
            while load.delivered < wanted:
                await asyncio.sleep(TICK_SECONDS)
        taken = perf_counter() - now
        load.first_reached = load.first_reached or taken
        if load.measuring:
            load.reached.append(taken)
        due = max(now + pause, perf_counter())


async def drain(connections: list[Connection]) -> int:
    """Wait for answers and deliveries under way; the number of SENDs that stay unanswered."""
    end = perf_counter() + DRAIN_SECONDS
    received = -1
    while perf_counter() < end:
        unanswered = sum(len(connection.waiting) for connection in connections)
        before, received = received, sum(connection.received for connection in connections)
        if unanswered == 0 and received == before:
            break
        await asyncio.sleep(0.2)
    return sum(len(connection.waiting) for connection in connections)


async def ping_for_ever(connections: list[Connection]) -> None:
    """Keep idle connections alive."""
    while True:
        await asyncio.sleep(PING_SECONDS)
        for connection in connections:
            connection.ping()


async def run(part: Part) -> Figures:
    """The whole life of a worker."""
    load = Load(part.plan)
    started = perf_counter()
    connections = await connect_all(part, load)
    say(Connected(perf_counter() - started))
    await asyncio.to_thread(sys.stdin.readline)
    pings = asyncio.create_task(ping_for_ever(connections))
    await offer(part, load, connections, part.plan.warmup)
    acknowledged, delivered = load.acknowledged, load.delivered
    load.measuring = True
    measured_from = perf_counter()
    await offer(part, load, connections, part.plan.seconds)
    seconds = perf_counter() - measured_from
    load.measuring = False
    acknowledged, delivered = load.acknowledged - acknowledged, load.delivered - delivered
    load.stopping = True
    unanswered = await drain(connections)
    pings.cancel()
    for connection in connections:
        connection.close()
    return Figures(
        seconds,
        acknowledged,
        delivered,
        load.refused,
        unanswered,
        load.lost_connections,
        load.corrupt,
        dict(load.latencies.counts),
        load.sent,
        load.acknowledged,
        load.delivered,
        load.reached,
        load.first_reached,
    )


def say(value: object) -> None:
    """One line of JSON for the process that started this one.

    The kernel may cut a write to a full pipe short: to close uvloop's loop ends its io_uring, and
    that interrupts what this thread waits for a moment later. A buffered file writes the rest;
    `sys.stdout` is none with PYTHONUNBUFFERED, and drops it without a word.
    """
    with open(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(msgspec.json.encode(value) + b"\n")


def main() -> None:
    """Entry point of the process."""
    part = msgspec.json.decode(sys.stdin.readline(), type=Part)
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # as in the servers: what is measured is the messages
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        figures = uvloop.run(run(part))
    except (OSError, TimeoutError) as error:
        say(Failed(str(error) or "no answer to CONNECT, or no message, in time"))
    else:
        say(figures)


if __name__ == "__main__":
    main()
