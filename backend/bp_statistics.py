"""The figures of a queue."""

from __future__ import annotations

from typing import Any, NamedTuple


class QueueStatistics(NamedTuple):
    """A snapshot of a `BoundedQueue`. Every item put is in exactly one of size, taken, dropped, conflated.

    size: items held now, the one in its handler's hands included. peak: the most there ever were. fill:
    size / capacity. put, taken, conflated, dropped: items since the beginning; conflated ones were replaced
    by a newer one with the same key. refused: items that never came in, because nothing could be dropped for
    them. overflow: essential items that were let in beyond the capacity, because they could not wait.
    throttled, throttled_seconds: pauses of producers and their length. reaction_seconds: the longest time
    from crossing a threshold to the first throttled producer.
    """

    name: str
    size: int
    capacity: int
    fill: float
    zone: str
    peak: int
    put: int
    taken: int
    conflated: int
    dropped: int
    refused: int
    overflow: int
    dropped_by_type: dict[str, int]
    waiting_producers: int
    waiting_consumers: int
    throttled: int
    throttled_now: int
    throttled_seconds: float
    reaction_seconds: float | None
    closed: bool

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data that JSON can hold."""
        return self._asdict()
