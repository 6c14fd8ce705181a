"""The model of the throttle that looks ahead: its estimators, when it holds and lets go, when it is not trusted."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.backpressure import BoundedQueue, ThrottlePlan
from backend.event_bus import Event, EventBus
from backend.pressure.forecast import (
    LEARNED,
    LONGEST_HOLD,
    ROOMY,
    SAMPLE_SECONDS,
    USUAL_HOLD,
    Forecast,
    Pace,
    Room,
    Shadow,
    Tuning,
)
from tests.support.manual_time import ManualTime, turns

HOLD_AT = int(1000 * LEARNED.hold_at)
"""Where a queue of 1,000 holds at the latest."""


class Drill:
    """Shows a model what a queue would show it, one sample's time after the other."""

    def __init__(self, capacity: int = 1000, tuning: Tuning | None = None) -> None:
        self.model = Forecast(capacity, tuning or Tuning())
        self.now = 1000.0
        self.level = 0
        self.taken = 0
        self.nowait = 0
        self.sampled = -math.inf

    def step(
        self, puts: int = 0, takes: int = 0, *, nowait: int = 0, pressing: int = 0, seconds: float = 0.025
    ) -> None:
        """So many puts (of which so many could not wait) and takes in so many seconds, then a look."""
        self.now += seconds
        takes = min(takes, self.level + puts + nowait)
        self.level += puts + nowait - takes
        self.taken += takes
        self.nowait += nowait
        self.show(pressing)

    def show(self, pressing: int = 0) -> None:
        """As the throttle does."""
        if not 0 <= self.now - self.sampled < SAMPLE_SECONDS:
            self.model.sample(self.now, self.level, self.taken, 0, self.nowait, pressing, lambda _: 0.0)
            self.sampled = self.now
        self.model.look(self.now, self.level, pressing)

    def distrust(self) -> str | None:
        """Why the zones have to act."""
        return self.model.distrust

    def trained(self, pace: int = 10) -> Drill:
        """It has seen a consumer at work for long enough, at a low level: `pace` takes a step."""
        self.step(60)
        for _ in range(60):
            self.step(pace, pace)
        assert self.distrust() is None
        return self

    def to(self, level: int, takes: int = 0, pressing: int = 0) -> None:
        """The level jumps there."""
        self.step(max(0, level - self.level) + takes, takes + max(0, self.level - level), pressing=pressing)


# -- estimators against closed forms ----------------------------------------------------------------


@given(st.floats(0.1, 1e5), st.lists(st.floats(0.02, 3), min_size=1, max_size=30))
def test_a_constant_pace_is_measured_exactly_from_the_first_sample_on(rate: float, steps: list[float]) -> None:
    """However the time is cut into samples: there is no start-up bias."""
    pace = Pace()
    for seconds in steps:
        pace.add(rate * seconds, seconds)

    assert pytest.approx(rate) == pace.value


def test_a_pace_follows_a_change_as_an_exponential_does() -> None:
    """After one memory span, 1 - 1/e of the way from the old to the new."""
    pace = Pace()
    for _ in range(1000):
        pace.add(1.0, 0.01)
    for _ in range(70):
        pace.add(3.0, 0.01)

    assert pytest.approx(100 + 200 * (1 - 1 / math.e), rel=0.01) == pace.value


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=40))
def test_the_room_is_that_of_a_queue_of_those_who_cannot_wait(steps: list[tuple[int, int]]) -> None:
    """Lindley's formula: the longest queue is the largest surplus of arrivals over takes in any stretch of time."""
    room = Room()
    for nowait, takes in steps:
        room.add(nowait, takes, 0.0)
    net = [nowait - takes for nowait, takes in steps]
    ending = [max([0, *(sum(net[first:last]) for first in range(last))]) for last in range(1, len(net) + 1)]

    assert (ending[-1] if ending else 0) == room.alone
    assert max([0, *ending]) == room.peak
    assert max(0, room.peak - room.alone) == room.needed


