"""Async handlers and streams: bounded, in order, slow or stuck without harm to others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backend.backpressure import UNTHROTTLED
from backend.event_bus import DONE, Event, EventBus
from tests.support.manual_time import ManualTime, turns


def event(number: int = 0, type_: str = "x") -> Event:
    return Event(type=type_, data={"n": number}, source="test")


def calm(time: ManualTime | None = None, **kwargs: Any) -> EventBus:
    """A bus that does not throttle: only a full mailbox makes its publisher wait."""
    if time is not None:
        kwargs.update(clock=time, sleep=time.sleep)
    return EventBus(throttle=UNTHROTTLED, **kwargs)


class Shut:
    """An async handler that is held shut until `open.set()`; `began` and `got` list its events' numbers."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.began: list[int] = []
        self.got: list[int] = []

    async def __call__(self, e: Event) -> None:
        self.began.append(e.data["n"])
        await self.open.wait()
        self.got.append(e.data["n"])


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """Every test closes its bus, and no task of it is left."""
    yield
    await turns()
    assert {asyncio.current_task()} == asyncio.all_tasks()


def row(bus: EventBus, number: int = 0) -> dict[str, Any]:
    """The statistics of a mailbox or stream."""
    found: dict[str, Any] = bus.statistics()["queues"][number]
    return found


# -- mailboxes --------------------------------------------------------------------------------------


async def test_events_arrive_in_order_and_none_is_lost() -> None:
    """5,000 events through a mailbox of 1,000, with a handler that waits now and then."""
    bus = EventBus()
    got: list[int] = []

    async def handler(e: Event) -> None:
        if e.data["n"] % 100 == 0:
            await asyncio.sleep(0)
        got.append(e.data["n"])

    bus.subscribe("*", handler)
    for number in range(5000):
        await bus.publish(event(number))
    await bus.join()

    assert list(range(5000)) == got
    assert (5000, 5000, 0, 0) == tuple(row(bus)[key] for key in ("put", "taken", "dropped", "size"))
    await bus.aclose()


@pytest.mark.parametrize("together", [False, True])
async def test_exactly_its_capacity_is_accepted_while_the_handler_is_shut(together: bool) -> None:
    """The event in its hands counts; the 1,001st publisher waits, one after the other or all at once."""
    bus = calm()
    handler = Shut()
    bus.subscribe("*", handler)
    accepted = 0

    async def publish(number: int) -> None:
        nonlocal accepted
        await bus.publish(event(number))
        accepted += 1

    async def publish_all() -> None:
        for number in range(1500):
            await publish(number)

    tasks = (
        [asyncio.create_task(publish(number)) for number in range(1500)]
        if together
        else [asyncio.create_task(publish_all())]
    )
    await turns()
    assert 1000 == accepted
    assert (1000, 1.0, 500 if together else 1) == tuple(row(bus)[key] for key in ("size", "fill", "waiting_producers"))

    handler.open.set()
    await asyncio.gather(*tasks)
    await bus.join()
    assert list(range(1500)) == handler.got
    assert 1000 == row(bus)["peak"]
    await bus.aclose()


async def test_a_stuck_subscriber_harms_nobody_else() -> None:
    """Neither a plain handler, nor another mailbox, nor the publisher for longer than its patience."""
    time = ManualTime()
    bus = calm(time, capacity=3)
    plain: list[int] = []
    mailbox: list[int] = []

    async def quick(e: Event) -> None:
        mailbox.append(e.data["n"])

    stuck = Shut()
    bus.subscribe("*", stuck)
    bus.subscribe("*", quick)
    bus.subscribe("*", lambda e: plain.append(e.data["n"]))
    for number in range(3):
        assert bus.publish(event(number)) is DONE
    await turns()
    waiting = asyncio.create_task(_await(bus.publish(event(3))))
    await turns()
    assert [0, 1, 2, 3] == plain == mailbox
    assert not waiting.done()

    await time.advance(5)
    await waiting
    assert {"x": 1} == row(bus)["dropped_by_type"]
    stuck.open.set()
    await bus.join()
    assert [0, 2, 3] == stuck.got
    await bus.aclose()


async def _await(waiting: Any) -> None:
    await waiting


