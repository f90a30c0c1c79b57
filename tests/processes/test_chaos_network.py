"""The hosts of tools/chaos really lose each other, in the direction that was cut, until healed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))
from tools.chaos.network import CLIENTS_ADDRESS, Net, isolate

HOSTS = ("host1", "host2", "host3")
LISTEN = f"""
import socket
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.bind(("0.0.0.0", 5999))
print("listening", flush=True)
heard = []
while (speaker := ear.recvfrom(1)[1][0]) != "{CLIENTS_ADDRESS}":
    heard.append(speaker)
print(*heard)
"""
SPEAK = """
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (sys.argv[1], 5999))
"""

pytestmark = pytest.mark.needs_root


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with Net(HOSTS) as made:
        yield made


def heard_by(net: Net, listener: str) -> set[str]:
    """Which other hosts `listener` hears. The clients, who are always heard, speak last."""
    python = [sys.executable, "-c"]
    ear = subprocess.Popen(
        [*net.inside(listener), *python, LISTEN], stdout=subprocess.PIPE, text=True
    )
    with ear:
        assert ear.stdout is not None
        assert ear.stdout.readline() == "listening\n"
        speakers = [net.inside(host) for host in HOSTS if host != listener]
        for inside in (*speakers, net.clients):
            subprocess.run([*inside, *python, SPEAK, net.address(listener)], check=True, timeout=30)
        addresses = set(ear.stdout.readline().split())
    return {host for host in HOSTS if net.address(host) in addresses}


def test_a_cut_is_silent_one_way_and_heals(net: Net) -> None:
    assert heard_by(net, "host1") == {"host2", "host3"}
    net.cut([("host1", "host2")])
    assert heard_by(net, "host1") == {"host3"}
    assert heard_by(net, "host2") == {"host1", "host3"}
    net.heal()
    assert heard_by(net, "host1") == {"host2", "host3"}


def test_an_isolated_host_hears_only_clients_and_nothing_of_it_is_heard(net: Net) -> None:
    net.cut(isolate("host3", HOSTS))
    assert heard_by(net, "host3") == set()
    assert heard_by(net, "host1") == {"host2"}
    net.heal()


def test_nothing_is_left_behind_and_the_machines_own_network_has_no_part_in_it() -> None:
    def links() -> str:
        return subprocess.run(
            ["ip", "-o", "link"], capture_output=True, text=True, check=True
        ).stdout

    before = links()
    with Net(HOSTS) as made:
        prefix = made.inside("host1")[-1].removesuffix("host1")
        assert links() == before
        assert prefix in namespaces()
    assert prefix + "host" not in namespaces()


def namespaces() -> str:
    return subprocess.run(
        ["ip", "netns", "list"], capture_output=True, text=True, check=True
    ).stdout
