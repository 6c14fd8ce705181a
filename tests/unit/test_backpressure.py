"""The bounded queue: its four layers together, exact under cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import backend.backpressure as module
from backend.backpressure import (
    QueueFull,
    Zone,
    put_in_all,
)
from tests.support.manual_time import ManualTime, turns
from tests.support.net import PATIENCE
from tests.support.queues import queue_of, take, waiting


def test_all_is_what_the_module_defines() -> None:
    """Nothing in `__all__` is missing, and it is short enough to learn."""
    assert len(module.__all__) <= 12
    assert [] == [name for name in module.__all__ if not hasattr(module, name)]


# -- layers 1 and 2 ---------------------------------------------------------------------------------


async def test_items_come_out_in_the_order_they_went_in() -> None:
    """First in, first out, across waiting producers and consumers."""
    queue = queue_of(2)

    async def produce() -> None:
        for number in range(10):
            await queue.put(number)
        queue.close()

    task = asyncio.create_task(produce())
    assert list(range(10)) == [item async for item in queue]
    await task


async def test_a_full_queue_refuses_who_does_not_wait() -> None:
    """The error is also the one of asyncio."""
    queue = queue_of(1)
    queue.put_nowait("a")

    with pytest.raises(asyncio.QueueFull, match="1 items"):
        queue.put_nowait("b")
    assert issubclass(QueueFull, asyncio.QueueFull)
    assert "a" == take(queue)


async def test_a_producer_gets_in_as_soon_as_there_is_room() -> None:
    """And nobody who comes later gets in before it."""
    queue = queue_of(1)
    queue.put_nowait("a")
    task = asyncio.create_task(queue.put("b"))
    await turns()
    assert 1 == queue.statistics().waiting_producers

    assert "a" == take(queue)
    with pytest.raises(QueueFull):
        queue.put_nowait("pushing in")
    await task
    assert ["b"] == waiting(queue)


async def test_a_consumer_gets_what_was_promised_to_it() -> None:
    """An item for a waiting task is not there for one that comes later."""
    queue = queue_of(5)
    task = asyncio.create_task(queue.get())
    await turns()
    queue.put_nowait("a")

    with pytest.raises(LookupError):
        take(queue)
    assert "a" == await task


@pytest.mark.parametrize("run_before", [False, True])
async def test_a_cancelled_put_has_not_put(run_before: bool) -> None:
    """Not even if room was granted in the same turn; the room goes to the next in line."""
    queue = queue_of(1)
    queue.put_nowait("a")
    tasks = [asyncio.create_task(queue.put(item)) for item in "bc"]
    await turns()
    if run_before:
        tasks[0].cancel()
        await turns()
    take(queue)
    tasks[0].cancel()
    await turns()

    assert tasks[0].cancelled()
    assert ["c"] == waiting(queue)
    assert 0 == queue.statistics().waiting_producers


@pytest.mark.parametrize("run_before", [False, True])
async def test_a_cancelled_get_has_not_taken(run_before: bool) -> None:
    """Not even if an item was promised to it in the same turn; the item goes to the next in line."""
    queue = queue_of(5)
    tasks = [asyncio.create_task(queue.get()) for _ in range(2)]
    await turns()
    if run_before:
        tasks[0].cancel()
        await turns()
    queue.put_nowait("a")
    tasks[0].cancel()

    assert "a" == await tasks[1]
    assert tasks[0].cancelled()
    assert 0 == len(queue)


async def test_a_get_cancelled_while_it_lets_the_loop_turn_has_not_taken() -> None:
    """The await that is there for fairness is exact too."""
    time = ManualTime()
    queue = queue_of(5, time)
    queue.put_nowait("a")
    task = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    task.cancel()
    await turns()

    assert task.cancelled()
    assert ["a"] == waiting(queue)


async def test_a_put_cancelled_in_its_pause_has_not_put() -> None:
    """The throttle comes before the item goes in."""
    time = ManualTime()
    queue = queue_of(10, time, throttle=None)
    for number in range(5):
        queue.put_nowait(number)
    task = asyncio.create_task(queue.put("late"))
    await turns()
    assert 1 == queue.statistics().throttled_now
    task.cancel()
    await turns()

    assert list(range(5)) == waiting(queue)
    assert 0 == queue.statistics().throttled_now


# -- layer 3 ----------------------------------------------------------------------------------------


async def test_after_its_patience_the_oldest_item_makes_room() -> None:
    """The producer waits 5 s for its consumer, then the oldest item that may go is dropped and counted."""
    time = ManualTime()
    queue = queue_of(3, time)
    for item in ("end of an answer", "a", "b"):
        queue.put_nowait(item, essential=item.startswith("end"))
    task = asyncio.create_task(queue.put("c"))

    await time.advance(4.9)
    assert not task.done()
    await time.advance(0.1)
    await task
    assert ["end of an answer", "b", "c"] == waiting(queue)
    assert (1, {"str": 1}) == (queue.statistics().dropped, queue.statistics().dropped_by_type)


async def test_conflation_comes_before_dropping() -> None:
    """A full queue that holds an older item with the same key loses nothing else."""
    time = ManualTime()
    queue = queue_of(3, time)
    for item, key in (("old", "text"), ("a", None), ("b", None)):
        queue.put_nowait(item, key=key)
    task = asyncio.create_task(queue.put("new", key="text"))
    await time.advance(5)
    await task

    assert ["new", "a", "b"] == waiting(queue)
    figures = queue.statistics()
    assert (4, 1, 0) == (figures.put, figures.conflated, figures.dropped)


async def test_if_nothing_may_be_dropped_the_producer_waits_on() -> None:
    """Essential items are never lost, however long it takes; and its place in line is kept."""
    time = ManualTime()
    queue = queue_of(2, time, essential=lambda item: True)
    queue.put_nowait("a")
    queue.put_nowait("b")
    tasks = [asyncio.create_task(queue.put(item)) for item in "cd"]
    await time.advance(60)
    assert not any(task.done() for task in tasks)

    assert ["a", "b", "c", "d"] == [await queue.get() for _ in range(4)]
    await asyncio.gather(*tasks)


async def test_without_patience_room_is_made_at_once() -> None:
    """`put_timeout=0`."""
    queue = queue_of(1, put_timeout=0)
    await queue.put("a")
    await queue.put("b")

    assert ["b"] == waiting(queue)


@pytest.mark.parametrize("seconds", [2.0, 7.0])
async def test_a_put_cancelled_while_it_waits_for_room_has_not_put(seconds: float) -> None:
    """Neither in its first wait nor in the endless one after its patience."""
    time = ManualTime()
    queue = queue_of(1, time)
    queue.put_nowait("a", essential=True)
    task = asyncio.create_task(queue.put("b"))
    await time.advance(seconds)
    task.cancel()
    await turns()

    assert task.cancelled()
    assert 0 == time.sleepers
    assert "a" == take(queue)
    assert [] == waiting(queue)
    queue.put_nowait("c")


async def test_always_conflating_leaves_the_newest_of_each_key() -> None:
    """A reader finds at most one item of a key, in the place of the first of them."""
    queue = queue_of(100, conflate="always")
    for number in range(5):
        await queue.put(f"a{number}", key="a")
        queue.put_nowait(f"b{number}", key="b")
        assert queue.offer(number)

    assert ["a4", "b4", 0, 1, 2, 3, 4] == waiting(queue)
    assert "a4" == await queue.get()
    await queue.put("a5", key="a")
    assert "a5" == waiting(queue)[-1]


async def test_an_offer_makes_room_at_once() -> None:
    """It never waits: conflates, or drops the oldest, or is lost itself if nothing may be dropped for it."""
    queue = queue_of(2, key=lambda item: item[0] if item[0] == "k" else None)
    assert all(queue.offer(item) for item in ("k1", "b", "k2", "c"))
    assert ["b", "c"] == waiting(queue)

    queue = queue_of(1)
    queue.put_nowait("end", essential=True)
    assert not queue.offer("a")
    assert (1, 1) == (queue.statistics().dropped, queue.statistics().refused)


async def test_an_essential_offer_is_let_in_beyond_the_capacity() -> None:
    """It can neither wait nor be lost; but a consumer that is stuck for ever does not fill the memory."""
    queue = queue_of(2, essential=lambda item: True)
    taken = [queue.offer(number) for number in range(5)]

    assert [True] * 4 + [False] == taken
    figures = queue.statistics()
    assert (4, 2, 1, "degraded") == (figures.size, figures.overflow, figures.refused, figures.zone)
    assert [0, 1, 2, 3] == [take(queue) for _ in range(4)]
    assert "green" == queue.statistics().zone


# -- one item into several queues -------------------------------------------------------------------


async def test_an_item_for_several_queues_waits_for_the_full_ones_only() -> None:
    """Who has room has it at once, a closed one gets nothing, and each full one gets it as soon as it has room."""
    time = ManualTime()
    open_, full, fuller, closed = (queue_of(1, time) for _ in range(4))
    full.put_nowait("a")
    fuller.put_nowait("a")
    closed.close()
    putting = put_in_all((open_, full, fuller, closed), "b", 5.0)
    assert putting is not None
    task = asyncio.create_task(putting)
    await turns()
    assert ["b"] == waiting(open_)

    assert "a" == take(full)
    await turns()
    assert (["b"], ["a"]) == (waiting(full), waiting(fuller))
    await time.advance(5)
    await task
    assert ["b"] == waiting(fuller)
    assert (0, 0, 1, 0) == tuple(queue.statistics().dropped for queue in (open_, full, fuller, closed))
    assert put_in_all((closed,), "c", 5.0) is None


async def test_an_item_for_several_queues_that_is_cancelled_stays_where_it_is() -> None:
    """Those that had room keep it, those that had none do not get it later, and nobody is left in line."""
    open_, full = queue_of(1), queue_of(1)
    full.put_nowait("a")
    putting = put_in_all((open_, full), "b", 5.0)
    assert putting is not None
    task = asyncio.create_task(putting)
    await turns()
    task.cancel()
    await turns()

    assert "a" == take(full)
    assert (["b"], []) == (waiting(open_), waiting(full))
    assert 0 == full.statistics().waiting_producers
    full.put_nowait("c")


# -- layer 4 ----------------------------------------------------------------------------------------


async def test_the_first_put_after_the_crossing_is_throttled() -> None:
    """No put gets by unthrottled once 30 % are reached, so the reaction takes no time of its own."""
    time = ManualTime()
    queue = queue_of(10, time, throttle=None)
    for number in range(3):
        await asyncio.wait_for(queue.put(number), PATIENCE)
    assert Zone.YELLOW is queue.throttle.zone
    task = asyncio.create_task(queue.put(3))
    await turns()

    assert not task.done()
    assert 0 == queue.statistics().reaction_seconds
    await time.advance(0.0051)
    await task


async def test_the_throttle_lets_go_when_the_queue_empties() -> None:
    """Not at the end of the delay: a producer in red goes on as soon as the queue is green."""
    time = ManualTime()
    queue = queue_of(10, time, throttle=None)
    for number in range(8):
        queue.put_nowait(number)
    task = asyncio.create_task(queue.put("late"))
    await turns()
    assert not task.done()
    while len(queue):
        take(queue)
    await turns()

    assert task.done()
    assert "late" == take(queue)
    assert time.now == 1000.0


@pytest.mark.parametrize("per_second", [50, 120, 150, 500])
async def test_the_throttle_does_not_oscillate(per_second: int) -> None:
    """A flood against a steady consumer settles: the zone changes a few times, then hardly any more."""
    time = ManualTime()
    changes: list[tuple[str, float]] = []
    queue = queue_of(100, time, throttle=None, on_zone=lambda name, zone, was, fill: changes.append((zone, time.now)))

    async def flood() -> None:
        while True:
            await queue.put("x")

    task = asyncio.create_task(flood())
    await turns()
    for _ in range(4 * per_second):
        await time.advance(1 / per_second)
        if len(queue):
            take(queue)
    task.cancel()

    late = [change for change in changes if change[1] > 1002.0]
    assert len(late) <= 2
    assert queue.statistics().dropped == 0


async def test_zone_changes_are_told() -> None:
    """With the queue's name, the new zone, the old one and the fill; an error in the callback does no harm."""
    told: list[tuple[Any, ...]] = []
    queue = queue_of(10, name="q", on_zone=lambda *what: told.append(what))
    for number in range(10):
        queue.put_nowait(number)
    queue.close(discard=True)

    assert [
        ("q", Zone.YELLOW, Zone.GREEN, 0.3),
        ("q", Zone.RED, Zone.YELLOW, 0.7),
        ("q", Zone.DEGRADED, Zone.RED, 1.0),
        ("q", Zone.GREEN, Zone.DEGRADED, 0.0),
    ] == told


