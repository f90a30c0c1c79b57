"""Faults that a reviewer could overlook are put into the cores: seeds must find each.

The faults live here and in mutants.py, in subclasses; the product has no switch for them.
"""

from __future__ import annotations

import chosen
import msgspec
import pytest
from msgspec.structs import replace
from mutants import MUTANTS, Directed, Mutant
from reading_mutants import READING_MUTANTS

from zmqim.bus.effects import Send
from zmqim.bus.messages import Message, NoticeBatches, NoticeItem, Notices, PresenceDigest
from zmqim.chat.encoding import encode
from zmqim.chat.notices import MembersNotice, MessageNotice, Notice
from zmqim.gateway.core import GatewayCore
from zmqim.gateway.effects import Effect as GatewayEffect
from zmqim.ids import Milliseconds, NodeName
from zmqim.router.core import RouterCore
from zmqim.sim.nodes import Cores
from zmqim.sim.run import run
from zmqim.storage.core import StorageCore

SEEDS = 100
ALL_MUTANTS = (*MUTANTS, *READING_MUTANTS)


class TellsNoDigests(GatewayCore):
    """Trusts that every announcement of a session arrives."""

    def turn(self, now: Milliseconds) -> list[GatewayEffect]:
        return [
            effect
            for effect in super().turn(now)
            if not (isinstance(effect, Send) and isinstance(effect.message, PresenceDigest))
        ]


class NeverHearsOfRemovals(RouterCore):
    """Reads the members of a channel once and believes them for ever."""

    def receive(self, now: Milliseconds, source: NodeName, message: Message) -> None:
        if isinstance(message, NoticeBatches):
            message = NoticeBatches([_without_removals(batch) for batch in message.items])
        super().receive(now, source, message)


def _without_removals(batch: Notices) -> Notices:
    items = [kept for item in batch.items if (kept := _forgetting(item)) is not None]
    return Notices(batch.partition, batch.term, batch.previous, items)


def _forgetting(item: NoticeItem) -> NoticeItem | None:
    notice: Notice = msgspec.msgpack.decode(item.body, type=Notice)
    if isinstance(notice, MembersNotice):
        return None
    if isinstance(notice, MessageNotice):
        notice = replace(notice, member_version=0)
    return NoticeItem(item.index, encode(notice))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("cores", "numbers"),
    [
        pytest.param(
            Cores(gateway=TellsNoDigests),
            {"I-17"},
            id="presence without digest",
            marks=pytest.mark.long,
        ),
        pytest.param(Cores(router=NeverHearsOfRemovals), {"I-11"}, id="removals not heard"),
    ],
)
def test_a_planted_fault_is_found(cores: Cores, numbers: set[str]) -> None:
    for seed in range(SEEDS):
        found = {violation.split()[0] for violation in run(seed, cores).violations}
        if numbers <= found:
            return
    pytest.fail(f"no seed of {SEEDS} found it")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", chosen.mutants(ALL_MUTANTS))
def test_a_mutant_is_found_by_its_rule(mutant: Mutant) -> None:
    caught = mutant.hunt.run(mutant.rule)
    if mutant.equivalent:
        assert caught is None, caught
    else:
        assert caught is not None, f"nothing that begins with {mutant.rule!r} was found"


def test_the_product_comes_through_the_schedules_of_the_mutants() -> None:
    schedules = {one.hunt.schedule for one in MUTANTS if isinstance(one.hunt, Directed)}
    assert {schedule(StorageCore) for schedule in schedules} == {""}
