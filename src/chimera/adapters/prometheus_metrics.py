"""Metrics kept by prometheus-client and shown under the contract's own names.

The library would add `_total` to every counter and a `_created` gauge beside it; dashboards and alarms know neither.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from chimera.contracts.metrics import METRICS, Metric, MetricKind

_BUCKETS: dict[str, tuple[float, ...]] = {
    # The limits of the SLOs (80, 500, 800, 1200 ms) are borders, so that an alarm can count what is beyond.
    "ms": (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 80, 120, 250, 500, 800, 1_200, 2_500, 5_000, 10_000, 30_000),
    "bps": (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100),
}

M = TypeVar("M", Counter, Gauge, Histogram)

_Key = str | tuple[object, ...]


class PrometheusMetrics:
    """One for each process."""

    def __init__(self, declared: Iterable[Metric] = METRICS.values()) -> None:
        self._declared = {metric.name: metric for metric in declared}
        self._counters: dict[_Key, Counter] = {}
        self._gauges: dict[_Key, Gauge] = {}
        self._histograms: dict[_Key, Histogram] = {}
        self._families: dict[str, MetricWrapperBase] = {
            metric.name: _family(metric) for metric in self._declared.values()
        }

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        key = (name, *labels.items()) if labels else name
        child = self._counters.get(key)
        if child is None:
            child = self._counters[key] = self._child(Counter, name, labels)
        child.inc(by)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        key = (name, *labels.items()) if labels else name
        child = self._gauges.get(key)
        if child is None:
            child = self._gauges[key] = self._child(Gauge, name, labels)
        child.set(value)

    def observe_ms(self, name: str, value_ms: float, **labels: str) -> None:
        self._histogram(name, labels).observe(value_ms)

    def observe_bps(self, name: str, value_bps: float, **labels: str) -> None:
        self._histogram(name, labels).observe(value_bps)

    def render(self) -> str:
        """A gauge that nobody has set yet is left out: a ratio of 0 that was never measured would alarm."""
        return "".join(
            f"{line}\n"
            for metric in self._declared.values()
            if metric.kind is not MetricKind.GAUGE or metric.labels or metric.name in self._gauges
            for line in _lines(metric, self._families[metric.name])
        )

    def _histogram(self, name: str, labels: dict[str, str]) -> Histogram:
        key = (name, *labels.items()) if labels else name
        child = self._histograms.get(key)
        if child is None:
            child = self._histograms[key] = self._child(Histogram, name, labels)
        return child

    def _child(self, kind: type[M], name: str, labels: dict[str, str]) -> M:
        """
        Raises:
            ValueError: no such metric, of another kind, or with other labels.
        """
        metric = self._declared.get(name)
        if metric is None:
            raise ValueError(f"metric {name!r} is not declared in the contracts")
        family = self._families[name]
        if not isinstance(family, kind):
            raise ValueError(f"metric {name} is a {metric.kind.value}, not a {kind.__name__.lower()}")
        if set(labels) != set(metric.labels):
            raise ValueError(f"metric {name} has the labels {metric.labels}, not {tuple(labels)}")
        return family.labels(**labels) if labels else family


def _family(metric: Metric) -> MetricWrapperBase:
    name, text, labels = metric.prometheus_name, metric.help, metric.labels
    if metric.kind is MetricKind.COUNTER:
        return Counter(name, text, labels, registry=None)
    if metric.kind is MetricKind.GAUGE:
        return Gauge(name, text, labels, registry=None)
    return Histogram(name, text, labels, registry=None, buckets=_BUCKETS[metric.unit])


def _lines(metric: Metric, family: MetricWrapperBase) -> Iterator[str]:
    """The text format, version 0.0.4, of one metric."""
    name = metric.prometheus_name
    yield f"# HELP {name} {metric.help}"
    yield f"# TYPE {name} {metric.kind.value}"
    for collected in family.collect():
        for sample in collected.samples:
            if sample.name.endswith("_created"):
                continue
            shown = name if metric.kind is MetricKind.COUNTER else sample.name
            labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(sample.labels.items()))
            yield f"{shown}{{{labels}}} {sample.value!r}" if labels else f"{shown} {sample.value!r}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
