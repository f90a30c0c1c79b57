"""What JSON-RPC clients send, as types: the outer message and the params of each method.

The Easy SDKs spell members in camelCase, the one for Android in snake_case.
`read` takes both, and camelCase wins where a client gives both. A member that may be left out may
also be null.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

REQUEST_ID_CHARACTERS_MAX: Final = 128
"""A request id is kept until its answer, and the SDKs use 36. Above: refused."""
NOTHING: Final = b"{}"

RequestId = Annotated[str, Meta(max_length=REQUEST_ID_CHARACTERS_MAX)]
Byte = Annotated[int, Meta(ge=0, le=255)]
Flags = dict[str, bool | int | None]
"""A header or a setting: names of flags, true or 1 for those that are set."""


class Request(Struct, frozen=True):
    """The outer object: a request, or a notification if it has no id."""

    method: str
    id: RequestId | UnsetType = UNSET
    jsonrpc: Literal["2.0"] = "2.0"
    params: Raw = Raw(NOTHING)


class Named(Struct, frozen=True):
    """As much of a message as is needed to answer one that is no `Request`."""

    id: RequestId = ""


class Holder(Struct, frozen=True):
    """Params of send, of which only the payload counts, as the client wrote it."""

    payload: Raw


class Params(Struct, frozen=True):
    """Common shape of the params of a method."""


class Connecting(Params, frozen=True):
    """Params of connect."""

    uid: str
    token: str | None = None
    version: Byte | None = None
    device_id: str | None = None
    device_flag: Byte | None = None
    client_timestamp: Annotated[int, Meta(ge=-(2**62), le=2**62)] | None = None


class Sending(Params, frozen=True):
    """Params of send; the payload in any of its forms (`zmqim.jsonrpc.payloads`)."""

    channel_id: str
    channel_type: Byte
    payload: object
    client_msg_no: str | None = None
    header: Flags | None = None
    setting: Flags | None = None
    topic: str | None = None
    expire: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None


class Acknowledging(Params, frozen=True):
    """Params of recvack; the message id as decimal digits."""

    message_id: str | int
    message_seq: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    header: Flags | None = None


class Leaving(Params, frozen=True):
    """Params of disconnect."""

    reason_code: Byte | None = None
    reason: str | None = None


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)


_Shape = TypeVar("_Shape", bound=Params)
_Object: Final = msgspec.json.Decoder(dict[str, object])
_NAMES: Final = {
    _camel(name): name
    for shape in (Connecting, Sending, Acknowledging, Leaving)
    for name in shape.__struct_fields__
}
"""Each member's name in snake_case by its name in camelCase."""


def _in_snake_case(members: dict[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in members.items():
        ours = _NAMES.get(name)
        if ours is None:
            found.setdefault(name, value)
        else:
            found[ours] = value
    return found


def read(shape: type[_Shape], text: Raw) -> _Shape:
    """The params in `text`; `msgspec.MsgspecError` with the member's name if they are not of this
    shape, `RecursionError` if they are nested too deeply."""
    return msgspec.convert(_in_snake_case(_Object.decode(text)), shape)
