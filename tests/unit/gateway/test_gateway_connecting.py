"""From CONNECT to CONNACK, and everything that ends a session."""

from __future__ import annotations

import pytest
from gateway_rig import (
    Rig,
    closed,
    connect_packet,
    messages,
    queries,
    to_client,
    user_row,
)

from zmqim.bus.effects import Send
from zmqim.bus.messages import (
    Announce,
    Kick,
    LeaderMoved,
    Login,
    LoginAck,
    OutcomeCode,
    PresenceEntry,
    UserChanged,
    Withdraw,
)
from zmqim.chat.queries import UserQuery
from zmqim.chat.results import Rejected
from zmqim.gateway.effects import CloseClient, SetReading, ToClient
from zmqim.gateway.plugin import CloseReason
from zmqim.wkproto.packets import (
    BadSend,
    Connack,
    Disconnect,
    Ping,
    Pong,
    Sendack,
    Sub,
    Suback,
)


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.up("router-1")
    return rig


def refusal(rig: Rig, reason: int, session: int = 1) -> list[object]:
    return [
        ToClient(session, [Connack(reason, rig.now, 7)]),
        CloseClient(session, CloseReason.REFUSED),
    ]


class TestAdmission:
    def test_connack_comes_after_token_and_login(self, rig: Rig) -> None:
        rig.core.set_wall_offset(5_000)
        rig.accept(1)
        rig.packets(1, connect_packet("ada", device_flag=1, client_timestamp=2_500))
        assert queries(rig.turn()) == [UserQuery("ada", 1)]
        rig.answer(rig.asked[-1], user_row("ada", device_level=1))
        login = Login(7, PresenceEntry(1, "ada", 1, 1, "phone", 0))
        assert rig.turn() == [Send("router-1", login)]
        rig.receive(LoginAck(7, 44))
        connack = Connack(1, time_diff=rig.now + 5_000 - 2_500, node_id=7)
        effects = rig.turn()
        assert effects[1:] == [ToClient(1, [connack])]
        assert queries(effects) == [UserQuery("ada", 1)]

    def test_other_routers_are_told_of_the_numbered_login(self, rig: Rig) -> None:
        rig.up("router-2")
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        rig.turn()
        rig.answer(rig.asked[-1], user_row("ada"))
        effects = rig.turn()
        owner = next(e.to for e in effects if isinstance(e, Send))
        rig.admit(effects, login_no=9)
        other = "router-1" if owner == "router-2" else "router-2"
        effects = rig.turn()
        entry = PresenceEntry(1, "ada", 0, 0, "phone", 9)
        assert messages(effects, other) == [Announce([entry])]
        assert messages(effects, owner) == []

    @pytest.mark.promise("P10")
    @pytest.mark.parametrize("token", ["", "wrong", "Secret", "secret "])
    def test_a_wrong_or_missing_token_is_refused_with_2(self, rig: Rig, token: str) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada", token))
        rig.turn()
        rig.answer(rig.asked[-1], user_row("ada"))
        assert rig.turn() == refusal(rig, 2)

    @pytest.mark.promise("P10")
    def test_a_user_without_a_stored_token_is_refused_with_2(self, rig: Rig) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada", "anything"))
        rig.turn()
        rig.answer(rig.asked[-1], user_row("ada", salt=b"", token_hash=b""))
        assert rig.turn() == refusal(rig, 2)

    @pytest.mark.promise("P9")
    def test_a_banned_user_is_refused_with_19(self, rig: Rig) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        rig.turn()
        rig.answer(rig.asked[-1], user_row("ada", ban=True))
        assert rig.turn() == refusal(rig, 19)

    @pytest.mark.promise("P9")
    @pytest.mark.parametrize(
        ("fields", "reason"),
        [({"uid": ""}, 15), ({"uid": "a@b"}, 15), ({"uid": "a#"}, 15), ({"key_usable": False}, 21)],
    )
    def test_unusable_fields_are_refused_at_once(
        self, rig: Rig, fields: dict[str, object], reason: int
    ) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet(**({"uid": "ada"} | fields)))  # type: ignore[arg-type]
        assert rig.turn() == refusal(rig, reason)


