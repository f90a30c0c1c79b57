"""What routers push: frames in order, fan-out lists, and who of this gateway's sessions gets what.

Deliver, Dirty and UserChanged of one link share frame numbers, which only grow: a number that is
left out is a frame that the router's bus refused, and its content comes later as dirty marks.
A frame is taken over once and acknowledged at the end of the turn. One that names a fan-out list
that is not held is left, with everything behind it, and asked for again (`MissingPlan`). Frames
that come twice do no harm: cursors drop repeats.
"""

from __future__ import annotations

from typing import Final

from zmqim import limits
from zmqim.bus.effects import Send
from zmqim.bus.messages import (
    Deliver,
    DeliverAck,
    Delivery,
    Dirty,
    MissingPlan,
    Plan,
    UserChanged,
)
from zmqim.chat.codes import Reason
from zmqim.chat.notices import PushedEvents, decode_pushed
from zmqim.chat.operations import SendMessage
from zmqim.errors import WireError
from zmqim.gateway.counters import Counters
from zmqim.gateway.events import Events
from zmqim.gateway.plugin import CloseReason
from zmqim.gateway.pushing import Message, Pushing
from zmqim.gateway.sessions import OPEN, Phase, Session, Sessions
from zmqim.gateway.wheel import Wheel
from zmqim.ids import NodeName

EVERY_FLAG: Final = -1


class _FanOutList:
    """The sessions of a large channel at this gateway; a dict, so that the order is certain."""

    __slots__ = ("sessions", "version")

    def __init__(self) -> None:
        self.version = 0
        self.sessions: dict[int, None] = {}


class _Link:
    """What one life of a router has sent."""

    __slots__ = ("acknowledged", "asked_at", "missing", "plans", "taken")

    def __init__(self) -> None:
        self.taken = 0
        """Frames up to here were taken over."""
        self.acknowledged = 0
        self.plans: dict[int, _FanOutList] = {}
        self.missing: MissingPlan | None = None
        """What was asked for again; frames behind it are left until it is here."""
        self.asked_at = 0


