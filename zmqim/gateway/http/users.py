"""Calls about users: tokens, devices, who is online."""

from __future__ import annotations

import secrets
from typing import Annotated, Final

from litestar import post
from msgspec import Meta

from zmqim.chat.channels import route_key_of_user
from zmqim.chat.codes import Reason
from zmqim.chat.operations import ClearToken, SetToken
from zmqim.chat.queries import UserQuery
from zmqim.chat.results import UserRow
from zmqim.gateway.http.asking import Asking, check_uid
from zmqim.gateway.http.given import Given, GivenPort
from zmqim.gateway.http.portions import request_id
from zmqim.gateway.http.shapes import DeviceQuitRequest, Ok, OnlineDevice, Text, TokenRequest
from zmqim.gateway.tokens import SALT_BYTES, token_hash

ONLINE_UIDS_MAX: Final = 10_000


@post("/user/token", status_code=200, tags=["users"])
async def set_token(data: TokenRequest, asking: Given) -> Ok:
    """Store the login token of (uid, device_flag). It is kept as a salted hash only.

    A banned uid is answered `{"status": 19}`.
    """
    check_uid(data.uid)
    return Ok() if await store_token(asking, data) else Ok(status=int(Reason.BANNED))


async def store_token(asking: Asking, data: TokenRequest) -> bool:
    """Store a login token as a salted hash; False: the user is banned, and it is not stored."""
    key = route_key_of_user(data.uid)
    row = await asking.read(key, UserQuery(data.uid, data.device_flag), UserRow)
    if row.ban:
        return False
    salt = secrets.token_bytes(SALT_BYTES)
    operation = SetToken(
        data.uid,
        data.device_flag,
        data.device_level,
        salt,
        token_hash(salt, data.token),
        request_id(),
    )
    await asking.write(key, operation)
    return True


@post("/user/device_quit", status_code=200, tags=["users"])
async def device_quit(data: DeviceQuitRequest, asking: Given) -> Ok:
    """Forget the token of (uid, device_flag) and end its sessions; -1 means every device."""
    check_uid(data.uid)
    operation = ClearToken(data.uid, data.device_flag, request_id())
    await asking.write(route_key_of_user(data.uid), operation)
    return Ok()


@post("/user/onlinestatus", status_code=200, tags=["users"])
async def online_status(
    data: Annotated[list[Text], Meta(max_length=ONLINE_UIDS_MAX)], port: GivenPort
) -> list[OnlineDevice] | Ok:
    """Which devices of these users are online; nobody: `{"status": 200}`."""
    devices = await port.online(data)
    return [OnlineDevice(uid, flag) for uid, flag in devices] or Ok()
