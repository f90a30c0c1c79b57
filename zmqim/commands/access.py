"""How chat, send and tail reach a cluster: through its data folder, or by addresses that are given.

A login needs a token, and only its hash is stored. So whoever holds the API key registers a fresh
one, for a device flag that the user's own apps do not use.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zmqim.chat.codes import Reason
from zmqim.client import Client
from zmqim.client.core import refusal
from zmqim.client.http import addresses_of, call
from zmqim.errors import NotRunning, UsageError
from zmqim.node.cluster import running_cluster


@dataclass(frozen=True, slots=True)
class Access:
    """Where the cluster is, and the key of its API."""

    servers: tuple[str, ...]
    apis: tuple[str, ...]
    """Of all its gateways: the next is asked when one does not answer."""
    key: str

    async def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST to the API; twice if a gateway dies in the middle, so it must bear repetition."""
        return await call(self.apis, path, body, key=self.key)

    async def login(self, uid: str, device_flag: int) -> Client:
        """A client that is online as `uid`, with a token made for it; says so."""
        if not self.servers:
            raise NotRunning("No gateway of this cluster listens for the client protocol here.")
        token = secrets.token_hex(16)
        body = {"uid": uid, "token": token, "device_flag": device_flag, "device_level": 0}
        answer = await self.ask("/user/token", body)
        if answer.get("status") == Reason.BANNED:
            raise refusal(f"{uid} may not log in", Reason.BANNED)
        print(f"Registered a fresh token for {uid} (device flag {device_flag}).", file=sys.stderr)
        client = Client(
            self.servers,
            uid,
            token,
            device_flag=device_flag,
            api=self.apis,
            api_key=self.key,
        )
        await client.connect()
        return client


def access_of(arguments: Mapping[str, Any]) -> Access:
    """What --data, --server, --api and --key say together."""
    server, api, key = arguments.get("--server"), arguments["--api"], arguments["--key"]
    if api and key and (server or "--server" not in arguments):
        return Access(tuple(addresses_of(server or "")), tuple(addresses_of(api)), key)
    if server or api or key:
        raise UsageError(
            "A cluster elsewhere needs all of its addresses and its key.",
            hint="Give --server tcp://HOST:PORT, --api http://HOST:PORT and --key KEY.",
        )
    cluster = running_cluster(arguments["--data"])
    apis = tuple(gateway["http"] for gateway in cluster.gateways if gateway["http"])
    if not apis:
        raise NotRunning("No gateway of this cluster serves the HTTP API here.")
    servers = tuple(gateway["tcp"] for gateway in cluster.gateways if gateway["tcp"])
    return Access(servers, apis, cluster.api_key())
