"""System uids: read before the gateway is ready and every few seconds; no list stops them."""

from __future__ import annotations

import pytest
from gateway_rig import SYSTEM_UIDS_QUERY, Rig, send_packet, submitted

from zmqim import limits
from zmqim.bus.messages import Item, OutcomeCode
from zmqim.chat.channels import SYSTEM_UID, SYSTEM_UIDS, route_key_of_channel, route_key_of_user
from zmqim.chat.encoding import encode
from zmqim.chat.queries import MembersQuery
from zmqim.chat.results import Done, MembersPage
from zmqim.ring.partitions import partition_of


def own(rig: Rig) -> list[Item]:
    """What is asked of the set and not answered."""
    return [item for item in rig.asked if item.key == route_key_of_channel(*SYSTEM_UIDS)]


@pytest.fixture
def rig() -> Rig:
    """The first reading waits for its answer."""
    rig = Rig()
    rig.system_uids = None
    rig.up("router-1")
    return rig


def page(*uids: str, more: bool = False) -> MembersPage:
    return MembersPage(1, len(uids), list(uids), more)


def test_the_set_lives_where_the_system_user_does() -> None:
    keys = (route_key_of_channel(*SYSTEM_UIDS), route_key_of_user(SYSTEM_UID))
    assert len({partition_of(key, 64) for key in keys}) == 1


def test_a_gateway_is_ready_when_it_has_read_them(rig: Rig) -> None:
    assert not rig.core.ready
    assert rig.core.problems() == ["the system uids have not been read yet"]
    [item] = own(rig)
    assert item.body == SYSTEM_UIDS_QUERY
    rig.answer(item, page("bot"))
    assert rig.core.ready
    assert rig.core.system_uids == {"bot", SYSTEM_UID}


def test_they_are_read_page_by_page(rig: Rig) -> None:
    rig.answer(own(rig)[0], page("a", "b", more=True))
    rig.turn()
    [item] = own(rig)
    assert item.body == encode(MembersQuery(*SYSTEM_UIDS, "b"))
    assert rig.core.system_uids == {SYSTEM_UID}
    rig.answer(item, page("c"))
    assert rig.core.system_uids == {"a", "b", "c", SYSTEM_UID}


def test_a_change_is_known_after_the_pause_between_two_readings(rig: Rig) -> None:
    rig.answer(own(rig)[0], page("bot"))
    rig.advance(limits.SYSTEM_UIDS_READ_MS - 100)
    assert own(rig) == []
    rig.advance(200)
    rig.answer(own(rig)[0], page("other"))
    assert rig.core.system_uids == {"other", SYSTEM_UID}


def test_what_was_known_holds_while_they_cannot_be_read(rig: Rig) -> None:
    rig.answer(own(rig)[0], page("bot"))
    for answer, code in (
        (None, OutcomeCode.BAD_REQUEST),
        (Done(), OutcomeCode.DONE),
        (None, OutcomeCode.NOT_LEADER),
    ):
        rig.advance(limits.SYSTEM_UIDS_READ_MS + limits.REQUEST_RETRY_MS)
        rig.answer(own(rig)[0], answer, code)
        assert rig.core.system_uids == {"bot", SYSTEM_UID}
    rig.advance(limits.SYSTEM_UIDS_READ_MS + limits.READ_DEADLINE_MS)
    assert own(rig)
    assert rig.core.ready


def test_what_a_system_uid_sends_is_privileged_from_then_on(rig: Rig) -> None:
    rig.answer(own(rig)[0], page())
    rig.system_uids = ["bot"]
    rig.open_session(1, "bot")
    rig.packets(1, send_packet("g", channel_type=2, seq=1))
    assert [message.privileged for message in submitted(rig.turn())] == [False]
    rig.advance(limits.SYSTEM_UIDS_READ_MS + 100)
    rig.packets(1, send_packet("h", channel_type=2, seq=2))
    assert [message.privileged for message in submitted(rig.turn())] == [True]