class TestSecondReading:
    """What changed between the first reading and the login was told to nobody here."""

    @pytest.fixture(autouse=True)
    def _admitted(self, rig: Rig) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        rig.turn()
        rig.answer(rig.asked[-1], user_row("ada"))
        rig.admit(rig.turn())
        rig.turn()

    @pytest.mark.promise("P10")
    @pytest.mark.parametrize(
        ("fields", "reason"),
        [({"ban": True}, 19), ({"salt": b"", "token_hash": b""}, 12)],
    )
    def test_a_ban_or_a_cleared_token_ends_the_session(
        self, rig: Rig, fields: dict[str, object], reason: int
    ) -> None:
        rig.answer(rig.asked[-1], user_row("ada", **fields))
        effects = rig.turn()
        assert [p.reason for p in to_client(effects, 1)] == [reason]  # type: ignore[union-attr]
        assert closed(effects) == {1: CloseReason.KICKED}

    def test_a_send_ban_holds(self, rig: Rig) -> None:
        rig.answer(rig.asked[-1], user_row("ada", send_ban=True))
        rig.send(1, "bob")
        assert to_client(rig.turn(), 1) == [Sendack(0, 1, 0, 25, "no-1")]

    @pytest.mark.parametrize(
        ("in_news", "news", "in_row", "row", "banned"),
        [
            (False, 8, True, 7, False),
            (True, 8, False, 7, True),
            (False, 7, True, 8, True),
            (True, 7, False, 8, False),
            (True, 8, True, 8, True),
        ],
    )
    def test_the_newer_of_row_and_news_says_who_may_send(
        self, rig: Rig, in_news: bool, news: int, in_row: bool, row: int, banned: bool
    ) -> None:
        read = rig.asked[-1]
        rig.receive(UserChanged(1, "ada", False, in_news, None, 0, news))
        rig.answer(read, user_row("ada", send_ban=in_row, version=row))
        rig.send(1, "bob")
        refused = Sendack(0, 1, 0, 25, "no-1")
        assert (refused in to_client(rig.turn(), 1)) is banned

    def test_news_older_than_the_row_takes_back_no_send_ban(self, rig: Rig) -> None:
        rig.answer(rig.asked[-1], user_row("ada", send_ban=True, version=8))
        rig.receive(UserChanged(1, "ada", False, False, None, 0, 7))
        rig.send(1, "bob")
        assert to_client(rig.turn(), 1) == [Sendack(0, 1, 0, 25, "no-1")]

    def test_it_is_tried_until_it_succeeds(self, rig: Rig) -> None:
        rig.answer(rig.asked[-1], Rejected(5))
        assert queries(rig.advance(1_100)) == [UserQuery("ada", 0)]
        rig.answer(rig.asked[-1], Rejected(5))
        rig.core.session_closed(rig.now, 1)
        assert queries(rig.advance(5_000)) == []

    def test_a_session_that_is_gone_is_left_alone(self, rig: Rig) -> None:
        rig.core.session_closed(rig.now, 1)
        rig.turn()
        rig.answer(rig.asked[-1], user_row("ada", ban=True))
        assert rig.turn() == []


