"""What the panel's charts need after a reload: the last minute at 1 s, the last hour at 5 s, the last day
at 1 min, in memory that is taken once (13 series: 231 KB) and never grows.

A longer step keeps the mean of its seconds for levels, the highest for peaks (queue fill, p99), and the
sum for counts. A second in which nothing was told is unknown (null), not zero.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

Fold = Literal["mean", "max", "sum"]

SERIES: Final[Mapping[str, Fold]] = {
    "events_rate": "mean",
    "queue_fill": "max",
    "queue_threshold": "mean",
    "latency_p50": "mean",
    "latency_p99": "max",
    "first_token_p50": "mean",
    "tokens_per_second": "mean",
    "errors": "sum",
    "recovery_rate": "mean",
    "rss_bytes": "mean",
    "cpu_percent": "mean",
    "loop_lag_p99": "max",
    "chats_active": "max",
}


class Range(NamedTuple):
    """One resolution: `size` steps of `step` seconds."""

    name: str
    step: int
    size: int


WEEK: Final = Range("7d", 900, 672)
"""Folded from minutes that an event store has; no ring of its own."""
RANGES: Final = (Range("1m", 1, 60), Range("1h", 5, 720), Range("24h", 60, 1440))
_MINUTE: Final = 60
_CARRIED: Final = 2  # seconds that one late tick may stand for


class _Ring:
    """The closed steps of one resolution, and the step that is being filled."""

    def __init__(self, spec: Range, folds: Mapping[str, Fold]) -> None:
        self.spec = spec
        self._folds = folds
        self._rows = {name: array("d", [math.nan]) * spec.size for name in folds}
        self._open: int | None = None
        self._sums = dict.fromkeys(folds, math.nan)
        self._counts = dict.fromkeys(folds, 0)

    def add(self, second: int, values: Mapping[str, float | None]) -> None:
        index = second // self.spec.step
        if self._open is None:
            self._open = index
        elif index > self._open:
            self._close(index)
        self._take(values)

    def _take(self, values: Mapping[str, float | None]) -> None:
        """Fold values into the open step."""
        for name, fold in self._folds.items():
            value = values.get(name)
            if value is None:
                continue
            if not self._counts[name]:
                self._sums[name] = value
            elif fold == "max":
                self._sums[name] = max(self._sums[name], value)
            else:
                self._sums[name] += value
            self._counts[name] += 1

    def _close(self, index: int) -> None:
        """Write the open step, mark the steps in between as unknown, and open step `index`."""
        assert self._open is not None
        size = self.spec.size
        at = self._open % size
        for name, row in self._rows.items():
            row[at] = self._folded(name)
            for gap in range(max(self._open + 1, index - size + 1), index):
                row[gap % size] = math.nan
            self._sums[name] = math.nan
            self._counts[name] = 0
        self._open = index

    def _folded(self, name: str) -> float:
        n = self._counts[name]
        if not n:
            return math.nan
        value = self._sums[name] / n if self._folds[name] == "mean" else self._sums[name]
        # Six digits are more than a chart shows and keep the JSON small.
        return float(f"{value:.6g}")

    @property
    def open(self) -> int | None:
        """The number of the step that is being filled."""
        return self._open

    def unfinished(self) -> dict[str, float | None]:
        """All values of the step that is being filled, as far as it has come."""
        found = {name: self._folded(name) for name in self._folds}
        return {name: None if value != value else value for name, value in found.items()}

    def values(self, number: int) -> dict[str, float | None]:
        """All values of a closed step."""
        found = {name: row[number % self.spec.size] for name, row in self._rows.items()}
        return {name: None if value != value else value for name, value in found.items()}

    def restore(self, first: int, now: float, values: Mapping[str, float | None], *, untold: bool) -> bool:
        """Put in the minute that began at second `first`, a long step whole, short ones with its levels.

        Of the minute that is being filled now nothing is put in, for a row of its own tells of it; if it is `untold`
        it is folded into that one: True if all of it was. A short step that is being filled takes the sums: it has no
        row.
        """
        if self._open is None:
            self._open = math.floor(now) // self.spec.step
        size, step = self.spec.size, self.spec.step
        begin = (first + step // 2) // step
        last = begin + _MINUTE // step - 1
        if untold or step < _MINUTE:
            last = min(last, self._open)
        for number in range(max(begin, self._open - size + 1), last + 1):
            known = {
                name: value
                for name, value in values.items()
                if isinstance(value, (int, float)) and (number == last or self._folds.get(name) != "sum")
            }
            if number < self._open:
                for name in known.keys() & self._rows.keys():
                    self._rows[name][number % size] = known[name]
            elif untold:
                self._take(known)
            elif step < _MINUTE:
                self._take({name: value for name, value in known.items() if self._folds.get(name) == "sum"})
        return untold and begin >= self._open

    def row(self, name: str) -> list[float | None]:
        """Oldest first; the open step, as far as it has come, is the last."""
        if self._open is None:
            return [None] * self.spec.size
        size = self.spec.size
        ring = self._rows[name]
        start = (self._open + 1) % size
        # The ring holds `size` steps; until the open one is closed, its place holds the step of a whole turn ago.
        closed = ring[start:] + ring[:start]
        closed[-1] = self._folded(name)
        return [None if value != value else value for value in closed]

    @property
    def end(self) -> int:
        """The second at which the open step ends."""
        return ((self._open if self._open is not None else 0) + 1) * self.spec.step


def _folded(values: list[float], fold: Fold) -> float | None:
    if not values:
        return None
    value = max(values) if fold == "max" else sum(values) / (len(values) if fold == "mean" else 1)
    return float(f"{value:.6g}")


class History:
    """The three rings. `add()` once a second from the loop; memory never grows."""

    def __init__(self, folds: Mapping[str, Fold] = SERIES, ranges: tuple[Range, ...] = RANGES) -> None:
        self._rings = {spec.name: _Ring(spec, folds) for spec in ranges}
        self._minutes = self._rings[ranges[-1].name]
        self._folds = folds
        self._second: int | None = None

    def add(self, now: float, values: Mapping[str, float | None]) -> None:
        """Take the values of the second that `now` (monotonic) lies in.

        A tick that comes up to two seconds late stands for the seconds it skipped too, counts excepted; a
        longer gap (the process was paused) stays unknown. Two ticks in one second are folded.
        """
        second = math.floor(now)
        if self._second is not None and 1 < second - self._second <= _CARRIED + 1:
            levels = {k: v for k, v in values.items() if self._folds.get(k) != "sum"}
            for skipped in range(self._second + 1, second):
                for ring in self._rings.values():
                    ring.add(skipped, levels)
        for ring in self._rings.values():
            ring.add(second, values)
        self._second = second

    @property
    def minute(self) -> int | None:
        """The number of the minute that is being filled."""
        return self._minutes.open

    def folded_minute(self, number: int) -> dict[str, float | None]:
        """The values of a minute that has been closed, as the chart of a day shows them."""
        return self._minutes.values(number)

    def restore(
        self, end: float, values: Mapping[str, float | None], *, now: float, wall: float, untold: bool = False
    ) -> bool:
        """Put in a minute from before the start, that ended at the wall time `end`. What has been told here stays.

        `untold`: no `metrics.minute` tells of it. True if the one of the minute that is being filled now will.
        """
        first = math.floor(now - (wall - end)) - _MINUTE
        told = False
        for ring in self._rings.values():
            if 1 < ring.spec.step <= _MINUTE:
                told = ring.restore(first, now, values, untold=untold)
        return told

    def read(self, name: str, *, now: float, wall: float) -> dict[str, Any]:
        """`{"range", "step", "end", "series": {name: [...]}}` of one range, oldest value first.

        `end` is the wall time at which the last step ends; unknown values are None. Raises KeyError for
        a range that does not exist.
        """
        ring = self._rings[name]
        return {
            "range": name,
            "step": ring.spec.step,
            "end": round(wall + (ring.end - now), 3),
            "series": {series: ring.row(series) for series in self._folds},
        }

    def minutes(self, *, now: float, wall: float) -> list[tuple[float, dict[str, float | None]]]:
        """`(end, values)` of each closed minute that is known here, the oldest first; `end` is wall time."""
        newest = self._minutes.open
        if newest is None:
            return []
        rows = [(n, self._minutes.values(n)) for n in range(newest - self._minutes.spec.size + 1, newest)]
        return [
            (wall + _MINUTE * (number + 1) - now, values)
            for number, values in rows
            if any(value is not None for value in values.values())
        ]

    def unfinished(self, *, wall: float) -> list[tuple[float, dict[str, float | None]]]:
        """As `minutes()`, the one that is being filled now, if it has told anything: for `week()`."""
        values = self._minutes.unfinished()
        return [(wall + _MINUTE / 2, values)] if any(value is not None for value in values.values()) else []

    def week(self, minutes: Iterable[tuple[float, Mapping[str, float | None]]], *, wall: float) -> dict[str, Any]:
        """As `read()`, of the last 7 days at a quarter of an hour, folded from `(end, values)` of minutes."""
        step, size = WEEK.step, WEEK.size
        last = math.floor(wall) // step
        found: dict[str, list[list[float]]] = {name: [[] for _ in range(size)] for name in self._folds}
        for end, values in minutes:
            at = math.floor(end - _MINUTE / 2) // step - last + size - 1
            if not 0 <= at < size:
                continue
            for name, steps in found.items():
                value = values.get(name)
                if isinstance(value, (int, float)):
                    steps[at].append(value)
        series = {name: [_folded(values, self._folds[name]) for values in steps] for name, steps in found.items()}
        return {"range": WEEK.name, "step": step, "end": float((last + 1) * step), "series": series}

    @property
    def ranges(self) -> tuple[str, ...]:
        """The names of the ranges, shortest first."""
        return tuple(self._rings)
