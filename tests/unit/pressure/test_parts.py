"""The parts of back-pressure, each alone: zones, the line, making room, the throttle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.backpressure import (
    UNTHROTTLED,
    Buffer,
    Marked,
    RoomMaker,
    Throttle,
    ThrottlePlan,
    WaitingLine,
    Wake,
    Zone,
    ZoneMeter,
    make_timer,
    pause_in_all,
)
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
    meter.update(level)

    assert zone is meter.zone


def test_a_zone_is_left_only_below_its_beginning() -> None:
    """A level that swings around a border by less than the hysteresis changes its zone once."""
    meter = ZoneMeter(1000, ThrottlePlan(hysteresis=0.05))

    changes = [meter.update(level) for level in (300, 299, 301, 250, 300, 251)]
    assert [True] + [False] * 5 == changes
    assert meter.update(249)
    assert Zone.GREEN is meter.zone


def test_an_empty_queue_of_any_size_is_green() -> None:
    """With room for one item, one is degraded and none is green."""
    meter = ZoneMeter(1, ThrottlePlan())

    assert [Zone.DEGRADED, Zone.GREEN] == [meter.zone for level in (1, 0) if meter.update(level)]


@pytest.mark.parametrize(
    ("level", "seconds"),
    [(299, 0), (300, 0.005), (500, 0.0075), (700, 0.1), (850, 0.3), (1000, 0.5), (1200, 0.5)],
)
def test_the_delay_grows_with_the_fill(level: int, seconds: float) -> None:
    """5 to 10 ms in yellow, 100 to 500 ms from red on, in straight lines."""
    meter = ZoneMeter(1000, ThrottlePlan())
    meter.update(level)

    assert pytest.approx(seconds) == meter.delay(level)


def test_in_the_hysteresis_the_delay_stays_at_the_least_of_its_zone() -> None:
    """A queue that has fallen to 280 of 1,000 is still yellow, and asks for 5 ms, not less."""
    meter = ZoneMeter(1000, ThrottlePlan())
    meter.update(400)
    meter.update(280)

    assert 0.005 == meter.delay(280)


@given(st.integers(1, 60), st.lists(st.integers(0, 70), max_size=40))
def test_between_floor_and_ceiling_nothing_changes(capacity: int, levels: list[int]) -> None:
    """What the fast lane relies on: a level between floor and ceiling stays in its zone, others leave it."""
    meter = ZoneMeter(capacity, ThrottlePlan())
    for level in levels:
        inside = meter.floor <= level <= meter.ceiling
        assert meter.update(level) is not inside
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


# -- layer 2: the line ------------------------------------------------------------------------------


class Line:
    """A line whose returned places are granted to the next, as a queue does it."""

    def __init__(self, time: ManualTime) -> None:
        self.line = WaitingLine(make_timer(time.sleep), self.returned)
        self.came: list[str] = []

    def returned(self) -> None:
        self.line.grant()

    async def stand(self, name: str, timeout: float | None = None) -> Wake:
        with self.line.enter() as ticket:
            why = await ticket.wait(timeout)
            if why is Wake.GRANTED:
                ticket.use()
                self.came.append(name)
            return why


async def test_places_are_granted_in_order() -> None:
    """First come, first served; a grant to an empty line says so."""
    line = Line(ManualTime())
    tasks = [asyncio.create_task(line.stand(name)) for name in "abc"]
    await turns()

    assert line.line.grant()
    assert line.line.grant()
    assert 2 == line.line.reserved
    await turns()
    assert ["a", "b"] == line.came
    assert 0 == line.line.reserved
    assert line.line.grant()
    await asyncio.gather(*tasks)
    assert not line.line.grant()


async def test_a_cancel_after_the_grant_passes_the_place_on() -> None:
    """The wake-up of a task that is cancelled before it ran is not lost."""
    line = Line(ManualTime())
    tasks = [asyncio.create_task(line.stand(name)) for name in "ab"]
    await turns()

    line.line.grant()
    tasks[0].cancel()
    await turns()
    assert ["b"] == line.came
    assert 0 == line.line.reserved
    assert tasks[0].cancelled()


async def test_a_cancel_before_the_grant_leaves_the_line() -> None:
    """A grant in the same turn as the cancel goes to the next in line."""
    line = Line(ManualTime())
    tasks = [asyncio.create_task(line.stand(name)) for name in "ab"]
    await turns()

    tasks[0].cancel()
    line.line.grant()
    await turns()
    assert ["b"] == line.came
    assert 0 == len(line.line)


async def test_who_ran_out_of_time_keeps_its_place() -> None:
    """After `TIME_UP` a ticket may wait on, and is still the first."""
    time = ManualTime()
    line = Line(time)

    async def patient() -> None:
        with line.line.enter() as ticket:
            assert Wake.TIME_UP is await ticket.wait(5)
            assert Wake.GRANTED is await ticket.wait()
            ticket.use()
            line.came.append("patient")

    tasks = [asyncio.create_task(patient()), asyncio.create_task(line.stand("later"))]
    await time.advance(5)
    line.line.grant()
    await turns()
    assert ["patient"] == line.came
    line.line.grant()
    await asyncio.gather(*tasks)


async def test_a_grant_beats_an_alarm_of_the_same_moment() -> None:
    """Alarm first, grant second, task third: it has its place, and nothing is left over."""
    time = ManualTime()
    line = Line(time)
    task = asyncio.create_task(line.stand("a", timeout=5))
    await turns()

    time.jump(5)
    await asyncio.sleep(0)
    line.line.grant()
    assert Wake.GRANTED is await task
    assert 0 == line.line.reserved


async def test_closing_wakes_everybody() -> None:
    """And who waits again after that gets the same answer at once."""
    line = Line(ManualTime())
    tasks = [asyncio.create_task(line.stand(name)) for name in "ab"]
    await turns()
    line.line.close()

    assert [Wake.CLOSED] * 2 == await asyncio.gather(*tasks)
    assert [] == line.came


# -- layer 3: making room ---------------------------------------------------------------------------


def full(entries: list[Any], **kwargs: Any) -> tuple[Buffer[Any], RoomMaker[Any]]:
    buffer: Buffer[Any] = Buffer(len(entries))
    buffer.items.extend(entries)
    return buffer, RoomMaker(buffer, **kwargs)


def test_a_newer_item_takes_the_place_of_the_newest_with_its_key() -> None:
    """In place, so that the order among the rest is kept; older ones with that key stay."""
    buffer, room = full(["a1", "b1", "a2", "b2"], key=lambda item: item[0])

    assert room.conflate("a3")
    assert ["a1", "b1", "a3", "b2"] == list(buffer.items)
    assert not room.conflate("c1")
    assert 1 == room.conflated


def test_a_key_that_was_taken_is_not_found() -> None:
    """What has left the buffer cannot be replaced any more."""
    buffer, room = full(["a1", "b1"], key=lambda item: item[0])
    room.wake_up()
    buffer.take()

    assert not room.conflate("a2")
    assert room.conflate("b2")
    assert ["b2"] == list(buffer.items)


def test_the_oldest_item_goes_unless_it_is_essential() -> None:
    """Essential items stay, whether their mark or the predicate says so; drops are counted by type."""
    entries = ["E", Marked("m", None, True), "x", "F", "y"]
    buffer, room = full(entries, essential=str.isupper, label=str.lower)

    assert room.drop_oldest()
    assert room.drop_oldest()
    assert not room.drop_oldest()
    assert ["E", "m", "F"] == [entry.item if isinstance(entry, Marked) else entry for entry in buffer.items]
    assert {"x": 1, "y": 1} == room.dropped_by_type


def test_keys_are_found_after_a_drop_from_the_middle() -> None:
    """Dropping from behind essential items must not shift what the index knows."""
    buffer, room = full(["E", "a1", "b1", "c1"], key=lambda item: item[0], essential=lambda item: item == "E")

    assert room.drop_oldest()
    assert room.conflate("c2")
    assert ["E", "b1", "c2"] == list(buffer.items)
    assert not room.conflate("a2")


def test_an_essential_item_is_never_replaced() -> None:
    """Not by one with the same key; and an older one with its key may not jump ahead of it."""
    buffer, room = full([Marked("old", "k", False), Marked("end", "k", True)])

    assert not room.conflate(Marked("new", "k", False))
    assert ["old", "end"] == [entry.item for entry in buffer.items]


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "take", "conflate", "drop", "rest"]), st.sampled_from("abcABC")),
        max_size=60,
    )
)
def test_making_room_agrees_with_a_list(steps: list[tuple[str, str]]) -> None:
    """Against the plain model: a list searched from one end or the other. Upper case is essential."""
    buffer: Buffer[str] = Buffer(10)
    room: RoomMaker[str] = RoomMaker(buffer, key=lambda item: item[0].lower(), essential=lambda item: item[0].isupper())
    model: list[str] = []
    for number, (step, letter) in enumerate(steps):
        item = f"{letter}{number}"
        if step == "append":
            buffer.items.append(item)
            model.append(item)
            if room.active:
                room.added(item)
        elif step == "take" and model:
            assert model.pop(0) == buffer.take()
        elif step == "conflate":
            same = [at for at, other in enumerate(model) if other[0].lower() == letter.lower()]
            possible = bool(same) and model[same[-1]][0].islower()
            assert possible is room.conflate(item)
            if possible:
                model[same[-1]] = item
        elif step == "drop":
            at = next((at for at, other in enumerate(model) if other[0].islower()), None)
            assert (at is not None) is room.drop_oldest()
            if at is not None:
                del model[at]
        elif step == "rest":
            room.rest()
        assert model == list(buffer.items)


def test_the_index_of_keys_does_not_grow_for_ever() -> None:
    """A stream of ever new keys, each taken at once, leaves a bounded index."""
    buffer: Buffer[int] = Buffer(10)
    room: RoomMaker[int] = RoomMaker(buffer, key=lambda item: item)
    room.wake_up()
    for item in range(1000):
        buffer.items.append(item)
        room.added(item)
        buffer.take()

    assert len(room._index) <= 40


# -- layer 4: the throttle --------------------------------------------------------------------------


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


async def test_a_timer_of_the_loop_fires_and_can_be_cancelled() -> None:
    """Without an injected sleep the loop's own clock is used."""
    rang = asyncio.Event()
    never = asyncio.Event()
    timer = make_timer()
    timer(0, never.set).cancel()
    timer(0, rang.set)

    await asyncio.wait_for(rang.wait(), 5)
    assert not never.is_set()
