"""The HTTP API as a backend calls it, for tests."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

DEADLINE_SECONDS = 30


class Api:
    """One connection a call, the cluster's key in the header `token` unless said otherwise."""

    def __init__(self, url: str, key: str = "", headers: dict[str, str] | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        self._address = (parts.hostname or "", parts.port or 0)
        self._headers = {"token": key} if headers is None else headers

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> tuple[int, Any]:
        """(status, decoded JSON or text)."""
        connection = http.client.HTTPConnection(*self._address, timeout=DEADLINE_SECONDS)
        try:
            content = raw if raw is not None else None if body is None else json.dumps(body)
            used = dict(self._headers if headers is None else headers)
            if content is not None:
                used["content-type"] = "application/json"
            connection.request(method, path, content, used)
            answer = connection.getresponse()
            text = answer.read().decode()
            if "json" in (answer.getheader("content-type") or ""):
                return answer.status, json.loads(text)
            return answer.status, text
        finally:
            connection.close()

    def post(self, path: str, **body: object) -> tuple[int, Any]:
        """POST a JSON object."""
        return self.call("POST", path, body)

    def done(self, path: str, **body: object) -> Any:
        """POST that must answer 200."""
        status, answer = self.post(path, **body)
        assert status == 200, answer
        return answer

    def send(self, sender: str, channel_id: str, text: str, **more: object) -> tuple[int, Any]:
        """/message/send of a text; person channel unless `channel_type` says otherwise."""
        payload = base64.b64encode(text.encode()).decode()
        body = {"channel_type": 1, "from_uid": sender, "channel_id": channel_id, **more}
        return self.post("/message/send", payload=payload, **body)

    def sent(self, sender: str, channel_id: str, text: str, **more: object) -> dict[str, Any]:
        """`send` that must be committed; the `data` of the answer."""
        status, answer = self.send(sender, channel_id, text, **more)
        assert status == 200, answer
        data: dict[str, Any] = answer["data"]
        return data

    def history(self, uid: str, channel_id: str, **more: object) -> list[tuple[int, str]]:
        """(sequence, text) of a page of history."""
        body = {"channel_type": 1, "login_uid": uid, "channel_id": channel_id, **more}
        answer = self.done("/channel/messagesync", **body)
        return [
            (message["message_seq"], base64.b64decode(message["payload"]).decode())
            for message in answer["messages"]
        ]