class TestTemporaryTrouble:
    """Closed without a word: the SDKs come back."""

    def test_no_router(self) -> None:
        rig = Rig()
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        effects = rig.advance(9_000)
        assert to_client(effects, 1) == []
        assert closed(effects) == {1: CloseReason.UNAVAILABLE}

    @pytest.mark.parametrize("code", [OutcomeCode.NOT_LEADER, OutcomeCode.BUSY])
    def test_no_leader_for_long(self, rig: Rig, code: OutcomeCode) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        effects = []
        for _ in range(200):
            effects += rig.advance(50)
            for item in list(rig.asked):
                rig.answer(item, None, code)
        assert to_client(effects, 1) == []
        assert closed(effects) == {1: CloseReason.UNAVAILABLE}

    def test_an_answer_that_is_no_user(self, rig: Rig) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        rig.turn()
        rig.answer(rig.asked[-1], Rejected(5))
        assert rig.turn() == [CloseClient(1, CloseReason.UNAVAILABLE)]

    def test_an_unreadable_answer(self, rig: Rig) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        rig.turn()
        rig.answer(rig.asked[-1], "nonsense")
        assert rig.turn() == [CloseClient(1, CloseReason.UNAVAILABLE)]

    def test_no_login_acknowledgement(self, rig: Rig) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        rig.turn()
        rig.answer(rig.asked[-1], user_row("ada"))
        effects = rig.advance(8_100)
        logins = [m for m in messages(effects) if isinstance(m, Login)]
        assert len(logins) == 8
        assert set(logins) == {logins[0]}
        assert closed(effects) == {1: CloseReason.UNAVAILABLE}
        assert Withdraw([1]) in messages(effects)

    def test_a_login_goes_to_the_router_that_is_there_later(self, rig: Rig) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        rig.turn()
        rig.down("router-1")
        rig.receive(LoginAck(99, 1))
        rig.answer(rig.asked[-1], user_row("ada"))
        assert messages(rig.advance(500)) == []
        effects = rig.up("router-2")
        assert any(isinstance(message, Login) for message in messages(effects, "router-2"))

    @pytest.mark.promise("P6")
    def test_a_login_is_asked_of_another_router_soon_after_the_first_died(self, rig: Rig) -> None:
        rig.up("router-2")
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        rig.turn()
        rig.answer(rig.asked[-1], user_row("ada"))
        [send] = [e for e in rig.turn() if isinstance(e, Send) and isinstance(e.message, Login)]
        other = "router-1" if send.to == "router-2" else "router-2"
        rig.down(other)
        assert rig.advance(100) == []
        rig.up(other)
        rig.down(send.to)
        effects = rig.advance(2_900)
        assert messages(effects, other) == [send.message] * 3
        rig.admit([Send(other, send.message)])
        assert [p.reason for p in to_client(rig.turn(), 1)] == [1]  # type: ignore[union-attr]

    @pytest.mark.promise("P6")
    def test_an_election_shorter_than_the_deadline_only_delays_the_login(self, rig: Rig) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        rig.turn()
        item = rig.asked.pop()
        until = rig.now + 2_500
        while rig.now < until:
            rig.answer(item, None, OutcomeCode.NOT_LEADER)
            rig.advance(300)
        rig.receive(LeaderMoved([0, 1, 2, 3]))
        rig.turn()
        rig.answer(item, user_row("ada"))
        rig.admit(rig.turn())
        assert [p.reason for p in to_client(rig.turn(), 1)] == [1]  # type: ignore[union-attr]

    def test_a_bounced_login_is_asked_again_soon(self, rig: Rig) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada"))
        rig.turn()
        rig.answer(rig.asked[-1], user_row("ada"))
        [login] = messages(rig.turn())
        rig.core.undeliverable(rig.now, "router-1", login)
        assert messages(rig.advance(100)) == [login]
        rig.core.undeliverable(rig.now, "router-1", Login(12345, login.entry))  # type: ignore[union-attr]
        rig.admit([Send("router-1", login)])
        assert [p.reason for p in to_client(rig.turn(), 1)] == [1]  # type: ignore[union-attr]

    def test_draining(self, rig: Rig) -> None:
        rig.accept(1)
        rig.open_session(2, "bob")
        rig.core.drain(rig.now)
        assert not rig.core.has_room
        rig.packets(1, connect_packet("ada"))
        assert rig.turn() == [
            SetReading(1, False),
            SetReading(2, False),
            CloseClient(1, CloseReason.DRAINING),
        ]
        rig.core.close_all(rig.now)
        assert rig.turn() == [
            Send("router-1", Withdraw([2])),
            CloseClient(2, CloseReason.DRAINING),
        ]


