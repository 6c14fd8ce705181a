"""Histograms of fixed size with a stated error, for quantiles of times and sizes.

Values fall into buckets whose bounds grow by a constant factor, so a quantile read from the buckets is
off by at most `RELATIVE_ERROR` of the true value, however the values are distributed (the idea behind
DDSketch). A value below the range counts as zero; above the range, the largest value seen stands for it.

For Prometheus the same values are also counted under a few round bounds, exactly.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

RELATIVE_ERROR: Final = 0.025
"""A quantile differs from the exact one (nearest rank) by at most this share of it."""

_GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA: Final = math.log(_GAMMA)
_INVERSE: Final = 1 / _LOG_GAMMA

FEW: Final = 100
"""So many values are kept themselves."""

SECONDS_LOW: Final = 1e-6
SECONDS_HIGH: Final = 1e5
"""The range of a histogram of times: a microsecond to a day."""

SECONDS_BOUNDS: Final = (
    0.00001, 0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


class LogHistogram:
    """Counts of values in buckets of constant relative width. For one thread.

    `low` and `high` bound the range in which the error holds. Recording costs one logarithm; memory is
    fixed at about 8 bytes for every 5 % step between `low` and `high` (4 KB from 1 µs to one day).
    """

    __slots__ = ("_counts", "_few", "_found", "_last", "_offset", "count", "high", "low", "peak", "sum")

    def __init__(self, low: float = SECONDS_LOW, high: float = SECONDS_HIGH) -> None:
        if not 0 < low < high:
            raise ValueError(f"a histogram needs 0 < low < high, got {low} and {high}")
        self.low = low
        self.high = high
        self._offset = math.floor(math.log(low) * _INVERSE)
        self._last = math.ceil(math.log(high) * _INVERSE) - self._offset + 1
        # Bucket 0 holds what is below the range, the last one what is above it.
        self._counts = array("Q", bytes(8 * (self._last + 1)))
        self.count = 0
        self.sum = 0.0
        self.peak = 0.0
        # The values themselves while they are few: their quantiles are exact.
        self._few: list[float] | None = []
        # (count at the time, quantile asked for -> answer): most histograms are read more often than written.
        self._found: tuple[int, dict[float, float]] = (0, {})

    def record(self, value: float) -> None:
        """Count one value. Negative values count as zero; NaN and infinity are refused with ValueError."""
        if not 0.0 <= value < math.inf:
            if value < 0:
                value = 0.0
            else:
                raise ValueError(f"not a number that a histogram can hold: {value}")
        if value < self.low:
            index = 0
        else:
            index = math.ceil(math.log(value) * _INVERSE) - self._offset
            if index > self._last:
                index = self._last
        self._counts[index] += 1
        self.count += 1
        self.sum += value
        if value > self.peak:
            self.peak = value
        if self._few is not None:
            if self.count <= FEW:
                self._few.append(value)
            else:
                self._few = None

    @property
    def exact(self) -> bool:
        """Whether the quantiles are exact: at most 100 values have been recorded."""
        return self._few is not None

    def quantile(self, q: float) -> float | None:
        """The value at rank ceil(q * count), or None while nothing has been recorded. `q` is 0 to 1."""
        return quantiles(self, (q,))[0]

    def clear(self) -> None:
        """Forget everything; the memory stays."""
        if self.count:
            self._counts = array("Q", bytes(8 * len(self._counts)))
            self.count = 0
            self.sum = 0.0
            self.peak = 0.0
            self._few = []
            self._found = (0, {})

    def add(self, other: LogHistogram) -> None:
        """Count all of `other`'s values here too. Both must have the same range."""
        if (self.low, self.high) != (other.low, other.high):
            raise ValueError("histograms of different ranges cannot be added")
        if not other.count:
            return
        mine = self._counts
        for index, n in enumerate(other._counts):
            if n:
                mine[index] += n
        self.count += other.count
        self.sum += other.sum
        self.peak = max(self.peak, other.peak)
        both = self._few is not None and other._few is not None and self.count <= FEW
        self._few = [*(self._few or ()), *(other._few or ())] if both else None

    def __repr__(self) -> str:
        return f"<LogHistogram of {self.count} values, at most {self.peak:g}>"


