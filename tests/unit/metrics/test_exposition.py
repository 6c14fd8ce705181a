"""The exposition: conventions of names, bounded series, and a look that stays as it was."""

from __future__ import annotations

import re

import pytest

from backend.fleet_redis.layout import Seconds
from backend.metrics.exposition.collector import PulseCollector, Scrape
from backend.metrics.exposition.families import PREFIX
from backend.monitoring import Monitor
from tests.prometheus.metrics_table import MARKS, TARGET, Sample, text
from tests.support.figures import bus_figures, fleet_figures

UNITS = ("seconds", "bytes", "ratio", "characters", "info")


class Happened:
    """An event as far as the monitor looks at it."""

    def __init__(self, event_type: str, number: int) -> None:
        self.type = event_type
        names = {"model": f"m{number}", "host": f"h{number}", "type": f"T{number}", "kind": f"k{number}"}
        self.data = names | {"tool": f"t{number}", "route": f"/r{number}", "severity": "high", "seconds": 1.0}


@pytest.fixture
def monitor() -> Monitor:
    """A monitor whose process has all figures."""
    found = Monitor(sampler=Sample())
    found.tick()
    return found


def test_names_follow_the_conventions(monitor: Monitor) -> None:
    """One prefix, a help text that is a sentence, no unit twice, no `_total` on what is no counter."""
    for family in PulseCollector(monitor).collect():
        assert re.fullmatch(r"copilot_pulse_[a-z][a-z_]*[a-z]", family.name)
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert sum(f"_{unit}" in family.name for unit in UNITS) <= 1


def test_times_are_seconds_and_sizes_bytes(monitor: Monitor) -> None:
    """No milliseconds, no megabytes, no percent: Grafana does the scaling."""
    names = [family.name for family in PulseCollector(monitor).collect()]

    assert not [name for name in names if re.search(r"_(ms|millis|kb|mb|percent|minutes)\b", name)]


def test_series_stay_bounded_whatever_is_named(monitor: Monitor) -> None:
    """Ten thousand models, tools, routes and errors do not make ten thousand series."""
    sizes = []
    for total in (1_000, 10_000):
        for number in range(total):
            for type_ in ("chat.first_token", "chat.finished", "chat.tool_called", "error", "http.request"):
                monitor.on_event(Happened(type_, number))
        row = {"state": "up", "size": 1, "capacity": 9}
        rows = [{**row, "name": f"q{n}", "host": f"h{n}"} for n in range(total)]
        for source in ("mcp", "breakers"):
            monitor.add_source(source, lambda rows=rows: rows)  # type: ignore[misc]
        monitor.add_source("bus", lambda rows=rows: bus_figures(*rows))  # type: ignore[misc]
        monitor.tick()
        sizes.append(len(Scrape(monitor).text().splitlines()))

    assert sizes[0] == sizes[1]
    assert sizes[0] < 2_500


def test_a_look_does_not_change(monitor: Monitor) -> None:
    """What was seen on the loop is what a thread encodes, whatever happens meanwhile."""
    look = Scrape(monitor)
    before = look.text()
    monitor.on_event(Happened("error", 1))
    monitor.tick()

    assert before == look.text()
    assert before != Scrape(monitor).text()


def test_servers_of_one_host_are_series_of_their_own(monitor: Monitor) -> None:
    """Two with the same labels are a duplicate, which Prometheus refuses."""
    rows = [{"server": name, "host": "h:1", "state": "up", "tools": 1} for name in ("h:1", "h:1 (2)")]
    monitor.add_source("mcp", lambda: rows)
    monitor.tick()
    text = Scrape(monitor).text().decode()

    assert 'copilot_pulse_mcp_server_up{server="h:1"} 1.0' in text
    assert 'copilot_pulse_mcp_server_up{server="h:1 (2)"} 1.0' in text


def test_a_name_that_cannot_be_written_spoils_nothing(monitor: Monitor) -> None:
    """Another custom node names a group of shared work with half an emoji, and one with a line's end."""
    figures = fleet_figures(1, Seconds().snapshot())
    row = next(iter(figures["groups"].values()))
    names = ("half \ud83d", "two\nlines", "half ", "\x1b[31mred")
    monitor.add_source("fleet", lambda: {**figures, "groups": {name: {**row, "pending": 2} for name in names}})
    monitor.tick()

    lines = [line for line in Scrape(monitor).text().decode().splitlines() if "redis_group_pending{" in line]
    series = [line.rpartition(" ")[0] for line in lines]
    assert len(series) == len(set(series)) == 3
    assert 'copilot_pulse_redis_group_pending{group="half"} 4.0' in lines


def test_nothing_is_registered_process_wide(monitor: Monitor) -> None:
    """Another plugin that uses prometheus-client has its registry for itself."""
    from prometheus_client import REGISTRY

    Scrape(monitor).openmetrics()

    assert not [family for family in REGISTRY.collect() if family.name.startswith(PREFIX)]


def test_the_table_in_the_docs_is_current() -> None:
    """`python -m tests.prometheus.metrics_table` writes it."""
    document = TARGET.read_text(encoding="utf-8")

    assert MARKS.search(document)
    assert text(document) == document
