"""The gateway's process: asyncio on uvloop around the core, the bus and the listeners.

Whatever happens (a client's bytes, a readable bus socket, a deadline) is told to the core at once
and asks for a *turn*; all of one loop iteration share it. A turn takes in what the bus has, runs
what is due, ends the core's turn and performs its effects in order: one frame a router, one
write a client. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import entry_points
from random import Random
from typing import Any, Final, assert_never

import uvloop

from zmqim import limits
from zmqim.bus.effects import Send, View
from zmqim.bus.endpoint import Endpoint, feed, perform_send
from zmqim.bus.messages import Load
from zmqim.errors import DeadlinePassed, UsageError
from zmqim.gateway.core import GatewayCore
from zmqim.gateway.effects import (
    Answered,
    AskHook,
    CloseClient,
    Effect,
    OnlineFound,
    SetReading,
    ToClient,
)
from zmqim.gateway.plugin import (
    ENTRY_POINT_GROUP,
    Answer,
    Connection,
    Draft,
    HookVerdict,
    Listener,
    SessionChanged,
    SessionsPage,
    SessionTotals,
)
from zmqim.gateway.webhooks.before_send import ALLOWED, BeforeSend, hook_of
from zmqim.ids import Milliseconds, WallMilliseconds
from zmqim.process import ProcessContext
from zmqim.ring.document import ring_of
from zmqim.topology_values import Gateway
from zmqim.wkproto.packets import FromClient

TURN_PAUSE_MS_MAX: Final = 100
"""Longest time without a turn: a lost wake-up of an edge-triggered descriptor costs no more."""
LOAD_PAUSE_MS: Final = 1_000
DRAIN_SHARE_MS: Final = limits.DRAIN_MS_MAX * 6 // 10
"""Of DRAIN_MS_MAX, for what is in flight; the rest is for closing."""
CLOSE_SECONDS_MAX: Final = 3.0
"""For a listener to close. Above: the process leaves without it."""
FILES_RESERVED: Final = 1_000


def run(context: ProcessContext) -> None:
    """Run the gateway until it is told to stop; returns when everything is closed."""
    _allow_files(context.topology.limits.sessions_max + FILES_RESERVED)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(context))


def _allow_files(wanted: int) -> None:
    """Raise the soft limit of open files as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(context: ProcessContext) -> None:
    shell = Shell(context)
    try:
        await shell.start()
        # The listeners brought their libraries, which stay: no collection shall go through them.
        gc.collect()
        gc.freeze()
        await shell.until_stopped()
        await shell.drain()
    finally:
        await shell.close()


