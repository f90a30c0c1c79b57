"""What can become of one replica: every event that can happen to it, every way its turn can end.

The answer depends only on the replica and the message, so it is computed once, by the real
`RaftCore`, and kept under their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from zmqim.bus.replication import GroupBody, GroupPulse
from zmqim.errors import WireError
from zmqim.raft.config import Step, StepKind, StepRefused
from zmqim.sim.raft_checks import View, step_back, view_of
from zmqim.sim.raft_replica import (
    WALL_MS,
    Frozen,
    Replica,
    freeze,
    hashable,
    is_feeding,
    places,
    thaw,
)


class Bounds(NamedTuple):
    """How often what may happen; the budget of a state is what is left of it."""

    proposals: int = 3
    elections: int = 2
    changes: int = 0
    crashes: int = 2
    losses: int = 2
    transfers: int = 0
    cuts: int = 0
    damages: int = 0
    repeats: int = 0
    stepdowns: int = 0


class Shape(NamedTuple):
    """Who is there at birth, and how many messages may be in flight."""

    voters: tuple[int, ...] = (1, 2, 3)
    learners: tuple[int, ...] = ()
    messages: int = 4
    spares: tuple[int, ...] = ()
    """Replicas that the group does not know yet."""


SHIFT = {name: 4 * place for place, name in enumerate(Bounds._fields)}
PLENTY = sum(15 << shift for shift in SHIFT.values())
"""A budget for everything."""


class Outcome(NamedTuple):
    """What one event can make of one replica."""

    after: int
    out: tuple[int, ...]
    crashed: bool
    """It fell between two phases of the turn: this costs a crash."""
    ghost: int
    """Number of the view that it had before it fell or resigned; -1: none."""
    acknowledged: tuple[int, int] | None
    error: str
    phase: str = ""


class Local(NamedTuple):
    """Something that a replica can do without a message."""

    event: tuple[Any, ...]
    shift: int
    """Which part of the budget it takes from; -1: none."""
    outcomes: tuple[Outcome, ...]
    towards: int = 0
    """Only while nothing of it is on its way to that replica."""
    falls: bool = False
    """What is on its way to it may be lost as well."""


class Table:
    """Things and their numbers, by first appearance."""

    def __init__(self) -> None:
        self.things: list[Any] = []
        self._numbers: dict[Hashable, int] = {}

    def number(self, key: Hashable, thing: Any = None) -> int:
        """The number of `key`; `thing` is what it stands for, if that is something else."""
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.things)
            self.things.append(key if thing is None else thing)
        return found


class Moves:
    """The replicas and messages seen so far, and what became of them."""

    def __init__(
        self, shape: Shape, replica_class: type[Replica], *, are_all_alike: bool, may_fall: bool
    ) -> None:
        """`are_all_alike`: entries do not tell who proposed them; `may_fall`: in mid-turn."""
        self.shape = shape
        self.replica_class = replica_class
        self.count = len(shape.voters + shape.learners + shape.spares)
        self.replicas = Table()
        self.messages = Table()
        self.views: list[View] = []
        self.ends: list[tuple[int, int]] = []
        """(source, target) of each message."""
        self._are_all_alike = are_all_alike
        self._may_fall = may_fall
        self._views = Table()
        self._view_of: list[int] = []
        self._received: dict[tuple[int, int], tuple[Outcome, ...]] = {}

    # ---- numbers ---------------------------------------------------------------------------------

    def _number_of(self, replica: Replica) -> int:
        return self._number(freeze(replica))

    def _number(self, frozen: Frozen) -> int:
        number = self.replicas.number(frozen)
        if number == len(self.views):
            view = view_of(thaw(self.replica_class, frozen))
            self.views.append(view)
            self._view_of.append(self._views.number(view))
        return number

    def _message(self, message: GroupBody | GroupPulse) -> int:
        number = self.messages.number(hashable(message), message)
        if number == len(self.ends):
            self.ends.append((message.source, message.target))
        return number

    # ---- what becomes of a replica ---------------------------------------------------------------

    def _receive(self, number: int, message: int) -> tuple[Outcome, ...]:
        body = self.messages.things[message]
        known = self._outcomes(number, lambda replica: replica.receive(body))
        self._received[number, message] = known
        return known

    def _outcomes(self, number: int, act: Callable[[Replica], object]) -> tuple[Outcome, ...]:
        """Every way in which a turn with `act` can end."""
        frozen = self.replicas.things[number]
        found: list[Outcome] = []
        phases = self.replica_class.phases
        cuts = range(1, len(phases)) if self._may_fall else ()
        for count in (len(phases), *cuts):
            outcome = self._outcome(frozen, act, count, is_cut=count < len(phases))
            plain = outcome._replace(phase="")
            if all(plain != one._replace(phase="") for one in found):
                found.append(outcome)
        return tuple(found)

    def _outcome(
        self, frozen: Frozen, act: Callable[[Replica], object], count: int, *, is_cut: bool
    ) -> Outcome:
        replica = thaw(self.replica_class, frozen)
        before = replica.core.hard_state
        ghost = -1
        try:
            act(replica)
            led = replica.core.lead is not None
            replica.turn(count)
            if led and replica.core.lead is None:
                led_still = thaw(self.replica_class, frozen)
                act(led_still)
                led_still.turn(replica.phases.index("apply"))
                ghost = self._views.number(view_of(led_still))
            elif led and is_cut:
                ghost = self._views.number(view_of(replica))
            if is_cut:
                replica.restart()
            after = self._number_of(replica)
            error = replica.error or step_back(before, replica.core.hard_state)
        except (AssertionError, WireError) as wrong:
            return Outcome(0, (), is_cut, -1, None, f"{type(wrong).__name__}: {wrong}")
        out = tuple(sorted(map(self._message, replica.out)))
        phase = replica.phases[count] if is_cut else ""
        return Outcome(after, out, is_cut, ghost, replica.acknowledged, error, phase)

    def _locals(self, number: int) -> Iterator[Local]:
        """What this replica can do, as far as budgets allow."""
        replica = thaw(self.replica_class, self.replicas.things[number])
        core = replica.core

        def local(part: str, event: str, act: Callable[[Replica], object], *more: Any) -> Local:
            return Local((event, *more), SHIFT[part], self._outcomes(number, act))

        if core.may_stand:
            yield local("elections", "stand", lambda one: one.core.stand(WALL_MS))
        if core.accepts:
            payload = b"" if self._are_all_alike else b"%d" % core.replica
            yield local("proposals", "propose", lambda one: one.core.propose(payload, WALL_MS))
        if core.lead is not None:
            yield local("stepdowns", "step down", lambda one: one.core.step_down())
            yield from self._leaders_own(number, replica)
            if thaw(self.replica_class, freeze(replica)).core.take_early(0, core.lead.progress):
                yield Local(("turn",), -1, self._outcomes(number, lambda one: None))
        if core.log.first <= core.applied:
            yield local("cuts", "cut", lambda one: one.cut())
        fallen = self._fallen(number, lambda one: one.restart())
        yield Local(("crash",), SHIFT["crashes"], fallen, falls=True)
        if not replica.disk.is_damaged and replica.disk.extent.last > replica.disk.rows.at:
            damaged = self._fallen(number, lambda one: one.damage())
            yield Local(("damage",), SHIFT["damages"], damaged, falls=True)

    def _fallen(self, number: int, act: Callable[[Replica], object]) -> tuple[Outcome, ...]:
        replica = thaw(self.replica_class, self.replicas.things[number])
        before = replica.core.hard_state
        try:
            act(replica)
            after = self._number_of(replica)
        except AssertionError as wrong:
            return (Outcome(0, (), False, -1, None, f"AssertionError: {wrong}"),)
        return (Outcome(after, (), False, -1, None, step_back(before, replica.core.hard_state)),)

    def _leaders_own(self, number: int, replica: Replica) -> Iterator[Local]:
        core = replica.core
        assert core.lead is not None
        for target, progress in core.lead.progress.items():
            if is_feeding(progress):

                def again(one: Replica, target: int = target) -> None:
                    one.core.lost(target)

                yield Local(("retry", target), -1, self._outcomes(number, again), target)

            def hand(one: Replica, target: int = target) -> None:
                one.core.hand_over(0, target)

            handed = self._outcomes(number, hand)
            if handed[0].after != number or handed[0].out:
                yield Local(("hand over", target), SHIFT["transfers"], handed)
        if core.lead.handing_to:

            def give_up(one: Replica) -> None:
                assert one.core.lead is not None
                one.core.lead.tick(1 << 62)

            outcomes = self._outcomes(number, give_up)
            yield Local(("give up handing over",), -1, outcomes, core.lead.handing_to)
        for step in self._steps(replica):

            def change(one: Replica, step: Step = step) -> None:
                one.change(step)

            outcomes = self._outcomes(number, change)
            event = ("change", StepKind(step.kind).name, step.place.replica)
            yield Local(event, SHIFT["changes"], outcomes)

    def _steps(self, replica: Replica) -> Iterator[Step]:
        """The steps that are not refused; a replica's number is never given again."""
        core = replica.core
        for kind in StepKind:
            for place in places(*range(1, self.count + 1)):
                if kind is StepKind.ADD_LEARNER and place.replica not in self.shape.spares:
                    continue
                step = Step(int(kind), core.conf_id, place)
                try:
                    thaw(self.replica_class, freeze(replica)).change(step)
                except StepRefused:
                    continue
                yield step
