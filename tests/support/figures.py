"""What the event bus tells the monitor, made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def bus_figures(*queues: Mapping[str, Any], published: Mapping[str, int] | None = None) -> dict[str, Any]:
    """As `EventBus.statistics()` has it; a row needs its name, size and capacity, and what it lost is in the totals."""
    rows = []
    for queue in queues:
        fill = queue["size"] / queue["capacity"]
        zone = "green" if fill < 0.3 else "yellow" if fill < 0.7 else "red" if fill < 0.9 else "degraded"
        row = {"peak": queue["size"], "dropped": 0, "conflated": 0, "fill": fill, "zone": zone}
        throttle = {"mode": "fixed", "state": "zones", "why": "fixed"}
        rows.append({**row, "throttled_seconds": 0.0, "throttle": throttle, **queue})
    return {
        "published": dict(published or {}),
        "queues": rows,
        "dropped_total": sum(row["dropped"] for row in rows),
        "conflated_total": sum(row["conflated"] for row in rows),
    }


def fleet_figures(n: int, seconds: dict[str, Any]) -> dict[str, Any]:
    """As `Fleet.figures()` gives it, with everything in use; `seconds` are those of a histogram."""
    link = {"up": True, "down_seconds": None, "problem": None}
    return {
        "target": "127.0.0.1:6379",
        "answers": {
            "mirrored": 1, "behind": 0.02, "remote_readers": 1, "followed": 1, "cut": {"large": n, "slow": n},
            "cut_seconds": None,
        },
        "links": {"writer": {**link, "reconnects": {"lost": n}, "errors": {"lost": n}}, "reader": link},
        "groups": {"billing": {"pending": 1, "redelivered": n, "dead": n, "lost": n}},
        "outbox": {"size": 30, "capacity": 100, "peak": 40, "dropped": n},
        "sent_events": 10 * n, "sent_batches": n, "healed_events": n, "received_events": 20 * n,
        "bad_entries": n, "bad_seconds": None,
        "gaps": {"trimmed": n}, "lag": 3, "instances": {"up": 3, "gone": 1}, "gone": ["studio-3"],
        "write_seconds": seconds, "delivery_seconds": seconds,
        "gap_seconds": 1.0, "gone_seconds": 1.0,
    }  # fmt: skip
