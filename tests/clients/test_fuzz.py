"""Ten thousand random frames on a live gateway: memory stays bounded, no log has a fault of ours,
and two people who chat all the while notice nothing.

What is said is drawn from SEED (`hostile`); ZMQIM_FUZZ_FRAMES says how much of it, over all wires
and before and after login. Each conversation is a few good frames and a hostile one behind them, so
each hostile frame is read by a connection that was in order until then.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from random import Random
from typing import Any

import pytest
from hostile import (
    BINARY,
    TEXT,
    JsonInput,
    TcpWire,
    WebWire,
    WkprotoInput,
    http_garbage,
    web_garbage,
)
from http_calls import Api
from raw_client import RawClient, fresh, token_for
from running_cluster import RunningCluster, wait_for

from zmqim.wkproto.codec import ClientCodec
from zmqim.wkproto.packets import Connack, Connect

SEED = 20_261_127
FRAMES = int(os.environ.get("ZMQIM_FUZZ_FRAMES", "10000"))
RSS_GROWTH_KIB_MAX = 16 * 1024
"""What the allocator may keep, and messages of the chat that are stored and pushed."""
RSS_GROWTH_KIB_EACH_MAX = 2
"""Of each conversation: a session that is over keeps about a kilobyte until its last timer, for
IDLE_MS_MAX. Hostile frames that were left behind would be more."""
WARM_UP = 200
THREADS = 4
Speak = Callable[[Random, int], None]
pytestmark = [pytest.mark.promise("P9"), pytest.mark.timeout(120 + FRAMES // 50)]


class Chat(threading.Thread):
    """Two people who write to each other until they are stopped; what went wrong is `fault`."""

    def __init__(self, cluster: RunningCluster, api: Api) -> None:
        super().__init__(daemon=True)
        self.messages = 0
        self.fault: Exception | None = None
        self._cluster, self._api = cluster, api
        self._stop_wanted = threading.Event()

    def run(self) -> None:
        try:
            self._talk()
        except (AssertionError, OSError, EOFError) as error:
            self.fault = error

    def _talk(self) -> None:
        alice, bob = fresh("alice"), fresh("bob")
        with (
            RawClient.login(self._cluster, self._api, alice) as one,
            RawClient.login(self._cluster, self._api, bob) as two,
        ):
            while not self._stop_wanted.wait(0.005):
                number = self.messages + 1
                sent = one.send(bob, b"%d" % number)
                assert (sent.reason, sent.message_seq) == (1, number), sent
                [heard] = two.receive()
                assert (heard.message_seq, heard.payload) == (number, b"%d" % number)
                self.messages = number

    def over(self) -> None:
        """Stop; raises what went wrong."""
        self._stop_wanted.set()
        self.join(30)
        assert not self.is_alive(), "the chat hangs"
        if self.fault is not None:
            raise self.fault


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


@pytest.fixture(scope="module")
def users(api: Api) -> dict[str, str]:
    """Tokens of the users that the hostile clients log in as."""
    return {uid: token_for(api, uid) for uid in [f"fuzz-{number}" for number in range(8)]}


def address(url: str) -> tuple[str, int]:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    return host, int(port)


def counters(api: Api) -> dict[str, float]:
    """The gateway's counters and gauges."""
    status, text = api.call("GET", "/metrics")
    assert status == 200
    found = re.findall(r"^zmqim_gateway_(\w+) ([0-9.e+]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def faults_in_logs(cluster: RunningCluster) -> list[str]:
    """Errors and exceptions, all that libraries say, and whatever came outside of the logs."""
    found = []
    for path in sorted((cluster.data / "logs").iterdir()):
        text = path.read_text(errors="replace")
        if path.suffix == ".stderr":
            found += [f"{path.name}: {text}"] if text else []
            continue
        for line in text.splitlines():
            record = json.loads(line)
            if record["level"] == "error" or {"exception", "library"} & set(record):
                found.append(f"{path.name}: {line}")
    return found


def all_at_once(speak: Speak, conversations: int) -> None:
    """So many conversations, THREADS of them at a time, each thread with a source of its own."""

    def some(thread: int) -> None:
        source = Random(SEED + thread)
        for number in range(thread, conversations, THREADS):
            speak(source, number // THREADS)

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(some, range(THREADS)):
            pass


@pytest.fixture
def unharmed(cluster: RunningCluster, api: Api) -> Callable[[Speak, int], None]:
    """Lets a wire speak so many frames, and looks at everything that must not change by it."""

    def run(speak: Speak, frames: int) -> None:
        print(f"seed {SEED}, {frames} frames")
        all_at_once(speak, WARM_UP)
        before, pid = cluster.rss_kib("gateway-1"), cluster.pid("gateway-1")
        errors = counters(api)["wire_errors_total"]
        chat = Chat(cluster, api)
        chat.start()
        all_at_once(speak, frames)
        chat.over()
        assert chat.messages > 0
        assert counters(api)["wire_errors_total"] > errors
        wait_for(lambda: counters(api)["sessions"] == 0, 30, "the end of all sessions")
        assert counters(api)["sessions_connecting"] == 0
        assert cluster.pid("gateway-1") == pid
        grown = cluster.rss_kib("gateway-1") - before
        print(f"grown by {grown} KiB, {chat.messages} messages of others meanwhile")
        assert grown < RSS_GROWTH_KIB_MAX + RSS_GROWTH_KIB_EACH_MAX * frames
        assert faults_in_logs(cluster) == []

    return run


def connect_packet(source: Random, codec: ClientCodec, users: dict[str, str]) -> bytes:
    uid = source.choice(list(users))
    device = source.randbytes(4).hex()
    return codec.encode_one(Connect(6, 0, device, uid, users[uid], 0, codec.client_key))


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_random_wkproto_harms_nobody_else(
    cluster: RunningCluster,
    users: dict[str, str],
    unharmed: Callable[[Speak, int], None],
    scheme: str,
) -> None:
    def speak(source: Random, number: int) -> None:
        said = WkprotoInput(source, list(users))
        codec = ClientCodec(source.randbytes(32))
        wire: TcpWire
        if scheme == "tcp":
            wire = TcpWire(*cluster.tcp_address)
        else:
            wire = WebWire(*address(cluster.ws), BINARY)
        with closing(wire.socket):
            is_in = number % 2 == 1
            if is_in:
                wire.say(connect_packet(source, codec, users))
                data = wire.hear_message() if isinstance(wire, WebWire) else wire.hear()
                # A push to the same user may come right behind it.
                answer, *_ = codec.feed(data)
                assert isinstance(answer, Connack), answer
                assert answer.reason == 1
                for _ in range(source.randrange(4)):
                    wire.say(said.good(codec, may_send=True))
            if isinstance(wire, WebWire) and number % 5 == 0:
                wire.say_raw(web_garbage(source))
            else:
                wire.say(said.hostile(codec, may_send=is_in))
            wire.end()

    unharmed(speak, FRAMES * 2 // 5)


def test_random_json_harms_nobody_else(
    cluster: RunningCluster, users: dict[str, str], unharmed: Callable[[Speak, int], None]
) -> None:
    def speak(source: Random, number: int) -> None:
        said = JsonInput(source, list(users))
        wire = WebWire(*address(cluster.ws), source.choice((TEXT, BINARY)))
        with closing(wire.socket):
            if number % 2 == 1:
                uid = source.choice(list(users))
                params = {"uid": uid, "token": users[uid], "deviceFlag": 0, "deviceId": uid}
                wire.say(json.dumps({"id": "c", "method": "connect", "params": params}).encode())
                assert b'"result"' in wire.hear_message()
                for _ in range(source.randrange(4)):
                    wire.say(said.good())
            wire.say(said.hostile())
            if number % 10 == 0:
                wire.say_raw(web_garbage(source))
            wire.end()

    unharmed(speak, FRAMES // 5)


def test_random_http_harms_nobody_else(
    cluster: RunningCluster, unharmed: Callable[[Speak, int], None]
) -> None:
    def speak(source: Random, number: int) -> None:
        wire = TcpWire(*address(cluster.ws if number % 2 else cluster.http))
        with closing(wire.socket):
            wire.say(http_garbage(source))
            wire.end()

    unharmed(speak, FRAMES // 10)
