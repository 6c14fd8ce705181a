"""The fleet against its peers on one real redis-server, in one run: ratios count, not figures.

    python -m venv .venv-bench && .venv-bench/bin/pip install -r tests/bench/requirements-fleet.txt
    .venv-bench/bin/python -m tests.bench.bench_fleet --rounds 5

A publisher and a subscriber, each a process of its own. The base is redis-py's own pipelined XADD, 256 events at a
time, with the standard library's JSON. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Any

from backend.event_bus import Event, EventBus
from backend.fleet import Fleet
from backend.settings import Secret, Settings
from tests.support.proxy import FaultProxy
from tests.support.redis_server import RedisServer

BATCH = 256
WAITING = 4 * BATCH
"""Events that wait in our outbox at most during a flood."""
STREAM = "bench"
Figures = dict[str, float]


def data_of(number: int) -> dict[str, Any]:
    """An event of about 170 bytes as JSON."""
    return {
        "i": number,
        "at": time.monotonic(),
        "chat_id": "c-0123456789",
        "model": "qwen2.5-coder:14b",
        "seconds": 1.25,
    }


# -- the peers: publish(port, count, rate) and subscribe(port, count, ready, ages) -----------------------


async def paced(count: int, rate: float, send: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """Send one by one at a rate; late ones at once."""
    began = time.monotonic()
    for number in range(count):
        wait = began + number / rate - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        await send(number)


def settings_of(port: int, name: str) -> Settings:
    """As they are by default, but for what Redis keeps: of the peers it keeps everything, too."""
    return dataclasses.replace(
        Settings(), redis_url=Secret(f"redis://127.0.0.1:{port}/0"), instance=name, redis_keep_bytes=100_000_000
    )


async def pulse_publish(port: int, count: int, rate: float) -> None:
    bus = EventBus()
    fleet = Fleet(bus)
    fleet.start(settings_of(port, "publisher"))
    assert fleet._parts is not None
    outbox, writer = fleet._parts.outbox, fleet._parts.writer
    while not writer.link.up:
        await asyncio.sleep(0.01)

    async def send(number: int) -> None:
        bus.publish_nowait(Event("bench", data_of(number), "bench"))

    with Noted():
        if rate:
            await paced(count, rate, send)
        else:
            for number in range(count):
                bus.publish_nowait(Event("bench", data_of(number), "bench"))
                while len(outbox) >= WAITING:
                    await asyncio.sleep(0.001)
        while not writer.empty:
            await asyncio.sleep(0.001)
    await fleet.aclose()


async def pulse_subscribe(port: int, count: int, ready: Any, ages: list[float]) -> None:
    bus = EventBus()
    fleet = Fleet(bus)
    done = asyncio.Event()
    seen = 0

    def handler(event: Any) -> None:
        nonlocal seen
        seen += 1
        ages.append(time.monotonic() - event.data["at"])
        if seen == count:
            done.set()

    def on_gap(event: Any) -> None:
        raise SystemExit(f"the reader was too slow: {dict(event.data)}")

    fleet._fleet_bus().subscribe("bench", handler)
    fleet._fleet_bus().subscribe("fleet.gap", on_gap)
    fleet.start(settings_of(port, "subscriber"))
    assert fleet._parts is not None
    while not fleet._parts.registry._looked:
        await asyncio.sleep(0.01)
    ready.set()
    await done.wait()
    asyncio.get_running_loop().create_task(fleet.aclose())


async def base_publish(port: int, count: int, rate: float, batch: int = BATCH) -> None:
    from redis.asyncio import Redis

    async with Redis(port=port, protocol=2, socket_timeout=None) as redis:
        await redis.ping()

        async def send(number: int) -> None:
            await redis.xadd(STREAM, {"d": json.dumps(data_of(number))}, maxlen=200_000, approximate=True)

        with Noted():
            if rate or batch == 1:
                await paced(count, rate or 1e9, send)
                return
            for first in range(0, count, batch):
                pipe = redis.pipeline(transaction=False)
                for number in range(first, min(count, first + batch)):
                    pipe.xadd(STREAM, {"d": json.dumps(data_of(number))}, maxlen=200_000, approximate=True)
                await pipe.execute()


async def base_subscribe(port: int, count: int, ready: Any, ages: list[float]) -> None:
    from redis.asyncio import Redis

    async with Redis(port=port, protocol=2, socket_timeout=None) as redis:
        cursor: Any = "0-0"
        seen = 0
        ready.set()
        while seen < count:
            reply: Any = await redis.xread({STREAM: cursor}, count=100, block=5000)
            for _, entries in reply or ():
                for id_, fields in entries:
                    event = json.loads(fields[b"d"])
                    ages.append(time.monotonic() - event["at"])
                    cursor, seen = id_, seen + 1


async def coredis_publish(port: int, count: int, rate: float) -> None:
    import coredis

    client = coredis.Redis(host="127.0.0.1", port=port)
    async with client:
        with Noted():
            for first in range(0, count, BATCH):
                async with client.pipeline(transaction=False) as pipe:
                    for number in range(first, min(count, first + BATCH)):
                        pipe.xadd(STREAM, {"d": json.dumps(data_of(number))})


async def glide_publish(port: int, count: int, rate: float) -> None:
    import glide

    client = await glide.GlideClient.create(glide.GlideClientConfiguration([glide.NodeAddress("127.0.0.1", port)]))
    with Noted():
        for first in range(0, count, BATCH):
            batch = glide.Batch(is_atomic=False)
            for number in range(first, min(count, first + BATCH)):
                batch.xadd(STREAM, [("d", json.dumps(data_of(number)))])
            await client.exec(batch, raise_on_error=True)
    await client.close()


async def faststream_publish(port: int, count: int, rate: float) -> None:
    from faststream.redis import RedisBroker

    async with RedisBroker(f"redis://127.0.0.1:{port}") as broker:

        async def send(number: int) -> None:
            await broker.publish(data_of(number), stream=STREAM)

        with Noted():
            await paced(count, rate or 1e9, send)


async def faststream_subscribe(port: int, count: int, ready: Any, ages: list[float]) -> None:
    from faststream.redis import RedisBroker, StreamSub

    broker = RedisBroker(f"redis://127.0.0.1:{port}")
    done = asyncio.Event()

    @broker.subscriber(  # type: ignore[untyped-decorator,unused-ignore]
        stream=StreamSub(STREAM, batch=True, last_id="0", max_records=256)
    )
    async def handler(events: list[dict[str, Any]]) -> None:
        ages.extend(time.monotonic() - event["at"] for event in events)
        if len(ages) >= count:
            done.set()

    async with broker:
        await broker.start()
        ready.set()
        await done.wait()


PEERS: dict[str, tuple[str, Any, Any]] = {
    "redis-py pipelined (base)": ("redis", base_publish, base_subscribe),
    "Copilot Pulse": ("redis", pulse_publish, pulse_subscribe),
    "coredis pipelined": ("coredis", coredis_publish, base_subscribe),
    "valkey-glide batch": ("glide", glide_publish, base_subscribe),
    "FastStream": ("faststream", faststream_publish, faststream_subscribe),
}
NOTES: Any = multiprocessing.get_context("fork").Array("d", [0.0, 0.0])
"""When the publisher began, and the processor time that it took: shared with its process."""


class Noted:
    """`with Noted():` around what a publisher does, without its start."""

    def __enter__(self) -> None:
        self._spent = time.process_time()
        NOTES[0] = time.monotonic()

    def __exit__(self, *_: object) -> None:
        NOTES[1] = time.process_time() - self._spent


def subscriber(subscribe: Any, port: int, count: int, ready: Any, result: Any) -> None:
    """A process: read `count` events, tell when the last came, the processor time and the ages."""
    ages: list[float] = []
    began = time.process_time()
    asyncio.run(subscribe(port, count, ready, ages))
    ages.sort()
    result.put((time.monotonic(), time.process_time() - began, ages[len(ages) // 2], ages[int(len(ages) * 0.99)]))


def publisher(publish: Any, port: int, count: int, rate: float) -> None:
    """A process: publish `count` events."""
    asyncio.run(publish(port, count, rate))


async def measure(name: str, count: int, rate: float = 0.0, publish: Any = None) -> Figures:
    """One round: events a second end to end, microseconds of either side, ages in milliseconds."""
    _, default, subscribe = PEERS[name]
    context = multiprocessing.get_context("fork")
    async with RedisServer() as redis:
        ready, results = context.Event(), context.Queue()
        reading = context.Process(target=subscriber, args=(subscribe, redis.port, count, ready, results))
        reading.start()
        await asyncio.to_thread(ready.wait, 30)
        writing = context.Process(target=publisher, args=(publish or default, redis.port, count, rate))
        writing.start()
        ended, reader_cpu, p50, p99 = await asyncio.to_thread(results.get, True, 180)
        for process in (writing, reading):
            await asyncio.to_thread(process.join, 10)
            process.kill()
    began, cpu = NOTES[0], NOTES[1]
    return {
        "events_per_second": count / (ended - began),
        "publisher_us": cpu / count * 1e6, "subscriber_us": reader_cpu / count * 1e6,
        "p50_ms": p50 * 1000, "p99_ms": p99 * 1000,
    }  # fmt: skip


def median(rounds: list[Figures]) -> Figures:
    """Of each figure."""
    return {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}


async def one_by_one(port: int, count: int, rate: float) -> None:
    """XADD for each event, awaited."""
    await base_publish(port, count, rate, batch=1)


def added_to_publish(rounds: int = 15, count: int = 5_000) -> Figures:
    """Nanoseconds that the fleet adds to `publish_nowait`: the best of the rounds, for all else is the neighbours'."""

    async def run(outbox: int) -> float:
        bus = EventBus()
        fleet = Fleet(bus)
        bus.subscribe("bench", lambda event: None)
        if outbox:  # nobody is there: the outbox takes all of it
            url = Secret("redis://127.0.0.1:1/0")
            fleet.start(dataclasses.replace(Settings(), redis_url=url, redis_outbox=outbox))
        event = Event("bench", data_of(1), "bench")
        publish = bus.publish_nowait
        for _ in range(10_000):
            publish(event)
        began = time.perf_counter()
        for _ in range(count):
            publish(event)
        spent = time.perf_counter() - began
        await fleet.aclose()
        await bus.aclose()
        return spent / count * 1e9

    off, on, full = (min(asyncio.run(run(outbox)) for _ in range(rounds)) for outbox in (0, 1_000_000, 10_000))
    return {"off_ns": off, "added_ns": on - off, "added_by_a_full_outbox_ns": full - off}


