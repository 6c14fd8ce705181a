"""Label sets of bounded size: what a caller names freely must not grow our memory or Prometheus' index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

OTHER: Final = "other"
MAX_LABEL: Final = 100

T = TypeVar("T")


def clean(value: object) -> str:
    """`value` as a label: one line of at most 100 printable characters, never empty."""
    text = str(value)[: 4 * MAX_LABEL]
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable())
    return text.strip()[:MAX_LABEL].strip() or "unknown"


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

    def add(self, *labels: str, by: int = 1) -> None:
        """Add to the counter of these labels."""
        self._cells.get(*labels).value += by

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
