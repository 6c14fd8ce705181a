"""What is measured of the bus beyond time per event: latency, waiting, memory, scale, fairness, the throttle."""

from __future__ import annotations

import asyncio
import gc
import math
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from backend.backpressure import UNTHROTTLED
from backend.event_bus import DONE, Event, EventBus
from tests.bench.bus_peers import CAPACITY, DATA, TYPE

Row = dict[str, Any]


def event(type_: str = TYPE) -> Event:
    return Event(type=type_, data=DATA, source="bench")


def percentile(figures: list[float], share: float) -> float:
    """The figure that `share` of all are not above."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


# -- latency ----------------------------------------------------------------------------------------


def _latencies(n: int, publish: Callable[[Event], Any]) -> Callable[[], Awaitable[list[float]]]:
    async def run() -> list[float]:
        now = time.perf_counter_ns
        figures = []
        for _ in range(n):
            e = event()
            start = now()
            await publish(e)
            figures.append(float(now() - start))
        return figures

    return run


async def latency(rounds: int) -> dict[str, Row]:
    """ns from calling publish to having awaited it, the event being there already; the timer's cost is shown.

    Wall time, and so the best of many short rounds: one in which nobody else had the processor. The one event
    in 300 that is throttled, and the one after it, which wakes the drain, are in it.
    """

    async def slow(e: Event) -> None:
        return

    async def nothing(e: Event) -> None:
        return

    plain, box = EventBus(), EventBus()
    plain.subscribe(TYPE, lambda e: None)
    box.subscribe(TYPE, slow)
    n = 6_000
    results: dict[str, list[list[float]]] = {}
    for _ in range(4 * rounds):
        now = time.perf_counter_ns
        timer = []
        for _ in range(n):
            start = now()
            timer.append(float(now() - start))
        results.setdefault("the timer itself", []).append(timer)
        results.setdefault("await an empty coroutine", []).append(await _latencies(n, nothing)())
        results.setdefault("plain handler", []).append(await _latencies(n, plain.publish)())
        results.setdefault("mailbox", []).append(await _latencies(n, box.publish)())
        await box.join()
    await plain.aclose()
    await box.aclose()
    return {
        name: {
            f"p{share * 100:g}": min(percentile(figures, share) for figures in rounds_) for share in (0.5, 0.9, 0.99)
        }
        for name, rounds_ in results.items()
    }


async def stall(rounds: int) -> dict[str, Row]:
    """µs of processor time that go by for a publisher which has to wait: for room, and in the throttle."""
    results: dict[str, Row] = {}
    for name, throttle in (("for room", UNTHROTTLED), ("throttled", None)):
        figures: list[list[float]] = []
        share = 0.0
        for _ in range(rounds):
            bus = EventBus(throttle=throttle)

            async def handler(e: Event) -> None:
                return

            bus.subscribe(TYPE, handler)
            waits = []
            n = 60_000
            for _ in range(n):
                waiting = bus.publish(event())
                if waiting is not DONE:
                    start = time.process_time_ns()
                    await waiting
                    waits.append((time.process_time_ns() - start) / 1000)
            await bus.join()
            await bus.aclose()
            figures.append(waits)
            share = len(waits) / n
        results[name] = {
            "share": share,
            "p50": statistics.median(percentile(waits, 0.5) for waits in figures),
            "p95": statistics.median(percentile(waits, 0.95) for waits in figures),
        }
    return results


# -- memory -----------------------------------------------------------------------------------------


def _traced(fill: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = fill()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return after - before


async def memory(rounds: int) -> dict[str, Row]:
    """Bytes for each of 1,000 queued events with shared data: event, its time, its place in the queue; no keys."""
    import anyio
    import janus
    from pyee.asyncio import AsyncIOEventEmitter

    held = asyncio.Event()

    async def handler(e: Event) -> None:
        await held.wait()

    bus = EventBus(throttle=UNTHROTTLED, capacity=CAPACITY + 1)
    bus.subscribe(TYPE, handler)
    bus.publish_nowait(event())
    await asyncio.sleep(0)
    emitter: Any = AsyncIOEventEmitter(asyncio.get_running_loop())
    emitter.on(TYPE, handler)
    janus_queue: Any = janus.Queue(CAPACITY)
    sender, receiver = anyio.create_memory_object_stream[Any](CAPACITY)
    queue: asyncio.Queue[Event] = asyncio.Queue(CAPACITY)

    def fill(put: Callable[[Event], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(CAPACITY):
                put(event())

        return run

    rows = {
        "this bus": _traced(fill(bus.publish_nowait)),
        "asyncio.Queue": _traced(fill(queue.put_nowait)),
        "anyio stream": _traced(fill(sender.send_nowait)),
        "janus": _traced(fill(janus_queue.sync_q.put_nowait)),
        "pyee (a task per event)": _traced(fill(lambda e: emitter.emit(TYPE, e))),
    }
    await asyncio.sleep(0)
    held.set()
    await bus.join()
    await bus.aclose()
    await asyncio.sleep(0)
    sender.close()
    receiver.close()
    await janus_queue.aclose()
    return {name: {"bytes": figure / CAPACITY} for name, figure in rows.items()}


# -- scale ------------------------------------------------------------------------------------------


async def subscriptions(rounds: int) -> dict[str, Row]:
    """ns per event with so many subscriptions to other types, beside the first row."""
    numbers = (1, 10, 100, 1000, 10_000)
    buses = {}
    for number in numbers:
        bus = EventBus()
        for other in range(number):
            bus.subscribe(f"other.{other}", lambda e: None)
        bus.subscribe(TYPE, lambda e: None)
        buses[number] = bus
    results: dict[int, list[float]] = {number: [] for number in numbers}
    for _ in range(rounds):
        for number, bus in buses.items():
            gc.collect()
            start = time.process_time_ns()
            for _ in range(20_000):
                await bus.publish(event())
            results[number].append((time.process_time_ns() - start) / 20_000)
    return {
        f"{number:,}": {
            "ns": statistics.median(figures),
            "ratio": statistics.median(a / b for a, b in zip(figures, results[1], strict=True)),
        }
        for number, figures in results.items()
    }


async def publishers(rounds: int) -> dict[str, Row]:
    """ns per event when so many tasks publish to one mailbox of 1,000, beside as many that share a Queue."""
    rows: dict[str, Row] = {}
    total = 20_000
    for number in (1, 10, 100, 1000):
        ours, queues = [], []
        for _ in range(rounds):
            bus = EventBus()
            count = 0

            async def handler(e: Event) -> None:
                nonlocal count
                count += 1

            bus.subscribe(TYPE, handler)
            queue: asyncio.Queue[Any] = asyncio.Queue(CAPACITY)

            async def consume(queue: asyncio.Queue[Any] = queue) -> None:
                while (e := await queue.get()) is not None:
                    await handler(e)

            async def publish(put: Callable[[Event], Awaitable[Any]], each: int = total // number) -> None:
                for _ in range(each):
                    await put(event())

            gc.collect()
            start = time.process_time_ns()
            await asyncio.gather(*(publish(bus.publish) for _ in range(number)))
            await bus.join()
            ours.append((time.process_time_ns() - start) / total)
            await bus.aclose()
            consumer = asyncio.create_task(consume())
            gc.collect()
            start = time.process_time_ns()
            await asyncio.gather(*(publish(queue.put) for _ in range(number)))
            await queue.put(None)
            await consumer
            queues.append((time.process_time_ns() - start) / total)
            if count != 2 * total:
                raise AssertionError(f"{count} of {2 * total} arrived")
        rows[f"{number:,}"] = {
            "ns": statistics.median(ours),
            "queue_ns": statistics.median(queues),
            "ratio": statistics.median(a / b for a, b in zip(ours, queues, strict=True)),
        }
    return rows


async def slow_beside_fast(rounds: int) -> dict[str, Row]:
    """Ten async subscribers that need 20 ms for an event, beside a fast one; published as fast as can be."""
    rows: dict[str, Row] = {}
    for name in ("the fast one alone", "with ten slow ones", "with ten slow ones, nowait"):
        bus = EventBus(put_timeout=0.05)
        lags: list[float] = []

        async def fast(e: Event, lags: list[float] = lags) -> None:
            lags.append((time.monotonic() - e.time) * 1e6)

        async def slow(e: Event) -> None:
            await asyncio.sleep(0.02)

        bus.subscribe(TYPE, fast)
        for _ in range(0 if name.endswith("alone") else 10):
            bus.subscribe(TYPE, slow)
        start = time.perf_counter()
        for number in range(2000 if name != "with ten slow ones" else 400):
            if name.endswith("nowait"):
                bus.publish_nowait(event())
                if number % 50 == 0:
                    await asyncio.sleep(0)
            else:
                await bus.publish(event())
        seconds = time.perf_counter() - start
        figures = bus.statistics()
        while len(lags) < figures["published_total"] - figures["queues"][0]["dropped"]:
            await asyncio.sleep(0)
        await bus.aclose(drain=False)
        rows[name] = {
            "events": figures["published_total"],
            "fast_got": len(lags),
            "lag_p50_us": percentile(lags, 0.5),
            "lag_p99_us": percentile(lags, 0.99),
            "per_second": figures["published_total"] / seconds,
            "slow_dropped": figures["dropped_total"],
        }
    return rows


# -- guarantees -------------------------------------------------------------------------------------


async def guarantees(rounds: int) -> Row:
    """What was counted and timed of the promises: the bound, the throttle's reaction, the loop's turns."""
    return {
        "accepted_while_shut": await _accepted_while_shut(),
        "throttle_reaction_us": await _throttle_reaction(rounds) * 1e6,
        "longest_hold_ms, handlers fast": await _longest_hold(0.0) * 1000,
        "longest_hold_ms, handlers of 1 ms": await _longest_hold(0.001) * 1000,
    }


async def _shut(_: Event) -> None:
    await asyncio.Event().wait()


async def _accepted_while_shut() -> int:
    bus = EventBus(throttle=UNTHROTTLED)
    bus.subscribe(TYPE, _shut)
    accepted = 0

    async def flood() -> None:
        nonlocal accepted
        for _ in range(5000):
            await bus.publish(event())
            accepted += 1

    task = asyncio.create_task(flood())
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.wait([task])
    await bus.aclose(drain=False)
    return accepted


async def _throttle_reaction(rounds: int) -> float:
    """Seconds from crossing a threshold to the first publisher that is slowed, the longest of the rounds."""
    reactions = []
    for _ in range(rounds):
        bus = EventBus()
        bus.subscribe(TYPE, _shut)
        for _ in range(300):
            waiting = bus.publish(event())
            if waiting is not DONE:
                await waiting
        reactions.append(bus.statistics()["queues"][0]["reaction_seconds"])
        await bus.aclose(drain=False)
    slowest: float = max(reactions)
    return slowest


async def _longest_hold(cost: float) -> float:
    """Seconds of CPU between two turns of the loop in a flood through a handler of `cost` seconds, as p99."""
    gaps: list[float] = []
    bus = EventBus()

    async def ticker() -> None:
        last = time.process_time()
        while True:
            await asyncio.sleep(0)
            now = time.process_time()
            gaps.append(now - last)
            last = now

    def handler(_: Event) -> None:
        end = time.process_time() + cost
        while cost and time.process_time() < end:
            pass

    bus.subscribe(TYPE, handler)
    task = asyncio.create_task(ticker())
    end = time.process_time() + 0.5
    while time.process_time() < end:
        await bus.publish(event())
    task.cancel()
    await bus.aclose()
    return percentile(gaps, 0.99)


WORKLOADS: dict[str, Callable[[int], Awaitable[Any]]] = {
    "latency": latency,
    "stall": stall,
    "memory": memory,
    "subscriptions": subscriptions,
    "publishers": publishers,
    "slow_beside_fast": slow_beside_fast,
    "guarantees": guarantees,
}
