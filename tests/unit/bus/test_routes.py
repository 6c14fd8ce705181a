"""Publishers wait where it is full or slow, and only there; the loop gets its turn whatever they do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backend.backpressure import UNTHROTTLED
from backend.event_bus import DONE, Event, EventBus
from tests.support.bus import Shut, awaited, calm, event, row
from tests.support.manual_time import ManualTime, turns
from tests.support.net import PATIENCE

pytestmark = pytest.mark.usefixtures("no_task_left")


async def full_and_waiting(bus: EventBus) -> tuple[Shut, Shut, asyncio.Task[Any]]:
    """Two handlers that hang, their mailboxes for two filled with 0 and 1, and a publisher of 2 that waits for both."""
    stuck, quick = Shut(), Shut()
    bus.subscribe("*", stuck)
    bus.subscribe("*", quick)
    for number in range(2):
        await bus.publish(event(number))
    waiting = asyncio.create_task(awaited(bus.publish(event(2))))
    await turns()
    return stuck, quick, waiting


@pytest.mark.parametrize("essential", [False, True])
async def test_two_full_mailboxes_are_waited_for_at_the_same_time(essential: bool) -> None:
    """One hangs; the other gets the event as soon as it has room, whatever becomes of the first."""
    time = ManualTime()
    bus = calm(time, capacity=2, essential=lambda e: essential)
    stuck, quick, waiting = await full_and_waiting(bus)
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
    stuck, quick, waiting = await full_and_waiting(bus)
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
    task = asyncio.create_task(awaited(waiting))
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
    task = asyncio.create_task(awaited(bus.publish(event(2))))
    await turns()
    bus.unsubscribe("*", sub_id)
    await turns()
    assert not task.done()
    second.open.set()
    await asyncio.wait_for(task, PATIENCE)
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
    """The handler goes on and there would be room: the fast path stays shut while somebody stands in line."""
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
        tasks.append(asyncio.create_task(awaited(bus.publish(event(number)))))
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
    first, second = (asyncio.create_task(awaited(bus.publish(event(number)))) for number in (2, 3))
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
    task = asyncio.create_task(awaited(bus.publish(event(2))))
    await turns()
    assert 3 == row(bus)["size"]
    assert not task.done()
    await time.advance(0.0049)
    assert not task.done()
    await time.advance(0.0002)
    assert task.done()

    tasks = [asyncio.create_task(awaited(bus.publish(event(number)))) for number in (3, 4, 5, 6)]
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
    task = asyncio.create_task(awaited(bus.publish(event(8))))
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
    task = asyncio.create_task(awaited(bus.publish(event(2))))
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
    task = asyncio.create_task(awaited(bus.publish(event(10))))
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
        task = asyncio.create_task(awaited(bus.publish(event(3))))
        await turns()
        assert not task.done()
        bus.unsubscribe("*", sub_id)
        await turns()
        assert task.done()
        await bus.aclose(drain=False)


@pytest.mark.parametrize("drain", [False, True])
async def test_an_event_that_finds_no_room_before_the_end_is_counted(drain: bool) -> None:
    """Its publisher waits, essential or not, when the bus closes: it goes on, and the loss is counted."""
    bus = calm(capacity=2, essential=lambda e: True)
    handler = Shut()
    bus.subscribe("*", handler)
    for number in range(2):
        bus.publish_nowait(event(number))
    task = asyncio.create_task(awaited(bus.publish(event(2))))
    await turns()
    bus.close(discard=not drain)
    await asyncio.wait_for(task, PATIENCE)

    assert (1 if drain else 2) == bus.statistics()["dropped_total"]
    handler.open.set()
    await bus.aclose()
    assert ([0, 1] if drain else [0]) == handler.got


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


# -- the loop gets its turn -------------------------------------------------------------------------


async def _turns_during(work: Any) -> int:
    """How often the loop turned while `work` ran."""
    count = 0

    async def other() -> None:
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await work
    task.cancel()
    return count


@pytest.mark.parametrize("how", ["publish", "publish_many", "mailbox"])
async def test_a_flood_lets_the_loop_turn(how: str) -> None:
    """200 ms of handlers that never wait, in slices of 5 ms: others run some 40 times in between."""
    clock = ManualTime()
    bus = EventBus(clock=clock, slice_seconds=0.005)

    def handler(e: Event) -> None:
        clock.jump(0.0005)

    async def handler_in_mailbox(e: Event) -> None:
        clock.jump(0.0005)

    async def flood() -> None:
        if how == "publish_many":
            await bus.publish_many(event() for _ in range(400))
        else:
            for _ in range(400):
                if how == "mailbox":
                    bus.publish_nowait(event())
                else:
                    await bus.publish(event())
        await bus.join()

    bus.subscribe("*", handler_in_mailbox if how == "mailbox" else handler)
    assert 25 <= await _turns_during(flood()) <= 120
    await bus.aclose()


@pytest.mark.parametrize("how", ["no patience", "a large mailbox", "a large mailbox, used before", "closed"])
async def test_a_publisher_that_never_waits_lets_the_loop_turn(how: str) -> None:
    """200 ms of publishing, which makes nobody wait: room is made at once, or there is plenty, or no bus."""
    clock = ManualTime()
    large = "large" in how
    bus = EventBus(
        clock=clock, throttle=UNTHROTTLED, capacity=1_000_000 if large else 10, put_timeout=5 if large else 0
    )
    hold = asyncio.Event()
    if "before" in how:
        hold.set()

    async def handler(e: Event) -> None:
        await hold.wait()

    bus.subscribe("*", handler)
    if "before" in how:
        for _ in range(40_000):
            bus.publish_nowait(event())
        await bus.join()
        hold.clear()
    if how == "closed":
        bus.close()

    async def flood() -> None:
        for _ in range(40_000 if large else 400):
            clock.jump(0.2 / (40_000 if large else 400))
            await bus.publish(event())

    assert await _turns_during(flood()) >= 25
    await bus.aclose(drain=False)


async def test_a_fast_handler_that_becomes_slow_is_noticed() -> None:
    """After thousands of fast events, slow ones are interleaved with the rest of the loop soon."""
    clock = ManualTime()
    bus = EventBus(clock=clock)
    cost = 0.0
    bus.subscribe("*", lambda e: clock.jump(cost))
    for _ in range(3000):
        await bus.publish(event())
    cost = 0.010

    async def flood() -> None:
        for _ in range(2000):
            await bus.publish(event())

    assert await _turns_during(flood()) >= 900


async def test_latency_samples_are_taken_once(bus: EventBus) -> None:
    """Of plain handlers and of mailboxes; asking again gives only what is new."""

    async def box(e: Event) -> None:
        await asyncio.sleep(0)

    bus.subscribe("plain", lambda e: None)
    bus.subscribe("box", box)
    for type_ in ("plain", "box"):
        await bus.publish(event(type_=type_))
    await bus.join()
    samples = bus.take_latency_samples()

    assert len(samples) >= 2
    assert all(0 <= sample < 60 for sample in samples)
    assert [] == bus.take_latency_samples()
