"""Calls of WuKongIM v2.2.5, and of v3's load driver, that zmqim does not have, so that a backend is
told instead of left with a plain 404. docs/COMPATIBILITY.md has the whole table; a call that gets
built leaves this one.
"""

from __future__ import annotations

from typing import Final

NOT_BUILT: Final = {
    "/migrate": "there are no data of an earlier WuKongIM to migrate",
    "/stress": "`zmqim bench` puts load on a cluster",
    "/tag": "deliveries have no tags to look at; /metrics counts them",
    "/tags": "deliveries have no tags to look at; /metrics counts them",
    "/user/update_plugin_no": "there are no plug-ins of WuKongIM's kind",
    "/user/systemuids_add_to_cache": "no node keeps a cache of system uids",
    "/user/systemuids_remove_from_cache": "no node keeps a cache of system uids",
    "/manager/login": "there is no manager; every call takes the API key",
    "/cluster": "`zmqim status` shows the cluster",
    "/plugin": "there are no plug-ins of WuKongIM's kind",
    "/plugins": "there are no plug-ins of WuKongIM's kind",
    "/pluginconfig": "there are no plug-ins of WuKongIM's kind",
    "/bench/v1/presence": "/connz and /user/onlinestatus tell who is online",
    "/bench/v1/channel-runtime": "a channel is not loaded or evicted; /metrics counts what is",
    "/bench/v1/terminal-fence": "`zmqim down` finishes what is in flight; nothing else fences",
}
"""A path, which stands for everything below it too, and what to know instead."""


def instead_of(path: str) -> str | None:
    """What to know instead of the call at `path`; None if WuKongIM has none there either."""
    parts = path.rstrip("/").split("/")
    for end in range(len(parts), 1, -1):
        found = NOT_BUILT.get("/".join(parts[:end]))
        if found is not None:
            return found
    return None
