"""Waits lose no cancel, whatever happens in the same turn of the loop."""

from __future__ import annotations

import asyncio

import pytest

from backend.aio import cancel_all, close_all, ends, faults, forget_faults, kept_up, wait_set


async def test_a_cancel_in_the_turn_of_the_event_is_not_lost() -> None:
    """`asyncio.wait_for` returns normally here, before Python 3.12, and the task would run on."""
    event = asyncio.Event()
    waiter = asyncio.create_task(wait_set(event, 60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    event.set()
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter

    assert [asyncio.current_task()] == list(asyncio.all_tasks())


async def test_an_event_is_waited_for_and_its_absence_told() -> None:
    """True once it is set, also if it was before; False when the time is over."""
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)

    assert await wait_set(event, 60)
    assert await wait_set(event, 0)
    assert not await wait_set(asyncio.Event(), 0)


async def test_an_event_that_is_cleared_at_once_was_set() -> None:
    """Of several that wait for one place, the one that clears the event does not turn the others into time-outs."""
    event = asyncio.Event()
    waiting = [asyncio.create_task(wait_set(event, 60)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    event.set()
    event.clear()

    assert [True, True] == await asyncio.gather(*waiting)


async def test_ends_neither_cancels_nor_raises() -> None:
    """A task that still runs goes on; the error of one that failed is its owner's."""

    async def fail() -> None:
        raise ValueError

    running = asyncio.create_task(asyncio.Event().wait())
    failed = asyncio.create_task(fail())

    assert not await ends(running, 0)
    assert await ends(failed, 60)
    assert not running.done()
    assert isinstance(failed.exception(), ValueError)
    assert await cancel_all([running])


async def test_cancel_all_waits_for_the_clean_up() -> None:
    """When it returns nothing of the tasks runs; done ones, None and the caller's own task are passed over."""
    cleaned: list[int] = []

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(3)]
    await asyncio.sleep(0)

    assert await cancel_all([*tasks, None, asyncio.current_task()])
    assert [0, 1, 2] == sorted(cleaned)
    assert await cancel_all(tasks)


async def test_cancel_all_says_what_does_not_end_and_passes_a_cancel_on() -> None:
    """A task that takes its time is told after the limit; a cancelled caller does not wait for it."""
    may_end = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    assert not await cancel_all([task], 0)

    second = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    caller = asyncio.create_task(cancel_all([second]))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    may_end.set()

    assert await ends(task, 60)
    assert await ends(second, 60)


async def test_a_life_that_breaks_begins_anew_and_ends_by_a_cancel() -> None:
    """What broke is counted; a cancel reaches what runs, and is not lost where the clean-up breaks."""
    lives: list[str] = []

    async def run() -> None:
        lives.append("begun")
        if len(lives) < 3:
            raise KeyError("ours")
        try:
            await asyncio.Event().wait()
        finally:
            lives.append("ended")
            raise ValueError("in the clean-up")

    forget_faults()
    task = asyncio.ensure_future(kept_up(run, "the fleet", 0.0))
    while len(lives) < 3:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lives == ["begun", "begun", "begun", "ended"]
    assert [(row["missing"], row["count"]) for row in faults()] == [("the fleet", 2), ("the fleet", 1)]
    forget_faults()


async def test_a_life_that_breaks_over_a_time_limit_begins_anew() -> None:
    """A limit that has run out is a cancel inside, of which the life is not to end."""
    lives: list[str] = []
    going_on = asyncio.Event()

    async def run() -> None:
        lives.append("begun")
        if len(lives) > 1:
            going_on.set()
            await asyncio.Event().wait()
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        except asyncio.TimeoutError:
            raise KeyError("ours") from None

    forget_faults()
    task = asyncio.ensure_future(kept_up(run, "the fleet", 0.0))
    await asyncio.wait_for(going_on.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    forget_faults()


async def test_what_cannot_be_closed_leaves_nothing_else_open() -> None:
    """In order, whether they wait or not, whatever they return; a cancel passes."""
    closed: list[str] = []

    async def waits() -> None:
        await asyncio.sleep(0)
        closed.append("waits")

    def breaks() -> None:
        raise KeyError("ours")

    async def for_ever() -> None:
        await asyncio.Event().wait()

    forget_faults()
    await close_all(breaks, waits, lambda: closed.append("at once"), lambda: True)
    assert closed == ["waits", "at once"]
    assert [row["missing"] for row in faults()] == ["a clean stop"]
    closing = asyncio.ensure_future(close_all(for_ever, lambda: closed.append("too late")))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert "too late" not in closed
    forget_faults()