@pytest.mark.parametrize("essential", [False, True])
async def test_two_full_mailboxes_are_waited_for_at_the_same_time(essential: bool) -> None:
    """One hangs; the other gets the event as soon as it has room, whatever becomes of the first."""
    time = ManualTime()
    bus = calm(time, capacity=2, essential=lambda e: essential)
    stuck, quick = Shut(), Shut()
    bus.subscribe("*", stuck)
    bus.subscribe("*", quick)
    for number in range(2):
        await bus.publish(event(number))
    waiting = asyncio.create_task(_await(bus.publish(event(2))))
    await turns()
    assert [1, 1] == [row(bus, number)["waiting_producers"] for number in range(2)]
    await time.advance(3)
    quick.open.set()
    await turns()
    assert [0, 1, 2] == quick.got
    await time.advance(1.9)
    assert not waiting.done()

    await time.advance(0.2)  # 5 s in all, not 5 s again
    assert waiting.done() is not essential
    assert ({} if essential else {"x": 1}) == row(bus)["dropped_by_type"]
    assert {} == row(bus, 1)["dropped_by_type"]
    stuck.open.set()
    await waiting
    await bus.join()
    assert ([0, 1, 2] if essential else [0, 2]) == stuck.got
    assert [0, 1, 2] == quick.got
    await bus.aclose()


async def test_a_cancelled_publisher_leaves_all_lines() -> None:
    """The mailbox that had room in the meantime keeps the event; the other never gets it, and no place is lost."""
    bus = calm(capacity=2)
    stuck, quick = Shut(), Shut()
    bus.subscribe("*", stuck)
    bus.subscribe("*", quick)
    for number in range(2):
        await bus.publish(event(number))
    waiting = asyncio.create_task(_await(bus.publish(event(2))))
    await turns()
    quick.open.set()
    await turns()
    waiting.cancel()
    await turns()
    assert waiting.cancelled()
    assert [0, 0] == [row(bus, number)["waiting_producers"] for number in range(2)]
    stuck.open.set()
    await bus.join()

    assert ([0, 1], [0, 1, 2]) == (stuck.got, quick.got)
    for number in (3, 4):
        assert bus.publish(event(number)) is DONE
    await bus.aclose()


async def test_a_mailbox_with_room_drops_nothing() -> None:
    """Of two full mailboxes one has room again when the patience with the other is over."""
    time = ManualTime()
    bus = calm(time, capacity=4)
    stuck, slow = Shut(), asyncio.Semaphore(0)
    got: list[int] = []

    async def handler(e: Event) -> None:
        await slow.acquire()
        got.append(e.data["n"])

    bus.subscribe("*", stuck)
    bus.subscribe("*", handler)
    for number in range(4):
        await bus.publish(event(number))
    waiting = bus.publish(event(4))
    slow.release()
    slow.release()
    await turns()
    task = asyncio.create_task(_await(waiting))
    await time.advance(5)
    await task

    assert [{"x": 1}, {}] == [row(bus, number)["dropped_by_type"] for number in range(2)]
    for _ in range(3):
        slow.release()
    await turns()
    assert list(range(5)) == got
    await bus.aclose(drain=False)


async def test_a_full_mailbox_that_is_unsubscribed_does_not_end_the_wait_for_another() -> None:
    """The other one, as full, still gets the event when it has room."""
    bus = calm(capacity=2)
    first, second = Shut(), Shut()
    sub_id = bus.subscribe("*", first)
    bus.subscribe("*", second)
    for number in range(2):
        bus.publish_nowait(event(number))
    task = asyncio.create_task(_await(bus.publish(event(2))))
    await turns()
    bus.unsubscribe("*", sub_id)
    await turns()
    assert not task.done()
    second.open.set()
    await asyncio.wait_for(task, 5)
    await turns()

    assert [0, 1, 2] == second.got
    assert 0 == bus.statistics()["dropped_total"]
    await bus.aclose(drain=False)


async def test_a_publisher_that_waits_loses_little_and_costs_little() -> None:
    """It goes on soon after there is room, not after a slice of 250 events; the drain yields for it, then no more."""
    time = ManualTime()
    bus = calm(time, capacity=1000)
    gate = asyncio.Event()
    handled = went_on_after = turned = 0

    async def handler(e: Event) -> None:
        nonlocal handled
        if e.data["n"] == 0:
            await gate.wait()
        time.jump(0.00002)
        handled += 1

    async def publish() -> None:
        nonlocal went_on_after
        await bus.publish(event(1000))
        went_on_after = handled

    async def count() -> None:
        nonlocal turned
        while True:
            turned += 1
            await asyncio.sleep(0)

    bus.subscribe("*", handler)
    for number in range(1000):
        bus.publish_nowait(event(number))
    await turns()
    task = asyncio.create_task(publish())
    await turns()
    counting = asyncio.create_task(count())
    gate.set()
    await task
    await bus.join()
    counting.cancel()

    assert 1001 == handled
    assert 1 <= went_on_after <= 64
    assert turned <= 25
    await bus.aclose()