def quantiles(histogram: LogHistogram, qs: Sequence[float]) -> list[float | None]:
    """Several quantiles in one pass; each of `qs` is 0 to 1. All None while nothing is recorded."""
    if not histogram.count:
        return [None for _ in qs]
    count, found = histogram._found
    if count != histogram.count:
        found = {}
        histogram._found = (histogram.count, found)
    todo = sorted({q for q in qs if q not in found})
    if todo:
        ranks = [max(1, math.ceil(q * histogram.count)) for q in todo]
        if histogram._few is not None:
            few = sorted(histogram._few)
            found.update((q, few[rank - 1]) for q, rank in zip(todo, ranks, strict=True))
            return [found[q] for q in qs]
        position = seen = 0
        for index, n in enumerate(histogram._counts):
            if not n:
                continue
            seen += n
            while position < len(todo) and seen >= ranks[position]:
                found[todo[position]] = _value_of(histogram, index)
                position += 1
            if position == len(todo):
                break
    return [found[q] for q in qs]


def _value_of(histogram: LogHistogram, index: int) -> float:
    """The value that stands for a bucket: its relative middle, but never more than the largest seen. Alone, it
    is their mean."""
    if histogram._counts[index] == histogram.count:
        # One value above all: the same figure as where it came from; a sum of many may round up beyond it.
        return min(histogram.sum / histogram.count, histogram.peak)
    if index == 0:
        return 0.0
    if index == histogram._last:
        return histogram.peak
    upper = math.exp((index + histogram._offset) * _LOG_GAMMA)
    middle: float = 2 * upper / (_GAMMA + 1)
    return min(middle, histogram.peak)


class WindowedHistogram:
    """A histogram of the last `window` seconds, in `slots` parts that are forgotten one by one.

    It spans between `window * (slots - 1) / slots` and `window` seconds. For one thread.
    """

    __slots__ = ("_merged", "_parts", "_slot", "_width", "window")

    def __init__(self, window: float, *, slots: int = 6, low: float = SECONDS_LOW, high: float = SECONDS_HIGH) -> None:
        self.window = window
        self._width = window / slots
        self._parts = [LogHistogram(low, high) for _ in range(slots)]
        self._merged = LogHistogram(low, high)
        self._slot = -1

    def record(self, value: float, now: float) -> None:
        """Count `value` at the monotonic time `now`."""
        self._turn(now)
        self._parts[self._slot % len(self._parts)].record(value)
        self._merged.record(value)

    def add(self, histogram: LogHistogram, now: float) -> None:
        """Count all values of another histogram, of the same range, at the monotonic time `now`."""
        self._turn(now)
        self._parts[self._slot % len(self._parts)].add(histogram)
        self._merged.add(histogram)

    def read(self, now: float) -> LogHistogram:
        """The histogram of the window that ends at `now`; valid until the next call, not to be changed."""
        self._turn(now)
        return self._merged

    def _turn(self, now: float) -> None:
        """Forget the parts that have left the window."""
        slot = int(now // self._width)
        if slot <= self._slot:
            return
        parts = self._parts
        lost = False
        for gone in range(max(self._slot + 1, slot - len(parts) + 1), slot + 1):
            part = parts[gone % len(parts)]
            lost = lost or part.count > 0
            part.clear()
        self._slot = slot
        if lost:
            # Merging anew costs 0.2 ms once a part; subtracting would be no cheaper and lose the peak.
            self._merged.clear()
            for part in parts:
                self._merged.add(part)


class Buckets:
    """A cumulative histogram under fixed bounds, as Prometheus wants it. For one thread."""

    __slots__ = ("bounds", "count", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS_BOUNDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.count = 0
        self.sum = 0.0

    def record(self, value: float) -> None:
        """Count `value` in the first bucket whose bound is not below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.count += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """(`le`, number of values not above it), ascending, the last for `+Inf`."""
        total = 0
        rows: list[tuple[str, float]] = []
        for bound, n in zip((*self.bounds, math.inf), self.counts, strict=True):
            total += n
            rows.append(("+Inf" if bound == math.inf else repr(float(bound)), total))
        return rows
