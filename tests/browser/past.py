"""What lies behind the snapshots of scenarios.py: charts, a chat's story, sums by day, and the log of events.

Pure functions of a wall time, too.
"""

from __future__ import annotations

import math
import random
from typing import Any

from .scenarios import LOCAL, OPENAI, Json

RANGES = {"1h": (5, 720), "24h": (60, 1440), "7d": (900, 672)}


def history(scenario: str, range_: str, now: float) -> Json:
    """A believable past of a scenario."""
    step, points = RANGES[range_]
    dice = random.Random(f"{scenario}{range_}")
    end = math.floor(now / step) * step
    calm = scenario in ("idle", "no_copilot")
    down = nights(now) if range_ != "1h" else []
    series: dict[str, list[float | None]] = {
        name: []
        for name in (
            "events_rate",
            "queue_fill",
            "queue_threshold",
            "latency_p50",
            "latency_p99",
            "first_token_p50",
            "tokens_per_second",
            "errors",
            "recovery_rate",
            "rss_bytes",
            "cpu_percent",
            "loop_lag_p99",
            "chats_active",
        )
    }
    for index in range(points):
        age = points - 1 - index
        wave = 0.5 + 0.5 * math.sin(index / points * 11) * math.cos(index / points * 3)
        noise = dice.random()
        trouble = scenario == "failing" and age < points * 0.18
        trouble = trouble or (scenario == "recovered" and points * 0.35 < age < points * 0.55)
        at = end - age * step
        missing = (calm and index < points * 0.6) or any(since < at < until for since, until in down)
        load = 0.0 if calm else 40 + 160 * wave + 40 * noise

        def put(name: str, value: float | None, missing: bool = missing) -> None:
            series[name].append(None if missing else value)

        put("events_rate", 0.1 * noise if calm else load * (0.4 if trouble else 1))
        put(
            "queue_fill",
            0.002 if calm else min(0.96, 0.06 + 0.1 * wave + 0.05 * noise + (0.55 * noise if trouble else 0)),
        )
        put("queue_threshold", 0.65 if calm else 0.5 + 0.15 * wave)
        put("latency_p50", 2e-5 + 6e-6 * noise)
        put("latency_p99", 7e-5 + 9e-5 * noise + (2e-4 if trouble else 0))
        seldom = calm or dice.random() > {"1h": 0.1, "24h": 0.5, "7d": 0.8}[range_]
        put("first_token_p50", None if seldom else (2.2 if trouble else 0.55) + 0.4 * noise)
        put("tokens_per_second", None if seldom else (22 if trouble else 68) + 14 * noise)
        put("errors", 0.0 if calm or not trouble else float(noise > 0.55) * math.ceil(noise * 3))
        put("recovery_rate", (0.5 + 0.4 * noise if trouble else None))
        put("rss_bytes", 1.2e9 + 1.4e8 * index / points + 1e7 * noise)
        put("cpu_percent", 1 + noise if calm else 8 + 12 * wave + 4 * noise)
        put("loop_lag_p99", 0.0012 + 0.002 * noise + (0.05 * noise if trouble and noise > 0.8 else 0))
        put("chats_active", 0 if calm else round(1 + 3 * wave + noise))
    return {"range": range_, "step": step, "end": end, "series": series, "down": down}


def nights(now: float) -> list[list[float]]:
    """The times of the last week in which the program did not run: nine hours a day, one day whole."""
    found = [[now - day * 86_400 - 14 * 3600, now - day * 86_400 - 5 * 3600] for day in range(7)]
    found[4][0] -= 20 * 3600
    return sorted(found)


def story(chat_id: str, now: float) -> Json | None:
    """A chat's story as `/copilot-pulse/events/story` gives it: a break, a wait, a tool, a hand-off; else None."""
    if chat_id not in ("10-abc", "13-abc"):
        return None
    running = chat_id == "13-abc"
    attempt = {
        "kind": "attempt", "turn": 1, "attempt": 1, "model": "qwen3:8b", "host": LOCAL, "outcome": "completed",
        "first_token": None, "finish": "stop", "input_tokens": None, "output_tokens": None, "cached_tokens": None,
        "reasoning_tokens": None,
    }  # fmt: skip
    spans = [
        {"kind": "agent", "start": 0.0, "end": 12.4, "agent": "Router"},
        {"kind": "reader", "start": 0.1, "end": None if running else 21.7, "transport": "websocket"},
        {**attempt, "start": 0.0, "end": 9.3, "outcome": "failed", "first_token": 1.9, "finish": None},
        {"kind": "wait", "start": 9.3, "end": None if running else 9.8, "turn": 1, "attempt": 1, "of": 3,
         "error": "connection", "cut": 412, "seconds": 0.5},
    ]  # fmt: skip
    if not running:
        spans += [
            {**attempt, "start": 9.8, "end": 11.2, "attempt": 2, "first_token": 10.3, "finish": "tool_calls",
             "input_tokens": 2_900, "output_tokens": 31},
            {"kind": "tool", "start": 11.2, "end": 12.3, "turn": 1, "tool": "search_nodes", "call_id": "c",
             "length": 5_200},
            {"kind": "agent", "start": 12.4, "end": 21.7, "agent": "Workflow"},
            {**attempt, "start": 12.4, "end": 21.7, "turn": 2, "first_token": 13.6, "input_tokens": 4_700,
             "output_tokens": 1_513, "cached_tokens": 2_048},
        ]  # fmt: skip
    error = {
        "at": 9.3, "error_id": "connection-55", "kind": "connection", "type": "APIConnectionError", "attempt": 1,
        "outcome": "recovered", "message": "Connection error.", "severity": "medium", "where": "model",
    }  # fmt: skip
    return {
        "chat_id": chat_id, "session": "session-10", "kind": "chat", "outcome": None if running else "completed",
        "model": "qwen3:8b", "host": LOCAL, "started": 1_790_000_610.0, "seconds": None if running else 21.7,
        "usage": {"input_tokens": 7_600, "output_tokens": 1_544, "cached_tokens": 2_048, "reasoning_tokens": None},
        "tokens": 1_544, "tokens_estimated": False, "cost": None, "length": 6_120, "bytes_sent": 48_200,
        "bytes_saved": 1_310_000, "retries": 1, "events": 22, "spans": spans, "errors": [error],
    }  # fmt: skip


