"""The topology file: everything about a cluster in one place, read into values that never change.

Every process of a cluster reads the same file and computes the same addresses, placement and
limits from it. `parse` is pure; a file with faults raises one `TopologyError` that names all of
them with key and line. docs/OPERATING.md describes each key; topology/*.toml are examples.

Rules:
- Ports of the bus are given out in one place (`_bus_ports`), in the order of the file: ROUTER on
  the first, PUB on the next. A gateway binds only PUB, but both are reserved.
- The bus is not encrypted yet: an address that is not loopback needs ``insecure_bus = true``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Set as AbstractSet
from dataclasses import fields
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from zmqim import limits, webhook_settings
from zmqim.bus.messages import Role
from zmqim.errors import TopologyError, UsageError
from zmqim.ids import NodeName
from zmqim.toml_tables import Document, Table, did_you_mean
from zmqim.topology_values import (
    Gateway,
    Host,
    Limits,
    Listener,
    Process,
    Storage,
    Topology,
    is_loopback,
)

__all__ = (
    "Gateway",
    "Host",
    "Limits",
    "Listener",
    "Process",
    "Storage",
    "Topology",
    "check_api_key",
    "find",
    "is_loopback",
    "load",
    "parse",
    "shipped",
    "shipped_names",
)

GATEWAY_PLUGINS = "zmqim.gateways"
"""Entry-point group; the scheme of a listener's URL names one of its members."""
SHIPPED_SCHEMES = frozenset({"wkproto", "ws", "http", webhook_settings.SCHEME})
API_KEY_VARIABLE = "ZMQIM_API_KEY"
API_KEY_CHARACTERS_MIN = 16
"""Of a key that a person made up; those that we make have 43."""
BUS_PORT_DEFAULT = 5600
WEIGHT_MAX = 1_000
DATA_FOLDER_DEFAULT = "zmqim-data"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_ADDRESS = re.compile(r"(?:tcp://)?([^:/\s]+):(\d{1,5})")
_RESERVED = ("logs", "run", "secrets", "supervisor", "cluster", "lock", "topology")
_TOP_KEYS = (
    "cluster", "id", "replicas", "partitions", "bus_port", "insecure_bus", "api_key_file",
    "data", "host", "gateway", "router", "storage", "limits", "before_send",
)  # fmt: skip


_LEAST_LIMITS = {
    "disk_free_min_bytes": 0,
    "disk_free_warn_bytes": 0,
    "reserve_file_bytes": 0,
    "write_buffer_bytes": limits.TEST_WRITE_BUFFER_BYTES,
}
_LIMIT_MOST = 1 << 50


