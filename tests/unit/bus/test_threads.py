"""Publishing from threads: in order, in bursts, bounded, and with a clear error when no loop is there."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from backend.bus.threads import Inbox
from backend.event_bus import Event, EventBus, LoopGoneError
from tests.support.net import PATIENCE, until


def event(number: int = 0, type_: str = "x") -> Event:
    return Event(type=type_, data={"n": number}, source="thread")


async def test_events_from_threads_arrive_in_each_threads_order() -> None:
    """Four threads, 500 events each, to a plain handler that runs on the loop's thread."""
    bus = EventBus()
    got: list[tuple[str, int]] = []
    threads: set[int] = set()

    def handler(e: Event) -> None:
        threads.add(threading.get_ident())
        got.append((e.type, e.data["n"]))

    bus.subscribe("*", handler)

    def work(name: str) -> None:
        for number in range(500):
            bus.publish_threadsafe(event(number, name))

    await asyncio.gather(*(asyncio.to_thread(work, name) for name in "abcd"))
    await bus.join()

    assert {threading.get_ident()} == threads
    for name in "abcd":
        assert list(range(500)) == [number for type_, number in got if type_ == name]
    assert 2000 == bus.statistics()["threads"]["received"]
    await bus.aclose()


async def test_the_loops_own_thread_may_use_it_too() -> None:
    """Then the event is delivered in the next turn, also from inside a handler."""
    bus = EventBus()
    got: list[int] = []

    def handler(e: Event) -> None:
        got.append(e.data["n"])
        if e.data["n"] < 3:
            bus.publish_threadsafe(event(e.data["n"] + 1))

    bus.subscribe("*", handler)
    bus.publish_threadsafe(event(1))
    assert [] == got
    await bus.join()

    assert [1, 2, 3] == got
    await bus.aclose()


async def test_a_burst_wakes_the_loop_once() -> None:
    """A thousand events in a row are one entry in the loop's queue."""
    bus = EventBus()
    loop = asyncio.get_running_loop()
    bus.bind()
    calls = 0
    original = loop.call_soon_threadsafe

    def counting(*args: object) -> object:
        nonlocal calls
        calls += 1
        return original(*args)  # type: ignore[arg-type]

    loop.call_soon_threadsafe = counting  # type: ignore[assignment,method-assign]
    for number in range(1000):
        bus.publish_threadsafe(event(number))
    await bus.join()

    assert 1 == calls
    assert 1000 == bus.statistics()["published_total"]
    await bus.aclose()


async def test_a_flood_from_a_thread_is_taken_in_slices() -> None:
    """The loop turns in between: other tasks are not starved."""
    time = 0.0

    def clock() -> float:
        return time

    def deliver(e: Event) -> None:
        nonlocal time
        time += 0.001

    inbox = Inbox(deliver, lambda e: False, slice_seconds=0.0045, clock=clock)
    for number in range(100):
        inbox.put(event(number), asyncio.get_running_loop())
    turns = 0
    while inbox:
        turns += 1
        await asyncio.sleep(0)

    assert 18 <= turns <= 22


async def test_a_loop_that_is_held_up_does_not_fill_the_memory() -> None:
    """Beyond the capacity events are dropped and counted; essential ones at twice that."""
    got: list[Event] = []
    inbox = Inbox(got.append, lambda e: e.type == "end", capacity=5, slice_seconds=1, clock=lambda: 0.0)
    loop = asyncio.get_running_loop()
    for number in range(20):
        inbox.put(event(number), loop)
    for number in range(20):
        inbox.put(event(number, "end"), loop)
    await asyncio.sleep(0)

    assert ["x"] * 5 + ["end"] * 5 == [e.type for e in got]
    assert {"x": 15, "end": 15} == inbox.dropped_by_type


@pytest.mark.parametrize("how", ["aclose", "close", "aclose, discard"])
async def test_events_that_were_accepted_from_threads_are_not_lost_by_a_close(how: str) -> None:
    """They are delivered like what lies in a mailbox, or dropped and counted if the bus is to discard."""
    bus = EventBus()
    got: list[int] = []
    box: list[int] = []

    async def handler(e: Event) -> None:
        box.append(e.data["n"])

    bus.subscribe("*", lambda e: got.append(e.data["n"]))
    bus.subscribe("*", handler)
    for number in range(5):
        bus.publish_threadsafe(event(number))
    if how == "close":
        bus.close()
    await bus.aclose(drain="discard" not in how)

    figures = bus.statistics()
    if "discard" in how:
        assert ([], [], {"x": 5}) == (got, box, figures["threads"]["dropped_by_type"])
        assert 5 == figures["dropped_total"]
    else:
        assert list(range(5)) == got == box
        assert 0 == figures["dropped_total"]
    assert 0 == figures["refused"]


