"""A running program and its history: chats, a restart, the routes, health, privacy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from backend.pulse import Pulse
from backend.standalone.host import Host
from backend.standalone.options import Options
from backend.store import Filter
from tests.support.net import until
from tests.support.stores import everything, new_store, raw_bytes, running

PATH = "/copilot-pulse/events"
QUICK = {"COPILOT_PULSE_STALL_TIMEOUT": "30", "COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "30"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the host of this test keeps its events."""
    return tmp_path / "events"


@asynccontextmanager
async def hosted(folder: Path, **environ: str) -> AsyncIterator[tuple[Host, aiohttp.ClientSession]]:
    """A host that runs, and a client of it."""
    host = Host(Options("127.0.0.1", 0, None), {**QUICK, "COPILOT_PULSE_STORE_DIR": str(folder), **environ}, pace=0)
    try:
        await host.start()
        async with aiohttp.ClientSession(host.url) as client:
            yield host, client
    finally:
        await host.close()


async def chat(client: aiohttp.ClientSession, text: str, session: str = "s1") -> str:
    """One chat; its text."""
    body = {"session_id": session, "messages": [{"role": "user", "content": text}], "ext": []}
    async with client.post("/api/chat/invoke", json=body) as response:
        return json.loads((await response.text()).splitlines()[-1])["text"] or ""


async def get(client: aiohttp.ClientSession, path: str = "", **query: str) -> Any:
    """An answer of the events' routes."""
    async with client.get(PATH + path, params=query) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_chats_of_before_a_restart_are_there_after_it(folder: Path) -> None:
    """With their figures and their story, by the routes that the panel uses."""
    async with hosted(folder) as (host, client):
        await chat(client, "hello")
        await chat(client, "hello", "s2")
    async with hosted(folder) as (host, client):
        assert host.pulse.store is not None
        await host.pulse.store.flush()
        rows = (await get(client, "/chats"))["chats"]
        assert [(row["session"], row["outcome"]) for row in rows] == [("s2", "completed"), ("s1", "completed")]
        story = await get(client, "/story", chat=rows[0]["chat_id"])
        attempt = next(span for span in story["spans"] if span["kind"] == "attempt")
        assert attempt["end"] >= attempt["start"] >= 0
        assert attempt["outcome"] == "completed"
        opened = (await get(client, type="store.opened"))["events"]
        assert opened[1]["data"]["boot"] == host.pulse.monitor.boot
        assert opened[1]["data"]["down_since"] > opened[0]["time"]


async def test_panel_after_a_restart_shows_what_was_before(folder: Path) -> None:
    """The log, the failures, the totals and the charts of a day, with the time in which nothing ran."""
    async with hosted(folder) as (host, client):
        await chat(client, "hello")
        error = {"error_id": "e1", "severity": "high", "kind": "timeout", "type": "T", "where": "model", "message": "m"}
        host.pulse.publish("error", {**error, "outcome": "gave_up", "attempt": 1})
        now = host.pulse.monitor.wall()
        for ago in (3 * 3600, 600, 120):
            values = {"errors": float(ago), "queue_fill": 0.5, "latency_p50": None}
            host.pulse.publish("metrics.minute", {"end": now - ago, "values": values})
    async with hosted(folder) as (host, client):
        monitor = host.pulse.monitor
        await until(lambda: monitor.past is not None)
        snapshot = monitor.snapshot()
        _, log = monitor.events_since(0)
        day, hour = monitor.read_history("24h"), monitor.read_history("1h")

    assert snapshot["past"]["chats"] == {"completed": 1}
    assert snapshot["past"]["errors"] == 1
    assert len(snapshot["past"]["down"]) == 1
    assert snapshot["past"]["down"][0][0] < snapshot["past"]["down"][0][1]
    assert snapshot["errors"]["recent"][0]["error_id"] == "e1"
    assert snapshot["errors"]["total"] == 0, "totals are those of this process: Prometheus counts them"
    assert snapshot["chat"]["completed"] == 0
    types = [row["type"] for row in log]
    assert types.index("chat.finished") < len(types) - 1 - types[::-1].index("pulse.started")
    assert len({row["id"] for row in log}) == len(log)
    ages = [(len(day["series"]["errors"]) - at, value) for at, value in enumerate(day["series"]["errors"]) if value]
    assert [value for _, value in ages] == [10800.0, 600.0, 120.0, 1.0], "the last one is the failure of above"
    assert all(abs(steps * 60 - value) <= 120 for steps, value in ages)
    assert sum(value == 0.5 for value in hour["series"]["queue_fill"]) == 24


def known_past(pulse: Pulse) -> bool:
    """Whether a program has taken up what was before its start."""
    return pulse.monitor.past is not None


