"""A whole run: start, let clients write, make trouble, heal, read everything, judge."""

from __future__ import annotations

import gc
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct

from tools.chaos.clients import Clients
from tools.chaos.cluster import (
    HOSTS,
    SMALL_BUFFERS_BYTES,
    Cluster,
    NotInTime,
    clock_can_be_set,
    disk_can_be_small,
)
from tools.chaos.disks import MAJORITY_NEEDS
from tools.chaos.nemeses import NEMESES
from tools.chaos.network import Net
from tools.chaos.plan import GatewayAddress, partition_of_channel, plan_of
from tools.chaos.replicas import Replica, lags, read_storage
from tools.chaos.report import report_of
from tools.chaos.rig import Rig, Trouble, now_us
from tools.chaos.stalls import stalls_of
from tools.chaos.verdict import Verdict, deafen, judge, refused_for_good
from zmqim.errors import ZmqimError
from zmqim.sim.history import History

CALM_SECONDS_MIN = 0.5
"""Between troubles."""
IMPATIENT = 0.25
"""Of the troubles, so many are followed by the next before everybody is alive again."""
PATIENT = ("damage", "lose-disk", "kill-all")
"""But not these, and none of them begins while somebody is away."""
SMALL_DISK_BYTES = 1 << 30
BYTES_PER_MESSAGE = 3_000
"""Of disk, roughly, for sizing the small one."""


class Options(Struct, frozen=True):
    """What the command line says."""

    seed: int
    seconds: float = 60.0
    rate: float = 200.0
    payload: int = 64
    nemeses: tuple[str, ...] = ("all",)
    netns: bool = False
    replicas: int = 3
    buffers: int = SMALL_BUFFERS_BYTES
    longest: float = 30.0
    """No pause or cut lasts more seconds."""
    calm: float = 3.0
    """At most so many seconds between troubles."""
    each: bool = False
    """Each chosen nemesis in turn, shuffled, rather than drawn by weight."""
    count: int = 0
    """End after so many troubles, whatever the time; 0: by time."""
    keep: bool = False


class Outcome(Struct):
    """What a run came to."""

    report: dict[str, Any]
    verdict: Verdict
    history: History
    replicas: list[Replica]


