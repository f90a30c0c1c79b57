"""Calls about channels: flags, members, black- and whitelists.

A call answers when everything is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from litestar import Router, get, post
from litestar.handlers import HTTPRouteHandler

from zmqim.chat.channels import route_key_of_user
from zmqim.chat.codes import ChannelType, ListAction, ListName, Reason
from zmqim.chat.operations import ChangeList, SetUser, UpsertChannel
from zmqim.chat.queries import ChannelQuery, ListQuery, OutboxQuery
from zmqim.chat.results import ChannelRow, Done, MembersPage
from zmqim.gateway.http.asking import (
    Asking,
    check_group,
    check_members,
    check_uid,
    check_uids,
)
from zmqim.gateway.http.given import Given, GivenSenders
from zmqim.gateway.http.portions import (
    add_members,
    remove_all,
    remove_members,
    request_id,
    slices,
    write_all,
)
from zmqim.gateway.http.problems import Problem, bad_request, refused
from zmqim.gateway.http.shapes import (
    ChannelCreateRequest,
    ChannelId,
    ChannelKey,
    ChannelRequest,
    ListRequest,
    ListRow,
    Ok,
    SubscribersRequest,
    TypeOfChannel,
)


def upsert_of(data: ChannelRequest) -> UpsertChannel:
    """The change that gives a channel these flags."""
    return UpsertChannel(
        data.channel_type,
        data.channel_id,
        bool(data.large),
        bool(data.ban),
        bool(data.disband),
        bool(data.send_ban),
        bool(data.allow_stranger),
        request_id(),
    )


@post("/channel", status_code=200, tags=["channels"])
async def create_channel(data: ChannelCreateRequest, asking: Given) -> Ok:
    """Create a channel or change its flags, and add members; with `reset` all others leave."""
    adds = bool(data.subscribers or data.reset)
    check = check_members if adds else check_group
    key = check(data.channel_type, data.channel_id)
    check_uids(data.subscribers)
    await asking.write(key, upsert_of(data))
    if adds:
        await add_members(
            asking, key, data.channel_type, data.channel_id, data.subscribers, bool(data.reset)
        )
    return Ok()


@post("/channel/info", status_code=200, tags=["channels"])
async def channel_info(data: ChannelRequest, asking: Given, senders: GivenSenders) -> Ok:
    """Change a channel's flags. Type 1 with a uid as channel_id sets that user's bans."""
    if data.channel_type == ChannelType.PERSON:
        check_uid(data.channel_id)
        operation = SetUser(
            data.channel_id,
            bool(data.ban),
            bool(data.send_ban),
            bool(data.allow_stranger),
            request_id(),
        )
        try:
            await asking.write(route_key_of_user(data.channel_id), operation)
        finally:
            senders.forget(data.channel_id)  # Also where nobody knows whether it was done.
        return Ok()
    await asking.write(check_group(data.channel_type, data.channel_id), upsert_of(data))
    return Ok()


@post("/channel/delete", status_code=200, tags=["channels"])
async def delete_channel(data: ChannelKey, asking: Given) -> Ok:
    """Disband a channel for good: sending is refused with reason 24, the history stays readable."""
    key = check_group(data.channel_type, data.channel_id)
    row = await asking.read(key, ChannelQuery(data.channel_type, data.channel_id), ChannelRow)
    if not row.exists:
        raise refused(Reason.CHANNEL_NOT_FOUND)
    operation = UpsertChannel(
        data.channel_type,
        data.channel_id,
        row.large,
        row.ban,
        True,
        row.send_ban,
        row.allow_stranger,
        request_id(),
    )
    await asking.write(key, operation)
    return Ok()


@post("/channel/subscriber_add", status_code=200, tags=["channels"])
async def add_subscribers(data: SubscribersRequest, asking: Given) -> Ok:
    """Add members, creating the channel if it is missing; with `reset` all others leave."""
    if data.temp_subscriber:
        raise bad_request("temporary subscribers are not served", "use a channel of type 8")
    key = check_members(data.channel_type, data.channel_id)
    check_uids(data.subscribers)
    await add_members(
        asking, key, data.channel_type, data.channel_id, data.subscribers, bool(data.reset)
    )
    return Ok()


@post("/channel/subscriber_remove", status_code=200, tags=["channels"])
async def remove_subscribers(data: SubscribersRequest, asking: Given) -> Ok:
    """Remove members: nothing that is sequenced afterwards reaches them."""
    key = check_members(data.channel_type, data.channel_id)
    check_uids(data.subscribers)
    await remove_members(asking, key, data.channel_type, data.channel_id, data.subscribers)
    return Ok()


@post("/channel/subscriber_remove_all", status_code=200, tags=["channels"])
async def remove_all_subscribers(data: ChannelKey, asking: Given) -> Ok:
    """Remove every member."""
    key = check_members(data.channel_type, data.channel_id)
    await remove_all(asking, key, data.channel_type, data.channel_id)
    return Ok()


async def _change_list(
    asking: Asking,
    which: ListName,
    action: ListAction,
    channel_type: int,
    channel_id: str,
    uids: Sequence[str],
) -> Ok:
    """One list change; for a person it answers when every derived rule is committed."""
    key = _list_key(channel_type, channel_id)
    check_uids(uids)
    operations = [
        ChangeList(
            channel_type,
            channel_id,
            which,
            ListAction.ADD if action is ListAction.SET and number else action,
            part,
            request_id(),
        )
        for number, part in enumerate(slices(uids))
    ]
    done = await write_all(asking, key, operations, len(uids))
    if done.outbox_upto:
        await _outbox_drained(asking, key, done.outbox_upto)
    return Ok()


def _list_key(channel_type: int, channel_id: str) -> bytes:
    """Where a list lives: a person's in the partition of that user."""
    if channel_type == ChannelType.PERSON:
        check_uid(channel_id)
        return route_key_of_user(channel_id)
    return check_group(channel_type, channel_id)


