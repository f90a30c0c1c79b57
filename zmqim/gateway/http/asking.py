"""From a call to a partition and back: operations and queries out, results or `Problem` in.

One `Asking` a listener. It adds nothing to what the partitions say: a definite refusal is a 4xx
with its reason, "nothing happened" is 503 with ``busy`` or ``unavailable``, and "nobody knows" is
503 with ``unknown_outcome``, never a failure (docs/REPLICATION.md 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from zmqim import limits
from zmqim.bus.messages import ItemKind, OutcomeCode
from zmqim.chat.channels import (
    canonical_channel_id,
    fault_of_name,
    is_valid_uid,
    peers_of,
    route_key_of_channel,
)
from zmqim.chat.codes import ChannelType, Reason
from zmqim.chat.encoding import Value, encode
from zmqim.chat.operations import AppendEvent, Operation, SendMessage
from zmqim.chat.queries import Query
from zmqim.chat.results import Done, Rejected, Result, decode_answer, decode_result
from zmqim.gateway.http.problems import Problem, bad_request, refused
from zmqim.gateway.plugin import Answer, GatewayPort

ResultT = TypeVar("ResultT", bound=Value)


_AGAIN: Final = "ask again with the same values"


def _not_done(code: int, hint: str) -> Problem:
    """What an answer other than DONE means. A new one each time: an exception that is raised again
    keeps the frames of every time before."""
    match code:
        case OutcomeCode.BUSY:
            return refused(Reason.RATE_LIMITED)
        case OutcomeCode.DISK_FULL:
            return Problem(
                400,
                "disk_full",
                "the storage has too little room; nothing was stored",
                hint="free disk space; reads go on",
                reason=Reason.SYSTEM_ERROR,
            )
        case OutcomeCode.UNAVAILABLE | OutcomeCode.NOT_LEADER:
            return Problem(
                503,
                "unavailable",
                "no leader could be reached; nothing was stored",
                hint="try again",
            )
        case _:
            return Problem(
                503,
                "unknown_outcome",
                "no answer in time: it may or may not have been done",
                hint=hint,
            )


class Asking:
    """Asks partitions through the gateway's port."""

    def __init__(self, port: GatewayPort) -> None:
        self.port = port

    async def write(self, key: bytes, operation: Operation) -> Done:
        """Commit one state change; raises `Problem` unless it is done."""
        body = encode(operation)
        return await self._ask(ItemKind.WRITE, key, body, limits.SEND_DEADLINE_MS, Done)

    async def read(self, key: bytes, query: Query, expected: type[ResultT]) -> ResultT:
        """Read from the leader; raises `Problem` if none answers."""
        body = encode(query)
        return await self._ask(ItemKind.READ, key, body, limits.READ_DEADLINE_MS, expected)

    async def read_each(
        self, asks: Sequence[tuple[bytes, Query]], expected: type[ResultT]
    ) -> list[ResultT | Problem]:
        """Read (key, query) each from its leader, all at the same time; a `Problem` stands where
        there is no answer."""
        answers = [
            self.port.ask(ItemKind.READ, key, encode(query), limits.READ_DEADLINE_MS)
            for key, query in asks
        ]
        results: list[ResultT | Problem] = []
        for answer in answers:
            try:
                results.append(_expected(await answer, expected))
            except Problem as problem:
                results.append(problem)
        return results

    async def send(self, key: bytes, message: SendMessage, kind: ItemKind) -> Result:
        """Send a message: `Sent` or `Rejected`; raises `Problem` for anything less definite.

        The hint names the client_msg_no, which the caller may not have given.
        """
        hint = f"send again with the same client_msg_no, {message.client_msg_no}"
        body = encode(message)
        return _result_of(await self.port.ask(kind, key, body, limits.SEND_DEADLINE_MS), hint)

    async def append(self, key: bytes, event: AppendEvent) -> Result:
        """Append an event: the answer or a refusal; raises `Problem` for anything less definite."""
        body = encode(event)
        hint = "send the event again with the same event_id"
        answer = await self.port.ask(ItemKind.WRITE, key, body, limits.SEND_DEADLINE_MS)
        return _result_of(answer, hint)

    async def _ask(
        self, kind: ItemKind, key: bytes, body: bytes, deadline_ms: int, expected: type[ResultT]
    ) -> ResultT:
        return _expected(await self.port.ask(kind, key, body, deadline_ms), expected)


def _expected(answer: Answer, expected: type[ResultT]) -> ResultT:
    result = decode_answer(_done(answer, _AGAIN), expected)
    if isinstance(result, Rejected):
        raise refused(result.reason, result.text)
    return result


def _result_of(answer: Answer, hint: str) -> Result:
    return decode_result(_done(answer, hint))


def _done(answer: Answer, hint: str) -> bytes:
    """The encoded result; `Problem` if the partition did not say that it is done."""
    if answer.code == OutcomeCode.DONE:
        return answer.result
    if answer.code == OutcomeCode.BAD_REQUEST:
        raise bad_request(answer.result.decode(errors="replace"))
    raise _not_done(answer.code, hint)


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
    """The route key of a channel that is none between two persons; `Problem` for an id that its
    type cannot have. A type that there is not is left to the partition to refuse."""
    if channel_type == ChannelType.PERSON:
        raise bad_request(
            "a person channel has exactly its two users", "use a group (channel_type 2)"
        )
    fault = fault_of_name(channel_type, channel_id)
    if fault:
        raise bad_request(fault, "docs/CHANNELS.md lists the ids of each type")
    return route_key_of_channel(channel_type, channel_id)


def check_members(channel_type: int, channel_id: str) -> bytes:
    """The route key of a channel that has members of its own; `Problem` for any other."""
    key = check_group(channel_type, channel_id)
    if channel_type == ChannelType.AGENT:
        raise bad_request(
            "an agent channel has exactly its two parties", "use an agent group (channel_type 12)"
        )
    if channel_type == ChannelType.COMMUNITY_TOPIC:
        raise bad_request(
            "a topic has the members of its community", "add them to the community (channel_type 4)"
        )
    return key


def channel_of(channel_type: int, channel_id: str, uid: str) -> str:
    """The canonical id of the channel that `uid` calls `channel_id`; `Problem` if it has none."""
    canonical = canonical_channel_id(channel_type, channel_id, uid)
    if channel_type == ChannelType.PERSON:
        both = peers_of(canonical)
        check_uids(both)
        if uid not in both:
            raise bad_request(f"{uid[:64]!r} is not one of the two users of {channel_id[:64]!r}")
    return canonical


def channel_read_by(channel_type: int, channel_id: str, login_uid: str) -> str:
    """The same for a reader, who may be nobody in particular ("") where the id names both users."""
    if channel_type == ChannelType.PERSON and not login_uid:
        if "@" not in channel_id:
            raise bad_request(
                "login_uid is missing: it is one of the two users of a person channel",
                "give login_uid, or both uids joined by @ as channel_id",
            )
        login_uid = peers_of(channel_id)[0]
    return channel_of(channel_type, channel_id, login_uid)
