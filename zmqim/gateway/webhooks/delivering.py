"""Telling an application something until it is safe: taken, or kept as a dead letter.

A POST is tried again with pauses that double from WEBHOOK_RETRY_MS_MIN to WEBHOOK_RETRY_MS_MAX.
What the application refuses for good, and what it did not take in WEBHOOK_TRIES_MAX tries, becomes
a dead letter: one event that it cannot digest does not stop the others for ever. While nobody can
be reached no try is counted: nothing is wrong with the event, and the log waits (ADR 0012). Where
no dead letter can be kept either, delivery waits for the operator.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from zmqim.errors import DiskError
from zmqim.gateway.webhooks.letters import DeadLetters, letter_of
from zmqim.gateway.webhooks.posting import Taken, Verdict
from zmqim.limits import (
    WEBHOOK_RETRY_MS_MAX,
    WEBHOOK_RETRY_MS_MIN,
    WEBHOOK_STATUS_TRIES_MAX,
    WEBHOOK_TRIES_MAX,
)

Pause = Callable[[float], Awaitable[None]]
"""`asyncio.sleep`, or what a test has for it."""


class Post(Protocol):
    """`Poster.post`."""

    async def __call__(self, event: str, body: bytes) -> Verdict:
        """Tell the application of an event, once."""


class Telling(Protocol):
    """What of the gateway's port is needed here."""

    def report(self, source: str, problem: str) -> None:
        """A sentence that `zmqim status` shows until the next one."""

    def count(self, counter: str, by: int = 1) -> None:
        """Add to a counter of the gateway's metrics."""


class Delivery:
    """What one webhook of this gateway has to tell its application."""

    def __init__(
        self,
        webhook: str,
        address: str,
        post: Post,
        letters: DeadLetters,
        port: Telling,
        logger: FilteringBoundLogger,
        sleep: Pause = asyncio.sleep,
    ) -> None:
        self._webhook = webhook
        self._address = address
        self._post = post
        self._letters = letters
        self._port = port
        self._logger = logger
        self._sleep = sleep
        self._is_well = True

    async def deliver(self, event: str, body: bytes) -> None:
        """Return once `body` is taken, or is a dead letter on the disk."""
        pause, tries = WEBHOOK_RETRY_MS_MIN, 0
        while True:
            verdict = await self._try(event, body)
            if verdict.taken is Taken.YES:
                return
            tries += verdict.taken is not Taken.NOBODY
            if verdict.taken is Taken.NEVER or tries == WEBHOOK_TRIES_MAX:
                await self._bury(event, body, verdict.why)
                return
            await self._sleep(pause / 1000)
            pause = min(2 * pause, WEBHOOK_RETRY_MS_MAX)

    async def offer(self, event: str, body: bytes) -> bool:
        """Was it taken within WEBHOOK_STATUS_TRIES_MAX tries of any kind? Else it is forgotten."""
        pause = WEBHOOK_RETRY_MS_MIN
        for number in range(WEBHOOK_STATUS_TRIES_MAX):
            if number:
                await self._sleep(pause / 1000)
                pause = min(2 * pause, WEBHOOK_RETRY_MS_MAX)
            verdict = await self._try(event, body)
            if verdict.taken in (Taken.YES, Taken.NEVER):
                return verdict.taken is Taken.YES
        return False

    async def _try(self, event: str, body: bytes) -> Verdict:
        verdict = await self._post(event, body)
        if verdict.taken is Taken.YES:
            self._port.count("webhook_posts")
            if not self._is_well:
                self._is_well = True
                self._port.report(self._source, "")
                self._logger.info("the application takes events again", webhook=self._webhook)
            return verdict
        self._port.count("webhook_posts_failed")
        if verdict.taken is not Taken.NEVER:
            sentence = (
                f"webhook {self._webhook}: the application at {self._address} does not take "
                f"{event}: {verdict.why}; it is tried again"
            )
            self._port.report(self._source, sentence)
            if self._is_well:
                self._is_well = False
                self._logger.warning(sentence)
        return verdict

    async def _bury(self, event: str, body: bytes, why: str) -> None:
        """Keep a dead letter, and wait until there is room for it."""
        at = time.time_ns() // 1_000_000
        letter = letter_of(self._webhook, event, why, at, body)
        source = f"{self._source}, dead letters"
        while True:
            try:
                is_kept = self._letters.keep(letter)
                lack = "there are too many: replay or drop some (`zmqim webhooks`)"
            except DiskError as error:
                is_kept, lack = False, error.what
            if is_kept:
                break
            self._port.report(
                source, f"webhook {self._webhook} waits: no dead letter can be kept, {lack}"
            )
            await self._sleep(WEBHOOK_RETRY_MS_MAX / 1000)
        self._port.report(source, "")
        self._port.count("webhook_dead_letters")
        self._logger.warning(
            "an event became a dead letter", webhook=self._webhook, of=event, why=why
        )

    @property
    def _source(self) -> str:
        return f"webhook {self._webhook}"
