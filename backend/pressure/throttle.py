"""Layer 4: makes producers wait by how full the queue is, and lets them go as its consumer keeps up."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from .forecast import LEARNED, SAMPLE_SECONDS, Forecast, Tuning
from .line import Timer, Waiter

AT_ONCE: Final = 16
MODES: Final = ("fixed", "learned", "observe")
REPORT_SECONDS: Final = 1.0
# A timer may fire a little early. What is left then comes of rounding, and is no reason to set another.
SHORTEST_WAIT: Final = 1e-6
RETURNS: Final = 0.02

_last_wait: contextvars.ContextVar[tuple[weakref.ref[Any], Callable[[], float], float] | None]
_last_wait = contextvars.ContextVar("_last_wait", default=None)
"""When a throttle let this task go last: the task itself (one that it starts has a copy of this), clock and time."""

logger = logging.getLogger("copilot_pulse.backpressure")


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
    mode: "fixed", just that; "learned", a model of the queue decides, and the zones only where it cannot be trusted
    (see forecast.py; `tuning` is for that); "observe", the model runs and reports, but the zones act.
    """

    yellow_at: float = 0.30
    red_at: float = 0.70
    degraded_above: float = 0.90
    hysteresis: float = 0.05
    yellow_delay: tuple[float, float] = (0.005, 0.010)
    red_delay: tuple[float, float] = (0.100, 0.500)
    mode: str = "fixed"
    tuning: Tuning = LEARNED

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"a throttle is {', '.join(MODES[:-1])} or {MODES[-1]}, not {self.mode!r}")
        if not 0 < self.yellow_at <= self.red_at <= self.degraded_above <= 1:
            raise ValueError("zones must begin in the order yellow, red, degraded, between 0 and 1")
        if not 0 <= self.hysteresis < self.yellow_at:
            raise ValueError("hysteresis must be at least 0 and smaller than yellow_at")
        if min(*self.yellow_delay, *self.red_delay) < 0:
            raise ValueError("a delay cannot be negative")

    @classmethod
    def of(cls, throttle: ThrottlePlan | str | None) -> ThrottlePlan:
        """A plan as it is, for a mode's name the usual plan in that mode, for None the usual one.

        Raises ValueError for any other name.
        """
        return cls(mode=throttle) if isinstance(throttle, str) else throttle or cls()


UNTHROTTLED: Final = ThrottlePlan(yellow_delay=(0, 0), red_delay=(0, 0))
"""The usual zones, reported but without any delay."""


class ZoneMeter:
    """Follows a level and says which zone it is in.

    `zone` changes only in `note()`. As long as the level stays between `floor` and `ceiling`, both
    included, it stays in its zone, and nobody needs to call it.
    """

    __slots__ = ("_delays", "_enter", "_leave", "_rank", "capacity", "ceiling", "floor", "zone")

    def __init__(self, capacity: int, plan: ThrottlePlan) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self.capacity = capacity
        # It is rounded first: 0.7 * 10 is slightly more than 7 in binary, and must not become 8.
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

    def note(self, level: int) -> bool:
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
        return self._delay(self._rank, level)

    def delay_at(self, level: float) -> float:
        """Seconds that a producer should wait at `level`, had it risen to there."""
        return self._delay(sum(level >= begin for begin in self._enter) - 1, level)

    def _delay(self, rank: int, level: float) -> float:
        if not rank:
            return 0.0
        if rank == 1:
            (low, high), begin, end = self._delays[0], self._enter[1], self._enter[2]
        else:
            (low, high), begin, end = self._delays[1], self._enter[2], self.capacity
        share = (level - begin) / (end - begin) if end > begin else 1.0
        return low + (high - low) * min(1.0, max(0.0, share))


