"""What a gateway counts: plain integers, cheaper than the work that they count."""

from __future__ import annotations

from typing import Final

FIELDS: Final = (
    "deliver_repeats",
    "pushed",
    "pushes_acknowledged",
    "pushes_again",
    "pushes_given_up",
    "sends",
    "sends_acknowledged",
    "sends_refused",
    "sends_retried",
    "transient_dropped",
    "wire_errors",
)


class Counters:
    """The hot counters as fields, the rare ones by name."""

    __slots__ = ("by_name", *FIELDS)

    def __init__(self) -> None:
        self.by_name: dict[str, int] = {}
        self.sends = 0
        self.sends_acknowledged = 0
        self.sends_refused = 0
        self.sends_retried = 0
        self.pushed = 0
        self.pushes_acknowledged = 0
        self.pushes_again = 0
        self.pushes_given_up = 0
        self.deliver_repeats = 0
        self.transient_dropped = 0
        self.wire_errors = 0

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter that is counted rarely."""
        self.by_name[name] = self.by_name.get(name, 0) + by

    def read(self) -> dict[str, int]:
        """All of them, by name."""
        named = self.by_name
        return {**named, **{name: getattr(self, name) + named.get(name, 0) for name in FIELDS}}
