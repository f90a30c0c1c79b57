"""The Python SDK and the commands made of it, against a real cluster."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from http_calls import Api
from raw_client import fresh, token_for
from running_cluster import topology_text, wait_for, zmqim

from zmqim.client import Client, Sent, text_payload
from zmqim.errors import EXIT_NOT_RUNNING, EXIT_REFUSED, EXIT_USAGE, RefusedByServer

DEADLINE_SECONDS = 60


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def within_deadline() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await body()

    asyncio.run(within_deadline())


def client_of(cluster: Any, api: Api, uid: str, token: str = "") -> Client:
    token = token or token_for(api, uid)
    return Client(f"tcp://{cluster.tcp}", uid, token, api=cluster.http, api_key=cluster.api_key)


def test_a_client_chats_and_reads_history(cluster: Any, api: Api) -> None:
    async def body() -> None:
        alice, bob = fresh("alice"), fresh("bob")
        async with client_of(cluster, api, alice) as one, client_of(cluster, api, bob) as two:
            sent = await asyncio.gather(*(one.send(bob, f"{n}") for n in range(50)))
            assert [answer.message_seq for answer in sent] == list(range(1, 51))
            received = [await anext(two) for _ in range(50)]
            assert [message.text for message in received] == [f"{n}" for n in range(50)]
            history = await two.history(alice, limit=10)
            assert [message.message_id for message in history] == [
                message.message_id for message in received[-10:]
            ]

    run(body)


def test_refusals_of_login_and_messages_are_errors_with_reasons(cluster: Any, api: Api) -> None:
    async def body() -> None:
        with pytest.raises(RefusedByServer) as login:
            await client_of(cluster, api, fresh("user"), "wrong").connect()
        assert login.value.reason == 2
        async with client_of(cluster, api, fresh("user")) as one:
            with pytest.raises(RefusedByServer) as message:
                await one.send(fresh("group"), "hello", 2)
            assert message.value.reason in (3, 5)

    run(body)


@pytest.mark.promise("P6")
@pytest.mark.promise("P3")
def test_sends_survive_the_death_of_every_process_once_and_in_order(cluster: Any, api: Api) -> None:
    async def body() -> None:
        alice, bob = fresh("alice"), fresh("bob")
        async with client_of(cluster, api, alice) as one:
            sent: list[Sent] = []

            async def talk() -> None:
                for number in range(150):
                    sent.append(await one.send(bob, f"{number}"))
                    await asyncio.sleep(0.02)

            talking = asyncio.create_task(talk())
            for name in ("gateway-1", "router-1", "storage-1"):
                await asyncio.sleep(0.5)
                await asyncio.to_thread(cluster.kill, name)
                answered = len(sent)
                while len(sent) < answered + 5 and not talking.done():
                    await asyncio.sleep(0.05)
            await talking
            assert [answer.message_seq for answer in sent] == list(range(1, 151))
        history = api.history(alice, bob, limit=200)
        assert history == [(number + 1, f"{number}") for number in range(150)]

    run(body)
    cluster.wait_alive()


@pytest.mark.promise("P6")
@pytest.mark.promise("P3")
def test_a_client_of_two_gateways_goes_on_at_the_other_when_one_dies(new_cluster: Any) -> None:
    cluster = new_cluster(topology_text(gateways=2)).up()
    api = Api(cluster.http, cluster.api_key)
    alice, bob = fresh("alice"), fresh("bob")
    token = token_for(api, alice)

    async def body() -> None:
        addresses = [gateway["tcp"] for gateway in cluster.gateways]
        async with Client(addresses, alice, token) as one:
            sent: list[Sent] = []
            for name in ("gateway-1", "gateway-2"):
                sends = [one.send(bob, f"{len(sent) + number}") for number in range(100)]
                answers = asyncio.gather(*sends)
                await asyncio.sleep(0)
                await asyncio.to_thread(cluster.kill, name)
                sent += await answers
            assert [answer.message_seq for answer in sent] == list(range(1, 201))

    run(body)
    cluster.wait_alive()
    assert api.history(alice, bob, limit=300) == [
        (number + 1, f"{number}") for number in range(200)
    ]
    elsewhere = ("--api", f"http://127.0.0.1:1,{cluster.http}", "--key", cluster.api_key)
    done = zmqim("send", "--as", alice, "--to", bob, *elsewhere, "hello")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("stored as number 201, id ")


# ---- commands ------------------------------------------------------------------------------------


def test_send_prints_where_the_message_is_stored(cluster: Any, api: Api) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    words = ("send", "--as", alice, "--to", bob, "--data", str(cluster.data))
    done = zmqim(*words, "hello")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("stored as number 1, id ")
    found = json.loads(zmqim(*words, "--json", "--number", "n2", "again").stdout)
    assert (found["message_seq"], found["client_msg_no"]) == (2, "n2")
    assert api.history(alice, bob) == [
        (1, text_payload("hello").decode()),
        (2, text_payload("again").decode()),
    ]


def test_a_refused_message_ends_send_with_exit_code_8_and_a_sentence(cluster: Any) -> None:
    done = zmqim(
        "send", "--as", fresh("u"), "--group", fresh("g"), "--data", str(cluster.data), "hello"
    )
    assert done.returncode == EXIT_REFUSED
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("zmqim: ")


@pytest.mark.parametrize("command", ["chat --with b", "send --to b text", "tail"])
def test_without_a_cluster_they_say_so(tmp_path: Any, command: str) -> None:
    name, *words = command.split()
    done = zmqim(name, "--as", "a", *words, "--data", str(tmp_path))
    assert done.returncode == EXIT_NOT_RUNNING
    assert "No cluster runs" in done.stderr
    half = zmqim(name, "--as", "a", *words, "--api", "http://127.0.0.1:1")
    assert half.returncode == EXIT_USAGE
    elsewhere = ("--api", "http://127.0.0.1:1", "--key", "k")
    server = () if name == "send" else ("--server", "tcp://127.0.0.1:1")
    nobody = zmqim(name, "--as", "a", *words, *elsewhere, *server)
    assert nobody.returncode == EXIT_NOT_RUNNING
    assert "Traceback" not in done.stderr + half.stderr + nobody.stderr


class Terminal:
    """A command that goes on running, with its output so far."""

    def __init__(self, cluster: Any, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "zmqim.cli", *words, "--data", str(cluster.data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next line on stdout."""
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def until(self, text: str) -> str:
        """What stderr says up to a line with `text`."""
        assert self.process.stderr
        said = ""
        while text not in said:
            line = self.process.stderr.readline()
            assert line, said
            said += line
        return said

    def type(self, text: str) -> None:
        """Type a line."""
        assert self.process.stdin
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def end(self) -> tuple[int, str]:
        """Ctrl-D; exit code and the rest of stderr."""
        _, rest = self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode, rest


