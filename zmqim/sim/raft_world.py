"""The states that the explorer walks through, and what can happen in each.

A state is a flat tuple of small numbers: the replicas, what may still happen how often, what was
committed, the messages in flight. Every replica, message and history has a number, and whatever an
event makes of a replica is computed once by the real `RaftCore`, however many states it occurs in.
So most steps are look-ups. While nobody changes the configuration the replicas are the same but for
their numbers: of such states only one is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import permutations
from typing import Any

from zmqim.raft.config import GroupConfig
from zmqim.sim.raft_checks import History, View, logs_differ, not_durable, remembered, two_able
from zmqim.sim.raft_moves import SHIFT, Bounds, Local, Moves, Outcome, Shape, Table
from zmqim.sim.raft_replica import Replica, birth_of, places, relabelled, relabelled_message

State = tuple[int, ...]
"""Replicas' numbers, the budget, the history's number, then the messages in flight."""


_CRASH, _LOSS, _REPEAT = SHIFT["crashes"], SHIFT["losses"], SHIFT["repeats"]
_WITH_ALL = "with all that was on its way to it"


class World(Moves):
    """All that is known of the states so far."""

    def __init__(
        self, bounds: Bounds, shape: Shape, replica_class: type[Replica] = Replica
    ) -> None:
        is_symmetric = not (bounds.changes or bounds.transfers or shape.learners + shape.spares)
        super().__init__(
            shape, replica_class, are_all_alike=is_symmetric, may_fall=bounds.crashes > 0
        )
        self.config = GroupConfig(places(*shape.voters), places(*shape.learners))
        self.histories = Table()
        self.budget = sum(left << SHIFT[name] for name, left in bounds._asdict().items())
        self._local: dict[int, tuple[Local, ...]] = {}
        self._remembered: dict[tuple[int, int], tuple[int, str, bool]] = {}
        self._pairs: dict[tuple[int, int], str] = {}
        self._together: dict[tuple[int, ...], str] = {}
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
        return [partial(_moved, order) for order in self._orders]

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


def _moved(order: tuple[int, ...], replica: int) -> int:
    return replica and order[replica - 1] + 1
