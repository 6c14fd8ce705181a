"""The table of metrics in docs/monitoring.md; `python -m tests.prometheus.metrics_table` writes it anew."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from backend.fleet_redis.layout import Seconds
from backend.metrics.exposition.collector import PulseCollector
from backend.metrics.exposition.families import PREFIX
from backend.monitoring import Monitor
from backend.settings import Settings
from backend.store import EventStore, Redaction
from backend.streams.registry import StreamRegistry
from backend.streams.routes import Streams
from tests.support.figures import fleet_figures

TARGET = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
MARKS = re.compile(r"(?<=<!-- metrics -->\n).*?(?=<!-- /metrics -->)", re.DOTALL)


class Sample:
    """A process with all figures, so that no metric is left out."""

    def sample(self) -> dict[str, float | None]:
        """See the monitor's sampler."""
        return {"rss_bytes": 1.0, "threads": 1.0, "cpu_seconds": 1.0}


def full_monitor() -> Monitor:
    """A monitor whose every source tells something: fleet, event store, answers that can be read again."""
    monitor = Monitor(sampler=Sample())
    seconds = Seconds()
    with tempfile.TemporaryDirectory() as folder:
        store = EventStore(Path(folder), redaction=Redaction(str, lambda name: False)).statistics()
    streams = Streams(StreamRegistry(settings=Settings, publish=lambda *_: None, clock=time.monotonic)).snapshot()
    monitor.add_source("fleet", lambda: fleet_figures(1, seconds.snapshot()))
    monitor.add_source("store", lambda: {**store, "problem": None})
    monitor.add_source("streams", lambda: streams)
    monitor.tick()
    return monitor


def rows() -> list[str]:
    """A line for each metric."""
    monitor = full_monitor()
    found = []
    for family in PulseCollector(monitor).collect():
        known: Any = family
        labels = ", ".join(getattr(known, "_labelnames", ()) or ("version",) * (family.type == "info"))
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        name = family.name.removeprefix(PREFIX) + suffix
        found.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |\n")
    return found


def text(document: str) -> str:
    """The document with the table as it should be."""
    return MARKS.sub(lambda _: "".join(rows()), document)


if __name__ == "__main__":
    TARGET.write_text(text(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{len(rows())} metrics\n")
