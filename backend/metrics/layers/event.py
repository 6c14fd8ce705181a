"""The events layer: how many events, how fast they reach their handlers, how full the queues are.

The bus is asked, not wrapped: its statistics come in as plain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..counters import BoundedCounter, SlidingRate
from ..histogram import Buckets, LogHistogram, WindowedHistogram, quantiles

LATENCY_WINDOW: Final = 60.0
MAX_TYPES: Final = 100
MAX_QUEUES: Final = 50
_SHOWN: Final = ("name", "size", "capacity", "zone", "peak", "dropped", "conflated")


class EventLayer:
    """Counts events and digests the bus's statistics. For the loop's thread."""

    def __init__(self) -> None:
        self.by_type = BoundedCounter(cap=MAX_TYPES)
        self.latency = WindowedHistogram(LATENCY_WINDOW)
        self.latency_buckets = Buckets()
        self._second = LogHistogram()
        self._rate = SlidingRate()
        self._bus_types: dict[str, int] = {}
        self._lost = {"dropped": 0, "conflated": 0}
        self.queues: list[dict[str, Any]] = []

    def on_event(self, type_: str) -> None:
        """Count one event that was seen here; the bus's own count of its type wins if it is higher."""
        self.by_type.add(type_)

    def on_latency(self, samples: Iterable[float], now: float) -> None:
        """Take samples of the time from publish to the start of a handler, in seconds."""
        batch = LogHistogram()  # thousands of samples may come at once: one logarithm each, then two sums
        for seconds in samples:
            batch.record(seconds)
            self.latency_buckets.record(seconds if seconds > 0 else 0.0)
        if batch.count:
            self.latency.add(batch, now)
            self._second.add(batch)

    def on_bus(self, statistics: Mapping[str, Any]) -> None:
        """Take what `EventBus.statistics()` says: counts by type, a row for each mailbox, and what was lost."""
        self._bus_types = dict(statistics["published"])
        self._lost = {what: statistics[f"{what}_total"] for what in self._lost}
        queues: dict[str, dict[str, Any]] = {}
        for row in statistics["queues"]:
            queue = {key: row[key] for key in _SHOWN} | {"fill": round(row["fill"], 4), "throttle": _throttle(row)}
            known = queues.get(row["name"])
            queues[row["name"]] = queue if known is None else _merge(known, queue)
        fullest = sorted(queues.values(), key=lambda queue: -queue["fill"])
        self.queues = fullest[:MAX_QUEUES]

    def counts(self) -> dict[str, int]:
        """Events published by type: the bus's count where it has one, else what was seen here."""
        counts = self.by_type.by(0)
        for name, n in self._bus_types.items():
            if name in counts:
                counts[name] = max(counts[name], n)
            elif len(counts) < MAX_TYPES:
                counts[name] = n
            else:
                counts["other"] = counts.get("other", 0) + n
        return counts

    def lost(self, what: str) -> int:
        """Events `dropped` or `conflated` since the start, those of readers that are gone included."""
        return self._lost[what]

    @property
    def worst_fill(self) -> float:
        """The fill of the fullest queue, 0 to 1."""
        return max((queue["fill"] for queue in self.queues), default=0.0)

    def tick(self, now: float) -> dict[str, float | None]:
        """Close the second: the values for the history."""
        total = sum(self.counts().values())
        self._rate.look(now, total)
        p50, p99 = quantiles(self._second, (0.5, 0.99))
        self._second.clear()
        return {
            "events_rate": self._rate.rate(1, now, total),
            "queue_fill": self.worst_fill,
            "queue_threshold": self.queues[0]["throttle"]["threshold"] if self.queues else None,
            "latency_p50": p50,
            "latency_p99": p99,
        }

    def snapshot(self, now: float) -> dict[str, Any]:
        """The `events` part of the metrics JSON."""
        counts = self.counts()
        total = sum(counts.values())
        latency = self.latency.read(now)
        p50, p90, p99 = quantiles(latency, (0.5, 0.9, 0.99))
        return {
            "published_total": total,
            "rate": self._rate.rates(now, total),
            "latency_seconds": {
                "p50": p50, "p90": p90, "p99": p99,
                "max": latency.peak if latency.count else None,
                "count": latency.count,
                "window_seconds": LATENCY_WINDOW,
            },
            "by_type": counts,
            "queues": [dict(queue) for queue in self.queues],
            "dropped_total": self.lost("dropped"),
            "conflated_total": self.lost("conflated"),
        }  # fmt: skip


def _throttle(row: Mapping[str, Any]) -> dict[str, Any]:
    """What slows a queue's publishers: `threshold` is a share of the capacity, as `fill` is; seconds are of all.

    Without a model `threshold`, `holds` and `zones_seconds` (what the fixed zones would have asked) are None.
    """
    about, threshold = row["throttle"], row["throttle"].get("threshold")
    return {
        "mode": about["mode"],
        "state": about["state"],
        "threshold": None if threshold is None else round(threshold / row["capacity"], 4),
        "holds": about.get("holds"),
        "seconds": row["throttled_seconds"],
        "zones_seconds": about.get("zones_seconds"),
    }


def _merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two queues of one name shown as one row: the fuller one's level, both their losses."""
    fuller = one if one["fill"] >= other["fill"] else other
    return {
        **fuller,
        "peak": max(one["peak"], other["peak"]),
        "dropped": one["dropped"] + other["dropped"],
        "conflated": one["conflated"] + other["conflated"],
    }
