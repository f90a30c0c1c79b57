"""The topology file: values, ports, guarantee, and every fault at once with its key and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqim import limits
from zmqim.errors import TopologyError, UsageError
from zmqim.topology import Topology, find, is_loopback, load, parse, shipped, shipped_names
from zmqim.webhook_settings import EVENTS, HookSettings, WebhookSettings, settings_of

BASE = """cluster = "test"
[[gateway]]
name = "gateway-1"
listeners = ["wkproto://127.0.0.1:5100"]
[[router]]
name = "router-1"
[[storage]]
name = "storage-1"
"""


def faults(text: str, **given: bool) -> list[tuple[int, str, str]]:
    with pytest.raises(TopologyError) as found:
        parse(text, "t.toml", **given)
    assert found.value.exit_code == 2
    return list(found.value.faults)


def only_fault(text: str) -> tuple[int, str, str]:
    found = faults(text)
    assert len(found) == 1, found
    return found[0]


def test_the_least_topology_gets_every_default() -> None:
    topology = parse(BASE, "t.toml")
    assert topology.partitions == limits.PARTITIONS_DEFAULT
    assert topology.replicas == 1
    assert topology.data_folder == "zmqim-data"
    assert topology.limits.sends_per_second == limits.SENDS_PER_SECOND_MAX
    assert topology.limits.disk_free_min_bytes == limits.DISK_FREE_MIN_BYTES
    assert topology.storages[0].zone == "localhost"
    assert topology.storages[0].weight == 1
    assert len(topology.cluster_id) == 16


def test_processes_start_storages_first_and_gateways_last() -> None:
    names = [process.name for process in parse(BASE, "t.toml").processes()]
    assert names == ["storage-1", "router-1", "gateway-1"]


def test_bus_ports_are_given_out_in_the_order_of_the_file_two_for_each() -> None:
    text = """cluster = "test"
bus_port = 7000
[[storage]]
name = "storage-1"
[[gateway]]
name = "gateway-1"
listeners = ["ws://127.0.0.1:5200"]
[[router]]
name = "router-1"
[[storage]]
name = "storage-2"
address = "tcp://127.0.0.1:9000"
[[router]]
name = "router-2"
"""
    topology = parse(text, "t.toml")
    assert {p.name: (p.address, p.pub_address) for p in topology.processes()} == {
        "storage-1": ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7001"),
        "gateway-1": ("tcp://127.0.0.1:7002", "tcp://127.0.0.1:7003"),
        "router-1": ("tcp://127.0.0.1:7004", "tcp://127.0.0.1:7005"),
        "storage-2": ("tcp://127.0.0.1:9000", "tcp://127.0.0.1:9001"),
        "router-2": ("tcp://127.0.0.1:7006", "tcp://127.0.0.1:7007"),
    }


def test_every_fault_is_told_at_once_with_its_line_and_key() -> None:
    text = """cluster = "A b"
partitons = 3
partitions = 7
replicas = "three"

[[gateway]]
name = "one"
host = "x"
listeners = [
    "foo://127.0.0.1:2",   # no such plug-in
    "ws://127.0.0.1",
    5,
]

[[router]]
name = "one"

[[storage]]
name = "run"
address = "10.0.0.1:65535"
weight = 0