@pytest.mark.parametrize("every", [2, 34, 50])
@pytest.mark.parametrize("how", ["waits", "blocks the loop"])
async def test_a_publisher_does_not_starve_beside_free_places(how: str, every: int) -> None:
    """An event handled in no time says nothing about the next: the publisher gets the place that a slow one leaves."""
    time = ManualTime()
    bus = calm(time, capacity=40)
    longest = 0.0

    async def handler(e: Event) -> None:
        if e.data["n"] % every:
            if how == "waits":
                await time.sleep(0.2)
            else:
                time.jump(0.2)

    async def publish() -> None:
        nonlocal longest
        for number in range(200):
            start = time()
            await bus.publish(event(number))
            longest = max(longest, time() - start)

    bus.subscribe("*", handler)
    task = asyncio.create_task(publish())
    if how == "waits":
        await time.advance(60)
    await task
    await bus.join()

    assert 0.2 <= longest <= 0.2 * 2 + 1e-6
    assert (200, 0) == tuple(row(bus)[key] for key in ("taken", "dropped"))
    await bus.aclose()


async def test_nobody_overtakes_a_publisher_that_waits() -> None:
    """The handler goes on and there would be room: the fast lane stays shut while somebody stands in line."""
    bus = calm(capacity=10)
    got: list[int] = []
    step = asyncio.Semaphore(0)

    async def handler(e: Event) -> None:
        await step.acquire()
        got.append(e.data["n"])

    bus.subscribe("*", handler)
    for number in range(10):
        bus.publish_nowait(event(number))
    await turns()
    tasks = []
    for number in range(10, 30):
        tasks.append(asyncio.create_task(_await(bus.publish(event(number)))))
        await turns(1)
        if number % 2:
            step.release()
            await turns(number % 3)
    for _ in range(30):
        step.release()
    await asyncio.gather(*tasks)
    await bus.join()

    assert list(range(30)) == got
    await bus.aclose()


async def test_essential_events_wait_for_a_stuck_subscriber() -> None:
    """`publish` never loses them; a cancel of the publisher leaves the mailbox as it was."""
    time = ManualTime()
    bus = calm(time, capacity=2, essential=lambda e: True)
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(2):
        await bus.publish(event(number))
    first, second = (asyncio.create_task(_await(bus.publish(event(number)))) for number in (2, 3))
    await time.advance(60)
    assert not first.done()
    first.cancel()
    handler.open.set()
    await second
    await bus.join()

    assert [0, 1, 3] == handler.got
    assert first.cancelled()
    await bus.aclose()


async def test_publish_nowait_makes_room_at_once() -> None:
    """The oldest goes, or an older one with the same key; what was lost is counted by type."""
    bus = EventBus(capacity=3, conflate=lambda e: e.type if e.type == "state" else None)
    handler = Shut()
    bus.subscribe("*", handler)
    bus.publish_nowait(event(0, "state"))
    await turns()
    for number, type_ in enumerate(["x", "state", "state", "x", "y"], 1):
        bus.publish_nowait(event(number, type_))

    assert {"x": 1, "state": 1} == row(bus)["dropped_by_type"]
    figures = bus.statistics()
    assert (2, 1) == (figures["dropped_total"], figures["conflated_total"])
    handler.open.set()
    await bus.join()
    assert [0, 4, 5] == handler.got
    bus.unsubscribe("*", 1)
    figures = bus.statistics()
    assert (2, 1) == (figures["dropped_total"], figures["conflated_total"])
    await bus.aclose()


async def test_publish_nowait_lets_essential_events_in() -> None:
    """They push out others first; then the mailbox grows, up to twice its capacity."""
    bus = EventBus(capacity=2, essential=lambda e: e.type == "end")
    bus.subscribe("*", Shut())
    bus.publish_nowait(event())
    await turns()
    for number in range(6):
        bus.publish_nowait(event(number, "x" if number == 0 else "end"))

    assert {"x": 1, "end": 1} == row(bus)["dropped_by_type"]
    assert (5, 3, 2.5) == tuple(row(bus)[key] for key in ("size", "overflow", "fill"))
    await bus.aclose(drain=False)