class FanOut:
    """Everything that comes from routers for sessions."""

    def __init__(
        self, sessions: Sessions, pushing: Pushing, wheel: Wheel, counters: Counters
    ) -> None:
        self._sessions = sessions
        self._pushing = pushing
        self._wheel = wheel
        self._counters = counters
        self._events = Events(sessions, counters)
        self._links: dict[NodeName, _Link] = {}
        self._questions: list[Send] = []

    def router_up(self, name: NodeName) -> None:
        """A new link: its frames count from 1, and it holds no fan-out lists yet."""
        self._links[name] = _Link()

    def router_down(self, name: NodeName) -> None:
        """The link is gone, with what it was about to say."""
        self._links.pop(name, None)

    # ---- frames ------------------------------------------------------------------------------

    def deliver(self, now: int, source: NodeName, message: Deliver) -> None:
        """Push every item to its sessions."""
        link = self._links.get(source)
        if link is None or not self._is_next(now, link, message.frame):
            return
        audiences: list[list[int] | dict[int, None]] = []
        for item in message.items:
            if not item.plan:
                audiences.append(item.sessions)
                continue
            held = link.plans.get(item.plan)
            if held is None or held.version < item.plan_version:
                missing = MissingPlan(item.plan, item.plan_version, message.frame)
                self._ask_again(now, source, link, missing)
                return
            audiences.append(held.sessions)
        link.taken = message.frame
        for item, audience in zip(message.items, audiences, strict=True):
            self._push(now, item, audience)

    def _push(self, now: int, item: Delivery, audience: list[int] | dict[int, None]) -> None:
        try:
            operation = decode_pushed(item.operation)
        except WireError:
            self._counters.wire_errors += 1
            return
        if type(operation) is PushedEvents:
            self._events.push(operation, audience)
            return
        assert isinstance(operation, SendMessage)
        message = Message(item.sequence, item.message_id, item.hlc, operation)
        by_number = self._sessions.by_number
        for number in audience:
            session = by_number.get(number)
            if session is not None and session.phase is OPEN:
                self._pushing.push(now, session, message)

    def dirty(self, now: int, source: NodeName, message: Dirty) -> None:
        """Ranges that were not sent: the sessions pull them."""
        link = self._links.get(source)
        if link is None or not self._is_next(now, link, message.frame):
            return
        link.taken = message.frame
        for channel in message.channels:
            key = (channel.channel_type, channel.channel_id, channel.command)
            for number in channel.sessions:
                session = self._sessions.by_number.get(number)
                if session is not None and session.phase is Phase.OPEN:
                    self._pushing.mark_behind(now, session, key, channel.first, channel.last)

    def user_changed(self, now: int, source: NodeName, message: UserChanged) -> None:
        """Bans act at once on sessions that stand; a kick ends those of its device flag.

        The news may be late or repeated: whoever logged in with what it tells stays. Two routers
        may tell it in another order, one of them what it held back: the newest says who may send.
        """
        link = self._links.get(source)
        if link is None or not self._is_next(now, link, message.frame):
            return
        link.taken = message.frame
        flag = message.kick_flag
        for session in self._sessions.of_uid(message.uid):
            if 0 < message.version <= session.user_version:
                continue
            if message.version >= session.ban_version:
                session.send_ban, session.ban_version = message.send_ban, message.version
            if message.ban:
                self.end(session, Reason.BANNED, "the user is banned")
            elif flag is not None and flag in (EVERY_FLAG, session.device_flag):
                self.end(session, message.kick_reason, "the login was ended")

    def _is_next(self, now: int, link: _Link, frame: int) -> bool:
        """Whether to take the frame over; repeats are only acknowledged again."""
        if frame <= link.taken:
            link.acknowledged = min(link.acknowledged, link.taken - 1)
            return False
        awaits_other = link.missing is not None and frame != link.missing.frame
        if awaits_other and now - link.asked_at < limits.REQUEST_RETRY_MS:
            return False
        # After the pause the repeat will not come any more: the router's bus refused it as well.
        link.missing = None
        return True

    def _ask_again(self, now: int, source: NodeName, link: _Link, missing: MissingPlan) -> None:
        """Ask for the frame again, with its list; what is on its way behind it is left."""
        self._counters.count("frames_asked_again")
        link.missing = missing
        link.asked_at = now
        self._questions.append(Send(source, missing))

    def question_lost(self, now: int, to: NodeName, message: MissingPlan) -> None:
        """The bus did not take a `MissingPlan`: ask again soon."""
        self._wheel.add(now + limits.NOT_LEADER_RETRY_MS, self._question_again, (to, message))

    def _question_again(self, now: int, question: tuple[NodeName, MissingPlan]) -> None:
        to, message = question
        link = self._links.get(to)
        if link is not None and link.missing is message:
            link.asked_at = now
            self._questions.append(Send(to, message))

    # ---- fan-out lists and kicks -------------------------------------------------------------

    def plan(self, source: NodeName, message: Plan) -> None:
        """A fan-out list comes whole, or changes by one version. An empty one is not kept."""
        link = self._links.get(source)
        if link is None:
            return
        held = link.plans.pop(message.plan, None)
        if message.reset:
            held = _FanOutList()
        elif held is None or held.version != message.version - 1:
            return
        if message.reset and not message.added:
            return
        link.plans[message.plan] = held
        held.version = message.version
        for number in message.removed:
            held.sessions.pop(number, None)
        for number in message.added:
            held.sessions[number] = None

    def kick(self, numbers: list[int], reason: int, text: str) -> None:
        """End sessions that a later login displaced."""
        for number in numbers:
            session = self._sessions.by_number.get(number)
            if session is not None:
                self.end(session, reason, text)

    def end(self, session: Session, reason: int, text: str) -> None:
        """DISCONNECT, then close. Before CONNACK only close: the client comes back and is judged
        anew; without a reason the same device has come back already."""
        if session.phase is not Phase.OPEN:
            self._sessions.end(session, CloseReason.UNAVAILABLE)
        elif not reason:
            self._sessions.end(session, CloseReason.REPLACED)
        else:
            self._sessions.dismiss(session, reason, text)

    # ---- acknowledgements --------------------------------------------------------------------

    def acknowledgement_lost(self, now: int, to: NodeName) -> None:
        """The bus did not take a `DeliverAck`: it goes out again with a later turn."""
        link = self._links.get(to)
        if link is not None:
            self._wheel.add(now + limits.NOT_LEADER_RETRY_MS, self._acknowledge_again, link)

    def _acknowledge_again(self, now: int, link: _Link) -> None:
        link.acknowledged = min(link.acknowledged, link.taken - 1)

    def flush(self) -> list[Send]:
        """What the turn has for routers: one cumulative acknowledgement each, and questions."""
        sends = [
            Send(name, DeliverAck(link.taken))
            for name, link in self._links.items()
            if link.taken > link.acknowledged
        ]
        for link in self._links.values():
            link.acknowledged = link.taken
        if self._questions:
            sends += self._questions
            self._questions = []
        return sends
