"""Layer 4 alone: zones, and the throttle that delays producers by them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.pressure.forecast import LEARNED, LONGEST_HOLD
from backend.pressure.line import make_timer
from backend.pressure.throttle import RETURNS, UNTHROTTLED, Throttle, ThrottlePlan, Zone, ZoneMeter, pause_in_all
from tests.support.manual_time import ManualTime, turns

# -- zones ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "zone"),
    [
        (0, Zone.GREEN),
        (299, Zone.GREEN),
        (300, Zone.YELLOW),
        (699, Zone.YELLOW),
        (700, Zone.RED),
        (900, Zone.RED),
        (901, Zone.DEGRADED),
        (1000, Zone.DEGRADED),
    ],
)
def test_a_rising_level_enters_each_zone_where_it_begins(level: int, zone: Zone) -> None:
    """Yellow begins at 30 %, red at 70 %, degraded above 90 %."""
    meter = ZoneMeter(1000, ThrottlePlan())
    meter.note(level)

    assert zone is meter.zone


def test_a_zone_is_left_only_below_its_beginning() -> None:
    """A level that swings around a border by less than the hysteresis changes its zone once."""
    meter = ZoneMeter(1000, ThrottlePlan(hysteresis=0.05))

    changes = [meter.note(level) for level in (300, 299, 301, 250, 300, 251)]
    assert [True] + [False] * 5 == changes
    assert meter.note(249)
    assert Zone.GREEN is meter.zone


def test_an_empty_queue_of_any_size_is_green() -> None:
    """With room for one item, one is degraded and none is green."""
    meter = ZoneMeter(1, ThrottlePlan())

    assert [Zone.DEGRADED, Zone.GREEN] == [meter.zone for level in (1, 0) if meter.note(level)]


@pytest.mark.parametrize(
    ("level", "seconds"),
    [(299, 0), (300, 0.005), (500, 0.0075), (700, 0.1), (850, 0.3), (1000, 0.5), (1200, 0.5)],
)
def test_the_delay_grows_with_the_fill(level: int, seconds: float) -> None:
    """5 to 10 ms in yellow, 100 to 500 ms from red on, in straight lines."""
    meter = ZoneMeter(1000, ThrottlePlan())
    meter.note(level)

    assert pytest.approx(seconds) == meter.delay(level)


def test_in_the_hysteresis_the_delay_stays_at_the_least_of_its_zone() -> None:
    """A queue that has fallen to 280 of 1,000 is still yellow, and asks for 5 ms, not less."""
    meter = ZoneMeter(1000, ThrottlePlan())
    meter.note(400)
    meter.note(280)

    assert 0.005 == meter.delay(280)


@given(st.integers(1, 60), st.lists(st.integers(0, 70), max_size=40))
def test_between_floor_and_ceiling_nothing_changes(capacity: int, levels: list[int]) -> None:
    """What the fast path relies on: a level between floor and ceiling stays in its zone, others leave it."""
    meter = ZoneMeter(capacity, ThrottlePlan())
    for level in levels:
        inside = meter.floor <= level <= meter.ceiling
        assert meter.note(level) is not inside
        assert meter.floor <= level <= meter.ceiling
        assert level > 0 or meter.zone is Zone.GREEN


@pytest.mark.parametrize(
    "bad",
    [
        {"yellow_at": 0.8},
        {"degraded_above": 1.2},
        {"hysteresis": 0.5},
        {"hysteresis": -0.1},
        {"red_delay": (-1.0, 2.0)},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    """Zones out of order, a hysteresis larger than a zone, negative delays."""
    with pytest.raises(ValueError, match=r"must|cannot"):
        ThrottlePlan(**bad)


# -- the throttle -----------------------------------------------------------------------------------


def throttle_at(level: int, time: ManualTime, plan: ThrottlePlan | None = None) -> Throttle:
    throttle = Throttle(1000, plan or ThrottlePlan(), clock=time, timer=make_timer(time.sleep))
    throttle.note(level)
    return throttle


async def test_a_producer_waits_as_long_as_the_fill_asks_for() -> None:
    """7.5 ms in the middle of the yellow zone."""
    time = ManualTime()
    throttle = throttle_at(500, time)
    task = asyncio.create_task(throttle.pause())

    await time.advance(0.0074)
    assert not task.done()
    assert 1 == throttle.waiting
    await time.advance(0.0002)
    await task
    assert 1 == throttle.count
    assert pytest.approx(0.0075) == throttle.seconds


async def test_a_lower_zone_lets_producers_go() -> None:
    """In red they would wait 300 ms; in yellow 9 ms are enough, in green none."""
    time = ManualTime()
    throttle = throttle_at(850, time)
    first = asyncio.create_task(throttle.pause())
    await time.advance(0.02)
    second = asyncio.create_task(throttle.pause())
    await turns()
    throttle.release()
    await turns()
    assert not first.done()

    throttle.level = 600  # without items taken one by one, which would let them go by itself
    throttle.note(600)
    await turns()
    assert first.done()
    assert not second.done()
    throttle.note(0)
    await turns()
    assert second.done()
    assert not throttle.delaying


async def test_each_item_taken_lets_one_producer_go() -> None:
    """The first that waits goes on, in the same zone, long before its delay is over; the second waits on."""
    time = ManualTime()
    throttle = throttle_at(850, time)
    tasks = [asyncio.create_task(throttle.pause()) for _ in range(3)]
    await turns()
    tasks[0].cancel()
    throttle.note(849)
    await turns()

    assert tasks[1].done()
    assert not tasks[2].done()
    throttle.note(850)
    throttle.note(849)
    await tasks[2]
    assert 0 == time.sleepers


async def test_the_reaction_is_the_time_that_a_producer_was_not_made_to_wait() -> None:
    """From the crossing, or from its coming, if nobody came before: a quiet hour is no lag. The longest ever."""
    time = ManualTime()
    throttle = throttle_at(0, time)
    assert throttle.reaction is None
    for quiet, lag in ((3600, 0.02), (0, 0.01), (0.5, 0)):
        throttle.note(300)
        time.jump(quiet)
        came = time()
        time.jump(lag)
        task = asyncio.create_task(throttle.pause(came))
        await turns()
        throttle.note(0)
        await task
    throttle.note(300)
    time.jump(0.03)
    throttle.reacted(1.0)

    assert pytest.approx(0.03) == throttle.reaction


async def test_one_pause_in_several_throttles_is_as_long_as_the_longest() -> None:
    """Each lets go by its own items, whichever comes first; the pause is over when none holds any more."""
    time = ManualTime()
    red, yellow, green = (throttle_at(level, time) for level in (850, 500, 0))
    task = asyncio.create_task(pause_in_all((red, yellow, green)))
    await turns()
    assert [1, 1, 0] == [throttle.waiting for throttle in (red, yellow, green)]
    red.note(849)
    await turns()
    assert not task.done()
    yellow.note(499)
    await turns()
    assert task.done()

    task = asyncio.create_task(pause_in_all((red, yellow)))
    await time.advance(0.01)
    assert [1, 0] == [throttle.waiting for throttle in (red, yellow)]
    task.cancel()
    await turns()
    assert [0, 0, 0] == [red.waiting, yellow.waiting, time.sleepers]
    assert 2 == red.count
    assert pytest.approx(0.01) == red.seconds


@pytest.mark.parametrize("empty_at_once", [False, True])
async def test_producers_are_let_go_a_few_at_a_time(empty_at_once: bool) -> None:
    """Fifty that were all let go at once would fill the queue again: at most 16 in one turn of the loop."""
    time = ManualTime()
    throttle = throttle_at(850, time)
    tasks = [asyncio.create_task(throttle.pause()) for _ in range(50)]
    await turns()
    throttle.note(0 if empty_at_once else 800)
    assert (18 if empty_at_once else 34) == throttle.waiting
    await turns()

    assert (0 if empty_at_once else 34) == throttle.waiting
    throttle.release(go=True)
    await asyncio.gather(*tasks)


async def test_a_small_queue_lets_an_eighth_of_it_go_at_a_time() -> None:
    """Sixteen would fill a queue of 16 at once."""
    time = ManualTime()
    throttle = Throttle(16, ThrottlePlan(), clock=time, timer=make_timer(time.sleep))
    throttle.note(16)
    tasks = [asyncio.create_task(throttle.pause()) for _ in range(20)]
    await turns()
    throttle.note(15)
    waiting = throttle.waiting
    throttle.level = 0  # as if it had been emptied without items taken one by one
    throttle.note(0)

    assert (19, 17) == (waiting, throttle.waiting)
    throttle.release(go=True)
    await asyncio.gather(*tasks)


async def test_producers_that_look_again_wait_on() -> None:
    """In the turn in which a lower zone makes them look again, one item lets one go, not all of them."""
    time = ManualTime()
    throttle = throttle_at(850, time)
    tasks = [asyncio.create_task(throttle.pause()) for _ in range(3)]
    await turns()
    throttle.release()
    throttle.note(849)
    await turns()

    assert 1 == sum(task.done() for task in tasks)
    assert 2 == throttle.waiting
    throttle.release(go=True)
    await asyncio.gather(*tasks)


async def test_a_cancelled_pause_leaves_nothing() -> None:
    """No waiter, no timer; the time that was waited is counted."""
    time = ManualTime()
    throttle = throttle_at(850, time)
    task = asyncio.create_task(throttle.pause())
    await time.advance(0.1)
    task.cancel()
    await turns()

    assert task.cancelled()
    assert (0, 0) == (throttle.waiting, time.sleepers)
    assert pytest.approx(0.1) == throttle.seconds


async def test_a_pause_cancelled_in_its_first_look_leaves_nothing() -> None:
    """The first producer looks again after one turn of the loop; the next one does so too after its cancel."""
    time = ManualTime()
    throttle = throttle_at(850, time)
    for _ in range(2):
        task = asyncio.create_task(throttle.pause())
        await asyncio.sleep(0)
        assert [] == time.asked
        task.cancel()
        await turns()
        assert task.cancelled()
    assert 0 == throttle.waiting


async def test_unthrottled_reports_zones_and_never_delays() -> None:
    """For those who want the zones only."""
    throttle = throttle_at(950, ManualTime(), UNTHROTTLED)

    await throttle.pause()
    assert Zone.DEGRADED is throttle.zone
    assert (False, 0) == (throttle.delaying, throttle.count)


# -- who goes first -----------------------------------------------------------------------------------


class Ranks:
    """A throttle whose model holds, at a level that items taken bring down; who was let go, by name."""

    def __init__(self, mode: str = "learned") -> None:
        self.time = ManualTime()
        plan = ThrottlePlan(mode=mode, tuning=LEARNED._replace(guarded=False))
        self.level = 690
        self.throttle = Throttle(
            1000, plan, clock=self.time, timer=make_timer(self.time.sleep), counts=lambda: (1000 - self.level, 0, 0)
        )
        self.throttle.note(self.level)
        self.order: list[str] = []

    async def publish(self, name: str) -> None:
        """As `publish` does: the item is in already."""
        await self.throttle.pause(self.time())
        self.order.append(name)

    async def greedy(self, name: str, number: int) -> None:
        """So many, without a rest."""
        for one in range(number):
            await self.publish(f"{name} {one}")

    async def hold(self, publishes: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that does this; one more waits now."""
        before = self.throttle.waiting
        task = asyncio.ensure_future(publishes)
        await turns()
        assert before + 1 == self.throttle.waiting
        return task

    async def take(self, number: int = 1) -> None:
        """So many items, one after the other."""
        for _ in range(number):
            self.level -= 1
            self.throttle.note(self.level)
            await turns()


