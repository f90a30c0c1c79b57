"""One POST to an application, signed, and what its answer means. aiohttp does the HTTP (ADR 0004).

The signature is HMAC-SHA256 of ``TIMESTAMP.BODY`` under the webhook's secret, in hexadecimal: who
has the secret knows that the body is ours, and by the timestamp (seconds since 1970) that it is not
an old one sent again. Nothing of body, secret or path is in any sentence that is given back: such
sentences are logged.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp

from zmqim.errors import UsageError
from zmqim.limits import (
    WEBHOOK_ANSWER_BYTES_MAX,
    WEBHOOK_POSTS_MAX,
    WEBHOOK_SECRET_CHARACTERS_MIN,
)
from zmqim.webhook_settings import HookSettings, WebhookSettings

TIMESTAMP_HEADER = "X-Zmqim-Timestamp"
SIGNATURE_HEADER = "X-Zmqim-Signature"
_AGAIN = (408, 429)
"""Of the 4xx, those that say "later" instead of "never"."""


class Taken(Enum):
    """What became of a POST."""

    YES = "yes"
    LATER = "later"
    """The application is there and did not take it now."""
    NEVER = "never"
    """It would refuse the same again."""
    NOBODY = "nobody"
    """No connection came about: it knows of nothing."""


class Verdict(NamedTuple):
    """`why` is a sentence for the operator; empty with YES."""

    taken: Taken
    why: str = ""


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """What the header says of a body."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def secret_of(settings: WebhookSettings | HookSettings) -> bytes:
    """The secret, from where the topology says; UsageError when it is not there or too short."""
    if settings.secret_env:
        source = f"the variable {settings.secret_env}"
        secret = os.environ.get(settings.secret_env, "").strip()
    else:
        path = Path(settings.secret_file).expanduser().absolute()
        source = f"the file {str(path)!r}"
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            secret = ""
    if len(secret) < WEBHOOK_SECRET_CHARACTERS_MIN:
        found = f"has {len(secret)} characters" if secret else "holds none"
        raise UsageError(
            f"The secret of {settings.title} needs {WEBHOOK_SECRET_CHARACTERS_MIN} characters or "
            f"more; {source} {found}.",
            hint="`openssl rand -base64 32` makes one; the application checks signatures with it.",
        )
    return secret.encode()


def judge(status: int) -> Verdict:
    """What an HTTP status means."""
    if 200 <= status < 300:
        return Verdict(Taken.YES)
    why = f"HTTP status {status}"
    is_final = 300 <= status < 500 and status not in _AGAIN
    return Verdict(Taken.NEVER if is_final else Taken.LATER, why)


class Poster:
    """The connections to one application. Made on a running loop."""

    def __init__(
        self,
        url: str,
        settings: WebhookSettings | HookSettings,
        secret: bytes,
        connections_max: int = WEBHOOK_POSTS_MAX + 1,
    ) -> None:
        """`url` as in the topology: ``webhook://HOST:PORT/PATH``."""
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self.address = f"{host}:{parts.port}"
        """Without the path, which may be as good as a password."""
        self._url = f"{'https' if settings.tls else 'http'}://{self.address}{parts.path}"
        self._secret = secret
        seconds = settings.timeout_ms / 1000
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections_max),
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=seconds / 2),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, event: str, body: bytes) -> Verdict:
        """Tell the application of an event, once."""
        return (await self.exchange(event, body))[0]

    async def exchange(self, event: str, body: bytes) -> tuple[Verdict, bytes]:
        """The same, with what came back: b"" unless it was taken."""
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature(self._secret, timestamp, body),
        }
        try:
            try:
                return await self._once(event, body, headers)
            except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # A connection that was kept is ended by an application just when it is used.
                return await self._once(event, body, headers)
        except aiohttp.ClientSSLError:
            verdict = Verdict(Taken.NOBODY, "no TLS comes about: is its certificate valid?")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            verdict = Verdict(Taken.NOBODY, "nobody can be reached there")
        except TimeoutError:
            verdict = Verdict(Taken.LATER, "no answer in time")
        except aiohttp.ClientError as error:
            verdict = Verdict(Taken.LATER, f"no HTTP answer ({type(error).__name__})")
        return verdict, b""

    async def _once(
        self, event: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[Verdict, bytes]:
        async with self._session.post(
            self._url,
            params={"event": event},
            data=body,
            headers=headers,
            allow_redirects=False,
        ) as answer:
            content = await _read(answer.content)
            return judge(answer.status), content

    async def close(self) -> None:
        """End the connections."""
        await self._session.close()


async def _read(stream: aiohttp.StreamReader) -> bytes:
    """The answer, or the beginning of one that is too long."""
    content = b""
    while len(content) < WEBHOOK_ANSWER_BYTES_MAX:
        chunk = await stream.read(WEBHOOK_ANSWER_BYTES_MAX - len(content))
        if not chunk:
            break
        content += chunk
    return content