async def test_a_failing_zone_callback_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """An error's text may hold a secret."""

    def fail(*what: object) -> None:
        raise ValueError("sk-secret")

    queue = queue_of(1, on_zone=fail)
    queue.put_nowait("a")

    assert ["a"] == waiting(queue)
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


# -- the whole --------------------------------------------------------------------------------------


async def test_a_busy_consumer_lets_the_loop_turn() -> None:
    """Even if there is always an item: after each slice of time."""
    time = ManualTime()
    queue = queue_of(1000, time, slice_seconds=0.0045)
    for number in range(100):
        queue.put_nowait(number)
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(100):
        await queue.get()
        time.jump(0.001)
    task.cancel()

    assert 20 <= others <= 23


@pytest.mark.parametrize("how", ["plenty of room", "no patience", "always conflates"])
async def test_a_busy_producer_lets_the_loop_turn(how: str) -> None:
    """Even if it never has to wait: after each slice of time."""
    time = ManualTime()
    queue = queue_of(
        10 if how == "no patience" else 1000,
        time,
        slice_seconds=0.0045,
        put_timeout=0,
        conflate="always" if how == "always conflates" else "full",
    )
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            time.jump(0)
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(100):
        await queue.put("x", key="k" if how == "always conflates" else None)
        time.jump(0.001)
    task.cancel()

    assert others >= 20


