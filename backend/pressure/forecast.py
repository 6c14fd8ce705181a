"""Layer 4, looking ahead: learns from a queue's own counts from which level on its producers have to wait.

Plain arithmetic: no loop, no clock of its own, nothing of the queue. `Throttle` shows it each level (`look()`) and, at
most 50 times a second, the counts (`sample()`). Then it does what `holding`, `gain` and `longest()` say:

    FREE   below `threshold`. Nobody waits, however fast the level rises: most bursts go away by themselves.
    HOLD   from `threshold` on. A producer goes for each item taken. If some still press after `Tuning.probation`
           seconds, one goes for every `gain` items only, until the level is down at `target`. There it is one for
           one again (and two for one a little below), as long as anybody presses: the level stands. When nobody
           has pressed for a moment, or the consumer has got well below the target, all are free again.

So a level never stays where a burst has pushed it, as it does in the fixed zones. What is learned: the consumer's
pace, and the room that publishers who cannot wait will need (`Room`): threshold and target lie so much lower. `Shadow`
reckons what the fixed zones would have done. `distrust` names the reason while the zones have to act instead.

What a hold costs is known beforehand: of `crowd` producers that press, each waits `crowd * gain / pace` seconds for its
turn (who of them goes first, `Throttle` says). A few before a fast consumer cost next to nothing, and are held hard; of
many before a slow one each item less in the queue is dear. So below the threshold `gain` is small; above it, where the
next burst has no room, as large as `Tuning.price` allows, which is the more the fuller the queue is. And the target is
the higher the dearer it is. Nobody is held longer than `USUAL_HOLD`, or, the fuller the queue, up to `LONGEST_HOLD`: so
long as it takes that a crowd whose turns come later than that does not fill the queue up.

While a queue is *calm*, nobody is held longer than the zones would: perhaps it needs no hold. It is calm until its
level was above 70 % once, and again `CALM_SECONDS` after the last time. One below `ROOMY` never is, for from the
threshold to 70 % there are but a few places.

What was tried and is not here, for it changed nothing that could be measured: forecasts of the level, a classifier of
rising levels, a margin for producers that press at once, room for bursts that have never been seen, a target that falls
the longer a hold lasts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

SAMPLE_SECONDS: Final = 0.02
SMALLEST: Final = 8
ENOUGH: Final = 10
LONGEST_HOLD: Final = 0.9
USUAL_HOLD: Final = 0.5
QUIET_SECONDS: Final = 0.03
CLOCK_JUMP: Final = 5.0
GUARD_SECONDS: Final = 60.0
CALM_SECONDS: Final = 60.0
ROOMY: Final = 250
MOST_DEBT: Final = 10.0
DEAR: Final = 0.1
LOWEST: Final = 0.3


class Tuning(NamedTuple):
    """How a throttle that looks ahead behaves. Levels are shares of the capacity.

    hold_at: where HOLD begins at the latest. drain_to: the target where a turn costs nothing; drain_dear: where it
    costs much (half way at `DEAR` seconds). gain: see the module. probation (seconds) too; it is no longer than a tenth
    of the queue takes, or a small queue would be full before its end. rush: the gain above the threshold, at most.
    price: how many seconds longer than one for one does a gain may make a producer wait for its turn, at a full queue;
    at the threshold an eighth of that. learn: whether anything depends on what is learned; then the target is low
    enough for the next burst to end below `cool`, but not below `LOWEST`, for a buffer is there to be used. stand:
    whether the level is held at the target, rather than everybody let go there, and calm queues are spared. guarded:
    whether the zones act while there is a reason for distrust.
    """

    hold_at: float = 0.62
    drain_to: float = 0.39
    drain_dear: float = 0.46
    gain: float = 2.0
    probation: float = 0.3
    rush: float = 8.0
    price: float = 0.50
    learn: bool = True
    cool: float = 0.75
    stand: bool = True
    guarded: bool = True


LEARNED: Final = Tuning()
"""The model as it is."""


class Pace:
    """How many a second. The last seconds weigh most; both sums fade alike, so that a constant pace is exact."""

    MEMORY: Final = 0.7
    __slots__ = ("_number", "_seconds")

    def __init__(self) -> None:
        self._number = 0.0
        self._seconds = 0.0

    def add(self, number: float, seconds: float) -> None:
        """So many in so many seconds."""
        keep = math.exp(-seconds / self.MEMORY)
        self._number = self._number * keep + number
        self._seconds = self._seconds * keep + seconds

    @property
    def value(self) -> float:
        """The pace; 0 before anything was added."""
        return self._number / self._seconds if self._seconds else 0.0


class Room:
    """How many places publishers that cannot wait may still need.

    They alone, before the same consumer, would make a queue of `alone` items. The longest that this was, fading by
    half in `HALF_LIFE` seconds, may come again: so that much, less what is there already.
    """

    HALF_LIFE: Final = 120.0
    FADE: Final = -math.log(2) / HALF_LIFE
    __slots__ = ("alone", "peak")

    def __init__(self) -> None:
        self.alone = 0.0
        self.peak = 0.0

    def add(self, nowait: int, takes: int, seconds: float) -> None:
        """In so many seconds so many came that could not wait, and so many were taken, of whatever kind."""
        alone = self.alone + nowait - takes
        self.alone = alone if alone > 0 else 0.0
        if self.peak:
            self.peak *= math.exp(seconds * self.FADE)
        if self.alone > self.peak:
            self.peak = self.alone

    @property
    def needed(self) -> float:
        """Places, as far as was seen."""
        return max(0.0, self.peak - self.alone)


class Shadow:
    """What the fixed zones would have made of the same traffic, as a fluid: a level, and the seconds they ask for.

    Who is held now would have come again and again, as far as the zones let him: one for each item taken, and
    whoever's delay is over. `asked` is what they would have asked for so far, in seconds of all producers together.
    `debt` is for how many seconds the model has held somebody while the zones would have held nobody, `cooler` for how
    many seconds less than the zones it was above 70 %; both fade.
    """

    __slots__ = ("asked", "cooler", "debt", "level")

    def __init__(self) -> None:
        self.asked = self.debt = self.cooler = self.level = 0.0

    def add(
        self, seconds: float, waited: int, nowait: int, takes: int, pressing: int, pace: float, delay: float
    ) -> None:  # fmt: skip
        """What happened in so many seconds; `delay` is what the zones ask at `level`. waited: puts that could wait."""
        if self.debt or self.cooler:
            keep = math.exp(-seconds / GUARD_SECONDS)
            self.debt *= keep
            self.cooler *= keep
        admitted: float = waited
        if delay and pace:
            crowd = pressing or 1
            most = takes + crowd * seconds / delay
            admitted = most if pressing else min(waited, most)
            asked = admitted * min(delay, crowd / pace)
            self.asked += asked
        level = self.level + nowait + admitted - takes
        self.level = level if level > 0 else 0.0

    def compare(self, seconds: float, needless: bool, hot: bool, hot_in_zones: bool) -> bool:
        """What the model did meanwhile. True if the record says that the zones would have done better."""
        if needless:
            self.debt += seconds
        if hot is not hot_in_zones:
            self.cooler += seconds * (hot_in_zones - hot)
        return self.debt > MOST_DEBT and self.cooler < 0.5

    def forgive(self) -> None:
        """Begin a new record."""
        self.debt = self.cooler = 0.0


class Forecast:
    """The model of one queue. See the module; everything is for the one who shows it the levels.

    To read: `holding`; `gain`, items taken for each producer let go; `threshold`, the level from which on it holds;
    `target`, the level at which that stands; `crowd`, how many producers press, of late; `why`, in one word, it is in
    its present state; `distrust`, in one word, why the zones have to act (None: they need not); `lowest`, the lowest
    level that it has seen since the last sample.
    While the zones act it need not be shown the levels between that and the threshold, but for those of the samples.
    """

    __slots__ = (
        "_at", "_busy", "_calm_from", "_capacity", "_distrusted_until", "_nowait", "_pressed", "_probation", "_put",
        "_since", "_taken", "_took", "_tuning", "crowd", "distrust", "gain", "holding", "holds", "lowest", "pace",
        "room", "shadow", "target", "threshold", "why",
    )  # fmt: skip

    def __init__(self, capacity: int, tuning: Tuning) -> None:
        self._capacity = capacity
        self._tuning = tuning
        self.holds = 0
        self.shadow = Shadow()
        self._start("small" if capacity < SMALLEST else "learning")

    def _start(self, distrust: str) -> None:
        """Know nothing (any more)."""
        self.distrust: str | None = distrust if self._tuning.guarded else None
        self.pace = Pace()
        self.room = Room()
        self.shadow.level = 0.0
        self.shadow.forgive()
        self.crowd = 0.0
        self.holding = False
        self._decide()
        self.gain = 1.0
        self.why = "start"
        self._at: float | None = None
        self._took = self._since = self._pressed = 0.0
        self._distrusted_until = 0.0
        self._calm_from = -math.inf
        self._taken = self._put = self._nowait = self.lowest = self._busy = 0

    # -- at each level -----------------------------------------------------------------------------------

    def look(self, now: float, level: int, pressing: int) -> None:
        """The level, and how many producers wait, just before those are let go whom it sets free."""
        if level < self.lowest:
            self.lowest = level
        if not self.holding:
            if level >= self.threshold:
                self._hold(now)
            return
        if pressing:
            self._pressed = now
        pace, target = self.pace.value, self.target
        if now - self._pressed > max(QUIET_SECONDS, 3 / pace if pace else 0.0):
            self._let_go("quiet")
        elif level < target * 0.8 or (level <= target and not self._tuning.stand):
            self._let_go("drained")
        elif level <= target:
            self.gain = 1.0 if level > 0.95 * target else 0.5
        elif self.gain > 1 or (level > target + self._capacity // 20 and now - self._since > self._probation):
            self.gain = self._gain(level)

    def _gain(self, level: int) -> float:
        """Items taken for each producer let go, while the level is to fall."""
        tuning = self._tuning
        if not tuning.learn:
            return tuning.gain
        wanted = tuning.rush if level > self.threshold else tuning.gain
        short = max(0.0, level - self.threshold) / (self._capacity - self.threshold)
        price = tuning.price * (0.12 + 0.88 * short)
        return min(wanted, 1 + price * self.pace.value / max(1.0, self.crowd))

    def _hold(self, now: float) -> None:
        self.holding, self.gain = True, 1.0
        self.why = "room" if self.threshold < int(self._tuning.hold_at * self._capacity) else "threshold"
        self._since = self._pressed = now
        self.holds += 1

    def _let_go(self, why: str) -> None:
        self.holding, self.why, self.gain = False, why, 1.0

    def longest(self, now: float, level: int, pressing: int, zone_delay: float) -> float:
        """Seconds that a put is held at most: the longer the fuller; `zone_delay` is what the zones would ask of it."""
        if now >= self._calm_from and self._capacity >= ROOMY and self._tuning.stand:
            return zone_delay
        pace, fill = self.pace.value, level / self._capacity
        longest = USUAL_HOLD + (LONGEST_HOLD - USUAL_HOLD) * min(1.0, max(0.0, (fill - 0.6) / 0.3))
        if not pace or (fill > 0.62 and now - self._took > max(0.05, 10 / pace)):
            return longest  # the consumer stands still
        return max(zone_delay, min(longest, 2 * self.gain / pace * max(1, pressing)))

    # -- once in a while -----------------------------------------------------------------------------------

    def sample(
        self,
        now: float,
        level: int,
        taken: int,
        lost: int,
        nowait: int,
        pressing: int,
        zone_delay: Callable[[float], float],
    ) -> None:
        """The counts so far: taken; lost, replaced or refused; puts that could not wait."""
        put = taken + level + lost
        if self._at is not None:
            seconds = now - self._at
            takes, puts, new = taken - self._taken, put - self._put, nowait - self._nowait
            if takes < 0 or puts < 0 or new < 0:
                self._start("counts")
            elif not 0 <= seconds < math.inf or (seconds > CLOCK_JUMP and self.lowest > 0):
                self._start("clock")
            else:
                self._learn(seconds, takes, new)
                self._judge(now, seconds, level, puts, takes, new, pressing, zone_delay)
            if takes:
                self._took = now
            self.crowd += (pressing - self.crowd) * 0.05
        if level > 0.7 * self._capacity:
            self._calm_from = now + CALM_SECONDS
        self._at, self._taken, self._put, self._nowait, self.lowest = now, taken, put, nowait, level
        self._decide()

    def _learn(self, seconds: float, takes: int, nowait: int) -> None:
        if self.lowest > 1:  # a consumer that had to wait for items did not show how fast it is
            self.pace.add(takes, seconds)
            if self._busy < ENOUGH:
                self._busy += 1
        self.room.add(nowait, takes, seconds)

    def _judge(
        self, now: float, seconds: float, level: int, puts: int, takes: int, nowait: int, pressing: int,
        zone_delay: Callable[[float], float],
    ) -> None:  # fmt: skip
        shadow, capacity = self.shadow, self._capacity
        if self.lowest <= 1:
            shadow.level, delay = float(level), 0.0
        else:
            delay = zone_delay(shadow.level)
            shadow.add(seconds, max(0, puts - nowait), nowait, takes, pressing, self.pace.value, delay)
            if shadow.level > capacity:
                shadow.level = float(capacity)
        needless = pressing > 0 and self.holding and not delay
        worse = shadow.compare(seconds, needless, level > 0.7 * capacity, shadow.level > 0.7 * capacity)
        total = self.pace.value + self.room.alone + self.room.peak + shadow.level
        if not math.isfinite(total + now):
            self._start("numbers")
        elif capacity < SMALLEST or self._busy < ENOUGH:
            return
        elif self.distrust == "record":
            if now >= self._distrusted_until:
                shadow.forgive()
                self.distrust = None
        elif worse and self._tuning.guarded:
            self.distrust, self._distrusted_until = "record", now + GUARD_SECONDS
        else:
            self.distrust = None

    def _decide(self) -> None:
        tuning, capacity, pace = self._tuning, self._capacity, self.pace.value
        threshold, target = tuning.hold_at * capacity, tuning.drain_to * capacity
        self._probation = min(tuning.probation, 0.1 * capacity / pace) if pace else tuning.probation
        if tuning.learn:
            needed = self.room.needed
            if self.crowd and pace:
                turn = self.crowd / pace
                target += (tuning.drain_dear - tuning.drain_to) * capacity * turn / (turn + DEAR)
            if needed > 0.3 * capacity:  # below that it can make no difference
                threshold = min(threshold, max(0.97 * capacity - needed, LOWEST * capacity))
            target = min(target, max(tuning.cool * capacity - needed, LOWEST * capacity))
        self.threshold = int(threshold)
        self.target = int(min(target, 0.97 * threshold if tuning.stand else threshold - 1))

    def statistics(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "threshold": self.threshold,
            "target": self.target,
            "room": round(self.room.needed),
            "pace": self.pace.value,
            "holds": self.holds,
            "zones_seconds": self.shadow.asked,
        }
