"""The router as a process: one thread, one poll around `RouterCore`.

    poll → take in a bounded batch → what is due → end of the turn → send → poll

It serves once it is linked to every storage that gossip sees. Asked to stop, it goes on for as long
as answers are on their way (at most ROUTER_DRAIN_MS_MAX), then says Goodbye and closes.
"""

from __future__ import annotations

from random import SystemRandom
from time import monotonic_ns, time_ns
from typing import Final

from zmqim.bus.endpoint import Endpoint, feed, perform_send
from zmqim.bus.messages import Load
from zmqim.ids import Milliseconds, WallMilliseconds
from zmqim.limits import ROUTER_DRAIN_MS_MAX
from zmqim.process import ProcessContext
from zmqim.ring.document import ring_of
from zmqim.router.core import RouterCore

WAIT_MS_MAX: Final = 1_000
"""The longest sleep: heartbeats end it earlier."""
LOAD_MS: Final = 1_000
"""How often the load that heartbeats tell is measured."""


def run(context: ProcessContext) -> None:
    """Runs the router until it is told to stop."""
    random = SystemRandom()
    ring = ring_of(context.topology)
    endpoint = Endpoint(context.identity, context.topology, ring, random, _now())
    try:
        core = RouterCore(context.me.name, ring, random)
        _Shell(context, endpoint, core).run()
    finally:
        endpoint.close()


class _Shell:
    """The loop, and what it tells the supervisor, the operator and the other processes."""

    def __init__(self, context: ProcessContext, endpoint: Endpoint, core: RouterCore) -> None:
        self._context = context
        self._endpoint = endpoint
        self._core = core
        self._is_ready = False
        self._load_at = _now()
        self._core_due = self._load_at
        """When the core has to be called even if nothing happened."""
        self._loop_lag_ms = 0
        context.metrics.counters("router", "What the router did.", core.counters)
        context.metrics.gauges("router", "What the router holds.", core.gauges)
        context.metrics.counters("bus", "What happened on the bus.", endpoint.counters)

    def run(self) -> None:
        """Turn after turn until a stop was asked for and is done."""
        context = self._context
        control = context.control.fileno()
        extra_fds: tuple[int, ...] = (context.stopping.fileno(), control)
        drain_until: Milliseconds | None = None
        while True:
            now = _now()
            self._turn(now)
            if context.stopping.requested:
                if drain_until is None:
                    drain_until = Milliseconds(now + ROUTER_DRAIN_MS_MAX)
                if now >= drain_until or not self._core.items_in_flight:
                    self._endpoint.leave(now)
                    return
                extra_fds = (control,)
            self._tell(now)
            timeout_ms = self._timeout_ms(now, drain_until)
            self._loop_lag_ms = max(self._loop_lag_ms, _now() - now)
            if control in self._endpoint.wait(timeout_ms, extra_fds):
                context.control.serve(self._status)

    def _turn(self, now: Milliseconds) -> None:
        """One turn. If nothing but heartbeats came, the core has nothing to do in it."""
        endpoint, core = self._endpoint, self._core
        events = endpoint.turn(now, WallMilliseconds(time_ns() // 1_000_000))
        is_due = self._core_due <= now
        if not events and not is_due:
            return
        feed(core, now, events)
        if is_due:
            core.wake(now)
        all_sent = True
        for effect in core.turn(now):
            if not perform_send(endpoint, core, now, effect):
                all_sent = False
        endpoint.flush(now)
        wake = core.next_wake()
        if not all_sent:
            self._core_due = now
        else:
            self._core_due = Milliseconds(now + WAIT_MS_MAX) if wake is None else wake

    def _timeout_ms(self, now: Milliseconds, drain_until: Milliseconds | None) -> int:
        wake = min(self._endpoint.next_wake(now), self._core_due)
        if drain_until is not None:
            wake = min(wake, drain_until)
        return max(0, min(wake - now, WAIT_MS_MAX))

    def _tell(self, now: Milliseconds) -> None:
        """Readiness once, load now and then."""
        if not self._is_ready and self._core.is_serving():
            self._is_ready = True
            self._context.ready()
            self._context.logger.info("router serves", storages=len(self._endpoint.view().storages))
        if now >= self._load_at:
            self._load_at = Milliseconds(now + LOAD_MS)
            sizes = self._core.gauges()
            load = Load(
                loop_lag_ms=self._loop_lag_ms,
                queue_depth=sizes["notices_waiting"],
                sessions=sizes["sessions"],
            )
            self._loop_lag_ms = 0
            self._endpoint.set_load(load)

    def _status(self) -> dict[str, object]:
        """What `zmqim status` shows of this router."""
        return {
            "members": self._endpoint.roster(),
            "problems": self._endpoint.problems(),
            **self._core.gauges(),
        }


def _now() -> Milliseconds:
    return Milliseconds(monotonic_ns() // 1_000_000)