async def pacing(count: int = 3_000) -> float:
    """Microseconds of processor time that sending nothing 1,000 times a second takes."""

    async def send(number: int) -> None:
        return None

    began = time.process_time()
    await paced(count, 1_000.0, send)
    return (time.process_time() - began) / count * 1e6


async def black_hole(tokens: int = 4_000) -> Figures:
    """Tokens a second of a loop that publishes five events a token, without Redis and with one that swallows all."""

    async def run(url: str) -> float:
        bus = EventBus()
        fleet = Fleet(bus)
        fleet.start(dataclasses.replace(Settings(), redis_url=Secret(url)))
        began = time.perf_counter()
        for number in range(tokens):
            for _ in range(5):
                bus.publish_nowait(Event("chat.tool_called", data_of(number), "bench"))
            await asyncio.sleep(0.0005)
        spent = time.perf_counter() - began
        await fleet.aclose()
        await bus.aclose()
        return tokens / spent

    async with RedisServer() as redis, FaultProxy(redis.port) as proxy:
        proxy.pause()
        rows = [(await run(""), await run(f"redis://127.0.0.1:{proxy.port}/0")) for _ in range(3)]
    ratios = [hole / none for none, hole in rows]
    return {"tokens_per_second_without": rows[0][0], "ratio_with_black_hole": statistics.median(ratios)}


