"""The HTTP calls about the server and its connections."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from gateway_rig import closed
from http_rig import HttpRig

from zmqim import __version__
from zmqim.gateway.http.connections import SORTS, duration_text
from zmqim.gateway.listing import ORDERS
from zmqim.gateway.plugin import CloseReason

ONE = {"tcp_addr": "127.0.0.1:5100", "ws_addr": "", "wss_addr": "wss://one.example", "node_id": 1}
TWO = {
    "tcp_addr": "127.0.0.1:5110",
    "ws_addr": "ws://127.0.0.1:5210",
    "wss_addr": "",
    "node_id": 2,
}


@pytest.fixture
def rig() -> Iterator[HttpRig]:
    """Two sessions: 1 of ada, 2 of bob."""
    with HttpRig() as rig:
        rig.gateway.open_session(1, "ada")
        rig.gateway.open_session(2, "bob")
        yield rig


# ---- health and routes ---------------------------------------------------------------------------


def test_health_is_ok_or_500_with_what_is_missing(rig: HttpRig) -> None:
    assert rig.get("/health") == (200, {"status": "ok"})
    rig.port.missing = "no router is linked"
    assert rig.get("/health") == (500, {"status": "error", "message": "no router is linked"})


def test_a_route_names_the_gateway_by_its_place_in_the_topology(rig: HttpRig) -> None:
    for alive, answer in ((("gateway-1",), ONE), (("gateway-1", "gateway-2"), None)):
        rig.port.alive = alive
        status, route = rig.get("/route", uid="ada")
        assert status == 200
        assert route in ([answer] if answer else [ONE, TWO])
    status, route = rig.get("/route", uid="ada", intranet=1)
    assert route["ws_addr"].startswith("ws://127.0.0.1:52")


def test_a_batch_of_routes_is_grouped_by_gateway_and_agrees_with_single_ones(rig: HttpRig) -> None:
    uids = [f"u{number}" for number in range(50)]
    rows = rig.done("/route/batch", [*uids, uids[0]])
    assert sorted(uid for row in rows for uid in row["uids"]) == sorted(uids)
    assert len(rows) == 2
    for row in rows:
        there = {name: value for name, value in row.items() if name != "uids"}
        for uid in row["uids"]:
            assert rig.get("/route", uid=uid) == (200, there)
    assert rig.done("/route/batch", []) == []
    assert rig.post("/route/batch", {"uid": "a"})[0] == 400


def test_nobodys_answer_to_who_is_online_is_no_fault_of_ours(rig: HttpRig) -> None:
    assert rig.done("/user/onlinestatus", ["ada", "bob"]) == [
        {"uid": "ada", "device_flag": 0, "online": 1}
    ]
    assert rig.done("/user/onlinestatus", ["bob"]) == {"status": 200}
    rig.port.missing = "no router is linked"
    status, answer = rig.post("/user/onlinestatus", ["ada"])
    assert (status, answer["code"]) == (503, "unavailable")


# ---- connections ---------------------------------------------------------------------------------


def test_connections_are_listed_as_the_peer_does(rig: HttpRig) -> None:
    rig.gateway.send(1, "bob", b"hi")
    rig.gateway.turn()
    rig.gateway.sent(rig.gateway.asked[-1], 1)
    rig.gateway.advance(61_500)
    status, answer = rig.get("/connz")
    assert (status, answer["total"], answer["offset"], answer["limit"]) == (200, 2, 0, 20)
    row = answer["connections"][0]
    now, active = (datetime.fromisoformat(text) for text in (answer["now"], row["last_activity"]))
    assert (now - active).total_seconds() == 61.5
    expected = {
        "id": 1, "uid": "ada", "ip": "10.0.0.9", "port": 1234, "uptime": "1m1s", "idle": "1m1s",
        "pending_bytes": 0, "in_msgs": 1, "out_msgs": 0, "out_msg_bytes": 0, "in_packets": 2,
        "device": "App(slave)", "device_id": "phone", "version": 5, "node_id": 1,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert set(row) - set(expected) == {"last_activity", "in_msg_bytes", "out_packets"}


def ids(answer: tuple[int, Any]) -> list[int]:
    return [row["id"] for row in answer[1]["connections"]]


def test_connections_come_in_the_order_asked_for(rig: HttpRig) -> None:
    rig.gateway.send(2, "ada", b"hi")
    rig.gateway.turn()
    assert ids(rig.get("/connz", sort="idDesc")) == [2, 1]
    assert ids(rig.get("/connz", sort="inMsg")) == [1, 2]
    assert ids(rig.get("/connz", sort="inMsgDesc", limit=1)) == [2]
    assert ids(rig.get("/connz", offset=1)) == [2]
    assert ids(rig.get("/connz", uid="da")) == [1]
    for sort in SORTS:
        for suffix in ("", "Desc"):
            assert rig.get("/connz", sort=sort + suffix)[0] == 200
    assert set(SORTS.values()) == set(ORDERS)


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    "query",
    [{"sort": "name"}, {"limit": 1_001}, {"limit": -1}, {"offset": -1}, {"node_id": -1}],
    ids=str,
)
def test_a_bad_page_is_refused(rig: HttpRig, query: dict[str, Any]) -> None:
    status, answer = rig.get("/connz", **query)
    assert (status, answer["code"]) == (400, "bad_request")
    assert next(iter(query)) in answer["msg"]


def test_a_connection_is_kicked_or_removed(rig: HttpRig) -> None:
    assert rig.done("/conn/kick", uid="ada", conn_id=1) == {"status": 200}
    assert rig.done("/conn/remove", uid="bob", conn_id=2, node_id=1) == {"status": 200}
    assert closed(rig.gateway.turn()) == {1: CloseReason.KICKED, 2: CloseReason.REMOVED}
    assert ids(rig.get("/connz")) == []


@pytest.mark.promise("P9")
def test_a_connection_that_is_not_here_is_refused_and_nothing_ends(rig: HttpRig) -> None:
    for path in ("/conn/kick", "/conn/remove"):
        for uid, number in (("ada", 2), ("ada", 9), ("cid", 1)):
            status, answer = rig.post(path, uid=uid, conn_id=number)
            assert (status, answer["code"]) == (404, "not_found")
    assert ids(rig.get("/connz")) == [1, 2]


@pytest.mark.promise("P9")
def test_another_gateways_connections_are_refused_with_its_address(rig: HttpRig) -> None:
    answers = [
        rig.get("/connz", node_id=2),
        rig.get("/varz", node_id=2),
        rig.post("/conn/kick", uid="ada", conn_id=1, node_id=2),
        rig.post("/conn/remove", uid="ada", conn_id=1, node_id=2),
    ]
    for status, answer in answers:
        assert (status, answer["code"]) == (400, "other_gateway")
        assert "gateway-2" in answer["msg"]
        assert answer["hint"] == "ask http://127.0.0.1:5011"
    status, answer = rig.get("/connz", node_id=3)
    assert (status, answer["code"]) == (404, "not_found")
    assert ids(rig.get("/connz")) == [1, 2]


# ---- the server ----------------------------------------------------------------------------------


def test_varz_says_what_the_gateway_is_and_did(rig: HttpRig) -> None:
    rig.gateway.send(2, "ada", b"hi")
    rig.gateway.push(1, [1])
    rig.gateway.turn()
    _, answer = rig.get("/varz")
    expected = {
        "server_id": "1", "server_name": "gateway-1", "version": __version__, "connections": 2,
        "uptime": "1d1h1m1s", "in_msgs": 1, "out_msgs": 1, "api_url": "http://127.0.0.1:5001",
        "slow_clients": 0, "retry_queue": 1,
    }  # fmt: skip
    assert {name: answer[name] for name in expected} == expected
    assert min(answer["in_bytes"], answer["out_bytes"]) > 2
    assert answer["tcp_addr"] == ONE["tcp_addr"]
    assert answer["mem"] > 1_000_000
    assert answer["cpu"] >= 0
    assert "conns" not in answer
    _, answer = rig.get("/varz", show="conn", conn_limit=1)
    assert [row["id"] for row in answer["conns"]] == [2]


def test_the_settings_name_what_is_there(rig: HttpRig) -> None:
    assert rig.get("/varz/setting") == (
        200,
        {"logger": {"trace_on": 0, "loki_on": 0}, "prometheus_on": 1, "stress_on": 0},
    )


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0s"), (999, "0s"), (61_000, "1m1s"), (3_600_000, "1h0m0s"), (176_400_000, "2d1h0m0s")],
)
def test_durations_are_for_people(milliseconds: int, text: str) -> None:
    assert duration_text(milliseconds) == text
