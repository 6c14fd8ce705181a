"""The monitor as a whole: events and sources in, one JSON and one verdict out."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from backend.events import EVENTS
from backend.monitoring import KEPT_EVENTS, Monitor, Past, PastEvent
from tests.support.clock import FakeClock
from tests.support.net import until


class Happened:
    """An event as far as the monitor looks at it."""

    def __init__(self, type_: str, number: int = 0, **data: Any) -> None:
        self.type = type_
        self.data = data
        self.id = f"e{number}"
        self.source = "test"
        self.session = "s1"


class Still:
    """A process whose figures never change."""

    def sample(self) -> dict[str, float | None]:
        return {"rss_bytes": 5e8, "cpu_percent": 12.5, "cpu_seconds": 3.0, "threads": 9.0}


@pytest.fixture
def clock() -> FakeClock:
    """A clock moved by hand."""
    return FakeClock()


@pytest.fixture
def monitor(clock: FakeClock) -> Monitor:
    """A monitor on that clock."""
    return Monitor(clock=clock, wall=clock, sampler=Still())


def keys(value: Any) -> Any:
    """The shape of a JSON: its keys, nested, without the values."""
    return {key: keys(inner) for key, inner in value.items()} if isinstance(value, dict) else None


CONTRACT: dict[str, Any] = {
    "version": 0, "boot": 0, "time": 0, "uptime_seconds": 0,
    "events": {
        "published_total": 0, "rate": {"1s": 0, "10s": 0, "60s": 0},
        "latency_seconds": {"p50": 0, "p90": 0, "p99": 0, "max": 0, "count": 0},
        "by_type": {}, "queues": 0, "dropped_total": 0, "conflated_total": 0,
    },
    "errors": {
        "total": 0, "by_severity": {"low": 0, "medium": 0, "high": 0, "critical": 0}, "by_type": {},
        "by_kind": {}, "retries": 0, "recovered": 0, "gave_up": 0, "recovery_rate": 0, "recent": 0,
        "breakers": 0,
    },
    "system": {
        "rss_bytes": 0, "cpu_percent": 0, "connections": {"chats": 0, "panels": 0, "websockets": 0},
        "loop_lag_seconds": {"p50": 0, "p99": 0, "max": 0}, "last_stall": 0, "threads": 0,
    },
    "chat": {
        "active": 0, "completed": 0, "failed": 0, "cancelled": 0,
        "first_token_seconds": {"p50": 0, "p90": 0, "p99": 0, "max": 0, "count": 0},
        "tokens_per_second": {"p50": 0, "count": 0}, "length_chars": {"p50": 0},
        "bytes_sent_total": 0, "bytes_saved_total": 0, "models": 0, "current": 0,
    },
    "mcp": 0, "seams": 0, "health": {"status": 0, "summary": 0, "advice": 0},
}  # fmt: skip


def missing(contract: Any, found: Any, path: str = "") -> list[str]:
    """The paths of the contract that are not there."""
    if not isinstance(contract, dict):
        return []
    lost = [f"{path}/{key}" for key in contract if key not in found]
    return lost + [
        deeper
        for key, inner in contract.items()
        if key in found
        for deeper in missing(inner, found[key], f"{path}/{key}")
    ]


def test_the_snapshot_has_every_key_of_the_contract(monitor: Monitor) -> None:
    """The panel reads these; an idle plugin has all of them."""
    snapshot = monitor.snapshot()

    assert missing(CONTRACT, snapshot) == []
    json.dumps(snapshot, allow_nan=False)


def test_each_process_has_a_name_of_its_own(monitor: Monitor, clock: FakeClock) -> None:
    """After a restart event ids and totals begin anew: a page that stayed open can tell, however short the restart."""
    again = Monitor(clock=clock, wall=clock, sampler=Still())

    assert monitor.snapshot()["boot"] == monitor.snapshot()["boot"]
    assert monitor.snapshot()["boot"] != again.snapshot()["boot"]


def test_every_event_type_is_taken(monitor: Monitor) -> None:
    """No event of the table makes the monitor stumble, even with no data at all."""
    for type_ in EVENTS:
        monitor.on_event(Happened(type_))

    assert dict.fromkeys(EVENTS, 1) == monitor.snapshot()["events"]["by_type"]


def test_a_malformed_event_is_counted_and_logged_once(monitor: Monitor, caplog: pytest.LogCaptureFixture) -> None:
    """An event of a plugin that got the data wrong harms nothing and does not flood the log."""
    for _ in range(3):
        monitor.on_event(Happened("http.request", seconds="soon"))

    assert monitor.snapshot()["events"]["by_type"] == {"http.request": 3}
    assert len(caplog.records) == 1


def test_sources_fill_their_places(monitor: Monitor) -> None:
    """Rows of the registry, servers, seams and breakers appear where the contract says."""
    chats = [{"chat_id": "1", "state": "streaming"}, {"chat_id": "2", "state": "done"}]
    monitor.add_source("chats", lambda: chats)
    monitor.add_source("mcp", lambda: [{"server": "a", "state": "up"}])
    monitor.add_source("seams", lambda: [{"name": "chat", "attached": True}])
    monitor.add_source("breakers", lambda: [{"name": "b", "state": "closed"}])
    monitor.add_source("connections", lambda: {"panels": 2, "websockets": 3})
    monitor.add_source("weather", lambda: "fine")
    snapshot = monitor.snapshot()

    assert snapshot["chat"]["active"] == 1
    assert [row["chat_id"] for row in snapshot["chat"]["current"]] == ["1", "2"]
    assert snapshot["mcp"] == [{"server": "a", "state": "up"}]
    assert snapshot["seams"] == [{"name": "chat", "attached": True}]
    assert snapshot["errors"]["breakers"] == [{"name": "b", "state": "closed"}]
    assert snapshot["system"]["connections"] == {"chats": 1, "panels": 2, "websockets": 3}
    assert snapshot["extra"] == {"weather": "fine"}


def test_a_source_that_raises_keeps_its_last_value(monitor: Monitor, caplog: pytest.LogCaptureFixture) -> None:
    """One part that breaks does not take the page down."""
    answers: list[Any] = [[{"server": "a", "state": "up"}]]
    monitor.add_source("mcp", lambda: answers.pop())
    monitor.snapshot()
    monitor.snapshot()

    assert monitor.snapshot()["mcp"] == [{"server": "a", "state": "up"}]
    assert len(caplog.records) == 1


def test_what_json_cannot_say_becomes_null(monitor: Monitor) -> None:
    """Browsers refuse Python's Infinity, and then the panel would show nothing at all."""
    monitor.add_source("breakers", lambda: [{"name": "b", "state": "open", "retry_in": float("inf")}])
    monitor.on_event(Happened("chat.retrying", wait=float("nan")))
    monitor.tick()

    assert monitor.snapshot()["errors"]["breakers"][0]["retry_in"] is None
    assert monitor.events_since(0)[1][0]["data"]["wait"] is None


