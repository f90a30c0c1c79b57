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


_SHIFT = {name: 4 * place for place, name in enumerate(Bounds._fields)}
_ONE = {name: 1 << shift for name, shift in _SHIFT.items()}
_CRASH, _LOSS, _REPEAT = _SHIFT["crashes"], _SHIFT["losses"], _SHIFT["repeats"]


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
    """Only while nothing is in flight between it and that replica."""


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
        self.count = len(shape.voters) + len(shape.learners)
        self.budget = sum(left << _SHIFT[name] for name, left in bounds._asdict().items())
        self._received: dict[tuple[int, int], tuple[Outcome, ...]] = {}
        self._local: dict[int, tuple[Local, ...]] = {}
        self._remembered: dict[tuple[int, int], tuple[int, str]] = {}
        self._views = Table()
        self._pairs: dict[tuple[int, int], str] = {}
        self._logs: list[int] = []
        self._log_table = Table()
        is_symmetric = not (bounds.changes or bounds.transfers or shape.learners)
        self._orders = list(permutations(range(self.count))) if is_symmetric else []
        self._images: dict[int, tuple[int, ...]] = {}
        self._message_images: dict[int, tuple[int, ...]] = {}
        self._history_images: dict[int, tuple[int, ...]] = {}
        self.prepare(replica_class)

    def prepare(self, replica_class: type[Replica]) -> None:
        """Number the state of birth."""
        disk = birth_of(self.config)
        first = tuple(
            self._number_of(replica_class(one, disk)) for one in range(1, self.count + 1)
        )
        self.first: State = (*first, self.budget, self.histories.number(History()))

    # ---- numbers ---------------------------------------------------------------------------------

    def _number_of(self, replica: Replica) -> int:
        return self._number(freeze(replica))

    def _number(self, frozen: Frozen) -> int:
        number = self.replicas.number(frozen)
        if number == len(self.views):
            view = view_of(thaw(self.replica_class, frozen))
            self.views.append(view)
            self._views.number(view)
            self._logs.append(self._log_table.number((view.base, view.entries), view))
        return number

    def _message(self, message: GroupBody | GroupPulse) -> int:
        number = self.messages.number(hashable(message), message)
        if number == len(self.ends):
            self.ends.append((message.source, message.target))
        return number

    # ---- what happens ----------------------------------------------------------------------------

    def successors(self, state: State) -> Iterator[tuple[tuple[Any, ...], State, str]]:
        """(event, state after it, rule that it broke); rules of whole states come later."""
        count = self.count
        budget = state[count]
        flying = state[count + 2 :]
        before = -1
        for place, message in enumerate(flying):
            if message == before:
                continue
            before = message
            rest = flying[:place] + flying[place + 1 :]
            who = self.ends[message][1] - 1
            if who < count:
                known = self._received.get((state[who], message))
                if known is None:
                    known = self._receive(state[who], message)
                for outcome in known:
                    yield from self._after(state, who, budget, rest, outcome, message)
                    if budget >> _REPEAT & 15:
                        left = budget - _ONE["repeats"]
                        yield from self._after(state, who, left, flying, outcome, message)
            if budget >> _LOSS & 15:
                left = budget - _ONE["losses"]
                yield ("lost", message), (*state[:count], left, state[count + 1], *rest), ""
        for who in range(count):
            locals_ = self._local.get(state[who])
            if locals_ is None:
                locals_ = self._local[state[who]] = tuple(self._locals(state[who]))
            for local in locals_:
                yield from self._do(state, who, local, budget, flying)

    def _do(
        self, state: State, who: int, local: Local, budget: int, flying: tuple[int, ...]
    ) -> Iterator[tuple[tuple[Any, ...], State, str]]:
        shift = local.shift
        if shift >= 0:
            if not budget >> shift & 15:
                return
            budget -= 1 << shift
        if local.towards:
            pair = {who + 1, local.towards}
            if any(pair.issuperset(self.ends[message]) for message in flying):
                return
        for outcome in local.outcomes:
            yield from self._after(state, who, budget, flying, outcome, local.event)
            if local.event[0] in ("crash", "damage"):
                kept = tuple(one for one in flying if self.ends[one][1] != who + 1)
                if kept != flying:
                    event = (*local.event, "with all that was on its way to it")
                    yield from self._after(state, who, budget, kept, outcome, event)

    def _after(
        self,
        state: State,
        who: int,
        budget: int,
        flying: tuple[int, ...],
        outcome: Outcome,
        event: Any,
    ) -> Iterator[tuple[tuple[Any, ...], State, str]]:
        after, out, crashed, ghost, acknowledged, error, phase = outcome
        if crashed:
            if not budget >> _CRASH & 15:
                return
            budget -= 1 << _CRASH
        if len(flying) + len(out) > self.shape.messages:
            return
        if out:
            flying = tuple(sorted(flying + out))
        count = self.count
        history = state[count + 1]
        replicas = state[:who] + (after,) + state[who + 1 : count]
        if not error and ghost >= 0:
            history, error = self._seen(history, replicas, who, self._views.things[ghost])
        if not error:
            key = (history, after)
            found = self._remembered.get(key)
            if found is None or found[0] != history:
                history, error = self._seen(history, replicas, who, self.views[after])
            else:
                error = found[1]
        if not error and acknowledged is not None:
            voters = self.views[state[who]].voters
            views = [self.views[one] for one in replicas]
            error = not_durable(*acknowledged, voters, views)
            error = error and f"acknowledged: {error}"
        yield (event, who + 1, phase), (*replicas, budget, history, *flying), error

    def _seen(
        self, history: int, replicas: tuple[int, ...], who: int, view: View
    ) -> tuple[int, str]:
        """The history after `view` was seen; what it adds must be durable now."""
        key = (history, self._views.number(view))
        before: History = self.histories.things[history]
        after, error = remembered(before, view)
        number = self.histories.number(after)
        if number == history or error:
            self._remembered[history, replicas[who]] = (number, error)
            del key
        if not error and len(after.committed) > len(before.committed):
            views = [self.views[one] for one in replicas]
            views[who] = view
            index = len(after.committed)
            error = not_durable(index, after.committed[-1][0], view.voters, views)
            error = error and f"committed: {error}"
        return number, error

    def _receive(self, number: int, message: int) -> tuple[Outcome, ...]:
        body = self.messages.things[message]
        known = self._outcomes(number, lambda replica: replica.receive(body))
        self._received[number, message] = known
        return known

    def _outcomes(
        self, number: int, act: Callable[[Replica], object]
    ) -> tuple[Outcome, ...]:
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
            if is_cut:
                if led or replica.core.lead is not None:
                    ghost = self._views.number(view_of(replica))
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
        if core.log.first <= core.applied:
            yield local("cuts", "cut", lambda one: one.cut())
        yield Local(("crash",), _CRASH, self._fallen(number, lambda one: one.restart()))
        if not replica.disk.is_damaged and replica.disk.extent.last > replica.disk.rows.index:
            damaged = self._fallen(number, lambda one: one.damage())
            yield Local(("damage",), _SHIFT["damages"], damaged)

    def _fallen(self, number: int, act: Callable[[Replica], object]) -> tuple[Outcome, ...]:
        replica = thaw(self.replica_class, self.replicas.things[number])
        before = replica.core.hard_state
        try:
            act(replica)
            after = self._number_of(replica)
        except AssertionError as wrong:
            return (Outcome(0, (), False, -1, None, f"AssertionError: {wrong}"),)
        return (
            Outcome(after, (), False, -1, None, step_back(before, replica.core.hard_state)),
        )

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
        """The steps that are not refused."""
        core = replica.core
        for kind in StepKind:
            for place in places(*range(1, self.count + 1)):
                step = Step(int(kind), core.conf_id, place)
                try:
                    thaw(self.replica_class, freeze(replica)).change(step)
                except StepRefused:
                    continue
                yield step

    # ---- rules for whole states ------------------------------------------------------------------

    def wrong(self, state: State) -> str:
        """What is wrong with a state in which every replica was looked at alone."""
        count = self.count
        views = [self.views[one] for one in state[:count]]
        for place, one in enumerate(state[:count]):
            for other in state[:place]:
                key = (self._logs[one], self._logs[other])
                found = self._pairs.get(key)
                if found is None:
                    found = logs_differ(self.views[one], self.views[other])
                    self._pairs[key] = found
                if found:
                    return found
        if sum(view.leads > 0 for view in views) > 1:
            return two_able(views)
        return ""

    # ---- one of those that only differ in numbers ------------------------------------------------

    def canonical(self, state: State) -> State:
        """Of all states that only differ in the replicas' numbers, always the same one."""
        orders = self._orders
        if not orders:
            return state
        count = self.count
        rows = [self._images.get(one) or self._image(one) for one in state[:count]]
        best: list[tuple[int, ...]] = []
        least: tuple[int, ...] = ()
        chosen: list[int] = []
        for place, order in enumerate(orders):
            # Replica i becomes order[i]: its image stands there.
            moved = [0] * count
            for old, new in enumerate(order):
                moved[new] = rows[old][place]
            image = tuple(moved)
            if not best or image < least:
                least, best, chosen = image, [image], [place]
            elif image == least:
                chosen.append(place)
        history = self._history_images.get(state[count + 1])
        if history is None:
            history = self._history_image(state[count + 1])
        messages = [
            self._message_images.get(one) or self._message_image(one) for one in state[count + 2 :]
        ]
        tails = [
            (history[place], *sorted(images[place] for images in messages)) for place in chosen
        ]
        tail = min(tails) if len(tails) > 1 else tails[0]
        return (*least, state[count], *tail)

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
