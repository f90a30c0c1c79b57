"""Temporary channels (type 8): members set as a whole, and sends to a list of uids.

A send to a list goes to the temporary channel whose id is made of the list (`uid_list_id`) and
whose members are exactly these uids. The first send to a list makes it, later ones find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from litestar import post

from zmqim.chat.channels import route_key_of_channel
from zmqim.chat.codes import ChannelType
from zmqim.chat.queries import MembersQuery
from zmqim.chat.results import MembersPage
from zmqim.gateway.http.asking import Asking, check_members, check_uids
from zmqim.gateway.http.given import Given
from zmqim.gateway.http.portions import add_members
from zmqim.gateway.http.problems import bad_request
from zmqim.gateway.http.shapes import Ok, SendRequest, TemporaryRequest
from zmqim.limits import SEND_UIDS_MAX

TEMPORARY: Final = int(ChannelType.TEMPORARY)


@post("/tmpchannel/subscriber_set", status_code=200, tags=["channels"])
async def set_temporary_subscribers(data: TemporaryRequest, asking: Given) -> Ok:
    """Make these uids the members of a temporary channel (type 8), and nobody else."""
    key = check_members(TEMPORARY, data.channel_id)
    check_uids(data.uids)
    await add_members(asking, key, TEMPORARY, data.channel_id, data.uids, True)
    return Ok()


def uids_of(data: SendRequest) -> list[str]:
    """The list of a send to uids, nobody twice; `Problem` if it cannot be sent like that."""
    if data.channel_id:
        raise bad_request(
            "a message goes to a channel or to subscribers, not to both",
            "leave out channel_id, or subscribers",
        )
    if not data.header.sync_once:
        raise bad_request(
            "only command messages go to a list of subscribers",
            "set header.sync_once to 1, or create a group and send to it",
        )
    uids = list(dict.fromkeys(data.subscribers))
    if len(uids) > SEND_UIDS_MAX:
        raise bad_request(
            f"{len(uids)} subscribers are above {SEND_UIDS_MAX}", "create a group and send to it"
        )
    check_uids(uids)
    return uids


async def make_list(asking: Asking, channel_id: str, uids: Sequence[str]) -> None:
    """See to it that the members of the list's channel are `uids`."""
    key = route_key_of_channel(TEMPORARY, channel_id)
    query = MembersQuery(TEMPORARY, channel_id, "", SEND_UIDS_MAX)
    page = await asking.read(key, query, MembersPage)
    members = set(page.uids)
    if page.more or not members <= set(uids):
        raise bad_request(
            f"channel {channel_id} of type 8, which this list makes, has other members",
            "list the uids in another order",
        )
    missing = [uid for uid in uids if uid not in members]
    if missing:
        await add_members(asking, key, TEMPORARY, channel_id, missing, False)
