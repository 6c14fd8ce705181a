"""For tests of the bounded queue."""

from __future__ import annotations

from typing import Any, TypeVar

from backend.backpressure import UNTHROTTLED, BoundedQueue
from backend.pressure.buffer import Marked
from tests.support.manual_time import ManualTime

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


def queue_of(capacity: int, time: ManualTime | None = None, **kwargs: Any) -> BoundedQueue[Any]:
    """A queue in which only the layers 1 to 3 make anybody wait, unless `throttle` is given."""
    kwargs.setdefault("throttle", UNTHROTTLED)
    if time is not None:
        kwargs.update(clock=time, sleep=time.sleep)
    return BoundedQueue(capacity, **kwargs)


def waiting(queue: BoundedQueue[Any]) -> list[Any]:
    """The items that lie in the queue."""
    return [entry.item if isinstance(entry, Marked) else entry for entry in queue.items]