class TestWrongOrder:
    def test_the_first_packet_must_be_connect(self, rig: Rig) -> None:
        rig.accept(1)
        rig.packets(1, Ping(), connect_packet("ada"))
        assert rig.turn() == [CloseClient(1, CloseReason.WRONG_ORDER)]

    def test_nothing_may_follow_connect_before_connack(self, rig: Rig) -> None:
        rig.accept(1)
        rig.packets(1, connect_packet("ada"), Ping())
        assert closed(rig.turn()) == {1: CloseReason.WRONG_ORDER}
        rig.answer(rig.asked[-1], user_row("ada"))
        assert rig.turn() == []

    def test_a_silent_connection_is_closed_after_ten_seconds(self, rig: Rig) -> None:
        rig.accept(1)
        assert closed(rig.advance(9_900)) == {}
        assert closed(rig.advance(200)) == {1: CloseReason.CONNECT_TIMEOUT}

    def test_a_second_connect_is_ignored(self, rig: Rig) -> None:
        rig.open_session(1, "ada")
        rig.packets(1, connect_packet("bob"), Ping())
        assert rig.turn() == [ToClient(1, [Pong()])]

    def test_the_bound_of_sessions_and_of_connects(self) -> None:
        rig = Rig(sessions_max=3, connects_pending_max=2)
        rig.up()
        rig.open_session(1, "ada")
        rig.accept(2)
        assert rig.core.has_room
        rig.accept(3)
        assert not rig.core.has_room
        rig.core.session_closed(rig.now, 2)
        assert rig.core.has_room
        rig.core.session_closed(rig.now, 2)


