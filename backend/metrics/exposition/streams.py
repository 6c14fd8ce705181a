"""The figures of answers that a page can come back to, for Prometheus; see `collector.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


def families(prefix: str, figures: Mapping[str, Any]) -> Iterator[Metric]:
    """Prometheus' view of it; the codes of a close are a fixed few, and "other"."""
    streams = GaugeMetricFamily(prefix + "streams", "Answers that can be read, by state.", labels=["state"])
    for state in ("running", "kept"):
        streams.add_metric([state], figures[state])
    yield streams
    yield GaugeMetricFamily(prefix + "streams_limit", "Answers that may run at once.", figures["limits"]["running"])
    yield GaugeMetricFamily(prefix + "streams_kept_bytes", "Memory of answers that have ended.", figures["kept_bytes"])
    yield GaugeMetricFamily(prefix + "streams_unread", "Answers that run without a reader.", figures["unread"])
    readers = GaugeMetricFamily(prefix + "stream_readers", "Readers of answers.", labels=["transport"])
    for transport, number in figures["readers"].items():
        readers.add_metric([transport], number)
    yield readers
    yield GaugeMetricFamily(prefix + "stream_sockets", "WebSockets of answers that are open.", figures["sockets"])
    yield CounterMetricFamily(prefix + "streams_resumed", "Readers that came back.", figures["resumed_total"])
    yield CounterMetricFamily(prefix + "streams_refused", "Readers and answers refused.", figures["refused_total"])
    closed = CounterMetricFamily(prefix + "stream_sockets_closed", "WebSockets that ended, by code.", labels=["code"])
    for code, number in figures["sockets_closed"].items():
        closed.add_metric([code], number)
    yield closed
