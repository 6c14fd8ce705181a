"""Layer 2 alone: the waiting line, exact under cancellation, and its timers."""

from __future__ import annotations

import asyncio

from backend.pressure.line import WaitingLine, WakeReason, make_timer
from tests.support.manual_time import ManualTime, turns
from tests.support.net import PATIENCE


class Line:
    """A line whose returned places are granted to the next, as a queue does it."""

    def __init__(self, time: ManualTime) -> None:
        self.line = WaitingLine(make_timer(time.sleep), self.returned)
        self.came: list[str] = []

    def returned(self) -> None:
        self.line.grant()

    async def stand(self, name: str, timeout: float | None = None) -> WakeReason:
        with self.line.enter() as ticket:
            why = await ticket.wait(timeout)
            if why is WakeReason.GRANTED:
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
            assert WakeReason.TIME_UP is await ticket.wait(5)
            assert WakeReason.GRANTED is await ticket.wait()
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
    assert WakeReason.GRANTED is await task
    assert 0 == line.line.reserved


async def test_closing_wakes_everybody() -> None:
    """And who waits again after that gets the same answer at once."""
    line = Line(ManualTime())
    tasks = [asyncio.create_task(line.stand(name)) for name in "ab"]
    await turns()
    line.line.close()

    assert [WakeReason.CLOSED] * 2 == await asyncio.gather(*tasks)
    assert [] == line.came


async def test_a_timer_of_the_loop_fires_and_can_be_cancelled() -> None:
    """Without an injected sleep the loop's own clock is used."""
    rang = asyncio.Event()
    never = asyncio.Event()
    timer = make_timer()
    timer(0, never.set).cancel()
    timer(0, rang.set)

    await asyncio.wait_for(rang.wait(), PATIENCE)
    assert not never.is_set()
