"""Counters by labels, and rates of counters. Label sets are bounded: what a caller names freely must not grow our
memory or Prometheus' index."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

OTHER: Final = "other"
UNKNOWN: Final = "unknown"
MAX_LABEL: Final = 100

WINDOWS: Final = (1, 10, 60)
_KEPT: Final = 128  # samples kept: 60 s at one a second, and twice that rate fits

T = TypeVar("T")


def clean(value: object) -> str:
    """`value` as a label: one line of at most 100 printable characters, never empty."""
    text = str(value)[: 4 * MAX_LABEL]
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable())
    return text.strip()[:MAX_LABEL].strip() or UNKNOWN


class BoundedLabels(Generic[T]):
    """One `T` for each label tuple, at most `cap` of them; all that come later share one named `other`.

    The first come stay: a label set that changed its members would make Prometheus' counters fall.
    """

    __slots__ = ("_cap", "_items", "_known", "_make", "_width")

    def __init__(self, make: Callable[[], T], *, width: int = 1, cap: int = 50) -> None:
        self._make = make
        self._width = width
        self._cap = cap
        self._items: dict[tuple[str, ...], T] = {}
        # As they come in, before cleaning and the cap; a look-up table that is thrown away when it is full.
        self._known: dict[tuple[str, ...], T] = {}

    def get(self, *labels: str) -> T:
        """The item of these labels (made on first use), or the shared one once the cap is reached."""
        item = self._known.get(labels)
        if item is not None:
            return item
        item = self._miss(labels)
        if len(self._known) >= 4 * self._cap:
            self._known.clear()
        self._known[labels] = item
        return item

    def _miss(self, labels: tuple[str, ...]) -> T:
        if len(labels) != self._width:
            raise ValueError(f"expected {self._width} labels, got {len(labels)}")
        key = tuple(clean(label) for label in labels)
        if key not in self._items and len(self._items) >= self._cap:
            key = (OTHER,) * self._width
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = self._make()
        return item

    def items(self) -> Iterator[tuple[tuple[str, ...], T]]:
        """(labels, item) in the order of first use; a copy, so that it may be changed meanwhile."""
        return iter(list(self._items.items()))

    def __len__(self) -> int:
        return len(self._items)


class Count:
    """A number that only rises; a mutable cell, so that a hot path adds to it without a look-up."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class BoundedCounter:
    """Counters by label tuple, bounded as `BoundedLabels` is."""

    __slots__ = ("_cells",)

    def __init__(self, *, width: int = 1, cap: int = 50) -> None:
        self._cells: BoundedLabels[Count] = BoundedLabels(Count, width=width, cap=cap)

    def add(self, *labels: str) -> None:
        """Add to the counter of these labels."""
        self._cells.get(*labels).value += 1

    def items(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """(labels, value) in the order of first use."""
        return ((labels, cell.value) for labels, cell in self._cells.items())

    def by(self, position: int = 0) -> dict[str, int]:
        """The counts summed by one of the labels."""
        sums: dict[str, int] = {}
        for labels, value in self.items():
            sums[labels[position]] = sums.get(labels[position], 0) + value
        return sums

    def total(self) -> int:
        """The sum of all counters."""
        return sum(value for _, value in self.items())


class SlidingRate:
    """What a counter gained per second over the last 1, 10 and 60 s. For one thread.

    `look(now, total)` is called about once a second. A rate is what the counter gained since the look
    that lies a window back, divided by the time that really passed, so an uneven rhythm or a blocked
    loop does not distort it. Looks closer than a quarter of a second replace each other.
    """

    __slots__ = ("_next", "_times", "_totals", "_used")

    def __init__(self) -> None:
        self._times = array("d", bytes(8 * _KEPT))
        self._totals = array("d", bytes(8 * _KEPT))
        self._next = 0
        self._used = 0

    def look(self, now: float, total: float) -> None:
        """Note the counter's value at the monotonic time `now`."""
        if self._used > 1 and now - self._times[(self._next - 2) % _KEPT] < 0.25:
            self._next = (self._next - 1) % _KEPT
            self._used -= 1
        self._times[self._next] = now
        self._totals[self._next] = total
        self._next = (self._next + 1) % _KEPT
        self._used = min(self._used + 1, _KEPT)

    def rate(self, window: float, now: float, total: float) -> float:
        """Gain per second over the last `window` seconds, or over the time known if that is shorter."""
        start = -1
        for back in range(1, self._used + 1):
            index = (self._next - back) % _KEPT
            # A sample that is a little too young counts: they come once a second, give or take the loop's lag.
            start = index
            if now - self._times[index] >= window - 0.25:
                break
        if start < 0:
            return 0.0
        passed = now - self._times[start]
        return max(0.0, (total - self._totals[start]) / passed) if passed > 0 else 0.0

    def rates(self, now: float, total: float) -> dict[str, float]:
        """`{"1s": ..., "10s": ..., "60s": ...}`, events per second."""
        return {f"{window}s": round(self.rate(window, now, total), 3) for window in WINDOWS}