async def _outbox_drained(asking: Asking, key: bytes, upto: int) -> None:
    """Wait, READ_DEADLINE_MS at most, until other partitions have applied what follows."""
    try:
        await asking.read(key, OutboxQuery(upto), Done)
    except Problem as problem:
        raise Problem(
            503,
            "not_yet_everywhere",
            "the list is stored, but not yet in force in every person channel",
            hint="it will be, by itself; call again to wait for it",
        ) from problem


def _list_calls(which: ListName, name: str) -> list[HTTPRouteHandler]:
    """The four writing calls of one list."""

    async def add(data: ListRequest, asking: Given) -> Ok:
        return await _change_list(
            asking, which, ListAction.ADD, data.channel_type, data.channel_id, data.uids
        )

    async def replace(data: ListRequest, asking: Given) -> Ok:
        return await _change_list(
            asking, which, ListAction.SET, data.channel_type, data.channel_id, data.uids
        )

    async def remove(data: ListRequest, asking: Given) -> Ok:
        return await _change_list(
            asking, which, ListAction.REMOVE, data.channel_type, data.channel_id, data.uids
        )

    async def remove_all(data: ChannelKey, asking: Given) -> Ok:
        return await _change_list(
            asking, which, ListAction.REMOVE_ALL, data.channel_type, data.channel_id, []
        )

    calls: dict[str, tuple[Callable[..., Any], str]] = {
        "add": (add, "Add uids to"),
        "set": (replace, "Replace"),
        "remove": (remove, "Remove uids from"),
        "remove_all": (remove_all, "Empty"),
    }
    handlers: list[HTTPRouteHandler] = []
    for suffix, (call, words) in calls.items():
        call.__name__ = f"{name}_{suffix}"
        summary = f"{words} a {name}; for type 1 channel_id is the owner's uid"
        route = post(f"/channel/{name}_{suffix}", status_code=200, tags=["lists"], summary=summary)
        handlers.append(route(call))
    return handlers


@get("/channel/whitelist", tags=["lists"])
async def whitelist(
    channel_id: ChannelId, channel_type: TypeOfChannel, asking: Given
) -> list[ListRow]:
    """The whitelist of a channel, in byte order."""
    key = _list_key(channel_type, channel_id)
    uids: list[str] = []
    while True:
        after = uids[-1] if uids else ""
        query = ListQuery(channel_type, channel_id, ListName.ALLOW, after)
        page = await asking.read(key, query, MembersPage)
        uids.extend(page.uids)
        if not page.more:
            return [ListRow(number, uid) for number, uid in enumerate(uids, 1)]


def channel_router() -> Router:
    """All calls of this module."""
    return Router(
        "/",
        route_handlers=[
            create_channel,
            channel_info,
            delete_channel,
            add_subscribers,
            remove_subscribers,
            remove_all_subscribers,
            whitelist,
            *_list_calls(ListName.DENY, "blacklist"),
            *_list_calls(ListName.ALLOW, "whitelist"),
        ],
    )
