"""The real Prometheus scrapes us, promtool finds nothing, and every query of the dashboard answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from .conftest import App, Prometheus
from .dashboard import TARGET, dashboard, text

Promtool = Callable[..., tuple[int, str]]
DOCS = Path(__file__).resolve().parents[2] / "docs"


async def page(app: App, format_: str) -> str:
    """What a scraper gets."""
    url = f"http://127.0.0.1:{app.port}/metrics?format={format_}"
    async with ClientSession() as session, session.get(url) as response:
        return await response.text()


def expressions() -> list[str]:
    """All queries of the dashboard, with Grafana's variables filled in as Grafana does."""
    found = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    return [e.replace("$__rate_interval", "5s").replace("$instance", ".*") for e in found]


async def test_promtool_finds_nothing_in_the_text_format(app: App, promtool: Promtool) -> None:
    """Names, units, help texts and types follow Prometheus' conventions."""
    app.live()
    app.monitor.tick()

    assert promtool("check", "metrics", text=await page(app, "prometheus")) == (0, "")


async def test_promtool_takes_the_openmetrics_format(app: App, promtool: Promtool, tmp_path: Path) -> None:
    """Prometheus' own OpenMetrics reader (its back-filling tool) takes every sample.

    `promtool check metrics` knows the older format only, so the same names and texts are checked there.
    """
    app.live()
    app.monitor.tick()
    stamped = re.sub(r"(?m)^(?!#)(.+)$", r"\1 1700000000", await page(app, "openmetrics"))
    source = tmp_path / "om.txt"
    source.write_text(stamped)
    code, said = promtool("tsdb", "create-blocks-from", "openmetrics", str(source), str(tmp_path / "blocks"))

    assert code == 0, said
    assert "copilot_pulse" not in said.lower().replace(str(tmp_path).lower(), "")
    _, listed = promtool("tsdb", "list", str(tmp_path / "blocks"))
    samples = sum(not line.startswith("#") for line in stamped.splitlines())
    assert f" {samples} " in " ".join(listed.split())


async def test_prometheus_scrapes_both_formats(prometheus: Prometheus, app: App) -> None:
    """Both targets are up without an error; left to itself, Prometheus takes OpenMetrics."""

    async def well() -> bool:  # half a second, the limit of a scrape, may pass while the machine is busy
        return [target["lastError"] for target in (await prometheus.targets()).values()] == ["", ""]

    await prometheus.until(well, "a scrape of both without an error")
    assert "/metrics application/openmetrics-text; version=1.0.0; charset=utf-8" in app.asked
    assert "/api/metrics text/plain; version=0.0.4; charset=utf-8" in app.asked


async def test_prometheus_stores_the_same_series_from_both(prometheus: Prometheus) -> None:
    """Whatever the scraper asks for, the names and labels in its database are the same."""

    async def series(job: str) -> set[tuple[tuple[str, str], ...]]:
        rows = await prometheus.query(f'{{__name__=~"copilot_pulse_.*",job="{job}"}}')
        return {tuple(sorted((k, v) for k, v in row["metric"].items() if k != "job")) for row in rows}

    async def same() -> bool:
        text_series = await series("text")
        return bool(text_series) and text_series == await series("openmetrics")

    await prometheus.until(same, "the same series from both formats")


async def test_values_arrive_as_they_are(prometheus: Prometheus, app: App) -> None:
    """A counter that stands still reads the same in Prometheus as here."""

    async def agrees() -> bool:
        rows = await prometheus.query('copilot_pulse_start_time_seconds{job="text"}')
        return bool(rows) and float(rows[0]["value"][1]) == pytest.approx(app.monitor.started_wall, abs=0.01)

    await prometheus.until(agrees, "the start time")
    answer = await prometheus.api("metadata", metric="copilot_pulse_chat_first_token_seconds")
    assert answer["data"]["copilot_pulse_chat_first_token_seconds"][0]["type"] == "histogram"


async def test_every_query_of_the_dashboard_answers(prometheus: Prometheus) -> None:
    """No panel of the dashboard is empty: each query parses and gives series with a number."""
    empty: list[str] = []

    async def all_answer() -> bool:
        empty.clear()
        for expression in expressions():
            rows: list[dict[str, Any]] = await prometheus.query(expression)
            if not any(row["value"][1] != "NaN" for row in rows):
                empty.append(expression)
        return not empty

    await prometheus.until(all_answer, "an answer to every query")
    assert empty == []


def test_the_dashboard_in_docs_is_current() -> None:
    """The file that people import is what the table says; `python -m tests.prometheus.dashboard` makes it."""
    assert text() == TARGET.read_text(encoding="utf-8")


def test_the_dashboard_can_be_imported() -> None:
    """Grafana wants unique ids, places that do not overlap, and a data source it can fill in."""
    panels = json.loads(text())["panels"]
    places = [
        {(x, y) for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])}
        for p in (panel["gridPos"] for panel in panels)
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert sum(len(place) for place in places) == len(set().union(*places))
    assert all(x < 24 for place in places for x, _ in place)


def test_the_alert_rules_in_the_docs_are_valid(promtool: Promtool, tmp_path: Path) -> None:
    """Someone who copies the rules gets rules that load."""
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", (DOCS / "monitoring.md").read_text("utf-8"), re.DOTALL)
    rules = tmp_path / "rules.yml"
    rules.write_text(block)
    code, said = promtool("check", "rules", str(rules))

    assert code == 0, said