async def test_the_throttle_slows_a_publisher_and_lets_it_go() -> None:
    """From 30 % on: 5 ms and more, but not longer than the handler needs for the next event."""
    time = ManualTime()
    bus = EventBus(capacity=10, clock=time, sleep=time.sleep)
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(2):
        assert bus.publish(event(number)) is DONE
    task = asyncio.create_task(_await(bus.publish(event(2))))
    await turns()
    assert 3 == row(bus)["size"]
    assert not task.done()
    await time.advance(0.0049)
    assert not task.done()
    await time.advance(0.0002)
    assert task.done()

    tasks = [asyncio.create_task(_await(bus.publish(event(number)))) for number in (3, 4, 5, 6)]
    await turns()
    assert 0 == row(bus)["reaction_seconds"]
    assert "red" == row(bus)["zone"]
    assert 4 == row(bus)["throttled_now"]
    tasks[0].cancel()
    handler.open.set()
    await asyncio.wait(tasks)
    await bus.join()
    assert list(range(7)) == handler.got, "a cancel in the pause does not take the event back"
    assert "green" == row(bus)["zone"]
    assert (0, 0) == (row(bus)["throttled_now"], time.sleepers)
    await bus.aclose()


async def test_a_throttled_publisher_waits_for_all_mailboxes_at_the_same_time() -> None:
    """Two handlers take their next events one after the other: when both have, the publisher goes on."""
    time = ManualTime()
    bus = EventBus(capacity=10, clock=time, sleep=time.sleep)
    steps = [asyncio.Semaphore(0) for _ in range(2)]

    def handler(step: asyncio.Semaphore) -> Any:
        async def handle(e: Event) -> None:
            await step.acquire()

        return handle

    for step in steps:
        bus.subscribe("*", handler(step))
    for number in range(8):
        bus.publish_nowait(event(number))
    await turns()
    task = asyncio.create_task(_await(bus.publish(event(8))))
    await turns()
    for step in reversed(steps):  # the second one first: it must not be waited for again
        assert not task.done()
        step.release()
        await turns()

    assert task.done()
    await bus.aclose(drain=False)


async def test_one_publish_waits_for_the_slowest_only() -> None:
    """Ten throttled mailboxes ask for 5 ms each; the publisher waits 5 ms, not 50."""
    time = ManualTime()
    bus = EventBus(capacity=10, clock=time, sleep=time.sleep)
    for _ in range(10):
        bus.subscribe("*", Shut())
    for number in range(2):
        await bus.publish(event(number))
    task = asyncio.create_task(_await(bus.publish(event(2))))
    await time.advance(0.0051)

    assert task.done()
    await bus.aclose(drain=False)


async def test_who_has_waited_for_room_has_waited_for_the_throttle_too() -> None:
    """A full mailbox asks for 0.5 s; after 1 s in line there is no pause on top. To wait there is to be throttled."""
    time = ManualTime()
    bus = EventBus(capacity=10, clock=time, sleep=time.sleep)
    step = asyncio.Semaphore(0)

    async def handler(e: Event) -> None:
        await step.acquire()

    bus.subscribe("*", handler)
    for number in range(10):
        bus.publish_nowait(event(number))
    await time.advance(60)
    task = asyncio.create_task(_await(bus.publish(event(10))))
    await time.advance(1)
    assert not task.done()
    step.release()
    await turns()

    assert task.done()
    assert (10, 0) == (row(bus)["size"], row(bus)["reaction_seconds"])
    await bus.aclose(drain=False)


async def test_a_mailbox_unsubscribed_while_a_publisher_waits_lets_it_go() -> None:
    """For room or in the throttle's pause, at once."""
    time = ManualTime()
    for throttle in (None, UNTHROTTLED):
        bus = EventBus(capacity=3, throttle=throttle, clock=time, sleep=time.sleep)
        sub_id = bus.subscribe("*", Shut())
        for number in range(3):
            bus.publish_nowait(event(number))
        task = asyncio.create_task(_await(bus.publish(event(3))))
        await turns()
        assert not task.done()
        bus.unsubscribe("*", sub_id)
        await turns()
        assert task.done()
        await bus.aclose(drain=False)


