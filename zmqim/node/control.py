"""Questions to a running process: one JSON line in, one JSON line out, over a unix socket.

Every process and the supervisor listen on ``<data>/run/<name>.sock``, a folder that only the owner
may enter; `zmqim status` and `zmqim down` ask there. A unix socket's path has at most 107 bytes, so
both sides name it through an open descriptor of the folder (``/proc/self/fd/N/<name>.sock``), and a
data folder may have any path.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import orjson

from zmqim import limits
from zmqim.errors import DeadlinePassed, NotRunning

Answer = Callable[[], Mapping[str, object]]
_QUESTION_BYTES_MAX = 1_024


class ControlServer:
    """Answers questions whenever its loop finds time; never blocks."""

    def __init__(
        self,
        folder: Path,
        name: str,
        answers: Mapping[str, Answer],
        facts: Mapping[str, object],
    ) -> None:
        """`answers` maps a question to what answers it; "status" is answered by `serve`, with
        `facts` in front."""
        self._answers = dict(answers)
        self._facts = dict(facts)
        self._path = folder / f"{name}.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._path.unlink(missing_ok=True)
        with _reachable(folder, name) as address:
            self._socket.bind(address)
        self._socket.listen(8 * limits.CONTROL_CLIENTS_MAX)
        self._epoll = select.epoll()
        self._epoll.register(self._socket, select.EPOLLIN)
        self._clients: dict[int, _Client] = {}

    def fileno(self) -> int:
        """An epoll of the listener and its clients."""
        return self._epoll.fileno()

    def serve(self, status: Answer) -> None:
        """Accepts, reads and answers what is there."""
        answers = {**self._answers, "status": lambda: {**self._facts, **status()}}
        for fd, _ in self._epoll.poll(0):
            if fd == self._socket.fileno():
                self._accept()
                continue
            client = self._clients.get(fd)
            if client is None:
                continue  # dropped for a newer one a moment ago
            if not client.go_on(answers):
                self._drop(fd)
            elif client.writes:
                self._epoll.modify(fd, select.EPOLLOUT)

    def close(self) -> None:
        """Closes the socket and everyone on it."""
        for fd in list(self._clients):
            self._drop(fd)
        self._epoll.close()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return  # whoever knocked is gone again
        connection.setblocking(False)
        if len(self._clients) >= limits.CONTROL_CLIENTS_MAX:
            self._drop(next(iter(self._clients)))
        self._clients[connection.fileno()] = _Client(connection)
        self._epoll.register(connection, select.EPOLLIN)

    def _drop(self, fd: int) -> None:
        client = self._clients.pop(fd)
        self._epoll.unregister(fd)
        client.connection.close()


class _Client:
    """One question: bytes until the line ends, then the answer until it is written."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._question = bytearray()
        self._answer = b""

    @property
    def writes(self) -> bool:
        return bool(self._answer)

    def go_on(self, answers: Mapping[str, Answer]) -> bool:
        """Reads or writes what is possible now; False when there is nothing left to do."""
        try:
            if not self._answer and not self._read(answers):
                return False
            if self._answer:
                sent = self.connection.send(self._answer)
                self._answer = self._answer[sent:]
                return bool(self._answer)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _read(self, answers: Mapping[str, Answer]) -> bool:
        data = self.connection.recv(_QUESTION_BYTES_MAX)
        self._question += data
        if b"\n" not in self._question:
            return bool(data) and len(self._question) < _QUESTION_BYTES_MAX
        question = bytes(self._question).partition(b"\n")[0].decode(errors="replace")
        answer = answers.get(question)
        found = answer() if answer is not None else {"error": f"nobody answers {question!r} here"}
        self._answer = orjson.dumps(found, default=str) + b"\n"
        return True


def ask(folder: Path, name: str, question: str) -> dict[str, object]:
    """Asks the process `name` whose socket is in `folder`.

    NotRunning when nobody listens, DeadlinePassed when there is no answer in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(limits.CONTROL_ANSWER_MS / 1000)
        try:
            with _reachable(folder, name) as address:
                connection.connect(address)
            connection.sendall(question.encode() + b"\n")
            answer = _all_of(connection)
        except (TimeoutError, BlockingIOError):  # no answer, or too many wait to be accepted
            seconds = limits.CONTROL_ANSWER_MS // 1000
            raise DeadlinePassed(f"{name} did not answer within {seconds} s.") from None
        except OSError:
            raise NotRunning(f"{name} does not run.") from None
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError:
        raise NotRunning(f"{name} ended before it answered.") from None
    assert isinstance(found, dict), "answers are JSON objects"
    return found


def _all_of(connection: socket.socket) -> bytes:
    answer = bytearray()
    while data := connection.recv(65_536):
        answer += data
        if len(answer) > limits.CONTROL_BYTES_MAX:
            break
    return bytes(answer)


@contextlib.contextmanager
def _reachable(folder: Path, name: str) -> Iterator[str]:
    """A short path of the socket, good while the context lasts."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}.sock"
    finally:
        os.close(fd)
