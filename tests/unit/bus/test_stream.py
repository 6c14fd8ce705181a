"""Streams: the same events, pulled."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import pytest

from backend.event_bus import Event, EventBus
from tests.support.bus import calm, event, row
from tests.support.manual_time import turns

pytestmark = pytest.mark.usefixtures("no_task_left")


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
