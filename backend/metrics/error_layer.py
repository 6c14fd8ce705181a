"""The errors layer: what failed, what was tried, how it ended.

An `error` event with the outcome `recovered` says how an earlier failure ended; every other one is a
failure of its own. A cancellation is not an error: it is counted as low, and in no total.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from .labels import BoundedCounter, Count

KEPT: Final = 200
SHOWN: Final = 50
MAX_TYPES: Final = 60
SEVERITIES: Final = ("low", "medium", "high", "critical")
_OUTCOMES: Final = ("retrying", "recovered", "gave_up")


class ErrorLayer:
    """Counts `error` events and keeps the last 200. For the loop's thread."""

    def __init__(self) -> None:
        self.counts = BoundedCounter(width=3, cap=MAX_TYPES)  # severity, kind, type
        self.outcomes = {name: Count() for name in _OUTCOMES}
        self.recent: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._times: deque[float] = deque(maxlen=KEPT)  # monotonic, beside each row
        self.last_critical: tuple[float, str] | None = None
        self._total = 0
        self._at_tick = 0

    def on_error(self, data: Mapping[str, Any], now: float, wall: float) -> None:
        """Take the data of one `error` event; its message has been redacted by whoever made it."""
        outcome = str(data.get("outcome", ""))
        severity = str(data.get("severity", "high"))
        cell = self.outcomes.get(outcome)
        if cell is not None:
            cell.value += 1
        if outcome != "recovered":
            self.counts.add(severity, str(data.get("kind", "unknown")), str(data.get("type", "unknown")))
            if severity != "low":
                self._total += 1
        if severity == "critical" and outcome != "recovered":
            self.last_critical = (now, str(data.get("type", "unknown")))
        self.recent.append({"time": wall, **data})
        self._times.append(now)

    @property
    def total(self) -> int:
        """Failures since the start, cancellations left out."""
        return self._total

    def recovery(self) -> float | None:
        """Share of failures that ended well among those that have ended, or None if none has."""
        won, lost = self.outcomes["recovered"].value, self.outcomes["gave_up"].value
        return won / (won + lost) if won + lost else None

    def ended_within(self, window: float, now: float) -> list[dict[str, Any]]:
        """What was mended or given up in the last `window` seconds (of the 200 rows kept), oldest first."""
        found: list[dict[str, Any]] = []
        for when, row in zip(reversed(self._times), reversed(self.recent), strict=True):
            if now - when > window:
                break
            if row.get("outcome") in ("recovered", "gave_up"):
                found.append(row)
        found.reverse()
        return found

    def tick(self, now: float) -> dict[str, float | None]:
        """Close the second: the values for the history. The recovery rate is that of the last minute."""
        errors = self._total - self._at_tick
        self._at_tick = self._total
        ended = self.ended_within(60.0, now)
        won = sum(row["outcome"] == "recovered" for row in ended)
        return {"errors": errors, "recovery_rate": won / len(ended) if ended else None}

    def snapshot(self, breakers: list[dict[str, Any]], shown: int = SHOWN) -> dict[str, Any]:
        """The `errors` part of the metrics JSON, newest failures first."""
        severities = dict.fromkeys(SEVERITIES, 0)
        severities.update(self.counts.by(0))
        recovery = self.recovery()
        return {
            "total": self._total,
            "by_severity": severities,
            "by_kind": self.counts.by(1),
            "by_type": self.counts.by(2),
            "retries": self.outcomes["retrying"].value,
            "recovered": self.outcomes["recovered"].value,
            "gave_up": self.outcomes["gave_up"].value,
            "recovery_rate": None if recovery is None else round(recovery, 4),
            "recent": [dict(row) for _, row in zip(range(shown), reversed(self.recent), strict=False)],
            "breakers": breakers,
        }