async def test_closing_delivers_a_flood_from_threads_in_slices() -> None:
    """The loop turns in between, and a flood that never ends does not hold the close up for ever."""
    time = 0.0
    published = turns = 0

    def clock() -> float:
        return time

    bus = EventBus(clock=clock, slice_seconds=0.0045)

    def handler(e: Event) -> None:
        nonlocal time, published
        time += 0.001
        published += 1
        if turns:
            bus.publish_threadsafe(event())

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    bus.subscribe("*", handler)
    for _ in range(100):
        bus.publish_threadsafe(event())
    task = asyncio.create_task(count())
    await bus.aclose(timeout=2)
    task.cancel()

    assert 350 <= turns <= 450
    assert 2000 <= published <= 2200


def test_events_from_threads_that_a_dead_loop_left_behind() -> None:
    """The next loop delivers them when somebody waits for that."""
    bus = EventBus()
    got: list[int] = []

    async def first() -> None:
        bus.subscribe("*", lambda e: got.append(e.data["n"]))

    loop = asyncio.new_event_loop()
    task = loop.create_task(first())
    task.add_done_callback(lambda _: bus.publish_threadsafe(event(1)))  # in the loop's last turn
    loop.run_until_complete(task)
    loop.close()
    assert [] == got

    asyncio.run(asyncio.wait_for(bus.join(), PATIENCE))
    assert [1] == got


def test_without_a_loop_the_error_says_what_to_do() -> None:
    """Before the bus has met its loop."""
    with pytest.raises(LoopGoneError, match=r"bind\(\)"):
        EventBus().publish_threadsafe(event())
    with pytest.raises(RuntimeError):
        EventBus().bind()


def test_a_thread_that_outlives_the_loop_gets_a_clear_error() -> None:
    """Whether the loop has only stopped or is closed; and no event is left lying around."""
    bus = EventBus()

    async def main() -> None:
        bus.subscribe("*", print)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    with pytest.raises(LoopGoneError, match="does not run"):
        bus.publish_threadsafe(event())
    loop.close()
    with pytest.raises(LoopGoneError, match="closed"):
        bus.publish_threadsafe(event())

    assert 0 == bus.statistics()["threads"]["received"]


def test_a_loop_that_closes_in_the_same_moment() -> None:
    """Between our look and the call: the same error, not asyncio's."""

    class Closing:
        def is_closed(self) -> bool:
            return False

        def is_running(self) -> bool:
            return True

        def call_soon_threadsafe(self, *args: object) -> None:
            raise RuntimeError("Event loop is closed")

    inbox = Inbox(print, lambda e: False, slice_seconds=1, clock=lambda: 0.0)
    for _ in range(2):
        with pytest.raises(LoopGoneError, match="closed"):
            inbox.put(event(), Closing())  # type: ignore[arg-type]
    assert 0 == len(inbox)


async def test_a_bus_takes_its_threads_along_to_a_new_loop() -> None:
    """After its first loop has gone, the next one that it meets gets the events."""
    bus = EventBus()
    got: list[int] = []

    def first_loop() -> None:
        async def main() -> None:
            bus.subscribe("*", lambda e: got.append(e.data["n"]))
            bus.publish_threadsafe(event(1))
            await bus.join()

        asyncio.run(main())

    await asyncio.to_thread(first_loop)
    bus.bind()
    await asyncio.to_thread(bus.publish_threadsafe, event(2))
    await bus.join()

    assert [1, 2] == got
    await bus.aclose()


def test_ids_are_unique_among_threads() -> None:
    """Two threads that ask for one event's id get the same one."""
    events = [event() for _ in range(300)]
    seen: list[list[int]] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        seen.append([e.id for e in events])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [seen[0]] * 4 == seen
    assert 300 == len(set(seen[0]))


async def test_an_object_that_dies_while_another_event_comes_in_may_publish() -> None:
    """Python calls `__del__` in the middle of anything; a lock that its own thread cannot take again would stop all."""
    got: list[str] = []
    bus = EventBus()
    bus.subscribe("*", lambda event: got.append(event.type))
    bus.bind()

    class Dying:
        def __del__(self) -> None:
            bus.publish_threadsafe(Event(type="last.words", data={}, source="test"))

    class Loop:
        """Where the events are to go: while it is woken, the last reference to something goes."""

        def __init__(self) -> None:
            self.loop = asyncio.get_running_loop()
            self.held: list[Dying] = [Dying()]

        def is_closed(self) -> bool:
            return False

        def is_running(self) -> bool:
            return True

        def call_soon_threadsafe(self, *arguments: Any) -> None:
            self.held.clear()
            self.loop.call_soon_threadsafe(*arguments)

    loop: Any = Loop()
    thread = threading.Thread(
        target=bus._inbox.put, args=(Event(type="first", data={}, source="test"), loop), daemon=True
    )
    thread.start()
    await until(lambda: len(got) == 2, what="both events")

    assert {"first", "last.words"} == set(got)
    await bus.aclose()


async def test_a_type_that_is_none_is_the_publishers_error() -> None:
    """And not the loop's, where the events behind it would wait for the next one."""
    got: list[str] = []
    bus = EventBus()
    bus.subscribe("*", lambda one: got.append(one.type))
    bus.bind()
    wrong: Any = []

    with pytest.raises(TypeError):
        bus.publish_threadsafe(event(type_=wrong))
    bus.publish_threadsafe(event())
    await until(lambda: got, what="the event behind it")
    await bus.aclose()
