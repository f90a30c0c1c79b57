"""When a process must stop: SIGTERM, or its supervisor is gone.

The supervisor cannot say goodbye when it is killed, so its end is seen as the end of pipes. Every
child holds the read end of a pipe of which only the supervisor holds a write end. Routers also hold
the read end of a pipe whose write ends are held by the supervisor *and every gateway*; storages one
of the supervisor and every router. The kernel closes write ends at any kind of death, so a router
reads the end of its second pipe exactly when no gateway of this host is left: the order of stopping
(gateways, routers, storages) holds without anybody who gives orders. A clock bounds the wait.
"""

from __future__ import annotations

import os
import select
import signal
from types import FrameType

from zmqim import limits
from zmqim.bus.messages import Role

ORPHAN_MS_MAX = {
    Role.GATEWAY: 0,
    Role.ROUTER: limits.ORPHAN_ROUTER_MS_MAX,
    Role.STORAGE: limits.ORPHAN_STORAGE_MS_MAX,
}


class StopRequest:
    """The `zmqim.process.Stopping` of a real process. Takes SIGTERM, SIGINT, SIGHUP and SIGALRM."""

    def __init__(self, role: Role, supervisor_fd: int, before_fd: int | None) -> None:
        self._role = role
        self._requested = False
        self._supervisor_fd = supervisor_fd
        self._before_fd = before_fd
        self._signal_fd, self._signalled_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._signal_fd, select.EPOLLIN)
        self._epoll.register(supervisor_fd, select.EPOLLIN)
        if before_fd is not None:
            self._epoll.register(before_fd, select.EPOLLIN)
        signal.signal(signal.SIGTERM, self._signalled)
        signal.signal(signal.SIGALRM, self._signalled)
        # Ctrl-C and a closed terminal are for the supervisor, which stops us in order.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def fileno(self) -> int:
        """An epoll of all reasons to stop: readable when one of them may have come."""
        return self._epoll.fileno()

    @property
    def requested(self) -> bool:
        """True once the process must drain and exit."""
        if not self._requested:
            for fd, _ in self._epoll.poll(0):
                self._look(fd)
        return self._requested

    def close(self) -> None:
        """Gives the descriptors back; the flag keeps its value."""
        self._requested = True
        self._epoll.close()
        os.close(self._signal_fd)
        os.close(self._signalled_fd)

    def _look(self, fd: int) -> None:
        if fd != self._supervisor_fd:
            self._request()
            return
        self._epoll.unregister(fd)
        wait_ms = ORPHAN_MS_MAX[self._role]
        if self._before_fd is None or not wait_ms:
            self._request()
        elif not self._requested:
            signal.setitimer(signal.ITIMER_REAL, wait_ms / 1000)

    def _request(self) -> None:
        """From here on the kernel ends the process if draining hangs: no supervisor may be left."""
        if self._requested:
            return
        self._requested = True
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 2 * limits.DRAIN_MS_MAX / 1000)

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        try:
            os.write(self._signalled_fd, b"!")
        except BlockingIOError:
            return  # the pipe is full of earlier requests
