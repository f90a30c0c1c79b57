"""Every interleaving of what can happen to one group, breadth first, with the real `RaftCore`.

Usage:
  explorer [options]

Options:
  --states N        Stop after so many states [default: 1000000].
  --proposals N     How many operations are proposed [default: 3].
  --elections N     How many elections begin because somebody waited long enough [default: 2].
  --changes N       How many steps the configuration makes [default: 0].
  --crashes N       How often a replica loses what it did not save [default: 2].
  --losses N        How many messages are lost [default: 2].
  --transfers N     How often a leader hands over [default: 0].
  --cuts N          How often a replica cuts its log, so that others need snapshots [default: 0].
  --damages N       How often a disk loses its last entry, and the replica knows it [default: 0].
  --repeats N       How many messages arrive twice [default: 0].
  --stepdowns N     How often a leader resigns for want of a majority [default: 0].
  --messages N      How many messages are in flight at most [default: 4].
  --voters N        Voters at birth [default: 3].
  --learners N      Learners at birth [default: 0].
  --spares N        Replicas that the group may take in [default: 0].
  --led             Begin where replica 1 leads and everyone knows it.
  --checkpoint FILE  Go on from FILE if it is there, and write it now and then.
  -h, --help        This text.

Deliveries in any order, losses, and crashes between any two phases of a turn, up to those bounds.
After each event the rules of `zmqim.sim.raft_checks` are looked at. A violation is printed with the
shortest list of events that leads to it, and the exit code is 1.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from docopt import docopt

from zmqim.sim.frontier import Frontier
from zmqim.sim.raft_moves import PLENTY, Bounds, Shape
from zmqim.sim.raft_replica import Replica
from zmqim.sim.raft_world import State, World

CHECKPOINT_STATES = 10_000_000
PROGRESS_STATES = 1_000_000


class Report(NamedTuple):
    """What a search found."""

    states: int
    depth: int
    is_exhausted: bool
    """Everything within the bounds was seen."""
    violation: str
    events: tuple[str, ...]
    """The shortest way to the violation."""

    def __str__(self) -> str:
        seen = "all" if self.is_exhausted else "the first"
        text = f"{seen} {self.states} states, depth {self.depth}: "
        if not self.violation:
            return text + "every rule holds"
        lines = [f"{number:3} {event}" for number, event in enumerate(self.events, 1)]
        return "\n".join([text + self.violation, *lines])


class Search:
    """A breadth-first search that can be stopped and gone on with."""

    def __init__(self, world: World, start: State | None = None) -> None:
        self.world = world
        self.start = world.first if start is None else start
        first = world.canonical(self.start)
        self.depth = 0
        self.parents: dict[int, int] = {hash(first): 0}
        """Which state each was first reached from, both by their hashes."""
        self.level, self.next_level = Frontier(), Frontier()
        self.level.append(first)

    def run(self, states: int, every: Callable[[Search], object] | None = None) -> Report:
        """Go on until `states` were seen, or all, or a rule is broken."""
        world = self.world
        parents = self.parents
        canonical, wrong, successors = world.canonical, world.wrong, world.successors
        seen_at = len(parents)
        while self.level:
            while self.level:
                state = self.level.pop()
                here = hash(state)
                for event, after, error in successors(state):
                    if not error:
                        after = canonical(after)
                        there = hash(after)
                        if there in parents:
                            continue
                        parents[there] = here
                        error = wrong(after)
                    if error:
                        events = self.way_to(here, event, error)
                        return Report(len(parents), self.depth + 1, False, error, events)
                    self.next_level.append(after)
                if len(parents) >= states:
                    return Report(len(parents), self.depth, False, "", ())
                if every is not None and len(parents) - seen_at >= PROGRESS_STATES:
                    seen_at = len(parents)
                    every(self)
            self.level, self.next_level = self.next_level, Frontier()
            self.depth += bool(self.level)
        return Report(len(parents), self.depth, True, "", ())

    def way_to(self, here: int, last: tuple[Any, ...], error: str) -> tuple[str, ...]:
        """The events from the start to the state `here`, and the one that broke a rule."""
        way = [here]
        while self.parents[way[-1]]:
            way.append(self.parents[way[-1]])
        state = self.start
        events = []
        for wanted in reversed(way[:-1]):
            for event, after, broken in self.world.successors(state):
                if not broken and hash(self.world.canonical(after)) == wanted:
                    events.append(self.named(event))
                    state = after
                    break
        for event, after, broken in self.world.successors(state):
            if error == broken or error == self.world.wrong(after):
                return (*events, self.named(event))
        return (*events, self.named(last))

    def named(self, event: tuple[Any, ...]) -> str:
        """An event for people to read."""
        messages = self.world.messages.things
        what, *rest = event
        if what == "lost":
            return f"lost: {messages[rest[0]]}"
        who, phase = rest
        name = f"arrives: {messages[what]}" if isinstance(what, int) else " ".join(map(str, what))
        fallen = f", and falls before '{phase}'" if phase else ""
        return f"{who}: {name}{fallen}"


def explore(
    bounds: Bounds,
    shape: Shape = Shape(),
    replica_class: type[Replica] = Replica,
    *,
    states: int = 1_000_000,
    schedule: Iterable[str] = (),
) -> Report:
    """Search from birth, or from where `schedule` leads (see `scheduled`)."""
    world = World(bounds, shape, replica_class)
    start, error, events = scheduled(world, schedule)
    if error:
        return Report(len(events), len(events), False, error, tuple(events))
    return Search(world, start).run(states)


def scheduled(world: World, schedule: Iterable[str]) -> tuple[State, str, list[str]]:
    """The state after `schedule`, without a search; it takes nothing from the budget.

    Each step is the beginning of an event's name: "1: stand", "2: arrives: VoteRequest"; the first
    event that fits is taken, and one that cannot happen is an error. "*" delivers all that flies.
    """
    search = Search(world)
    budget = world.count
    state = (*world.first[:budget], PLENTY, *world.first[budget + 1 :])
    done: list[str] = []
    for wanted in schedule:
        while True:
            found = [
                (name, after, error)
                for event, after, error in world.successors(state)
                if _fits(name := search.named(event), wanted)
            ]
            if not found:
                break
            name, state, error = found[0]
            done.append(name)
            error = error or world.wrong(state)
            if error:
                return state, error, done
            if wanted != "*":
                break
        if not found and wanted != "*":
            raise ValueError(f"{wanted!r} cannot happen after {done}")
        state = (*state[:budget], PLENTY, *state[budget + 1 :])
    return (*state[:budget], world.budget, *state[budget + 1 :]), "", done


def _fits(name: str, wanted: str) -> bool:
    if wanted == "*":
        return "arrives: " in name and "falls" not in name
    return name.startswith(wanted) and ("falls" not in name or "falls" in wanted)


LED = ("1: stand", "*")


def main(words: list[str] | None = None) -> int:
    """Search as the command line says."""
    found = docopt(__doc__ or "", words)
    bounds = Bounds(**{name: int(found[f"--{name}"]) for name in Bounds._fields})
    replicas = iter(range(1, 100))
    voters, learners, spares = (
        tuple(islice(replicas, int(found[option])))
        for option in ("--voters", "--learners", "--spares")
    )
    shape = Shape(voters, learners, int(found["--messages"]), spares)
    checkpoint = Path(found["--checkpoint"]) if found["--checkpoint"] else None
    setting = (bounds, shape, bool(found["--led"]))
    search = None
    if checkpoint is not None and checkpoint.exists():
        with checkpoint.open("rb") as file:
            kept, search = pickle.load(file)
        if kept != setting:
            sys.stderr.write(f"{checkpoint} is of other bounds: {kept}\n")
            return 2
    if search is None:
        world = World(bounds, shape)
        search = Search(world, scheduled(world, LED if found["--led"] else ())[0])
    report = search.run(int(found["--states"]), _Spoken(checkpoint, setting))
    sys.stdout.write(f"{report}\n")
    if checkpoint is not None and not report.violation:
        save(checkpoint, setting, search)
    return 1 if report.violation else 0


class _Spoken:
    """Says now and then how far a search is, and saves it."""

    def __init__(self, checkpoint: Path | None, setting: Any) -> None:
        self._checkpoint = checkpoint
        self._setting = setting
        self._saved_at = 0

    def __call__(self, search: Search) -> None:
        count = len(search.parents)
        waiting = len(search.level) + len(search.next_level)
        sys.stdout.write(f"{count} states, depth {search.depth}, {waiting} to be looked at\n")
        sys.stdout.flush()
        if self._checkpoint is not None and count - self._saved_at >= CHECKPOINT_STATES:
            self._saved_at = count
            save(self._checkpoint, self._setting, search)


def save(path: Path, setting: Any, search: Search) -> None:
    """Write the search so that it can be gone on with; whole or not at all."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        pickle.dump((setting, search), file, protocol=5)
    new.replace(path)


if __name__ == "__main__":
    sys.exit(main())
