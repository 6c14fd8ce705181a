"""Layer 4: makes producers wait by how full the queue is, and lets them go as its consumer keeps up."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from .bp_timer import Timer
from .bp_zones import ZONES, ThrottlePlan, Zone, ZoneMeter

AT_ONCE: Final = 16


class Throttle:
    """Follows a queue's level (`note()`) and delays its producers (`pause()`). For the loop's thread.

    The delay is what a producer waits at most. Whenever the level falls by one, the producer that has waited
    longest goes on at once (of many at a time at most 16: then the level is falling fast anyway). So producers
    in a zone that delays are never faster than the consumer, nor slower than it for long, and the level stands
    still where the two meet. Delays alone would make it swing: between the 10 ms of a nearly red queue and the
    100 ms of a red one there is nothing for 50 items a second.

    To read: `zone`, `floor` and `ceiling` (see `ZoneMeter`); `delaying`, whether producers have to wait in
    this zone; `count` and `seconds`, the pauses so far and their length; `waiting`, producers in a pause now;
    `reaction`, the longest time in seconds from the crossing into a zone that delays to the first producer
    that was made to wait (None before the first).
    """

    __slots__ = (
        "_clock", "_crossed", "_looking", "_meter", "_paused", "_timer", "ceiling", "count", "delaying",
        "floor", "level", "reaction", "seconds", "zone",
    )  # fmt: skip

    def __init__(
        self, capacity: int, plan: ThrottlePlan, *, clock: Callable[[], float], timer: Timer
    ) -> None:
        self._meter = ZoneMeter(capacity, plan)
        self._clock = clock
        self._timer = timer
        self._paused: OrderedDict[asyncio.Future[bool], None] = OrderedDict()
        self._crossed: float | None = None
        self._looking = False
        self.level = 0
        self.zone = self._meter.zone
        self.ceiling = self._meter.ceiling
        self.floor = self._meter.floor
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
        fallen, self.level = min(self.level - level, AT_ONCE), level
        while fallen > 0 and self._paused:
            fallen -= _wake(self._paused.popitem(last=False)[0], True)
        if self.floor <= level <= self.ceiling:
            return None
        meter, was = self._meter, self.zone
        meter.update(level)
        self.zone, self.ceiling, self.floor = meter.zone, meter.ceiling, meter.floor
        delayed, self.delaying = self.delaying, meter.delay(meter.capacity) > 0
        if not self.delaying:
            self._crossed = None
        elif not delayed:
            self._crossed = self._clock()
        if self._paused:
            if not self.delaying:
                self._release_some()
            elif ZONES.index(self.zone) < ZONES.index(was):
                self.release()
        return was

    def _release_some(self) -> None:
        """Nobody has to wait any more: let a few go, and in the next turn of the loop, if that is still so, more.

        All at once would be a stampede: the first few may well publish so much that the rest had to pause again.
        """
        if not self.delaying:
            for _ in range(min(AT_ONCE, len(self._paused))):
                _wake(self._paused.popitem(last=False)[0], True)
            if self._paused:
                asyncio.get_running_loop().call_soon(self._release_some)

    def release(self, *, go: bool = False) -> None:
        """Let every paused producer look again how long it has to wait, or, if `go`, wait no longer."""
        while self._paused:
            _wake(self._paused.popitem(last=False)[0], go)

    def delay(self) -> float:
        """Seconds that a producer has to wait at the present level."""
        return self._meter.delay(self.level)

    async def pause(self, since: float | None = None) -> None:
        """Wait as long as the present fill asks for, counted from `since` (by the clock; None: from now).

        Returns earlier when an item was taken and this producer is the first of those that wait, or when the
        queue has fallen into a lower zone that asks for less. A cancel changes nothing.
        """
        entered = now = self._clock()
        began = now if since is None else since
        left = self._left(began, now)
        if left <= 0:
            return
        if self._crossed is not None:
            lag = now - self._crossed
            self.reaction = lag if self.reaction is None else max(self.reaction, lag)
            self._crossed = None
        self.count += 1
        loop = asyncio.get_running_loop()
        try:
            if not self._paused and not self._looking:
                # A fast consumer empties the queue in the next turn of the loop: often that is all it takes.
                self._looking = True
                try:
                    await asyncio.sleep(0)
                finally:
                    self._looking = False
                left = self._left(began, self._clock())
            while left > 0:
                future: asyncio.Future[bool] = loop.create_future()
                self._paused[future] = None
                alarm = self._timer(left, partial(_wake, future, False))
                try:
                    if await future:
                        return
                finally:
                    self._paused.pop(future, None)
                    alarm.cancel()
                left = self._left(began, self._clock())
        finally:
            self.seconds += self._clock() - entered

    def _left(self, began: float, now: float) -> float:
        delay = self._meter.delay(self.level)
        return began + delay - now if delay else 0.0


def _wake(future: asyncio.Future[bool], go: bool) -> bool:
    """Wake a producer, to go on or to look again; False if it is awake (or cancelled) already."""
    if future.done():
        return False
    future.set_result(go)
    return True