def run(options: Options, say: Callable[[str], None]) -> Outcome:
    """One run in a folder of its own, which stays when something is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="zmqim-chaos-"))
    is_clean = False
    try:
        outcome = _run(options, folder, say)
        is_clean = not outcome.verdict.counts
    finally:
        if is_clean and not options.keep:
            shutil.rmtree(folder)
        else:
            say(f"data, logs and history stay in {folder}")
    return outcome


def chosen(options: Options, voters: int) -> tuple[list[str], dict[str, str]]:
    """The nemeses to draw from, and those left out with the reason."""
    reasons = {
        "net": "" if options.netns else "needs --netns",
        "clock": _why_no_clock(options),
        "disk": "" if disk_can_be_small() else "needs root (tmpfs)",
        "voters": "" if voters >= MAJORITY_NEEDS else f"a partition has {voters} voter",
        "": "",
    }
    wanted = [
        name for name, one in NEMESES.items() if {"all", name, one.group} & set(options.nemeses)
    ]
    left_out = {name: why for name in wanted if (why := reasons[NEMESES[name].needs])}
    return [name for name in wanted if name not in left_out], left_out


def _why_no_clock(options: Options) -> str:
    if not options.netns:
        return "needs --netns: one host's clock only"
    return "" if clock_can_be_set() else "needs libfaketime: apt-get install libfaketime"


def _run(options: Options, folder: Path, say: Callable[[str], None]) -> Outcome:
    random = Random(options.seed)
    with ExitStack() as stack:
        net = stack.enter_context(Net(HOSTS)) if options.netns else None
        wanted, _ = chosen(options, MAJORITY_NEEDS)
        cluster = Cluster(
            folder,
            net,
            replicas=options.replicas,
            buffers=options.buffers,
            small_disk="storage-3" if "full-disk" in wanted else "",
            clock_host=HOSTS[1] if "clock-jump" in wanted else "",
        )
        stack.callback(cluster.close)
        if cluster.small_disk:
            size = int(options.seconds * options.rate * BYTES_PER_MESSAGE)
            cluster.mount_small_disk(max(SMALL_DISK_BYTES, size))
        say(f"seed {options.seed}: starting the cluster in {folder}")
        cluster.up()
        rig = Rig(cluster, random, options.longest, say)
        names, left_out = chosen(options, rig.voters)
        for name, why in left_out.items():
            say(f"left out: {name} ({why})")
        plan = plan_of(
            options.seed, options.rate, options.payload, _gateways(cluster), cluster.api_key,
            cluster.ring.partitions, str(folder / "history.pickle"),
        )  # fmt: skip
        inside = net.clients if net else []
        with Clients(plan, inside) as clients:
            clients.begin()
            rig.ends_at = time.monotonic() + options.seconds
            _make_trouble(rig, names, options, clients)
            say("healed; waiting for what is open, then reading every channel")
            stack.enter_context(_uncollected())
            history, done = clients.end()
        say("stopping the cluster and reading every replica")
        try:
            cluster.down()
        except NotInTime as error:
            rig.findings.append(str(error))
            cluster.kill()
        replicas = _read_replicas(cluster, rig)
        return _judge(options, rig, history, done, replicas, left_out)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No looking for garbage while a million objects are made of which none is any."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _make_trouble(rig: Rig, names: Sequence[str], options: Options, clients: Clients) -> None:
    """One nemesis after the other until the time is over; then everything is healed."""
    turns = _turns(rig.random, names, options.each)
    rig.wait(1.0, 2.0)
    is_away = False
    while names and rig.left > 0 and not 0 < options.count <= len(rig.troubles):
        name = next(turns)
        if is_away and name in PATIENT:
            rig.recover()
        began = now_us()
        try:
            detail = NEMESES[name].act(rig)
        except NotInTime as error:
            detail = "not in time"
            rig.findings.append(f"{name}: {error}")
        ended = recovered = now_us()
        rig.is_troubled = True
        is_away = rig.random.random() < IMPATIENT and name not in PATIENT
        if not is_away:
            rig.recover()
            recovered = now_us()
        rig.troubles.append(Trouble(name, detail, began, ended, recovered))
        counted = clients.counted
        rig.say(
            f"{name}: {detail}; {(recovered - began) / 1e6:.1f} s;"
            f" {counted['acknowledged']:,} of {counted['sent']:,} acknowledged"
        )
        rig.wait(CALM_SECONDS_MIN, options.calm)
    while rig.left > 0 and not options.count:
        rig.wait(1.0, 1.0)
    rig.recover()


def _turns(random: Random, names: Sequence[str], each: bool) -> Iterator[str]:
    weights = [NEMESES[name].weight for name in names]
    while True:
        yield from random.sample(names, len(names)) if each else random.choices(names, weights)


def _gateways(cluster: Cluster) -> tuple[GatewayAddress, ...]:
    found = []
    for gateway in cluster.topology.gateways:
        urls = {one.scheme: one for one in gateway.listeners}
        tcp = urls["wkproto"]
        found.append(GatewayAddress(gateway.name, tcp.host, tcp.port, urls["http"].url))
    return tuple(found)


def _read_replicas(cluster: Cluster, rig: Rig) -> list[Replica]:
    replicas: list[Replica] = []
    for name in cluster.named("storage"):
        try:
            replicas += read_storage(cluster.folder_of(name))
        except ZmqimError as error:
            rig.findings.append(f"{name} cannot be read at the end: {error.what}")
    return replicas


def _judge(
    options: Options,
    rig: Rig,
    history: History,
    done: dict[str, Any],
    replicas: list[Replica],
    left_out: dict[str, str],
) -> Outcome:
    partitions = rig.cluster.ring.partitions
    deafen(history, [*rig.deaf, *_hosts_deaf(rig)], done["slept"])
    full = any(trouble.kind == "full-disk" for trouble in rig.troubles)
    findings = [*rig.findings, *refused_for_good(history, full)]
    verdict = judge(history, replicas, findings)
    report = report_of(options, rig, history, done["counted"], verdict, replicas, left_out)
    report["stalls"] = stalls_of(
        history, lambda key: partition_of_channel(key[0], key[1], partitions), rig.strikes
    )
    report["clients_cpu"] = done["cpu"]
    report["entries_behind"] = lags(replicas)
    return Outcome(report, verdict, history, replicas)


def _hosts_deaf(rig: Rig) -> list[tuple[str, int, int]]:
    """A clock that jumps, or a disk that is full, stops no gateway; everything at once does."""
    return [
        ("*", trouble.began, trouble.recovered)
        for trouble in rig.troubles
        if trouble.kind == "kill-all"
    ]
