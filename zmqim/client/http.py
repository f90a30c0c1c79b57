"""One HTTP request at a time: what a client needs of the API, without a library for more.

HTTP/1.0 on purpose: the answer then has no chunks and ends with the connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

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
    tls = url.scheme == "https"
    port = url.port or (443 if tls else 80)
    content = json.dumps(body).encode()
    head = (
        f"POST {url.path.rstrip('/')}{path} HTTP/1.0\r\nHost: {url.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    )
    if key:
        head += f"token: {key}\r\n"
    request = head.encode("ascii") + b"\r\n" + content
    try:
        async with asyncio.timeout(deadline_seconds):
            answer = await _exchange(url.hostname, port, tls, request)
    except TimeoutError:
        raise DeadlinePassed(f"{api}{path} did not answer in {deadline_seconds:g} s") from None
    except OSError as error:
        raise NotRunning(
            f"no HTTP API answers at {api}: {error}", hint="Is the cluster up? See `zmqim status`."
        ) from None
    return _judge(f"{api}{path}", answer)


async def _exchange(host: str, port: int, tls: bool, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, ssl=tls or None)
    try:
        writer.write(request)
        answer = bytearray()
        while data := await reader.read(1 << 16):
            answer += data
            if len(answer) > ANSWER_BYTES_MAX:
                raise ZmqimError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        return bytes(answer)
    finally:
        writer.close()


def _judge(what: str, answer: bytes) -> Any:
    head, _, content = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ZmqimError(f"{what} did not answer in HTTP")
    status = int(words[1])
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
