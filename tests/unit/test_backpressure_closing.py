"""The end of a bounded queue: what it still gives out, who is woken, and waiting until it is empty."""

from __future__ import annotations

import asyncio

import pytest

from backend.backpressure import (
    UNTHROTTLED,
    QueueClosed,
)
from tests.support.manual_time import ManualTime, turns
from tests.support.queues import queue_of, take


async def test_a_closed_queue_gives_out_what_it_has() -> None:
    """No item goes in any more; consumers get the rest, then the end."""
    queue = queue_of(5)
    queue.put_nowait("a")
    queue.close()
    queue.close()

    with pytest.raises(QueueClosed, match="closed"):
        queue.put_nowait("b")
    with pytest.raises(QueueClosed):
        await queue.put("b")
    assert not queue.offer("b")
    assert ["a"] == [item async for item in queue]
    with pytest.raises(QueueClosed):
        take(queue)


async def test_discarding_drops_what_is_there() -> None:
    """And counts it, unless nobody wants it any more."""
    for counted, drops in ((True, {"str": 2}), (False, {})):
        queue = queue_of(5)
        queue.put_nowait("a")
        queue.put_nowait("b")
        queue.close(discard=True, counted=counted)

        figures = queue.statistics()
        assert (drops, 2, 0) == (figures.dropped_by_type, figures.put, figures.size)


@pytest.mark.parametrize("start", ["put", "get", "pause"])
async def test_closing_wakes_whoever_waits(start: str) -> None:
    """Producers and consumers get QueueClosed, also those in the throttle's pause."""
    time = ManualTime()
    queue = queue_of(2, time, throttle=None if start == "pause" else UNTHROTTLED)
    if start != "get":
        queue.put_nowait("a")
    if start == "put":
        queue.put_nowait("b")
    task = asyncio.create_task(queue.get() if start == "get" else queue.put("c"))
    await turns()
    assert not task.done()
    queue.close(discard=start == "get")
    await turns()

    assert task.done()
    with pytest.raises(QueueClosed):
        await task
    assert 0 == time.sleepers


async def test_a_promised_item_that_comes_back_after_the_close_is_not_lost() -> None:
    """Two consumers, one item, a close, and who it was promised to is cancelled: the other gets it."""
    queue = queue_of(5)
    tasks = [asyncio.create_task(queue.get()) for _ in range(2)]
    await turns()
    queue.put_nowait("a")
    queue.close()
    tasks[0].cancel()

    assert "a" == await tasks[1]


async def test_join_waits_until_the_queue_is_empty() -> None:
    """A cancelled join leaves nothing behind."""
    queue = queue_of(5)
    await queue.join()
    queue.put_nowait("a")
    tasks = [asyncio.create_task(queue.join()) for _ in range(2)]
    await turns()
    tasks[0].cancel()
    await turns()
    assert not tasks[1].done()

    take(queue)
    await tasks[1]
    assert tasks[0].cancelled()
