"""A mailbox's task: made and made again, cancelled by others, on one loop after another, or with no loop at all."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backend.event_bus import Event, EventBus
from tests.support.manual_time import turns
from tests.support.net import PATIENCE


def event(number: int = 0, type_: str = "x") -> Event:
    return Event(type=type_, data={"n": number}, source="test")


class Box:
    """A bus with one mailbox, whose handler notes what it gets; `instead` may do something else first."""

    def __init__(self, instead: Callable[[int], Awaitable[object]] | None = None) -> None:
        self.bus = EventBus()
        self.got: list[int] = []
        self._instead = instead
        self.bus.subscribe("*", self.handle)

    async def handle(self, e: Event) -> None:
        if self._instead is not None:
            await self._instead(e.data["n"])
        self.got.append(e.data["n"])

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            self.bus.publish_nowait(event(number))

    @property
    def size(self) -> int:
        size: int = self.bus.statistics()["queues"][0]["size"]
        return size


def task_of_mailbox() -> asyncio.Task[Any]:
    """The only one there is."""
    (task,) = [task for task in asyncio.all_tasks() if task.get_name().startswith("mailbox")]
    return task


async def hang(number: int) -> None:
    """For ever, at the first event."""
    if number == 0:
        await asyncio.Event().wait()


# -- without a loop, in the wrong thread ------------------------------------------------------------


def test_events_published_before_the_loop_runs_are_delivered_with_the_next() -> None:
    """A custom node publishes while it is imported: its events wait, and nothing is lost."""
    box = Box()
    box.publish(0, 1)
    assert 2 == box.size

    async def main() -> None:
        box.publish(2)
        await box.bus.join()
        await box.bus.aclose()

    asyncio.run(main())
    assert [0, 1, 2] == box.got


@pytest.mark.parametrize("how", ["bind", "join", "aclose", "close"])
def test_events_published_before_the_loop_runs_need_no_further_one(how: str) -> None:
    """Whoever makes the loop known, or waits for the mailboxes, sets them going."""
    box = Box()
    box.publish(0, 1)
    if how == "close":
        box.bus.close()

    async def main() -> None:
        if how == "bind":
            box.bus.bind()
            await turns()
            assert [0, 1] == box.got
        elif how == "join":
            await box.bus.join()
            assert [0, 1] == box.got
        await box.bus.aclose()

    asyncio.run(main())
    assert [0, 1] == box.got
    assert 0 == box.bus.statistics()["dropped_total"]
    assert not box.bus._subscriptions.retired


@pytest.mark.parametrize("how", ["nowait", "coroutine", "another loop"])
async def test_a_mailbox_survives_a_publish_in_the_wrong_thread(how: str) -> None:
    """It is not allowed; the event waits for the next one then, and the mailbox goes on as before."""
    threads: set[int] = set()

    async def instead(number: int) -> None:
        threads.add(threading.get_ident())

    box = Box(instead)
    box.publish(0)
    await box.bus.join()
    loop = asyncio.get_running_loop()

    def in_a_thread() -> None:
        if how == "nowait":
            box.publish(1)
        elif how == "coroutine":  # looks right, but publish() has published when the call returns
            asyncio.run_coroutine_threadsafe(box.bus.publish(event(1)), loop).result(5)
        else:

            async def main() -> None:
                box.publish(1)
                await turns()

            asyncio.run(main())

    await asyncio.to_thread(in_a_thread)
    await turns()
    box.publish(2)
    await asyncio.wait_for(box.bus.join(), PATIENCE)

    assert [0, 1, 2] == box.got
    assert {threading.get_ident()} == threads
    await box.bus.aclose()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("busy", [False, True])
def test_a_mailbox_leaves_a_loop_that_was_closed_without_a_word(busy: bool) -> None:
    """No task was cancelled there. On the next loop it delivers what waits; the event in hand is lost."""
    box = Box(hang if busy else None)

    async def first() -> None:
        box.publish(0)
        await turns()
        if busy:
            box.publish(1)

    async def second() -> None:
        box.bus.bind()
        box.publish(2)
        await asyncio.wait_for(box.bus.join(), PATIENCE)
        assert 0 == box.size
        await box.bus.aclose()

    for main in (first, second):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
    gc.collect()

    assert ([1, 2] if busy else [0, 2]) == box.got


def test_two_loops_in_turn_do_not_share_a_mailboxs_task() -> None:
    """Each time the loop that runs delivers; a task left behind on the other one takes no event."""
    box = Box()
    loops = [asyncio.new_event_loop() for _ in range(2)]

    async def main(number: int) -> None:
        box.publish(number)
        await box.bus.join()

    for number in range(6):
        loops[number % 2].run_until_complete(main(number))
    assert list(range(6)) == box.got
    for loop in loops:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        assert not asyncio.all_tasks(loop)
        loop.close()


def test_a_task_left_behind_on_another_loop_ends_without_harm() -> None:
    """The mailbox is at work on a second loop by then; it still handles one event at a time."""
    gates: list[asyncio.Event] = []

    async def instead(number: int) -> None:
        if number == 1:
            gates.append(asyncio.Event())
            await gates[0].wait()

    box = Box(instead)
    first, second = (asyncio.new_event_loop() for _ in range(2))

    async def publish(number: int) -> None:
        box.publish(number)
        await turns()

    async def end() -> None:
        task_of_mailbox().cancel()
        await turns()

    async def finish() -> None:
        gates[0].set()
        await box.bus.join()
        await box.bus.aclose()

    first.run_until_complete(publish(0))
    second.run_until_complete(publish(1))
    first.run_until_complete(end())
    second.run_until_complete(publish(2))
    assert [0] == box.got
    assert 2 == box.size
    second.run_until_complete(finish())
    first.close()
    second.close()

    assert [0, 1, 2] == box.got


# -- cancelled by somebody else ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["returns", "raises"])
async def test_a_handler_that_makes_something_else_of_a_cancel_does_not_stop_the_end(kind: str) -> None:
    """Its clean-up fails, or it swallows the cancel: `asyncio.run` ends all the same."""

    async def instead(number: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if kind == "raises":
                raise ConnectionError from None

    box = Box(instead)

    def in_a_thread() -> None:
        async def main() -> None:
            box.publish(0)
            await turns()

        asyncio.run(main())

    await asyncio.wait_for(asyncio.to_thread(in_a_thread), PATIENCE)
    figures = box.bus.statistics()
    assert (int(kind == "raises"), 0) == (figures["handler_errors_total"], figures["handlers_cancelled_total"])
    box.bus.close(discard=True)


async def test_a_swallowed_cancel_costs_no_event_but_its_own() -> None:
    """The task ends before the next event, though it was in the middle of a batch; a new one goes on."""
    swallowed: list[asyncio.Task[Any] | None] = []

    async def instead(number: int) -> None:
        if number == 70:  # after some batches of fast events
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(asyncio.current_task())
        elif swallowed:
            assert asyncio.current_task() is not swallowed[0]

    box = Box(instead)
    box.publish(*range(200))
    await turns()
    assert list(range(70)) == box.got
    task_of_mailbox().cancel()
    await turns()

    assert list(range(200)) == box.got, "nobody had to come by"
    assert 0 == box.bus.statistics()["handler_errors_total"]
    figures = box.bus.statistics()["queues"][0]
    assert (200, 200) == (figures["put"], figures["taken"])
    await box.bus.aclose()


async def test_a_time_limit_in_a_handler_is_no_end() -> None:
    """`asyncio.timeout()` cancels the task it is in and takes that back: what waits behind it is delivered."""

    async def instead(number: int) -> None:
        task: Any = asyncio.current_task()
        if number == 0:
            task.cancel()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if hasattr(task, "uncancel"):
                    task.uncancel()

    box = Box(instead)
    box.publish(0, 1, 2)
    await turns()

    assert [0, 1, 2] == box.got, "nobody had to wait for them"
    await box.bus.aclose()


async def test_events_behind_one_that_ran_into_a_cancelled_future_come_by_themselves() -> None:
    """No further event and no join is needed."""

    async def instead(number: int) -> None:
        if number == 0:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    box = Box(instead)
    box.publish(0, 1, 2)
    await turns()

    assert [1, 2] == box.got
    await box.bus.aclose()


async def test_a_task_cancelled_before_it_ran_is_made_again() -> None:
    """In the turn in which the first event made it."""
    box = Box()
    box.publish(0)
    task_of_mailbox().cancel()
    await turns()
    box.publish(1, 2)
    await asyncio.wait_for(box.bus.join(), PATIENCE)

    assert [0, 1, 2] == box.got
    await box.bus.aclose()


@pytest.mark.parametrize("busy", [False, True])
async def test_an_event_after_the_cancel_starts_a_new_task(busy: bool) -> None:
    """Published in the same turn, when the old task has not ended yet: nobody has to come by later."""
    box = Box(hang if busy else None)
    box.publish(0)
    await turns()
    task_of_mailbox().cancel()
    box.publish(1)
    await turns()

    assert ([1] if busy else [0, 1]) == box.got
    await box.bus.aclose()


async def test_what_waited_before_the_cancel_lies_until_somebody_comes() -> None:
    """At the end of a loop everything is cancelled, and a new task would be left behind there."""
    box = Box(hang)
    box.publish(0, 1)
    await turns()
    task_of_mailbox().cancel()
    await turns()
    assert ([], 1) == (box.got, box.size), "the event that was in hand is not counted as waiting any more"
    assert {asyncio.current_task()} == asyncio.all_tasks()

    box.publish(2)
    await turns()
    assert [1, 2] == box.got
    await box.bus.aclose()


async def test_a_cancel_of_ours_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """aclose() cancels a handler that hangs: it is counted, but no error, and no line in the log."""
    box = Box(hang)
    box.publish(0)
    await turns()
    await box.bus.aclose(drain=False)

    figures = box.bus.statistics()
    assert (0, 1) == (figures["handler_errors_total"], figures["handlers_cancelled_total"])
    assert [] == caplog.records


async def test_aclose_waits_for_a_mailbox_whose_task_somebody_cancels_meanwhile() -> None:
    """What waits behind the event in hand is delivered by a new task, and that one is waited for, too."""
    box = Box(hang)
    box.publish(0, 1, 2)
    await turns()
    closing = asyncio.create_task(box.bus.aclose())
    await turns()
    task_of_mailbox().cancel()
    await asyncio.wait_for(closing, PATIENCE)

    assert [1, 2] == box.got
    assert {asyncio.current_task()} == asyncio.all_tasks()
