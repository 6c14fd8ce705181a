"""The event store's figures for Prometheus; see `collector.py`. Nothing of it is there while the store is off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily


def families(prefix: str, figures: Mapping[str, Any]) -> Iterator[Metric]:
    """Prometheus' view of it; the reasons of a loss are a fixed few."""
    yield CounterMetricFamily(prefix + "store_events", "Events written to disk.", figures["stored"])
    lost = CounterMetricFamily(prefix + "store_lost", "Events that are not on disk.", labels=["reason"])
    for reason, number in figures["lost"].items():
        lost.add_metric([reason.partition(":")[0]], number)
    yield lost
    yield GaugeMetricFamily(prefix + "store_bytes", "What the files of events take.", figures["bytes"])
    yield GaugeMetricFamily(prefix + "store_segments", "Files of events.", figures["segments"])
    yield GaugeMetricFamily(prefix + "store_waiting", "Events that wait to be written.", figures["waiting"])
    yield SummaryMetricFamily(
        prefix + "store_commit_seconds",
        "Time of a commit, in its own thread.",
        count_value=figures["commits"],
        sum_value=figures["commit_seconds"],
    )
    yield GaugeMetricFamily(prefix + "store_writable", "1 if the event store can write.", 0 if figures["fault"] else 1)
