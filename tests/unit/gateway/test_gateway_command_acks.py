"""Commands that a device acknowledged as they were pushed, stored as the person's position."""

from __future__ import annotations

import pytest
from gateway_rig import Rig, delivery, recvs

from zmqim import limits
from zmqim.bus.messages import Item, OutcomeCode
from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import MASTER, MessageFlag
from zmqim.chat.operations import AcknowledgeCommands, CommandPlace, decode_operation
from zmqim.chat.results import Done

COMMAND = int(MessageFlag.SYNC_ONCE)


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.up("router-1")
    rig.open_session(1, "bob", device_level=MASTER)
    return rig


def push_commands(rig: Rig, *numbers: int, session: int = 1, flags: int = COMMAND) -> None:
    """Commands of group "g" come, and the session acknowledges them."""
    rig.deliver(*[delivery(number, [session], flags=flags) for number in numbers])
    rig.acknowledge(session, *recvs(rig.turn(), session))


def stored(rig: Rig) -> list[tuple[Item, AcknowledgeCommands]]:
    """What waits to be stored."""
    rig.turn()
    found = [(item, decode_operation(item.body)) for item in rig.asked if item.kind == 0]
    return [(item, one) for item, one in found if isinstance(one, AcknowledgeCommands)]


def group(*numbers: int) -> list[CommandPlace]:
    return [CommandPlace(2, "g", number) for number in numbers]


def test_what_a_master_acknowledged_is_gathered_and_stored_once(rig: Rig) -> None:
    push_commands(rig, 5, 6)
    assert (stored(rig), rig.core.in_flight) == ([], 1)
    push_commands(rig, 7)
    rig.advance(limits.COMMAND_ACKS_DELAY_MS + 20)
    ((item, operation),) = stored(rig)
    assert operation == AcknowledgeCommands("bob", 0, pushed=group(5, 6, 7))
    rig.answer(item, Done())
    rig.advance(60_000)
    assert (stored(rig), rig.core.in_flight) == ([], 0)


def test_a_private_command_is_of_the_channel_of_both(rig: Rig) -> None:
    channel = person_channel_id("ada", "bob")
    body = {"channel_type": 1, "channel_id": channel, "flags": COMMAND}
    rig.deliver(delivery(1, [1], **body))
    rig.acknowledge(1, *recvs(rig.turn(), 1))
    rig.advance(limits.COMMAND_ACKS_DELAY_MS + 20)
    ((_, operation),) = stored(rig)
    assert operation.pushed == [CommandPlace(1, channel, 1)]


def test_a_slave_a_message_and_what_nobody_acknowledged_store_nothing(rig: Rig) -> None:
    rig.open_session(2, "bob")
    push_commands(rig, 5, session=2)
    push_commands(rig, 9, flags=0)
    rig.deliver(delivery(6, [1], flags=COMMAND))
    rig.advance(limits.COMMAND_ACKS_DELAY_MS + 20)
    assert stored(rig) == []


def test_what_finds_no_leader_is_given_up_and_counted(rig: Rig) -> None:
    push_commands(rig, 5, 6)
    rig.advance(limits.COMMAND_ACKS_DELAY_MS + 20)
    for _ in range(20):
        for item, _ in stored(rig):
            rig.answer(item, None, OutcomeCode.NOT_LEADER)
        rig.advance(1_000)
    assert (stored(rig), rig.core.in_flight) == ([], 0)
    assert rig.core.counters.read()["command_acks_dropped"] == 2


def test_above_the_bound_they_are_dropped_and_counted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COMMAND_ACKS_WAITING_MAX", 2)
    push_commands(rig, 5, 6, 7)
    rig.advance(limits.COMMAND_ACKS_DELAY_MS + 20)
    ((_, operation),) = stored(rig)
    assert operation.pushed == group(5, 6)
    assert rig.core.counters.read()["command_acks_dropped"] == 1


def test_only_so_many_persons_are_stored_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMMAND_ACKS_ASKED_MAX", 1)
    rig.open_session(2, "cid", device_level=MASTER)
    push_commands(rig, 5)
    push_commands(rig, 5, session=2)
    rig.advance(limits.COMMAND_ACKS_DELAY_MS + 20)
    ((item, first),) = stored(rig)
    rig.answer(item, Done())
    rig.advance(limits.COMMAND_ACKS_DELAY_MS + 20)
    ((_, second),) = stored(rig)
    assert [first.uid, second.uid] == ["bob", "cid"]


def test_a_gateway_that_drains_stores_at_once(rig: Rig) -> None:
    push_commands(rig, 5)
    rig.core.drain(rig.now)
    ((item, _),) = stored(rig)
    rig.answer(item, Done())
    assert rig.core.in_flight == 0
