"""Requests and answers about connections and the gateway, as WuKongIM v2.2 spells them
(WuKongIM v2.2). What a gateway does not count is left out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar.params import Parameter
from msgspec import Meta, Struct

from zmqim.gateway.http.shapes import Text
from zmqim.limits import CONNECTIONS_PAGE_MAX

ConnectionSort = Annotated[
    Literal[
        "id", "idDesc", "inMsg", "inMsgDesc", "inMsgBytes", "inMsgBytesDesc", "outMsg",
        "outMsgDesc", "outMsgBytes", "outMsgBytesDesc", "inPacket", "inPacketDesc", "outPacket",
        "outPacketDesc", "pendingBytes", "pendingBytesDesc", "uptime", "uptimeDesc", "idle",
        "idleDesc",
    ],
    Parameter(description="What to order by, from the least; Desc: from the most."),
]  # fmt: skip
PageOffset = Annotated[int, Parameter(ge=0, le=2**31 - 1, description="Rows to leave out.")]
PageLimit = Annotated[int, Parameter(ge=0, le=CONNECTIONS_PAGE_MAX, description="Rows at most.")]
UidPart = Annotated[str, Parameter(max_length=512, description="Only uids that contain this.")]
NodeId = Annotated[
    int,
    Parameter(ge=0, le=2**31 - 1, description="Of this gateway, or 0. Another one is refused."),
]
ShowConnections = Annotated[
    Literal["", "conn"], Parameter(description="conn: list connections too.")
]


class ConnRequest(Struct):
    """POST /conn/kick and /conn/remove: a connection as /connz has it"""

    uid: Text
    conn_id: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    node_id: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    op_node_id: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    """Accepted, and without effect."""


class ConnectionAnswer(Struct):
    """One client connection. Messages count once; in is what the client sends."""

    id: int
    uid: str
    ip: str
    port: int
    last_activity: datetime
    uptime: str
    idle: str
    pending_bytes: int
    """Pushed to the client and not acknowledged by it."""
    in_msgs: int
    out_msgs: int
    in_msg_bytes: int
    out_msg_bytes: int
    in_packets: int
    out_packets: int
    device: str
    device_id: str
    version: int
    node_id: int


class ConnectionsAnswer(Struct):
    """GET /connz"""

    connections: list[ConnectionAnswer]
    now: datetime
    total: int
    offset: int
    limit: int


class VarzAnswer(Struct, omit_defaults=True):
    """GET /varz"""

    server_id: str
    server_name: str
    version: str
    connections: int
    uptime: str
    mem: int
    """Resident bytes."""
    cpu: float
    """Per cent of one core, on average since the start."""
    in_msgs: int
    out_msgs: int
    in_bytes: int
    out_bytes: int
    slow_clients: int
    retry_queue: int
    tcp_addr: str
    ws_addr: str
    wss_addr: str
    api_url: str
    conns: list[ConnectionAnswer] | None = None


class LoggerSetting(Struct):
    """Of GET /varz/setting"""

    trace_on: int = 0
    loki_on: int = 0


class SettingAnswer(Struct):
    """GET /varz/setting"""

    logger: LoggerSetting = msgspec.field(default_factory=LoggerSetting)
    prometheus_on: int = 1
    stress_on: int = 0