def _now() -> Milliseconds:
    return Milliseconds(time.monotonic_ns() // 1_000_000)


def _wall() -> WallMilliseconds:
    return WallMilliseconds(time.time_ns() // 1_000_000)


def make_listener(scheme: str) -> type[Listener]:
    """The class that the entry point named `scheme` gives."""
    found = entry_points(group=ENTRY_POINT_GROUP, name=scheme)
    if not found:
        known = ", ".join(sorted(entry_points(group=ENTRY_POINT_GROUP).names))
        raise UsageError(
            f"No gateway plug-in is installed for {scheme}://.", hint=f"There are: {known}."
        )
    listener: type[Listener] = next(iter(found)).load()
    return listener


class Shell:
    """One gateway process; the `GatewayPort` of its listeners."""

    def __init__(self, context: ProcessContext) -> None:
        self.context = context
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._loop.set_exception_handler(self._fault)
        now = _now()
        topology = context.topology
        ring = ring_of(topology)
        random = Random(secrets.randbits(64))
        self._core = GatewayCore(
            context.me.name,
            context.identity.node_uuid,
            ring,
            topology.limits,
            random,
            now,
            topology.gateway_number(context.me.name),
        )
        self._endpoint = Endpoint(context.identity, topology, ring, random, now)
        self._listeners: list[tuple[str, Listener, str]] = []
        """(scheme, the plug-in, what clients connect to)."""
        self._watchers: list[Callable[[SessionChanged], None]] = []
        self._reports: dict[str, str] = {}
        self._hook: BeforeSend | None = None
        self._hook_tasks: set[asyncio.Task[None]] = set()
        self._connections: dict[int, Connection] = {}
        self._last_session = 0
        self._last_token = 0
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._turn_is_due = False
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._load_at = now
        self._lag_ms = 0
        self._was_ready = False
        self._started = now

    # ---- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the bus and open the listeners."""
        context = self.context
        context.metrics.counters("gateway", "Counts of the gateway.", self._core.counters.read)
        context.metrics.gauges("gateway", "Sizes of the gateway.", self._core.gauges)
        context.metrics.counters("bus", "Counts of the bus.", self._endpoint.counters)
        for fd in self._endpoint.fds():
            self._loop.add_reader(fd, self._want_turn)
        self._loop.add_reader(context.control.fileno(), self._serve_control)
        self._loop.add_reader(context.stopping.fileno(), self._look_at_stopping)
        self._want_turn()
        me = context.me
        assert isinstance(me, Gateway), f"{me.name} is no gateway"
        if context.topology.before_send is not None:
            self._hook = hook_of(context.topology.before_send, self, context.logger)
            self._core.use_hook()
        for described in me.listeners:
            settings = {"advertise": described.advertise, **dict(described.settings)}
            listener = make_listener(described.scheme)(described.url, self, settings)
            await listener.start()
            advertised = described.advertise
            if not advertised or advertised == described.url:
                advertised = f"{described.scheme}://{listener.bound}"
            self._listeners.append((described.scheme, listener, advertised))
            what = "connecting" if described.connects else "listening"
            context.logger.info(what, scheme=described.scheme, address=listener.bound)

    async def until_stopped(self) -> None:
        """Return when the process is asked to stop; raises what broke the loop."""
        self._look_at_stopping()
        await self._over

    async def drain(self) -> None:
        """Accept nothing, finish what is in flight, end the sessions so that SDKs come back."""
        deadline = _now() + DRAIN_SHARE_MS
        for _, listener, _ in self._listeners:
            listener.stop_accepting()
        self._core.drain(_now())
        self._want_turn()
        while self._core.in_flight and _now() < deadline:
            await asyncio.sleep(0.01)
        self._core.close_all(_now())
        self._turn()

    async def close(self) -> None:
        """Give back everything."""
        for _, listener, _ in self._listeners:
            try:
                await asyncio.wait_for(listener.close(), CLOSE_SECONDS_MAX)
            except TimeoutError:
                self.context.logger.warning("a listener did not close in time")
        for task in list(self._hook_tasks):
            task.cancel()
        if self._hook is not None:
            await self._hook.close()
        if self._timer is not None:
            self._timer.cancel()
        self._turn_is_due = self._is_closed = True  # No turn comes any more.
        for fd in (
            *self._endpoint.fds(),
            self.context.control.fileno(),
            self.context.stopping.fileno(),
        ):
            self._loop.remove_reader(fd)
        for future in self._asked.values():
            future.cancel()
        self._endpoint.leave(_now())
        self._endpoint.close()

    def _look_at_stopping(self) -> None:
        if self.context.stopping.requested and not self._over.done():
            self._loop.remove_reader(self.context.stopping.fileno())
            self._over.set_result(None)

    def _fault(self, loop: asyncio.AbstractEventLoop, fault: dict[str, Any]) -> None:
        """A bug of ours: about one connection it ends that one, about anything else the process."""
        error = fault.get("exception")
        transport = fault.get("transport")
        if transport is not None:
            self._core.counters.count("connection_faults")
            self.context.logger.error("a connection ended by a fault", exc_info=error)
            transport.abort()
        elif error is not None and not self._over.done():
            self._over.set_exception(error)
        else:
            self.context.logger.error(fault.get("message", "a fault"), exc_info=error)

    # ---- the turn ----------------------------------------------------------------------------

    def _want_turn(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        if self._is_closed:
            return
        self._turn_is_due = False
        now = _now()
        wall = _wall()
        core, endpoint = self._core, self._endpoint
        core.set_wall_offset(wall - now)
        feed(core, now, endpoint.turn(now, wall))
        core.wake(now)
        again = self._perform(now, core.turn(now))
        endpoint.flush(now)
        if now >= self._load_at:
            self._report_load(now)
        due = core.next_wake()
        wake: int = min(endpoint.next_wake(now), now + TURN_PAUSE_MS_MAX)
        if due is not None:
            wake = min(wake, due)
        if again or wake <= now:
            self._want_turn()
        else:
            self._wake_at(now, wake)

    def _wake_at(self, now: int, wake: int) -> None:
        if self._timer is not None and now < self._timer_at <= wake:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = wake
        self._timer = self._loop.call_later((wake - now) / 1000, self._timer_due)

    def _timer_due(self) -> None:
        self._timer = None
        self._lag_ms = max(self._lag_ms, _now() - self._timer_at)
        self._want_turn()

    def _perform(self, now: Milliseconds, effects: list[Effect]) -> bool:
        """Perform in order; True: something bounced, and the core has a further turn to do.

        A connection may be lost between the core's decision and now.
        """
        again = False
        connections = self._connections
        for effect in effects:
            match effect:
                case ToClient(session, packets):
                    if session in connections:
                        connections[session].deliver(packets)
                case Send():
                    again |= not perform_send(self._endpoint, self._core, now, effect)
                case CloseClient(session, reason):
                    if session in connections:
                        connections.pop(session).close(reason)
                case SetReading(session, on):
                    if session in connections:
                        connections[session].set_reading(on)
                case Answered(token, code, result):
                    self._answer(token, Answer(code, result))
                case OnlineFound(token, devices):
                    self._answer(token, devices)
                case AskHook(token, draft):
                    task = self._loop.create_task(self._ask_hook(token, draft))
                    self._hook_tasks.add(task)
                    task.add_done_callback(self._hook_asked)
                case SessionChanged():
                    for watcher in self._watchers:
                        watcher(effect)
                case _:
                    assert_never(effect)
        return again

    def _answer(self, token: int, answer: object) -> None:
        future = self._asked.pop(token)
        if not future.done():
            future.set_result(answer)

    # ---- the operator ------------------------------------------------------------------------

    def _report_load(self, now: Milliseconds) -> None:
        self._load_at = Milliseconds(now + LOAD_PAUSE_MS)
        sizes = self._core.gauges()
        self._endpoint.set_load(
            Load(
                loop_lag_ms=min(self._lag_ms, 65_535),
                queue_depth=self._core.in_flight,
                rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                sessions=sizes["sessions"],
            )
        )
        self._lag_ms = 0
        if self._core.ready and not self._was_ready:
            self._was_ready = True
            self.context.ready()

    def _serve_control(self) -> None:
        self.context.control.serve(self._status)

    def _status(self) -> dict[str, object]:
        problems = self._core.problems() + self._endpoint.problems()
        problems += list(self._reports.values())
        return {"members": self._endpoint.roster(), "problems": problems, **self._core.gauges()}

    # ---- the port ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of this process in the topology."""
        return self.context.me.name

    @property
    def ready(self) -> bool:
        """A leader of every partition has answered once, and more; see the port."""
        return self._core.ready

    @property
    def system_uids(self) -> frozenset[str]:
        """The uids that no list stops, as far as it is known here."""
        return self._core.system_uids

    def not_ready(self) -> str:
        """Why not, as a sentence; empty when `ready`."""
        return "; ".join(self._core.problems())

    def view(self) -> View:
        """Who is alive, as gossip here sees it."""
        return self._endpoint.view()

    def open_session(self, connection: Connection, peer_address: str) -> int | None:
        """A client connected; None: close at once."""
        if not self._core.has_room:
            self._core.counters.count("connections_turned_away")
            return None
        self._last_session += 1
        number = self._last_session
        self._connections[number] = connection
        self._core.session_opened(_now(), number, peer_address)
        return number

    def packets(self, session: int, packets: Sequence[FromClient]) -> None:
        """What the client sent, in order."""
        self._core.packets(_now(), session, packets)
        self._want_turn()

    def writable(self, session: int, on: bool) -> None:
        """The client's write buffer is above its bound, or has drained."""
        self._core.writable(_now(), session, on)
        self._want_turn()

    def close_session(self, session: int) -> None:
        """The connection is gone."""
        if self._connections.pop(session, None) is not None:
            self._core.session_closed(_now(), session)
            self._want_turn()

    def ask(self, kind: int, key: bytes, body: bytes, deadline_ms: int) -> Awaitable[Answer]:
        """Ask a partition; see `zmqim.gateway.plugin.GatewayPort`."""
        token, future = self._token()
        self._core.ask(_now(), token, kind, key, body, deadline_ms)
        self._want_turn()
        return future

    async def online(self, uids: Sequence[str]) -> list[tuple[str, int]]:
        """Who is online; see `zmqim.gateway.plugin.GatewayPort`."""
        token, future = self._token()
        self._core.online(_now(), token, uids)
        self._want_turn()
        devices: list[tuple[str, int]] | None = await future
        if devices is None:
            raise DeadlinePassed("No router answered who is online.", hint="Try again.")
        return devices

    def _token(self) -> tuple[int, asyncio.Future[Any]]:
        self._last_token += 1
        future = self._loop.create_future()
        self._asked[self._last_token] = future
        return self._last_token, future

    def sessions(
        self, uid: str, order: str, descending: bool, offset: int, limit: int
    ) -> SessionsPage:
        """Some sessions; see `zmqim.gateway.plugin.GatewayPort`."""
        return self._core.sessions(_now(), uid, order, descending, offset, limit)

    def session_totals(self) -> SessionTotals:
        """All sessions together; see `zmqim.gateway.plugin.GatewayPort`."""
        return self._core.session_totals()

    def dismiss_session(self, session: int, uid: str, kick: bool) -> bool:
        """End a session; see `zmqim.gateway.plugin.GatewayPort`."""
        self._want_turn()
        return self._core.dismiss_session(_now(), session, uid, kick)

    @property
    def uptime_ms(self) -> int:
        """Since this process began to serve."""
        return _now() - self._started

    async def before_send(self, draft: Draft) -> HookVerdict:
        """Ask the application; see `zmqim.gateway.plugin.GatewayPort`."""
        return ALLOWED if self._hook is None else await self._hook.ask(draft)

    def _hook_asked(self, task: asyncio.Task[None]) -> None:
        self._hook_tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            fault = {"message": "the hook ended by a fault", "exception": task.exception()}
            self._loop.call_exception_handler(fault)

    async def _ask_hook(self, token: int, draft: Draft) -> None:
        self._core.hook_answered(_now(), token, await self.before_send(draft))
        self._want_turn()

    def watch_sessions(self, watcher: Callable[[SessionChanged], None]) -> None:
        """Tell `watcher` of sessions; see `zmqim.gateway.plugin.GatewayPort`."""
        self._core.watch_sessions()
        self._watchers.append(watcher)

    def report(self, source: str, problem: str) -> None:
        """Show a problem until it is over; see `zmqim.gateway.plugin.GatewayPort`."""
        self._reports.pop(source, None)
        if problem:
            self._reports[source] = problem

    def count(self, counter: str, by: int = 1) -> None:
        """Add to a counter of this gateway."""
        self._core.counters.count(counter, by)

    def counters(self) -> Mapping[str, int]:
        """All counters and gauges, by name."""
        return {**self._core.counters.read(), **self._core.gauges()}

    def addresses(self) -> Mapping[str, str]:
        """What clients connect to, by scheme."""
        return {scheme: advertised for scheme, _, advertised in self._listeners}
