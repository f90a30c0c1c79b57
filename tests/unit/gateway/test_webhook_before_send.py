"""What the answers of the application that is asked before a message mean."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
import structlog

from zmqim.chat.codes import Reason
from zmqim.gateway.plugin import Draft, HookVerdict
from zmqim.gateway.webhooks.before_send import (
    ALLOWED,
    FAILED,
    BeforeSend,
    question_of,
    verdict_of,
)
from zmqim.gateway.webhooks.posting import Taken, Verdict, judge
from zmqim.limits import HOOK_ASKED_MAX, PAYLOAD_BYTES_MAX

DRAFT = Draft("ada", 1, "bob", "n", b"hi", 2, 0, "t", 60)
YES = Verdict(Taken.YES)


class Application:
    """Answers as it is told to; counts how many questions it has at once."""

    def __init__(self, verdict: Verdict = YES, answer: bytes = b"", seconds: float = 0.0) -> None:
        self.verdict = verdict
        self.answer = answer
        self.seconds = seconds
        self.open = 0
        self.most = 0
        self.counts: dict[str, int] = {}
        self.reports: dict[str, str] = {}
        self.logged: list[str] = []

    async def exchange(self, event: str, body: bytes) -> tuple[Verdict, bytes]:
        assert event == "msg.before_send"
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(self.seconds)
        self.open -= 1
        return self.verdict, self.answer

    async def close(self) -> None:
        pass

    def report(self, source: str, problem: str) -> None:
        self.reports[source] = problem

    def count(self, counter: str, by: int = 1) -> None:
        self.counts[counter] = self.counts.get(counter, 0) + by

    def hook(self, *, fails_open: bool = False, timeout_ms: int = 10_000) -> BeforeSend:
        logger = structlog.wrap_logger(
            structlog.PrintLogger(),
            processors=[self._log],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )
        return BeforeSend(
            self.exchange, self.close, self, logger, timeout_ms, fails_open=fails_open
        )

    def _log(self, _logger: object, level: str, event: structlog.typing.EventDict) -> str:
        self.logged.append(f"{level}: {event['event']}")
        raise structlog.DropEvent


def ask(application: Application, **settings: bool) -> HookVerdict:
    async def once() -> HookVerdict:
        return await application.hook(**settings).ask(DRAFT)

    return asyncio.run(once())


def test_the_question_is_spelled_like_a_message() -> None:
    assert json.loads(question_of(DRAFT)) == {
        "from_uid": "ada",
        "channel_id": "bob",
        "channel_type": 1,
        "client_msg_no": "n",
        "payload": "aGk=",
        "header": {"no_persist": 0, "red_dot": 1, "sync_once": 0},
        "setting": 0,
        "topic": "t",
        "expire": 60,
    }


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"", ALLOWED),
        (b"{}", ALLOWED),
        (b'{"more": 1}', ALLOWED),
        (b'{"payload": "aGk="}', HookVerdict(1, b"hi")),
        (b'{"payload": ""}', HookVerdict(1, b"")),
        (b'{"refuse": 11, "text": "no"}', HookVerdict(11, text="no")),
        (b'{"refuse": 11, "payload": "aGk="}', HookVerdict(11)),
        (b'{"refuse": 1}', None),
        (b'{"refuse": 300}', None),
        (b'{"refuse": "spam"}', None),
        (b'{"payload": "no base64!"}', None),
        (b'{"payload": "\\u00fc"}', None),
        (b"[]", None),
        (b"allowed", None),
        (b"\xff", None),
        (b'{"more": ' + 100_000 * b"[", None),
    ],
)
def test_what_an_answer_says(answer: bytes, verdict: HookVerdict | None) -> None:
    assert verdict_of(answer) == verdict


def test_a_payload_above_the_bound_is_no_answer() -> None:
    def of(size: int) -> bytes:
        return json.dumps({"payload": base64.b64encode(bytes(size)).decode()}).encode()

    assert verdict_of(of(PAYLOAD_BYTES_MAX)) == HookVerdict(1, bytes(PAYLOAD_BYTES_MAX))
    assert verdict_of(of(PAYLOAD_BYTES_MAX + 1)) is None


@pytest.mark.parametrize(
    ("verdict", "answer", "words"),
    [
        (judge(500), b"", "HTTP status 500"),
        (judge(403), b"{}", "HTTP status 403"),
        (Verdict(Taken.NOBODY, "nobody can be reached there"), b"", "nobody can be reached"),
        (YES, b"nonsense", "cannot be read"),
    ],
)
def test_without_an_answer_the_topology_decides_and_status_says_so(
    verdict: Verdict, answer: bytes, words: str
) -> None:
    application = Application(verdict, answer)
    assert ask(application, fails_open=True) == ALLOWED
    assert words in application.reports["before_send"]
    assert "let through unseen" in application.reports["before_send"]
    assert ask(application, fails_open=False) == FAILED
    assert "messages are refused" in application.reports["before_send"]
    assert application.counts == {"hook_failed": 2}
    application.verdict, application.answer = YES, b'{"refuse": 11}'
    assert ask(application).reason == Reason.NOT_ALLOWED
    assert application.reports["before_send"] == ""
    assert application.counts["hook_refused"] == 1


def test_the_log_says_once_in_a_while_that_there_is_no_answer() -> None:
    application = Application(judge(500))

    async def often() -> None:
        hook = application.hook(fails_open=True)
        for _ in range(3):
            await hook.ask(DRAFT)

    asyncio.run(often())
    assert application.counts == {"hook_failed": 3}
    assert application.logged == [
        "warning: before_send: HTTP status 500; messages are let through unseen"
    ]


def test_silence_ends_with_the_deadline_of_a_question_and_a_place_is_free_again() -> None:
    application = Application(seconds=3_600)

    async def twice() -> list[HookVerdict]:
        hook = application.hook(timeout_ms=1)
        return [await hook.ask(DRAFT) for _ in range(HOOK_ASKED_MAX + 1)]

    assert set(asyncio.run(twice())) == {FAILED}
    assert "no answer in time" in application.reports["before_send"]


def test_no_more_questions_than_the_bound_are_on_their_way_at_once() -> None:
    application = Application(seconds=0.001)

    async def many() -> list[HookVerdict]:
        hook = application.hook()
        return await asyncio.gather(*[hook.ask(DRAFT) for _ in range(3 * HOOK_ASKED_MAX)])

    assert set(asyncio.run(many())) == {ALLOWED}
    assert application.most == HOOK_ASKED_MAX