class Throttle:
    """Follows a queue's level (`note()`) and delays its producers (`pause()`). For the loop's thread.

    The delay is what a producer waits at most. Whenever the level falls by one, the producer that has waited
    longest goes on at once (of many at a time at most 16: then the level is falling fast anyway). So producers
    in a zone that delays are never faster than the consumer, nor slower than it for long, and the level stands
    still where the two meet. Delays alone would make it swing: between the 10 ms of a nearly red queue and the
    100 ms of a red one there is nothing for 50 items a second.

    While the model decides, a task that comes back within `RETURNS` seconds of having been let go stands behind those
    that do not: who publishes without a rest then waits for those who publish now and then, and not they for it (the
    rule of "sparse flows" of FQ-CoDel, RFC 8290). It is held no longer than `longest()` says for all that. This is only
    for those whose item is in the queue already: else the items would go in in another order.

    With a model (`ThrottlePlan.mode`), `counts()` is asked at most 50 times a second: items taken, items lost, replaced
    or refused, and puts that could not wait, so far. An error in the model turns it off for this queue, for good, and
    is logged.

    To read: `zone`, `floor` and `ceiling` (between these levels, both included, nobody needs to call `note()` at
    once); `delaying`, whether producers have to wait at this level; `count` and `seconds`, the pauses so far and their
    length; `waiting`, producers in a pause now; `reaction`, the longest time in seconds that the first producer who
    came after the crossing into a zone that delays was not made to wait (None before the first); `acting`, whether
    the model decides, and not the zones; `news`, the state before this one, if that is to be reported.
    """

    __slots__ = (
        "_at_once", "_counts", "_credit", "_crossed", "_failed", "_meter", "_mode", "_reported", "_reported_at",
        "_sampled", "acting", "ceiling", "clock", "count", "delaying", "floor", "forecast", "level", "looking",
        "newcomers", "news", "paused", "reaction", "seconds", "timer", "zone",
    )  # fmt: skip

    def __init__(
        self,
        capacity: int,
        plan: ThrottlePlan,
        *,
        clock: Callable[[], float],
        timer: Timer,
        counts: Callable[[], tuple[int, int, int]] | None = None,
    ) -> None:
        self._meter = ZoneMeter(capacity, plan)
        self._at_once = min(AT_ONCE, max(1, capacity // 8))
        self.clock = clock
        self.timer = timer
        self.paused: OrderedDict[Waiter, None] = OrderedDict()  # a producer that is taken out need not wait any more
        self.newcomers: OrderedDict[Waiter, None] = OrderedDict()  # of these, who goes first while the model decides
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
        self._mode = plan.mode
        self._counts = counts
        # Without any delay in the zones there is nothing to improve: `UNTHROTTLED` stays what it is.
        ahead = plan.mode != "fixed" and counts is not None and max(*plan.yellow_delay, *plan.red_delay) > 0
        self.forecast = Forecast(capacity, plan.tuning) if ahead else None
        self.acting = False
        self.news: str | None = None
        self._credit = 0.0
        self._failed = False
        self._sampled = -math.inf
        self._reported = "zones"
        self._reported_at = -math.inf

    @property
    def waiting(self) -> int:
        """How many producers are held in a pause now."""
        return len(self.paused)

    @property
    def may_act(self) -> bool:
        """Whether a model decides here, now or later."""
        return self._mode == "learned" and self.forecast is not None

    @property
    def state(self) -> str:
        """What decides now: "zones", or the model, which lets everybody go ("free") or not ("hold")."""
        forecast = self.forecast
        if forecast is None or forecast.distrust is not None:
            return "zones"
        return "hold" if forecast.holding else "free"

    @property
    def why(self) -> str:
        """In one word why it is in this state."""
        if self.forecast is None:
            return "error" if self._failed else "fixed"
        return self.forecast.distrust or self.forecast.why

    def note(self, level: int) -> Zone | None:
        """The queue has `level` items now. Returns the zone it was in, if it is in another one now."""
        forecast = self.forecast
        if forecast is not None and (
            self.acting
            or not forecast.lowest <= level < forecast.threshold
            or not 0 <= self.clock() - self._sampled < SAMPLE_SECONDS
        ):
            return self._note_ahead(forecast, level)
        fallen, self.level = min(self.level - level, AT_ONCE), level
        if fallen > 0 and self.paused:
            self._let_go(fallen)
        if self.floor <= level <= self.ceiling:
            return None
        was = self._enter_zone(level)
        self.ceiling, self.floor = self._meter.ceiling, self._meter.floor
        self._delay(self._meter.delay(self._meter.capacity) > 0)
        self._look_again_in(was)
        return was

    def enter(self, waiter: Waiter, newcomer: bool) -> None:
        """A producer pauses from now on."""
        self.paused[waiter] = None
        if newcomer:
            self.newcomers[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """A producer does not pause any more. Leaving again is fine."""
        self.paused.pop(waiter, None)
        self.newcomers.pop(waiter, None)

    def _first(self) -> Waiter:
        """Who goes next: who has waited longest; while the model decides, of the newcomers, if there are any."""
        first = next(iter((self.acting and self.newcomers) or self.paused))
        self.leave(first)
        return first

    def _let_go(self, number: int) -> None:
        """The first ones whose wait is not over yet."""
        while number > 0 and self.paused:
            number -= self._first().wake()

    def _enter_zone(self, level: int) -> Zone:
        """Follow the level; returns the zone before."""
        was = self.zone
        self._meter.note(level)
        self.zone = self._meter.zone
        return was

    def _delay(self, delaying: bool) -> None:
        """Producers have to wait from now on, or need not any more."""
        if not delaying:
            self._crossed = None
        elif not self.delaying:
            self._crossed = self.clock()
        was, self.delaying = self.delaying, delaying
        if was and not delaying and self.paused:
            self._release_some()

    def _look_again_in(self, was: Zone) -> None:
        """In a lower zone who waits may have to wait less."""
        if self.paused and self.delaying and ZONES.index(self.zone) < ZONES.index(was):
            self.release()

    # -- with a model --------------------------------------------------------------------------------------

    def _note_ahead(self, forecast: Forecast, level: int) -> Zone | None:
        """As `note()`, but the model looks at the level, and decides if it may.

        For each level while it decides; else only for those that tell it anything, for a flood pays for each look.
        """
        paused, meter, acted, was = self.paused, self._meter, self.acting, None
        pressing = len(paused) + self.looking
        fallen, self.level = self.level - level, level
        if fallen > 0 and paused:
            self._follow(forecast, min(fallen, AT_ONCE))
        if not meter.floor <= level <= meter.ceiling:
            was = self._enter_zone(level)
        try:
            self._show(forecast, level, pressing)
        except Exception as error:
            self._give_up(error)
        self.floor, ceiling = meter.floor, meter.ceiling
        if self.acting:
            most = forecast.threshold - 1
            self.ceiling = most if most < ceiling else ceiling
            if forecast.holding is not self.delaying:
                self._delay(forecast.holding)
        else:
            self.ceiling = ceiling
            if was is not None or acted:
                self._delay(meter.delay(meter.capacity) > 0)
            if was is not None:
                self._look_again_in(was)
        if acted is not self.acting:
            self.release()
        return was

    def _follow(self, forecast: Forecast, fallen: int) -> None:
        """So many were taken: let as many producers go, or as the model says."""
        if self.acting:
            self._credit += fallen / forecast.gain
            fallen = int(self._credit)
            self._credit -= fallen
        self._let_go(fallen)

    def _show(self, forecast: Forecast, level: int, pressing: int) -> None:
        """Let the model see the level, and now and then the counts; note what has become of it."""
        now, held = self.clock(), forecast.holding
        if due := not 0 <= now - self._sampled < SAMPLE_SECONDS:
            assert self._counts is not None
            forecast.sample(now, level, *self._counts(), pressing, self._meter.delay_at)
            self._sampled = now
        forecast.look(now, level, pressing)
        if due or forecast.holding is not held:
            self.acting = self._mode == "learned" and forecast.distrust is None
            state = self.state
            if state != self._reported and now - self._reported_at >= REPORT_SECONDS:
                self.news, self._reported, self._reported_at = self._reported, state, now

    def _give_up(self, error: Exception) -> None:
        logger.error("the model of a throttle failed, the zones act from now on: %s", type(error).__name__)
        self.news, self.forecast, self.acting, self._failed = self._reported, None, False, True

    def _longest(self) -> float:
        """Seconds that a producer has to wait at most at this level."""
        delay = self._meter.delay(self.level)
        if not self.acting or self.forecast is None:
            return delay
        if not self.forecast.holding:
            return 0.0
        try:
            return self.forecast.longest(self.clock(), self.level, len(self.paused), delay)
        except Exception as error:
            self._give_up(error)
            return delay

    def take_news(self) -> dict[str, Any]:
        """What there is to report, once: a new state, the one before, and why."""
        was, self.news = self.news, None
        threshold = self.forecast.threshold if self.forecast is not None else None
        return {
            "mode": self._mode, "state": self.state, "was": was, "why": self.why, "level": self.level,
            "threshold": threshold,
        }  # fmt: skip

    def statistics(self) -> dict[str, Any]:
        """Mode, state and why; with a model its figures too, see docs/event-bus.md."""
        about = {"mode": self._mode, "state": self.state, "why": self.why}
        return about if self.forecast is None else {**about, **self.forecast.statistics()}

    # -- waiting ---------------------------------------------------------------------------------------------

    def _release_some(self) -> None:
        """Nobody has to wait any more: let a few go, and in the next turn of the loop, if that is still so, more.

        All at once would be a stampede: the first few may well publish so much that the rest had to pause again. For a
        small queue a few are an eighth of it.
        """
        if not self.delaying:
            for _ in range(min(self._at_once, len(self.paused))):
                self._first().wake()
            if self.paused:
                try:
                    asyncio.get_running_loop().call_soon(self._release_some)
                except RuntimeError:  # an item was taken outside of the loop, so that there is no next turn of it
                    self.release(go=True)

    def release(self, *, go: bool = False) -> None:
        """Let every paused producer look again how long it has to wait, or, if `go`, wait no longer."""
        waiters = list(self.paused)
        if go:
            self.paused.clear()
            self.newcomers.clear()
        for waiter in waiters:
            waiter.wake()

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
        delay = self._longest()
        left = began + delay - now if delay else 0.0
        return left if left > SHORTEST_WAIT else 0.0


async def pause_in_all(throttles: Iterable[Throttle], since: float | None = None) -> None:
    """`Throttle.pause()` in all of these at the same time, until none asks for more. They share their clock.

    A pause counts from `since`, by that clock: when the producer came whose item is in already. None: from now, and the
    item goes in after the pause; then all of these go first come, first served. A cancel leaves all of them as if
    nobody waited; the time until then is counted.
    """
    asking = list(throttles)
    clock, waiter = asking[0].clock, Waiter(asking[0].timer)
    entered = now = clock()
    began = entered if since is None else since
    ranks = since is not None and any(throttle.may_act for throttle in asking)
    alone = True
    for throttle in tuple(asking):
        if throttle.left(began, now) <= 0:
            asking.remove(throttle)
            continue
        throttle.reacted(began)
        throttle.count += 1
        alone = alone and not throttle.paused and not throttle.looking
    newcomer = ranks and not _comes_back(clock, began)
    try:
        if alone and asking:
            # A fast consumer empties the queue in the next turn of the loop: often that is all it takes.
            await _look_again(asking)
        for throttle in asking:
            throttle.enter(waiter, newcomer)
        while asking:
            now, shortest = clock(), math.inf
            for throttle in tuple(asking):
                left = throttle.left(began, now) if waiter in throttle.paused else 0.0
                if left <= 0:
                    asking.remove(throttle)
                    throttle.seconds += now - entered
                    throttle.leave(waiter)
                elif left < shortest:
                    shortest = left
            if asking:
                await waiter.wait(shortest)
        if ranks and (task := asyncio.current_task()) is not None:
            _last_wait.set((weakref.ref(task), clock, now))
    finally:
        for throttle in asking:
            throttle.seconds += clock() - entered
            throttle.leave(waiter)


def _comes_back(clock: Callable[[], float], came: float) -> bool:
    """Whether this very task was let go a moment before it came."""
    if (last := _last_wait.get()) is None:
        return False
    of, by, at = last
    return by == clock and of() is asyncio.current_task() and 0 <= came - at <= RETURNS


async def _look_again(throttles: list[Throttle]) -> None:
    for throttle in throttles:
        throttle.looking = True
    try:
        await asyncio.sleep(0)
    finally:
        for throttle in throttles:
            throttle.looking = False
