"""Setting a storage's data aside, so that it joins as a new node and nothing is deleted.

All partitions of a storage share its journal, so a journal that cannot be read whole is the loss of
the node: what it voted and acknowledged is not known any more, and it must not speak under its old
name. Where other voters hold the data, everything that makes the folder the old node moves to
``quarantine/<time>/``; the lock and the reserve stay. The folder is then an empty one.

A crash between any two renames must not leave a folder that starts as the old node with less than
it had. Two things see to that. ``quarantine/<time>.moving`` exists, durably, from before the first
rename until after the last: `open_node` finishes what it finds there before it looks for NODE. And
the order is safe even without it: a folder that still has NODE still has BIRTH, so what is missing
is damage and is not made anew; NODE goes next to last, and BIRTH alone is refused as a strange
folder. Each rename is durable before the next one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from zmqim.store.files import create_folder, disk_errors, sync_folder
from zmqim.store.names import BIRTH_NAME, NODE_NAME, NOT_DATA, QUARANTINE_NAME

MOVING_SUFFIX: Final = ".moving"


def quarantine(folder: Path, moment: str) -> Path:
    """Move the data in `folder` to ``quarantine/<moment>``, durably; returns where it is now.

    The caller holds the folder's lock and has closed the stores. A second call finishes what a
    crash interrupted. Raises `DiskError`.
    """
    finished = finish_quarantine(folder)
    if finished is not None and not _names_of_data(folder):
        return finished
    above = folder / QUARANTINE_NAME
    name, count = moment, 1
    while (above / name).exists():
        count += 1
        name = f"{moment}-{count}"
    create_folder(above / (name + MOVING_SUFFIX))
    finished = finish_quarantine(folder)
    assert finished is not None
    return finished


def set_store_aside(path: Path) -> Path:
    """Give one store another name, durably, beside the others; returns it.

    For the rows alone: they can be made again from the log and the other voters, so the node stays
    who it is. The next start makes an empty store.
    """
    with disk_errors(path):
        count = 1
        while (aside := path.with_name(f"{path.name}.aside{count}")).exists():
            count += 1
        path.rename(aside)
        sync_folder(path.parent)
    return aside


def holds_quarantine(folder: Path) -> bool:
    """Was data of this folder ever set aside, and is it still there?"""
    return (folder / QUARANTINE_NAME).is_dir()


def finish_quarantine(folder: Path) -> Path | None:
    """Move what a quarantine that was begun has not moved yet; None if none was begun."""
    finished = None
    for moving in sorted((folder / QUARANTINE_NAME).glob("*" + MOVING_SUFFIX)):
        with disk_errors(moving):
            for name in _names_of_data(folder):
                (folder / name).rename(moving / name)
                sync_folder(moving)
                sync_folder(folder)
            finished = moving.with_name(moving.name.removesuffix(MOVING_SUFFIX))
            moving.rename(finished)
            sync_folder(finished.parent)
    return finished


def _names_of_data(folder: Path) -> list[str]:
    """What is to be moved, NODE and then BIRTH last."""
    last = (NODE_NAME, BIRTH_NAME)
    with disk_errors(folder):
        found = {entry.name for entry in folder.iterdir()} - NOT_DATA
    return [*sorted(found.difference(last)), *[name for name in last if name in found]]
