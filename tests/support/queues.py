"""For tests of the bounded queue."""

from __future__ import annotations

from typing import TypeVar

from backend.backpressure import BoundedQueue

T = TypeVar("T")


def take(queue: BoundedQueue[T]) -> T:
    """What `get()` gives if it need not wait for an item; LookupError if it would have to."""
    if not queue._available() and not (queue.closed and not queue.items):
        raise LookupError("no item to spare")
    getting = queue.get()
    try:
        while True:
            getting.send(None)  # it lets the loop turn
    except StopIteration as done:
        item: T = done.value
        return item
