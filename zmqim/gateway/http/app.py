"""The HTTP application: routes, the key check in front of them, and one shape for every refusal."""

from __future__ import annotations

import hmac
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
from zmqim.gateway.http.directory import Directory
from zmqim.gateway.http.document import OPEN_PATHS, openapi_config
from zmqim.gateway.http.problems import (
    Problem,
    late_response,
    litestar_response,
    problem_response,
    unreadable_response,
)
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


def key_given(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The API key of a request: header `token`, or `Authorization: Bearer`."""
    headers = connection.headers
    bearer = headers.get("authorization", "")
    scheme, _, value = bearer.partition(" ")
    return headers.get("token") or (value if scheme.lower() == "bearer" else "")


def make_app(port: GatewayPort, *, bench_is_on: bool = False) -> Litestar:
    """The application that serves one gateway's HTTP listener; /bench/v1 only if it is switched
    on."""
    asking = Asking(port)
    directory = Directory(asking, port.context.topology.partitions)
    key = port.context.api_key.encode()

    # Not a plain function: the framework would run it in a thread, for each request.
    async def check_key(
        connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        if connection.scope["path"] in OPEN_PATHS:
            return
        if not key or not hmac.compare_digest(key_given(connection).encode(), key):
            raise Problem(
                401,
                "no_key",
                "the API key is missing or wrong",
                hint="send it in the header `token` or as `Authorization: Bearer`; "
                "`zmqim keys show` prints it",
            )

    async def give_asking() -> Asking:
        return asking

    async def give_directory() -> Directory:
        return directory

    async def give_port() -> GatewayPort:
        return port

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
        dependencies={
            "asking": Provide(give_asking),
            "directory": Provide(give_directory),
            "port": Provide(give_port),
        },
        exception_handlers={
            Problem: problem_response,
            HTTPException: litestar_response,
            DeadlinePassed: late_response,
            UnicodeDecodeError: unreadable_response,
            RecursionError: unreadable_response,
            InternalServerException: internal_error(port),
            Exception: internal_error(port),
        },
        openapi_config=openapi_config(),
        request_max_body_size=HTTP_BODY_BYTES_MAX,
        signature_types=[GatewayPort, Asking, Directory],
        logging_config=None,
        on_app_init=[without_debug],
    )


def without_debug(config: AppConfig) -> AppConfig:
    """Never show a traceback to a caller, whatever the environment says."""
    config.debug = False
    return config


def internal_error(port: GatewayPort) -> Any:
    """The last handler: a bug of ours is logged with its type and answered without details."""

    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
        port.context.logger.error(
            "http_bug", path=request.scope["path"], error=type(error).__name__, exc_info=error
        )
        problem = Problem(500, "internal", "a fault in the server", hint="see the gateway's log")
        return problem_response(request, problem)

    return answer
