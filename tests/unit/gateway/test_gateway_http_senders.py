"""Bans of users that HTTP calls send for: read now and then, and at once when changed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from zmqim.bus.messages import OutcomeCode
from zmqim.chat.codes import Reason
from zmqim.chat.encoding import encode
from zmqim.chat.queries import UserQuery, decode_query
from zmqim.chat.results import UserRow
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.problems import Problem
from zmqim.gateway.http.senders import Senders
from zmqim.gateway.plugin import Answer, GatewayPort
from zmqim.limits import SENDER_KNOWN_MS, SENDERS_KNOWN_MAX


class Users:
    """The partition of all users; `gate` holds an answer back that was read before."""

    def __init__(self) -> None:
        self.rows: dict[str, UserRow] = {}
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None
        port = SimpleNamespace(ask=self._ask, system_uids=frozenset({"robot"}))
        self.senders = Senders(Asking(cast(GatewayPort, port)))

    async def _ask(self, kind: int, key: bytes, body: bytes, deadline_ms: int) -> Answer:
        query = decode_query(body)
        assert isinstance(query, UserQuery)
        self.asked.append(query.uid)
        row = self.rows.get(query.uid, UserRow(query.uid, False))
        if self.gate is not None:
            await self.gate.wait()
        return Answer(OutcomeCode.DONE, encode(row))

    async def refusal(self, uid: str) -> int:
        """The reason why `uid` may not send; 0 if it may."""
        try:
            await self.senders.check(uid)
        except Problem as problem:
            return problem.reason or -1
        return 0


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still unless a test moves it on."""

    ahead = 1.0

    def time(self) -> float:
        return self.ahead


def run(scene: Callable[[Users, Clock], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(scene(Users(), cast(Clock, runner.get_loop())))


def test_who_may_send_is_asked_about_again_after_a_moment() -> None:
    async def scene(users: Users, clock: Clock) -> None:
        for _ in range(3):
            assert await users.refusal("ada") == 0
        assert users.asked == ["ada"]
        users.rows["ada"] = UserRow("ada", True, send_ban=True)
        clock.ahead += SENDER_KNOWN_MS / 1000
        assert await users.refusal("ada") == Reason.SEND_BANNED

    run(scene)


def test_a_system_uid_is_not_asked_about() -> None:
    async def scene(users: Users, clock: Clock) -> None:
        users.rows["robot"] = UserRow("robot", True, ban=True)
        assert await users.refusal("robot") == 0
        assert users.asked == []

    run(scene)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (UserRow("ada", True, ban=True), Reason.BANNED),
        (UserRow("ada", True, send_ban=True), Reason.SEND_BANNED),
    ],
)
def test_who_is_banned_is_asked_about_each_time(row: UserRow, reason: Reason) -> None:
    async def scene(users: Users, clock: Clock) -> None:
        users.rows["ada"] = row
        assert await users.refusal("ada") == reason
        del users.rows["ada"]
        assert await users.refusal("ada") == 0

    run(scene)


def test_a_change_through_this_gateway_counts_at_once() -> None:
    async def scene(users: Users, clock: Clock) -> None:
        assert await users.refusal("ada") == 0
        users.rows["ada"] = UserRow("ada", True, ban=True)
        users.senders.forget("ada")
        assert await users.refusal("ada") == Reason.BANNED

    run(scene)


def test_what_was_read_before_a_change_is_not_kept_behind_it() -> None:
    async def scene(users: Users, clock: Clock) -> None:
        users.gate = asyncio.Event()
        reading = asyncio.ensure_future(users.refusal("ada"))
        while not users.asked:
            await asyncio.sleep(0)
        users.rows["ada"] = UserRow("ada", True, ban=True)
        users.senders.forget("ada")
        users.gate.set()
        assert await reading == 0
        assert await users.refusal("ada") == Reason.BANNED

    run(scene)


def test_so_many_are_known_and_the_one_read_longest_ago_makes_room() -> None:
    async def scene(users: Users, clock: Clock) -> None:
        for number in range(SENDERS_KNOWN_MAX + 1):
            await users.refusal(f"u{number}")
        users.asked.clear()
        await users.refusal("u1")
        await users.refusal("u0")
        assert users.asked == ["u0"]

    run(scene)
