"""Commands (messages with sync_once) that a master device acknowledged by RECVACK: /message/sync
must not show them again.

What was acknowledged is gathered for each person for COMMAND_ACKS_DELAY_MS and stored with one
write in the person's partition. It is best effort, and may be: what is lost with this gateway, or
finds no room or no leader, is shown once more by /message/sync.
"""

from __future__ import annotations

from typing import Final

from zmqim import limits
from zmqim.bus.messages import ItemKind
from zmqim.chat.channels import canonical_channel_id, route_key_of_user
from zmqim.chat.codes import MASTER
from zmqim.chat.encoding import encode
from zmqim.chat.operations import AcknowledgeCommands, CommandPlace
from zmqim.gateway.counters import Counters
from zmqim.gateway.requests import DONE, Requests
from zmqim.gateway.sessions import Session
from zmqim.gateway.wheel import Wheel
from zmqim.wkproto.packets import Recv

_PLACES_MAX: Final = limits.COMMANDS_SHOWN_MAX


class CommandAcks:
    """Gathers them, and tells the partitions of the persons."""

    def __init__(self, requests: Requests, wheel: Wheel, counters: Counters) -> None:
        self._requests = requests
        self._wheel = wheel
        self._counters = counters
        self._gathered: dict[str, list[CommandPlace]] = {}
        self._waiting = 0
        self._asked = 0

    def __len__(self) -> int:
        """Persons of whom something is not stored yet."""
        return len(self._gathered) + self._asked

    def note(self, now: int, session: Session, recv: Recv) -> None:
        """The session acknowledged this command. Of a slave device it says nothing about the
        person (WuKongIM v2.2)."""
        if session.device_level != MASTER:
            return
        if self._waiting >= limits.COMMAND_ACKS_WAITING_MAX:
            self._counters.count("command_acks_dropped")
            return
        uid = session.uid
        channel_id = canonical_channel_id(recv.channel_type, recv.channel_id, uid)
        place = CommandPlace(recv.channel_type, channel_id, recv.message_seq)
        gathered = self._gathered.get(uid)
        if gathered is None:
            gathered = self._gathered[uid] = []
            self._wheel.add(now + limits.COMMAND_ACKS_DELAY_MS, self._write, uid)
        gathered.append(place)
        self._waiting += 1

    def drain(self, now: int) -> None:
        """Wait for no more: store what there is."""
        for uid in list(self._gathered):
            self._write(now, uid)

    def _write(self, now: int, uid: str) -> None:
        gathered = self._gathered.get(uid)
        if gathered is None:
            return
        if self._asked >= limits.COMMAND_ACKS_ASKED_MAX:
            self._wheel.add(now + limits.COMMAND_ACKS_DELAY_MS, self._write, uid)
            return
        places, left = gathered[:_PLACES_MAX], gathered[_PLACES_MAX:]
        if left:
            self._gathered[uid] = left
            self._wheel.add(now + limits.COMMAND_ACKS_DELAY_MS, self._write, uid)
        else:
            del self._gathered[uid]
        self._asked += 1
        self._requests.ask(
            now,
            ItemKind.WRITE,
            route_key_of_user(uid),
            encode(AcknowledgeCommands(uid, 0, pushed=places)),
            limits.SEND_DEADLINE_MS,
            self._written,
            len(places),
            patient=True,
        )

    def _written(self, now: int, count: int, code: int, result: bytes) -> None:
        self._asked -= 1
        self._waiting -= count
        if code != DONE:
            self._counters.count("command_acks_dropped", count)
