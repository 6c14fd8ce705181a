"""Async handlers: bounded, in order, slow or stuck without harm to others."""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest

from backend.event_bus import DONE, Event, EventBus
from tests.support.bus import Shut, awaited, calm, event, row
from tests.support.manual_time import ManualTime, turns
from tests.support.net import PATIENCE

pytestmark = pytest.mark.usefixtures("no_task_left")


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
    waiting = asyncio.create_task(awaited(bus.publish(event(3))))
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
        tasks.append(asyncio.create_task(awaited(bus.publish(event(2)))))
    await turns()
    drain.cancel()
    handler.open.set()
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
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

    await asyncio.wait_for(asyncio.to_thread(in_a_thread), PATIENCE)
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
        await asyncio.create_task(awaited(bus.publish(event())))
        assert [] == handler.began
        handler.open.set()
        await bus.join()
        assert [0] == handler.got
    finally:
        loop.set_task_factory(None)
    await bus.aclose()
