"""SENDs that wait for an application's word before they are proposed: allowed, changed or refused.

Only with a hook in the topology; without one a SEND goes by. What passed the checks of `sending` is
asked for at once, and goes on in the order in which it came, of each (session, channel): a slow
answer holds back what that session sends there afterwards, and nothing else. Who is silent too long
is decided for by the asker (`zmqim.gateway.webhooks.before_send`): every question is answered.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from zmqim import limits
from zmqim.chat.channels import canonical_channel_id
from zmqim.chat.codes import Reason
from zmqim.gateway.effects import AskHook, Effect
from zmqim.gateway.plugin import Draft, HookVerdict
from zmqim.gateway.sending import Sending
from zmqim.gateway.sessions import OPEN, Session, Sessions
from zmqim.wkproto.packets import Send

_Name = tuple[int, int, str]
"""Session, and type and canonical id of a channel."""
_SUCCESS: Final = int(Reason.SUCCESS)


class _Asked:
    """A SEND whose verdict may still be on its way."""

    __slots__ = ("name", "packet", "session", "verdict")

    def __init__(self, name: _Name, session: Session, packet: Send) -> None:
        self.name = name
        self.session = session
        self.packet = packet
        self.verdict: HookVerdict | None = None


class Approving:
    """What the hook has been asked of this gateway's sessions."""

    def __init__(self, sessions: Sessions, sending: Sending) -> None:
        self._sessions = sessions
        self._sending = sending
        self._asked: dict[int, _Asked] = {}
        self._queues: dict[_Name, deque[_Asked]] = {}
        self._last = 0
        self._effects: list[Effect] = []

    def __len__(self) -> int:
        return len(self._asked)

    def send(self, now: int, session: Session, packet: Send) -> None:
        """Ask for one SEND of an OPEN session; what is wrong or too much is refused at once."""
        if not self._sending.passes(now, session, packet):
            return
        if len(self._asked) >= limits.HOOK_WAITING_MAX:
            session.refused_in = self._sending.turn
            self._sending.refuse(session, packet, Reason.RATE_LIMITED)
            return
        channel_id = canonical_channel_id(packet.channel_type, packet.channel_id, session.uid)
        name = (session.number, packet.channel_type, channel_id)
        self._last += 1
        asked = self._asked[self._last] = _Asked(name, session, packet)
        self._queues.setdefault(name, deque()).append(asked)
        session.asked += 1
        session.asked_bytes += len(packet.payload)
        self._sessions.balance_reading(session)
        draft = Draft(
            session.uid,
            packet.channel_type,
            packet.channel_id,
            packet.client_msg_no,
            packet.payload,
            packet.flags,
            packet.setting,
            packet.topic,
            packet.expire,
        )
        self._effects.append(AskHook(self._last, draft))

    def answered(self, now: int, token: int, verdict: HookVerdict) -> None:
        """The verdict on one of them; those whose turn it is go on."""
        asked = self._asked.pop(token)
        asked.verdict = verdict
        queue = self._queues[asked.name]
        while queue and queue[0].verdict is not None:
            self._go_on(now, queue.popleft())
        if not queue:
            del self._queues[asked.name]

    def _go_on(self, now: int, asked: _Asked) -> None:
        session, packet, verdict = asked.session, asked.packet, asked.verdict
        assert verdict is not None
        if session.phase is not OPEN:
            return  # An SDK sends again what got no answer.
        session.asked -= 1
        session.asked_bytes -= len(packet.payload)
        if verdict.reason != _SUCCESS:
            self._sending.refuse(session, packet, verdict.reason)
        elif verdict.payload is None:
            self._sending.accept(now, session, packet)
        else:
            changed = Send(
                packet.client_seq,
                packet.client_msg_no,
                packet.channel_id,
                packet.channel_type,
                verdict.payload,
                packet.setting,
                packet.flags,
                packet.expire,
                packet.topic,
                packet.stream_no,
            )
            self._sending.accept(now, session, changed)
        self._sessions.balance_reading(session)

    def flush(self) -> list[Effect]:
        """The turn's questions."""
        effects, self._effects = self._effects, []
        return effects
