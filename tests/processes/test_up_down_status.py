"""`zmqim up`, `down` and `status` over a real cluster, as an operator sees them."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from running_cluster import RunningCluster, topology_text, wait_for, zmqim

from zmqim.ring.guarantee import guarantee
from zmqim.topology import load

ClusterMaker = Callable[..., RunningCluster]


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def test_up_prints_addresses_guarantee_key_and_what_to_try(cluster: RunningCluster) -> None:
    shown = cluster.output()
    for listener in load(cluster.topology).gateways[0].listeners:
        assert listener.url in shown
    assert guarantee(load(cluster.topology)) in shown
    assert str(cluster.data / "secrets" / "api_key") in shown
    assert f"chat --as alice --with bob --data {cluster.data}" in shown
    assert cluster.api_key not in shown


@pytest.mark.promise("P10")
def test_secrets_messages_and_run_are_for_the_owner_only(cluster: RunningCluster) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(cluster.data / "secrets" / "api_key") == 0o600
    for name in ("secrets", "run", "storage-1", "gateway-1"):
        assert mode(cluster.data / name) == 0o700, name
    assert len(cluster.api_key) >= 32


def test_status_shows_every_process_with_pid_and_state(cluster: RunningCluster) -> None:
    cluster.wait_alive()
    found = cluster.status()
    assert {(row["name"], row["role"], row["host"]) for row in found["processes"]} == {
        ("storage-1", "storage", "localhost"),
        ("router-1", "router", "localhost"),
        ("gateway-1", "gateway", "localhost"),
    }
    for row in found["processes"]:
        assert row["pid"] == cluster.pid(row["name"])
    assert found["problems"] == []
    table = zmqim("status", "--data", str(cluster.data)).stdout
    assert all(name in table for name in ("storage-1", "router-1", "gateway-1", "alive"))


def test_every_process_sees_the_others_by_gossip(cluster: RunningCluster) -> None:
    cluster.wait_alive()
    details = cluster.status()["details"]
    for viewer, answer in details.items():
        seen = {member["name"]: member["state"] for member in answer["members"]}
        assert {name: seen[name] for name in details if name != viewer} == {
            name: "alive" for name in details if name != viewer
        }


def test_a_second_up_on_the_same_data_is_refused_in_a_sentence(cluster: RunningCluster) -> None:
    other = cluster.folder / "other.toml"
    other.write_text(topology_text())
    done = zmqim("up", str(other), "--data", str(cluster.data))
    assert done.returncode == 4
    assert "already runs on" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_port_in_use_is_told_before_anything_starts(
    cluster: RunningCluster, tmp_path: Path
) -> None:
    done = zmqim("up", str(cluster.topology), "--data", str(tmp_path / "second"))
    assert done.returncode == 5
    listeners = load(cluster.topology).gateways[0].listeners
    for listener in listeners:
        assert f"127.0.0.1:{listener.port} (gateway-1, {listener.scheme})" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "second" / "gateway-1").exists()


@pytest.mark.parametrize("command", ["status", "down", "status --json"])
def test_without_a_cluster_there_is_a_sentence_and_code_3(tmp_path: Path, command: str) -> None:
    done = zmqim(*command.split(), "--data", str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.startswith("zmqim: No cluster runs on")


def test_a_wrong_path_is_a_sentence_and_code_2(tmp_path: Path) -> None:
    done = zmqim("up", str(tmp_path / "nowhere.toml"))
    assert done.returncode == 2
    assert "There is no topology file" in done.stderr
    (tmp_path / "file").write_text("")
    (tmp_path / "topology.toml").write_text(topology_text())
    done = zmqim("up", str(tmp_path / "topology.toml"), "--data", str(tmp_path / "file" / "data"))
    assert done.returncode == 2
    assert "cannot be used" in done.stderr


def test_a_faulty_topology_is_told_with_lines_and_code_2(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("partitions = 3\n" + topology_text().replace("[[router]]", "[[ruter]]"))
    for command in ("up", "check"):
        done = zmqim(command, str(path))
        assert done.returncode == 2
        assert "line 1: partitions: 3 is not a power of two" in done.stderr
        assert "did you mean 'router'?" in done.stderr


def test_a_host_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(topology_text())
    done = zmqim("up", str(path), "--host", "localhos", "--data", str(tmp_path / "d"))
    assert done.returncode == 2
    assert "did you mean 'localhost'" in done.stderr


def test_what_lies_in_the_current_folder_is_not_imported(
    new_cluster: ClusterMaker, tmp_path: Path
) -> None:
    for name in ("uvloop.py", "zmq.py", "structlog.py"):
        (tmp_path / name).write_text("raise SystemExit('shadowed')\n")
    (tmp_path / "zmqim" / "node").mkdir(parents=True)
    (tmp_path / "zmqim" / "__init__.py").write_text("raise SystemExit('shadowed')\n")
    running = new_cluster().up(cwd=tmp_path)
    done = zmqim(
        "bench", "--connections", "2", "--seconds", "1", "--warmup", "0", "--json",
        "--data", str(running.data), cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("shadowed")) == (0, 0), done.stderr


@pytest.mark.promise("P6")
@pytest.mark.parametrize("name", ["storage-1", "router-1", "gateway-1"])
def test_a_killed_process_is_started_again_and_it_serves(
    cluster: RunningCluster, name: str
) -> None:
    cluster.wait_alive()
    http = cluster.http
    old = cluster.kill(name)
    wait_for(lambda: cluster.pid(name) not in (0, old), 10, f"{name} is started again")
    cluster.wait_alive()
    wait_for(lambda: ready(http), 20, "the gateway is ready")


def test_ctrl_c_stops_in_order_and_the_next_up_finds_the_same_key(
    new_cluster: ClusterMaker,
) -> None:
    running = new_cluster().up()
    key, topology = running.api_key, running.topology
    assert running.signal(signal.SIGINT) == 0
    shown = running.output()
    places = [shown.index(f"{name} stopped") for name in ("gateway-1", "router-1", "storage-1")]
    assert places == sorted(places)
    assert not list((running.data / "run").glob("*.pid"))
    assert not (running.data / "run" / "cluster.json").exists()
    running.up()
    assert (running.api_key, running.topology) == (key, topology)
    running.down()
    assert "Stopped." in running.output()


def test_when_the_supervisor_is_killed_everybody_ends_and_up_works_again(
    new_cluster: ClusterMaker,
) -> None:
    running = new_cluster().up()
    running.signal(signal.SIGKILL)
    running.up()
    for name in ("gateway-1", "router-1", "storage-1"):
        stopped = [one for one in running.log(name) if one["event"] == "stopped"]
        assert len(stopped) == 1, f"{name} drained and ended by itself"
    running.wait_alive()


def test_one_process_is_restarted_alone(cluster: RunningCluster) -> None:
    before = {row["name"]: row["pid"] for row in cluster.status()["processes"]}
    done = zmqim("restart", "storage-1", "--data", str(cluster.data))
    assert (done.returncode, done.stdout) == (0, "storage-1 serves again.\n"), done.stderr
    cluster.wait_alive()
    after = {row["name"]: row["pid"] for row in cluster.status()["processes"]}
    assert {name for name in after if after[name] != before[name]} == {"storage-1"}
    wrong = zmqim("restart", "storage-9", "--data", str(cluster.data))
    assert wrong.returncode == 2
    assert "No process 'storage-9' runs on this host (did you mean 'storage-1'?)" in wrong.stderr
    assert zmqim("restart", "storage-1", "--wait", "soon").returncode == 2


def test_a_storage_that_cannot_start_is_failed_and_the_others_go_on(
    new_cluster: ClusterMaker,
) -> None:
    running = new_cluster(topology_text(storages=2)).up()
    running.wait_alive()
    running.down()
    (running.data / "storage-2" / "NODE").write_text("this is no identity\n")
    running.up(wait=False)
    wait_for(lambda: running.output().count("Serving") == 2, 40, running.output)
    wait_for(lambda: "serves without it" in running.output(), 5, running.output)
    assert running.output().count("has a wrong checksum") == 1
    assert "storage-2 ended with exit code 6; it is not started again" in running.output()
    wait_for(lambda: running.states()["storage-1"] == "alive", 20, "storage-1 goes on")
    found = running.status()
    assert running.states()["storage-2"] == "failed"
    assert any(
        "storage-2 failed" in problem and "has a wrong checksum" in problem
        for problem in found["problems"]
    )
    assert "Traceback" not in running.output()


def test_up_that_can_never_serve_ends_in_order_with_the_code_of_what_failed(
    new_cluster: ClusterMaker,
) -> None:
    running = new_cluster()
    (running.data / "storage-1").mkdir(parents=True)
    (running.data / "storage-1" / "NODE").write_text("this is no identity\n")
    running.up(wait=False)
    assert running.process is not None
    assert running.process.wait(40) == 6
    running.process = None
    assert running.output().count("has a wrong checksum") == 1
    assert "gateway-1 stopped" in running.output()
    assert "Traceback" not in running.output()


def test_a_stopped_process_is_suspected_and_comes_back(new_cluster: ClusterMaker) -> None:
    running = new_cluster().up()
    running.wait_alive()
    pid = running.pid("router-1")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: running.states()["router-1"] in ("suspect", "down"), 20, "suspected")
        assert any("router-1" in problem for problem in running.status()["problems"])
    finally:
        os.kill(pid, signal.SIGCONT)
    running.wait_alive()


def test_two_hosts_start_their_parts_of_one_cluster_and_see_each_other(
    new_cluster: ClusterMaker, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("k" * 40)
    text = f'api_key_file = "{tmp_path / "key"}"\n' + topology_text(gateways=2)
    for host in ("left", "right"):
        text += f'[[host]]\nname = "{host}"\naddress = "127.0.0.1"\n'
    for name in ("gateway-1", "router-1"):
        text = text.replace(f'"{name}"\n', f'"{name}"\nhost = "left"\n')
    for name in ("gateway-2", "storage-1"):
        text = text.replace(f'"{name}"\n', f'"{name}"\nhost = "right"\n')
    left, right = new_cluster(text, "left"), new_cluster(text, "right")
    right.up(wait=False)
    left.up()
    for running in (left, right):
        running.wait_alive()
    rows = {row["name"]: row for row in left.status()["processes"]}
    assert rows["storage-1"]["pid"] is None
    assert (rows["storage-1"]["host"], rows["router-1"]["host"]) == ("right", "left")
    assert [gateway["name"] for gateway in left.gateways] == ["gateway-1"]
    assert not (left.data / "secrets" / "api_key").exists()
    refused = zmqim("up", str(left.topology), "--data", str(tmp_path / "third"))
    assert refused.returncode == 2
    assert "several hosts: left, right" in refused.stderr


@pytest.mark.promise("P10")
def test_a_key_of_the_environment_must_be_long_and_clients_are_told_when_it_is_missing(
    new_cluster: ClusterMaker,
) -> None:
    running = new_cluster()
    for command in (("up", "--data", str(running.data)), ("check",)):
        done = zmqim(*command, str(running.topology), api_key="k" * 15)
        assert done.returncode == 2
        assert "ZMQIM_API_KEY has 15 characters" in done.stderr
    running.api_key_given = "k" * 16
    running.up()
    send = ("send", "--as", "alice", "--to", "bob", "--data", str(running.data), "hello")
    assert zmqim(*send, api_key="k" * 16).returncode == 0
    for words in (send, ("bench", "--data", str(running.data))):
        done = zmqim(*words)
        assert done.returncode == 2
        assert "was started with ZMQIM_API_KEY, which is not set here" in done.stderr
        assert "Traceback" not in done.stderr
    assert zmqim("status", "--data", str(running.data)).returncode == 0


@pytest.mark.promise("P10")
def test_the_key_is_in_no_log_and_no_command_line(cluster: RunningCluster) -> None:
    key = cluster.api_key.encode()
    for path in (cluster.data / "logs").iterdir():
        assert key not in path.read_bytes(), path
    for name in ("gateway-1", "router-1", "storage-1"):
        assert key not in Path(f"/proc/{cluster.pid(name)}/cmdline").read_bytes()


def test_logs_are_json_lines_with_the_process_name(cluster: RunningCluster) -> None:
    for name in ("supervisor", "gateway-1", "router-1", "storage-1"):
        records = cluster.log(name)
        assert records
        assert all({"event", "time", "level"} <= set(record) for record in records)
        assert {record["process"] for record in records} == {name}


def test_keys_show_prints_only_the_key_and_new_makes_another(
    cluster: RunningCluster, tmp_path: Path
) -> None:
    shown = zmqim("keys", "show", "--data", str(cluster.data))
    assert shown.stdout.strip() == cluster.api_key
    assert zmqim("keys", "show", "--data", str(tmp_path)).returncode == 2
    refused = zmqim("keys", "new", "--data", str(tmp_path / "typo"))
    assert refused.returncode == 3
    assert "is not the data folder of a cluster" in refused.stderr
    assert not (tmp_path / "typo").exists()
    (tmp_path / "secrets").mkdir()
    made = zmqim("keys", "new", "--data", str(tmp_path))
    assert made.returncode == 0
    first = (tmp_path / "secrets" / "api_key").read_text()
    assert zmqim("keys", "new", "--data", str(tmp_path)).returncode == 0
    assert (tmp_path / "secrets" / "api_key").read_text() != first


def test_help_and_unknown_words_are_answered_without_a_traceback() -> None:
    assert "Exit codes" in zmqim("--help").stdout
    assert zmqim("--version").stdout.startswith("zmqim 0.")
    for words in (("upp",), ("up", "--bogus"), (), ("keys",), ("status", "extra")):
        done = zmqim(*words)
        assert done.returncode == 2, words
        assert "Traceback" not in done.stderr
    for command in ("up", "down", "status", "keys", "check"):
        assert f"zmqim {command}" in zmqim(command, "--help").stdout


def test_an_ipv4_port_taken_by_somebody_else_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        text = topology_text()
        mine = load_port(text)
        (tmp_path / "t.toml").write_text(text.replace(f":{mine}", f":{port}"))
        done = zmqim("up", str(tmp_path / "t.toml"), "--data", str(tmp_path / "d"))
    assert done.returncode == 5
    assert f"127.0.0.1:{port} (gateway-1, wkproto): the port is in use" in done.stderr


def load_port(text: str) -> int:
    return int(text.split("wkproto://127.0.0.1:")[1].split('"')[0])


def test_status_works_from_another_folder_by_data_option(
    cluster: RunningCluster, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zmqim.cli", "status", "--json", "--data", str(cluster.data)],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["cluster"] == "test"