def test_events_since_gives_each_once_in_order(monitor: Monitor) -> None:
    """Two readers with their own number each get all, once; text never leaves."""
    monitor.on_event(Happened("chat.started", 1, chat_id="1"))
    first, rows = monitor.events_since(0)
    monitor.on_event(Happened("chat.finished", 2, chat_id="1", notice="my secret diary"))
    second, more = monitor.events_since(first)

    assert [row["id"] for row in rows] == ["e1"]
    assert [row["id"] for row in more] == ["e2"]
    assert more[0]["data"] == {"chat_id": "1", "notice_length": 15}
    assert set(more[0]) == {"id", "type", "time", "source", "session", "data"}
    assert monitor.events_since(second) == (second, [])


def test_the_event_log_is_bounded(monitor: Monitor) -> None:
    """A reader that was away long gets the last 200, and the memory holds no more."""
    for n in range(1000):
        monitor.on_event(Happened("chat.retrying", n))
    seq, rows = monitor.events_since(0)

    assert (seq, len(rows), rows[-1]["id"]) == (KEPT_EVENTS + 1000, KEPT_EVENTS, "e999")


@pytest.mark.parametrize(("on", "data"), [(False, {"text_length": 5}), (True, {"text": "hello"})])
def test_text_goes_out_only_if_the_user_wants_it(clock: FakeClock, on: bool, data: dict[str, Any]) -> None:
    """The switch decides at each look, for what was kept before it was turned, too."""
    switch = [False]
    monitor = Monitor(clock=clock, wall=clock, sampler=Still(), expose_text=lambda: switch[0])
    monitor.on_event(Happened("chat.notice", text="hello"))
    switch[0] = on

    assert monitor.events_since(0)[1][0]["data"] == data