[limits]
sends_per_secnd = 4
"""
    found = {(line, key): sentence for line, key, sentence in faults(text)}
    assert set(found) == {
        (1, "cluster"),
        (2, "partitons"),
        (3, "partitions"),
        (4, "replicas"),
        (8, "gateway[0].host"),
        (10, "gateway[0].listeners[0]"),
        (11, "gateway[0].listeners[1]"),
        (9, "gateway[0].listeners[2]"),
        (16, "router[0].name"),
        (19, "storage[0].name"),
        (20, "storage[0].address"),
        (21, "storage[0].weight"),
        (24, "limits.sends_per_secnd"),
    }
    assert "did you mean 'partitions'" in found[2, "partitons"]
    assert "did you mean 'sends_per_second'" in found[24, "limits.sends_per_secnd"]
    assert "power of two" in found[3, "partitions"]
    assert "line 7" in found[16, "router[0].name"]
    assert "installed: http, webhook, wkproto, ws" in found[10, "gateway[0].listeners[0]"]


def test_the_message_names_the_file_and_counts_the_faults() -> None:
    with pytest.raises(TopologyError, match=r"x\.toml: 1 fault\n  line 1: partitions: 3 is not"):
        parse("partitions = 3\n" + BASE, "x.toml")


def test_a_text_that_is_no_toml_is_a_fault_with_its_line() -> None:
    line, key, sentence = only_fault('cluster = "a"\nreplicas = = 3\n')
    assert (line, key) == (2, "TOML")
    assert "invalid value" in sentence
    assert only_fault("a = [\n\n")[0] == 3


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ('cluster = "test"\n', "", "file", "cluster is missing"),
        ('name = "router-1"', "", "router[0]", "name is missing"),
        ('[[router]]\nname = "router-1"\n', "", "file", "there is no [[router]]"),
        ("[[router]]", "[router]", "router", "must be an array"),
        ('cluster = "test"', 'cluster = ""', "cluster", "must not be empty"),
        (":5100", ":0", "gateway[0].listeners[0]", "needs a port"),
        (":5100", ":99999", "gateway[0].listeners[0]", "needs a port"),
        (":5100", ":5100/path", "gateway[0].listeners[0]", "more than scheme, host and port"),
        ("wkproto://127", "127", "gateway[0].listeners[0]", "is not a URL"),
        ("wkproto://127.0.0.1:5100", "http://[::1", "gateway[0].listeners[0]", "is not a URL"),
        ("wkproto://127.0.0.1:5100", "http://:80", "gateway[0].listeners[0]", "needs a host"),
        ('"wkproto://127.0.0.1:5100"', "", "gateway[0]", "listeners is missing"),
        ('"wkproto://127.0.0.1:5100"', "{ ur = 1 }", "gateway[0].listeners[0]", "url is missing"),
        ('name = "storage-1"', 'name = "logs"', "storage[0].name", "of zmqim's own"),
        ('name = "storage-1"', 'name = "Storage"', "storage[0].name", "must be 1 to 32"),
        ("[[router]]", "[[router]]\naddress = 'nowhere'", "router[0].address", "not an address"),
    ],
)
def test_each_kind_of_fault_has_its_sentence(old: str, new: str, key: str, words: str) -> None:
    found = faults(BASE.replace(old, new, 1))
    assert any(at == key and words in sentence for _, at, sentence in found), found


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (BASE.replace("5100", "5600"), "gateway[0].listeners"),
        (BASE.replace("5100", "5605"), "gateway[0].listeners"),
        (
            BASE.replace('5100"]', '5100", "ws://0.0.0.0:5100"]'),
            "gateway[0].listeners",
        ),
        (BASE + 'address = "127.0.0.1:5603"\n', "storage[0].address"),
    ],
)
def test_two_sockets_of_a_machine_on_one_port_are_a_fault(text: str, key: str) -> None:
    assert only_fault(text)[1] == key
    assert "is taken by" in only_fault(text)[2]


def test_a_bus_beyond_loopback_needs_insecure_bus_and_is_warned_of() -> None:
    outside = BASE + 'address = "10.0.0.5:7000"\n'
    line, key, sentence = only_fault(outside)
    assert (line, key) == (9, "storage[0].address")
    assert "insecure_bus = true" in sentence
    allowed = parse("insecure_bus = true\n" + outside, "t.toml")
    assert any("not encrypted" in note for note in allowed.notes())


def test_several_hosts_need_a_host_for_each_process_and_a_given_api_key() -> None:
    text = "insecure_bus = true\n" + BASE
    for name, address in (("left", "10.0.0.1"), ("right", "10.0.0.2")):
        text += f'[[host]]\nname = "{name}"\naddress = "{address}"\n'
    found = faults(text)
    assert [key for _, key, _ in found] == [
        "api_key_file",
        "gateway[0]",
        "router[0]",
        "storage[0]",
    ]
    line, _, sentence = found[0]
    assert text.split("\n")[line - 1].startswith("cluster")
    assert "API key must be given" in sentence
    assert all("API key" not in sentence for _, _, sentence in faults(text, api_key_given=True))
    assert all("API key" not in s for _, _, s in faults('api_key_file = "k"\n' + text))


def test_limits_are_checked_against_each_other() -> None:
    line, key, sentence = only_fault(BASE + "[limits]\ndisk_free_warn_bytes = 1\n")
    assert (line, key) == (10, "limits.disk_free_warn_bytes")
    assert "below disk_free_min_bytes" in sentence


def test_the_cluster_id_follows_name_and_id_line() -> None:
    ids = {
        parse(text, "t.toml").cluster_id
        for text in (BASE, 'id = "x"\n' + BASE, BASE.replace('"test"', '"other"'))
    }
    assert len(ids) == 3


def test_advertise_is_what_clients_are_told() -> None:
    text = BASE.replace(
        '"wkproto://127.0.0.1:5100"',
        '{ url = "wkproto://127.0.0.1:5100", advertise = "chat.example.com:5100" }, '
        '"ws://127.0.0.1:5200"',
    )
    first, second = parse(text, "t.toml").gateways[0].listeners
    assert first.advertise == "chat.example.com:5100"
    assert first.url == "wkproto://127.0.0.1:5100"
    assert second.advertise == "ws://127.0.0.1:5200"


HOOK = '{ url = "webhook://127.0.0.1:9000/im", name = "im", secret_file = "s" }'


def with_hook(hook: str) -> str:
    return BASE.replace('"wkproto://127.0.0.1:5100"', f'"wkproto://127.0.0.1:5100", {hook}')


def test_a_http_listener_may_serve_the_load_driver_and_no_other_does() -> None:
    url = '"wkproto://127.0.0.1:5100"'
    for switch, settings in (("true", (("bench", "yes"),)), ("false", ())):
        text = BASE.replace(url, f'{{ url = "http://127.0.0.1:5001", bench = {switch} }}')
        [listener] = parse(text, "t.toml").gateways[0].listeners
        assert (listener.url, listener.settings) == ("http://127.0.0.1:5001", settings)
    _, key, sentence = only_fault(BASE.replace(url, f"{{ url = {url}, bench = true }}"))
    assert (key, sentence) == ("gateway[0].listeners[0].bench", "unknown key")
    text = BASE.replace(url, '{ url = "http://127.0.0.1:5001", bench = "on" }')
    assert only_fault(text)[2] == "must be true or false, not 'on'"


def test_a_webhook_is_a_listener_with_a_path_and_settings() -> None:
    hook = HOOK.replace(" }", ', events = ["msg.offline"], timeout_ms = 900, tls = true }')
    listener = parse(with_hook(hook), "t.toml").gateways[0].listeners[1]
    assert (listener.url, listener.connects) == ("webhook://127.0.0.1:9000/im", True)
    settings = settings_of(dict(listener.settings))
    assert settings == WebhookSettings("im", "s", "", ("msg.offline",), 900, True)


def test_a_webhook_is_told_of_everything_unless_it_says_otherwise() -> None:
    listener = parse(with_hook(HOOK), "t.toml").gateways[0].listeners[1]
    assert settings_of(dict(listener.settings)).events == EVENTS


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ('"webhook://127.0.0.1:9000"', "a webhook needs more"),
        (HOOK.replace('name = "im", ', ""), "name is missing"),
        (HOOK.replace('"im"', '"I M"'), "must be 1 to 32 of"),
        (HOOK.replace(', secret_file = "s"', ""), "needs secret_file"),
        (HOOK.replace("secret_file", 'secret_env = "E", secret_file'), "and not both"),
        (HOOK.replace(" }", ', events = ["msg.notfy"] }'), "did you mean 'msg.notify'"),
        (HOOK.replace(" }", ", events = [] }"), "names no event"),
        (HOOK.replace(" }", ", timeout_ms = 99999999 }"), "is not between"),
        (HOOK.replace(" }", ", advertise = 1 }"), "unknown key"),
        (HOOK.replace("/im", "/im?token=1"), "more than scheme"),
        (HOOK.replace("//127", "//user:word@127"), "more than scheme"),
        (f"{HOOK}, {HOOK}", "two webhooks named 'im'"),
    ],
)
def test_each_fault_of_a_webhook_has_its_sentence(hook: str, words: str) -> None:
    with pytest.raises(TopologyError) as caught:
        parse(with_hook(hook), "t.toml")
    assert words in str(caught.value)


def test_gateways_that_share_a_webhook_say_the_same_of_it() -> None:
    def both(second: str) -> str:
        gateway = f'[[gateway]]\nname = "gateway-2"\nlisteners = [{second}]\n[[router]]'
        return with_hook(HOOK).replace("[[router]]", gateway, 1)

    assert len(parse(both(HOOK), "t.toml").gateways) == 2
    with pytest.raises(TopologyError, match="described otherwise by another gateway"):
        parse(both(HOOK.replace("9000", "9001")), "t.toml")


ASK = '[before_send]\nurl = "webhook://127.0.0.1:9000/ask"\nfail = "open"\nsecret_env = "S"\n'


def test_before_send_is_one_application_for_all_gateways() -> None:
    hook = parse(BASE + ASK + "timeout_ms = 300\n", "t.toml").before_send
    assert hook == HookSettings("webhook://127.0.0.1:9000/ask", "", "S", 300, True, False)
    assert parse(BASE, "t.toml").before_send is None
    assert parse(BASE + ASK, "t.toml").notes() == ()
    far = ASK.replace("127.0.0.1", "10.0.0.7")
    assert "not encrypted" in parse(BASE + far, "t.toml").notes()[0]
    assert parse(f"{BASE}{far}tls = true\n", "t.toml").notes() == ()


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ('fail = "open"\n', "", "before_send", "fail is missing"),
        ('"open"', '"ajar"', "before_send.fail", "neither"),
        ('secret_env = "S"\n', "", "before_send", "needs secret_file"),
        ("webhook://", "http://", "before_send.url", "is not a webhook"),
        (":9000", "", "before_send.url", "needs a port"),
        ('"S"\n', '"S"\ntimeout_ms = 99_999\n', "before_send.timeout_ms", "is not between"),
        ('"S"\n', '"S"\nfails = 1\n', "before_send.fails", "did you mean 'fail'"),
    ],
)
def test_each_fault_of_before_send_has_its_sentence(
    old: str, new: str, key: str, words: str
) -> None:
    _, found, sentence = only_fault(BASE + ASK.replace(old, new))
    assert found == key
    assert words in sentence


def test_a_webhook_beyond_this_machine_in_the_clear_is_said() -> None:
    hook = HOOK.replace("127.0.0.1:9000", "10.0.0.7:9000")
    assert "not encrypted: messages go there" in parse(with_hook(hook), "t.toml").notes()[0]
    assert parse(with_hook(hook.replace(" }", ", tls = true }")), "t.toml").notes() == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_a_listener_on_every_address_without_advertise_is_said(host: str) -> None:
    text = BASE.replace("127.0.0.1", host)
    (note,) = parse(text, "t.toml").notes()
    assert note.startswith(f"wkproto://{host}:5100 of gateway-1 has no advertise")
    named = text.replace(
        f'"wkproto://{host}:5100"', f'{{ url = "wkproto://{host}:5100", advertise = "a:5100" }}'
    )
    assert parse(named, "t.toml").notes() == ()


@pytest.mark.promise("P10")
def test_a_short_api_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZMQIM_API_KEY", "k" * 15)
    with pytest.raises(UsageError, match="ZMQIM_API_KEY has 15 characters, fewer than 16"):
        load(shipped("quickstart.toml"))
    assert load(shipped("quickstart.toml"), key_needed=False)
    monkeypatch.setenv("ZMQIM_API_KEY", "k" * 16)
    assert load(shipped("quickstart.toml"))


def test_a_topology_that_runs_can_be_read_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZMQIM_API_KEY", raising=False)
    assert load(shipped("two-hosts.toml"), key_needed=False)


def test_a_process_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="did you mean 'router-1'"):
        parse(BASE, "t.toml").process("route-1")


def test_quickstart_listens_on_this_machine_only() -> None:
    topology = load(shipped("quickstart.toml"))
    assert topology.notes() == ()
    listeners = [listener.url for listener in topology.gateways[0].listeners]
    assert listeners == ["wkproto://127.0.0.1:5100", "ws://127.0.0.1:5200", "http://127.0.0.1:5001"]
    assert topology.gateways[0].address == "tcp://127.0.0.1:5600"


def test_three_storages_has_every_kind_of_process_more_than_once() -> None:
    topology = load(shipped("three-storages.toml"))
    assert (len(topology.gateways), len(topology.routers), len(topology.storages)) == (2, 2, 3)
    ports = [[listener.port for listener in one.listeners] for one in topology.gateways]
    assert ports == [[5100, 5200, 5001], [5101, 5201, 5002]]
    assert topology.replicas == 3


def test_two_hosts_needs_its_key_and_warns_of_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZMQIM_API_KEY", raising=False)
    with pytest.raises(TopologyError, match="API key must be given"):
        load(shipped("two-hosts.toml"))
    monkeypatch.setenv("ZMQIM_API_KEY", "k" * 32)
    topology = load(shipped("two-hosts.toml"))
    assert any("not encrypted" in note for note in topology.notes())
    assert {process.host for process in topology.processes("left")} == {"left"}


def test_every_shipped_topology_opens_with_why_it_exists() -> None:
    assert shipped_names() == ("quickstart.toml", "three-storages.toml", "two-hosts.toml")
    for name in shipped_names():
        assert shipped(name).read_text().startswith("# Why this exists: ")


def test_a_name_means_a_shipped_topology_only_when_there_is_no_such_file(tmp_path: Path) -> None:
    assert find("quickstart") == find("quickstart.toml") == shipped("quickstart.toml")
    assert find(str(tmp_path)) == tmp_path
    with pytest.raises(UsageError, match="There is no topology file"):
        load(find("nowhere.toml"))
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load(tmp_path / "latin")


def test_what_is_loopback() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "localhost", "::1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "10.0.0.1", "example.com"))


@given(st.text(max_size=200))
def test_any_text_is_a_topology_or_faults(text: str) -> None:
    _parse_or_faults(text)


@given(st.lists(st.sampled_from([*BASE.split("\n"), "[limits]", "x = 1", 'id = "a"']), max_size=14))
def test_any_shuffled_lines_are_a_topology_or_faults(lines: list[str]) -> None:
    _parse_or_faults("\n".join(lines))


def _parse_or_faults(text: str) -> None:
    found: Topology | tuple[tuple[int, str, str], ...]
    try:
        found = parse(text, "t.toml")
    except TopologyError as error:
        found = error.faults
    assert isinstance(found, Topology) or all(line >= 1 for line, _, _ in found)
    assert found
