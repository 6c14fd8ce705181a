"""What the panel is shown in the browser tests: whole snapshots as `/api/metrics` gives them, and stored chats.

Pure functions of a wall time; the same time gives the same data, so that pictures can be compared.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

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