@pytest.mark.parametrize("how", ["put", "newer in the same turn"])
async def test_a_put_cancelled_while_it_lets_the_loop_turn_has_not_put(how: str) -> None:
    """The await that is there for fairness is exact too; and a newer item may get in meanwhile."""
    queue = queue_of(5, conflate="always")
    task = asyncio.create_task(queue.put("old", key="k"))
    await asyncio.sleep(0)
    if how == "put":
        task.cancel()
        await turns()
        assert task.cancelled()
        assert [] == waiting(queue)
    else:
        queue.put_nowait("new", key="k")
        await task
        assert ["new"] == waiting(queue)
    assert not queue.arrivals


async def test_the_fast_lane_keeps_within_its_limit() -> None:
    """Appending while there are fewer items than `limit` passes neither a zone's border nor the peak."""
    queue = queue_of(10, throttle=None)
    for number in range(8):
        queue.offer(number)
    while len(queue):
        take(queue)

    added = 0
    while len(queue.items) < queue.limit:
        queue.items.append(added)
        added += 1
    assert 2 == added
    queue.put_nowait("the third, which turns it yellow")
    assert (Zone.YELLOW, 0) == (queue.throttle.zone, queue.limit)
    figures = queue.statistics()
    assert (11, 8, 3) == (figures.put, figures.taken, figures.size)


