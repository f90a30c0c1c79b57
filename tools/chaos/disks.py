"""Storages that lose their disk, or files of it.

What must happen depends on how many voters a partition has. With three, nothing acknowledged is
lost and the storage is fully replicated again without a hand. With one, damage that is noticed is
refused with exit code 6, 2 or 8 and the harness puts the bytes back; an emptied folder would be the
loss of its partitions, so that nemesis is left out.
"""

from __future__ import annotations

import shutil
import signal

from tools.chaos.cluster import Cluster, NotInTime
from tools.chaos.damage import Damage, damage
from tools.chaos.rig import RECOVERY_SECONDS_MAX, REPLICATION_SECONDS_MAX, Rig

MAJORITY_NEEDS = 3
"""Voters with which one can be lost."""


INTERRUPTED = 0.5
"""Of the rebuilds, so many see another process killed."""


def damage_files(rig: Rig) -> str:
    """A storage is killed, a file of it damaged, and it is started again."""
    cluster = rig.cluster
    name = rig.random.choice([one for one in cluster.named("storage") if one != cluster.small_disk])
    before = cluster.pid(name)
    with cluster.stopped(name) as folder:
        done = damage(folder, rig.random)
    if done is None:
        return f"{name} has no such file"
    state = settled(rig, name, before)
    rig.count(f"damage: {done.file} {done.way}: {'served' if state == 'alive' else 'refused'}")
    if rig.voters >= MAJORITY_NEEDS:
        _rebuild(rig, name, state)
    else:
        _put_back(rig, name, state, done)
    done.forget()
    return f"{name}: {done.detail}, then {state}"


def lose_disk(rig: Rig) -> str:
    """A storage is killed and its folder emptied: it comes back as a new node under its name."""
    cluster = rig.cluster
    name = rig.random.choice(cluster.named("storage"))
    before = cluster.pid(name)
    with cluster.stopped(name):
        empty(cluster, name)
    state = settled(rig, name, before)
    rig.count(f"lost disk: {state}")
    if rig.random.random() < INTERRUPTED:
        rig.wait(0.2, 3.0)
        other = rig.random.choice([one for one in cluster.names if one != name])
        cluster.signal(other, signal.SIGKILL)
        state += f", {other} killed meanwhile"
    _replicated(rig, f"{name} lost its disk")
    return f"{name}, then {state}"


def empty(cluster: Cluster, name: str) -> None:
    """Remove everything in a storage's folder; the folder stays, it may be a mount."""
    for path in cluster.folder_of(name).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def settled(rig: Rig, name: str, before: int) -> str:
    """alive or failed: what a storage that had the pid `before` came to in its next life; else its
    state when time was up."""
    cluster = rig.cluster
    state = ""

    def known() -> bool:
        nonlocal state
        state = cluster.states().get(name, "")
        return state == "failed" or (state == "alive" and cluster.pid(name) not in (0, before))

    try:
        cluster.wait(known, RECOVERY_SECONDS_MAX, f"{name} serves or refuses")
    except NotInTime as error:
        rig.findings.append(f"{error}, it is {state!r}")
    return state


def _rebuild(rig: Rig, name: str, state: str) -> None:
    """From the other voters. A storage that refuses is emptied, as its operator would."""
    cluster = rig.cluster
    if state == "failed":
        with rig.restart(name):
            empty(cluster, name)
    _replicated(rig, f"{name} had a damaged file")


def _replicated(rig: Rig, why: str) -> None:
    try:
        rig.cluster.wait(
            rig.cluster.is_whole, REPLICATION_SECONDS_MAX, f"fully replicated again ({why})"
        )
    except NotInTime as error:
        rig.findings.append(str(error))


def _put_back(rig: Rig, name: str, state: str, done: Damage) -> None:
    """The bytes of before, unless they were replaced meanwhile; then the storage starts with them.

    One that serves is given a moment to use what is damaged: what it reads it must refuse.
    """
    cluster = rig.cluster
    if state == "failed":
        with rig.restart(name):
            done.put_back()
        return
    rig.wait(1.0, 2.0)
    with cluster.stopped(name):
        done.put_back()
