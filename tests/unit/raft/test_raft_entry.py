"""Entries, their chain, hard states and replica metas as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqim.errors import WireError
from zmqim.raft.core import HardState
from zmqim.raft.entry import Entry, EntryKind, chain_of, decode_entry, encode_entry, follows
from zmqim.raft.replica import ReplicaMeta, ReplicaStatus

u64 = st.integers(0, 2**64 - 1)
entries = st.builds(Entry, u64, u64, u64, st.sampled_from(EntryKind), st.binary(max_size=99), u64)


@given(entries)
def test_an_entry_comes_back_from_its_bytes(entry: Entry) -> None:
    again = decode_entry(encode_entry(entry))
    assert (again, hash(again)) == (entry, hash(entry))


@given(st.binary(max_size=60) | st.binary(min_size=33, max_size=33))
def test_bytes_that_are_no_entry_are_a_wire_error_or_an_entry(body: bytes) -> None:
    try:
        entry = decode_entry(body)
    except WireError:
        return
    assert encode_entry(entry) == body


@pytest.mark.promise("P8")
@given(entries, u64, st.data())
def test_any_changed_byte_breaks_the_chain(entry: Entry, before: int, data: st.DataObject) -> None:
    content = encode_entry(entry)[8:]
    body = bytearray(chain_of(before, content).to_bytes(8, "big") + content)
    assert follows(bytes(body), before)
    assert not follows(bytes(body), before ^ 1)
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    assert not follows(bytes(body), before)


@given(u64, u64)
def test_a_hard_state_comes_back_from_its_bytes(term: int, voted_for: int) -> None:
    state = HardState(term, voted_for)
    assert HardState.decode(state.encode()) == state
    with pytest.raises(WireError):
        HardState.decode(state.encode() + b"x")


def test_a_replica_meta_comes_back_from_its_bytes() -> None:
    meta = ReplicaMeta(b"g" * 16, 1, 1, 1, ReplicaStatus.VOTER)
    assert ReplicaMeta.decode(meta.encode()) == meta
    with pytest.raises(WireError):
        ReplicaMeta.decode(b"\x91\x01")
