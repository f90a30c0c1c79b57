"""Nothing stored is missed by a webhook, whatever crashes, overlaps or fails in between."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from storage_world import StorageWorld, ack_of, message, ring
from webhook_gateway import Gateway

from zmqim.chat.results import Sent
from zmqim.limits import WEBHOOK_BOOK_MS
from zmqim.storage.sizes import Sizes

pytestmark = pytest.mark.promise("P1")

PARTITIONS = 2
STEPS_MAX = 200
partitions = st.integers(0, PARTITIONS - 1)
gateways = st.integers(0, 1)


class Died(Exception):
    """kill -9 of a gateway in the middle of something."""


class Mortal(Gateway):
    """A gateway that dies when it is about to deliver, or to write, for the n-th time."""

    def __init__(self, world: StorageWorld) -> None:
        super().__init__(PARTITIONS, ("msg.notify",), world)
        self.acts_left: int | None = None

    def _act(self) -> None:
        if self.acts_left is not None:
            if not self.acts_left:
                raise Died
            self.acts_left -= 1

    async def deliver(self, event: str, body: bytes) -> None:
        self._act()
        await super().deliver(event, body)


class WebhookMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.world = StorageWorld(ring(PARTITIONS), sizes=Sizes(entries_kept=2, rows_wait_ms=0))
        for channel in "ghij":
            self.world.add(channel, "ada")
        self.lives = [Mortal(self.world) for _ in range(2)]
        self.told: set[str] = set()
        self.owed: set[str] = set()
        self.number = 0
        for place in self.lives[0].places:
            self.lives[0].step(place)

    @rule(channel=st.sampled_from("ghij"), count=st.integers(1, 3))
    def send(self, channel: str, count: int) -> None:
        for _ in range(count):
            self.number += 1
            text = str(self.number)
            [result] = self.world.send(message("ada", channel, text, text.encode()))
            assert isinstance(result, Sent)
            self.owed.add(text)

    @rule(which=gateways, partition=partitions, ms=st.sampled_from((0, WEBHOOK_BOOK_MS)))
    def step(self, which: int, partition: int, ms: int) -> None:
        self.lives[which].step(self.lives[which].places[partition], ms)

    @rule(which=gateways, partition=partitions, acts=st.integers(0, 1))
    def die_in_a_step(self, which: int, partition: int, acts: int) -> None:
        life = self.lives[which]
        life.acts_left = acts
        try:
            life.step(life.places[partition], WEBHOOK_BOOK_MS)
        except Died:
            self.die(which)
        else:
            life.acts_left = None

    @rule(which=gateways)
    def die(self, which: int) -> None:
        self._hear()
        self.lives[which] = Mortal(self.world)

    @rule(which=gateways, partition=partitions)
    def step_without_leaders(self, which: int, partition: int) -> None:
        life = self.lives[which]
        life.is_reachable = False
        life.step(life.places[partition], WEBHOOK_BOOK_MS)
        life.is_reachable = True

    @rule(which=gateways, partition=partitions)
    def let_go(self, which: int, partition: int) -> None:
        """Gossip gives the partition to the other one."""
        life = self.lives[which]
        life.following._let_go(life.places[partition])

    @rule()
    def restart_the_storage(self) -> None:
        self.world.restart()

    @rule()
    def routers_acknowledge(self) -> None:
        """So only followers hold the logs back."""
        for partition, group in self.world.core.groups.items():
            self.world.receive(ack_of(partition, group.raft.term, group.raft.last))
        self.world.turn(1_000)
        self.world.turn()

    @invariant()
    def no_gap_is_told(self) -> None:
        self._hear()

    def _hear(self) -> None:
        for life in getattr(self, "lives", []):
            assert not any(event == "webhook.gap" for event, _ in life.told)
            self.told.update(life.texts())

    def teardown(self) -> None:
        if not hasattr(self, "lives"):
            return
        self.die(0)
        for _ in range(STEPS_MAX):
            for place in self.lives[0].places:
                self.lives[0].step(place, WEBHOOK_BOOK_MS)
            self._hear()
            if self.owed <= self.told:
                return
        raise AssertionError(f"never told: {sorted(self.owed - self.told)}")


WebhookMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestWebhookLaws = WebhookMachine.TestCase