async def test_a_cancelled_future_in_a_handler_is_not_its_end() -> None:
    """A CancelledError that the handler ran into by itself costs its event; the next one is handled."""
    bus = EventBus()
    got: list[int] = []

    async def handler(e: Event) -> None:
        if e.data["n"] == 0:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        got.append(e.data["n"])

    bus.subscribe("*", handler)
    for number in range(2):
        await bus.publish(event(number))
    await bus.join()

    assert [1] == got
    assert 1 == bus.statistics()["handler_errors_total"]
    await bus.aclose()


async def test_a_mailbox_whose_task_was_cancelled_starts_again() -> None:
    """Somebody cancels all tasks of the loop: the event in hand is lost, the rest is delivered with the next."""
    bus = EventBus()
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(3):
        bus.publish_nowait(event(number))
    await turns()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await turns()
    assert [0] == handler.began
    handler.open.set()
    await bus.join()

    assert [1, 2] == handler.got
    figures = bus.statistics()
    assert (0, 1) == (figures["handler_errors_total"], figures["handlers_cancelled_total"])
    await bus.publish(event(3))
    await bus.join()
    assert [1, 2, 3] == handler.got
    await bus.aclose()


@pytest.mark.parametrize("publisher", [False, True])
async def test_who_waits_for_a_cancelled_mailbox_is_not_forgotten(publisher: bool) -> None:
    """A join and a publisher that wait while the mailbox's task is cancelled get their turn."""
    bus = calm(capacity=2, essential=lambda e: True)
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(2):
        bus.publish_nowait(event(number))
    await turns()
    drain = next(task for task in asyncio.all_tasks() if task.get_name().startswith("mailbox"))
    tasks = [asyncio.create_task(bus.join())]
    if publisher:
        tasks.append(asyncio.create_task(_await(bus.publish(event(2)))))
    await turns()
    drain.cancel()
    handler.open.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    await bus.join()

    assert ([1, 2] if publisher else [1]) == handler.got
    await bus.aclose()


async def test_a_loop_that_ends_takes_its_mailboxes_with_it() -> None:
    """`asyncio.run` cancels every task at its end: the mailboxes' obey, also while they wait for events."""
    bus = EventBus()

    def in_a_thread() -> None:
        async def main() -> None:
            bus.subscribe("*", Shut())
            bus.subscribe("y", Shut())
            bus.publish_nowait(event())
            await turns()

        asyncio.run(main())

    await asyncio.wait_for(asyncio.to_thread(in_a_thread), 10)
    bus.close(discard=True)


async def test_an_idle_mailbox_holds_on_to_no_event() -> None:
    """Somebody's text is not kept in memory until the next event."""
    bus = EventBus()

    class Data(dict[str, int]):
        """Counts how many of it there are."""

        alive = 0

        def __init__(self) -> None:
            super().__init__(n=0)
            Data.alive += 1

        def __del__(self) -> None:
            Data.alive -= 1

    async def handler(e: Event) -> None:
        await asyncio.sleep(0)

    bus.subscribe("*", handler)
    bus.publish_nowait(Event(type="x", data=Data(), source="test"))
    assert 1 == Data.alive
    await bus.join()
    gc.collect()

    assert 0 == Data.alive
    await bus.aclose()


