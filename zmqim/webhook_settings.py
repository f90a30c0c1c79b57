"""What a topology says of a webhook: an application that the cluster tells of messages over HTTP.

A webhook stands among a gateway's listeners, because like them it is a plug-in of that process, but
it connects instead of listening:

    { url = "webhook://127.0.0.1:9000/im", name = "im", secret_file = "webhook.secret" }

Gateways whose webhooks have one name share its work, so they must say the same of it.
docs/WEBHOOKS.md describes each key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from zmqim.limits import (
    HOOK_TIMEOUT_MS,
    HOOK_TIMEOUT_MS_MAX,
    WEBHOOK_TIMEOUT_MS,
    WEBHOOK_TIMEOUT_MS_MAX,
)
from zmqim.toml_tables import Table, did_you_mean

SCHEME = "webhook"
MESSAGE_STORED = "msg.notify"
MESSAGE_OFFLINE = "msg.offline"
USER_ONLINE = "user.onlinestatus"
EVENTS = (MESSAGE_STORED, MESSAGE_OFFLINE, USER_ONLINE)
GAP = "webhook.gap"
"""Always told: it is about the others."""
HOOK_KEYS = ("url", "fail", "secret_file", "secret_env", "timeout_ms", "tls")
KEYS = ("name", "secret_file", "secret_env", "events", "timeout_ms", "tls")

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """One webhook, but for its address."""

    name: str
    """It is the name of the follower in every partition too: under another it begins anew."""
    secret_file: str
    secret_env: str
    """Of these two one is given: where the key of the signature is."""
    events: tuple[str, ...]
    timeout_ms: int
    tls: bool

    @property
    def title(self) -> str:
        """What an operator calls it."""
        return f"webhook {self.name}"


@dataclass(frozen=True, slots=True)
class HookSettings:
    """The application that is asked before a message is proposed."""

    url: str
    secret_file: str
    secret_env: str
    timeout_ms: int
    fails_open: bool
    """What becomes of a message about which it said nothing in time."""
    tls: bool

    @property
    def title(self) -> str:
        """What an operator calls it."""
        return "[before_send]"


def read_settings(table: Table) -> dict[str, str]:
    """The keys of a webhook's table as a listener's settings; what is wrong is a fault there."""
    name = table.text("name", None)
    if name and not _NAME.fullmatch(name):
        table.fault("name", f"{name!r} must be 1 to 32 of a-z, 0-9 and '-', not starting with '-'")
    _check_secret(table)
    events = table.array("events") if "events" in table else list(EVENTS)
    for event in events:
        if event not in EVENTS:
            near = did_you_mean(str(event), EVENTS)
            table.fault("events", f"there is no event {event!r}{near}; there are {list(EVENTS)}")
    if not events:
        table.fault("events", "names no event: leave it out for all of them")
    timeout_ms = table.integer("timeout_ms", WEBHOOK_TIMEOUT_MS, 1, WEBHOOK_TIMEOUT_MS_MAX)
    return {
        "name": name,
        "secret_file": table.text("secret_file", "") if "secret_file" in table else "",
        "secret_env": table.text("secret_env", "") if "secret_env" in table else "",
        "events": ",".join(map(str, events)),
        "timeout_ms": str(timeout_ms),
        "tls": "yes" if table.flag("tls", False) else "",
    }


def settings_of(settings: Mapping[str, str]) -> WebhookSettings:
    """What `read_settings` made, with its types again."""
    return WebhookSettings(
        settings["name"],
        settings["secret_file"],
        settings["secret_env"],
        tuple(settings["events"].split(",")),
        int(settings["timeout_ms"]),
        bool(settings["tls"]),
    )


def read_hook(table: Table) -> HookSettings:
    """The table ``[before_send]``; what is wrong is a fault there, but for its url."""
    table.only(HOOK_KEYS)
    fail = table.text("fail", None)
    if fail and fail not in ("open", "closed"):
        table.fault(
            "fail",
            f'{fail!r} is neither "open" (what the application says nothing of in time goes '
            'through) nor "closed" (it is refused)',
        )
    _check_secret(table)
    return HookSettings(
        table.text("url", None),
        table.text("secret_file", "") if "secret_file" in table else "",
        table.text("secret_env", "") if "secret_env" in table else "",
        table.integer("timeout_ms", HOOK_TIMEOUT_MS, 1, HOOK_TIMEOUT_MS_MAX),
        fail == "open",
        table.flag("tls", False),
    )


def _check_secret(table: Table) -> None:
    if ("secret_file" in table) == ("secret_env" in table):
        table.fault(
            "",
            "needs secret_file (a path) or secret_env (a variable of the gateway's environment), "
            "and not both: the application knows by it that we are speaking",
        )
