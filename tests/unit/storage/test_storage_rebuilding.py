"""Rows that cannot be opened are set aside alone: the node keeps its log and its votes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from storage_world import STORAGE, record_of, ring, uuid_of

from zmqim.errors import DamagedData
from zmqim.storage.stores import create_stores, open_stores
from zmqim.store.names import ROWS_NAME
from zmqim.store.quarantine import set_store_aside
from zmqim.topology import parse
from zmqim.topology_values import Topology


@pytest.fixture
def topology() -> Topology:
    text = 'cluster = "c"\npartitions = 4\n'
    listeners = 'listeners = ["wkproto://127.0.0.1:5100"]\n'
    for role, more in (("storage", ""), ("router", ""), ("gateway", listeners)):
        text += f'[[{role}]]\nname = "{role}-1"\n{more}'
    topology = parse(text, "t.toml")
    return replace(topology, limits=replace(topology.limits, reserve_file_bytes=4_096))


@pytest.fixture
def folder(tmp_path: Path, topology: Topology) -> Path:
    create_stores(tmp_path, uuid_of(STORAGE), topology, record_of(ring()))
    stores = open_stores(tmp_path, topology)
    stores.write_rows([(b"key", b"body")])
    stores.close()
    return tmp_path


def test_rows_that_were_set_aside_begin_empty_and_the_old_ones_are_kept(
    folder: Path, topology: Topology
) -> None:
    aside = set_store_aside(folder / ROWS_NAME)
    assert aside.name == "state.aside1"
    assert any(aside.iterdir())
    stores = open_stores(folder, topology, may_rebuild=True)
    assert stores.rows.scan(b"", b"\xff") == []
    assert sorted(stores.journal.load()) == [0, 1, 2, 3, 4]
    stores.close()
    assert set_store_aside(folder / ROWS_NAME).name == "state.aside2"


def test_rows_that_nobody_else_has_are_not_made_anew(folder: Path, topology: Topology) -> None:
    set_store_aside(folder / ROWS_NAME)
    with pytest.raises(DamagedData):
        open_stores(folder, topology)


def test_rows_that_are_there_are_opened_as_they_are(folder: Path, topology: Topology) -> None:
    stores = open_stores(folder, topology, may_rebuild=True)
    assert stores.rows.get(b"key") == b"body"
    stores.close()