async def test_a_handler_may_close_its_own_mailbox_in_a_fast_batch() -> None:
    """Hundreds of events wait; the handler unsubscribes itself without ever having waited."""
    bus = EventBus()
    got: list[int] = []

    async def handler(e: Event) -> None:
        got.append(e.data["n"])
        if e.data["n"] == 150:
            bus.unsubscribe("*", sub_id)

    sub_id = bus.subscribe("*", handler)
    for number in range(250):
        bus.publish_nowait(event(number))
    await turns()

    assert list(range(151)) == got
    await bus.aclose()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_an_eager_task_factory_does_not_run_handlers_in_the_publisher() -> None:
    """An async handler begins in a later turn of the loop, whatever the task factory."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    bus = EventBus()
    handler = Shut()
    bus.subscribe("*", handler)
    try:
        await asyncio.create_task(_await(bus.publish(event())))
        assert [] == handler.began
        handler.open.set()
        await bus.join()
        assert [0] == handler.got
    finally:
        loop.set_task_factory(None)
    await bus.aclose()


# -- join -------------------------------------------------------------------------------------------


async def test_join_waits_for_what_handlers_publish_too() -> None:
    """A chain of events through two mailboxes is over when join returns."""
    bus = EventBus()
    got: list[int] = []

    async def step(e: Event) -> None:
        await asyncio.sleep(0)
        if e.data["n"] < 5:
            bus.publish_nowait(event(e.data["n"] + 1, "y" if e.type == "x" else "x"))
        got.append(e.data["n"])

    bus.subscribe("x", step)
    bus.subscribe("y", step)
    bus.publish_nowait(event())
    await bus.join()

    assert list(range(6)) == got
    await bus.aclose()


async def test_a_cancelled_join_changes_nothing() -> None:
    """The mailbox goes on, and another join works."""
    bus = EventBus()
    handler = Shut()
    bus.subscribe("*", handler)
    bus.publish_nowait(event())
    task = asyncio.create_task(bus.join())
    await turns()
    task.cancel()
    await turns()
    handler.open.set()
    await bus.join()

    assert task.cancelled()
    assert [0] == handler.got
    await bus.aclose()


async def test_a_handler_that_joins_does_not_wait_for_itself() -> None:
    """But for all the others."""
    bus = EventBus()
    other = Shut()
    joined = asyncio.Event()

    async def handler(e: Event) -> None:
        await bus.join()
        joined.set()

    bus.subscribe("*", handler)
    bus.subscribe("*", other)
    bus.publish_nowait(event())
    await turns()
    assert not joined.is_set()
    other.open.set()
    await asyncio.wait_for(joined.wait(), 5)
    await bus.aclose()


async def test_handlers_that_join_do_not_wait_for_each_other() -> None:
    """Two at the same time, and one that has events behind the one that joins; who joins outside waits for all."""
    bus = EventBus()
    other = Shut()
    joined: list[tuple[str, int]] = []

    def joiner(name: str) -> Any:
        async def handler(e: Event) -> None:
            await bus.join()
            joined.append((name, e.data["n"]))

        return handler

    for name in "ab":
        bus.subscribe("*", joiner(name))
    bus.subscribe("*", other)
    for number in range(2):
        bus.publish_nowait(event(number))
    await turns()
    assert [] == joined
    other.open.set()
    await asyncio.wait_for(bus.join(), 5)

    assert [("a", 0), ("a", 1), ("b", 0), ("b", 1)] == sorted(joined)
    await bus.aclose()


async def test_made_up_types_do_not_fill_the_memory_when_they_are_dropped() -> None:
    """Drops are counted for so many types, by each mailbox and for threads; the rest is added up."""
    bus = EventBus(capacity=10, throttle=UNTHROTTLED)
    bus.subscribe("*", Shut())
    for number in range(600):
        bus.publish_nowait(event(number, f"job.{number}"))
    for number in range(11_000):
        bus.publish_threadsafe(event(number, f"job.{number}"))

    for dropped, total in ((row(bus)["dropped_by_type"], 590), (bus.statistics()["threads"]["dropped_by_type"], 1000)):
        assert total == sum(dropped.values())
        assert dropped["(other types)"] > 0
        assert len(dropped) <= 257
    await bus.aclose(drain=False)


async def test_an_event_in_hand_is_held_and_not_taken() -> None:
    """`put` is size + taken + conflated + dropped, also while a handler is at work."""
    bus = calm(capacity=2)
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(3):
        bus.publish_nowait(event(number))
        await turns()
        figures = row(bus)
        assert figures["put"] == figures["size"] + figures["taken"] + figures["dropped"] - figures["refused"]
        assert 0 == figures["taken"]
    handler.open.set()
    await bus.join()
    assert (3, 0, 2, 1) == tuple(row(bus)[key] for key in ("put", "size", "taken", "dropped"))
    await bus.aclose()


# -- the end ----------------------------------------------------------------------------------------


async def test_aclose_delivers_what_is_there() -> None:
    """Then no task is left, and closing again is fine."""
    bus = EventBus()
    got: list[int] = []

    async def handler(e: Event) -> None:
        await asyncio.sleep(0)
        got.append(e.data["n"])

    bus.subscribe("*", handler)
    for number in range(5):
        bus.publish_nowait(event(number))
    await bus.aclose()
    await bus.aclose()

    assert list(range(5)) == got
    assert bus.statistics()["closed"]
    assert bus.publish(event()) is DONE
    assert "<EventBus closed, 0 subscriptions>" == repr(bus)


async def test_aclose_can_drop_what_is_there() -> None:
    """Handlers are cancelled, and what waited is counted as dropped."""
    bus = EventBus()
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(5):
        bus.publish_nowait(event(number))
    await turns()
    await bus.aclose(drain=False)

    assert ([0], []) == (handler.began, handler.got)
    assert 4 == bus.statistics()["dropped_total"]


@pytest.mark.parametrize("drain", [False, True])
async def test_an_event_that_finds_no_room_before_the_end_is_counted(drain: bool) -> None:
    """Its publisher waits, essential or not, when the bus closes: it goes on, and the loss is counted."""
    bus = calm(capacity=2, essential=lambda e: True)
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(2):
        bus.publish_nowait(event(number))
    task = asyncio.create_task(_await(bus.publish(event(2))))
    await turns()
    bus.close(discard=not drain)
    await asyncio.wait_for(task, 5)

    assert (1 if drain else 2) == bus.statistics()["dropped_total"]
    handler.open.set()
    await bus.aclose()
    assert ([0, 1] if drain else [0]) == handler.got


async def test_an_event_that_nobody_wants_any_more_is_no_loss() -> None:
    """Its publisher waits when the mailbox is unsubscribed."""
    bus = calm(capacity=1)
    sub_id = bus.subscribe("*", Shut())
    bus.publish_nowait(event(0))
    task = asyncio.create_task(_await(bus.publish(event(1))))
    await turns()
    bus.unsubscribe("*", sub_id)
    await asyncio.wait_for(task, 5)

    assert 0 == bus.statistics()["dropped_total"]
    await bus.aclose(drain=False)


async def test_aclose_does_not_wait_for_ever() -> None:
    """A handler that hangs is cancelled when the time is up, and what waited behind it is counted."""
    bus = EventBus()
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(5):
        bus.publish_nowait(event(number))
    await bus.aclose(timeout=0)

    assert [] == handler.got
    assert 5 >= bus.statistics()["dropped_total"] >= 4


async def test_a_cancelled_aclose_still_ends_everything() -> None:
    """Handlers are cancelled at once; a second aclose finds nothing to do."""
    bus = EventBus()
    handler = Shut()
    bus.subscribe("*", handler)
    bus.publish_nowait(event())
    await turns()
    task = asyncio.create_task(bus.aclose(timeout=60))
    await turns()
    task.cancel()
    await turns()

    assert task.cancelled()
    assert {asyncio.current_task()} == asyncio.all_tasks()
    await bus.aclose()


async def test_a_handler_that_ignores_its_cancel_is_left_behind(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a line in the log that names it."""
    monkeypatch.setattr("backend.bus.subscribers.CANCEL_PATIENCE", 0.01)
    bus = EventBus()
    enough = asyncio.Event()

    async def stubborn(e: Event) -> None:
        while not enough.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await enough.wait()

    bus.subscribe("*", stubborn, name="stubborn")
    bus.publish_nowait(event())
    await turns()
    await bus.aclose(drain=False)

    assert "mailbox of stubborn does not end" in caplog.text
    enough.set()
    await turns()


