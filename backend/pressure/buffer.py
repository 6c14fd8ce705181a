"""Layers 1 and 3: a bounded buffer, and how room is made in it. Plain data, no waiting, no loop."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from itertools import islice, repeat
from operator import length_hint
from typing import Any, Generic, TypeVar

from .statistics import add_bounded

T = TypeVar("T")
KeyOf = Callable[[Any], "Hashable | None"]


class Marked:
    """An item that was put with a key or as essential. Other items lie in the buffer as they are: 8 bytes."""

    __slots__ = ("essential", "item", "key")

    def __init__(self, item: Any, key: Hashable | None, essential: bool) -> None:
        self.item = item
        self.key = key
        self.essential = essential


class Buffer(Generic[T]):
    """Layer 1: the items, and how many were taken and dropped. Enforcing the bound is its user's part.

    `items` may be appended to directly (the event bus does, for speed). They leave by `take()`, by
    `RoomMaker`, or by going through `oldest`, which pops and counts one at each step without a line of Python.
    """

    __slots__ = ("_missed", "_steps", "capacity", "dropped", "items", "oldest")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.items: deque[Any] = deque()
        self.dropped = 0
        # A number in an attribute would count as well, but adding 1 to that costs as much as popping the item.
        self._steps = repeat(self.items, sys.maxsize)
        self._missed = 0
        self.oldest: Iterator[Any] = map(deque.popleft, self._steps)
        """Pops the oldest item at each step. IndexError, to be told by `missed()`, if there is none."""

    @property
    def taken(self) -> int:
        """How many items were taken so far."""
        return sys.maxsize - length_hint(self._steps) - self._missed

    @property
    def removed(self) -> int:
        """How many items have left so far, which is the serial number of the item at the front."""
        return self.taken + self.dropped

    def missed(self) -> None:
        """A step through `oldest` found nothing."""
        self._missed += 1

    def take(self) -> T:
        """The oldest item; there must be one."""
        entry = next(self.oldest)
        return entry.item if type(entry) is Marked else entry  # type: ignore[no-any-return]


class RoomMaker(Generic[T]):
    """Layer 3: makes room in a full buffer: conflates by key, else drops the oldest item that may be dropped.

    While `active`, it keeps an index of the keys, so that neither step has to look through the buffer each
    time; then every appended entry must be reported to `added()`. It is built when first needed and thrown
    away by `drop_index()`. Both steps cost amortised constant time while it is active.

    Position in the buffer = serial number - `buffer.removed`. Dropping an item from behind essential ones
    moves only these (they are not in the index), so the serial numbers of all later items stay right.
    """

    __slots__ = (
        "_buffer", "_essential", "_index", "_key", "_label", "_on_drop", "_searched", "active",
        "conflated", "dropped_by_type",
    )  # fmt: skip

    def __init__(
        self,
        buffer: Buffer[T],
        *,
        key: KeyOf | None = None,
        essential: Callable[[Any], bool] | None = None,
        label: Callable[[Any], str] | None = None,
        on_drop: Callable[[Any], object] | None = None,
    ) -> None:
        self._buffer = buffer
        self._key = key
        self._essential = essential
        self._label = label
        self._on_drop = on_drop
        self._index: dict[Hashable, int] = {}
        self.active = False
        self._searched = 0  # all items with a smaller serial number are essential
        self.conflated = 0
        self.dropped_by_type: dict[str, int] = {}

    def is_essential(self, entry: Any) -> bool:
        """Whether an entry may never be dropped."""
        if type(entry) is Marked:
            if entry.essential:
                return True
            entry = entry.item
        return self._essential is not None and self._essential(entry)

    def key_of(self, entry: Any) -> Hashable | None:
        """The key under which a newer entry may replace this one; None for none."""
        if type(entry) is Marked:
            if entry.key is not None:
                return entry.key
            entry = entry.item
        return self._key(entry) if self._key is not None else None

    def build_index(self) -> None:
        """In one pass over the buffer."""
        if not self.active:
            self.active = True
            self._searched = first = self._buffer.removed
            for serial, entry in enumerate(self._buffer.items, first):
                self._note(entry, serial)

    def drop_index(self) -> None:
        """Throw it away: the buffer has room again."""
        self.active = False
        self._index = {}

    def added(self, entry: Any) -> None:
        """An entry was appended to the buffer; call it only while `active`."""
        self._note(entry, self._buffer.removed + len(self._buffer.items) - 1)

    def conflate(self, entry: Any) -> bool:
        """Put `entry` in the place of the newest waiting one with the same key. False if there is none.

        Essential items are never replaced.
        """
        key = self.key_of(entry)
        if key is None:
            return False
        self.build_index()
        serial = self._index.get(key)
        if serial is None:
            return False
        position = serial - self._buffer.removed
        if position < 0:  # taken in the meantime
            del self._index[key]
            return False
        self._buffer.items[position] = entry
        self.conflated += 1
        if self.is_essential(entry):
            del self._index[key]
        return True

    def drop_oldest(self) -> bool:
        """Drop the oldest item that is not essential. False if all are."""
        self.build_index()
        items, removed = self._buffer.items, self._buffer.removed
        start = max(0, self._searched - removed)
        for position, entry in enumerate(islice(items, start, None), start):
            if not self.is_essential(entry):
                key = self.key_of(entry)
                if key is not None and self._index.get(key) == removed + position:
                    del self._index[key]
                del items[position]
                self._buffer.dropped += 1
                self.count_lost(entry)
                self._searched = removed + 1 + position
                return True
        self._searched = removed + len(items)
        return False

    def clear(self, *, counted: bool) -> None:
        """Empty the buffer; `counted`: as drops by type, for somebody might have wanted the items."""
        items = self._buffer.items
        while items:
            entry = items.popleft()
            self._buffer.dropped += 1
            if counted:
                self.count_lost(entry)

    def count_lost(self, entry: Any) -> None:
        """Count by its type an entry that will not be delivered, and tell of it."""
        item = entry.item if type(entry) is Marked else entry
        label = self._label(item) if self._label is not None else type(item).__name__
        add_bounded(self.dropped_by_type, label)
        if self._on_drop is not None:
            self._on_drop(item)

    def _note(self, entry: Any, serial: int) -> None:
        key = self.key_of(entry)
        if key is None:
            return
        if self.is_essential(entry):
            self._index.pop(key, None)  # an older one with this key may not jump ahead of it
        else:
            self._index[key] = serial
            if len(self._index) > 2 * self._buffer.capacity + 16:
                removed = self._buffer.removed
                self._index = {k: s for k, s in self._index.items() if s >= removed}
