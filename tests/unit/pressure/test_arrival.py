"""Items on their way into a queue: a newer one may get past an older one with its key, never the other way round."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backend.backpressure import (
    UNTHROTTLED,
)
from tests.support.manual_time import ManualTime, turns
from tests.support.queues import queue_of, take, waiting


async def test_always_conflating_after_a_wait() -> None:
    """Of two producers with one key that had to wait for room, the second replaces the first."""
    time = ManualTime()
    queue = queue_of(1, time, conflate="always")
    queue.put_nowait("x")
    tasks = [asyncio.create_task(queue.put(item, key="k")) for item in ("old", "new")]
    await turns()
    assert "x" == take(queue)
    await time.advance(5)
    await asyncio.gather(*tasks)

    assert ["new"] == waiting(queue)


@pytest.mark.parametrize("mode", ["full", "always"])
@pytest.mark.parametrize("wait", ["for room", "in the throttle", "granted"])
async def test_an_older_item_never_replaces_a_newer_one(mode: Any, wait: str) -> None:
    """While a producer waits with the old state, the new one gets in: the reader finds the new one, and only that."""
    time = ManualTime()
    queue = queue_of(2, time, conflate=mode, throttle=None if wait == "in the throttle" else UNTHROTTLED)
    queue.put_nowait("first")
    if wait != "in the throttle":
        queue.put_nowait("second")
    task = asyncio.create_task(queue.put("old", key="k"))
    await turns()
    assert not task.done()
    if wait == "granted":
        take(queue)
    assert queue.offer("new", key="k")
    await time.advance(5)
    await task

    assert "new" in waiting(queue)
    assert "old" not in waiting(queue)
    figures = queue.statistics()
    assert 1 == figures.conflated
    assert figures.put == figures.size + figures.taken + figures.dropped + figures.conflated
    assert not queue.arrivals


async def test_an_older_item_does_not_come_after_a_newer_one_that_was_taken() -> None:
    """What was read last is the newest, also if the old item's producer was waiting all that time."""
    queue = queue_of(1)
    queue.put_nowait("x")
    tasks = [asyncio.create_task(queue.put(item, key="k")) for item in ("old", "older than new")]
    await turns()
    assert queue.offer("new", key="k")
    await turns()
    assert all(task.done() for task in tasks), "there is nothing to wait for any more"
    assert "new" == take(queue)
    await asyncio.gather(*tasks)

    assert [] == waiting(queue)
    assert 2 == queue.statistics().conflated


async def test_an_essential_item_is_not_replaced_while_it_waits() -> None:
    """A newer one with its key gets in before it; it comes after that, but is not lost."""
    queue = queue_of(1)
    queue.put_nowait("x")
    task = asyncio.create_task(queue.put("end", key="k", essential=True))
    await turns()
    assert queue.offer("new", key="k")
    assert "new" == await queue.get()
    assert "end" == await queue.get()
    await task


async def test_producers_that_wait_with_one_key_get_in_in_their_order() -> None:
    """The first one in does not make the second one old."""
    queue = queue_of(1)
    queue.put_nowait("x")
    tasks = [asyncio.create_task(queue.put(item, key="k")) for item in ("a", "b")]
    await turns()

    assert ["x", "a", "b"] == [await queue.get() for _ in range(3)]
    await asyncio.gather(*tasks)


async def test_a_granted_place_that_conflation_makes_needless_goes_to_the_next() -> None:
    """Three wait; the second finds its key waiting, and its place is the third's."""
    queue = queue_of(2, conflate="always")
    queue.put_nowait("x")
    queue.put_nowait("y")
    tasks = [asyncio.create_task(queue.put(item, key=item[0])) for item in ("k1", "k2", "z")]
    await turns()
    take(queue)
    take(queue)
    await turns()

    assert ["k2", "z"] == waiting(queue)
    await asyncio.gather(*tasks)
