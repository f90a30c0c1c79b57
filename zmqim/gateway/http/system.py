"""Calls about the server: where to connect, is it alive, is it ready, its metrics."""

from __future__ import annotations

from typing import Any, Final

import xxhash
from litestar import Response, get

from zmqim.gateway.http.given import GivenPort
from zmqim.gateway.http.problems import Problem
from zmqim.gateway.http.shapes import Ok, RouteAnswer
from zmqim.gateway.plugin import GatewayPort
from zmqim.topology_values import Gateway

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@get("/route", tags=["system"])
async def route(port: GivenPort, uid: str = "", intranet: int = 0) -> RouteAnswer:
    """Where this user should connect: the same live gateway for the same uid, spread over all.

    `intranet` 1 answers the listeners' own addresses instead of the advertised ones.
    """
    return addresses_of(gateway_for(port, uid), bool(intranet))


@get("/healthz", tags=["system"])
async def healthz() -> Ok:
    """200 while the process turns its loop. Needs no key."""
    return Ok()


@get("/readyz", tags=["system"])
async def readyz(port: GivenPort) -> Ok:
    """200 once a leader of every partition has answered this gateway, and while a router answers.
    Needs no key."""
    missing = port.not_ready()
    if missing:
        raise Problem(503, "not_ready", missing, hint="wait; zmqim status says more")
    return Ok()


@get("/metrics", tags=["system"])
async def metrics(port: GivenPort) -> Response[bytes]:
    """The gateway's metrics as Prometheus text."""
    return Response(port.context.metrics.exposition(), media_type=METRICS_TYPE)


def gateway_for(port: GatewayPort, uid: str) -> Gateway:
    """The live gateway that rendezvous names for `uid`; this one while gossip knows no other."""
    me = port.context.me.name
    live = set(port.view().gateways) | {me}
    gateways = [gateway for gateway in port.context.topology.gateways if gateway.name in live]

    def rank(gateway: Gateway) -> int:
        return xxhash.xxh3_64_intdigest(f"{uid}\0{gateway.name}".encode())

    return max(gateways, key=rank)


def addresses_of(gateway: Gateway, intranet: bool) -> RouteAnswer:
    """What /route says of a gateway; an address that it does not serve is empty."""
    found: dict[str, Any] = {"wkproto": "", "ws": "", "wss": ""}
    for listener in gateway.listeners:
        address = listener.url if intranet else listener.advertise
        if not found.get(listener.scheme, ""):
            found[listener.scheme] = address
    tcp = found["wkproto"].removeprefix("wkproto://").removeprefix("tcp://")
    ws = found["ws"]
    secure = ws if ws.startswith("wss://") else found["wss"]
    return RouteAnswer(tcp, "" if ws.startswith("wss://") else ws, secure)