def test_a_peak_is_half_forgotten_after_two_minutes() -> None:
    """Bursts that have stopped coming need no room any more."""
    room = Room()
    room.add(400, 0, 0.0)
    room.add(0, 400, 120.0)

    assert pytest.approx(200) == room.needed


# -- holding and letting go --------------------------------------------------------------------------


def test_nobody_is_held_below_the_threshold_and_everybody_from_there_on() -> None:
    """In the very look that sees the threshold crossed."""
    drill = Drill().trained()
    for level in (299, 450, 600, drill.model.threshold - 1):
        drill.to(level)
        assert not drill.model.holding
    drill.to(drill.model.threshold)

    assert drill.model.holding
    assert "threshold" == drill.model.why


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 50)), max_size=60))
def test_a_hold_begins_at_the_threshold_only(steps: list[tuple[int, int, int]]) -> None:
    """Whatever the traffic. And nothing is longer than `LONGEST_HOLD`."""
    drill = Drill().trained()
    for puts, takes, pressing in steps:
        held, threshold = drill.model.holding, drill.model.threshold
        drill.step(puts, takes, pressing=pressing)
        model = drill.model
        threshold = min(threshold, model.threshold)
        if model.holding and not held:
            assert drill.level >= threshold
        assert 200 <= model.threshold <= HOLD_AT
        assert 0.1 <= model.longest(drill.now, drill.level, pressing, 0.1) <= LONGEST_HOLD


def test_who_still_presses_after_the_probation_goes_more_slowly_than_the_items() -> None:
    """Down to the target; there it is one for one again, for as long as anybody presses."""
    drill = Drill(tuning=Tuning()).trained()
    drill.to(HOLD_AT, pressing=5)
    assert 1.0 == drill.model.gain
    for _ in range(14):
        drill.step(10, 10, pressing=5)
    assert LEARNED.gain == drill.model.gain

    for _ in range(200):
        drill.to(drill.model.target - 10, 10, pressing=5)
        assert drill.model.holding
        assert 1.0 == drill.model.gain


def held(level: int, pressing: int, *, pace: int = 10) -> Forecast:
    """A model that has held so many producers for a second, at a level."""
    drill = Drill(tuning=Tuning()).trained(pace)
    drill.to(level, pace, pressing=pressing)
    for _ in range(40):
        drill.step(pace, pace, pressing=pressing)
    return drill.model


@pytest.mark.parametrize(("pressing", "pace"), [(1, 10), (5, 10), (60, 10), (60, 2), (200, 10)])
def test_a_turn_costs_no_more_than_its_price(pressing: int, pace: int) -> None:
    """Longer than one for one: 0.5 s at a full queue, an eighth of that at the threshold. The gain is 8 at most."""
    full, low = held(1000, pressing, pace=pace), held(HOLD_AT + 40, pressing, pace=pace)
    for model, price in ((full, 0.5), (low, 0.5 * (0.12 + 0.88 * 40 / (1000 - HOLD_AT)))):
        assert 1 < model.gain <= 8
        assert (model.gain - 1) * model.crowd / model.pace.value <= price * 1.001
    assert low.gain < full.gain or full.gain == 8


def test_the_level_stands_the_higher_the_dearer_a_turn_is() -> None:
    """One producer before 400 a second, or 60 before 80."""
    low, high = 1000 * LEARNED.drain_to, 1000 * LEARNED.drain_dear
    assert low <= held(660, 1).target < held(660, 60, pace=2).target <= high


def test_a_burst_that_is_over_frees_everybody() -> None:
    """Nobody has pressed for a moment."""
    drill = Drill().trained()
    drill.to(700, 10, pressing=5)
    drill.step(0, 10)
    drill.step(0, 10)

    assert not drill.model.holding
    assert "quiet" == drill.model.why


def test_a_consumer_that_gets_ahead_frees_everybody() -> None:
    """Well below the target there is nothing to protect."""
    drill = Drill().trained()
    drill.to(700, 10, pressing=5)
    drill.to(200, 10, pressing=5)

    assert not drill.model.holding
    assert "drained" == drill.model.why


