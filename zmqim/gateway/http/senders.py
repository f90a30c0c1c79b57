"""Whether the users that HTTP calls send for are banned: read from the user's partition, and known
for a moment.

A backend sends for the same users again and again, and to ask before each message costs as much as
the message. What was read is good for SENDER_KNOWN_MS: a ban that came through another gateway
reaches sends over this one so much later. One that came through this one counts from its answer on
(`forget`).
"""

from __future__ import annotations

import asyncio

from zmqim import limits
from zmqim.chat.channels import route_key_of_user
from zmqim.chat.codes import Reason
from zmqim.chat.queries import UserQuery
from zmqim.chat.results import UserRow
from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.problems import refused


class Senders:
    """The users that may send, as far as they are known."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._known_until: dict[str, float] = {}
        self._forgotten = 0

    async def check(self, uid: str) -> None:
        """`Problem` if the user is banned, or may not send. System uids have no bans."""
        if uid in self._asking.port.system_uids:
            return
        now = asyncio.get_running_loop().time()
        if self._known_until.get(uid, 0.0) > now:
            return
        forgotten = self._forgotten
        row = await self._asking.read(route_key_of_user(uid), UserQuery(uid, 0), UserRow)
        if row.ban:
            raise refused(Reason.BANNED)
        if row.send_ban:
            raise refused(Reason.SEND_BANNED)
        # What was read before a change through this gateway is not kept behind it.
        if forgotten == self._forgotten:
            self._keep(uid, now + limits.SENDER_KNOWN_MS / 1000)

    def forget(self, uid: str) -> None:
        """The bans of `uid` were changed."""
        self._forgotten += 1
        self._known_until.pop(uid, None)

    def _keep(self, uid: str, until: float) -> None:
        known = self._known_until
        known.pop(uid, None)
        if len(known) >= limits.SENDERS_KNOWN_MAX:
            del known[next(iter(known))]  # The oldest: they are kept in the order of their reading.
        known[uid] = until
