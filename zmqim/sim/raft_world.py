"""The states that the explorer walks through, and what can happen in each.

A state is a flat tuple of small numbers: the replicas, what may still happen how often, what was
committed, the messages in flight. Every replica, message and history has a number, and whatever an
event makes of a replica is computed once by the real `RaftCore`, however many states it occurs in.
So most steps are look-ups. While nobody changes the configuration the replicas are the same but for
their numbers: of such states only one is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import permutations
from typing import Any, NamedTuple

from zmqim.bus.replication import GroupBody, GroupPulse
from zmqim.errors import WireError
from zmqim.raft.config import GroupConfig, Step, StepKind, StepRefused
from zmqim.sim.raft_checks import (
    History,
    View,
    logs_differ,
    not_durable,
    remembered,
    step_back,
    two_able,
    view_of,
)
from zmqim.sim.raft_replica import (
    WALL_MS,
    Frozen,
    Replica,
    birth_of,
    freeze,
    hashable,
    is_feeding,
    places,
    relabelled,
    relabelled_message,
    thaw,
)

State = tuple[int, ...]
"""Replicas' numbers, the budget, the history's number, then the messages in flight."""


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


_SHIFT = {name: 4 * place for place, name in enumerate(Bounds._fields)}
_CRASH, _LOSS, _REPEAT = _SHIFT["crashes"], _SHIFT["losses"], _SHIFT["repeats"]
PLENTY = sum(15 << shift for shift in _SHIFT.values())
"""A budget for everything."""
_WITH_ALL = "with all that was on its way to it"


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


class World:
    """All that is known of the states so far."""

    def __init__(
        self, bounds: Bounds, shape: Shape, replica_class: type[Replica] = Replica
    ) -> None:
        self.shape = shape
        self.replica_class = replica_class
        self.config = GroupConfig(places(*shape.voters), places(*shape.learners))
        self.replicas = Table()
        self.messages = Table()
        self.histories = Table()
        self.views: list[View] = []
        self.ends: list[tuple[int, int]] = []
        """(source, target) of each message."""
        self.count = len(shape.voters + shape.learners + shape.spares)
        self.budget = sum(left << _SHIFT[name] for name, left in bounds._asdict().items())
        self._received: dict[tuple[int, int], tuple[Outcome, ...]] = {}
        self._local: dict[int, tuple[Local, ...]] = {}
        self._remembered: dict[tuple[int, int], tuple[int, str, bool]] = {}
        self._views = Table()
        self._view_of: list[int] = []
        self._pairs: dict[tuple[int, int], str] = {}
        self._together: dict[tuple[int, ...], str] = {}
        is_symmetric = not (bounds.changes or bounds.transfers or shape.learners + shape.spares)
        self._orders = list(permutations(range(self.count))) if is_symmetric else []
        self._images: dict[int, tuple[int, ...]] = {}
        self._arranged: dict[tuple[int, ...], tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._message_images: dict[int, tuple[int, ...]] = {}
        self._history_images: dict[int, tuple[int, ...]] = {}
        self.prepare(replica_class)

    def prepare(self, replica_class: type[Replica]) -> None:
        """Number the state of birth."""
        disk = birth_of(self.config)
        first = tuple(self._number_of(replica_class(one, disk)) for one in range(1, self.count + 1))
        self.first: State = (*first, self.budget, self.histories.number(History()))

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

    # ---- what happens ----------------------------------------------------------------------------

    def successors(self, state: State) -> list[tuple[tuple[Any, ...], State, str]]:
        """(event, state after it, rule that it broke); rules of whole states come later."""
        count = self.count
        found: list[tuple[tuple[Any, ...], State, str]] = []
        for who, budget, flying, outcome, event in self._events(state):
            if outcome is None:
                found.append((event, (*state[:count], budget, state[count + 1], *flying), ""))
                continue
            after, out, crashed, ghost, acknowledged, error, phase = outcome
            if crashed:
                if not budget >> _CRASH & 15:
                    continue
                budget -= 1 << _CRASH
            if out:
                if len(flying) + len(out) > self.shape.messages:
                    continue
                flying = tuple(sorted(flying + out))
            history = state[count + 1]
            replicas = (*state[:who], after, *state[who + 1 : count])
            if ghost >= 0 and not error:
                history, error = self._seen(history, replicas, who, ghost)
            if not error:
                known = self._remembered.get((history, self._view_of[after]))
                if known is None or known[2]:
                    history, error = self._seen(history, replicas, who, self._view_of[after])
                else:
                    history, error, _ = known
            if acknowledged is not None and not error:
                view = self.views[after] if ghost < 0 else self._views.things[ghost]
                error = self._unbacked(replicas, view, acknowledged)
            found.append(((event, who + 1, phase), (*replicas, budget, history, *flying), error))
        return found

    def _events(
        self, state: State
    ) -> Iterator[tuple[int, int, tuple[int, ...], Outcome | None, Any]]:
        """(place of the replica, budget, in flight, outcome or None for a loss, event)."""
        count = self.count
        budget = state[count]
        flying = state[count + 2 :]
        ends = self.ends
        before = -1
        for place, message in enumerate(flying):
            if message == before:
                continue
            before = message
            rest = flying[:place] + flying[place + 1 :]
            who = ends[message][1] - 1
            if who < count:
                known = self._received.get((state[who], message))
                for outcome in known or self._receive(state[who], message):
                    yield who, budget, rest, outcome, message
                    if budget >> _REPEAT & 15:
                        yield who, budget - (1 << _REPEAT), flying, outcome, message
            if budget >> _LOSS & 15:
                yield who, budget - (1 << _LOSS), rest, None, ("lost", message)
        for who in range(count):
            for local in self._local.get(state[who]) or self._locals_of(state[who]):
                left = budget
                if local.shift >= 0:
                    if not budget >> local.shift & 15:
                        continue
                    left -= 1 << local.shift
                if local.towards:
                    pair = (who + 1, local.towards)
                    if any(ends[message] == pair for message in flying):
                        continue
                for outcome in local.outcomes:
                    yield who, left, flying, outcome, local.event
                    if local.falls:
                        kept = tuple(one for one in flying if ends[one][1] != who + 1)
                        if kept != flying:
                            yield who, left, kept, outcome, (*local.event, _WITH_ALL)

    def _unbacked(
        self, replicas: tuple[int, ...], view: View, acknowledged: tuple[int, int]
    ) -> str:
        views = [self.views[one] for one in replicas]
        error = not_durable(*acknowledged, view.voters, views)
        return error and f"acknowledged: {error}"

    def _seen(
        self, history: int, replicas: tuple[int, ...], who: int, number: int
    ) -> tuple[int, str]:
        """The history after a view was seen; what it commits must be durable now."""
        view: View = self._views.things[number]
        before: History = self.histories.things[history]
        after, error = remembered(before, view)
        grown = len(after.committed) > len(before.committed)
        found = self.histories.number(after)
        self._remembered[history, number] = (found, error, grown)
        if not error and grown:
            views = [self.views[one] for one in replicas]
            views[who] = view
            index = len(after.committed)
            error = not_durable(index, after.committed[-1][0], view.voters, views)
            error = error and f"committed: {error}"
        return found, error

    def _locals_of(self, number: int) -> tuple[Local, ...]:
        found = self._local[number] = tuple(self._locals(number))
        return found

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
        for count in (len(phases), *range(1, len(phases))):
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
            return Local((event, *more), _SHIFT[part], self._outcomes(number, act))

        if core.may_stand:
            yield local("elections", "stand", lambda one: one.core.stand(WALL_MS))
        if core.accepts:
            payload = b"" if self._orders else b"%d" % core.replica
            yield local("proposals", "propose", lambda one: one.core.propose(payload, WALL_MS))
        if core.lead is not None:
            yield local("stepdowns", "step down", lambda one: one.core.step_down())
            yield from self._leaders_own(number, replica)
            if thaw(self.replica_class, freeze(replica)).core.take_early(0, core.lead.progress):
                yield Local(("turn",), -1, self._outcomes(number, lambda one: None))
        if core.log.first <= core.applied:
            yield local("cuts", "cut", lambda one: one.cut())
        fallen = self._fallen(number, lambda one: one.restart())
        yield Local(("crash",), _CRASH, fallen, falls=True)
        if not replica.disk.is_damaged and replica.disk.extent.last > replica.disk.rows.index:
            damaged = self._fallen(number, lambda one: one.damage())
            yield Local(("damage",), _SHIFT["damages"], damaged, falls=True)

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
                yield Local(("hand over", target), _SHIFT["transfers"], handed)
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
            yield Local(event, _SHIFT["changes"], outcomes)

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

    # ---- rules for whole states ------------------------------------------------------------------

    def wrong(self, state: State) -> str:
        """What is wrong with a state in which every replica was looked at alone."""
        replicas = state[: self.count]
        found = self._together.get(replicas)
        if found is None:
            found = self._together[replicas] = self._wrong(replicas)
        return found

    def _wrong(self, replicas: tuple[int, ...]) -> str:
        views = [self.views[one] for one in replicas]
        for place, one in enumerate(replicas):
            for other in replicas[:place]:
                key = (self._view_of[one], self._view_of[other])
                found = self._pairs.get(key)
                if found is None:
                    found = logs_differ(self.views[one], self.views[other])
                    self._pairs[key] = found
                if found:
                    return found
        return two_able(views)

    # ---- one of those that only differ in numbers ------------------------------------------------

    def canonical(self, state: State) -> State:
        """Of all states that only differ in the replicas' numbers, always the same one."""
        if not self._orders:
            return state
        count = self.count
        replicas = state[:count]
        arranged = self._arranged.get(replicas)
        if arranged is None:
            arranged = self._arranged[replicas] = self._arrange(replicas)
        best, places_ = arranged
        history = self._history_images.get(state[count + 1])
        if history is None:
            history = self._history_image(state[count + 1])
        message_images = self._message_images
        messages = []
        for one in state[count + 2 :]:
            images = message_images.get(one)
            messages.append(self._message_image(one) if images is None else images)
        if len(places_) == 1:
            place = places_[0]
            flying = sorted([images[place] for images in messages])
            return (*best, state[count], history[place], *flying)
        tail = min(
            (history[place], *sorted([images[place] for images in messages])) for place in places_
        )
        return (*best, state[count], *tail)

    def _arrange(self, replicas: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The least image of these replicas, and which orders give it."""
        rows = [self._images.get(one) or self._image(one) for one in replicas]
        images = []
        for place, order in enumerate(self._orders):
            moved = [0] * self.count
            for old, new in enumerate(order):
                moved[new] = rows[old][place]
            images.append(tuple(moved))
        best = min(images)
        return best, tuple(place for place, image in enumerate(images) if image == best)

    def _relabels(self) -> list[Callable[[int], int]]:
        return [lambda one, order=order: one and order[one - 1] + 1 for order in self._orders]

    def _image(self, number: int) -> tuple[int, ...]:
        frozen = self.replicas.things[number]
        images = tuple(self._number(relabelled(frozen, to)) for to in self._relabels())
        self._images[number] = images
        return images

    def _message_image(self, number: int) -> tuple[int, ...]:
        body = self.messages.things[number]
        images = tuple(self._message(relabelled_message(body, to)) for to in self._relabels())
        self._message_images[number] = images
        return images

    def _history_image(self, number: int) -> tuple[int, ...]:
        committed, leaders = self.histories.things[number]
        images = tuple(
            self.histories.number(
                History(committed, tuple((term, to(replica)) for term, replica in leaders))
            )
            for to in self._relabels()
        )
        self._history_images[number] = images
        return images
