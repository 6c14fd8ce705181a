"""What the panel is shown in the browser tests: whole snapshots as `/api/metrics` gives them, and histories.

Pure functions of a wall time; the same time gives the same data, so that pictures can be compared.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

RANGES = {"1m": (1, 60), "1h": (5, 720), "24h": (60, 1440)}
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
    }
    row |= more
    if row["state"] == "done":
        row["stream_tokens"] = row["tokens"] - 1
        row["stream_seconds"] = row["seconds"] - row["first_token"]
    return row


def _error(now: float, ago: float, kind: str, type_: str, outcome: str, **more: Any) -> Json:
    row: Json = {
        "time": now - ago,
        "severity": "medium",
        "kind": kind,
        "type": type_,
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
            {"name": f"llm:{OPENAI} gpt-4.1-mini", "state": "closed", "failures": 0, "calls": 18, "retry_in": 0},
            {"name": f"llm:{LOCAL} qwen3:8b", "state": "closed", "failures": 1, "calls": 9, "retry_in": 0},
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
            _chat(10, "done", seconds=21.7, tokens=1544, first_token=1.9, model="qwen3:8b", host=LOCAL),
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
            {"name": f"llm:{OPENAI} gpt-4.1-mini", "state": "closed", "failures": 1, "calls": 18, "retry_in": 0},
            {"name": f"llm:{LOCAL} qwen3:8b", "state": "open", "failures": 9, "calls": 10, "retry_in": 14.2},
        ],
    }
    data["chat"] |= {
        "active": 1,
        "failed": 3,
        "current": [
            _chat(21, "retrying", seconds=12.6, attempt=3, retry_in=5.0, model="qwen3:8b", host=LOCAL),
            _chat(20, "failed", seconds=18.0, model="qwen3:8b", host=LOCAL, notice=True),
            _chat(19, "failed", seconds=0.4, notice=True),
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
    data["errors"]["breakers"][1] |= {"state": "closed", "failures": 0, "calls": 4, "retry_in": 0}
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
        missing = calm and index < points * 0.6
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
        seldom = calm or dice.random() > {"1m": 0.15, "1h": 0.1, "24h": 0.5}[range_]
        put("first_token_p50", None if seldom else (2.2 if trouble else 0.55) + 0.4 * noise)
        put("tokens_per_second", None if seldom else (22 if trouble else 68) + 14 * noise)
        put("errors", 0.0 if calm or not trouble else float(noise > 0.55) * math.ceil(noise * 3))
        put("recovery_rate", (0.5 + 0.4 * noise if trouble else None))
        put("rss_bytes", 1.2e9 + 1.4e8 * index / points + 1e7 * noise)
        put("cpu_percent", 1 + noise if calm else 8 + 12 * wave + 4 * noise)
        put("loop_lag_p99", 0.0012 + 0.002 * noise + (0.05 * noise if trouble and noise > 0.8 else 0))
        put("chats_active", 0 if calm else round(1 + 3 * wave + noise))
    return {"range": range_, "step": step, "end": end, "series": series}


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
