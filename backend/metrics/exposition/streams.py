"""The figures of answers that a page can come back to, for Prometheus; see `collector.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import Metric

from .families import counter, counters, gauge, gauges


def families(figures: Mapping[str, Any]) -> Iterator[Metric]:
    """Prometheus' view of it; the codes of a close are a fixed few, and "other"."""
    states = ((state, figures[state]) for state in ("running", "kept"))
    yield gauges("streams", "Answers that can be read, by state.", ["state"], states)
    yield gauge("streams_limit", "Answers that may run at once.", figures["limits"]["running"])
    yield gauge("streams_kept_bytes", "Memory of answers that have ended.", figures["kept_bytes"])
    yield gauge("streams_unread", "Answers that run without a reader.", figures["unread"])
    yield gauges("stream_readers", "Readers of answers.", ["transport"], figures["readers"].items())
    yield gauge("stream_sockets", "WebSockets of answers that are open.", figures["sockets"])
    yield counter("streams_resumed", "Readers that came back.", figures["resumed_total"])
    yield counter("streams_refused", "Readers and answers refused.", figures["refused_total"])
    closed = figures["sockets_closed"].items()
    yield counters("stream_sockets_closed", "WebSockets that ended, by code.", ["code"], closed)
