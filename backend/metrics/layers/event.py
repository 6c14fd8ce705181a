"""The events layer: how many events, how fast they reach their handlers, how full the queues are.

The bus is asked, not wrapped: its statistics come in as plain data (or an object with the same names), so
that this layer works with any bus, and with none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..counters import BoundedCounter
from ..histogram import Buckets, LogHistogram, WindowedHistogram, quantiles
from ..rates import SlidingRate

LATENCY_WINDOW: Final = 60.0
MAX_TYPES: Final = 100
MAX_QUEUES: Final = 50


def field(source: Any, *names: str, default: Any = None) -> Any:
    """The first of `names` that `source`, a mapping or an object, has."""
    for name in names:
        if isinstance(source, Mapping):
            if name in source:
                return source[name]
        elif hasattr(source, name):
            return getattr(source, name)
    return default


class EventLayer:
    """Counts events and digests the bus's statistics. For the loop's thread."""

    def __init__(self) -> None:
        self.by_type = BoundedCounter(cap=MAX_TYPES)
        self.latency = WindowedHistogram(LATENCY_WINDOW)
        self.latency_buckets = Buckets()
        self._second = LogHistogram()
        self._rate = SlidingRate()
        self._bus_types: dict[str, int] = {}
        self._bus_lost: dict[str, int] = {}
        self.queues: list[dict[str, Any]] = []
        # What queues that are gone had dropped and conflated; totals must not fall when a reader leaves.
        self._gone = {"dropped": 0, "conflated": 0}
        self._last = {"dropped": dict[str, int](), "conflated": dict[str, int]()}

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

    def on_bus(self, statistics: Any) -> None:
        """Take the bus's statistics: counts by type, and a row for each mailbox or queue."""
        published = field(statistics, "published_by_type", "by_type", "types", "published", default={})
        if isinstance(published, Mapping):
            self._bus_types = {str(name): int(n) for name, n in published.items()}
        for what in self._gone:
            total = field(statistics, f"{what}_total")
            if isinstance(total, int):
                self._bus_lost[what] = total
        rows = field(statistics, "queues", "subscribers", "mailboxes", default=())
        if isinstance(rows, Mapping):
            rows = [{"name": name, **row} if isinstance(row, Mapping) else row for name, row in rows.items()]
        self.queues = self._digest(rows)

    def _digest(self, rows: Iterable[Any]) -> list[dict[str, Any]]:
        queues: dict[str, dict[str, Any]] = {}
        for row in rows:
            # A plain handler is called inline: it has no mailbox and nothing to show.
            box = field(row, "mailbox", "queue", default=row)
            capacity = field(box, "capacity", "maxsize", "max_size")
            if not capacity:
                continue
            name = str(field(row, "name", "subscriber", "handler", "id", default="queue"))
            size = int(field(box, "size", "current", "length", default=0))
            zone = field(box, "zone", default=None)
            fill = size / capacity
            queue = {
                "name": name,
                "size": size,
                "capacity": int(capacity),
                "fill": round(fill, 4),
                "zone": str(getattr(zone, "value", zone) or zone_of(fill)),
                "peak": int(field(box, "peak", "peak_size", "max_used", default=size)),
                "dropped": _number(field(box, "dropped", "dropped_total", default=0)),
                "conflated": _number(field(box, "conflated", "conflated_total", default=0)),
            }
            known = queues.get(name)
            queues[name] = queue if known is None else _merge(known, queue)
        for what, last in self._last.items():
            now = {name: queue[what] for name, queue in queues.items()}
            self._gone[what] += sum(max(0, n - now.get(name, 0)) for name, n in last.items())
            self._last[what] = now
        fullest = sorted(queues.values(), key=lambda queue: -queue["fill"])
        return fullest[:MAX_QUEUES]

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
        """Events `dropped` or `conflated` since the start, queues that are gone included: by the bus's own
        total if it has one, else by what its queues have shown."""
        told = self._bus_lost.get(what)
        return told if told is not None else self._gone[what] + sum(self._last[what].values())

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


def zone_of(fill: float) -> str:
    """The zone of a fill from 0 to 1, for a queue that does not tell its own."""
    return "green" if fill < 0.3 else "yellow" if fill < 0.7 else "red" if fill < 0.9 else "degraded"


def _number(value: Any) -> int:
    """A count that comes as a number, or by type as a mapping."""
    return int(sum(value.values()) if isinstance(value, Mapping) else value)


def _merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two queues of one name shown as one row: the fuller one's level, both their losses."""
    fuller = one if one["fill"] >= other["fill"] else other
    return {
        **fuller,
        "peak": max(one["peak"], other["peak"]),
        "dropped": one["dropped"] + other["dropped"],
        "conflated": one["conflated"] + other["conflated"],
    }
