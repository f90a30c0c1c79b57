"""Calls about webhooks: letting go what follows the partitions for one that is no more."""

from __future__ import annotations

from litestar import post

from zmqim.chat.operations import Unfollow
from zmqim.gateway.http.given import Given, GivenPort
from zmqim.gateway.http.problems import bad_request
from zmqim.gateway.http.shapes import Ok, WebhookForgetRequest
from zmqim.gateway.partition_keys import keys_of_partitions


@post("/webhook/forget", status_code=200, tags=["system"])
async def forget_webhook(data: WebhookForgetRequest, asking: Given, port: GivenPort) -> Ok:
    """Keep no log any more for a webhook that was taken out of the topology: under its name it
    would begin anew. A name that nobody knows is forgotten as well. May be repeated."""
    topology = port.context.topology
    for gateway in topology.gateways:
        if any(dict(one.settings).get("name") == data.name for one in gateway.listeners):
            raise bad_request(
                f"webhook {data.name[:64]!r} is in the topology and would begin anew at once",
                "take it out and start the gateways again first",
            )
    for key in keys_of_partitions(topology.partitions).values():
        await asking.write(key, Unfollow(data.name))
    return Ok()
