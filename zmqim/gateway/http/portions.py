"""Long lists of uids, cut into log entries of MEMBERS_PER_ENTRY_MAX.

A call answers when the last entry is committed, and says how many uids were applied if it has to
stop. Nothing is undone then: to send the rest again does no harm.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Final

from zmqim import limits
from zmqim.chat.operations import AddMembers, ChangeList, RemoveMembers
from zmqim.chat.results import Done
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
    """Add members, creating the channel; `reset` first removes all others."""
    operations = [
        AddMembers(channel_type, channel_id, part, reset and number == 0, request_id())
        for number, part in enumerate(slices(uids))
    ]
    await write_all(asking, key, operations, len(uids))


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