def test_two_terminals_chat_and_leave(cluster: Any) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    one = Terminal(cluster, "chat", "--as", alice, "--with", bob)
    assert "Registered a fresh token" in one.until("Ctrl-D ends")
    one.type("are you there?")
    two = Terminal(cluster, "chat", "--as", bob, "--with", alice)
    two.until("Ctrl-D ends")
    assert two.line() == f"{alice}: are you there?"
    two.type("yes, grüß dich")
    assert one.line() == f"{bob}: yes, grüß dich"
    one.type("bye")
    assert two.line() == f"{alice}: bye"
    for terminal in (one, two):
        code, rest = terminal.end()
        assert (code, "Traceback" in rest) == (0, False)


def test_a_pipe_is_sent_line_by_line_and_its_end_ends_chat(cluster: Any, api: Api) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    terminal = Terminal(cluster, "chat", "--as", alice, "--with", bob)
    terminal.process.communicate("one\n\ntwo\nthree without an end", DEADLINE_SECONDS)
    assert terminal.process.returncode == 0
    assert api.history(alice, bob) == [
        (number, text_payload(text).decode())
        for number, text in enumerate(("one", "two", "three without an end"), 1)
    ]


def test_a_group_chat_creates_its_group(cluster: Any) -> None:
    group, alice, bob = fresh("group"), fresh("alice"), fresh("bob")
    one = Terminal(cluster, "chat", "--as", alice, "--group", group)
    one.until("Ctrl-D ends")
    two = Terminal(cluster, "chat", "--as", bob, "--group", group)
    two.until("Ctrl-D ends")
    two.type("hello all")
    assert one.line() == f"[{group}] {bob}: hello all"
    assert [terminal.end()[0] for terminal in (one, two)] == [0, 0]


def wait_until_online(api: Api, uid: str) -> None:
    """Until a gateway has a session of that user."""
    wait_for(
        lambda: isinstance(api.call("POST", "/user/onlinestatus", [uid])[1], list),
        20,
        f"{uid} is online",
    )


def test_tail_follows_in_json_and_ends_after_its_count(cluster: Any, api: Api) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    tail = Terminal(cluster, "tail", "--as", bob, "--json", "--count", "2")
    tail.until("Registered")
    wait_until_online(api, bob)
    for text in ("one", "two"):
        api.sent(alice, bob, text)
    lines = [json.loads(tail.line()) for _ in range(2)]
    assert [(line["from_uid"], line["text"], line["message_seq"]) for line in lines] == [
        (alice, "one", 1),
        (alice, "two", 2),
    ]
    assert tail.end()[0] == 0


def test_ctrl_c_ends_tail_without_a_traceback(cluster: Any, api: Api) -> None:
    bob = fresh("bob")
    tail = Terminal(cluster, "tail", "--as", bob)
    tail.until("Registered")
    wait_until_online(api, bob)
    tail.process.send_signal(2)
    code, rest = tail.end()
    assert (code, "Traceback" in rest) == (0, False)


def test_the_bot_of_the_clients_page_answers(cluster: Any, api: Api, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "CLIENT.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    assert len(code.splitlines()) <= 15
    script = tmp_path / "bot.py"
    script.write_text(code.replace("127.0.0.1:5100", cluster.tcp))
    bot, alice = fresh("bot"), fresh("alice")
    process = subprocess.Popen(
        [sys.executable, "-u", str(script), bot, token_for(api, bot)], stdout=subprocess.PIPE
    )

    async def talk() -> None:
        async with client_of(cluster, api, alice) as one:
            await asyncio.to_thread(wait_until_online, api, bot)
            await one.send(bot, text_payload("hello"))
            answer = await anext(one)
            assert (answer.from_uid, answer.text) == (bot, "You said: hello")

    try:
        run(talk)
        assert process.stdout
        assert process.stdout.readline() == f"answered {alice} with number 2\n".encode()
    finally:
        process.kill()
        process.communicate()