async def test_who_comes_back_at_once_stands_behind_those_who_do_not() -> None:
    """Who publishes now and then does not wait for somebody who publishes without a rest."""
    ranks = Ranks()
    tasks = [await ranks.hold(ranks.greedy("greedy", 3))]
    await ranks.take()
    assert (["greedy 0"], 1) == (ranks.order, ranks.throttle.waiting)  # it has come back
    tasks += [await ranks.hold(ranks.publish(name)) for name in ("first", "second")]
    await ranks.take(4)

    assert ["greedy 0", "first", "second", "greedy 1", "greedy 2"] == ranks.order
    await asyncio.gather(*tasks)
    assert not ranks.throttle.newcomers


@pytest.mark.parametrize("since", [True, False])
async def test_nobody_overtakes_where_the_zones_act_or_the_item_goes_in_later(since: bool) -> None:
    """Of items that go in after their pause the first to come is the first to go in."""
    ranks = Ranks("observe" if since else "learned")

    async def publish(name: str, number: int) -> None:
        for one in range(number):
            await ranks.throttle.pause(ranks.time() if since else None)
            ranks.order.append(f"{name} {one}")

    tasks = [await ranks.hold(publish("greedy", 2))]
    await ranks.take()
    tasks += [await ranks.hold(publish("modest", 1))]
    await ranks.take(2)

    assert ["greedy 0", "greedy 1", "modest 0"] == ranks.order
    await asyncio.gather(*tasks)


