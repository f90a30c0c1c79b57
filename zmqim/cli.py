"""zmqim: an instant-messaging server that is a cluster of plain processes.

Usage:
  zmqim COMMAND [ARGUMENT...]
  zmqim --help | --version

Commands:
  up       start a cluster (or this host's part of it) and keep it running
  down     stop it in order
  restart  restart one process, also one that was given up
  status   what runs, and what is wrong
  chat     talk to somebody in this terminal
  send     send one message
  tail     follow what a user receives
  bench    measure a running cluster
  webhooks what an application did not take: show, replay, drop
  keys     show or renew the key of the HTTP API
  check    look for faults in a topology file

Options:
  -h --help  Show this; `zmqim COMMAND --help` shows more of a command.
  --version  Show the version.

Exit codes:
  0 done                      5 a port is in use
  1 failed                    6 stored data is damaged
  2 command line, path or     7 no answer in time
    topology is wrong         8 the server refused
  3 no cluster is running     9 the disk is full or failed
  4 one is running already  130 interrupted
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from docopt import DocoptExit, docopt

from zmqim.errors import EXIT_OK, EXIT_USAGE, UsageError, ZmqimError
from zmqim.toml_tables import did_you_mean
from zmqim.version import version_text

COMMANDS = (
    "up",
    "down",
    "restart",
    "status",
    "chat",
    "send",
    "tail",
    "bench",
    "webhooks",
    "keys",
    "check",
)
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. Faults end as a sentence, never as a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except DocoptExit as error:
        print(_usage_of(str(error), error.usage), file=sys.stderr)
        return EXIT_USAGE
    except ZmqimError as error:
        print(f"zmqim: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; nothing is left to say
        return EXIT_OK


def _dispatch(words: list[str]) -> int:
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        raise UsageError(
            f"There is no command {words[0]!r}{did_you_mean(words[0], COMMANDS)}.",
            hint="`zmqim --help` lists them.",
        )
    found = docopt(__doc__ or "", words, version=f"zmqim {version_text()}", options_first=True)
    command = importlib.import_module(f"zmqim.commands.{found['COMMAND']}")
    code = command.run(docopt(command.__doc__ or "", words))
    assert isinstance(code, int), "a command returns its exit code"
    return code


def _usage_of(said: str, usage: str) -> str:
    """What is wrong with the command line, and how it should be. docopt itself shows its parse."""
    usage = usage.strip()
    fault = said.removesuffix(usage).strip()
    if not fault or fault.startswith("Warning:"):
        fault = "Something is missing, or does not belong there"
    return f"zmqim: {fault}.\n{usage}\n  `zmqim COMMAND --help` says what each is."


if __name__ == "__main__":
    sys.exit(main())
