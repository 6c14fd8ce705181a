"""Zones of a queue's fill, with hysteresis, and how long each makes a producer wait. Pure arithmetic."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Zone(str, Enum):
    """How full a queue is: below 30 %, to 70 %, to 90 %, above (see `ThrottlePlan`)."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    DEGRADED = "degraded"


ZONES: Final = tuple(Zone)


@dataclass(frozen=True)
class ThrottlePlan:
    """Where the zones begin and how long a producer waits in them.

    `yellow_at`, `red_at` and `degraded_above` are shares of the capacity. A zone is left again only when the
    fill is `hysteresis` (a share too) below where it began, so that a level at a border does not flap.
    Delays are seconds and rise in a straight line: in yellow from `yellow_delay[0]` at its beginning to
    `yellow_delay[1]` where red begins, from there `red_delay` in the same way up to the full queue.
    """

    yellow_at: float = 0.30
    red_at: float = 0.70
    degraded_above: float = 0.90
    hysteresis: float = 0.05
    yellow_delay: tuple[float, float] = (0.005, 0.010)
    red_delay: tuple[float, float] = (0.100, 0.500)

    def __post_init__(self) -> None:
        if not 0 < self.yellow_at <= self.red_at <= self.degraded_above <= 1:
            raise ValueError("zones must begin in the order yellow, red, degraded, between 0 and 1")
        if not 0 <= self.hysteresis < self.yellow_at:
            raise ValueError("hysteresis must be at least 0 and smaller than yellow_at")
        if min(*self.yellow_delay, *self.red_delay) < 0:
            raise ValueError("a delay cannot be negative")


UNTHROTTLED: Final = ThrottlePlan(yellow_delay=(0, 0), red_delay=(0, 0))
"""The usual zones, reported but without any delay."""


class ZoneMeter:
    """Follows a level and says which zone it is in.

    `zone` changes only in `update()`. As long as the level stays between `floor` and `ceiling`, both
    included, it stays in its zone, and nobody needs to call `update()`.
    """

    __slots__ = ("_delays", "_enter", "_leave", "_rank", "capacity", "ceiling", "floor", "zone")

    def __init__(self, capacity: int, plan: ThrottlePlan) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self.capacity = capacity
        # Rounded first: 0.7 * 10 is a hair above 7 in binary, and must not become 8.
        self._enter = (
            0,
            math.ceil(round(plan.yellow_at * capacity, 6)),
            math.ceil(round(plan.red_at * capacity, 6)),
            math.floor(round(plan.degraded_above * capacity, 6)) + 1,
        )
        # At least one below its beginning, and never below 1: an empty queue is always green.
        margin = max(1, round(plan.hysteresis * capacity))
        self._leave = tuple(max(1, level - margin) for level in self._enter)
        self._delays = (plan.yellow_delay, plan.red_delay)
        self._rank = 0
        self.zone = Zone.GREEN
        self.ceiling = self._enter[1] - 1
        self.floor = 0

    def update(self, level: int) -> bool:
        """Take note of `level`; True if the zone has changed."""
        rank = self._rank
        while rank < 3 and level >= self._enter[rank + 1]:
            rank += 1
        if rank == self._rank:
            while rank and level < self._leave[rank]:
                rank -= 1
        if rank == self._rank:
            return False
        self._rank = rank
        self.zone = ZONES[rank]
        # An essential item may be let in beyond the capacity, and it stays degraded then.
        self.ceiling = sys.maxsize if rank == 3 else self._enter[rank + 1] - 1
        self.floor = self._leave[rank] if rank else 0
        return True

    def delay(self, level: int) -> float:
        """Seconds that a producer should wait at `level` in the present zone. 0 in green."""
        if not self._rank:
            return 0.0
        if self._rank == 1:
            (low, high), begin, end = self._delays[0], self._enter[1], self._enter[2]
        else:
            (low, high), begin, end = self._delays[1], self._enter[2], self.capacity
        share = (level - begin) / (end - begin) if end > begin else 1.0
        return low + (high - low) * min(1.0, max(0.0, share))
