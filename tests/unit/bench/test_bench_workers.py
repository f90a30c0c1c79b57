"""A load worker's lines reach the command whole, and one that fails is told in a sentence."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios

import pytest
from running_cluster import wait_for

from zmqim.bench.run import Worker
from zmqim.bench.worker import Connected
from zmqim.errors import EXIT_FAILED, DeadlinePassed, ZmqimError

SECONDS = 20.0
PIPE_BYTES = 65_536
LETTERS = 1_000_000
SAYS = f"""
import os, signal
from zmqim.bench.worker import say
signal.signal(signal.SIGUSR1, lambda *_: os.write(2, b"interrupted"))
say("x" * {LETTERS})
"""


def unread(fd: int) -> int:
    """Bytes that wait in a pipe."""
    found: int = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]
    return found


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_longer_than_a_pipe_is_written_whole_though_the_write_is_cut_short(
    unbuffered: str,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SAYS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        pipe = process.stdout.fileno()
        wait_for(lambda: unread(pipe) == PIPE_BYTES, SECONDS, "a full pipe")
        process.send_signal(signal.SIGUSR1)
        assert process.stderr.read(11) == b"interrupted"
        assert len(process.stdout.read()) == LETTERS + len('""\n')
    assert process.returncode == 0


async def heard(text: str, seconds: float = SECONDS, told: bytes = b"") -> Connected:
    """What a worker that is this Python text answers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        text,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1_000,
    )
    worker = Worker(process)
    try:
        if told:
            await process.wait()
            await worker.tell(told)
        return await worker.heard(Connected, seconds)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_an_answer_is_a_value() -> None:
    assert asyncio.run(heard("print('{\"connected\": 0.5}')")) == Connected(0.5)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pass", "ended with code 0 without an answer"),
        ("raise SystemExit(3)", "ended with code 3 without an answer"),
        ("import os; os.kill(os.getpid(), 9)", "ended with code -9 without an answer"),
        ("print('{\"connected\": 0', end='')", "ended with code 0 in the middle of its answer"),
        ("print('nonsense')", "cannot be read: b'nonsense"),
        ("print()", "cannot be read: b'"),
        ("print('{\"connected\": 0')", "cannot be read"),
        ('print(\'{"connected": "soon"}\')', "cannot be read"),
        ("import os; os.write(1, b'\\xff\\n')", "cannot be read"),
        ("import os; os.write(1, b'{\"\\xff\":1}\\n')", "cannot be read"),
        ("print('{\"failed\": 0}')", "cannot be read"),
        ('print(\'{"failed":"no way \\\\"there\\\\""}\')', 'failed: no way "there"'),
        ("print('x' * 1_500)", "answer is above"),
    ],
)
def test_a_worker_that_fails_or_answers_with_something_else_is_told_in_a_sentence(
    text: str, sentence: str
) -> None:
    with pytest.raises(ZmqimError) as error:
        asyncio.run(heard(text))
    assert sentence in error.value.what
    assert error.value.exit_code == EXIT_FAILED


def test_a_silent_worker_is_waited_for_so_long() -> None:
    with pytest.raises(DeadlinePassed):
        asyncio.run(heard("import time; time.sleep(60)", 0.2))


def test_a_worker_that_is_gone_cannot_be_told_anything() -> None:
    with pytest.raises(ZmqimError, match="ended before its work was done"):
        asyncio.run(heard("pass", told=b"go"))
