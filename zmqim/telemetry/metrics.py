"""The metrics of one process, as Prometheus reads them.

Cores count in plain integers, because a labelled Prometheus counter costs more than the work it
would count. `Metrics.counters` and `Metrics.gauges` register a function that reads those integers
when somebody asks; only what is rare or needs buckets uses `counter` and `histogram`.

Every name begins with ``zmqim_``; counters end in ``_total``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

Reader = Callable[[], Mapping[str, float]]
"""Gives name → value, e.g. ``{"frames_dropped": 3}``."""


class Metrics:
    """The registry of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """A counter that is counted where it happens: for what is rare."""
        return Counter(f"zmqim_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """A value that goes up and down, set where it changes: for what is rare."""
        return Gauge(f"zmqim_{name}", text, labels, registry=self.registry)

    def histogram(
        self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        """Durations or sizes in `buckets` (seconds or bytes)."""
        return Histogram(f"zmqim_{name}", text, labels, buckets=buckets, registry=self.registry)

    def counters(self, prefix: str, text: str, read: Reader) -> None:
        """Counts that a core keeps: ``zmqim_<prefix>_<key>_total`` for each key of `read()`."""
        self.registry.register(_ReadCounters(prefix, text, read))

    def gauges(self, prefix: str, text: str, read: Reader) -> None:
        """Sizes that a core keeps: ``zmqim_<prefix>_<key>`` for each key of `read()`."""
        self.registry.register(_ReadGauges(prefix, text, read))

    def exposition(self) -> bytes:
        """All of it in the Prometheus text format."""
        return generate_latest(self.registry)


class _ReadCounters(Collector):
    def __init__(self, prefix: str, text: str, read: Reader) -> None:
        self._prefix, self._text, self._read = prefix, text, read

    def collect(self) -> Iterable[CounterMetricFamily]:
        for key, value in self._read().items():
            yield CounterMetricFamily(f"zmqim_{self._prefix}_{key}", self._text, value=value)


class _ReadGauges(Collector):
    def __init__(self, prefix: str, text: str, read: Reader) -> None:
        self._prefix, self._text, self._read = prefix, text, read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for key, value in self._read().items():
            yield GaugeMetricFamily(f"zmqim_{self._prefix}_{key}", self._text, value=value)
