"""What a client needs of the HTTP API: one JSON call, its answer or a clear error.

Several addresses are those of several gateways, which all answer alike: the next one is asked when
there is nobody at the first, or when it goes away in the middle. So a call must bear repetition.
aiohttp does the HTTP (docs/adr/0004-http-client.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from zmqim.errors import (
    DeadlinePassed,
    NotRunning,
    RefusedByServer,
    UsageError,
    ZmqimError,
)
from zmqim.limits import CLIENT_API_MS_MAX, HTTP_BODY_BYTES_MAX

DEADLINE_SECONDS = CLIENT_API_MS_MAX / 1000
ANSWER_BYTES_MAX = 2 * HTTP_BODY_BYTES_MAX
"""Base64 of the largest page and its fields. Above: an error."""


def addresses_of(given: str | Sequence[str]) -> list[str]:
    """Addresses as a list: from one, from several between commas, or from a list of either."""
    texts = [given] if isinstance(given, str) else given
    parts = [part.strip() for text in texts for part in text.split(",")]
    return [part for part in parts if part]


async def call(
    api: str | Sequence[str],
    path: str,
    body: Mapping[str, Any] | list[Any],
    *,
    key: str = "",
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Any:
    """POST `body` as JSON to `path` of the API at `api` (`addresses_of`); the JSON of its answer.

    `RefusedByServer` if the API refused (its `reason` is -1 where there is no WKProto reason),
    `NotRunning` if nothing answers at any address, `DeadlinePassed` if it is not in time.
    """
    apis = addresses_of(api)
    for one in apis:
        url = urlsplit(one)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise UsageError(f"{one!r} is not an http:// address")
    nobody: NotRunning | UsageError = UsageError("the HTTP API needs an address")
    try:
        async with asyncio.timeout(deadline_seconds):
            for one in apis:
                try:
                    return await _post(one, path, body, key)
                except NotRunning as error:
                    nobody = error
    except TimeoutError:
        raise DeadlinePassed(f"{one}{path} did not answer in {deadline_seconds:g} s") from None
    raise nobody


async def _post(api: str, path: str, body: Mapping[str, Any] | list[Any], key: str) -> Any:
    """One call of one address, as long as it takes."""
    headers = {"token": key} if key else {}
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{api.rstrip('/')}{path}", json=body, allow_redirects=False) as answer,
        ):
            content = await answer.content.read(ANSWER_BYTES_MAX + 1)
            while chunk := await answer.content.read(ANSWER_BYTES_MAX + 1 - len(content)):
                content += chunk
            return _judge(f"{api}{path}", answer.status, content)
    except aiohttp.ClientConnectionError as error:
        raise NotRunning(
            f"no HTTP API answers at {api}: {error}", hint="Is the cluster up? See `zmqim status`."
        ) from None
    except aiohttp.ClientError:
        raise ZmqimError(f"{api}{path} did not answer in HTTP") from None


def _judge(what: str, status: int, content: bytes) -> Any:
    if len(content) > ANSWER_BYTES_MAX:
        raise ZmqimError(f"{what}: an answer of more than {ANSWER_BYTES_MAX} bytes")
    try:
        document = json.loads(content) if content else None
    except ValueError:
        document = None
    if 200 <= status < 300:
        return document
    if status == 401:
        raise RefusedByServer(
            f"{what}: the API key is missing or wrong",
            reason=-1,
            hint="It stands in <data>/secrets/api_key; `zmqim keys show` prints it.",
        )
    fields = document if isinstance(document, dict) else {}
    text = str(fields.get("msg") or f"HTTP status {status}")
    if status >= 500:
        raise ZmqimError(f"{what}: {text}", hint=str(fields.get("hint", "")))
    reason = fields.get("reason")
    raise RefusedByServer(
        f"{what}: {text}",
        reason=reason if isinstance(reason, int) else -1,
        hint=str(fields.get("hint", "")),
    )