def load(path: str | Path, *, key_needed: bool = True) -> Topology:
    """Reads a topology file; its listeners' schemes must be installed plug-ins.

    Raises UsageError when the file cannot be read or, unless `key_needed` is false, the given API
    key is too short; TopologyError with every fault of the file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"There is no topology file {str(path)!r}.",
            hint=f"Shipped with zmqim: {', '.join(shipped_names())}; give one of these or a path.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The topology file {str(path)!r} cannot be read: {reason}.") from None
    schemes = {plugin.name for plugin in entry_points(group=GATEWAY_PLUGINS)}
    given = os.environ.get(API_KEY_VARIABLE, "")
    if given and key_needed:
        check_api_key(given.strip(), API_KEY_VARIABLE)
    return parse(text, str(path), schemes=schemes, api_key_given=bool(given) or not key_needed)


def check_api_key(key: str, source: str) -> None:
    """Raises UsageError when the key that `source` gives could be guessed."""
    if len(key) < API_KEY_CHARACTERS_MIN:
        raise UsageError(
            f"The API key of {source} has {len(key)} characters, fewer than "
            f"{API_KEY_CHARACTERS_MIN}.",
            hint="It opens everything: `openssl rand -base64 32` makes a good one.",
        )


def find(name: str) -> Path:
    """The path that a person means: a file, or the name of a shipped topology."""
    path = Path(name)
    if not path.exists():
        for known in (name, f"{name}.toml"):
            if known in shipped_names():
                return shipped(known)
    return path


def shipped_names() -> tuple[str, ...]:
    """File names of the topologies that come with zmqim."""
    return tuple(sorted(p.name for p in _shipped_folder().iterdir() if p.suffix == ".toml"))


def shipped(name: str) -> Path:
    """Path of a shipped topology, e.g. ``quickstart.toml``."""
    return _shipped_folder() / name


def _shipped_folder() -> Path:
    return Path(str(files("zmqim"))) / "topologies"


def parse(
    text: str,
    path: str,
    *,
    schemes: AbstractSet[str] = SHIPPED_SCHEMES,
    api_key_given: bool = False,
) -> Topology:
    """The topology that `text` describes; TopologyError names every fault in it."""
    document = Document(text)
    if document.faults:
        raise TopologyError(path, document.faults)
    topology = _topology(document.root, schemes, api_key_given)
    if document.faults:
        raise TopologyError(path, sorted(document.faults))
    return topology


def _topology(root: Table, schemes: AbstractSet[str], api_key_given: bool) -> Topology:
    root.only(_TOP_KEYS)
    cluster = root.text("cluster", None)
    _check_name(root, "cluster", cluster)
    partitions = root.integer("partitions", limits.PARTITIONS_DEFAULT, 1, limits.PARTITIONS_MAX)
    if partitions & (partitions - 1):
        root.fault("partitions", f"{partitions} is not a power of two")
    data = root.table("data")
    data.only(("folder",))
    hosts = _hosts(root)
    readers = _process_readers(root, hosts)
    topology = Topology(
        cluster=cluster,
        id_line=root.text("id", "") if "id" in root else "",
        replicas=root.integer("replicas", 1, 1, 9),
        partitions=partitions,
        data_folder=data.text("folder", DATA_FOLDER_DEFAULT),
        api_key_file=root.text("api_key_file", "") if "api_key_file" in root else "",
        insecure_bus=root.flag("insecure_bus", False),
        hosts=hosts,
        gateways=tuple(reader.gateway(schemes) for reader in readers[Role.GATEWAY]),
        routers=tuple(reader.router() for reader in readers[Role.ROUTER]),
        storages=tuple(reader.storage() for reader in readers[Role.STORAGE]),
        limits=_limits(root.table("limits")),
        before_send=_before_send(root),
    )
    _check_names(readers)
    _check_ports(readers, topology)
    _check_webhooks(readers, topology)
    _check_reach(root, readers, topology)
    if len(hosts) > 1 and not api_key_given and not topology.api_key_file:
        root.document.fault(
            ("api_key_file",),
            "is missing: with several hosts the API key must be given, here or as "
            f"{API_KEY_VARIABLE} in the environment of every host",
            line=root.document.line_of(("cluster",)),
        )
    return topology


def _hosts(root: Table) -> tuple[Host, ...]:
    hosts: list[Host] = []
    for table in root.tables("host"):
        table.only(("name", "address"))
        host = Host(table.text("name", None), table.text("address", None))
        _check_name(table, "name", host.name)
        if host.name and host.name in [other.name for other in hosts]:
            table.fault("name", f"another host is named {host.name!r}")
        hosts.append(host)
    return tuple(hosts) or (Host("localhost", "127.0.0.1"),)


def _before_send(root: Table) -> webhook_settings.HookSettings | None:
    if "before_send" not in root:
        return None
    table = root.table("before_send")
    hook = webhook_settings.read_hook(table)
    if hook.url and not _is_webhook(hook.url):
        table.fault("url", f"{hook.url!r} is not a webhook: webhook://HOST:PORT/PATH")
    elif hook.url:
        for sentence in _faults_of_url(hook.url, {webhook_settings.SCHEME}):
            table.fault("url", sentence)
    return hook


def _limits(table: Table) -> Limits:
    table.only(field.name for field in fields(Limits))
    values: dict[str, Any] = {}
    for field in fields(Limits):
        least = _LEAST_LIMITS.get(field.name, 1)
        assert isinstance(field.default, int)
        values[field.name] = table.integer(field.name, field.default, least, _LIMIT_MOST)
    found = Limits(**values)
    if found.disk_free_warn_bytes < found.disk_free_min_bytes:
        key = "disk_free_warn_bytes" if "disk_free_warn_bytes" in table else "disk_free_min_bytes"
        table.fault(
            key,
            f"disk_free_warn_bytes ({found.disk_free_warn_bytes}) is below disk_free_min_bytes "
            f"({found.disk_free_min_bytes})",
        )
    return found


class _ProcessReader:
    """Reads one ``[[gateway]]``, ``[[router]]`` or ``[[storage]]``."""

    def __init__(self, table: Table, role: Role, hosts: tuple[Host, ...]) -> None:
        self.table = table
        self.role = role
        self.name = table.text("name", None)
        _check_name(table, "name", self.name)
        if self.name in _RESERVED:
            table.fault("name", f"{self.name!r} is the name of a folder or file of zmqim's own")
        self.host = self._host(hosts)
        self.bus: tuple[str, int] | None = self._address() if "address" in table else None

    def gateway(self, schemes: AbstractSet[str]) -> Gateway:
        self.table.only(("name", "host", "address", "listeners"))
        listeners = []
        for index, item in enumerate(self.table.array("listeners")):
            listener = self._listener(index, item, schemes)
            if listener is not None:
                listeners.append(listener)
        if not self.table.array("listeners"):
            self.table.fault("", "listeners is missing: a gateway without one serves nobody")
        return Gateway(*self._common(), tuple(listeners))

    def router(self) -> Process:
        self.table.only(("name", "host", "address"))
        return Process(*self._common())

    def storage(self) -> Storage:
        self.table.only(("name", "host", "address", "zone", "weight"))
        zone = self.table.text("zone", self.host.name)
        weight = self.table.integer("weight", 1, 1, WEIGHT_MAX)
        return Storage(*self._common(), zone, weight)

    def _common(self) -> tuple[NodeName, Role, str, str, int]:
        assert self.bus is not None, "given out by _bus_ports"
        return (NodeName(self.name), self.role, self.host.name, *self.bus)

    def _host(self, hosts: tuple[Host, ...]) -> Host:
        if "host" not in self.table:
            if len(hosts) > 1:
                self.table.fault("", "host is missing: there are several")
            return hosts[0]
        name = self.table.text("host", "")
        for host in hosts:
            if host.name == name:
                return host
        names = [host.name for host in hosts]
        self.table.fault("host", f"there is no host {name!r}{did_you_mean(name, names)}")
        return hosts[0]

    def _address(self) -> tuple[str, int] | None:
        text = self.table.text("address", "")
        found = _ADDRESS.fullmatch(text)
        if not found:
            self.table.fault("address", f"{text!r} is not an address: tcp://HOST:PORT")
            return None
        port = int(found.group(2))
        if not 1 <= port < 65_535:
            self.table.fault(
                "address", f"port {port} is not between 1 and 65534 (PUB takes the next one)"
            )
        return found.group(1), port

    def _listener(self, index: int, item: Any, schemes: AbstractSet[str]) -> Listener | None:
        path = (*self.table.path, "listeners", index)
        document = self.table.document
        advertise = ""
        settings: dict[str, str] = {}
        if isinstance(item, dict):
            table = Table(document, path, item)
            url = table.text("url", None)
            if _is_webhook(url):
                table.only(("url", *webhook_settings.KEYS))
                settings = webhook_settings.read_settings(table)
            else:
                is_http = url.startswith("http://")
                table.only(("url", "advertise", "bench") if is_http else ("url", "advertise"))
                advertise = table.text("advertise", "") if "advertise" in table else ""
                if is_http and table.flag("bench", False):
                    settings["bench"] = "yes"
        elif isinstance(item, str):
            url = item
            if _is_webhook(url):
                document.fault(path, 'a webhook needs more: { url = "…", name = "…", … }')
                return None
        else:
            document.fault(path, 'must be a URL, or { url = "…", advertise = "…" }')
            return None
        line = document.line_of_text((*self.table.path, "listeners"), url)
        faults = _faults_of_url(url, schemes)
        for sentence in faults:
            document.fault(path, sentence, line=line)
        if faults:
            return None
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        where = parts.path if _is_webhook(url) else ""
        given = tuple(sorted(settings.items()))
        return Listener(parts.scheme, parts.hostname, parts.port, advertise or url, where, given)


def _faults_of_url(url: str, schemes: AbstractSet[str]) -> list[str]:
    faults = []
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return [f"{url!r} is not a URL: {error}"]
    if not parts.scheme or not parts.netloc:
        return [f"{url!r} is not a URL: SCHEME://HOST:PORT"]
    if parts.scheme not in schemes:
        known = ", ".join(sorted(schemes)) or "none"
        faults.append(
            f"no gateway plug-in is installed for {parts.scheme}://"
            f"{did_you_mean(parts.scheme, sorted(schemes))} (installed: {known})"
        )
    try:
        port = parts.port
    except ValueError:
        port = 0
    if not port:
        faults.append(f"{url!r} needs a port between 1 and 65535")
    if not parts.hostname:
        faults.append(f"{url!r} needs a host")
    has_path = parts.path not in ("", "/") and not _is_webhook(url)
    if has_path or parts.query or parts.fragment or parts.username or parts.password:
        faults.append(f"{url!r} has more than scheme, host and port")
    return faults


def _is_webhook(url: str) -> bool:
    return url.startswith(f"{webhook_settings.SCHEME}://")


def _process_readers(root: Table, hosts: tuple[Host, ...]) -> dict[Role, list[_ProcessReader]]:
    readers: dict[Role, list[_ProcessReader]] = {}
    for role in Role:
        key = role.name.lower()
        readers[role] = [_ProcessReader(table, role, hosts) for table in root.tables(key)]
        if not readers[role]:
            root.fault("", f"there is no [[{key}]]: a cluster needs at least one")
    everyone = [reader for role in Role for reader in readers[role]]
    if len(everyone) > limits.MEMBERS_MAX:
        root.fault("", f"{len(everyone)} processes are more than {limits.MEMBERS_MAX}")
    _bus_ports(root, everyone)
    return readers


def _bus_ports(root: Table, readers: list[_ProcessReader]) -> None:
    """Gives every process without an address two ports from `bus_port` on, in file order."""
    port = root.integer("bus_port", BUS_PORT_DEFAULT, 1, 65_534)
    for reader in sorted(readers, key=lambda r: r.table.document.line_of(r.table.path)):
        if reader.bus is None:
            if port > 65_534:
                reader.table.fault("", f"no bus port is left above bus_port (wanted {port})")
            reader.bus = (reader.host.address, port)
            port += 2


def _check_name(table: Table, key: str, name: str) -> None:
    if name and not _NAME.fullmatch(name):
        table.fault(key, f"{name!r} must be 1 to 32 of a-z, 0-9 and '-', not starting with '-'")


def _check_names(readers: dict[Role, list[_ProcessReader]]) -> None:
    seen: dict[str, int] = {}
    everyone = [reader for role in Role for reader in readers[role]]
    for reader in sorted(everyone, key=lambda r: r.table.document.line_of(r.table.path)):
        line = reader.table.document.line_of((*reader.table.path, "name"))
        if reader.name and reader.name in seen:
            reader.table.fault(
                "name", f"{reader.name!r} is already the name of the process on line "
                f"{seen[reader.name]}",
            )  # fmt: skip
        seen.setdefault(reader.name, line)


def _check_ports(readers: dict[Role, list[_ProcessReader]], topology: Topology) -> None:
    """No two sockets of one machine on the same port."""
    machines = {host.name: host.address for host in topology.hosts}
    taken: dict[tuple[str, int], str] = {}

    def take(reader: _ProcessReader, port: int, what: str, key: str, text: str) -> None:
        machine = machines[reader.host.name]
        other = taken.setdefault((machine, port), what)
        if other != what or key == "listeners":
            path = (*reader.table.path, key)
            line = reader.table.document.line_of_text(path, text)
            if other != what:
                reader.table.document.fault(
                    path, f"port {port} of {what} is taken by {other}", line=line
                )

    for role in Role:
        for reader in readers[role]:
            assert reader.bus is not None
            take(reader, reader.bus[1], f"the bus of {reader.name}", "address", "")
            take(reader, reader.bus[1] + 1, f"PUB of {reader.name}", "address", "")
    for reader, gateway in zip(readers[Role.GATEWAY], topology.gateways, strict=True):
        for index, listener in enumerate(gateway.listeners):
            if listener.connects:
                continue
            what = f"listener {index} ({listener.url}) of {reader.name}"
            take(reader, listener.port, what, "listeners", listener.url)


def _check_webhooks(readers: dict[Role, list[_ProcessReader]], topology: Topology) -> None:
    """A name is one webhook: once in a gateway, and the same in all that have it."""
    first: dict[str, Listener] = {}
    for reader, gateway in zip(readers[Role.GATEWAY], topology.gateways, strict=True):
        names: set[str] = set()
        for listener in gateway.listeners:
            name = dict(listener.settings).get("name", "")
            if not name:
                continue
            line = reader.table.document.line_of_text((*reader.table.path, "listeners"), name)
            path = (*reader.table.path, "listeners")
            if name in names:
                sentence = f"this gateway has two webhooks named {name!r}"
                reader.table.document.fault(path, sentence, line=line)
            elif first.setdefault(name, listener) != listener:
                sentence = (
                    f"webhook {name!r} is described otherwise by another gateway: they share its "
                    "work, so they must say the same"
                )
                reader.table.document.fault(path, sentence, line=line)
            names.add(name)


def _check_reach(
    root: Table, readers: dict[Role, list[_ProcessReader]], topology: Topology
) -> None:
    """The bus stays on loopback unless the operator says otherwise."""
    if topology.insecure_bus:
        return
    told: list[str] = []
    for reader in (reader for role in Role for reader in readers[role]):
        assert reader.bus is not None
        if is_loopback(reader.bus[0]) or reader.bus[0] in told:
            continue
        told.append(reader.bus[0])
        reader.table.fault(
            "address" if "address" in reader.table else "",
            f"the bus would be reachable at {reader.bus[0]}, and it is not encrypted yet: keep it "
            "on 127.0.0.1, or say insecure_bus = true",
        )