def test_the_threshold_leaves_the_room_that_bursts_will_need() -> None:
    """A burst of 500 that cannot wait came once; from then on it has a place to come to."""
    drill = Drill().trained()
    assert HOLD_AT == drill.model.threshold
    drill.step(nowait=500)
    while drill.level > 60:
        drill.step(0, 25)

    assert pytest.approx(970 - 500, abs=25) == drill.model.threshold


# -- when it is not trusted ---------------------------------------------------------------------------


def test_it_is_not_trusted_before_it_has_seen_enough() -> None:
    """Ten samples of a consumer at work; one that waits for items tells nothing."""
    drill = Drill()
    for _ in range(200):
        drill.step(5, 5)
    assert "learning" == drill.distrust()
    assert 0 == drill.model.pace.value
    drill.step(60)
    for _ in range(11):
        drill.step(5, 5)
    assert drill.distrust() is None
    assert pytest.approx(200) == drill.model.pace.value


def test_a_tiny_queue_has_the_zones() -> None:
    """There one producer more or less is a large share."""
    drill = Drill(7)
    for _ in range(100):
        drill.step(10, 5)

    assert "small" == drill.distrust()


@pytest.mark.parametrize("capacity", [8, 16, 100])
def test_a_small_queue_is_drained_before_it_can_fill_up(capacity: int) -> None:
    """Its probation is a tenth of what the consumer takes for it, and not three times the queue."""
    drill = Drill(capacity)
    for _ in range(60):
        drill.step(capacity // 4, capacity // 4, seconds=0.02)
        drill.level = max(drill.level, 3)
    assert drill.distrust() is None
    drill.level = capacity
    drill.show(pressing=1)
    assert (True, 1.0) == (drill.model.holding, drill.model.gain)
    drill.step(1, 1, seconds=0.02, pressing=1)

    assert drill.model.gain > 1


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda d: setattr(d, "now", d.now - 10), "clock"),
        (lambda d: setattr(d, "now", d.now + 3600), "clock"),
        (lambda d: setattr(d, "now", math.nan), "clock"),
        (lambda d: setattr(d, "now", math.inf), "clock"),
        (lambda d: setattr(d, "taken", 0), "counts"),
        (lambda d: setattr(d, "nowait", -5), "counts"),
        (lambda d: setattr(d.model.room, "peak", math.inf), "numbers"),
        (lambda d: setattr(d.model.pace, "_number", math.nan), "numbers"),
    ],
)
def test_what_cannot_be_is_not_learned_from(harm: Any, why: str) -> None:
    """The zones act, and it starts again from nothing."""
    drill = Drill().trained()
    harm(drill)
    drill.now += 0.025
    drill.show()
    assert why == drill.distrust()
    assert not drill.model.holding
    assert HOLD_AT == drill.model.threshold

    drill.now = 5000.0
    drill.model.sample(drill.now, drill.level, drill.taken, 0, drill.nowait, 0, lambda _: 0.0)
    for _ in range(60):
        drill.step(10, 10)
    assert drill.distrust() is None
    assert pytest.approx(400) == drill.model.pace.value


def test_a_long_rest_is_no_jump_of_the_clock() -> None:
    """A queue that is empty all night is as well known in the morning."""
    drill = Drill().trained()
    drill.to(0)
    drill.step(1, 1, seconds=8 * 3600)

    assert drill.distrust() is None


def test_a_record_worse_than_that_of_the_zones_gives_them_a_minute() -> None:
    """The model holds for ten seconds, the zones would have held nobody, and would have been as low."""
    drill = Drill().trained()
    drill.to(660, 10, pressing=4)
    for _ in range(int(9 / 0.025)):
        drill.step(10, 10, pressing=4)
    assert drill.distrust() is None
    for _ in range(int(3 / 0.025)):
        drill.step(10, 10, pressing=4)
    assert "record" == drill.distrust()
    for _ in range(int(55 / 0.025)):
        drill.step(10, 10)
    assert "record" == drill.distrust()
    for _ in range(int(6 / 0.025)):
        drill.step(10, 10)
    assert drill.distrust() is None


