"""One notice becomes deliveries: each gateway concerned gets it once, with its sessions or with the
number of a fan-out list. A gateway without credit gets a mark instead (`zmqim.router.credits`).

Messages and events travel alike. An event has no sequence in its channel, so like a NO_PERSIST
message it leaves no mark: who misses one reads it with the next (`zmqim.chat.streams`).
"""

from __future__ import annotations

from collections.abc import Iterable

from zmqim.bus.messages import Delivery
from zmqim.chat.notices import EventNotice, MessageNotice, UserNotice
from zmqim.ids import NodeName
from zmqim.router.credits import GatewayLink, TurnMark
from zmqim.router.plans import LargeChannel, Places

Pushed = MessageNotice | EventNotice


class Pushes:
    """Puts deliveries into the links of gateways."""

    def __init__(self, links: dict[NodeName, GatewayLink], places: Places) -> None:
        """Both belong to others, who change them."""
        self._links = links
        self._places = places
        self.deliveries = 0

    def push(self, notice: Pushed, uids: Iterable[str], mark: TurnMark | None) -> None:
        """Each gateway gets the notice once, with its sessions."""
        places = self._places
        sessions: dict[NodeName, list[int]] = {}
        for uid in uids:
            found = places.get(uid)
            if found is None:
                continue
            for gateway, session in found:
                listed = sessions.get(gateway)
                if listed is None:
                    sessions[gateway] = [session]
                else:
                    listed.append(session)
        if not sessions:
            return
        for gateway, listed in sessions.items():
            delivery = _delivery_of(notice, listed)
            link = self._links[gateway]
            if not link.push(delivery, mark):
                link.leave_out(delivery, listed)
        self.deliveries += len(sessions)

    def push_by_plan(self, notice: Pushed, large: LargeChannel, mark: TurnMark | None) -> None:
        """The same for a large channel: a gateway that does not hold its list gets that first."""
        for gateway, one in large.lists.items():
            if not one.sessions:
                continue
            link = self._links[gateway]
            has_credit = link.has_credit()
            if has_credit and (plan := one.change()) is not None:
                link.change_plan(plan)
            delivery = _delivery_of(notice, [], large.number, one.version)
            if not (has_credit and link.push(delivery, mark)):
                link.leave_out(delivery, one.sessions, (large.number, one.revision))
            self.deliveries += 1

    def change_user(self, notice: UserNotice, mark: TurnMark | None) -> None:
        """Every gateway with a session of the person hears of its bans."""
        gateways = dict.fromkeys(gateway for gateway, _ in self._places.get(notice.uid, ()))
        for gateway in gateways:
            self._links[gateway].change_user(notice, mark)


def _delivery_of(
    notice: Pushed, sessions: list[int], plan: int = 0, plan_version: int = 0
) -> Delivery:
    if type(notice) is MessageNotice:
        return Delivery(
            notice.channel_type,
            notice.channel_id,
            notice.sequence,
            notice.message_id,
            notice.hlc,
            notice.operation,
            sessions,
            plan,
            plan_version,
        )
    assert isinstance(notice, EventNotice)
    kind, name = notice.channel_type, notice.channel_id
    return Delivery(kind, name, 0, 0, 0, notice.body, sessions, plan, plan_version)
