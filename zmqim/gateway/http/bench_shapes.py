"""Requests and answers of /bench/v1, as WuKongIM's load driver knows them."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from zmqim.gateway.http.shapes import (
    ChannelRequest,
    Flag,
    Text,
    TokenRequest,
    TypeNumber,
    Uids,
)
from zmqim.limits import BENCH_ITEMS_MAX

VERSION: Final = "bench/v1"


class BenchSupports(Struct):
    """What there is of bench/v1, and what not: zmqim has no runtime of a channel that could be
    looked at, evicted or disturbed apart from the rest."""

    users_tokens_batch: bool = True
    channels_batch: bool = True
    channel_subscribers_batch: bool = True
    channel_subscriber_removals_batch: bool = True
    snapshot: bool = True
    presence_snapshot: bool = False
    channel_runtime_snapshot: bool = False
    channel_runtime_probe: bool = False
    channel_runtime_evict: bool = False
    channel_runtime_faults: bool = False
    channel_runtime_activate: bool = False
    terminal_fence_prepare: bool = False
    channel_types: list[str] = msgspec.field(default_factory=lambda: ["person", "group"])


class BenchLimits(Struct):
    """How much one batch may hold."""

    max_batch_size: int
    max_payload_bytes: int


class BenchCapabilities(Struct):
    """GET /bench/v1/capabilities"""

    supports: BenchSupports
    limits: BenchLimits
    enabled: bool = True
    version: str = VERSION


class BenchGateway(Struct):
    """Where clients connect to a gateway."""

    tcp_addr: str
    ws_addr: str
    wss_addr: str


class BenchTarget(Struct):
    """GET /bench/v1/capacity-target"""

    gateway: BenchGateway
    version: str = VERSION


class BenchSnapshot(Struct):
    """GET /bench/v1/snapshot"""

    counts: dict[str, int]
    version: str = VERSION


class BenchBatch(Struct, kw_only=True):
    """What all batches begin with."""

    run_id: Text
    batch_id: Text


class BenchTokensRequest(BenchBatch, kw_only=True):
    """POST /bench/v1/users/tokens"""

    users: Annotated[list[TokenRequest], Meta(min_length=1, max_length=BENCH_ITEMS_MAX)]
    upsert: Flag = True


class BenchChannelsRequest(BenchBatch, kw_only=True):
    """POST /bench/v1/channels"""

    channels: Annotated[list[ChannelRequest], Meta(min_length=1, max_length=BENCH_ITEMS_MAX)]
    upsert: Flag = True


class BenchMembers(Struct):
    """Members of one channel. reset: first remove all others; only where members are added."""

    channel_id: Text
    subscribers: Uids
    channel_type: TypeNumber = 2
    reset: Flag = False


class BenchMembersRequest(BenchBatch, kw_only=True):
    """POST /bench/v1/channels/subscribers and /remove"""

    items: Annotated[list[BenchMembers], Meta(min_length=1, max_length=BENCH_ITEMS_MAX)]


class BenchAnswer(Struct):
    """A batch is done; accepted counts its items."""

    run_id: str
    batch_id: str
    accepted: int
