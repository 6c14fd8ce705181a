"""What Prometheus is given for one figure, or for one of each value of some labels.

Names get their prefix and labels are cleaned here, so that nothing that a stranger has named, a group or a tool, can
spoil the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from ..counters import clean
from ..histogram import Buckets

PREFIX: Final = "copilot_pulse_"
Values = Iterable[tuple["str | tuple[str, ...]", float]]
"""The value of the label, or of each of the labels, and the figure."""


def gauge(name: str, text: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def counter(name: str, text: str, value: float) -> Metric:
    """A counter without labels; `_total` is added to its name."""
    return CounterMetricFamily(PREFIX + name, text, value=value)


def gauges(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    """A gauge for each of the values."""
    return _filled(GaugeMetricFamily(PREFIX + name, text, labels=labels), values)


def counters(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    """A counter for each of the values."""
    return _filled(CounterMetricFamily(PREFIX + name, text, labels=labels), values)


def histogram(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[tuple[str, ...], Buckets]]) -> Metric:
    """A histogram for each label tuple."""
    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    for values, buckets in rows:
        rows_: Any = buckets.cumulative()
        family.add_metric([clean(value) for value in values], buckets=rows_, sum_value=buckets.sum)
    return family


def _filled(family: Any, values: Values) -> Metric:
    sums: dict[tuple[str, ...], float] = {}  # names that differ only in what is cleaned away are one
    for names, value in values:
        cleaned = tuple(clean(name) for name in ((names,) if isinstance(names, str) else names))
        sums[cleaned] = sums.get(cleaned, 0) + value
    for cleaned, value in sums.items():
        family.add_metric(cleaned, value)
    return family  # type: ignore[no-any-return]