class TestOpenSessions:
    @pytest.fixture(autouse=True)
    def _open(self, rig: Rig) -> None:
        rig.open_session(1, "ada")

    def test_ping_is_answered(self, rig: Rig) -> None:
        rig.packets(1, Ping(), Ping())
        assert rig.turn() == [ToClient(1, [Pong(), Pong()])]

    def test_sub_is_answered(self, rig: Rig) -> None:
        rig.packets(1, Sub("s", "g", 2, 0))
        assert rig.turn() == [ToClient(1, [Suback("s", "g", 2, 0, 11)])]

    def test_a_bad_send_is_refused_with_its_reason(self, rig: Rig) -> None:
        rig.packets(1, BadSend(9, "no-9", 8))
        assert rig.turn() == [ToClient(1, [Sendack(0, 9, 0, 8, "no-9")])]

    def test_disconnect_ends_the_session(self, rig: Rig) -> None:
        rig.packets(1, Disconnect(0), Ping())
        assert rig.turn() == [
            Send("router-1", Withdraw([1])),
            CloseClient(1, CloseReason.CLIENT_LEFT),
        ]

    def test_idle_for_three_minutes_is_closed(self, rig: Rig) -> None:
        assert closed(rig.advance(179_000)) == {}
        rig.packets(1, Ping())
        assert closed(rig.advance(179_000)) == {}
        assert closed(rig.advance(2_000)) == {1: CloseReason.IDLE}

    def test_a_closed_session_is_not_found_idle(self, rig: Rig) -> None:
        rig.core.session_closed(rig.now, 1)
        assert closed(rig.advance(400_000)) == {}

    def test_a_kick_says_disconnect_before_it_closes(self, rig: Rig) -> None:
        rig.receive(Kick([1, 77], 12, "signed in elsewhere"))
        assert rig.turn() == [
            Send("router-1", Withdraw([1])),
            ToClient(1, [Disconnect(12, "signed in elsewhere")]),
            CloseClient(1, CloseReason.KICKED),
        ]

    def test_a_kick_without_a_reason_only_closes(self, rig: Rig) -> None:
        rig.receive(Kick([1], 0, ""))
        assert rig.turn() == [
            Send("router-1", Withdraw([1])),
            CloseClient(1, CloseReason.REPLACED),
        ]

    def test_a_ban_ends_all_sessions_of_the_user(self, rig: Rig) -> None:
        rig.open_session(2, "ada")
        rig.open_session(3, "bob")
        rig.receive(UserChanged(1, "ada", True, False, None, 0))
        effects = rig.turn()
        assert closed(effects) == {1: CloseReason.KICKED, 2: CloseReason.KICKED}
        assert to_client(effects, 1) == [Disconnect(19, "the user is banned")]

    @pytest.mark.parametrize(("flag", "ends"), [(0, True), (-1, True), (1, False), (None, False)])
    def test_a_cleared_token_ends_the_sessions_of_its_device_flag(
        self, rig: Rig, flag: int | None, ends: bool
    ) -> None:
        rig.receive(UserChanged(1, "ada", False, False, flag, 12))
        assert (closed(rig.turn()) == {1: CloseReason.KICKED}) is ends

    @pytest.mark.parametrize(("version", "ends"), [(6, False), (7, False), (8, True)])
    def test_late_news_of_a_token_spares_who_logged_in_with_it(
        self, rig: Rig, version: int, ends: bool
    ) -> None:
        rig.accept(2)
        rig.packets(2, connect_packet("bob"))
        rig.turn()
        rig.answer(rig.asked[-1], user_row("bob", version=7))
        rig.admit(rig.turn())
        rig.turn()
        rig.receive(UserChanged(1, "bob", False, False, 0, 12, version))
        assert (closed(rig.turn()) == {2: CloseReason.KICKED}) is ends

    def test_a_user_who_is_kicked_while_connecting_is_judged_anew(self, rig: Rig) -> None:
        rig.accept(2)
        rig.packets(2, connect_packet("bob"))
        rig.receive(UserChanged(1, "bob", False, False, 0, 12))
        assert closed(rig.turn()) == {2: CloseReason.UNAVAILABLE}

    def test_a_send_ban_that_comes_while_connecting_holds(self, rig: Rig) -> None:
        rig.accept(2)
        rig.packets(2, connect_packet("bob"))
        rig.turn()
        rig.receive(UserChanged(1, "bob", False, True, None, 0))
        rig.answer(rig.asked[-1], user_row("bob"))
        rig.admit(rig.turn())
        rig.turn()
        rig.send(2, "ada")
        assert to_client(rig.turn(), 2) == [Sendack(0, 1, 0, 25, "no-1")]

    def test_an_older_row_sets_no_send_ban_that_was_lifted_while_connecting(self, rig: Rig) -> None:
        rig.accept(2)
        rig.packets(2, connect_packet("bob"))
        rig.turn()
        rig.receive(UserChanged(1, "bob", False, False, None, 0, 8))
        rig.answer(rig.asked[-1], user_row("bob", send_ban=True, version=7))
        rig.admit(rig.turn())
        rig.turn()
        rig.send(2, "ada")
        assert to_client(rig.turn(), 2) == []

    @pytest.mark.parametrize("banned", [False, True])
    def test_late_news_from_another_router_takes_back_no_newer_send_ban(
        self, rig: Rig, banned: bool
    ) -> None:
        rig.up("router-2")
        rig.receive(UserChanged(1, "ada", False, banned, None, 0, 8), "router-2")
        rig.receive(UserChanged(1, "ada", False, not banned, None, 0, 7), "router-1")
        rig.send(1, "bob")
        refused = Sendack(0, 1, 0, 25, "no-1")
        assert (refused in to_client(rig.turn(), 1)) is banned

    def test_a_kick_counts_though_newer_news_came_before_it(self, rig: Rig) -> None:
        rig.up("router-2")
        rig.receive(UserChanged(1, "ada", False, False, None, 0, 8), "router-2")
        rig.receive(UserChanged(1, "ada", False, False, 0, 12, 7), "router-1")
        assert closed(rig.turn()) == {1: CloseReason.KICKED}
