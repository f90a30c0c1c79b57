"""What a client needs of the HTTP API: one JSON call, its answer or a clear error.

aiohttp does the HTTP (docs/adr/0004-http-client.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
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
from zmqim.limits import HTTP_BODY_BYTES_MAX

DEADLINE_SECONDS = 10.0
ANSWER_BYTES_MAX = 2 * HTTP_BODY_BYTES_MAX
"""Base64 of the largest page and its fields. Above: an error."""


async def call(
    api: str,
    path: str,
    body: Mapping[str, Any] | list[Any],
    *,
    key: str = "",
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Any:
    """POST `body` as JSON to `path` of the API at `api`; the JSON of its answer.

    `RefusedByServer` if the API refused (its `reason` is -1 where there is no WKProto reason),
    `NotRunning` if nothing answers at that address, `DeadlinePassed` if it is not in time.
    """
    url = urlsplit(api)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UsageError(f"{api!r} is not an http:// address")
    headers = {"token": key} if key else {}
    try:
        async with (
            asyncio.timeout(deadline_seconds),
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{api.rstrip('/')}{path}", json=body, allow_redirects=False) as answer,
        ):
            content = await answer.content.read(ANSWER_BYTES_MAX + 1)
            while chunk := await answer.content.read(ANSWER_BYTES_MAX + 1 - len(content)):
                content += chunk
            return _judge(f"{api}{path}", answer.status, content)
    except TimeoutError:
        raise DeadlinePassed(f"{api}{path} did not answer in {deadline_seconds:g} s") from None
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
