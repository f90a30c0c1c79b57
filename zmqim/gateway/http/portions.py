"""Long lists of uids, cut into log entries of MEMBERS_PER_ENTRY_MAX.

A call answers when the last entry is committed, and says how many uids were applied if it has to
stop. Nothing is undone then: to send the rest again does no harm. Members who are removed together
leave in such portions too: one entry for 100,000 would stop every replica for seconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from zmqim import limits
from zmqim.chat.operations import AddMembers, ChangeList, RemoveMembers
from zmqim.chat.queries import MembersQuery
from zmqim.chat.results import Done, MembersPage
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.problems import Problem

REQUEST_ID_BYTES: Final = 16


def request_id() -> bytes:
    """A new request id: a write that is repeated under it is done once."""
    return secrets.token_bytes(REQUEST_ID_BYTES)


def slices(uids: Sequence[str]) -> Iterator[list[str]]:
    """`uids` without repeats, in log entries' portions; once, empty, if there are none."""
    unique = list(dict.fromkeys(uids))
    size = limits.MEMBERS_PER_ENTRY_MAX
    for start in range(0, max(len(unique), 1), size):
        yield unique[start : start + size]


async def add_members(
    asking: Asking,
    key: bytes,
    channel_type: int,
    channel_id: str,
    uids: Sequence[str],
    reset: bool,
) -> None:
    """Add members, creating the channel; with `reset` they are all that there are afterwards. In
    one step if neither they nor the others are above MEMBERS_PER_ENTRY_MAX."""
    portions = list(slices(uids))
    first = await _members(asking, key, channel_type, channel_id) if reset else None
    at_once = first is not None and not first.more and len(portions) == 1
    operations = [
        AddMembers(channel_type, channel_id, part, at_once, request_id()) for part in portions
    ]
    await write_all(asking, key, operations, len(uids))
    if reset and not at_once:
        await _remove_others(asking, key, channel_type, channel_id, frozenset(uids))


async def remove_all(asking: Asking, key: bytes, channel_type: int, channel_id: str) -> None:
    """Remove every member."""
    while (page := await _members(asking, key, channel_type, channel_id)).more:
        await _remove(asking, key, RemoveMembers(channel_type, channel_id, page.uids))
    await _remove(asking, key, RemoveMembers(channel_type, channel_id, [], everyone=True))


async def _remove_others(
    asking: Asking, key: bytes, channel_type: int, channel_id: str, stays: frozenset[str]
) -> None:
    """Remove all members but `stays`."""
    page = await _members(asking, key, channel_type, channel_id)
    while page.uids:
        leaving = [uid for uid in page.uids if uid not in stays]
        if leaving:
            await _remove(asking, key, RemoveMembers(channel_type, channel_id, leaving))
        if not page.more:
            return
        page = await _members(asking, key, channel_type, channel_id, page.uids[-1])


async def _remove(asking: Asking, key: bytes, operation: RemoveMembers) -> None:
    try:
        await asking.write(key, replace(operation, request_id=request_id()))
    except Problem as problem:
        raise Problem(
            problem.status,
            problem.code,
            f"not everybody was removed: {problem.msg}",
            hint="send it again; repeats do no harm",
            reason=problem.reason,
        ) from problem


async def _members(
    asking: Asking, key: bytes, channel_type: int, channel_id: str, after: str = ""
) -> MembersPage:
    size = limits.MEMBERS_PER_ENTRY_MAX
    return await asking.read(key, MembersQuery(channel_type, channel_id, after, size), MembersPage)


async def remove_members(
    asking: Asking, key: bytes, channel_type: int, channel_id: str, uids: Sequence[str]
) -> None:
    """Remove these members."""
    operations = [
        RemoveMembers(channel_type, channel_id, part, False, request_id()) for part in slices(uids)
    ]
    await write_all(asking, key, operations, len(uids))


async def write_all(
    asking: Asking,
    key: bytes,
    operations: Sequence[AddMembers | RemoveMembers | ChangeList],
    total: int,
) -> Done:
    """Commit the portions one after the other; a stop says how many uids were applied."""
    done = Done()
    for number, operation in enumerate(operations):
        try:
            done = await asking.write(key, operation)
        except Problem as problem:
            if number == 0:
                raise
            applied = number * limits.MEMBERS_PER_ENTRY_MAX
            problem_here = Problem(
                problem.status,
                problem.code,
                f"stopped after {applied} of {total} uids: {problem.msg}",
                hint="send the rest again; repeats do no harm",
                reason=problem.reason,
            )
            raise problem_here from problem
    return done