def test_a_tick_a_second_makes_history(monitor: Monitor, clock: FakeClock) -> None:
    """What happened in a second stands in that second's place."""
    for second in range(3):
        monitor.on_latency([0.01 * (second + 1)])
        monitor.on_event(Happened("chat.first_token", seconds=1.0, model="m", host="h"))
        monitor.tick()
        clock.advance(1.0)
    series = monitor.read_history("1m")["series"]

    assert series["latency_p50"][-3:] == pytest.approx([0.01, 0.02, 0.03], rel=0.03)
    assert series["first_token_p50"][-3:] == pytest.approx([1.0] * 3, rel=0.03)
    assert series["events_rate"][-2:] == [1.0, 1.0]
    assert series["rss_bytes"][-3:] == [5e8] * 3
    assert series["rss_bytes"][0] is None


def test_health_changes_are_published(clock: FakeClock) -> None:
    """Others learn of an alert through the injected publish, once."""
    told: list[tuple[str, dict[str, Any]]] = []
    monitor = Monitor(clock=clock, wall=clock, sampler=Still(), publish=lambda type_, data: told.append((type_, data)))
    monitor.add_source("mcp", lambda: [{"server": "a", "host": "a", "state": "down"}])
    for _ in range(5):
        monitor.tick()
        clock.advance(1.0)

    ((type_, data),) = told
    assert type_ == "health.changed"
    assert (data["check"], data["status"], data["was"]) == ("mcp:connections", "warn", "pass")
    assert set(data) == set(EVENTS["health.changed"].data.__annotations__)


def test_a_stall_is_published_and_shown(clock: FakeClock) -> None:
    """The event has the keys of the table; the panel sees the same."""
    told: list[str] = []
    monitor = Monitor(clock=clock, wall=clock, sampler=Still(), publish=lambda type_, data: told.append(type_))
    monitor._on_stall({"seconds": 1.0, "frame": "f", "stack": ["f"]})

    assert told == ["loop.stalled"]
    assert monitor.snapshot()["system"]["last_stall"]["frame"] == "f"


async def test_start_and_close_leave_nothing() -> None:
    """One task and one thread while it runs, none after; twice each is fine."""
    monitor = Monitor()
    tasks, threads = len(asyncio.all_tasks()), set(threading.enumerate())
    monitor.start()
    monitor.start()
    await until(lambda: monitor.ticks > 0)
    assert len(asyncio.all_tasks()) == tasks + 1
    await monitor.aclose()
    await monitor.aclose()

    assert len(asyncio.all_tasks()) == tasks
    await until(lambda: set(threading.enumerate()) <= threads)


