"""The short way of a call: a JSON body in, the handler, a JSON body out.

Two thirds of a small call are the framework's own path through it (tools/bench/results), so a POST
that is plainly good goes past it: its handler is the same function, its body is read by the types
that the function declares, and it is given the same things by name. Whatever is not plainly good (a
wrong key, a body that does not fit, a path that there is not) goes the framework's way from the
start, with the same bytes: what is refused, and how, has one owner.
"""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import HTTPRequestEvent, Receive, Scope, Send

from zmqim.gateway.http.problems import Problem
from zmqim.limits import HTTP_BODY_BYTES_MAX

BODY: Final = "data"
"""The parameter of a handler that the framework fills with the body."""

INTERNAL: Final = 500
"""The status of a fault of ours."""

_encode = msgspec.json.Encoder().encode

Headers = Iterable[tuple[bytes, bytes]]


class Call(NamedTuple):
    """What is needed to serve one path without the framework."""

    decode: Callable[[bytes], Any]
    handler: Callable[..., Awaitable[Any]]
    given: dict[str, object]
    status: int


def direct_calls(app: Litestar, given: Mapping[str, object]) -> dict[str, Call]:
    """The POSTs of `app` whose handler takes a body and nothing but that is `given`, by path.

    Not those that are guarded by more than the key, which is all that is looked at here.
    """
    calls = {}
    for route in app.routes:
        if isinstance(route, HTTPRoute) and "POST" in route.route_handler_map:
            handler = route.route_handler_map["POST"][0]
            call = _call_of(handler, given)
            if call is not None and len(handler.resolve_guards()) == 1:
                calls[route.path] = call
    return calls


def _call_of(handler: HTTPRouteHandler, given: Mapping[str, object]) -> Call | None:
    hints = get_type_hints(handler.fn, include_extras=True)
    wanted = set(inspect.signature(handler.fn).parameters)
    if BODY not in wanted or not wanted - {BODY} <= given.keys():
        return None
    return Call(
        # As the framework reads it: "1" is a number where one is expected.
        msgspec.json.Decoder(hints[BODY], strict=False).decode,
        handler.fn,
        {name: given[name] for name in wanted - {BODY}},
        handler.status_code,
    )


def has_key(headers: Headers, key: bytes) -> bool:
    """Do these headers show the API key, as `token` or as `Authorization: Bearer`?"""
    shown = b""
    for name, value in headers:
        if name == b"token" and value:
            shown = value
            break
        if name == b"authorization":
            scheme, _, word = value.partition(b" ")
            shown = word if scheme.lower() == b"bearer" else b""
    return bool(key) and hmac.compare_digest(shown, key)


class DirectCalls:
    """An ASGI application: serves `calls` itself and leaves the rest to the framework's `app`.

    `fault` makes the answer of an exception that a handler raised.
    """

    def __init__(
        self,
        app: Litestar,
        calls: Mapping[str, Call],
        key: bytes,
        fault: Callable[[str, Exception], Problem],
    ) -> None:
        self._app = app
        self._calls = calls
        self._key = key
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = None
        if scope["type"] == ScopeType.HTTP and scope["method"] == "POST":
            call = self._calls.get(scope["path"])
        if call is None or not self._is_plain(scope["headers"]):
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            return
        try:
            data = call.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            await self._app(scope, _again(body, receive), send)
            return
        await self._serve(call, data, scope["path"], send)

    def _is_plain(self, headers: Headers) -> bool:
        """The right key, and a body of a length that is said and allowed."""
        length = next((value for name, value in headers if name == b"content-length"), b"")
        plain = length.isdigit() and 0 < int(length) <= HTTP_BODY_BYTES_MAX
        return plain and has_key(headers, self._key)

    async def _serve(self, call: Call, data: Any, path: str, send: Send) -> None:
        try:
            answer = await call.handler(data=data, **call.given)
        except Exception as error:
            problem = self._fault(path, error)
            await _answer(send, problem.status, _encode(problem.body()))
            if problem.status != INTERNAL:
                return
            raise  # The server ends the connection.
        await _answer(send, call.status, _encode(answer))


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None if the caller went away before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message["body"])
        if not message["more_body"]:
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read once more, and then goes on."""
    first: list[HTTPRequestEvent] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Any:
        return first.pop() if first else await receive()

    return receive_again
