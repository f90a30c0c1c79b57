"""The hook before a message is proposed: an application allows it, changes it, or refuses it.

    POST PATH?event=msg.before_send   {"from_uid", "channel_id", "channel_type", "payload", …}
    200  {}                                           allowed
    200  {"payload": "base64"}                        allowed with another payload
    200  {"refuse": 11, "text": "not here"}           refused with that reason code

An answer in time is the application's word. No answer in time, another status, or an answer that
cannot be read is decided by what the topology says: `fail = "open"` lets the message through,
`fail = "closed"` refuses it with reason 15. Above HOOK_ASKED_MAX questions at once the others wait,
within the same deadline.
"""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Awaitable, Callable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta
from structlog.typing import FilteringBoundLogger

from zmqim.chat.codes import MessageFlag, Reason
from zmqim.gateway.http.stored import HeaderAnswer
from zmqim.gateway.plugin import Draft, HookVerdict
from zmqim.gateway.webhooks.delivering import Telling
from zmqim.gateway.webhooks.posting import Poster, Taken, Verdict, secret_of
from zmqim.limits import HOOK_ASKED_MAX, HOOK_WARNING_MS, PAYLOAD_BYTES_MAX
from zmqim.webhook_settings import HookSettings

EVENT = "msg.before_send"
ALLOWED = HookVerdict(int(Reason.SUCCESS))
FAILED = HookVerdict(
    int(Reason.SYSTEM_ERROR), text="the application that must allow messages gave no usable answer"
)
_TEXT_CHARACTERS_MAX = 512


class Question(msgspec.Struct):
    """What the application is asked; fields as in a stored message, payload as base64."""

    from_uid: str
    channel_id: str
    channel_type: int
    client_msg_no: str
    payload: str
    header: HeaderAnswer
    setting: int
    topic: str
    expire: int


class Reply(msgspec.Struct):
    """What it says."""

    payload: str | None = None
    refuse: Annotated[int, Meta(ge=2, le=255)] | None = None
    text: Annotated[str, Meta(max_length=_TEXT_CHARACTERS_MAX)] = ""


class Exchange(Protocol):
    """`Poster.exchange`."""

    async def __call__(self, event: str, body: bytes) -> tuple[Verdict, bytes]:
        """What became of a POST, and what came back."""


def hook_of(settings: HookSettings, port: Telling, logger: FilteringBoundLogger) -> BeforeSend:
    """The hook that the topology describes; UsageError without its secret. On a running loop."""
    poster = Poster(settings.url, settings, secret_of(settings), HOOK_ASKED_MAX)
    return BeforeSend(
        poster.exchange,
        poster.close,
        port,
        logger,
        settings.timeout_ms,
        fails_open=settings.fails_open,
    )


class BeforeSend:
    """The hook of one gateway."""

    def __init__(
        self,
        exchange: Exchange,
        close: Callable[[], Awaitable[None]],
        port: Telling,
        logger: FilteringBoundLogger,
        timeout_ms: int,
        *,
        fails_open: bool,
    ) -> None:
        self._exchange = exchange
        self.close = close
        """Ends its connections."""
        self._port = port
        self._logger = logger
        self._next_warning = 0.0
        self._seconds = timeout_ms / 1_000
        self._failed = ALLOWED if fails_open else FAILED
        self._asking = asyncio.Semaphore(HOOK_ASKED_MAX)

    async def ask(self, draft: Draft) -> HookVerdict:
        """What is to become of a message; within the deadline, whatever the application does."""
        try:
            async with asyncio.timeout(self._seconds), self._asking:
                verdict, answer = await self._exchange(EVENT, question_of(draft))
        except TimeoutError:
            return self._no_answer("no answer in time")
        if verdict.taken is not Taken.YES:
            return self._no_answer(verdict.why)
        found = verdict_of(answer)
        if found is None:
            return self._no_answer("an answer that cannot be read")
        self._port.count("hook_refused" if found.reason != Reason.SUCCESS else "hook_allowed")
        self._port.report("before_send", "")
        return found

    def _no_answer(self, why: str) -> HookVerdict:
        self._port.count("hook_failed")
        done = "let through unseen" if self._failed is ALLOWED else "refused"
        sentence = f"before_send: {why}; messages are {done}"
        self._port.report("before_send", sentence)
        now = asyncio.get_running_loop().time()
        if now >= self._next_warning:
            self._next_warning = now + HOOK_WARNING_MS / 1_000
            self._logger.warning(sentence)
        return self._failed


def question_of(draft: Draft) -> bytes:
    """The body of a question."""
    flags = draft.flags
    header = HeaderAnswer(
        int(bool(flags & MessageFlag.NO_PERSIST)),
        int(bool(flags & MessageFlag.RED_DOT)),
        int(bool(flags & MessageFlag.SYNC_ONCE)),
    )
    payload = binascii.b2a_base64(draft.payload, newline=False).decode()
    return msgspec.json.encode(
        Question(
            draft.from_uid,
            draft.channel_id,
            draft.channel_type,
            draft.client_msg_no,
            payload,
            header,
            draft.setting,
            draft.topic,
            draft.expire,
        )
    )


def verdict_of(answer: bytes) -> HookVerdict | None:
    """What an answer says; None if it says nothing that can be done. Empty: allowed."""
    if not answer.strip():
        return ALLOWED
    try:
        reply = msgspec.json.decode(answer, type=Reply)
        if reply.refuse is not None:
            return HookVerdict(reply.refuse, text=reply.text)
        if reply.payload is None:
            return ALLOWED
        payload = binascii.a2b_base64(reply.payload, strict_mode=True)
    except (msgspec.DecodeError, RecursionError, ValueError):  # binascii.Error is a ValueError.
        return None
    if len(payload) > PAYLOAD_BYTES_MAX:
        return None
    return HookVerdict(int(Reason.SUCCESS), payload)