def test_the_shadow_asks_as_much_as_the_zones_do() -> None:
    """One producer that presses against a consumer of 100 a second waits for each take: all the time."""
    shadow = Shadow()
    for _ in range(500):
        shadow.add(0.02, 0, 0, 2, 1, 100.0, 0.010)

    assert pytest.approx(10, rel=0.5) == shadow.asked / 2


def test_the_same_traffic_makes_the_same_model() -> None:
    """There is no chance in it."""

    def run() -> dict[str, Any]:
        drill = Drill().trained()
        for number in range(400):
            drill.step(number * 7 % 31, number * 5 % 23, nowait=number * 3 % 11, pressing=number % 9)
        return drill.model.statistics()

    assert run() == run()


def test_a_model_takes_less_than_a_kilobyte() -> None:
    """With all numbers and parts that it alone refers to, after a time in which all of them have changed."""
    drill = Drill().trained()
    for number in range(400):
        drill.step(number * 7 % 31, number * 5 % 23, nowait=number * 3 % 11, pressing=number % 9)
    seen: dict[int, int] = {}

    def count(part: Any) -> None:
        shared = (str, bool, Tuning, type(None))
        if id(part) not in seen and not isinstance(part, shared) and part not in range(257):
            seen[id(part)] = sys.getsizeof(part)
            for name in getattr(type(part), "__slots__", ()):
                count(getattr(part, name))

    count(drill.model)
    assert len(seen) > 15
    assert sum(seen.values()) < 1000


# -- in the throttle ----------------------------------------------------------------------------------


def test_a_mode_may_be_named_and_no_other() -> None:
    """By its name, or in a plan."""
    assert "learned" == BoundedQueue[int](throttle="learned").statistics().throttle["mode"]
    assert "observe" == BoundedQueue[int](throttle=ThrottlePlan(mode="observe")).statistics().throttle["mode"]
    for make in (BoundedQueue, EventBus):
        with pytest.raises(ValueError, match="fixed, learned or observe"):
            make(throttle="clever")
    with pytest.raises(ValueError, match="fixed, learned or observe"):
        EventBus().configure(throttle="clever")


def test_without_delays_there_is_no_model() -> None:
    """Who asks for no throttle gets none."""
    plan = ThrottlePlan(yellow_delay=(0, 0), red_delay=(0, 0), mode="learned")

    assert "fixed" == BoundedQueue[int](throttle=plan).statistics().throttle["why"]


class Traffic:
    """A queue of 1,000 with a model that has learned its consumer's pace, 400 a second, on a clock moved by hand."""

    def __init__(self, mode: str = "learned", **options: Any) -> None:
        self.time = ManualTime()
        self.queue: BoundedQueue[int] = BoundedQueue(
            1000, throttle=mode, clock=self.time, sleep=self.time.sleep, slice_seconds=math.inf, **options
        )

    async def learn(self) -> None:
        """Bring the model to where it is trusted."""
        for _ in range(60):
            self.queue.put_nowait(0)
        for _ in range(60):
            await self.run(10)

    async def run(self, number: int) -> None:
        """Put and take so many in 25 ms."""
        self.time.jump(0.025)
        for _ in range(number):
            await self.queue.put(0)
        for _ in range(number):
            await self.queue.get()

    def fill(self, level: int) -> None:
        """Put, without waiting, up to a level."""
        while len(self.queue) < level:
            self.queue.put_nowait(0)


async def test_a_put_is_held_from_the_threshold_on_until_items_are_taken() -> None:
    """The zones would have delayed it from 30 % on."""
    traffic = Traffic()
    await traffic.learn()
    queue = traffic.queue
    threshold = queue.statistics().throttle["threshold"]
    for _ in range(threshold - len(queue) - 1):
        await queue.put(0)
    assert 0 == queue.statistics().throttled
    await queue.put(0)
    assert "hold" == queue.statistics().throttle["state"]

    put = asyncio.ensure_future(queue.put(1))
    await turns()
    assert not put.done()
    await queue.get()
    await turns()
    assert put.done()
    assert 0 == queue.statistics().throttled_now


