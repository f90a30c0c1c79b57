"""Who watches a gateway's sessions is told of each that opens or ends."""

from __future__ import annotations

from gateway_rig import Rig, connect_packet

from zmqim.gateway.effects import Effect
from zmqim.gateway.plugin import SessionChanged


class Watched(Rig):
    """Keeps what was told of sessions."""

    def __init__(self, *, watch: bool = True) -> None:
        super().__init__()
        self.changes: list[SessionChanged] = []
        self.up()
        if watch:
            self.core.watch_sessions()

    def turn(self) -> list[Effect]:
        effects = super().turn()
        told = [effect for effect in effects if isinstance(effect, SessionChanged)]
        self.changes += told
        return [effect for effect in effects if effect not in told]


def test_it_is_told_who_came_and_went_and_how_many_of_theirs_are_left() -> None:
    rig = Watched()
    rig.open_session(1, "ada")
    rig.open_session(2, "ada")
    rig.open_session(3, "bob")
    rig.core.session_closed(rig.now, 1)
    rig.turn()
    rig.core.session_closed(rig.now, 2)
    rig.turn()
    assert rig.changes == [
        SessionChanged("ada", 0, True, 1, 1, 1),
        SessionChanged("ada", 0, True, 2, 2, 2),
        SessionChanged("bob", 0, True, 3, 1, 1),
        SessionChanged("ada", 0, False, 1, 1, 1),
        SessionChanged("ada", 0, False, 2, 0, 0),
    ]


def test_devices_are_counted_by_their_flag_and_in_all() -> None:
    rig = Watched()
    rig.open_session(1, "ada")
    rig.core.session_opened(rig.now, 2, "peer")
    rig.packets(2, connect_packet("ada", device_flag=1))
    session = rig.core._sessions.by_number[2]
    rig.core._sessions.opened(session)
    rig.turn()
    assert rig.changes[-1] == SessionChanged("ada", 1, True, 2, 1, 2)


def test_a_session_that_never_opened_is_not_told() -> None:
    rig = Watched()
    rig.core.session_opened(rig.now, 1, "peer")
    rig.packets(1, connect_packet("ada"))
    rig.core.session_closed(rig.now, 1)
    rig.turn()
    assert rig.changes == []


def test_the_end_by_the_gateway_is_told_too() -> None:
    rig = Watched()
    rig.open_session(1, "ada")
    rig.core.close_all(rig.now)
    rig.turn()
    assert rig.changes[-1] == SessionChanged("ada", 0, False, 1, 0, 0)


def test_nobody_is_told_unless_somebody_watches() -> None:
    rig = Watched(watch=False)
    rig.open_session(1, "ada")
    rig.core.session_closed(rig.now, 1)
    rig.turn()
    assert rig.changes == []
