"""The errors layer: what failed, what was tried, how it ended.

An `error` event with the outcome `recovered` says how an earlier failure ended; every other one is a
failure of its own. A cancellation is not an error: it is counted as low, and in no total.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from ..counters import BoundedCounter, Count

KEPT_ERRORS: Final = 200
SHOWN: Final = 50
MAX_TYPES: Final = 60
RECOVERY_WINDOW: Final = 300.0
SEVERITIES: Final = ("low", "medium", "high", "critical")
_OUTCOMES: Final = ("retrying", "recovered", "gave_up")


class _Ended(NamedTuple):
    """What became of one failure, and when (monotonic)."""

    at: float
    row: dict[str, Any]


class ErrorLayer:
    """Counts `error` events and keeps the last 200 failures, each with its newest step. For the loop's thread."""

    def __init__(self) -> None:
        self.counts = BoundedCounter(width=3, cap=MAX_TYPES)  # severity, kind, type
        self.outcomes = {name: Count() for name in _OUTCOMES}
        self._kept: OrderedDict[str, _Ended] = OrderedDict()  # by error id, the one last heard of at the end
        self._unnamed = 0
        self.last_critical: tuple[float, str, str] | None = None  # when, kind, type
        self._total = 0
        self._at_tick = 0

    def on_error(self, data: Mapping[str, Any], now: float, wall: float) -> None:
        """Take the data of one `error` event; its message has been redacted by whoever made it."""
        outcome = str(data.get("outcome", ""))
        severity = str(data.get("severity", "high"))
        kind, type_ = str(data.get("kind", "unknown")), str(data.get("type", "unknown"))
        cell = self.outcomes.get(outcome)
        if cell is not None:
            cell.value += 1
        if outcome != "recovered":
            self.counts.add(severity, kind, type_)
            if severity != "low":
                self._total += 1
        if severity == "critical" and outcome != "recovered":
            self.last_critical = (now, kind, type_)
        self._keep(_Ended(now, {"time": wall, **data}))

    def on_chat_ended(self, data: Mapping[str, Any]) -> None:
        """Nobody makes the calls of a chat again that is over: it was stopped while one of them waited for its turn."""
        chat = data.get("chat_id")
        for ended in self._kept.values():
            if chat and ended.row.get("chat_id") == chat and ended.row.get("outcome") == "retrying":
                ended.row["outcome"] = "cancelled"

    def _keep(self, ended: _Ended) -> None:
        ident = ended.row.get("error_id")
        if not ident:
            self._unnamed += 1
            ident = f"unnamed {self._unnamed}"
        self._kept.pop(ident, None)
        self._kept[ident] = ended
        if len(self._kept) > KEPT_ERRORS:
            self._kept.popitem(last=False)

    def restore(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Put failures from before the start, the oldest first, behind those of this run: into the list only.

        They count in no total and no share: those are of this process.
        """
        mine, self._kept = self._kept, OrderedDict()
        for row in rows:
            stopped = {"outcome": "cancelled"} if row.get("outcome") == "retrying" else {}
            self._keep(_Ended(-math.inf, {**row, **stopped}))
        for ident, ended in mine.items():
            self._kept.pop(ident, None)
            self._kept[ident] = ended
        while len(self._kept) > KEPT_ERRORS:
            self._kept.popitem(last=False)

    @property
    def recent(self) -> list[dict[str, Any]]:
        """One row a failure, the last 200, the one last heard of at the end: the data of its newest event."""
        return [ended.row for ended in self._kept.values()]

    @property
    def total(self) -> int:
        """Failures since the start, cancellations left out."""
        return self._total

    def recovery(self, now: float) -> tuple[float | None, int]:
        """(share that was mended, number) of the failures of the last 5 minutes after which the model was asked
        again.

        What is never asked again, such as a refused key or a call that an open breaker refused, is in neither. A
        failure still on its way counts once it has ended. The share is None if there are none.
        """
        outcomes = [
            row["outcome"]
            for row in self.ended_within(RECOVERY_WINDOW, now)
            if row["outcome"] == "recovered" or _retried(row)
        ]
        return (outcomes.count("recovered") / len(outcomes) if outcomes else None), len(outcomes)

    def ended_in_window(self, now: float) -> tuple[int, int]:
        """(mended, given up) of the failures of the last 5 minutes, also of those that were never asked again."""
        outcomes = [row["outcome"] for row in self.ended_within(RECOVERY_WINDOW, now)]
        return outcomes.count("recovered"), outcomes.count("gave_up")

    def ended_within(self, window: float, now: float) -> list[dict[str, Any]]:
        """What was mended or given up in the last `window` seconds (of the 200 kept), oldest first."""
        found: list[dict[str, Any]] = []
        for ended in reversed(self._kept.values()):
            if now - ended.at > window:
                break
            if ended.row.get("outcome") in ("recovered", "gave_up"):
                found.append(ended.row)
        found.reverse()
        return found

    def tick(self, now: float) -> dict[str, float | None]:
        """Close the second: the values for the history."""
        errors = self._total - self._at_tick
        self._at_tick = self._total
        return {"errors": errors, "recovery_rate": self.recovery(now)[0]}

    def snapshot(self, now: float, breakers: list[dict[str, Any]], shown: int = SHOWN) -> dict[str, Any]:
        """The `errors` part of the metrics JSON, newest failures first."""
        severities = dict.fromkeys(SEVERITIES, 0)
        severities.update(self.counts.by(0))
        share, _ = self.recovery(now)
        saved, explained = self.ended_in_window(now)
        return {
            "total": self._total,
            "by_severity": severities,
            "by_kind": self.counts.by(1),
            "by_type": self.counts.by(2),
            "retries": self.outcomes["retrying"].value,
            "recovered": self.outcomes["recovered"].value,
            "gave_up": self.outcomes["gave_up"].value,
            "recovery_rate": None if share is None else round(share, 4),
            "saved": saved,
            "explained": explained,
            "window_seconds": RECOVERY_WINDOW,
            "recent": [dict(e.row) for e in itertools.islice(reversed(self._kept.values()), shown)],
            "breakers": breakers,
        }


def _retried(row: Mapping[str, Any]) -> bool:
    """Whether the call was made again."""
    attempt = row.get("attempt")
    return isinstance(attempt, int) and attempt > 1
