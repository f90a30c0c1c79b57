"""A whole run: prepare, start workers, connect, measure, collect."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from zmqim.bench.plan import Part, Plan, Shape
from zmqim.bench.prepare import prepare
from zmqim.bench.report import report_of
from zmqim.bench.sampling import pids_of, usages_of
from zmqim.bench.worker import DRAIN_SECONDS, LOGIN_SECONDS, Connected, Failed, Figures
from zmqim.errors import DeadlinePassed, ZmqimError

LINE_BYTES_MAX = 64 * 2**20
"""A worker's answer holds its histogram: some 100 KB, and more where latencies spread."""
FAILED_START = b'{"failed"'
SHOWN_BYTES = 100
"""Of an answer that cannot be read."""
SLACK_SECONDS = 60.0
SETTLE_SECONDS = 1.0
Syncs = Callable[[], tuple[int, int]]
"""(journal syncs, journal entries) of all storages so far."""
Tell = Callable[[str], None]
AnswerT = TypeVar("AnswerT")


class Worker:
    """A worker process and its lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def tell(self, line: bytes) -> None:
        """One line to the worker; ZmqimError if it is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + b"\n")
            await self.process.stdin.drain()
        except ConnectionError:
            raise ZmqimError("A load worker ended before its work was done.") from None

    async def heard(self, kind: type[AnswerT], seconds: float) -> AnswerT:
        """The worker's next line; ZmqimError if it failed, DeadlinePassed if it is silent."""
        try:
            async with asyncio.timeout(seconds):
                line = await self._line()
        except TimeoutError:
            raise DeadlinePassed("A load worker did not answer in time.") from None
        try:
            if not line.startswith(FAILED_START):
                return msgspec.json.decode(line, type=kind)
            text = msgspec.json.decode(line, type=Failed).failed
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ZmqimError(
                f"A load worker's answer cannot be read: {line[:SHOWN_BYTES]!r}",
                hint="Something else than the worker wrote to its standard output.",
            ) from None
        raise ZmqimError(f"A load worker failed: {text}", hint="zmqim status says more")

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        try:
            line = await self.process.stdout.readline()
        except ValueError:
            raise ZmqimError(f"A load worker's answer is above {LINE_BYTES_MAX} bytes.") from None
        if not line.endswith(b"\n"):
            code = await self.process.wait()
            when = "in the middle of its answer" if line else "without an answer"
            raise ZmqimError(
                f"A load worker ended with code {code} {when}.",
                hint="What it wrote above says why.",
            )
        return line


async def measure(
    plan: Plan,
    targets: list[tuple[str, int]],
    api: str,
    key: str,
    data: Path,
    workers_count: int,
    syncs: Syncs,
    tell: Tell,
) -> dict[str, Any]:
    """Run `plan` against the gateways at `targets` (host, port); the report."""
    pids = pids_of(data)
    idle = usages_of(pids)
    tell(f"registering {plan.connections} users")
    tokens, group_seconds = await prepare(plan, api, key)
    await asyncio.sleep(SETTLE_SECONDS)
    idle = usages_of(pids) or idle
    workers = [await _start() for _ in range(workers_count)]
    try:
        tell(f"connecting {plan.connections} clients")
        connect_seconds = await _connect(workers, plan, targets, tokens)
        tell(f"connected in {connect_seconds:.2f} s; warming up {plan.warmup:g} s")
        pids |= {f"load-{number}": each.process.pid for number, each in enumerate(workers, 1)}
        for worker in workers:
            await worker.tell(b"go")
        await asyncio.sleep(plan.warmup)
        tell(f"measuring {plan.seconds:g} s")
        before, syncs_before = usages_of(pids), syncs()
        await asyncio.sleep(plan.seconds)
        after, syncs_after = usages_of(pids), syncs()
        figures = [
            await worker.heard(Figures, DRAIN_SECONDS + SLACK_SECONDS + plan.seconds)
            for worker in workers
        ]
    finally:
        for worker in workers:
            if worker.process.returncode is None:
                worker.process.kill()
            await worker.process.wait()
    made = (syncs_after[0] - syncs_before[0], syncs_after[1] - syncs_before[1])
    report = report_of(plan, figures, connect_seconds, before, after, idle, made)
    if plan.shape is Shape.CROWD:
        report["create_seconds"] = round(group_seconds, 2)
    return report


async def _start() -> Worker:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # nothing in the current folder is imported instead of a package
        "-m",
        "zmqim.bench.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    return Worker(process)


async def _connect(
    workers: list[Worker], plan: Plan, targets: list[tuple[str, int]], tokens: list[str]
) -> float:
    """Give each worker its part; the seconds until the last connection stood."""
    share = plan.connections // len(workers)
    share += share % 2
    for number, worker in enumerate(workers):
        first = number * share
        last = plan.connections if number == len(workers) - 1 else first + share
        host, port = targets[number % len(targets)]
        part = Part(plan, first, last - first, host, port, tokens[first:last])
        await worker.tell(msgspec.json.encode(part))
    seconds = LOGIN_SECONDS + SLACK_SECONDS + plan.connections / 100
    answers = await asyncio.gather(*(worker.heard(Connected, seconds) for worker in workers))
    return max(answer.connected for answer in answers)
