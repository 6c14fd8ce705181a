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
