"""What operators see of sessions, and how they end them."""

from __future__ import annotations

import pytest
from gateway_rig import Rig, closed, connect_packet, recvs, send_packet, submitted, to_client

from zmqim.gateway.listing import ORDERS
from zmqim.gateway.plugin import CloseReason, SessionRow
from zmqim.wkproto.packets import Disconnect, Ping


@pytest.fixture
def rig() -> Rig:
    """ada on session 1, bob on 2 and adam on 3, each opened a second after the other."""
    rig = Rig()
    rig.up()
    for number, uid in enumerate(("ada", "bob", "adam"), 1):
        rig.open_session(number, uid)
        rig.advance(1_000)
    return rig


def listed(rig: Rig, uid: str = "", order: str = "session", **more: int) -> list[SessionRow]:
    values = {"descending": False, "offset": 0, "limit": 10} | more
    return rig.core.sessions(rig.now, uid, order, **values).rows  # type: ignore[arg-type]


def numbers(rig: Rig, **more: object) -> list[int]:
    return [row.session for row in listed(rig, **more)]  # type: ignore[arg-type]


def test_a_row_says_who_it_is_and_counts_what_came_and_went(rig: Rig) -> None:
    rig.packets(1, send_packet("bob", b"12345", 1), send_packet("bob", b"12345", 2), Ping())
    (first, second) = submitted(rig.turn())
    assert first.payload == second.payload == b"12345"
    rig.push(1, [1, 2])
    rig.push(2, [1])
    pushed = rig.turn()
    rig.acknowledge(1, *recvs(pushed, 1)[:1])
    rig.advance(500)
    row = listed(rig)[0]
    assert row[:7] == (1, "ada", "10.0.0.9:1234", 0, 0, "phone", 5)
    assert (row.age_ms, row.idle_ms) == (3_500, 500)
    assert (row.sends, row.pushes, row.packets_in, row.packets_out) == (2, 2, 5, 4)
    assert row.send_bytes > 10
    assert row.push_bytes == 2 * row.pending_bytes > 0


def test_repeats_of_a_push_count_as_packets_and_not_as_messages(rig: Rig) -> None:
    rig.push(1, [1])
    rig.advance(60_000)
    row = listed(rig)[0]
    assert row.pushes == 1
    assert row.packets_out > 2


def test_answered_sends_stay_counted(rig: Rig) -> None:
    rig.send(1, "bob")
    rig.turn()
    rig.sent(rig.asked[-1], 1)
    rig.turn()
    assert listed(rig)[0].sends == 1


def test_totals_keep_the_bytes_of_sessions_that_are_over(rig: Rig) -> None:
    rig.send(1, "bob", b"hi")
    rig.push(1, [1, 2])
    rig.core.writable(rig.now, 2, False)
    rig.push(2, [2])
    rig.turn()
    before = rig.core.session_totals()
    rows = listed(rig)
    assert before[:3] == (3, 1, 2)
    assert before.send_bytes == rows[0].send_bytes > 0
    assert before.push_bytes == rows[0].push_bytes + rows[1].push_bytes > 0
    rig.core.session_closed(rig.now, 1)
    after = rig.core.session_totals()
    assert after == before._replace(sessions=2, pushes_pending=1)


def test_sessions_without_connack_are_not_listed_and_not_ended(rig: Rig) -> None:
    rig.accept(4)
    rig.packets(4, connect_packet("dan"))
    rig.turn()
    assert numbers(rig) == [1, 2, 3]
    assert not rig.core.dismiss_session(rig.now, 4, "dan", True)


def test_a_part_of_the_uid_selects_and_pages_go_on(rig: Rig) -> None:
    assert numbers(rig, uid="ada") == [1, 3]
    assert numbers(rig, offset=1, limit=1) == [2]
    assert numbers(rig, offset=9) == []
    page = rig.core.sessions(rig.now, "ada", "session", False, 0, 0)
    assert page == ([], 2)


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_goes_by_its_field(rig: Rig, order: str) -> None:
    rig.packets(2, send_packet("ada", b"x", 1), send_packet("ada", b"x", 2))
    rig.packets(1, send_packet("bob", b"xxx", 1))
    rig.turn()
    for sequence in (1, 2):
        rig.push(sequence, [3, 2][:sequence])
    rig.turn()
    rows = listed(rig, order=order)
    values = [getattr(row, order) for row in rows]
    assert values == sorted(values)
    assert len(set(values)) > 1
    turned = [getattr(row, order) for row in listed(rig, order=order, descending=True)]
    assert turned == sorted(values, reverse=True)


def test_a_kick_tells_the_client_and_a_removal_does_not(rig: Rig) -> None:
    assert rig.core.dismiss_session(rig.now, 1, "ada", True)
    assert rig.core.dismiss_session(rig.now, 2, "bob", False)
    effects = rig.turn()
    assert closed(effects) == {1: CloseReason.KICKED, 2: CloseReason.REMOVED}
    assert to_client(effects, 1) == [Disconnect(12, "ended by an operator")]
    assert to_client(effects, 2) == []
    assert numbers(rig) == [3]


def test_only_the_named_users_session_ends(rig: Rig) -> None:
    assert not rig.core.dismiss_session(rig.now, 1, "bob", True)
    assert not rig.core.dismiss_session(rig.now, 9, "ada", True)
    assert closed(rig.turn()) == {}
