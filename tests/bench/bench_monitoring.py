"""What monitoring costs: an event, a tick, a snapshot, a scrape, and a chat's life.

`python -m tests.bench.bench_monitoring [--json FILE]`. Medians of processor time on this machine, so look
at the shares: of a core, of a bare call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.metrics.exposition.collector import Scrape
from backend.metrics.histogram import LogHistogram, WindowedHistogram
from backend.monitoring import Monitor
from tests.support.figures import bus_figures

ROUNDS = 7


class Happened:
    """An event as far as the monitor looks at it."""

    __slots__ = ("data", "id", "session", "source", "type")

    def __init__(self, type_: str, data: dict[str, Any]) -> None:
        self.type = type_
        self.data = data
        self.id = "1"
        self.source = "bench"
        self.session = None


WHO = {"chat_id": "1", "kind": "chat", "model": "qwen3", "host": "127.0.0.1:1234"}
EVENTS = {
    "chat.started": Happened("chat.started", WHO),
    "chat.first_token": Happened("chat.first_token", {**WHO, "seconds": 0.4}),
    "chat.finished": Happened("chat.finished", {
        **WHO, "outcome": "completed", "seconds": 2.4, "first_token": 0.4, "tokens": 101, "length": 400,
        "bytes_sent": 500, "bytes_saved": 9500}),
    "error": Happened("error", {
        "severity": "medium", "kind": "timeout", "type": "APITimeoutError", "outcome": "retrying",
        "attempt": 1, "where": "model", "message": "no answer"}),
    "http.request": Happened("http.request", {
        "method": "GET", "route": "/api/model_config", "status": 200, "seconds": 0.3}),
    "queue.zone": Happened("queue.zone", {"queue": "q", "zone": "red", "was": "yellow", "fill": 0.7}),
}  # fmt: skip


def median(run: Callable[[], object], times: int) -> float:
    """Seconds of one `run()`: the median of rounds of `times` calls."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times):
            run()
        rounds.append((time.process_time() - began) / times)
    return statistics.median(rounds)


def filled() -> Monitor:
    """A monitor at its worst: every label set full, queues, chats, an hour of history."""
    now = [1000.0]
    monitor = Monitor(clock=lambda: now[0])
    queues = [{"name": f"q{n}", "size": n, "capacity": 100, "dropped": n} for n in range(20)]
    chats = [{"chat_id": str(n), "state": "streaming", "model": "m", "tokens": 5} for n in range(50)]
    monitor.add_source("bus", lambda: bus_figures(*queues, published={"chat.delta": 10**6}))
    monitor.add_source("chats", lambda: chats)
    monitor.add_source("mcp", lambda: [{"server": "a", "host": "a", "state": "up", "tools": 3}] * 2)
    monitor.add_source("seams", lambda: [{"name": f"s{n}", "attached": True} for n in range(7)])
    for n in range(300):
        for event in EVENTS.values():
            names = {"model": f"m{n}", "type": f"T{n}", "route": f"/r{n}"}
            monitor.on_event(Happened(event.type, {**event.data, **names}))
    for second in range(3700):
        now[0] = 1000.0 + second
        if second % 10 == 0:
            monitor.tick()
        monitor.on_latency([0.001])
        monitor.system.on_lag(0.001, now[0])
    return monitor


def costs() -> dict[str, float]:
    """Every figure, in the unit that its name ends with."""
    monitor = filled()
    histogram, window = LogHistogram(), WindowedHistogram(60.0)
    found = {f"on_event {name} ns": 1e9 * median(lambda e=event: monitor.on_event(e), 20_000)  # type: ignore[misc]
             for name, event in EVENTS.items()}  # fmt: skip
    samples = [0.001] * 1000
    found |= {
        "bare call ns": 1e9 * median(lambda: None, 100_000),
        "histogram record ns": 1e9 * median(lambda: histogram.record(0.0123), 50_000),
        "windowed record ns": 1e9 * median(lambda: window.record(0.0123, 1000.0), 50_000),
        "latency sample ns": 1e6 * median(lambda: monitor.on_latency(samples), 20),
        "tick us": 1e6 * median(monitor.tick, 50),
        "snapshot us": 1e6 * median(monitor.snapshot, 50),
        "snapshot as JSON us": 1e6 * median(lambda: json.dumps(monitor.snapshot()), 20),
        "JSON bytes": len(json.dumps(monitor.snapshot())),
        "health us": 1e6 * median(monitor.health, 50),
        "look (on the loop) us": 1e6 * median(lambda: Scrape(monitor), 5),
        "text (in a thread) us": 1e6 * median(Scrape(monitor).text, 5),
        "openmetrics (in a thread) us": 1e6 * median(Scrape(monitor).openmetrics, 5),
        "history 24h us": 1e6 * median(lambda: json.dumps(monitor.read_history("24h")), 5),
    }
    return found


def memory() -> dict[str, float]:
    """What a monitor with everything full holds."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    monitor = filled()
    held = tracemalloc.get_traced_memory()[0] - before
    for n in range(20_000):
        monitor.on_event(EVENTS["chat.finished"])
        if n % 100 == 0:
            monitor.tick()
    grown = tracemalloc.get_traced_memory()[0] - before - held
    tracemalloc.stop()
    return {"full monitor KB": held / 1024, "grown after 20,000 chats more KB": grown / 1024}


async def idle() -> dict[str, float]:
    """CPU of a monitor that runs and has nothing to do, as a share of one core."""
    monitor = Monitor()
    monitor.start()
    await asyncio.sleep(0.2)
    began, burnt = time.monotonic(), time.process_time()
    await asyncio.sleep(5)
    share = (time.process_time() - burnt) / (time.monotonic() - began)
    await monitor.aclose()
    return {"idle monitor % of a core": 100 * share}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = costs() | memory() | asyncio.run(idle())
    for name, value in found.items():
        sys.stdout.write(f"{name:36} {value:12,.2f}\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