async def test_the_figures_add_up() -> None:
    """Every item put is held, taken, dropped or conflated; the rest of the figures say who waits."""
    time = ManualTime()
    queue = queue_of(2, time, name="q")
    tasks = [asyncio.create_task(queue.put(number)) for number in range(3)]
    await turns()

    figures = queue.statistics()
    assert (2, 2, 1.0, 2) == (figures.size, figures.capacity, figures.fill, figures.peak)
    assert (2, 0, 1) == (figures.put, figures.taken, figures.waiting_producers)
    assert "<BoundedQueue 'q' 2/2 degraded>" == repr(queue)
    assert [0, 1, 2] == [await queue.get() for _ in range(3)]
    await asyncio.gather(*tasks)
    consumer = asyncio.create_task(queue.get())
    await turns()
    figures = queue.statistics()
    assert (3, 3, 0, 2, 1) == (
        figures.put, figures.taken, figures.size, figures.peak, figures.waiting_consumers,
    )  # fmt: skip
    assert figures.as_dict()["name"] == "q"
    consumer.cancel()
    await turns()
    queue.close()
    assert "<BoundedQueue 'q' 0/2 closed>" == repr(queue)


async def test_many_producers_and_consumers_under_a_hail_of_cancels() -> None:
    """Every number is either got once, or its producer was cancelled before it was in."""
    queue = queue_of(3)
    got: list[int] = []
    put: list[int] = []

    async def produce(number: int) -> None:
        await queue.put(number)
        put.append(number)

    async def consume() -> None:
        while True:
            got.append(await queue.get())

    consumers = [asyncio.create_task(consume()) for _ in range(4)]
    producers = []
    for number in range(600):
        producers.append(asyncio.create_task(produce(number)))
        if number % 3 == 0:
            await asyncio.sleep(0)
        if number % 5 == 0:
            producers[number // 2].cancel()
        if number % 7 == 0:
            consumers.pop(0).cancel()
            consumers.append(asyncio.create_task(consume()))
    await asyncio.gather(*producers, return_exceptions=True)
    await queue.join()
    for task in consumers:
        task.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)

    assert sorted(put) == sorted(got)
    assert len(got) == len(set(got))
