"""Calls about the server: where to connect, is it alive, is it ready, its metrics.

A gateway's node id is its place in the topology, from 1 (`Topology.gateway_number`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import xxhash
from litestar import MediaType, Response, get, post
from msgspec import Meta

from zmqim.gateway.http.given import GivenPort
from zmqim.gateway.http.problems import Problem
from zmqim.gateway.http.shapes import HealthAnswer, Intranet, Ok, RouteAnswer, RouteGroup, Text
from zmqim.gateway.plugin import GatewayPort
from zmqim.limits import HTTP_LIST_MAX
from zmqim.topology_values import Gateway

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@get("/route", tags=["system"])
async def route(port: GivenPort, uid: str = "", intranet: Intranet = 0) -> RouteAnswer:
    """Where this user should connect: the same live gateway for the same uid, spread over all."""
    return _addresses(port, gateway_for(port, uid), bool(intranet))


@post("/route/batch", status_code=200, tags=["system"])
async def route_batch(
    data: Annotated[list[Text], Meta(max_length=HTTP_LIST_MAX)],
    port: GivenPort,
    intranet: Intranet = 0,
) -> list[RouteGroup]:
    """Where each of these users should connect, one row a gateway."""
    users: dict[str, list[str]] = {}
    gateways: dict[str, Gateway] = {}
    for uid in dict.fromkeys(data):
        gateway = gateway_for(port, uid)
        gateways[gateway.name] = gateway
        users.setdefault(gateway.name, []).append(uid)
    rows = []
    for name, uids in users.items():
        there = _addresses(port, gateways[name], bool(intranet))
        rows.append(RouteGroup(there.tcp_addr, there.ws_addr, there.wss_addr, there.node_id, uids))
    return rows


@get("/health", tags=["system"])
async def health(port: GivenPort) -> Response[HealthAnswer]:
    """`{"status": "ok"}`, or 500 with what is missing, under WuKongIM's name. Needs no key."""
    missing = port.not_ready()
    answer = HealthAnswer("error", missing) if missing else HealthAnswer("ok")
    return Response(answer, status_code=500 if missing else 200)


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


@get("/metrics", tags=["system"], media_type=MediaType.TEXT)
async def metrics(port: GivenPort) -> Response[bytes]:
    """The gateway's metrics as Prometheus text."""
    return Response(port.context.metrics.exposition(), media_type=METRICS_TYPE)


def addresses_here(port: GatewayPort) -> RouteAnswer:
    """What /route says of this gateway."""
    me = port.context.me
    assert isinstance(me, Gateway), f"{me.name} is no gateway"
    return _addresses(port, me, False)


def gateway_for(port: GatewayPort, uid: str) -> Gateway:
    """The live gateway that rendezvous names for `uid`; this one while gossip knows no other."""
    me = port.context.me.name
    live = set(port.view().gateways) | {me}
    gateways = [gateway for gateway in port.context.topology.gateways if gateway.name in live]

    def rank(gateway: Gateway) -> int:
        return xxhash.xxh3_64_intdigest(f"{uid}\0{gateway.name}".encode())

    return max(gateways, key=rank)


def _addresses(port: GatewayPort, gateway: Gateway, intranet: bool) -> RouteAnswer:
    """What /route says of a gateway; an address that it does not serve is empty."""
    found: dict[str, Any] = {"wkproto": "", "ws": "", "wss": ""}
    for listener in gateway.listeners:
        address = listener.url if intranet else listener.advertise
        if not found.get(listener.scheme, ""):
            found[listener.scheme] = address
    tcp = found["wkproto"].removeprefix("wkproto://").removeprefix("tcp://")
    ws = found["ws"]
    secure = ws if ws.startswith("wss://") else found["wss"]
    plain = "" if ws.startswith("wss://") else ws
    return RouteAnswer(tcp, plain, secure, port.context.topology.gateway_number(gateway.name))