async def run_all(rounds: int, count: int) -> dict[str, Any]:
    """Everything, peers alternating."""
    names = [name for name, (package, _, _) in PEERS.items() if find_spec(package)]
    found: dict[str, list[Figures]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(await measure(name, count // 5 if name == "FastStream" else count))
    flood = {name: median(rows) for name, rows in found.items()}
    base = flood["redis-py pipelined (base)"]
    for name, row in flood.items():
        ratios = [
            mine["events_per_second"] / theirs["events_per_second"]
            for mine, theirs in zip(found[name], found["redis-py pipelined (base)"], strict=True)
        ]
        row["x_base"] = statistics.median(ratios)
        row["publisher_x_base"] = row["publisher_us"] / base["publisher_us"]
    paced_rows = {
        "Copilot Pulse, 1,000/s": await measure("Copilot Pulse", 5_000, 1_000.0),
        "XADD each, 1,000/s": await measure("redis-py pipelined (base)", 5_000, 1_000.0, one_by_one),
        "Copilot Pulse, 50/s": await measure("Copilot Pulse", 300, 50.0),
    }
    if "FastStream" in names:
        paced_rows["FastStream, 1,000/s"] = await measure("FastStream", 5_000, 1_000.0)
    return {"flood": flood, "paced": paced_rows, "pacing_us": await pacing(), "black_hole": await black_hole()}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    result = asyncio.run(run_all(options.rounds, options.events))
    result["publish"] = added_to_publish()
    print(json.dumps(result, indent=1, default=lambda value: round(value, 3)))
    print_table(result)
    return 0


def print_table(result: dict[str, Any]) -> None:
    """For docs/benchmarks.md."""
    print("\n| flood | events/s | x base | publisher µs (x base) | subscriber µs |\n|---|---:|---:|---:|---:|")
    for name, row in result["flood"].items():
        print(
            f"| {name} | {row['events_per_second']:,.0f} | {row['x_base']:.2f} | {row['publisher_us']:.1f} "
            f"({row['publisher_x_base']:.2f}) | {row['subscriber_us']:.1f} |"
        )
    print(f"\nPublisher µs without the pacing loop's own {result['pacing_us']:.0f}.")
    print("\n| paced | p50 ms | p99 ms | publisher µs | subscriber µs |\n|---|---:|---:|---:|---:|")
    for name, row in result["paced"].items():
        print(
            f"| {name} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} "
            f"| {max(0.0, row['publisher_us'] - result['pacing_us']):.0f} "
            f"| {row['subscriber_us']:.0f} |"
        )


if __name__ == "__main__":
    sys.exit(main())
