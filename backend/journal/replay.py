"""State from events: what older versions wrote is brought to today's shape, then applied one by one.

A projection is anything with `apply(event)`. It must be pure: it looks at nothing but the events, and changes
nothing but itself. Then replaying twice gives the same, and a half and a half give the whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from .rows import Stored

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes the data of version v + 1 from that of version v. It gets a dict of its own."""

UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = {}
"""By (type, v). Empty while every type is at its first version."""

_SLICE: Final = 2_000
_REST: Final = 0.001


class Projection(Protocol):
    """What `replay()` builds up."""

    def apply(self, event: Stored) -> None:
        """Take one event, the oldest first."""


class Upcasters:
    """Brings events up to date, step by step. One that fails leaves the event as it was stored."""

    def __init__(self, more: Mapping[tuple[str, int], Upcaster] | None = None) -> None:
        self._table = {**UPCASTERS, **(more or {})}
        self._types = frozenset(type_ for type_, _ in self._table)

    def __bool__(self) -> bool:
        return bool(self._table)

    def __call__(self, event: Stored) -> Stored:
        if event.type not in self._types:
            return event
        data, version = dict(event.data), event.v
        try:
            while (step := self._table.get((event.type, version))) is not None:
                data, version = step(data), version + 1
        except Exception:
            return event
        return event._replace(data=data, v=version)


def replay(events: Iterable[Stored], projection: Projection, *, rest: Callable[[float], None] = time.sleep) -> int:
    """Apply all events; how many there were. Made for a thread: after 2,000 events it lets others run for 1 ms."""
    apply = projection.apply
    number = 0
    for event in events:
        apply(event)
        number += 1
        if number % _SLICE == 0:
            rest(_REST)
    return number
