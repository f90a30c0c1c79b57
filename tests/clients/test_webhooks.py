"""Webhooks on a real cluster: an application hears of every message, whoever is killed."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Api
from raw_client import APP, WEB, RawClient, token_for
from running_cluster import RunningCluster, topology_text, wait_for, zmqim
from webhook_application import SECRET, Application

ClusterMaker = Callable[..., RunningCluster]
SECONDS = 40.0


@pytest.fixture
def application() -> Iterator[Application]:
    application = Application().start()
    yield application
    application.stop()


def hooked(tmp_path: Path, application: Application, text: str, more: str = "") -> str:
    """A topology whose gateways all have the webhook "im", and 4 partitions."""
    secret = tmp_path / "webhook.secret"
    secret.write_text(SECRET)
    hook = (
        f'{{ url = "webhook://127.0.0.1:{application.port}/im", name = "im", '
        f'secret_file = "{secret}"{more} }}'
    )
    return text.replace("listeners = [", f"listeners = [{hook}, ")


def following(cluster: RunningCluster) -> RunningCluster:
    """Until no partition is without its follower."""
    wait_for(
        lambda: not any("followed" in problem for problem in cluster.status()["problems"]),
        SECONDS,
        "every partition is followed",
    )
    return cluster


def sent(api: Api, count: int, first: int = 0) -> list[str]:
    """Messages of ten senders to as many receivers, acknowledged."""
    texts = []
    for number in range(first, first + count):
        text = f"message {number} {secrets.token_hex(4)}"
        api.sent(f"sender{number % 10}", f"receiver{number % 7}", text)
        texts.append(text)
    return texts


def test_events_look_as_documented_and_nothing_secret_is_logged(
    tmp_path: Path, application: Application, new_cluster: ClusterMaker
) -> None:
    text = hooked(tmp_path, application, topology_text(extra="partitions = 4"))
    cluster = following(new_cluster(text).up())
    api = Api(cluster.http, cluster.api_key)
    data = api.sent("ada", "bob", "the payload of ada", client_msg_no="n1")
    api.done("/channel", channel_id="g", channel_type=2, subscribers=["ada", "bob", "cid"])
    api.sent("ada", "g", "to the group", channel_type=2)
    wait_for(lambda: len(application.messages()) == 2, SECONDS, "both messages are told")
    wait_for(lambda: len(application.bodies("msg.offline")) == 2, SECONDS, "both offline")
    first = next(one for one in application.messages() if one["client_msg_no"] == "n1")
    assert base64.b64decode(first.pop("payload")).decode() == "the payload of ada"
    assert abs(first.pop("timestamp")) > 1_700_000_000
    assert first == {
        "header": {"no_persist": 0, "red_dot": 0, "sync_once": 0},
        "setting": 0,
        "message_id": data["message_id"],
        "message_idstr": data["message_idstr"],
        "client_msg_no": "n1",
        "message_seq": 1,
        "from_uid": "ada",
        "channel_id": "bob",
        "channel_type": 1,
        "topic": "",
        "expire": 0,
    }
    offline = {one["channel_id"]: one["to_uids"] for one in application.bodies("msg.offline")}
    assert offline == {"bob": ["bob"], "g": ["bob", "cid"]}
    assert application.forged == 0
    assert application.connections <= 6
    cluster.down()
    logs = "".join(path.read_text() for path in cluster.data.glob("logs/*")) + cluster.output()
    for hidden in (SECRET, "the payload of ada", first["message_idstr"], cluster.api_key):
        assert hidden not in logs
        assert base64.b64encode(hidden.encode()).decode() not in logs


@pytest.mark.promise("P1")
def test_every_acknowledged_message_is_told_though_gateway_and_leader_are_killed(
    tmp_path: Path, application: Application, new_cluster: ClusterMaker
) -> None:
    text = topology_text(2, 1, 3, extra="partitions = 4", replicas=3)
    cluster = following(new_cluster(hooked(tmp_path, application, text)).up())
    apis = [Api(gateway["http"], cluster.api_key) for gateway in cluster.gateways]
    texts = sent(apis[0], 20)
    application.status = 503
    texts += sent(apis[0], 20, 20)
    wait_for(lambda: application.refused, SECONDS, "the application refuses")
    cluster.kill("gateway-2")
    texts += sent(apis[0], 20, 40)
    leads = {row["name"]: row["leads"] for row in cluster.status()["storages"]}
    cluster.kill(max(leads, key=lambda name: leads[name]))
    texts += sent(apis[0], 20, 60)
    application.status = 200
    texts += sent(apis[0], 20, 80)
    cluster.kill("gateway-1")
    wait_for(
        lambda: set(texts) <= set(application.texts()),
        SECONDS,
        lambda: f"{len(set(texts) - set(application.texts()))} of {len(texts)} are not told",
    )
    assert application.forged == 0


def test_each_partition_is_told_in_the_order_of_its_log(
    tmp_path: Path, application: Application, new_cluster: ClusterMaker
) -> None:
    text = hooked(
        tmp_path,
        application,
        topology_text(2, extra="partitions = 4"),
        ', events = ["msg.notify"]',
    )
    cluster = following(new_cluster(text).up())
    application.status = 500
    texts = sent(Api(cluster.http, cluster.api_key), 150)
    application.status = 200
    wait_for(lambda: set(texts) <= set(application.texts()), SECONDS, "all are told")
    seen: dict[tuple[str, str], int] = {}
    for message in application.messages():
        name = (message["from_uid"], message["channel_id"])
        assert message["message_seq"] >= seen.get(name, 0)
        seen[name] = message["message_seq"]


def test_the_application_may_be_away_and_misses_nothing(
    tmp_path: Path, application: Application, new_cluster: ClusterMaker
) -> None:
    text = hooked(tmp_path, application, topology_text(extra="partitions = 4"))
    cluster = following(new_cluster(text).up())
    api = Api(cluster.http, cluster.api_key)
    texts = sent(api, 10)
    wait_for(lambda: set(texts) <= set(application.texts()), SECONDS, "the first are told")
    application.stop()
    texts += sent(api, 10, 10)
    wait_for(
        lambda: any("does not take" in one for one in cluster.status()["problems"]),
        SECONDS,
        "status says that the application is away",
    )
    cluster.kill_all()
    cluster.up()
    application.start()
    wait_for(lambda: set(texts) <= set(application.texts()), SECONDS, "all are told")
    wait_for(
        lambda: not any("webhook" in one for one in cluster.status()["problems"]),
        SECONDS,
        "status has forgotten it",
    )


def test_what_is_refused_becomes_a_dead_letter_that_can_be_shown_replayed_and_dropped(
    tmp_path: Path, application: Application, new_cluster: ClusterMaker
) -> None:
    text = hooked(tmp_path, application, topology_text(extra="partitions = 4"))
    cluster = following(new_cluster(text).up())
    api = Api(cluster.http, cluster.api_key)
    application.status_of = {"msg.notify": 400}
    for count, text in enumerate(("nobody wants it", "this one neither"), 1):
        api.sent("ada", "bob", text)
        wait_for(lambda: len(_letters(cluster)) == count, SECONDS, "a dead letter")  # noqa: B023
    folder = cluster.data / "gateway-1" / "dead-letters" / "im"
    assert folder.stat().st_mode & 0o777 == 0o700
    application.status_of = {}
    api.sent("ada", "bob", "the next goes on")
    wait_for(lambda: application.texts() == ["the next goes on"], SECONDS, "what follows")
    first, second = _letters(cluster)
    assert (first["event"], first["why"]) == ("msg.notify", "HTTP status 400")
    assert first["letter"].startswith("gateway-1/im/")
    shown = json.loads(_webhooks(cluster, "show", first["letter"], "--json").stdout)
    assert base64.b64decode(shown["body"][0]["payload"]) == b"nobody wants it"
    application.status = 500
    left = _webhooks(cluster, "replay", "--all", "--json", code=8)
    assert [one["why"] for one in json.loads(left.stdout)["left"]] == ["HTTP status 500"] * 2
    application.status = 200
    done = _webhooks(cluster, "replay", first["letter"], "--json")
    assert json.loads(done.stdout) == {"done": [first["letter"]], "left": []}
    assert application.texts() == ["the next goes on", "nobody wants it"]
    assert _webhooks(cluster, "drop", second["letter"]).stdout == "dropped: 1\n"
    assert _webhooks(cluster, "list").stdout == "No dead letters on this host.\n"
    assert "no dead letter" in _webhooks(cluster, "show", second["letter"], code=2).stderr


def _webhooks(
    cluster: RunningCluster, *words: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    done = zmqim("webhooks", *words, "--data", str(cluster.data))
    assert done.returncode == code, done.stderr
    return done


def _letters(cluster: RunningCluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_webhooks(cluster, "list", "--json").stdout)
    return found


def test_who_comes_and_goes_is_told(
    tmp_path: Path, application: Application, new_cluster: ClusterMaker
) -> None:
    text = topology_text(extra="partitions = 4")
    more = ', events = ["user.onlinestatus"]'
    cluster = new_cluster(hooked(tmp_path, application, text, more)).up()
    api = Api(cluster.http, cluster.api_key)
    with RawClient(cluster.tcp_address) as phone, RawClient(cluster.tcp_address) as browser:
        phone.connect("ada", token_for(api, "ada", APP), APP)
        browser.connect("ada", token_for(api, "ada", WEB), WEB)
        wait_for(lambda: len(_statuses(application)) == 2, SECONDS, "both came")
    wait_for(lambda: len(_statuses(application)) == 4, SECONDS, "both went")
    parts = [status.rsplit("-", 5) for status in _statuses(application)]
    assert {part[0] for part in parts} == {"ada"}
    assert [part[2] for part in parts] == ["1", "1", "0", "0"]
    assert [part[5] for part in parts] == ["1", "2", "1", "0"]
    api.sent("ada", "bob", "not among the events")
    assert application.messages() == []
    assert not list(cluster.data.glob("*/dead-letters"))


def _statuses(application: Application) -> list[str]:
    return [one for batch in application.bodies("user.onlinestatus") for one in batch]


def test_a_webhook_that_left_the_topology_is_forgotten(
    tmp_path: Path, application: Application, new_cluster: ClusterMaker
) -> None:
    text = topology_text(extra="partitions = 4")
    cluster = following(new_cluster(hooked(tmp_path, application, text)).up())
    refused = _webhooks(cluster, "forget", "im", code=8)
    assert "is in the topology" in refused.stderr
    cluster.down()
    cluster.topology.write_text(text)
    cluster.up()
    api = Api(cluster.http, cluster.api_key)
    assert _webhooks(cluster, "forget", "im").stdout == (
        "Nothing is kept for webhook im any more.\n"
    )
    api.sent("ada", "bob", "while nobody follows")
    cluster.down()
    cluster.topology.write_text(hooked(tmp_path, application, text))
    following(cluster.up())
    api.sent("ada", "bob", "followed again")
    wait_for(lambda: application.texts() == ["followed again"], SECONDS, "what came after")


def test_a_gateway_without_the_secret_of_its_webhook_does_not_run_and_says_why(
    tmp_path: Path, application: Application, new_cluster: ClusterMaker
) -> None:
    text = hooked(tmp_path, application, topology_text(extra="partitions = 4"))
    (tmp_path / "webhook.secret").write_text("short")
    cluster = new_cluster(text).up(wait=False)
    assert cluster.process is not None
    assert cluster.process.wait(SECONDS) == 2
    assert "The secret of webhook im needs 16 characters or more" in cluster.output()
    assert len([one for one in cluster.log("gateway-1") if one["level"] == "error"]) == 1


def asking(tmp_path: Path, application: Application, fail: str) -> str:
    """A topology in which the application is asked before each message."""
    secret = tmp_path / "webhook.secret"
    secret.write_text(SECRET)
    return topology_text() + (
        f'[before_send]\nurl = "webhook://127.0.0.1:{application.port}/im"\nfail = "{fail}"\n'
        f'secret_file = "{secret}"\n'
    )


def moderated(question: Any) -> object:
    """No spam; "darn" is not written out; everything else passes."""
    text = base64.b64decode(question["payload"]).decode()
    if "spam" in text:
        return {"refuse": 11, "text": "no advertisements here"}
    if "darn" in text:
        changed = text.replace("darn", "d***").encode()
        return {"payload": base64.b64encode(changed).decode()}
    return {}


def test_the_application_allows_changes_and_refuses_messages_before_they_are_stored(
    tmp_path: Path, application: Application, new_cluster: ClusterMaker
) -> None:
    application.say = moderated
    cluster = new_cluster(asking(tmp_path, application, "closed")).up()
    api = Api(cluster.http, cluster.api_key)
    with RawClient(cluster.tcp_address) as ada:
        ada.connect("ada", token_for(api, "ada"))
        assert ada.send("bob", b"hello").reason == 1
        assert ada.send("bob", b"buy spam").reason == 11
        assert ada.send("bob", b"darn it").reason == 1
    status, refused = api.send("ada", "bob", "more spam")
    assert (status, refused["reason"], refused["msg"]) == (400, 11, "no advertisements here")
    api.sent("ada", "bob", "darn again")
    assert api.history("ada", "bob") == [(1, "hello"), (2, "d*** it"), (3, "d*** again")]
    assert application.forged == 0
    assert len(application.bodies("msg.before_send")) == 5


@pytest.mark.parametrize("fail", ["open", "closed"])
def test_without_the_application_the_topology_decides(
    fail: str, tmp_path: Path, application: Application, new_cluster: ClusterMaker
) -> None:
    cluster = new_cluster(asking(tmp_path, application, fail)).up()
    api = Api(cluster.http, cluster.api_key)
    api.sent("ada", "bob", "while it is there")
    application.stop()
    status, answer = api.send("ada", "bob", "while it is away")
    assert status == (200 if fail == "open" else 400), answer
    assert any("before_send" in one for one in cluster.status()["problems"])
    application.start()
    api.sent("ada", "bob", "when it is back")
    assert not any("before_send" in one for one in cluster.status()["problems"])
    passed = [text for _, text in api.history("ada", "bob")]
    assert ("while it is away" in passed) == (fail == "open")
