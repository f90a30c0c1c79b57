"""One notice becomes deliveries: each gateway concerned gets it once, with its sessions or with the
number of a fan-out list. A gateway without credit gets a mark instead (`zmqim.router.credits`).

Messages and events travel alike. An event has no sequence in its channel, so like a NO_PERSIST
message it leaves no mark: who misses one reads it with the next (`zmqim.chat.streams`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zmqim.bus.messages import Delivery
from zmqim.chat.notices import EventNotice, MessageNotice, UserNotice
from zmqim.ids import NodeName
from zmqim.router.credits import GatewayLink, TurnMark
from zmqim.router.plans import LargeChannel, Places

Pushed = MessageNotice | EventNotice
_Head = tuple[int, str, int, int, int, bytes]
"""The fields of a `Delivery` before its sessions."""


class Pushes:
    """Puts deliveries into the links of gateways."""

    def __init__(self, links: Mapping[NodeName, GatewayLink], places: Places) -> None:
        """Both belong to others, who change them."""
        self._links = links
        self._places = places
        self.deliveries = 0

    def push(self, notice: Pushed, uids: Iterable[str], mark: TurnMark | None) -> None:
        """Each gateway gets the notice once, with its sessions."""
        places = self._places
        sessions: dict[NodeName, list[int]] = {}
        for uid in uids:
            for gateway, session in places.get(uid, ()):
                if gateway in sessions:
                    sessions[gateway].append(session)
                else:
                    sessions[gateway] = [session]
        if not sessions:
            return
        links = self._links
        head = _head_of(notice)
        for gateway, listed in sessions.items():
            delivery = Delivery(*head, listed)
            link = links[gateway]
            if not link.push(delivery, mark):
                link.leave_out(delivery, listed)
        self.deliveries += len(sessions)

    def push_by_plan(self, notice: Pushed, large: LargeChannel, mark: TurnMark | None) -> None:
        """The same for a large channel: a gateway that does not hold its list gets that first."""
        head = _head_of(notice)
        for gateway, one in large.lists.items():
            if not one.sessions:
                continue
            link = self._links[gateway]
            has_credit = link.has_credit()
            if has_credit and (plan := one.change()) is not None:
                link.change_plan(plan)
            delivery = Delivery(*head, [], large.number, one.version)
            if not (has_credit and link.push(delivery, mark)):
                link.leave_out(delivery, one.sessions, (large.number, one.revision))
            self.deliveries += 1

    def change_user(self, notice: UserNotice, mark: TurnMark | None) -> None:
        """Every gateway with a session of the person hears of its bans."""
        gateways = dict.fromkeys(gateway for gateway, _ in self._places.get(notice.uid, ()))
        for gateway in gateways:
            self._links[gateway].change_user(notice, mark)


def _head_of(notice: Pushed) -> _Head:
    if type(notice) is MessageNotice:
        return (
            notice.channel_type,
            notice.channel_id,
            notice.sequence,
            notice.message_id,
            notice.hlc,
            notice.operation,
        )
    assert isinstance(notice, EventNotice)
    return notice.channel_type, notice.channel_id, 0, 0, 0, notice.body
