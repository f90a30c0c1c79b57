"""When to start, restart, give up and stop processes: the pure core of the supervisor.

Time comes in as `now`, what to do goes out as a list of effects, performed in order by
zmqim/node/supervisor.py. The rules:

- A process that ended is started again after 0.2 s, then twice that each time up to 5 s; once it
  was ready the pause is 0.2 s again. A storage that others stand in for waits 1 s at least: its
  start takes a core for a second, which the elections need.
- Five crashes in a row *before it was ready* are a crash loop: its last lines are shown, it counts
  as failed and stays down. Being killed from outside, at any time and however often, is none; nor,
  once the cluster served, is a disk that is full or fails: it may have room again at any time.
- A process that refuses to run (damaged data, another cluster's folder, not admitted) would do so
  again: it counts as failed at once. When that leaves a kind without any process before the cluster
  served, it never can: everything is stopped in order, and the exit code is the process's.
- The cluster serves when everything is ready, or all but what failed while every kind has one. A
  gateway is ready when every partition answers it; without a failed storage it serves in part.
- Stopping goes gateways, routers, storages: each kind gets SIGTERM when the kind before is gone,
  and SIGKILL when it takes longer than `limits.DRAIN_MS_MAX`.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from zmqim import limits
from zmqim.bus.messages import Role
from zmqim.errors import (
    EXIT_DATA_DAMAGED,
    EXIT_DISK,
    EXIT_FAILED,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_USAGE,
)
from zmqim.ids import Milliseconds, NodeName

STOP_ORDER = (Role.GATEWAY, Role.ROUTER, Role.STORAGE)
REFUSALS = frozenset({EXIT_USAGE, EXIT_DATA_DAMAGED, EXIT_REFUSED})
"""Exit codes after which another try would end alike."""
FROM_OUTSIDE = frozenset(
    {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGQUIT}
)
"""Ends by a signal that a process does not raise itself: a person, or the kernel without memory."""


class Spawn(NamedTuple):
    """Start this process."""

    name: NodeName


class Terminate(NamedTuple):
    """Ask this process to drain and exit: SIGTERM."""

    name: NodeName


class Kill(NamedTuple):
    """End this process now: SIGKILL."""

    name: NodeName


class GiveUp(NamedTuple):
    """This process is in a crash loop: show its last lines."""

    name: NodeName


class Refused(NamedTuple):
    """This process will not run on what it found: say so, it is not started again."""

    name: NodeName
    code: int


class StillWaiting(NamedTuple):
    """These processes take long to be ready: say so."""

    names: tuple[NodeName, ...]


class AllReady(NamedTuple):
    """Every process but these, which failed, has been ready: the cluster serves. Said once."""

    failed: tuple[NodeName, ...] = ()


class AllGone(NamedTuple):
    """Nothing runs and nothing will: the supervisor ends."""


Effect = Spawn | Terminate | Kill | GiveUp | Refused | StillWaiting | AllReady | AllGone


class Condition(StrEnum):
    """What the supervisor knows of a process."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    """Ended; it is started again at `restart_at`."""
    FAILED = "failed"
    GONE = "gone"
    """Ended because everything stops."""


@dataclass(slots=True)
class _Child:
    name: NodeName
    role: Role
    pause_min: int
    pause: int
    condition: Condition = Condition.WAITING
    deaths: int = 0
    """Crashes in a row, before it was ready."""
    restart_at: int = 0

    @property
    def runs(self) -> bool:
        return self.condition in (Condition.STARTING, Condition.READY)


class Supervision:
    """The processes of one host and what is to be done about them."""

    def __init__(
        self,
        processes: Sequence[tuple[NodeName, Role]],
        elsewhere: AbstractSet[Role] = frozenset(),
        *,
        is_replicated: bool = False,
    ) -> None:
        """`elsewhere`: the kinds of which another host runs one, so none is needed here.
        `is_replicated`: other storages go on without one that ended."""
        self._children = {}
        for name, role in processes:
            waits = is_replicated and role is Role.STORAGE
            pause = limits.RESTART_PAUSE_REPLICATED_MS if waits else limits.RESTART_PAUSE_MS_MIN
            self._children[name] = _Child(name, role, pause, pause)
        self._needed = {role for _, role in processes} - elsewhere
        self._refusal = EXIT_OK
        self._exit_code = EXIT_OK
        self._served = False
        self._stopping = False
        self._stage = -1
        self._kill_at: int | None = None
        self._say_at: int | None = None
        self._over = False

    @property
    def stopping(self) -> bool:
        """Whether everything is being stopped."""
        return self._stopping

    @property
    def exit_code(self) -> int:
        """What everything ended with: 0 when it was asked to stop."""
        return self._exit_code

    def conditions(self) -> dict[NodeName, Condition]:
        """What is known of each process."""
        return {name: child.condition for name, child in self._children.items()}

    def next_wake(self) -> Milliseconds | None:
        """When `wake` must be called at the latest."""
        times = [c.restart_at for c in self._children.values() if c.condition is Condition.WAITING]
        if self._say_at is not None:
            times.append(self._say_at)
        if self._stopping:
            times = [self._kill_at] if self._kill_at is not None else []
        return Milliseconds(min(times)) if times else None

    def wake(self, now: Milliseconds) -> list[Effect]:
        """Starts what is due (all of it, at first) and kills what does not stop."""
        effects: list[Effect] = []
        if self._stopping:
            if self._kill_at is not None and now >= self._kill_at:
                self._kill_at = None
                effects += [Kill(child.name) for child in self._of_stage() if child.runs]
            return effects
        for child in self._children.values():
            if child.condition is Condition.WAITING and now >= child.restart_at:
                child.condition = Condition.STARTING
                effects.append(Spawn(child.name))
        return effects + self._still_waiting(now)

    def ready(self, now: Milliseconds, name: NodeName) -> list[Effect]:
        """The process said that it serves."""
        child = self._children[name]
        if child.condition is not Condition.STARTING or self._stopping:
            return []
        child.condition = Condition.READY
        child.pause = child.pause_min
        child.deaths = 0
        return self._maybe_all_ready()

    def ended(self, now: Milliseconds, name: NodeName, code: int) -> list[Effect]:
        """The process is no more; `code` is its exit code, or minus the signal that ended it."""
        child = self._children[name]
        assert child.runs, f"{name} ended while {child.condition}"
        if self._stopping:
            child.condition = Condition.GONE
            return self._next_stage(now)
        if code in REFUSALS:
            child.condition = Condition.FAILED
            self._refusal = self._refusal or code
            effects: list[Effect] = [Refused(name, code), *self._all_failed_or_ready()]
            if not self._over and not self._served and not self._has_all_kinds():
                self._exit_code = self._refusal
                effects += self.stop(now)
            return effects
        heals = self._served and code == EXIT_DISK
        if child.condition is Condition.STARTING and code not in FROM_OUTSIDE and not heals:
            child.deaths += 1
        if child.deaths >= limits.CRASH_LOOP_DEATHS:
            child.condition = Condition.FAILED
            return [GiveUp(name), *self._all_failed_or_ready()]
        child.condition = Condition.WAITING
        child.restart_at = now + child.pause
        child.pause = min(2 * child.pause, limits.RESTART_PAUSE_MS_MAX)
        return []

    def restart(self, now: Milliseconds, name: NodeName) -> list[Effect]:
        """Start this process anew, whatever became of it; nothing happens while all stops."""
        child = self._children[name]
        if self._stopping:
            return []
        child.deaths, child.pause = 0, child.pause_min
        if child.runs:
            return [Terminate(name)]
        child.condition = Condition.WAITING
        child.restart_at = now
        return []

    def stop(self, now: Milliseconds) -> list[Effect]:
        """Stop everything in order; asked a second time, kill what is left."""
        if self._stopping:
            return [Kill(child.name) for child in self._children.values() if child.runs]
        self._stopping = True
        for child in self._children.values():
            if child.condition is Condition.WAITING:
                child.condition = Condition.GONE
        return self._next_stage(now)

    def _still_waiting(self, now: Milliseconds) -> list[Effect]:
        """Now and then, until the first time that everything was ready."""
        waits = (Condition.STARTING, Condition.WAITING)
        names = tuple(child.name for child in self._children.values() if child.condition in waits)
        if self._served or not names:
            self._say_at = None
            return []
        is_due = self._say_at is not None and now >= self._say_at
        if self._say_at is None or is_due:
            self._say_at = now + limits.STILL_WAITING_MS
        if is_due and self._serves_in_part():
            return self._all_ready()
        return [StillWaiting(names)] if is_due else []

    def _of_stage(self) -> list[_Child]:
        role = STOP_ORDER[self._stage]
        return [child for child in self._children.values() if child.role is role]

    def _next_stage(self, now: Milliseconds) -> list[Effect]:
        """Goes on to the first kind of which something still runs, once the one before is gone."""
        while self._stage < 0 or not any(child.runs for child in self._of_stage()):
            self._stage += 1
            if self._stage == len(STOP_ORDER):
                return self._all_gone()
            running = [child.name for child in self._of_stage() if child.runs]
            if running:
                self._kill_at = now + limits.DRAIN_MS_MAX
                return [Terminate(name) for name in running]
        return []

    def _going_on(self) -> list[_Child]:
        return [c for c in self._children.values() if c.condition is not Condition.FAILED]

    def _has_all_kinds(self) -> bool:
        return self._needed <= {child.role for child in self._going_on()}

    def _maybe_all_ready(self) -> list[Effect]:
        is_ready = all(child.condition is Condition.READY for child in self._going_on())
        if self._served or not is_ready or not self._has_all_kinds():
            return []
        return self._all_ready()

    def _serves_in_part(self) -> bool:
        """Whether only gateways are not ready, and what they miss will not come any more."""
        going_on = self._going_on()
        waiting = [child for child in going_on if child.condition is not Condition.READY]
        return (
            len(going_on) < len(self._children)
            and self._has_all_kinds()
            and all(c.role is Role.GATEWAY and c.runs for c in waiting)
        )

    def _all_ready(self) -> list[Effect]:
        self._served = True
        self._say_at = None
        children = self._children.values()
        return [AllReady(tuple(c.name for c in children if c.condition is Condition.FAILED))]

    def _all_failed_or_ready(self) -> list[Effect]:
        """What one failure more makes of the whole."""
        if self._going_on():
            return self._maybe_all_ready()
        self._exit_code = self._refusal or EXIT_FAILED
        return self._all_gone()

    def _all_gone(self) -> list[Effect]:
        if self._over:
            return []
        self._over = True
        self._kill_at = None
        return [AllGone()]
