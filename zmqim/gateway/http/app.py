"""The HTTP application: routes, the key check in front of them, and one shape for every refusal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException, InternalServerException
from litestar.handlers import BaseRouteHandler

from zmqim.errors import DeadlinePassed
from zmqim.gateway.http import (
    bench,
    channels,
    commands,
    connections,
    conversations,
    events,
    history,
    look_up,
    messages,
    send_batch,
    system,
    system_uids,
    temporary,
    users,
    webhooks,
)
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.direct import DirectCalls, direct_calls, has_key
from zmqim.gateway.http.directory import Directory
from zmqim.gateway.http.document import OPEN_PATHS, openapi_config
from zmqim.gateway.http.finished import Finished
from zmqim.gateway.http.problems import (
    Problem,
    framework_response,
    problem_response,
    unreadable_response,
)
from zmqim.gateway.http.senders import Senders
from zmqim.gateway.plugin import GatewayPort
from zmqim.limits import HTTP_BODY_BYTES_MAX

HANDLERS: Final = (
    users.set_token,
    users.device_quit,
    users.online_status,
    temporary.set_temporary_subscribers,
    system_uids.add_system_uids,
    system_uids.remove_system_uids,
    system_uids.system_uids,
    messages.send_message,
    webhooks.forget_webhook,
    send_batch.send_batch,
    history.message_sync,
    history.message_sync_batch,
    history.max_message_seq,
    history.last_message,
    look_up.messages,
    look_up.message,
    look_up.message_by_client_msg_no,
    system.route,
    system.route_batch,
    system.health,
    system.healthz,
    system.readyz,
    system.metrics,
    connections.connections,
    connections.kick_connection,
    connections.remove_connection,
    connections.varz,
    connections.varz_setting,
)


def make_app(port: GatewayPort, *, bench_is_on: bool = False) -> DirectCalls:
    """The application that serves one gateway's HTTP listener; /bench/v1 only if it is switched
    on."""
    asking = Asking(port)
    directory = Directory(asking, port.context.topology.partitions)
    given = {
        "asking": asking,
        "directory": directory,
        "finished": Finished(),
        "senders": Senders(asking),
        "port": port,
    }
    key = port.context.api_key.encode()
    app = framework_app(port, given, key, bench_is_on=bench_is_on)
    return DirectCalls(app, direct_calls(app, given), key, partial(problem_of, port))


def framework_app(
    port: GatewayPort, given: Mapping[str, object], key: bytes, *, bench_is_on: bool = False
) -> Litestar:
    """The same without the short way: every call, its refusals, and the document."""

    # Not a plain function: the framework would run it in a thread, for each request.
    async def check_key(
        connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        if connection.scope["path"] in OPEN_PATHS:
            return
        if not has_key(connection.scope["headers"], key):
            raise Problem(
                401,
                "no_key",
                "the API key is missing or wrong",
                hint="send it in the header `token` or as `Authorization: Bearer`; "
                "`zmqim keys show` prints it",
            )

    def fault_response(
        request: Request[Any, Any, Any], error: Exception
    ) -> Response[dict[str, Any]]:
        return problem_response(problem_of(port, request.scope["path"], error))

    return Litestar(
        route_handlers=[
            *HANDLERS,
            channels.channel_router(),
            conversations.conversation_router(),
            commands.command_router(),
            events.event_router(),
            bench.bench_router(bench_is_on),
        ],
        guards=[check_key],
        dependencies={name: Provide(_giver(value)) for name, value in given.items()},
        exception_handlers={
            HTTPException: framework_response,
            UnicodeDecodeError: unreadable_response,
            RecursionError: unreadable_response,
            InternalServerException: fault_response,
            Exception: fault_response,
        },
        openapi_config=openapi_config(),
        request_max_body_size=HTTP_BODY_BYTES_MAX,
        signature_types=[GatewayPort, Asking, Directory, Finished, Senders],
        logging_config=None,
        on_app_init=[without_debug],
    )


def _giver(value: object) -> Callable[[], Awaitable[Any]]:
    async def give() -> Any:
        return value

    return give


def problem_of(port: GatewayPort, path: str, error: Exception) -> Problem:
    """What an exception of a handler is to its caller. A bug of ours is logged with its type and
    answered without details."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, DeadlinePassed):
        # Nobody answered in time a question that changes nothing.
        return Problem(503, "unavailable", error.what, hint=error.hint)
    port.context.logger.error("http_bug", path=path, error=type(error).__name__, exc_info=error)
    return Problem(500, "internal", "a fault in the server", hint="see the gateway's log")


def without_debug(config: AppConfig) -> AppConfig:
    """Never show a traceback to a caller, whatever the environment says."""
    config.debug = False
    return config
