"""Calls about system uids: whom no black- or whitelist stops, in any channel.

The set is stored once, in the partition of `____system`; gateways read it every few seconds
(`zmqim.gateway.system_uids`). `____system` itself always belongs to it and is not listed.
"""

from __future__ import annotations

from typing import Final

from litestar import get, post

from zmqim.chat.channels import SYSTEM_UIDS, route_key_of_channel
from zmqim.chat.queries import MembersQuery
from zmqim.chat.results import MembersPage
from zmqim.gateway.http.asking import Asking, check_uids
from zmqim.gateway.http.given import Given
from zmqim.gateway.http.portions import add_members, remove_members
from zmqim.gateway.http.problems import bad_request
from zmqim.gateway.http.shapes import Ok, UidsRequest
from zmqim.limits import SYSTEM_UIDS_MAX

_KEY: Final = route_key_of_channel(*SYSTEM_UIDS)


@post("/user/systemuids_add", status_code=200, tags=["users"])
async def add_system_uids(data: UidsRequest, asking: Given) -> Ok:
    """Add system uids: no list stops them. Each gateway knows it some 5 s after the answer."""
    check_uids(data.uids)
    known = await _all(asking)
    if len(known | set(data.uids)) > SYSTEM_UIDS_MAX:
        raise bad_request(f"there can be {SYSTEM_UIDS_MAX} system uids, now there are {len(known)}")
    await add_members(asking, _KEY, *SYSTEM_UIDS, data.uids, False)
    return Ok()


@post("/user/systemuids_remove", status_code=200, tags=["users"])
async def remove_system_uids(data: UidsRequest, asking: Given) -> Ok:
    """Make system uids users like everyone again; each gateway knows it some 5 s after the
    answer."""
    await remove_members(asking, _KEY, *SYSTEM_UIDS, data.uids)
    return Ok()


@get("/user/systemuids", tags=["users"])
async def system_uids(asking: Given) -> list[str]:
    """The system uids as stored, in byte order, without `____system`."""
    return sorted(await _all(asking), key=str.encode)


async def _all(asking: Asking) -> set[str]:
    uids: list[str] = []
    while True:
        after = uids[-1] if uids else ""
        page = await asking.read(_KEY, MembersQuery(*SYSTEM_UIDS, after), MembersPage)
        uids += page.uids
        if not page.more:
            return set(uids)
