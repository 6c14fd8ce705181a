"""Layer 4: makes producers wait by how full the queue is, and lets them go as its consumer keeps up."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from .line import Bell
from .timer import Timer
from .zones import ZONES, ThrottlePlan, Zone, ZoneMeter

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
    `reaction`, the longest time in seconds that the first producer who came after the crossing into a zone that
    delays was not made to wait (None before the first).
    """

    __slots__ = (
        "_crossed", "_meter", "ceiling", "clock", "count", "delaying", "floor", "level", "looking", "paused",
        "reaction", "seconds", "timer", "zone",
    )  # fmt: skip

    def __init__(self, capacity: int, plan: ThrottlePlan, *, clock: Callable[[], float], timer: Timer) -> None:
        self._meter = ZoneMeter(capacity, plan)
        self.clock = clock
        self.timer = timer
        self.paused: OrderedDict[Bell, None] = OrderedDict()  # who is taken out need not wait any more
        self._crossed: float | None = None
        self.looking = False  # a producer looks again after one turn of the loop, before it pauses
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
        return len(self.paused)

    def note(self, level: int) -> Zone | None:
        """The queue has `level` items now. Returns the zone it was in, if it is in another one now."""
        fallen, self.level = min(self.level - level, AT_ONCE), level
        while fallen > 0 and self.paused:
            fallen -= self.paused.popitem(last=False)[0].ring()
        if self.floor <= level <= self.ceiling:
            return None
        meter, was = self._meter, self.zone
        meter.update(level)
        self.zone, self.ceiling, self.floor = meter.zone, meter.ceiling, meter.floor
        delayed, self.delaying = self.delaying, meter.delay(meter.capacity) > 0
        if not self.delaying:
            self._crossed = None
        elif not delayed:
            self._crossed = self.clock()
        if self.paused:
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
            for _ in range(min(AT_ONCE, len(self.paused))):
                self.paused.popitem(last=False)[0].ring()
            if self.paused:
                asyncio.get_running_loop().call_soon(self._release_some)

    def release(self, *, go: bool = False) -> None:
        """Let every paused producer look again how long it has to wait, or, if `go`, wait no longer."""
        bells = list(self.paused)
        if go:
            self.paused.clear()
        for bell in bells:
            bell.ring()

    def delay(self) -> float:
        """Seconds that a producer has to wait at the present level."""
        return self._meter.delay(self.level)

    async def pause(self, since: float | None = None) -> None:
        """Wait as long as the present fill asks for, counted from `since` (by the clock; None: from now).

        Returns earlier when an item was taken and this producer is the first of those that wait, or when the
        queue has fallen into a lower zone that asks for less. A cancel changes nothing.
        """
        await pause_in_all((self,), since)

    def reacted(self, came: float) -> None:
        """A producer that came at `came`, by the clock, is made to wait from now on."""
        if self._crossed is not None:
            lag = self.clock() - max(came, self._crossed)
            self.reaction = lag if self.reaction is None else max(self.reaction, lag)
            self._crossed = None

    def left(self, began: float, now: float) -> float:
        """How many seconds a producer that has waited since `began` has to wait yet, as things stand."""
        delay = self._meter.delay(self.level)
        return began + delay - now if delay else 0.0


async def pause_in_all(throttles: Iterable[Throttle], since: float | None = None) -> None:
    """`Throttle.pause()` in all of these at the same time, until none asks for more. They share their clock."""
    held = list(throttles)
    clock, bell = held[0].clock, Bell(held[0].timer)
    entered = now = clock()
    began = entered if since is None else since
    alone = True
    for throttle in tuple(held):
        if throttle.left(began, now) <= 0:
            held.remove(throttle)
            continue
        throttle.reacted(began)
        throttle.count += 1
        alone = alone and not throttle.paused and not throttle.looking
    try:
        if alone and held:
            # A fast consumer empties the queue in the next turn of the loop: often that is all it takes.
            await _look_again(held)
        for throttle in held:
            throttle.paused[bell] = None
        while held:
            now, shortest = clock(), math.inf
            for throttle in tuple(held):
                left = throttle.left(began, now) if bell in throttle.paused else 0.0
                if left <= 0:
                    held.remove(throttle)
                    throttle.seconds += now - entered
                    throttle.paused.pop(bell, None)
                elif left < shortest:
                    shortest = left
            if held:
                await bell.wait(shortest)
    finally:
        for throttle in held:
            throttle.seconds += clock() - entered
            throttle.paused.pop(bell, None)


async def _look_again(throttles: list[Throttle]) -> None:
    for throttle in throttles:
        throttle.looking = True
    try:
        await asyncio.sleep(0)
    finally:
        for throttle in throttles:
            throttle.looking = False
