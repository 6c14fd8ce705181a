"""The event store's figures for Prometheus; see `collector.py`. Nothing of it is there while the store is off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import Metric, SummaryMetricFamily

from .families import PREFIX, counter, counters, gauge


def families(figures: Mapping[str, Any]) -> Iterator[Metric]:
    """Prometheus' view of it; the reasons of a loss are a fixed few."""
    yield counter("store_events", "Events written to disk.", figures["stored"])
    lost = ((reason.partition(":")[0], number) for reason, number in figures["lost"].items())
    yield counters("store_lost", "Events that are not on disk.", ["reason"], lost)
    yield gauge("store_bytes", "What the files of events take.", figures["bytes"])
    yield gauge("store_segments", "Files of events.", figures["segments"])
    yield gauge("store_waiting", "Events that wait to be written.", figures["waiting"])
    yield SummaryMetricFamily(
        PREFIX + "store_commit_seconds",
        "Time of a commit, in its own thread.",
        count_value=figures["commits"],
        sum_value=figures["commit_seconds"],
    )
    yield gauge("store_writable", "1 if the event store can write.", 0 if figures["fault"] else 1)