async def test_a_handler_may_close_the_bus_it_is_called_from() -> None:
    """Its own mailbox is not waited for; what waits in it is delivered after it."""
    bus = EventBus()
    got: list[int] = []

    async def handler(e: Event) -> None:
        if e.data["n"] == 0:
            await bus.aclose()
        got.append(e.data["n"])

    bus.subscribe("*", handler)
    for number in range(3):
        bus.publish_nowait(event(number))
    await turns()

    assert [0, 1, 2] == got


async def test_unsubscribing_lets_the_event_in_hand_finish() -> None:
    """What waits behind it is dropped, but is no loss: nobody wants it any more."""
    bus = EventBus()
    handler = Shut()
    sub_id = bus.subscribe("*", handler)
    for number in range(3):
        bus.publish_nowait(event(number))
    await turns()
    bus.unsubscribe("*", sub_id)
    handler.open.set()
    await bus.join()

    assert [0] == handler.got
    assert 0 == bus.statistics()["dropped_total"]
    await turns()
    assert not bus._subscriptions.retired
    await bus.aclose()


# -- streams ----------------------------------------------------------------------------------------


async def test_a_stream_gives_out_events_until_it_is_left() -> None:
    """From the moment it is entered; leaving it unsubscribes."""
    bus = EventBus()
    await bus.publish(event(0))
    got: list[int] = []
    async with bus.stream("x") as events:
        for number in (1, 2, 3):
            await bus.publish(event(number))
        async for e in events:
            got.append(e.data["n"])
            if len(got) == 2:
                break

    assert [1, 2] == got
    assert not bus.has_subscribers("x")
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    assert 0 == bus.statistics()["dropped_total"]