async def test_who_comes_back_later_does_not_stand_behind() -> None:
    """Nor does a task that was started by one that has just been let go, nor one whose publish was cancelled."""
    ranks = Ranks()
    ranks.throttle.note(ranks.level + 20)  # it is not calm any more: nobody's time is up soon
    ranks.time.jump(0.025)
    ranks.throttle.note(ranks.level + 20)
    children: list[asyncio.Task[None]] = []

    async def late() -> None:
        await ranks.publish("late 0")
        await ranks.time.sleep(2 * RETURNS)
        await ranks.publish("late 1")

    async def parent() -> None:
        await ranks.publish("parent 0")
        children.append(asyncio.ensure_future(ranks.publish("child")))
        await ranks.publish("parent 1")

    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await ranks.publish("cancelled")
        await ranks.publish("stubborn")

    tasks = [await ranks.hold(late()), await ranks.hold(parent()), await ranks.hold(stubborn())]
    ranks.level += 20
    await ranks.take(2)
    assert ["late 0", "parent 0"] == ranks.order
    tasks[2].cancel()
    await turns()
    assert 3 == ranks.throttle.waiting
    await ranks.time.advance(2 * RETURNS)
    assert 4 == ranks.throttle.waiting
    await ranks.take(4)

    assert ["late 0", "parent 0", "child", "stubborn", "late 1", "parent 1"] == ranks.order
    await asyncio.gather(*tasks, *children)
    assert not ranks.throttle.newcomers


async def test_whoever_the_zones_had_paused_is_not_overtaken_when_the_model_takes_over() -> None:
    """They had not come back, either."""
    ranks = Ranks()
    ranks.throttle.acting = False
    tasks = [await ranks.hold(ranks.publish(name)) for name in ("first", "second")]
    ranks.throttle.acting = True
    tasks += [await ranks.hold(ranks.publish("third"))]
    await ranks.take(3)

    assert ["first", "second", "third"] == ranks.order
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("end", ["cancel", "time", "go"])
async def test_who_waits_no_more_has_no_rank(end: str) -> None:
    """Whatever ended the wait."""
    ranks = Ranks()
    task = await ranks.hold(ranks.publish("one"))
    assert 1 == len(ranks.throttle.newcomers)
    if end == "cancel":
        task.cancel()
    elif end == "time":
        await ranks.time.advance(LONGEST_HOLD)
    else:
        ranks.throttle.release(go=True)
    await turns()

    assert task.done()
    assert not ranks.throttle.newcomers
    assert 0 == ranks.throttle.waiting
