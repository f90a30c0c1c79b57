"""One message to many users, each in the person channel with the sender.

Every copy is a message of its own, committed or refused for itself. With a client_msg_no the whole
call can be repeated: the copy for `uid` has the number ``client_msg_no:uid``, so what is there
already is found and not sent again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator

from litestar import post
from msgspec.structs import replace

from zmqim import limits
from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import ChannelType
from zmqim.chat.operations import SendMessage
from zmqim.gateway.http.asking import Asking, check_uids
from zmqim.gateway.http.given import Given, GivenSenders
from zmqim.gateway.http.messages import (
    approved,
    commit,
    flags_of,
    payload_of,
    sender_of,
    stranger_asked,
)
from zmqim.gateway.http.problems import Problem, bad_request
from zmqim.gateway.http.shapes import SendBatchAnswer, SendBatchRequest
from zmqim.gateway.plugin import GatewayPort


@post("/message/sendbatch", status_code=200, tags=["messages"])
async def send_batch(
    data: SendBatchRequest, asking: Given, senders: GivenSenders
) -> SendBatchAnswer:
    """Send one message to each of `subscribers`, in their person channels with from_uid. Answered
    when each copy is committed or refused: `fail_uids` did not get theirs, `reason` says why, in
    the same order. Repeat a call under its client_msg_no, and only what is missing is sent."""
    port = asking.port
    if not data.subscribers:
        raise bad_request("subscribers is empty", "name who shall get the message")
    sender = sender_of(data.from_uid)
    check_uids(data.subscribers)
    message = SendMessage(
        ChannelType.PERSON,
        "",
        sender,
        data.client_msg_no or secrets.token_hex(16),
        payload_of(data.payload),
        flags=flags_of(data.header),
        privileged=sender in port.system_uids,
        stranger=stranger_asked(ChannelType.PERSON),
    )
    await senders.check(sender)
    batch = _Batch(asking, port, message, list(dict.fromkeys(data.subscribers)))
    return await batch.send()


class _Batch:
    """The copies of one call, HTTP_SENDS_AT_ONCE_MAX of them on their way at a time."""

    def __init__(
        self, asking: Asking, port: GatewayPort, message: SendMessage, uids: list[str]
    ) -> None:
        self._asking = asking
        self._port = port
        self._message = message
        self._uids = uids
        self._failed: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + limits.SEND_BATCH_MS_MAX / 1000

    async def send(self) -> SendBatchAnswer:
        """All of them; who did not get it, in the order of the call."""
        left = iter(self._uids)
        count = min(len(self._uids), limits.HTTP_SENDS_AT_ONCE_MAX)
        await asyncio.gather(*[self._send_some(left) for _ in range(count)])
        failed = [uid for uid in self._uids if uid in self._failed]
        return SendBatchAnswer(failed, [self._failed[uid] for uid in failed])

    async def _send_some(self, left: Iterator[str]) -> None:
        for uid in left:
            if self._loop.time() > self._deadline:
                self._failed[uid] = "not sent: the call took too long; repeat it"
                continue
            message = self._message
            copy = replace(
                message,
                channel_id=person_channel_id(message.from_uid, uid),
                client_msg_no=f"{message.client_msg_no}:{uid}",
            )
            try:
                await commit(self._asking, await approved(self._port, copy, uid))
            except Problem as problem:
                self._failed[uid] = problem.msg