async def test_a_close_that_is_cancelled_still_stops_everything() -> None:
    """A shut-down that is cut short leaves neither the task nor the thread."""
    monitor = Monitor()
    threads = set(threading.enumerate())
    monitor.start()
    await until(lambda: monitor.ticks > 0)
    closing = asyncio.create_task(monitor.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    await until(lambda: len(asyncio.all_tasks()) == 1)

    await until(lambda: set(threading.enumerate()) <= threads)


async def test_making_a_monitor_starts_nothing() -> None:
    """Importing and making must not cost ComfyUI a thread or a task."""
    tasks, threads = len(asyncio.all_tasks()), set(threading.enumerate())
    Monitor()

    assert len(asyncio.all_tasks()) == tasks
    assert set(threading.enumerate()) <= threads


async def test_a_tick_that_fails_does_not_end_the_ticking(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken figure must not freeze all the others for ever."""
    monitor = Monitor()
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        raise ZeroDivisionError

    async def soon(seconds: float) -> None:
        await asyncio.shield(asyncio.get_running_loop().create_future()) if len(calls) > 2 else None

    monkeypatch.setattr(monitor, "tick", broken)
    monkeypatch.setattr("backend.monitoring.asyncio.sleep", soon)
    task = asyncio.create_task(monitor.run())
    await until_calls(calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len([r for r in caplog.records if "tick" in r.getMessage()]) == 1


async def until_calls(calls: list[int]) -> None:
    """Let the loop turn until there are three calls; without `asyncio.sleep`, which the test replaced."""
    loop = asyncio.get_running_loop()
    while len(calls) < 3:
        turn = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn


def test_minutes_are_told_as_the_chart_of_a_day_shows_them() -> None:
    """One event a minute, when it has ended; the store keeps it, and a later run restores it."""
    clock = FakeClock(1000.0)
    told: list[tuple[str, dict[str, Any]]] = []
    monitor = Monitor(
        clock=clock, wall=lambda: clock() + 1e9, publish=lambda type_, data: told.append((type_, data)), sampler=Still()
    )
    for _ in range(125):
        monitor.tick()
        clock.advance(1.0)

    minutes = [data for type_, data in told if type_ == "metrics.minute"]
    assert [minute["end"] for minute in minutes] == [1e9 + 1020.0, 1e9 + 1080.0]
    assert minutes[0]["values"]["queue_fill"] == 0.0
    assert minutes[0]["values"]["latency_p50"] is None


def test_past_goes_before_what_is_known_and_changes_no_count() -> None:
    """Events of this run that came first keep their numbers; at most 200 are kept, the newest."""
    monitor = Monitor(sampler=Still())
    monitor.on_event(Happened("health.changed", check="x"))
    seq, _ = monitor.events_since(0)
    past = [PastEvent(f"0-{n}", "error", float(n), "test", None, {"error_id": str(n)}) for n in range(300)]
    monitor.restore(Past(past, [{"time": 5.0, "error_id": "7", "outcome": "gave_up"}], (), {"chats": {}}))

    newest, rows = monitor.events_since(0)
    assert (newest, monitor.events_since(seq)[1]) == (seq, [])
    assert [row["id"] for row in rows[:-1]] == [f"0-{n}" for n in range(101, 300)]
    assert rows[-1]["type"] == "health.changed"
    assert [row["error_id"] for row in monitor.errors.recent] == ["7"]
    assert (monitor.errors.total, monitor.errors.recovery(monitor.clock())) == (0, (None, 0))


def test_costs_are_at_the_prices_of_now() -> None:
    """Of a chat, a model, all of them and all since the installation; without a price a cost is not known."""
    prices = ["good = $1 / $2"]
    monitor = Monitor(prices=lambda: prices[0])
    known = {"chat_id": "1", "model": "good", "host": "api.example.com", "attempts": 1, "tokens": 30}
    told = {**known, "input_tokens": 100, "output_tokens": 20, "tokens_estimated": 10, "input_estimated": 0}
    other = {"chat_id": "2", "model": "other", "host": "api.example.com", "attempts": 1, "output_tokens": 5}
    two = {
        "chat_id": "3", "model": "good", "host": "h.example.com",
        "by_model": [{"model": "good", "host": "h.example.com", "output": 1}, {**other, "output": 5}],
    }  # fmt: skip
    for data in (told, other, two):
        monitor.on_event(Happened("chat.finished", kind="chat", outcome="completed", **data))
    monitor.add_source("chats", lambda: [told, other, two])
    monitor.restore(Past(install={"since": 5.0, "chats": 2, "saved": 1, "by_model": [{**known, "output": 1_000_000}]}))
    chat = monitor.snapshot()["chat"]

    assert "$" == chat["currency"]
    assert [pytest.approx(160e-6), None, None] == [row["cost"] for row in chat["current"]]
    assert [True, False, False] == [row["cost_estimated"] for row in chat["current"]]
    assert not [row for row in chat["current"] if "by_model" in row or "input_estimated" in row]
    assert [pytest.approx(160e-6), None, pytest.approx(2e-6)] == [row["cost"] for row in chat["models"]]
    assert pytest.approx(162e-6) == chat["cost"]
    since = chat["since_install"]
    assert (5.0, 5, 1, 1_000_041) == tuple(since[name] for name in ("since", "chats", "saved", "tokens"))
    assert pytest.approx(2 + 162e-6) == since["cost"]
    assert (10, True) == (since["tokens_estimated"], since["cost_estimated"])
    prices[0] = "* = 0 / 1000000"
    assert [30, 5, 6] == [row["cost"] for row in monitor.snapshot()["chat"]["current"]]
