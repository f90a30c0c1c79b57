"""Who is still sending when the gateway ends the connection reads why, over TCP."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from http_calls import Api
from raw_client import APP, RawClient, fresh
from running_cluster import wait_for

from zmqim.gateway.listeners.client import CLOSE_GRACE_SECONDS
from zmqim.wkproto.packets import Connack, Disconnect, Ping, Send

DEADLINE_SECONDS = 10.0
TRIES = 5
PIECES = 20


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


@pytest.fixture
def kicked(cluster: Any, api: Api) -> Iterator[Callable[[], RawClient]]:
    """Opens connections that the gateway ends, and waits until the word of it is there, unread."""
    with ExitStack() as stack:

        def kick_one() -> RawClient:
            uid = fresh("ada")
            one = stack.enter_context(RawClient.login(cluster, api, uid))
            api.done("/user/device_quit", uid=uid, device_flag=APP)
            await_word(one)
            return one

        yield kick_one


def await_word(one: RawClient) -> None:
    """Until something can be read, which stays where it is."""
    assert one.socket.recv(1, socket.MSG_PEEK)


def send_on(one: RawClient) -> None:
    """As a client does that has not read yet; ConnectionError once the connection was reset."""
    for _ in range(PIECES):
        one.put(*[Ping()] * 1_000)


def is_reset(one: RawClient) -> bool:
    """Whether nobody takes any more what is sent."""
    try:
        one.put(Ping())
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("attempt", range(TRIES))
def test_who_is_kicked_while_sending_reads_why_and_then_the_end(
    kicked: Callable[[], RawClient], attempt: int
) -> None:
    one = kicked()
    send_on(one)
    assert one.expect(Disconnect).reason == 12
    send_on(one)
    assert one.is_closed()


@pytest.mark.parametrize("attempt", range(TRIES))
def test_who_is_refused_while_sending_reads_why_and_then_the_end(
    cluster: Any, attempt: int
) -> None:
    with RawClient(cluster.tcp_address) as one:
        one.put(one.connect_packet(fresh("ada"), "wrong"))
        await_word(one)
        send_on(one)
        assert one.expect(Connack).reason == 2
        assert one.is_closed()


def test_who_does_not_close_is_hung_up_on(kicked: Callable[[], RawClient]) -> None:
    one = kicked()
    assert one.expect(Disconnect).reason == 12
    assert one.is_closed()
    assert not is_reset(one)
    wait_for(lambda: is_reset(one), 2 * CLOSE_GRACE_SECONDS, "the end")


def test_who_is_waited_for_is_no_session_and_nothing_is_taken_from_them(
    cluster: Any, api: Api, kicked: Callable[[], RawClient]
) -> None:
    name = fresh("bob")
    with RawClient.login(cluster, api, name) as bob:
        one = kicked()
        one.put(Send(1, secrets.token_hex(16), name, 1, b"too late"))
        assert api.call("GET", "/connz?uid=ada-")[1]["total"] == 0
        with RawClient.login(cluster, api, fresh("eve")) as eve:
            eve.send(name, b"in time")
        assert [message.payload for message in bob.receive()] == [b"in time"]
        assert one.expect(Disconnect).reason == 12


def test_a_gateway_that_stops_waits_for_nobody_for_long(new_cluster: Any) -> None:
    cluster = new_cluster().up()
    api = Api(cluster.http, cluster.api_key)
    uid = fresh("ada")
    with RawClient.login(cluster, api, uid) as one, RawClient.login(cluster, api, fresh("eve")):
        api.done("/user/device_quit", uid=uid, device_flag=APP)
        await_word(one)
        began = time.monotonic()
        cluster.down()
        assert time.monotonic() - began < DEADLINE_SECONDS
        assert one.expect(Disconnect).reason == 12
        assert one.is_closed()