async def test_a_cancelled_put_leaves_nothing_behind() -> None:
    """Nobody is let go in its place twice, and the others go on in their order."""
    traffic = Traffic()
    await traffic.learn()
    queue = traffic.queue
    for _ in range(HOLD_AT - len(queue)):
        await queue.put(0)
    puts = [asyncio.ensure_future(queue.put(number)) for number in range(1, 5)]
    await turns()
    puts[0].cancel()
    await turns()
    assert 3 == queue.statistics().throttled_now
    assert HOLD_AT == len(queue)

    await queue.get()
    await turns()
    assert [True, False, False] == [put.done() for put in puts[1:]]
    for put in puts[2:]:
        put.cancel()
    await turns()
    assert 0 == queue.statistics().throttled_now
    assert 0 == traffic.time.sleepers
    assert HOLD_AT == len(queue)


def test_nobody_is_held_longer_than_the_fill_allows() -> None:
    """As usual up to 60 %, longest from 90 % on, however late a turn would come."""
    drill = Drill().trained()
    drill.to(701)
    usual, half, longest = USUAL_HOLD, (USUAL_HOLD + LONGEST_HOLD) / 2, LONGEST_HOLD
    for level, seconds in ((300, usual), (600, usual), (750, half), (900, longest), (1000, longest)):
        assert pytest.approx(seconds) == drill.model.longest(drill.now, level, 5000, 0.0)


def test_a_calm_queue_holds_nobody_longer_than_the_zones_would() -> None:
    """It is calm until the level was above 70 %, and again a minute after it was so for the last time."""
    drill = Drill().trained()
    model = drill.model
    drill.to(700)
    assert model.holding
    assert 0.01 == model.longest(drill.now, 700, 5000, 0.01)
    assert 0.0 == model.longest(drill.now, 250, 5000, 0.0)
    drill.to(701)
    assert model.longest(drill.now, 701, 5000, 0.01) > 0.5
    drill.to(650)
    for _ in range(59 * 40):
        drill.step(10, 10, pressing=1)
    assert model.longest(drill.now, 650, 5000, 0.01) > 0.5
    for _ in range(2 * 40):
        drill.step(10, 10, pressing=1)
    assert 0.01 == model.longest(drill.now, 650, 5000, 0.01)


