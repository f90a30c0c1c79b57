"""From a call to a partition and back: operations and queries out, results or `Problem` in.

One `Asking` a listener. It adds nothing to what the partitions say: a definite refusal is a 4xx
with its reason, "nothing happened" is 503 with ``busy`` or ``unavailable``, and "nobody knows" is
503 with ``unknown_outcome``, never a failure (REPLICATION.md 2.10).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from zmqim import limits
from zmqim.bus.messages import ItemKind, OutcomeCode
from zmqim.chat.channels import canonical_channel_id, is_valid_uid, route_key_of_channel
from zmqim.chat.codes import ChannelType, Reason
from zmqim.chat.encoding import encode
from zmqim.chat.operations import AppendEvent, Operation, SendMessage
from zmqim.chat.queries import Query
from zmqim.chat.results import Done, Rejected, Result, decode_result
from zmqim.gateway.http.problems import Problem, bad_request, refused
from zmqim.gateway.plugin import GatewayPort

ResultT = TypeVar("ResultT", bound=Result)

_UNAVAILABLE: Final = Problem(
    503, "unavailable", "no leader could be reached; nothing was stored", hint="try again"
)
_NOT_DONE: Final = {
    OutcomeCode.BUSY: refused(Reason.RATE_LIMITED),
    OutcomeCode.DISK_FULL: Problem(
        400,
        "disk_full",
        "the storage has too little room; nothing was stored",
        hint="free disk space; reads go on",
        reason=Reason.SYSTEM_ERROR,
    ),
    OutcomeCode.UNAVAILABLE: _UNAVAILABLE,
    OutcomeCode.NOT_LEADER: _UNAVAILABLE,
}


def _unknown(hint: str) -> Problem:
    return Problem(
        503, "unknown_outcome", "no answer in time: it may or may not have been done", hint=hint
    )


class Asking:
    """Asks partitions through the gateway's port."""

    def __init__(self, port: GatewayPort) -> None:
        self._port = port

    async def write(self, key: bytes, operation: Operation) -> Done:
        """Commit one state change; raises `Problem` unless it is done."""
        body = encode(operation)
        return await self._ask(ItemKind.WRITE, key, body, limits.SEND_DEADLINE_MS, Done)

    async def read(self, key: bytes, query: Query, expected: type[ResultT]) -> ResultT:
        """Read from the leader; raises `Problem` if none answers."""
        body = encode(query)
        return await self._ask(ItemKind.READ, key, body, limits.READ_DEADLINE_MS, expected)

    async def send(self, key: bytes, message: SendMessage, kind: ItemKind) -> Result:
        """Send a message: `Sent` or `Rejected`; raises `Problem` for anything less definite.

        The hint names the client_msg_no, which the caller may not have given.
        """
        hint = f"send again with the same client_msg_no, {message.client_msg_no}"
        body = encode(message)
        return decode_result(await self._body(kind, key, body, limits.SEND_DEADLINE_MS, hint))

    async def append(self, key: bytes, event: AppendEvent) -> Result:
        """Append an event: the answer or a refusal; raises `Problem` for anything less definite."""
        body = encode(event)
        hint = "send the event again with the same event_id"
        deadline = limits.SEND_DEADLINE_MS
        return decode_result(await self._body(ItemKind.WRITE, key, body, deadline, hint))

    async def _ask(
        self, kind: ItemKind, key: bytes, body: bytes, deadline_ms: int, expected: type[ResultT]
    ) -> ResultT:
        result = decode_result(await self._body(kind, key, body, deadline_ms))
        if isinstance(result, Rejected):
            raise refused(result.reason, result.text)
        assert isinstance(result, expected), f"{type(result).__name__} for {expected.__name__}"
        return result

    async def _body(
        self,
        kind: ItemKind,
        key: bytes,
        body: bytes,
        deadline_ms: int,
        hint: str = "ask again with the same values",
    ) -> bytes:
        answer = await self._port.ask(kind, key, body, deadline_ms)
        if answer.code == OutcomeCode.DONE:
            return answer.result
        if answer.code == OutcomeCode.BAD_REQUEST:
            raise bad_request(answer.result.decode(errors="replace"))
        raise _NOT_DONE.get(OutcomeCode(answer.code)) or _unknown(hint)


def slices(uids: Sequence[str]) -> Iterator[list[str]]:
    """`uids` without repeats, in log entries' portions; once, empty, if there are none."""
    unique = list(dict.fromkeys(uids))
    size = limits.MEMBERS_PER_ENTRY_MAX
    for start in range(0, max(len(unique), 1), size):
        yield unique[start : start + size]


def check_uid(uid: str) -> None:
    """`Problem` unless `uid` can be a user id."""
    if not is_valid_uid(uid):
        raise bad_request(
            f"uid {uid[:64]!r} cannot be used",
            f"printable characters without @ # &, at most {limits.UID_BYTES_MAX} bytes",
        )


def check_uids(uids: Sequence[str]) -> None:
    """`Problem` for the first that cannot be a user id."""
    for uid in uids:
        check_uid(uid)


def check_group(channel_type: int, channel_id: str) -> bytes:
    """The route key of a channel that has members; `Problem` for a person channel."""
    if channel_type == ChannelType.PERSON:
        raise bad_request(
            "a person channel has exactly its two users", "use a group (channel_type 2)"
        )
    if not is_valid_uid(channel_id) and channel_type == ChannelType.GROUP:
        raise bad_request(
            f"channel_id {channel_id[:64]!r} cannot be used",
            f"printable characters without @ # &, at most {limits.UID_BYTES_MAX} bytes",
        )
    return route_key_of_channel(channel_type, channel_id)


def channel_of(channel_type: int, channel_id: str, uid: str) -> str:
    """The canonical id of the channel that `uid` calls `channel_id`; `Problem` if it has none."""
    if channel_type != ChannelType.PERSON:
        return channel_id
    canonical = canonical_channel_id(channel_type, channel_id, uid)
    if uid not in canonical.split("@"):
        raise bad_request(f"{uid!r} is not one of the two users of {channel_id!r}")
    return canonical
