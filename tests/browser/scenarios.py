"""What the panel is shown in the browser tests: whole snapshots as `/api/metrics` gives them, and histories.

Pure functions of a wall time; the same time gives the same data, so that pictures can be compared.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

RANGES = {"1h": (5, 720), "24h": (60, 1440), "7d": (900, 672)}
OPENAI = "api.openai.com"
LOCAL = "127.0.0.1:11434"


def _chat(number: int, state: str, **more: Any) -> Json:
    row: Json = {
        "chat_id": f"{number}-abc",
        "session_id": f"session-{number}",
        "kind": "chat",
        "state": state,
        "detail": "",
        "model": "gpt-4.1-mini",
        "host": OPENAI,
        "agent": "",
        "seconds": 4.2,
        "tokens": 0,
        "stream_tokens": 0,
        "stream_seconds": 0.0,
        "length": 0,
        "attempt": 1,
        "of": 3,
        "retry_in": None,
        "tool": "",
        "first_token": None,
        "notice": False,
        "started": 1_790_000_000.0 + 61 * number,
        "attempts": 1,
        "breaks": [],
        "saved": False,
        "error": None,
        "silent": None,
        "input_tokens": None,
        "output_tokens": None,
        "cached_tokens": None,
        "reasoning_tokens": None,
        "tokens_estimated": False,
        "cost": None,
        "cost_estimated": False,
    }
    row |= more
    if row["state"] == "done":
        row["stream_tokens"] = row["tokens"] - 1
        row["stream_seconds"] = row["seconds"] - row["first_token"]
        row |= {"input_tokens": 2_900, "output_tokens": row["tokens"]} | more
    return row


def _error(now: float, ago: float, kind: str, type_: str, outcome: str, **more: Any) -> Json:
    row: Json = {
        "time": now - ago,
        "severity": "medium",
        "kind": kind,
        "type": type_,
        "error_id": f"{kind}-{ago}",
        "where": "model",
        "message": "",
        "outcome": outcome,
        "attempt": 1,
        "chat_id": "7-abc",
        "host": OPENAI,
        "model": "gpt-4.1-mini",
        "status": 0,
    }
    return row | more


def _breaker(
    name: str, state: str, window_failures: int, window_calls: int, failures: int, calls: int, retry_in: float = 0
) -> Json:
    return {
        "name": name,
        "state": state,
        "window_failures": window_failures,
        "window_calls": window_calls,
        "failures": failures,
        "calls": calls,
        "retry_in": retry_in,
    }


def _model(model: str, host: str, calls: int, failed: int, saved: int, **more: Any) -> Json:
    row: Json = {
        "model": model,
        "host": host,
        "chats": calls - failed,
        "failed": 0,
        "saved": saved,
        "retries": failed,
        "calls": calls,
        "calls_failed": failed,
        "first_token_p50": 0.62,
        "first_token_p95": 1.9,
        "tokens_per_second_p50": 74.2,
        "input_tokens": 182_000,
        "output_tokens": 41_300,
        "cached_tokens": 64_000,
        "reasoning_tokens": 0,
        "tokens": 41_300,
        "tokens_estimated": 0,
        "cost": 0.139,
        "cost_estimated": False,
        "local": False,
        "last_error": None,
    }
    return row | more


def _problem(check: str, status: str, code: str, **values: Any) -> Json:
    return {
        "check": check,
        "status": status,
        "code": code,
        "output": f"Server's words for {code}.",
        "advice": "",
        "values": values,
    }


def _health(*problems: Json) -> Json:
    if not problems:
        return {
            "status": "pass",
            "summary": "Copilot Pulse is well.",
            "advice": "",
            "check": None,
            "code": "",
            "problems": [],
        }
    first = problems[0]
    return {
        "status": first["status"],
        "summary": first["output"],
        "advice": "",
        "check": first["check"],
        "code": first["code"],
        "problems": list(problems),
    }


def idle(now: float) -> Json:
    """A fresh start: attached, nothing asked yet."""
    none = {"p50": None, "p90": None, "p99": None, "max": None, "count": 0}
    return {
        "version": "0.1.0",
        "boot": "first",
        "time": now,
        "uptime_seconds": 312.0,
        "events": {
            "published_total": 14,
            "rate": {"1s": 0.0, "10s": 0.0, "60s": 0.1},
            "latency_seconds": {"p50": 21e-6, "p90": 38e-6, "p99": 74e-6, "max": 130e-6, "count": 14},
            "by_type": {"pulse.started": 1, "health.changed": 3, "http.request": 10},
            "queues": [{"name": "monitor", "size": 0, "capacity": 1000, "fill": 0.0, "zone": "green", "peak": 2}],
            "dropped_total": 0,
            "conflated_total": 0,
        },
        "errors": {
            "total": 0,
            "by_severity": {"low": 0, "medium": 0, "high": 0, "critical": 0},
            "by_type": {},
            "by_kind": {},
            "retries": 0,
            "recovered": 0,
            "gave_up": 0,
            "recovery_rate": None,
            "recent": [],
            "breakers": [],
        },
        "system": {
            "rss_bytes": 1_204_000_000,
            "cpu_percent": 1.4,
            "connections": {"chats": 0, "panels": 1, "websockets": 1},
            "loop_lag_seconds": {"p50": 0.0004, "p99": 0.0021, "max": 0.009},
            "last_stall": None,
            "threads": 31,
        },
        "chat": {
            "active": 0,
            "completed": 0,
            "failed": 0,
            "cancelled": 0,
            "first_token_seconds": none,
            "tokens_per_second": {"p50": None, "count": 0},
            "length_chars": {"p50": None},
            "bytes_sent_total": 0,
            "bytes_saved_total": 0,
            "models": [],
            "current": [],
            "saved": 0,
            "explained": 0,
            "failures": 0,
            "input_tokens": None,
            "output_tokens": None,
            "cached_tokens": None,
            "reasoning_tokens": None,
            "tokens": 0,
            "tokens_estimated": 0,
            "cost": None,
            "cost_estimated": False,
            "currency": "",
            "since_install": None,
        },
        "mcp": [
            {
                "server": "copilot",
                "host": "mcp.example.com",
                "state": "up",
                "tools": 12,
                "retry_in": 0,
                "reason": "",
            },
            {
                "server": "bing",
                "host": "bing.example.com",
                "state": "unknown",
                "tools": 0,
                "retry_in": 0,
                "reason": "",
            },
        ],
        "seams": [
            {"name": n, "attached": True, "detail": ""}
            for n in ("model", "run", "chat", "mcp", "memory", "log", "http")
        ],
        "health": _health(),
    }


def busy(now: float) -> Json:
    """Four chats in different states, all well."""
    data = idle(now)
    data["uptime_seconds"] = 5 * 3600 + 780.0
    data["events"] |= {
        "published_total": 184_233,
        "rate": {"1s": 214.0, "10s": 187.4, "60s": 152.1},
        "latency_seconds": {"p50": 24e-6, "p90": 61e-6, "p99": 180e-6, "max": 2.1e-3, "count": 184_233},
        "queues": [{"name": "monitor", "size": 120, "capacity": 1000, "fill": 0.12, "zone": "green", "peak": 310}],
    }
    data["errors"] |= {
        "total": 6,
        "by_severity": {"low": 1, "medium": 5, "high": 0, "critical": 0},
        "by_type": {"APIConnectionError": 3, "RateLimitError": 2, "StreamStalled": 1},
        "by_kind": {"connection": 3, "rate_limited": 2, "stalled": 1},
        "retries": 5,
        "recovered": 5,
        "gave_up": 0,
        "recovery_rate": 1.0,
        "recent": [
            _error(
                now,
                55,
                "connection",
                "APIConnectionError",
                "recovered",
                message="Connection error.",
                host=LOCAL,
                model="qwen3:8b",
            ),
            _error(
                now,
                2400,
                "rate_limited",
                "RateLimitError",
                "recovered",
                status=429,
                message="Rate limit reached for requests",
            ),
        ],
        "breakers": [
            _breaker(f"llm:{OPENAI} gpt-4.1-mini", "closed", 0, 18, 3, 61),
            _breaker(f"llm:{LOCAL} qwen3:8b", "closed", 1, 9, 2, 12),
        ],
    }
    data["system"] |= {
        "cpu_percent": 14.0,
        "rss_bytes": 1_391_000_000,
        "connections": {"chats": 4, "panels": 1, "websockets": 2},
    }
    data["chat"] |= {
        "active": 4,
        "completed": 57,
        "failed": 0,
        "cancelled": 2,
        "first_token_seconds": {"p50": 0.62, "p90": 1.3, "p99": 2.4, "max": 3.1, "count": 57},
        "tokens_per_second": {"p50": 74.2, "count": 57},
        "length_chars": {"p50": 1900},
        "bytes_sent_total": 4_100_000,
        "bytes_saved_total": 96_000_000,
        "saved": 4,
        "explained": 0,
        "failures": 4,
        "input_tokens": 219_400,
        "output_tokens": 44_500,
        "tokens": 52_700,
        "cached_tokens": 64_000,
        "reasoning_tokens": 3_100,
        "tokens_estimated": 8_200,
        "cost": 0.168,
        "cost_estimated": False,
        "currency": "$",
        "since_install": {"since": now - 41 * 86_400, "chats": 1_873, "saved": 213, "tokens": 9_840_000, "cost": 18.2},
        "models": [
            _model("gpt-4.1-mini", OPENAI, 61, 3, 3),
            _model(
                "qwen3:8b",
                LOCAL,
                12,
                2,
                1,
                first_token_p50=1.9,
                first_token_p95=4.4,
                tokens_per_second_p50=31.0,
                input_tokens=29_000,
                output_tokens=None,
                cached_tokens=None,
                reasoning_tokens=None,
                tokens=8_200,
                tokens_estimated=8_200,
                cost=None,
                local=True,
                last_error={"kind": "connection", "type": "APIConnectionError", "time": now - 55},
            ),
            _model(
                "deepseek-reasoner",
                "api.deepseek.com",
                4,
                0,
                0,
                first_token_p50=3.1,
                first_token_p95=6.0,
                tokens_per_second_p50=40.0,
                input_tokens=8_400,
                output_tokens=3_200,
                reasoning_tokens=3_100,
                tokens=3_200,
                cost=0.029,
                cost_estimated=True,
            ),
        ],
        "current": [
            _chat(12, "streaming", seconds=6.4, tokens=412, first_token=0.8),
            _chat(
                13,
                "retrying",
                seconds=9.1,
                tokens=120,
                first_token=1.2,
                attempt=2,
                retry_in=3.6,
                model="qwen3:8b",
                host=LOCAL,
            ),
            _chat(14, "tool", seconds=3.3, tokens=38, first_token=0.7, tool="search_nodes"),
            _chat(15, "waiting", seconds=1.4, model="deepseek-reasoner", host="api.deepseek.com"),
            _chat(11, "done", seconds=8.8, tokens=690, first_token=0.6),
            _chat(
                10,
                "done",
                seconds=21.7,
                tokens=1544,
                first_token=1.9,
                model="qwen3:8b",
                host=LOCAL,
                attempts=2,
                retries=1,
                saved=True,
                breaks=[9.3],
                tokens_estimated=True,
                output_tokens=None,
                input_tokens=None,
                error={"kind": "connection", "type": "APIConnectionError"},
            ),
            _chat(9, "cancelled", seconds=2.1, tokens=61, first_token=0.5),
            _chat(8, "done", seconds=5.0, tokens=303, first_token=0.4),
            _chat(7, "done", seconds=4.0, tokens=280, first_token=0.4),
        ],
    }
    return data


def failing(now: float) -> Json:
    """The model server is gone, an MCP server too, and a chat was given up."""
    data = busy(now)
    data["health"] = _health(
        _problem("chat:failures", "fail", "chats_all_failed", failed=3, cause="Cannot connect"),
        _problem("breakers:open", "warn", "breaker_open", names=f"llm:{LOCAL} qwen3:8b", retry_in=14),
        _problem("mcp:connections", "warn", "mcp_down", names="mcp.example.com"),
    )
    data["errors"] |= {
        "total": 23,
        "by_severity": {"low": 1, "medium": 19, "high": 3, "critical": 0},
        "by_type": {
            "APIConnectionError": 14,
            "RateLimitError": 4,
            "StreamStalled": 2,
            "AuthenticationError": 2,
            "McpError": 1,
        },
        "by_kind": {"connection_refused": 11, "connection": 3, "rate_limited": 4, "stalled": 2, "auth": 2, "mcp": 1},
        "retries": 17,
        "recovered": 9,
        "gave_up": 5,
        "recovery_rate": 9 / 14,
        "recent": [
            _error(
                now,
                4,
                "connection_refused",
                "APIConnectionError",
                "gave_up",
                host=LOCAL,
                model="qwen3:8b",
                attempt=4,
                message="Cannot connect to host 127.0.0.1:11434",
            ),
            _error(now, 31, "stalled", "StreamStalled", "recovered", message="no data for 30 s"),
            _error(
                now,
                340,
                "auth",
                "AuthenticationError",
                "gave_up",
                severity="high",
                status=401,
                message="Incorrect API key provided: [redacted]",
            ),
            _error(
                now,
                2900,
                "rate_limited",
                "RateLimitError",
                "recovered",
                status=429,
                message="Rate limit reached for requests",
            ),
        ],
        "breakers": [
            _breaker(f"llm:{OPENAI} gpt-4.1-mini", "closed", 1, 18, 4, 61),
            _breaker(f"llm:{LOCAL} qwen3:8b", "open", 9, 10, 11, 22, retry_in=14.2),
        ],
    }
    data["chat"] |= {
        "active": 1,
        "failed": 3,
        "failures": 7,
        "saved": 4,
        "explained": 3,
        "current": [
            _chat(21, "retrying", seconds=12.6, attempt=3, retry_in=5.0, model="qwen3:8b", host=LOCAL),
            _chat(
                20,
                "failed",
                seconds=18.0,
                model="qwen3:8b",
                host=LOCAL,
                notice=True,
                attempts=4,
                retries=3,
                breaks=[0.1, 2.4, 7.9, 18.0],
                error={"kind": "connection_refused", "type": "APIConnectionError"},
            ),
            _chat(19, "failed", seconds=0.4, notice=True, error={"kind": "auth", "type": "AuthenticationError"}),
            _chat(11, "done", seconds=8.8, tokens=690, first_token=0.6),
        ],
    }
    data["mcp"] = [
        {
            "server": "copilot",
            "host": "mcp.example.com",
            "state": "down",
            "tools": 0,
            "retry_in": 17.4,
            "reason": "HTTP 503 Service Suspended",
        },
        {
            "server": "bing",
            "host": "bing.example.com",
            "state": "up",
            "tools": 3,
            "retry_in": 0,
            "reason": "",
        },
    ]
    data["system"]["last_stall"] = {"seconds": 1.84, "frame": "llm_api.py:88 list_models", "time": now - 500}
    data["events"]["queues"] = [
        {
            "name": "monitor",
            "size": 520,
            "capacity": 1000,
            "fill": 0.52,
            "zone": "yellow",
            "peak": 760,
            "dropped": 0,
        }
    ]
    return data


def recovered(now: float) -> Json:
    """A quarter of an hour after `failing`: all is well again, and what happened can still be read."""
    data = failing(now + 0)
    for row in data["errors"]["recent"]:
        row["time"] -= 900
    data["health"] = _health()
    data["errors"]["breakers"][1] |= {"state": "closed", "window_failures": 0, "window_calls": 4, "retry_in": 0}
    data["mcp"][0] |= {"state": "up", "tools": 12, "reason": "", "retry_in": 0}
    data["chat"] |= {
        "active": 0,
        "completed": 64,
        "current": [
            _chat(24, "done", seconds=9.4, tokens=720, first_token=0.9, model="qwen3:8b", host=LOCAL),
            _chat(23, "done", seconds=6.1, tokens=455, first_token=0.7),
            _chat(20, "failed", seconds=18.0, model="qwen3:8b", host=LOCAL, notice=True),
        ],
    }
    return data


def no_copilot(now: float) -> Json:
    """ComfyUI without Copilot."""
    data = idle(now)
    data["seams"] = [
        {"name": n, "attached": False, "detail": "Copilot is not loaded"}
        for n in ("model", "run", "chat", "mcp", "memory")
    ]
    data["mcp"] = []
    data["health"] = _health(_problem("copilot:seams", "warn", "copilot_missing", detail="Copilot is not loaded"))
    return data


SCENARIOS: dict[str, Callable[[float], Json]] = {
    "idle": idle,
    "busy": busy,
    "failing": failing,
    "recovered": recovered,
    "no_copilot": no_copilot,
}


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


def stored_chats(now: float) -> list[Json]:
    """The chats of the last days as `/copilot-pulse/events/chats` gives them, the newest first."""
    dice = random.Random("stored")
    rows = []
    for number in range(120):
        roll = dice.random()
        outcome = "failed" if roll < 0.06 else "cancelled" if roll < 0.1 else "completed"
        outcome = "interrupted" if number == 30 else outcome
        retries = 1 if outcome == "completed" and roll > 0.9 else 3 if outcome == "failed" else 0
        model, host = (("gpt-4.1-mini", OPENAI), ("qwen3:8b", LOCAL))[number % 3 == 0]
        seconds = round(2 + 28 * dice.random(), 1)
        rows.append(
            {
                "chat_id": f"old-{number}", "session": "s", "kind": "chat", "outcome": outcome, "model": model,
                "host": host, "started": now - 4_000 - 1_500 * number, "seconds": seconds, "first_token": 0.7,
                "tokens": round(seconds * 60), "stream_tokens": round(seconds * 60), "stream_seconds": seconds - 0.7,
                "retries": retries, "attempts": retries + 1, "length": 900, "saved": retries == 1, "cost": None,
                "error": {"kind": "connection", "type": "APIConnectionError"} if retries else None,
                "at": now - 4_000 - 1_500 * number + seconds,
            }
        )  # fmt: skip
    return rows


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
