"""Sessions for operators: which there are, in an order, some at a time.

It goes through all sessions of the gateway when it is asked, so that the message path keeps nothing
for it but the integers of `Session`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zmqim.gateway.plugin import SessionRow, SessionsPage, SessionTotals
from zmqim.gateway.sessions import OPEN, Session, Sessions

ORDERS: Final[dict[str, Callable[[Session], int]]] = {
    "session": lambda session: session.number,
    "sends": lambda session: session.sends,
    "send_bytes": lambda session: session.send_bytes,
    "pushes": lambda session: session.pushes,
    "push_bytes": lambda session: session.push_bytes,
    "packets_in": lambda session: session.packets_in,
    "packets_out": lambda session: session.packets_out,
    "pending_bytes": lambda session: session.window_bytes,
    "age_ms": lambda session: -session.opened_at,
    "idle_ms": lambda session: -session.active_at,
}
"""Fields of `SessionRow` that sessions can be ordered by. Equal ones stay in the order of their
opening."""


def page(
    sessions: Sessions,
    now: int,
    uid: str,
    order: str,
    descending: bool,
    offset: int,
    limit: int,
) -> SessionsPage:
    """Sessions past CONNACK whose uid contains `uid`, `limit` of them from the `offset`th on."""
    found = [
        session
        for session in sessions.by_number.values()
        if session.phase is OPEN and uid in session.uid
    ]
    found.sort(key=ORDERS[order], reverse=descending)
    rows = [_row(now, session) for session in found[offset : offset + limit]]
    return SessionsPage(rows, len(found))


def totals(sessions: Sessions) -> SessionTotals:
    """All of them together."""
    found = [session for session in sessions.by_number.values() if session.phase is OPEN]
    return SessionTotals(
        len(found),
        sum([session.lagging for session in found]),
        sum([len(session.window) for session in found]),
        sessions.send_bytes_over + sum([session.send_bytes for session in found]),
        sessions.push_bytes_over + sum([session.push_bytes for session in found]),
    )


def _row(now: int, session: Session) -> SessionRow:
    return SessionRow(
        session.number,
        session.uid,
        session.peer_address,
        session.device_flag,
        session.device_level,
        session.device_id,
        session.version,
        now - session.opened_at,
        now - session.active_at,
        session.sends,
        session.send_bytes,
        session.pushes,
        session.push_bytes,
        session.packets_in,
        session.packets_out,
        session.window_bytes,
    )
