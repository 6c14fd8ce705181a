"""Layer 4: makes producers wait by how full the queue is, and lets them go as soon as it empties."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .bp_timer import Timer
from .bp_zones import ThrottlePlan, Zone, ZoneMeter


class Throttle:
    """Follows a queue's level (`note()`) and delays its producers (`pause()`). For the loop's thread.

    `zone`, `ceiling` (see `ZoneMeter`), `delaying` (whether a producer would have to wait now), `count` and
    `seconds` (pauses so far, and their length all told), `waiting` (producers in a pause now) and `reaction`
    (the longest time from the crossing of a threshold to the first producer that was made to wait, seconds;
    None before the first) may be read at any time.
    """

    __slots__ = (
        "_clock", "_crossed", "_level", "_meter", "_paused", "_plan", "_timer",
        "ceiling", "count", "delaying", "reaction", "seconds", "zone",
    )  # fmt: skip

    def __init__(self, capacity: int, plan: ThrottlePlan, *, clock: Callable[[], float], timer: Timer) -> None:
        self._plan = plan
        self._meter = ZoneMeter(capacity, plan)
        self._clock = clock
        self._timer = timer
        self._level = 0
        self._paused: set[asyncio.Future[None]] = set()
        self._crossed: float | None = None
        self.zone = self._meter.zone
        self.ceiling = self._meter.ceiling
        self.delaying = False
        self.count = 0
        self.seconds = 0.0
        self.reaction: float | None = None

    @property
    def waiting(self) -> int:
        """How many producers are held in a pause now."""
        return len(self._paused)

    def note(self, level: int) -> Zone | None:
        """The queue has `level` items now. Returns the zone it was in, if it is in another one now."""
        self._level = level
        if not self._meter.update(level):
            return None
        was, self.zone = self.zone, self._meter.zone
        self.ceiling = self._meter.ceiling
        delayed, self.delaying = self.delaying, self._meter.delay(self._meter.capacity) > 0
        if self.delaying and not delayed:
            self._crossed = self._clock()
        elif not self.delaying:
            self._crossed = None
        self.release()
        return was

    def release(self) -> None:
        """Let every paused producer look again how long it has to wait."""
        for future in self._paused:
            if not future.done():
                future.set_result(None)

    def delay(self) -> float:
        """Seconds that a producer has to wait at the present level."""
        return self._meter.delay(self._level)

    async def pause(self, since: float | None = None) -> None:
        """Wait as long as the present fill asks for, counted from `since` (by the clock; None: from now).

        Returns earlier when the queue falls into a lower zone that asks for less. A cancel changes nothing.
        """
        now = self._clock()
        began = now if since is None else since
        if not self.delaying or began + self.delay() <= now:
            return
        if self._crossed is not None:
            lag = now - self._crossed
            self.reaction = lag if self.reaction is None else max(self.reaction, lag)
            self._crossed = None
        self.count += 1
        entered = now
        try:
            while (left := began + self.delay() - now) > 0:
                await self._sleep(left)
                now = self._clock()
        finally:
            self.seconds += self._clock() - entered

    async def _sleep(self, seconds: float) -> None:
        """Wait `seconds`, or until `release()`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._paused.add(future)

        def ring() -> None:
            if not future.done():
                future.set_result(None)

        alarm = self._timer(seconds, ring)
        try:
            await future
        finally:
            self._paused.discard(future)
            alarm.cancel()
