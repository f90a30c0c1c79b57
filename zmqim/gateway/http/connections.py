"""Calls about the client connections of this gateway, and about this gateway itself: /connz, /varz,
/conn/kick, /conn/remove (WuKongIM v2.2).

Each gateway answers for itself. A node id that names another one is refused with the address where
to ask, so that nobody takes an empty list for the truth.
"""

from __future__ import annotations

import os
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from litestar import get, post

import zmqim
from zmqim.gateway.http.connection_shapes import (
    ConnectionAnswer,
    ConnectionsAnswer,
    ConnectionSort,
    ConnRequest,
    NodeId,
    PageLimit,
    PageOffset,
    SettingAnswer,
    ShowConnections,
    UidPart,
    VarzAnswer,
)
from zmqim.gateway.http.given import GivenPort
from zmqim.gateway.http.problems import Problem
from zmqim.gateway.http.shapes import Ok
from zmqim.gateway.http.system import addresses_here
from zmqim.gateway.plugin import GatewayPort, SessionRow

DESCENDING: Final = "Desc"
SORTS: Final = {
    "id": "session",
    "inMsg": "sends",
    "inMsgBytes": "send_bytes",
    "outMsg": "pushes",
    "outMsgBytes": "push_bytes",
    "inPacket": "packets_in",
    "outPacket": "packets_out",
    "pendingBytes": "pending_bytes",
    "uptime": "age_ms",
    "idle": "idle_ms",
}
"""WuKongIM's word for an order and the field that it is about."""
DEVICES: Final = {0: "App", 1: "Web", 2: "PC", 99: "System"}
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"))
_STATM: Final = Path("/proc/self/statm")


@get("/connz", tags=["system"])
async def connections(
    port: GivenPort,
    sort: ConnectionSort = "id",
    offset: PageOffset = 0,
    limit: PageLimit = 20,
    uid: UidPart = "",
    node_id: NodeId = 0,
) -> ConnectionsAnswer:
    """The client connections of this gateway past CONNACK, `limit` of them from the `offset`th on.
    `total` counts all whose uid contains `uid`."""
    check_here(port, node_id)
    order = SORTS[sort.removesuffix(DESCENDING)]
    page = port.sessions(uid, order, sort.endswith(DESCENDING), offset, limit)
    now = datetime.now(UTC)
    rows = [_answer_of(port, now, row) for row in page.rows]
    return ConnectionsAnswer(rows, now, page.total, offset, limit)


def _answer_of(port: GatewayPort, now: datetime, row: SessionRow) -> ConnectionAnswer:
    host, _, number = row.peer_address.rpartition(":")
    device = DEVICES.get(row.device_flag, f"Other {row.device_flag}")
    return ConnectionAnswer(
        row.session,
        row.uid,
        host,
        int(number) if number.isdecimal() else 0,
        now - timedelta(milliseconds=row.idle_ms),
        duration_text(row.age_ms),
        duration_text(row.idle_ms),
        row.pending_bytes,
        row.sends,
        row.pushes,
        row.send_bytes,
        row.push_bytes,
        row.packets_in,
        row.packets_out,
        f"{device}({'master' if row.device_level else 'slave'})",
        row.device_id,
        row.version,
        _number_of(port),
    )


@post("/conn/kick", status_code=200, tags=["system"])
async def kick_connection(data: ConnRequest, port: GivenPort) -> Ok:
    """Tell the client of a connection with DISCONNECT 12 that its login was ended, and close. Its
    SDK does not come back by itself."""
    return _dismiss(port, data, kick=True)


@post("/conn/remove", status_code=200, tags=["system"])
async def remove_connection(data: ConnRequest, port: GivenPort) -> Ok:
    """Drop a connection without a word. The SDK of the client connects again."""
    return _dismiss(port, data, kick=False)


def _dismiss(port: GatewayPort, data: ConnRequest, kick: bool) -> Ok:
    check_here(port, data.node_id)
    if not port.dismiss_session(data.conn_id, data.uid, kick):
        raise Problem(
            404,
            "not_found",
            f"this gateway has no connection {data.conn_id} of {data.uid[:64]!r}",
            hint="/connz lists those of a gateway; /user/device_quit ends a login everywhere",
        )
    return Ok()


@get("/varz", tags=["system"])
async def varz(
    port: GivenPort,
    show: ShowConnections = "",
    conn_limit: PageLimit = 20,
    node_id: NodeId = 0,
) -> VarzAnswer:
    """What this gateway is and has done since it started. `show=conn` adds its connections, those
    with the most messages first."""
    check_here(port, node_id)
    counters = port.counters()
    totals = port.session_totals()
    now = datetime.now(UTC)
    conns = None
    if show == "conn":
        page = port.sessions("", SORTS["inMsg"], True, 0, conn_limit)
        conns = [_answer_of(port, now, row) for row in page.rows]
    here = addresses_here(port)
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    return VarzAnswer(
        str(_number_of(port)),
        port.name,
        zmqim.__version__,
        totals.sessions,
        duration_text(port.uptime_ms),
        _memory_bytes(),
        round(100_000 * spent / max(port.uptime_ms, 1), 1),
        counters["sends"],
        counters["pushed"],
        totals.send_bytes,
        totals.push_bytes,
        totals.lagging,
        totals.pushes_pending,
        here.tcp_addr,
        here.ws_addr,
        here.wss_addr,
        api_address(port, port.name),
        conns,
    )


@get("/varz/setting", tags=["system"])
async def varz_setting() -> SettingAnswer:
    """Which of WuKongIM's side systems are there: metrics are, traces, Loki and its stress test are
    not."""
    return SettingAnswer()


def check_here(port: GatewayPort, node_id: int) -> None:
    """`Problem` unless `node_id` is 0 or this gateway's."""
    if node_id in (0, _number_of(port)):
        return
    gateways = port.context.topology.gateways
    if node_id > len(gateways):
        raise Problem(
            404,
            "not_found",
            f"there is no gateway with node_id {node_id}",
            hint=f"the topology has {len(gateways)}, counted from 1",
        )
    name = gateways[node_id - 1].name
    raise Problem(
        400,
        "other_gateway",
        f"node_id {node_id} is {name}; this is {port.name}, which has only its own connections",
        hint=f"ask {api_address(port, name) or name}",
    )


def api_address(port: GatewayPort, name: str) -> str:
    """Where the HTTP API of that gateway is, as the topology has it; empty: it has none."""
    for gateway in port.context.topology.gateways:
        for listener in gateway.listeners:
            if gateway.name == name and listener.scheme == "http":
                return listener.advertise
    return ""


def duration_text(milliseconds: int) -> str:
    """For people, whole seconds: ``2d3h0m5s``."""
    left = milliseconds // 1000
    parts: list[str] = []
    for size, letter in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{letter}")
    return "".join([*parts, f"{left}s"])


def _number_of(port: GatewayPort) -> int:
    return port.context.topology.gateway_number(port.context.me.name)


def _memory_bytes() -> int:
    """Resident memory of this process."""
    pages = int(_STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