async def test_a_stream_ends_with_the_bus() -> None:
    """After what is there has been read; at once if the bus drops it."""
    for discard, expected in ((False, [0, 1]), (True, [])):
        bus = EventBus()
        async with bus.stream("*") as events:
            for number in range(2):
                bus.publish_nowait(event(number))
            bus.close(discard=discard)
            assert expected == [e.data["n"] async for e in events]


async def test_a_stream_of_a_closed_bus_cannot_be_entered() -> None:
    """Like a subscription."""
    bus = EventBus()
    stream = bus.stream("*")
    bus.close()
    with pytest.raises(RuntimeError, match="closed"):
        async with stream:
            pass


async def test_aclose_without_drain_empties_streams_as_well() -> None:
    """A reader finds the end, and what it had not read is counted."""
    bus = EventBus()
    async with bus.stream("*") as events:
        for number in range(3):
            bus.publish_nowait(event(number))
        await bus.aclose(drain=False)
        assert [] == [e async for e in events]

    assert 3 == bus.statistics()["dropped_total"]


async def test_a_stream_need_not_be_a_block() -> None:
    """Simply iterated over, it begins with the loop; aclosing() works as well."""
    bus = EventBus()
    stream = bus.stream("*")
    task = asyncio.create_task(_first(stream))
    await turns()
    await bus.publish(event(7))
    assert 7 == (await task).data["n"]

    async with contextlib.aclosing(bus.stream("*")) as events:
        aiter(events)
        assert 2 == len(bus.statistics()["queues"])
    assert 1 == len(bus.statistics()["queues"])
    stream.close()
    stream.close()
    assert 0 == len(bus.statistics()["queues"])


async def _first(stream: Any) -> Event:
    async for e in stream:
        return e  # type: ignore[no-any-return]
    raise AssertionError("the stream ended")


async def test_a_forgotten_stream_cleans_up() -> None:
    """Broken out of and dropped: the garbage collector unsubscribes it, in whatever thread it runs."""
    bus = EventBus()
    await bus.publish(event())
    for _ in range(2):
        stream = bus.stream("*")
        task = asyncio.create_task(_first(stream))
        await turns()
        await bus.publish(event())
        await task
        del stream, task
        gc.collect()
        await turns()
        assert not bus.has_subscribers("x")

    holder = [bus.stream("*")]
    aiter(holder[0])
    assert bus.has_subscribers("x")
    await asyncio.to_thread(holder.clear)
    await turns()
    assert not bus.has_subscribers("x")


async def test_a_cancelled_reader_loses_no_event() -> None:
    """Not even one that was promised to it in the same turn; the next reader gets it."""
    bus = EventBus()
    async with bus.stream("*") as events:
        task = asyncio.create_task(_first(events))
        await turns()
        bus.publish_nowait(event(1))
        task.cancel()
        await turns()

        assert task.cancelled()
        assert 1 == (await anext(events)).data["n"]


async def test_readers_of_one_stream_share_its_events() -> None:
    """Each event goes to one of them."""
    bus = EventBus()
    got: list[int] = []
    async with bus.stream("*") as events:

        async def read() -> None:
            async for e in events:
                got.append(e.data["n"])

        tasks = [asyncio.create_task(read()) for _ in range(3)]
        await bus.publish_many(event(number) for number in range(100))
        await turns()
        bus.close()
        await asyncio.gather(*tasks)

    assert list(range(100)) == sorted(got)


async def test_a_slow_reader_slows_the_publisher() -> None:
    """A stream is bounded like a mailbox."""
    bus = calm(capacity=5)
    async with bus.stream("*") as events:
        task = asyncio.create_task(bus.publish_many(event(number) for number in range(20)))
        await turns()
        assert (5, 1) == (row(bus)["size"], row(bus)["waiting_producers"])
        assert list(range(20)) == [(await anext(events)).data["n"] for _ in range(20)]
        assert 20 == await task
    await bus.aclose()


async def test_publish_many_can_be_cancelled_while_it_waits() -> None:
    """What was published before stays published."""
    bus = calm(capacity=5)
    async with bus.stream("*") as events:
        task = asyncio.create_task(bus.publish_many(event(number) for number in range(20)))
        await turns()
        task.cancel()
        await turns()
        bus.close()
        assert list(range(5)) == [e.data["n"] async for e in events]
    assert task.cancelled()
