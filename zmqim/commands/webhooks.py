"""Show, replay and drop what applications did not take of their webhooks (dead letters).

Usage:
  zmqim webhooks list [--json] [--data DIR]
  zmqim webhooks show LETTER [--json] [--data DIR]
  zmqim webhooks (replay | drop) (--all | LETTER...) [--json] [--data DIR]
  zmqim webhooks forget NAME [--data DIR] [--api URL --key KEY]

Options:
  --all       Every dead letter of this host.
  --json      For machines. list: [{"letter", "webhook", "event", "why", "at", "bytes"}]; show: the
              same and "body", the JSON that was posted; replay and drop: {"done": [letter],
              "left": [{"letter", "why"}]}.
  --data DIR  The data folder of the cluster [default: zmqim-data].
  --api URL   The HTTP API of a cluster elsewhere, http://HOST:PORT; several between commas.
  --key KEY   Its API key.
  -h --help   Show this.

Dead letters are on the disk of the gateway that tried: look on each host that has a gateway with
the webhook. They can be shown, replayed and dropped while the cluster runs and while it does not.
A replayed one is posted once, signed anew, and dropped when it is taken; what is not taken is left.
`forget` ends what the cluster keeps for a webhook that was taken out of the topology.

Exit code 8: an application did not take something. docs/WEBHOOKS.md says more.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.table import Table

from zmqim.commands.access import access_of
from zmqim.commands.tables import print_table
from zmqim.errors import EXIT_OK, EXIT_REFUSED, NotRunning, UsageError
from zmqim.gateway.webhooks.letters import DeadLetters, Letter, all_letters
from zmqim.gateway.webhooks.posting import Poster, Taken, secret_of
from zmqim.node.folders import DataFolder
from zmqim.topology import Topology, load
from zmqim.webhook_settings import settings_of


class _Found(NamedTuple):
    """A letter with where it is."""

    gateway: str
    letters: DeadLetters
    name: str

    @property
    def title(self) -> str:
        """How people call it: ``gateway-1/im/0001764209000123-000001``."""
        return f"{self.gateway}/{self.letters.folder.name}/{self.name}"

    def read(self) -> Letter:
        return self.letters.read(self.name)


def run(arguments: Mapping[str, Any]) -> int:
    """The command; its exit code."""
    if arguments["forget"]:
        name = arguments["NAME"]
        asyncio.run(access_of(arguments).ask("/webhook/forget", {"name": name}))
        print(f"Nothing is kept for webhook {name} any more.")
        return EXIT_OK
    data = DataFolder(arguments["--data"])
    if not data.path.is_dir():
        raise NotRunning(
            f"There is no data folder {str(data.path)!r}.", hint="Name the right one with --data."
        )
    found = list(_find(data))
    if arguments["list"]:
        return _list(found, for_machines=arguments["--json"])
    chosen = found if arguments["--all"] else [_one(found, one) for one in arguments["LETTER"]]
    if arguments["show"]:
        return _show(chosen[0], for_machines=arguments["--json"])
    left: list[tuple[str, str]] = []
    if arguments["replay"]:
        left = asyncio.run(_replay(data, chosen))
    else:
        for one in chosen:
            one.letters.drop(one.name)
    return _report(chosen, left, arguments)


def _find(data: DataFolder) -> Iterator[_Found]:
    for gateway, letters in all_letters(data.path):
        for name in letters.names():
            yield _Found(gateway, letters, name)


def _one(found: list[_Found], title: str) -> _Found:
    for one in found:
        if one.title == title:
            return one
    raise UsageError(
        f"There is no dead letter {title!r}.", hint="`zmqim webhooks list` shows their names."
    )


def _facts(one: _Found) -> dict[str, Any]:
    letter = one.read()
    return {
        "letter": one.title,
        "webhook": letter.webhook,
        "event": letter.event,
        "why": letter.why,
        "at": letter.at,
        "bytes": len(letter.content),
    }


def _list(found: list[_Found], *, for_machines: bool) -> int:
    rows = [_facts(one) for one in found]
    if for_machines:
        print(json.dumps(rows))
    elif not rows:
        print("No dead letters on this host.")
    else:
        table = Table("letter", "event", "when (UTC)", "why", "bytes")
        for row in rows:
            when = _when(row["at"])
            table.add_row(row["letter"], row["event"], when, row["why"], str(row["bytes"]))
        print_table(table)
    return EXIT_OK


def _show(one: _Found, *, for_machines: bool) -> int:
    facts, body = _facts(one), json.loads(one.read().content)
    if for_machines:
        print(json.dumps({**facts, "body": body}))
    else:
        print(f"{facts['event']} of webhook {facts['webhook']}, {_when(facts['at'])} UTC")
        print(f"not taken: {facts['why']}")
        print(json.dumps(body, indent=2, ensure_ascii=False))
    return EXIT_OK


def _when(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _report(chosen: list[_Found], left: list[tuple[str, str]], arguments: Mapping[str, Any]) -> int:
    kept = dict(left)
    done = [one.title for one in chosen if one.title not in kept]
    if arguments["--json"]:
        rows = [{"letter": title, "why": why} for title, why in left]
        print(json.dumps({"done": done, "left": rows}))
    else:
        print(f"{'replayed' if arguments['replay'] else 'dropped'}: {len(done)}")
        for title, why in left:
            print(f"{title} is left: {why}", file=sys.stderr)
    return EXIT_REFUSED if left else EXIT_OK


async def _replay(data: DataFolder, chosen: list[_Found]) -> list[tuple[str, str]]:
    """Post each letter once, oldest first; (letter, why) of what is left."""
    if not data.topology.exists():
        raise NotRunning(
            f"No cluster ever ran on {str(data.path)!r}.", hint="Name the right one with --data."
        )
    topology = load(data.topology, key_needed=False)
    posters: dict[tuple[str, str], Poster] = {}
    left = []
    try:
        for one in chosen:
            letter = one.read()
            place = (one.gateway, letter.webhook)
            if place not in posters:
                posters[place] = _poster(topology, *place)
            verdict = await posters[place].post(letter.event, letter.content)
            if verdict.taken is Taken.YES:
                one.letters.drop(one.name)
            else:
                left.append((one.title, verdict.why))
    finally:
        for poster in posters.values():
            await poster.close()
    return left


def _poster(topology: Topology, gateway: str, webhook: str) -> Poster:
    for process in topology.gateways:
        for listener in process.listeners:
            settings = dict(listener.settings)
            if process.name == gateway and settings.get("name") == webhook:
                found = settings_of(settings)
                return Poster(listener.url, found, secret_of(found))
    raise UsageError(
        f"The topology has no webhook {webhook!r} at {gateway} any more.",
        hint="Its dead letters can be shown and dropped.",
    )
