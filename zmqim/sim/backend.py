"""Whoever holds the API key: sets tokens, makes groups and posts messages over HTTP.

The simulation has no HTTP: the backend asks gateways what the HTTP listener would ask them, and
goes on with the same request until there is a definite answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from zmqim.bus.messages import ItemKind, OutcomeCode
from zmqim.chat.channels import members_channel, route_key_of_channel, route_key_of_user
from zmqim.chat.codes import MessageFlag, Reason
from zmqim.chat.encoding import encode
from zmqim.chat.operations import AddMembers, Operation, RemoveMembers, SendMessage, SetToken
from zmqim.chat.results import Rejected, Sent, decode_result
from zmqim.gateway.tokens import token_hash
from zmqim.sim.clients import ASK_DEADLINE_MS, Manners
from zmqim.sim.history import Absence, Acknowledged, Attempt, ChannelKey, History, Refused, Sending
from zmqim.sim.nodes import GatewayNode
from zmqim.sim.world import MS, World


class Backend:
    """Somebody who holds the API key: sets tokens, makes groups, sends messages over HTTP."""

    def __init__(
        self, world: World, history: History, gateways: Sequence[GatewayNode], manners: Manners
    ) -> None:
        self.world = world
        self.history = history
        self.random = world.fork()
        self.is_quiet = False
        self.posts: list[tuple[str, ChannelKey]] = []
        """Who writes where, for `live`."""
        self.fickle: tuple[int, str, str] | None = None
        """(type, id, uid) of a channel and somebody who comes and goes there."""
        self._removed_at: int | None = None
        self._is_toggling = False
        self._gateways = gateways
        self._manners = manners
        self._open: dict[int, str] = {}
        self._last = 0

    @property
    def waiting(self) -> list[str]:
        """Calls without a definite answer."""
        return list(self._open.values())

    def set_token(self, uid: str, flag: int, token: str) -> None:
        """As `/user/token`."""
        salt = self.random.randbytes(16)
        operation = SetToken(uid, flag, 1, salt, token_hash(salt, token), self._request_id())
        self._change(route_key_of_user(uid), operation)

    def add_members(self, channel_type: int, channel_id: str, uids: Sequence[str]) -> None:
        """As `/channel/subscriber_add`."""
        operation = AddMembers(channel_type, channel_id, list(uids), False, self._request_id())
        self._change(route_key_of_channel(channel_type, channel_id), operation)

    def toggle(self, channel_type: int, channel_id: str, uid: str) -> None:
        """Remove a member of a channel, or let it in again: one change at a time."""
        if self._is_toggling:
            return
        self._is_toggling = True
        key = route_key_of_channel(channel_type, channel_id)
        if self._removed_at is None:
            remove = RemoveMembers(channel_type, channel_id, [uid], False, self._request_id())
            self._change(key, remove, self._removed)
            return
        self.note_absence()
        add = AddMembers(channel_type, channel_id, [uid], False, self._request_id())
        self._change(key, add, self._added)

    def note_absence(self) -> None:
        """Write down an absence that lasts until now, if there is one."""
        if self.fickle is not None and self._removed_at is not None:
            *home, uid = self.fickle
            for channel in self.history.members:
                if members_channel(*channel[:2]) == tuple(home) and not channel[2]:
                    absence = Absence(uid, channel, self._removed_at, self.world.now)
                    self.history.absences.append(absence)

    def _removed(self) -> None:
        self._removed_at = self.world.now
        self._is_toggling = False

    def _added(self) -> None:
        self._removed_at = None
        self._is_toggling = False

    def _request_id(self) -> bytes:
        return self.random.randbytes(16)

    def _change(
        self, key: bytes, operation: Operation, done: Callable[[], None] | None = None
    ) -> None:
        self._last += 1
        self._open[self._last] = type(operation).__name__
        self._ask(self._last, key, encode(operation), None, done)

    def post(
        self, uid: str, channel: ChannelKey, text: str, *, flags: int = 0, setting: int = 0
    ) -> Sending:
        """As `/message/send`, with the same client_msg_no until there is a definite answer."""
        self._last += 1
        number = f"http-{self._last}"
        sending = Sending(uid, channel, number, f"{number}:{text}".encode())
        self.history.sendings.append(sending)
        self._open[self._last] = f"post {number} to {channel}"
        channel_type, channel_id, command = channel
        if command:
            flags |= int(MessageFlag.SYNC_ONCE)
        operation = SendMessage(
            channel_type, channel_id, uid, number, sending.payload, setting=setting, flags=flags
        )
        key = route_key_of_channel(channel_type, channel_id)
        self._ask(self._last, key, encode(operation), sending)
        return sending

    def live(self) -> None:
        """Post something now and then."""
        if not self.is_quiet:
            if self.fickle is not None and self.random.random() < 0.2:
                self.toggle(*self.fickle)
            uid, channel = self.random.choice(self.posts)
            self.post(uid, channel, f"{self.random.getrandbits(32):08x}")
            pause = self.random.randint(*self._manners.think_ms) * MS
            self.world.after(pause, self.live)

    def _ask(
        self,
        call: int,
        key: bytes,
        body: bytes,
        sending: Sending | None,
        done: Callable[[], None] | None = None,
    ) -> None:
        if call not in self._open:
            return
        gateway = self.random.choice(self._gateways)
        again = partial(self._ask, call, key, body, sending, done)
        if not gateway.is_alive or gateway.sockets.is_stopped:
            self.world.after(500 * MS, again)
            return
        attempt = Attempt(("http", call, 0), self.world.now)
        if sending is not None:
            sending.attempts.append(attempt)
        is_answered = False

        def answer(code: int, result: bytes) -> None:
            nonlocal is_answered
            is_answered = True
            if code == OutcomeCode.DONE:
                is_first = self._open.pop(call, None) is not None
                if done is not None and is_first:
                    done()
                if sending is not None:
                    self._posted(attempt, result)
                return
            if code in (OutcomeCode.BUSY, OutcomeCode.DISK_FULL):
                attempt.answer = Refused(self.world.now, Reason.SYSTEM_ERROR)
            self.world.after(300 * MS, again)

        gateway.ask(ItemKind.WRITE, key, body, ASK_DEADLINE_MS, answer)
        self.world.after(2 * ASK_DEADLINE_MS * MS, lambda: None if is_answered else again())

    def _posted(self, attempt: Attempt, result: bytes) -> None:
        done = decode_result(result)
        if isinstance(done, Sent):
            attempt.answer = Acknowledged(self.world.now, done.sequence, done.message_id)
        elif isinstance(done, Rejected):
            attempt.answer = Refused(self.world.now, done.reason)
