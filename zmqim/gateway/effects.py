"""What the gateway's core tells its shell to do, beside the bus's `Send`.

Performed in order. Of one session, `ToClient` stands before `CloseClient`: what was said last is
written before the connection ends.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from zmqim.bus.effects import Send
from zmqim.gateway.plugin import CloseReason, Draft, SessionChanged
from zmqim.wkproto.packets import FromServer


class ToClient:
    """Write these packets to the client: all that the turn has for it, in order. Never changed; a
    plain class for the reason of `Send`."""

    __slots__ = ("packets", "session")
    __match_args__: ClassVar = ("session", "packets")

    def __init__(self, session: int, packets: list[FromServer]) -> None:
        self.session = session
        self.packets = packets

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ToClient)
            and self.session == other.session
            and self.packets == other.packets
        )

    def __hash__(self) -> int:
        return hash((self.session, *self.packets))

    def __repr__(self) -> str:
        return f"ToClient(session={self.session!r}, packets={self.packets!r})"


class CloseClient(NamedTuple):
    """End the connection. The core has forgotten the session already."""

    session: int
    reason: CloseReason


class SetReading(NamedTuple):
    """Stop or go on reading from the client."""

    session: int
    on: bool


class Answered(NamedTuple):
    """The answer to `GatewayCore.ask` with that token: an `OutcomeCode` and an encoded result."""

    token: int
    code: int
    result: bytes


class OnlineFound(NamedTuple):
    """The answer to `GatewayCore.online` with that token; `devices` None: no router answered."""

    token: int
    devices: list[tuple[str, int]] | None


class AskHook(NamedTuple):
    """Ask the application of a draft; answered by `GatewayCore.hook_answered` with that token."""

    token: int
    draft: Draft


Effect = (
    Send | ToClient | CloseClient | SetReading | Answered | OnlineFound | SessionChanged | AskHook
)
