"""The page of figures: its formats, and what a scrape may cost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from backend.api.routes import _Kept
from tests.support.api_client import Client, Happened, Parts
from tests.support.figures import bus_figures
from tests.support.net import until


async def test_metrics_by_accept(client: Client) -> None:
    """The same page is JSON, text or OpenMetrics; caches are told that it varies and not to keep it."""
    for accept, kind in (
        ("*/*", "application/json; charset=utf-8"),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ):
        async with client.session.get(client.base + "/metrics", headers={"Accept": accept}) as response:
            assert response.headers["Content-Type"] == kind
            assert (response.headers["Vary"], response.headers["Cache-Control"]) == ("Accept", "no-store")


async def test_metrics_by_query(client: Client) -> None:
    """A person with a browser can look at each format."""
    assert (await client.get("/metrics?format=prometheus"))[2].startswith("# HELP copilot_pulse_")
    assert (await client.get("/metrics?format=openmetrics"))[2].endswith("# EOF\n")
    assert (await client.get("/metrics?format=json"))[2].startswith("{")
    assert (await client.get("/metrics?format=xml"))[0] == 400


async def test_what_nobody_has_is_406(client: Client) -> None:
    """A client that wants a picture is told what there is."""
    status, _, body = await client.get("/metrics", Accept="image/png")

    assert status == 406
    assert "text/plain" in body


def busy(parts: Parts) -> None:
    """A plugin to which something of everything has happened, with names that try to break the format."""

    evil = 'gpt"4\n\\o'
    monitor = parts.monitor
    who = {"chat_id": "1", "model": evil, "host": "127.0.0.1:1"}
    for event in (
        Happened("chat.started", **who, kind="chat"),
        Happened("chat.first_token", **who, seconds=0.4),
        Happened("chat.tool_called", **who, tool=evil),
        Happened("chat.finished", **who, kind="chat", outcome="completed", seconds=2.0, first_token=0.4,
                 tokens=50, length=200, bytes_sent=9, bytes_saved=8),
        Happened("error", severity="medium", kind="timeout", type="T", outcome="retrying", message="m"),
        Happened("http.request", method="GET", route="/api/model_config", status=200, seconds=0.2),
    ):  # fmt: skip
        monitor.on_event(event)
    monitor.on_latency([0.001])
    monitor.system.on_lag(0.002, monitor.clock())
    monitor.add_source("bus", lambda: bus_figures({"name": evil, "size": 1, "capacity": 9}))
    monitor.add_source("mcp", lambda: [{"server": evil, "state": "up", "tools": 3}])
    monitor.add_source("seams", lambda: [{"name": "chat", "attached": True}])
    monitor.add_source("breakers", parts.snapshot)
    monitor.tick()


async def test_both_expositions_parse_and_agree(client: Client) -> None:
    """The strict OpenMetrics parser and the text parser read the same series, evil names and all."""
    busy(client.parts)
    _, _, text = await client.get("/metrics?format=prometheus")
    _, _, openmetrics = await client.get("/metrics?format=openmetrics")

    in_text = {(s.name, tuple(sorted(s.labels.items()))) for f in parse_text(text) for s in f.samples}
    families = parse_openmetrics(openmetrics)  # type: ignore[no-untyped-call]
    in_openmetrics = {(s.name, tuple(sorted(s.labels.items()))) for f in families for s in f.samples}

    assert in_text == in_openmetrics
    assert {name for name, _ in in_text if not name.startswith("copilot_pulse_")} == set()
    assert len(in_text) > 100
    labels = (("host", "127.0.0.1:1"), ("model", 'gpt"4\\o'), ("outcome", "completed"))
    assert ("copilot_pulse_chats_total", labels) in in_text


async def test_a_series_appears_once(client: Client) -> None:
    """A series that stands twice makes Prometheus refuse the whole page."""
    busy(client.parts)
    _, _, text = await client.get("/metrics?format=prometheus")
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]

    assert len(series) == len(set(series))


async def test_scraping_is_cached_for_a_moment(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked, making the page costs the loop a twentieth of its time at most."""
    now = [100.0]
    made: list[float] = []

    def snapshot() -> dict[str, Any]:
        made.append(now[0])
        now[0] += 0.01
        return {}

    monkeypatch.setattr("backend.api.routes.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(client.parts.monitor, "snapshot", snapshot)
    for _ in range(5):
        await client.get("/metrics")
    assert len(made) == 1
    now[0] += 0.25
    await client.get("/metrics")

    assert len(made) == 2


async def test_a_scraper_that_leaves_harms_no_other() -> None:
    """Two wait for the same page; the first goes away in the middle, the second gets it, made once more."""
    gates = [asyncio.Event(), asyncio.Event()]
    started: list[int] = []

    async def make() -> bytes:
        started.append(1)
        await gates[len(started) - 1].wait()
        return b"page"

    kept = _Kept(make)
    first, second = asyncio.create_task(kept.get()), asyncio.create_task(kept.get())
    await until(lambda: started)
    first.cancel()
    await asyncio.wait({first})
    await until(lambda: len(started) == 2)
    gates[1].set()

    assert await second == b"page"
    assert first.cancelled()