async def test_the_minute_that_a_restart_cut_short_is_in_the_charts(folder: Path) -> None:
    """What happened after the last full minute is known by its events, in all ranges, and once for all restarts."""
    async with hosted(folder) as (host, client):
        await chat(client, "hello")
        error = {"error_id": "e1", "severity": "high", "kind": "timeout", "type": "T", "where": "model", "message": "m"}
        host.pulse.publish("error", {**error, "outcome": "retrying", "attempt": 1})
        host.pulse.publish("error", {**error, "outcome": "recovered", "attempt": 2})
        host.pulse.publish("error", {**error, "error_id": "e2", "severity": "low", "outcome": "gave_up", "attempt": 1})
    for _ in range(2):
        async with hosted(folder) as (host, client):
            pulse = host.pulse
            await until(partial(known_past, pulse))
            monitor, store = pulse.monitor, pulse.store
            assert store is not None
            await store.flush()
            rows = store.query(Filter(("metrics.minute",))).events
            charts = [monitor.read_history(name)["series"] for name in ("24h", "1h")]
            async with client.get("/copilot-pulse/history", params={"range": "7d"}) as answer:
                charts.append((await answer.json())["series"])

        assert [sum(filter(None, series["errors"])) for series in charts] == [1, 1, 1]
        # None while a minute that began before the restart is being filled, and tells of it at its end.
        assert sum(row.data["values"].get("errors") or 0 for row in rows) <= 1
        assert all(any(series["first_token_p50"]) for series in charts[:2])
        assert all(any(series["tokens_per_second"]) for series in charts[:2])


async def test_another_program_in_the_same_folder_was_not_down(folder: Path) -> None:
    """It starts later, with a slot of its own: that is no hole in our history."""
    async with hosted(folder) as (host, _):
        assert host.pulse.store is not None
        await host.pulse.store.flush()  # it has its own slot by then
        async with running(host.pulse.store.folder), running(host.pulse.store.folder):
            pass
        async with running(host.pulse.store.folder) as other:
            await other.flush()
            assert other.statistics()["slot"] == 1
    async with hosted(folder) as (host, _):
        monitor = host.pulse.monitor
        await until(lambda: monitor.past is not None)

    assert monitor.past is not None
    assert len(monitor.past["down"]) == 1


async def test_metrics_and_health_know_the_store(folder: Path) -> None:
    """Prometheus' figures, and a check that says where it stands."""
    async with hosted(folder) as (host, client):
        await chat(client, "hello")
        assert host.pulse.store is not None
        await host.pulse.store.flush()
        host.pulse.monitor.tick()
        async with client.get("/copilot-pulse/metrics?format=prometheus") as response:
            text = await response.text()
        async with client.get("/copilot-pulse/health") as response:
            checks = (await response.json())["checks"]

    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if "_store_" in line and not line.startswith("#"))
    assert float(figures["copilot_pulse_store_events_total"]) > 3
    assert float(figures["copilot_pulse_store_bytes"]) > 4096
    assert float(figures["copilot_pulse_store_writable"]) == 1
    assert float(figures["copilot_pulse_store_commit_seconds_count"]) >= 1
    assert checks["store:writable"][0]["status"] == "pass"
    assert checks["store:text"][0]["observedValue"] == "not stored"


async def test_folder_that_cannot_be_used_warns_and_chats_go_on(folder: Path) -> None:
    """A file stands where the folder should be."""
    folder.write_text("")
    async with hosted(folder) as (host, client):
        assert await chat(client, "hello")

        def problems() -> list[dict[str, Any]]:
            host.pulse.monitor.tick()
            told = host.pulse.monitor.board.verdict()["problems"]
            return [problem for problem in told if problem["check"] == "store:writable"]

        await until(problems)
        problem = problems()[0]

    assert problem["code"] == "store_not_writable"
    assert problem["impact"] == "none"
    assert str(folder) in problem["output"]


async def test_store_can_be_switched_off(folder: Path) -> None:
    """Nothing is written then, and the routes say so."""
    async with hosted(folder, COPILOT_PULSE_STORE="off") as (_, client):
        await chat(client, "hello")
        async with client.get(PATH) as response:
            assert response.status == 404
    assert not folder.exists()


async def test_words_of_a_chat_are_not_on_disk(folder: Path) -> None:
    """Neither the question nor the answer, in any byte of any file."""
    async with hosted(folder) as (host, client):
        answer = await chat(client, "a very private question about otters")
        assert host.pulse.store is not None
        await host.pulse.store.flush()
        written = raw_bytes(folder)

    assert b"chat.finished" in written
    assert b"otters" not in written
    assert len(answer) > 40
    assert answer[:40].encode() not in written


async def test_shutting_down_does_not_wait_for_followers(folder: Path) -> None:
    """A page that follows must not hold the server, and what was told is on disk."""
    async with hosted(folder) as (host, client):
        response = await client.get(f"{PATH}/follow?after=0-0")
        assert (await response.content.readline()).startswith(b"retry")
        began = asyncio.get_running_loop().time()
        await host.close()
        assert asyncio.get_running_loop().time() - began < 30
        response.close()
    assert [one.type for one in everything(new_store(folder), "store.*")] == ["store.opened", "store.closed"]