def totals(now: float) -> list[Json]:
    """Sums by day as `/copilot-pulse/events/totals` gives them."""
    return [
        {
            "time": (math.floor(now / 86_400) - ago) * 86_400, "chats": {"completed": 60 - 6 * ago, "failed": ago},
            "errors": ago, "recovered": 3, "saved": 3, "tokens": 9_000, "input_tokens": 31_000 - 900 * ago,
            "output_tokens": 9_000 - 400 * ago, "tokens_estimated": 0,
            "cost": round(0.2 - 0.02 * ago, 3) if ago < 5 else 0.0,
        }
        for ago in range(5, -1, -1)
    ]  # fmt: skip


def log(scenario: str, now: float) -> list[Json]:
    """The events that a scenario's panel has seen, oldest first."""

    def event(number: int, ago: float, type_: str, **data: Any) -> Json:
        return {
            "id": f"{scenario}-{number}",
            "type": type_,
            "time": now - ago,
            "source": "copilot",
            "session": "session-12",
            "data": data,
        }

    start = event(1, 300, "pulse.started", version="0.1.0", attached=["model", "run", "chat", "mcp"], missing=[])
    if scenario in ("idle", "no_copilot"):
        return [start]
    rows = [
        start,
        event(2, 64, "chat.started", chat_id="12-abc", kind="chat", messages=3),
        event(3, 63.4, "chat.first_token", chat_id="12-abc", model="gpt-4.1-mini", host=OPENAI, seconds=0.62),
        event(4, 58, "chat.tool_called", chat_id="12-abc", tool="search_nodes", call_id="c1"),
        event(
            5,
            57,
            "chat.tool_output",
            chat_id="12-abc",
            tool="search_nodes",
            call_id="c1",
            seconds=0.94,
            length=5200,
        ),
        event(
            6,
            55,
            "chat.retrying",
            chat_id="13-abc",
            attempt=1,
            of=3,
            wait=0.41,
            error="APIConnectionError",
            cut=320,
        ),
        event(
            7,
            54.6,
            "error",
            error_id="e1",
            severity="medium",
            kind="connection",
            type="APIConnectionError",
            where="model",
            message="Connection error.",
            outcome="recovered",
            attempt=2,
            model="qwen3:8b",
            host=LOCAL,
        ),
        event(
            8,
            41,
            "chat.finished",
            chat_id="11-abc",
            kind="chat",
            outcome="completed",
            model="gpt-4.1-mini",
            host=OPENAI,
            seconds=8.8,
            first_token=0.6,
            tokens=690,
            stream_tokens=689,
            stream_seconds=8.2,
            length=3100,
            updates=120,
            bytes_sent=80000,
            bytes_saved=900000,
            retries=0,
        ),
    ]
    if scenario == "failing":
        rows += [
            event(9, 31, "queue.zone", queue="monitor", zone="yellow", was="green", fill=0.52),
            event(
                10,
                22,
                "mcp.changed",
                server="copilot",
                host="mcp.example.com",
                state="down",
                reason="HTTP 503 Service Suspended",
                retry_in=20,
                tools=0,
            ),
            event(
                11,
                6,
                "breaker.changed",
                name=f"llm:{LOCAL} qwen3:8b",
                state="open",
                was="closed",
                retry_in=20,
                failures=9,
                calls=10,
            ),
            event(
                12,
                4,
                "error",
                error_id="e2",
                severity="medium",
                kind="connection_refused",
                type="APIConnectionError",
                where="model",
                message="Cannot connect to host 127.0.0.1:11434",
                outcome="gave_up",
                attempt=4,
                model="qwen3:8b",
                host=LOCAL,
            ),
            event(
                13,
                3.9,
                "chat.finished",
                chat_id="20-abc",
                kind="chat",
                outcome="failed",
                model="qwen3:8b",
                host=LOCAL,
                seconds=18.0,
                first_token=None,
                tokens=0,
                length=0,
                updates=2,
                bytes_sent=900,
                bytes_saved=0,
                retries=3,
            ),
            event(
                14,
                3,
                "health.changed",
                check="breakers",
                status="fail",
                was="pass",
                output="Calls to 127.0.0.1:11434 are paused",
            ),
        ]
    return rows