@pytest.mark.parametrize(("capacity", "stand"), [(1000, False), (ROOMY - 1, True)])
def test_a_plain_rule_and_a_small_queue_know_no_calm(capacity: int, stand: bool) -> None:
    """They hold from the first time on."""
    drill = Drill(capacity, Tuning(stand=stand)).trained()
    drill.to(capacity * 66 // 100)

    assert drill.model.holding
    assert drill.model.longest(drill.now, drill.level, 5000, 0.01) > 0.5


async def test_a_put_goes_on_though_the_consumer_stands_still() -> None:
    """It is held, but not for ever."""
    traffic = Traffic()
    await traffic.learn()
    traffic.fill(748)
    await traffic.time.advance(0.1)
    traffic.fill(749)  # lets the hold go, for nobody pressed
    traffic.fill(750)
    put = asyncio.ensure_future(traffic.queue.put(1))
    await traffic.time.advance((USUAL_HOLD + LONGEST_HOLD) / 2 - 0.03)
    assert not put.done()
    await traffic.time.advance(0.06)

    assert put.done()


async def test_observing_the_zones_act_and_the_model_reports() -> None:
    """At 30 % the zones delay a put, whatever the model says."""
    traffic = Traffic("observe")
    await traffic.learn()
    traffic.fill(300)
    put = asyncio.ensure_future(traffic.queue.put(1))
    await turns()
    assert not put.done()
    assert "free" == traffic.queue.statistics().throttle["state"]
    put.cancel()
    traffic.time.jump(0.025)
    traffic.fill(700)
    assert "hold" == traffic.queue.statistics().throttle["state"]


async def test_observing_sees_what_happens_between_two_samples() -> None:
    """A level that reaches the threshold is a hold, and one that falls to nothing says that the consumer had a rest."""
    traffic = Traffic("observe")
    await traffic.learn()
    pace = traffic.queue.statistics().throttle["pace"]
    traffic.fill(700)
    assert 1 == traffic.queue.statistics().throttle["holds"]

    for _ in range(700):
        await traffic.queue.get()
    traffic.fill(60)
    await traffic.run(1)
    assert pace == traffic.queue.statistics().throttle["pace"]


@pytest.mark.parametrize("mailboxes", [1, 2])
async def test_only_what_cannot_wait_needs_room(mailboxes: int) -> None:
    """Publishers that can wait are told apart from the others in the fast path too."""
    time = ManualTime()
    bus = EventBus(throttle="observe", clock=time, sleep=time.sleep)

    gate = asyncio.Event()

    async def handle(event: Event) -> None:
        if event.data["stays"]:
            await gate.wait()

    def event(stays: bool = True) -> Event:
        return Event("t", {"stays": stays}, "test")

    for _ in range(mailboxes):
        bus.subscribe("t", handle)
    for _ in range(290):  # as full as it has been is the end of the fast path
        await bus.publish(event(stays=False))
    await bus.join()
    time.jump(0.025)
    for _ in range(200):
        await bus.publish(event())
    for _ in range(100):
        bus.publish_nowait(event())
    time.jump(0.025)
    for _ in range(10):
        bus.publish_nowait(event())

    time.jump(0.025)
    bus.publish_nowait(event())
    gate.set()
    await bus.join()
    time.jump(0.025)
    bus.publish_nowait(event())

    for row in bus.statistics()["queues"]:
        assert pytest.approx(111, abs=3) == row["throttle"]["room"]
    await bus.aclose(drain=False)


async def test_a_broken_model_is_turned_off_once_and_the_zones_act(caplog: pytest.LogCaptureFixture) -> None:
    """One log line, without the error's text; no caller sees it; it stays off."""
    traffic = Traffic()
    await traffic.learn()
    queue = traffic.queue
    assert queue.throttle.forecast is not None
    queue.throttle.forecast.room = None  # type: ignore[assignment]
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await traffic.run(10)
    assert 1 == len(caplog.records)
    assert "AttributeError" in caplog.text
    assert {"mode": "learned", "state": "zones", "why": "error"} == queue.statistics().throttle

    traffic.fill(300)
    put = asyncio.ensure_future(queue.put(1))
    await turns()
    assert not put.done()
    put.cancel()


async def test_a_change_is_reported_at_most_once_a_second() -> None:
    """With what it was before and why."""
    news: list[dict[str, Any]] = []
    traffic = Traffic(on_throttle=lambda name, change: news.append({"queue": name, **change}))
    await traffic.learn()
    assert [("queue", "free", "zones")] == [(one["queue"], one["state"], one["was"]) for one in news]
    for _ in range(20):
        traffic.fill(660)
        traffic.time.jump(0.1)
        while len(traffic.queue) > 60:
            await traffic.queue.get()
        traffic.time.jump(0.1)

    assert 2 <= len(news) <= 5
    assert "threshold" == next(one for one in news if one["state"] == "hold")["why"]


def test_what_a_rounding_error_leaves_of_a_wait_is_not_waited_for() -> None:
    """An alarm may ring a hair early; on a clock that stands still in between, another one would ring for ever."""
    queue: BoundedQueue[int] = BoundedQueue(100)
    for _ in range(50):
        queue.put_nowait(0)
    whole = queue.throttle.left(0.0, 0.0)

    assert whole > 0.005
    assert 0 == queue.throttle.left(0.0, whole - 1e-9)
