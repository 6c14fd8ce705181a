"""The figures of a queue."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

MAX_LABELS: Final = 256
OTHER_LABELS: Final = "(other types)"


def add_bounded(counts: dict[str, int], label: str, number: int = 1, *, most: int = MAX_LABELS) -> None:
    """Add to a count. Beyond `most` labels, further ones are added up under `OTHER_LABELS`."""
    if label not in counts and len(counts) >= most:
        label = OTHER_LABELS
    counts[label] = counts.get(label, 0) + number


class QueueStatistics(NamedTuple):
    """A snapshot of a `BoundedQueue`. `put` is `size` + `taken` + `conflated` + (`dropped` - `refused`).

    size: items held now, the one in its handler's hands included. peak: the most there ever were. fill:
    size / capacity. put: items that came in since the beginning; taken: those that were handed out (by a
    mailbox: handled); conflated: those that a newer one with the same key replaced, also while their producer
    waited. refused: items that never came in, because nothing could be dropped for them. dropped: all that was
    lost, `refused` included; by type in dropped_by_type (256 types at most, then "(other types)"). overflow:
    essential items that were let in beyond the capacity, because they could not wait. throttled,
    throttled_seconds: pauses of producers and their length. reaction_seconds: the longest time for which the
    first producer that came after the crossing of a threshold was not made to wait.
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
    throttle: dict[str, Any]
    closed: bool

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data that JSON can hold."""
        return self._asdict()
