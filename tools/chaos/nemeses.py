"""The nemeses: each makes one trouble, ends it, and says in a few words what it was.

A nemesis never leaves anything behind: what it stopped goes on, what it cut is joined, what it
filled is free again. Whether the cluster stands again afterwards is asked by the one who called it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tools.chaos.disks import damage_files, lose_disk
from tools.chaos.network import Link, both_ways, bridge, isolate
from tools.chaos.rig import RECOVERY_SECONDS_MAX, Rig
from zmqim.errors import EXIT_ALREADY_RUNNING

PAUSE_SECONDS_MIN = 0.1
CUT_SECONDS_MIN = 1.0
CLOCK_JUMPS = ("+3600", "-3600", "+30", "-30", "+7200", "+2")
"""Seconds away from the other hosts."""


@dataclass(frozen=True)
class Nemesis:
    """One kind of trouble; `needs` is what must be there for it: net, disk, clock or voters."""

    group: str
    act: Callable[[Rig], str]
    needs: str = ""
    weight: int = 2


# ---- kills ---------------------------------------------------------------------------------------


def kill_one(rig: Rig) -> str:
    """kill -9 of one process of any role."""
    return _kill(rig, rig.random.choice(rig.cluster.names))


def kill_leader(rig: Rig) -> str:
    """kill -9 of the storage that leads a partition drawn by chance."""
    leaders = rig.cluster.leaders()
    return _kill(rig, leaders[rig.random.choice(sorted(leaders))])


def kill_loop(rig: Rig) -> str:
    """The leader again and again, sooner than it can settle."""
    words = []
    for _ in range(rig.random.randint(3, 5)):
        words.append(kill_leader(rig))
        rig.wait(0.3, 2.5)
    return ", ".join(words)


def kill_role(rig: Rig) -> str:
    """All routers, all gateways or all storages at once."""
    role = rig.random.choice(["router", "gateway", "storage"])
    names = rig.cluster.named(role)
    if role == "storage":
        rig.strike("kill all", names)
    for name in names:
        rig.cluster.signal(name, signal.SIGKILL)
    return f"every {role}"


def kill_all(rig: Rig) -> str:
    """Everything at once, supervisors too; then every host is started again."""
    cluster = rig.cluster
    count = sum(len(cluster.pids(host)) + 1 for host in cluster.hosts)
    cluster.kill()
    rig.wait(0.0, 1.0)
    cluster.up()
    return f"{count} processes"


def _kill(rig: Rig, name: str) -> str:
    cluster = rig.cluster
    cluster.wait(lambda: cluster.pid(name), RECOVERY_SECONDS_MAX, f"{name} runs again")
    if name.startswith("storage"):
        rig.strike("kill", [name])
    cluster.signal(name, signal.SIGKILL)
    return name


# ---- pauses --------------------------------------------------------------------------------------


def pause(rig: Rig) -> str:
    """SIGSTOP of one process, for a moment or for half a minute."""
    return _pause(rig, rig.random.choice(rig.cluster.names))


def pause_leader(rig: Rig) -> str:
    """SIGSTOP of a storage that leads."""
    leaders = rig.cluster.leaders()
    return _pause(rig, leaders[rig.random.choice(sorted(leaders))])


def _pause(rig: Rig, name: str) -> str:
    most = max(PAUSE_SECONDS_MIN, min(rig.longest, rig.left))
    seconds = PAUSE_SECONDS_MIN * (most / PAUSE_SECONDS_MIN) ** rig.random.random()
    if name.startswith("storage"):
        rig.strike("pause", [name])
    pid = rig.cluster.pid(name)
    with rig.deafness(name):
        rig.cluster.signal(name, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            with suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, signal.SIGCONT)
    return f"{name} for {seconds:.1f} s"


# ---- cuts ----------------------------------------------------------------------------------------


def cut_one_way(rig: Rig) -> str:
    """One host does not hear another, which still hears it."""
    deaf, speaker = rig.random.sample(_hosts(rig), 2)
    return _cut(rig, [(deaf, speaker)], f"{deaf} does not hear {speaker}")


def cut_both_ways(rig: Rig) -> str:
    """Two hosts lose each other; both see the third."""
    one, other = rig.random.sample(_hosts(rig), 2)
    return _cut(rig, both_ways([one], [other]), f"{one} and {other}")


def cut_isolate(rig: Rig) -> str:
    """One host loses all others."""
    host = rig.random.choice(_hosts(rig))
    return _cut(rig, isolate(host, _hosts(rig)), f"{host} alone")


def cut_isolate_leader(rig: Rig) -> str:
    """The host whose storage leads a partition drawn by chance loses all others."""
    leaders = rig.cluster.leaders()
    name = leaders[rig.random.choice(sorted(leaders))]
    host = rig.cluster.host_of(name).name
    return _cut(rig, isolate(host, _hosts(rig)), f"{host} alone, with {name}", [name], host)


def cut_halves(rig: Rig) -> str:
    """Two parts that do not hear each other."""
    hosts = _hosts(rig)
    rig.random.shuffle(hosts)
    middle = len(hosts) // 2
    words = f"{'+'.join(hosts[:middle])} | {'+'.join(hosts[middle:])}"
    return _cut(rig, both_ways(hosts[:middle], hosts[middle:]), words)


def cut_bridge(rig: Rig) -> str:
    """All see one host, and not each other."""
    middle = rig.random.choice(_hosts(rig))
    return _cut(rig, bridge(middle, _hosts(rig)), f"only through {middle}")


def cut_flapping(rig: Rig) -> str:
    """One host comes and goes."""
    host = rig.random.choice(_hosts(rig))
    links = isolate(host, _hosts(rig))
    net = rig.cluster.net
    assert net is not None
    times = rig.random.randint(3, 8)
    try:
        for _ in range(times):
            net.cut(links)
            rig.wait(0.1, 1.5)
            net.heal()
            rig.wait(0.1, 1.0)
    finally:
        net.heal()
    return f"{host}, {times} times"


def cut_and_kill(rig: Rig) -> str:
    """A storage is killed while another host is cut off: a majority is away for a while."""
    host = rig.random.choice(_hosts(rig))
    net = rig.cluster.net
    assert net is not None
    net.cut(isolate(host, _hosts(rig)))
    try:
        rig.wait(0.5, 3.0)
        killed = rig.random.choice(rig.cluster.named("storage"))
        rig.cluster.signal(killed, signal.SIGKILL)
        rig.wait(0.5, 4.0)
    finally:
        net.heal()
    return f"{host} alone, {killed} killed"


def _hosts(rig: Rig) -> list[str]:
    return [host.name for host in rig.cluster.hosts]


def _cut(
    rig: Rig, links: list[Link], words: str, struck: Sequence[str] = (), alone: str = ""
) -> str:
    net = rig.cluster.net
    assert net is not None
    if struck:
        rig.strike("cut", list(struck), rig.cluster.gateways_on(alone))
    most = max(CUT_SECONDS_MIN, min(rig.longest, rig.left))
    seconds = rig.random.uniform(CUT_SECONDS_MIN, most)
    net.cut(links)
    try:
        time.sleep(seconds)
    finally:
        net.heal()
    return f"{words}, {seconds:.1f} s"


# ---- disk, clock, second start -------------------------------------------------------------------


def full_disk(rig: Rig) -> str:
    """The small disk is filled to the last byte, and freed again."""
    name = rig.cluster.small_disk
    ballast = rig.cluster.folder_of(name) / "ballast"
    try:
        _fill(ballast)
        rig.wait(2.0, 8.0)
    finally:
        ballast.unlink(missing_ok=True)
    return name


def _fill(path: Path) -> None:
    """Take what is free, and once more what was freed meanwhile."""
    with path.open("wb") as file:
        for _ in range(2):
            free = os.statvfs(path.parent)
            size = file.seek(0, os.SEEK_END) + free.f_bavail * free.f_frsize
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, size)


def clock_jump(rig: Rig) -> str:
    """The wall clock of one host is another one for a while."""
    jump = rig.random.choice(CLOCK_JUMPS)
    clock = rig.cluster.clock
    try:
        clock.write_text(jump)
        rig.wait(2.0, 8.0)
    finally:
        clock.write_text("+0")
    return f"{jump} s"


def second_start(rig: Rig) -> str:
    """`zmqim up` on a data folder that is in use must be refused."""
    host = rig.random.choice(rig.cluster.hosts)
    code = rig.cluster.second_start(host)
    if code != EXIT_ALREADY_RUNNING:
        rig.findings.append(f"a second `zmqim up` on {host.name}'s data ended with {code}")
    return f"{host.name}: exit code {code}"


NEMESES: dict[str, Nemesis] = {
    "kill": Nemesis("kills", kill_one, weight=4),
    "kill-leader": Nemesis("kills", kill_leader, weight=4),
    "kill-loop": Nemesis("kills", kill_loop),
    "kill-role": Nemesis("kills", kill_role),
    "kill-all": Nemesis("kills", kill_all, weight=1),
    "pause": Nemesis("pauses", pause),
    "pause-leader": Nemesis("pauses", pause_leader),
    "cut-one-way": Nemesis("cuts", cut_one_way, "net"),
    "cut-both-ways": Nemesis("cuts", cut_both_ways, "net"),
    "cut-isolate": Nemesis("cuts", cut_isolate, "net"),
    "cut-isolate-leader": Nemesis("cuts", cut_isolate_leader, "net"),
    "cut-halves": Nemesis("cuts", cut_halves, "net"),
    "cut-bridge": Nemesis("cuts", cut_bridge, "net"),
    "cut-flapping": Nemesis("cuts", cut_flapping, "net"),
    "cut-and-kill": Nemesis("cuts", cut_and_kill, "net"),
    "full-disk": Nemesis("full-disk", full_disk, "disk"),
    "clock-jump": Nemesis("clock", clock_jump, "clock"),
    "second-start": Nemesis("second-start", second_start, weight=1),
    "damage": Nemesis("damage", damage_files),
    "lose-disk": Nemesis("lose-disk", lose_disk, "voters"),
}
