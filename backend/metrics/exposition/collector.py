"""The monitor's figures in Prometheus' text format and in OpenMetrics, through prometheus-client.

A collector of ours over the monitor, in a registry of its own: nothing is registered in the process-wide
registry, so that another plugin's metrics and ours cannot collide. Names and units follow Prometheus'
conventions; label sets are bounded where the figures are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest as encode_text
from prometheus_client.openmetrics.exposition import generate_latest as encode_openmetrics
from prometheus_client.registry import Collector

from ..checks.builtin import Watched
from ..counters import clean
from ..health import HealthBoard
from ..layers.http import HttpLayer
from . import fleet, store, streams
from .families import PREFIX, counter, counters, gauge, gauges, histogram

_BREAKER_STATES: Final = ("closed", "open", "half_open")
MAX_ROWS: Final = 50
_TOKENS: Final = {  # "" is their sum, as the panel shows it
    "": "Tokens that models wrote, told or estimated.",
    "_input": "Tokens of prompts, as servers told them.",
    "_output": "Tokens that models wrote, as servers told them.",
    "_cached": "Tokens of prompts that came from servers' caches.",
    "_reasoning": "Tokens of thoughts, a part of those written.",
    "_estimated": "Tokens that models wrote and no server told.",
}
_STATUSES: Final = ("pass", "warn", "fail")


class Figures(Watched, Protocol):
    """What is read of the monitor: its layers, its board, and what its sources say."""

    http: HttpLayer
    board: HealthBoard
    version: str
    started_wall: float

    def active(self) -> int:
        """Chats that run now."""

    def connections(self) -> dict[str, int]:
        """Open connections by kind."""


class PulseCollector(Collector):
    """Reads one monitor; every `collect()` reads it anew. For the loop's thread."""

    def __init__(self, monitor: Figures) -> None:
        self._monitor = monitor

    def collect(self) -> Iterator[Metric]:
        """All metric families."""
        yield from self._about()
        yield from self._events()
        yield from self._queues()
        yield from self._errors()
        yield from self._chats()
        yield from self._http()
        yield from self._system()
        yield from self._states()
        for source, families in (
            ("streams", streams.families),
            ("fleet", fleet.families),
            ("store", store.families),
        ):
            figures = self._monitor.value(source)
            if figures is not None:
                yield from families(figures)

    def _about(self) -> Iterator[Metric]:
        yield InfoMetricFamily(PREFIX + "build", "Copilot Pulse.", {"version": self._monitor.version})
        yield gauge("start_time_seconds", "When Copilot Pulse started.", self._monitor.started_wall)

    def _events(self) -> Iterator[Metric]:
        events = self._monitor.events
        yield counters("events_published", "Events published.", ["type"], events.counts().items())
        yield histogram(
            "event_delivery_seconds", "Time from publish to the start of a handler (sampled).", [],
            [((), events.latency_buckets)],
        )  # fmt: skip
        yield counter("events_dropped", "Events dropped because a queue was full.", events.lost("dropped"))
        yield counter("events_conflated", "Events merged into a newer one.", events.lost("conflated"))

    def _queues(self) -> Iterator[Metric]:
        size = GaugeMetricFamily(PREFIX + "queue_size", "Items in a queue now.", labels=["queue"])
        capacity = GaugeMetricFamily(PREFIX + "queue_capacity", "Items a queue can hold.", labels=["queue"])
        fill = GaugeMetricFamily(PREFIX + "queue_fill_ratio", "Fill of a queue, 0 to 1.", labels=["queue"])
        peak = GaugeMetricFamily(PREFIX + "queue_peak_size", "Most items a queue held.", labels=["queue"])
        threshold = GaugeMetricFamily(
            PREFIX + "queue_threshold_ratio", "Fill from which on the throttle's model holds publishers.",
            labels=["queue", "mode"],
        )  # fmt: skip
        holds = CounterMetricFamily(PREFIX + "queue_holds", "Times that it began to hold them.", labels=["queue"])
        waited = CounterMetricFamily(
            PREFIX + "queue_throttled_seconds", "What the throttle has made publishers wait.", labels=["queue"]
        )
        zones = CounterMetricFamily(
            PREFIX + "queue_zones_seconds",
            "What the fixed zones would have asked of the same traffic.",
            labels=["queue"],
        )
        for row in self._monitor.events.queues:
            labels, throttle = [clean(row["name"])], row["throttle"]
            waited.add_metric(labels, throttle["seconds"])
            if throttle["threshold"] is not None:
                threshold.add_metric([*labels, throttle["mode"]], throttle["threshold"])
                holds.add_metric(labels, throttle["holds"])
                zones.add_metric(labels, throttle["zones_seconds"])
            size.add_metric(labels, row["size"])
            capacity.add_metric(labels, row["capacity"])
            fill.add_metric(labels, row["fill"])
            peak.add_metric(labels, row["peak"])
        yield from (size, capacity, fill, peak, threshold, holds, waited, zones)

    def _errors(self) -> Iterator[Metric]:
        errors = self._monitor.errors
        yield counters(
            "errors", "Failures by class, kind and type.", ["severity", "kind", "type"], errors.counts.items()
        )
        yield counter("error_retries", "Model calls made again.", errors.outcomes["retrying"].value)
        yield counter("errors_recovered", "Failures that were mended.", errors.outcomes["recovered"].value)
        yield counter("errors_gave_up", "Failures that stayed.", errors.outcomes["gave_up"].value)

    def _chats(self) -> Iterator[Metric]:
        chat = self._monitor.chat
        labels = ["model", "host"]
        yield gauge("chats_active", "Chats that run now.", self._monitor.active())
        ended = CounterMetricFamily(PREFIX + "chats", "Chats that ended, by outcome.", labels=[*labels, "outcome"])
        saved = CounterMetricFamily(
            PREFIX + "chats_saved", "Chats that were completed although a call broke.", labels=labels
        )
        calls = CounterMetricFamily(
            PREFIX + "chat_model_calls", "Calls of models that ended, by outcome.", labels=[*labels, "outcome"]
        )
        tokens = {
            name: CounterMetricFamily(PREFIX + f"chat{name}_tokens", text, labels=labels)
            for name, text in _TOKENS.items()
        }
        cost = GaugeMetricFamily(
            PREFIX + "chat_cost", "Cost of all tokens since the start, at the prices of now.", labels=labels
        )
        streaming = CounterMetricFamily(
            PREFIX + "chat_streaming_seconds", "Time from first to last token.", labels=labels
        )
        models = list(chat.models.items())
        for names, figures in models:
            for outcome, n in figures.outcomes.items():
                ended.add_metric([*names, outcome], n)
            saved.add_metric(names, figures.saved)
            for outcome, n in figures.calls.items():
                calls.add_metric([*names, outcome], n)
            tokens[""].add_metric(names, figures.tokens)
            for name in _TOKENS:
                if name:
                    tokens[name].add_metric(names, figures.counts[name[1:]] or 0)
            price = self._monitor.prices.cost(figures.usage(*names))
            if price is not None:
                cost.add_metric(names, price)
            streaming.add_metric(names, figures.streaming_seconds)
        yield from (ended, saved, calls, *tokens.values(), cost, streaming)
        yield counter("chats_explained", "Chats that failed with a sentence that says why.", chat.explained)
        yield histogram(
            "chat_first_token_seconds", "Time to the first token.", labels,
            ((names, figures.first_token_buckets) for names, figures in models),
        )  # fmt: skip
        yield histogram(
            "chat_duration_seconds", "Time from a chat's start to its end.", labels,
            ((names, figures.duration) for names, figures in models),
        )  # fmt: skip
        yield histogram("chat_length_characters", "Length of answers.", [], [((), chat.length_buckets)])
        yield counter("chat_retries", "Model calls of chats made again.", chat.retries)
        yield counter("chat_sent_bytes", "Bytes of answers sent to clients.", chat.bytes_sent)
        yield counter("chat_saved_bytes", "Bytes not sent thanks to conflation.", chat.bytes_saved)
        yield counters("chat_tool_calls", "Tools called by the model.", ["tool"], chat.tools.by(0).items())

    def _http(self) -> Iterator[Metric]:
        http = self._monitor.http
        yield counters(
            "http_requests", "Requests to Copilot's routes.", ["method", "route", "code"], http.counts.items()
        )
        yield histogram(
            "http_request_duration_seconds", "Time that Copilot's routes took.", ["method", "route"],
            ((labels, figures.buckets) for labels, figures in http.routes.items()),
        )  # fmt: skip

    def _system(self) -> Iterator[Metric]:
        system = self._monitor.system
        process = system.process
        for name, key, text in (
            ("process_resident_memory_bytes", "rss_bytes", "Memory of the process."),
            ("process_threads", "threads", "Threads of the process."),
        ):
            value = process.get(key)
            if value is not None:
                yield gauge(name, text, value)
        cpu = process.get("cpu_seconds")
        if cpu is not None:
            yield counter("process_cpu_seconds", "CPU time of the process.", cpu)
        yield gauges("connections", "Open connections.", ["kind"], self._monitor.connections().items())
        yield histogram("loop_lag_seconds", "How late the loop ran timers.", [], [((), system.lag_buckets)])
        yield counter("loop_stalls", "Times the event loop stood still.", system.stalls)
        yield counter("loop_stalled_seconds", "Time the event loop stood still.", system.stalled_seconds)

    def _states(self) -> Iterator[Metric]:
        monitor = self._monitor
        breaker = GaugeMetricFamily(
            PREFIX + "breaker_state", "1 for the state that a breaker is in.", labels=["breaker", "state"]
        )
        for row in monitor.rows("breakers")[:MAX_ROWS]:
            for state in _BREAKER_STATES:
                breaker.add_metric([clean(row.get("name")), state], row.get("state") == state)
        up = GaugeMetricFamily(PREFIX + "mcp_server_up", "1 if an MCP server answers.", labels=["server"])
        tools = GaugeMetricFamily(PREFIX + "mcp_server_tools", "Tools of an MCP server.", labels=["server"])
        for row in monitor.rows("mcp")[:MAX_ROWS]:
            server = [clean(row.get("server") or row.get("host"))]
            up.add_metric(server, row.get("state") == "up")
            tools.add_metric(server, row.get("tools") or 0)
        seam = GaugeMetricFamily(PREFIX + "seam_attached", "1 if a seam is attached.", labels=["seam"])
        for row in monitor.rows("seams"):
            seam.add_metric([clean(row.get("name"))], bool(row.get("attached")))
        health = GaugeMetricFamily(
            PREFIX + "health_check_status", "1 for the status of a health check.", labels=["check", "status"]
        )
        for name, found in monitor.board.rows():
            for status in _STATUSES:
                health.add_metric([name, status], found == status)
        yield from (breaker, up, tools, seam, health)


class Scrape:
    """What the collector saw at one moment, in a registry of its own: it may be encoded in any thread.

    With every label set full that takes 10 ms and more, too long for the event loop.
    """

    def __init__(self, monitor: Figures) -> None:
        families = list(PulseCollector(monitor).collect())
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Seen(families))

    def text(self) -> bytes:
        """`text/plain; version=0.0.4`."""
        return encode_text(self._registry)

    def openmetrics(self) -> bytes:
        """`application/openmetrics-text; version=1.0.0`."""
        body: bytes = encode_openmetrics(self._registry)  # type: ignore[no-untyped-call]
        return body


class _Seen(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
