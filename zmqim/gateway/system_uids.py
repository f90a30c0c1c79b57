"""The uids that no list stops, as this gateway knows them.

They are the members of a channel that nobody can write to (`zmqim.chat.channels.SYSTEM_UIDS`). Each
gateway reads them when it starts, before it is ready, and then again and again: a change is known
here SYSTEM_UIDS_READ_MS after it was stored, and the time of a read later. While they cannot be
read, what was known goes on to hold.
"""

from __future__ import annotations

from typing import Final

from zmqim import limits
from zmqim.bus.messages import ItemKind
from zmqim.chat.channels import SYSTEM_UID, SYSTEM_UIDS, route_key_of_channel
from zmqim.chat.encoding import encode
from zmqim.chat.queries import MembersQuery
from zmqim.chat.results import MembersPage, decode_result
from zmqim.errors import WireError
from zmqim.gateway.requests import DONE, Requests
from zmqim.gateway.wheel import Wheel

_KEY: Final = route_key_of_channel(*SYSTEM_UIDS)


class SystemUids:
    """Reads the set and keeps it."""

    def __init__(self, requests: Requests, wheel: Wheel) -> None:
        self.uids: frozenset[str] = frozenset((SYSTEM_UID,))
        self.known = False
        """Whether they were read once."""
        self._requests = requests
        self._wheel = wheel
        self._gathered: list[str] = []

    def read(self, now: int, _: object = None) -> None:
        """Read the set, and go on doing so."""
        self._gathered = []
        self._ask(now, "")

    def _ask(self, now: int, after: str) -> None:
        self._requests.ask(
            now,
            ItemKind.READ,
            _KEY,
            encode(MembersQuery(*SYSTEM_UIDS, after)),
            limits.READ_DEADLINE_MS,
            self._answered,
            None,
            patient=True,
        )

    def _answered(self, now: int, _: object, code: int, result: bytes) -> None:
        page = _page_of(result) if code == DONE else None
        if page is None:
            self._wheel.add(now + limits.REQUEST_RETRY_MS, self.read, None)
            return
        self._gathered += page.uids
        if page.more and page.uids:
            self._ask(now, page.uids[-1])
            return
        self.uids = frozenset((SYSTEM_UID, *self._gathered))
        self.known = True
        self._wheel.add(now + limits.SYSTEM_UIDS_READ_MS, self.read, None)


def _page_of(result: bytes) -> MembersPage | None:
    try:
        page = decode_result(result)
    except WireError:
        return None
    return page if isinstance(page, MembersPage) else None
