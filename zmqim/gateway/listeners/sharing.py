"""Frames for many sessions: what the receivers of one message share is made once a turn.

The core gives all receivers of a group message the same `Recv` object, all within one turn; the
codec's `SharedRecv` then holds layout and padding for all of them (`zmqim.wkproto.sealed`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from zmqim.errors import WireError
from zmqim.gateway.plugin import GatewayPort
from zmqim.wkproto.codec import ServerCodec
from zmqim.wkproto.packets import FromServer, Recv
from zmqim.wkproto.sealed import SharedRecv


class Sharing:
    """The shared parts of this turn's messages, for all connections of one listener."""

    __slots__ = ("_port", "_shared")

    def __init__(self, port: GatewayPort) -> None:
        self._port = port
        self._shared: dict[int, SharedRecv] = {}

    def frames_of(self, codec: ServerCodec, packets: Sequence[FromServer]) -> list[bytes]:
        """One frame a packet. A packet that has no form in the client's version is left out and
        counted: it can be read by a newer client, or through the API."""
        frames = []
        for packet in packets:
            try:
                if type(packet) is Recv:
                    frames.append(codec.encode_shared(self._of(packet)))
                else:
                    frames.append(codec.encode_one(packet))
            except WireError:
                self._port.count("packets_without_form")
        return frames

    def _of(self, packet: Recv) -> SharedRecv:
        """Kept until the loop's next iteration; the `SharedRecv` keeps its packet, so an id stays
        unique for so long."""
        shared = self._shared.get(id(packet))
        if shared is None:
            if not self._shared:
                asyncio.get_running_loop().call_soon(self._shared.clear)
            shared = self._shared[id(packet)] = SharedRecv(packet)
        return shared
