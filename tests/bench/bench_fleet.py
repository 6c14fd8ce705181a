"""The fleet against its peers on one real redis-server, in one run: ratios count, not figures.

    python -m venv .venv-bench && .venv-bench/bin/pip install -r tests/bench/requirements-fleet.txt
    .venv-bench/bin/python -m tests.bench.bench_fleet --rounds 5

A publisher and a subscriber, each a process of its own. The base is redis-py's own pipelined XADD, 256 events at a
time, with the standard library's JSON. Peers that are not installed are left out. `--parts` names what is measured:
events as fast as they go and at a rate, what copying an answer costs, chats beside a Redis that swallows everything,
how long the loop is held, recovery, what fifty instances cost, and what `publish_nowait` costs more.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
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
from tests.bench import fleet_costs
from tests.support.redis_server import RedisServer

BATCH = 256
WAITING = 4 * BATCH
"""Events that wait in our outbox at most during a flood, which takes 10,000: what is written while the publisher sleeps
for its millisecond. With half of it the writer has nothing to do for a third of the time."""
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
    while not fleet._parts.registry._greeted:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)  # the subscriber is to know of us: joining a fleet is not what is measured

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


BASE, PULSE = "redis-py pipelined (base)", "Copilot Pulse"
PEERS: dict[str, tuple[str, Any, Any]] = {
    BASE: ("redis", base_publish, base_subscribe),
    PULSE: ("redis", pulse_publish, pulse_subscribe),
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


async def pacing(rate: float) -> float:
    """Microseconds of processor time that sending nothing so many times a second takes."""
    count = int(rate * 2)

    async def send(number: int) -> None:
        return None

    began = time.process_time()
    await paced(count, rate, send)
    return (time.process_time() - began) / count * 1e6


async def flood(rounds: int, count: int) -> dict[str, Figures]:
    """As fast as it goes, peers alternating."""
    names = [name for name, (package, _, _) in PEERS.items() if find_spec(package)]
    found: dict[str, list[Figures]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(await measure(name, count // 5 if name == "FastStream" else count))
    result = {name: median(rows) for name, rows in found.items()}
    for name, row in result.items():
        pairs = list(zip(found[name], found[BASE], strict=True))
        row["x_base"] = statistics.median(mine["events_per_second"] / base["events_per_second"] for mine, base in pairs)
        row["publisher_x_base"] = statistics.median(mine["publisher_us"] / base["publisher_us"] for mine, base in pairs)
    return result


async def rates(rounds: int) -> dict[str, Figures]:
    """At 1,000 events a second, peers alternating, and at 50; the publisher without what pacing alone takes."""
    kinds: dict[str, tuple[str, int, float, Any]] = {
        "XADD each, 1,000/s": (BASE, 4_000, 1_000.0, one_by_one),
        "Copilot Pulse, 1,000/s": (PULSE, 4_000, 1_000.0, None),
        "Copilot Pulse, 50/s": (PULSE, 200, 50.0, None),
    }
    if find_spec("faststream"):
        kinds["FastStream, 1,000/s"] = ("FastStream", 4_000, 1_000.0, None)
    found: dict[str, list[Figures]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, (peer, count, rate, publish) in kinds.items():
            row = await measure(peer, count, rate, publish)
            row["publisher_us"] = max(0.0, row["publisher_us"] - await pacing(rate))
            found[name].append(row)
    result = {name: median(rows) for name, rows in found.items()}
    for name, row in result.items():
        row["publisher_x_xadd"] = statistics.median(
            mine["publisher_us"] / each["publisher_us"]
            for mine, each in zip(found[name], found["XADD each, 1,000/s"], strict=True)
        )
    return result


PARTS: dict[str, Callable[[int, int], Any]] = {
    "flood": flood,
    "rates": lambda rounds, count: rates(rounds),
    "mirror": lambda rounds, count: fleet_costs.mirroring(rounds),
    "chats": lambda rounds, count: fleet_costs.chats(rounds),
    "holds": lambda rounds, count: fleet_costs.holds(),
    "recovery": lambda rounds, count: fleet_costs.recovery(),
    "instances": lambda rounds, count: fleet_costs.instances(),
}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--parts", default=",".join([*PARTS, "publish"]), help="of these, with commas; default: all")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    result: dict[str, Any] = {}
    for part in options.parts.split(","):
        if part == "publish":
            result[part] = added_to_publish()
        else:
            result[part] = asyncio.run(PARTS[part](options.rounds, options.events))
    print(json.dumps(result, indent=1, default=lambda value: round(value, 3)))
    print_tables(result)
    return 0


TARGETS: dict[str, dict[str, tuple[str, float]]] = {
    "mirror": {"ratio": ("mirroring an answer, × an XADD a token", 0.15)},
    "chats": {
        "first_token_ratio": ("first token with a black-holed Redis, × without", 1.03),
        "tokens_per_second_ratio": ("tokens a second with a black-holed Redis, × without", 0.97),
        "cpu_ratio": ("processor time of a chat with a black-holed Redis, × without", 1.03),
    },
    "holds": {
        "usual_ms": ("longest hold of the loop at 1,000 events/s, ms", 2.0),
        "after_outage_ms": ("longest hold of the loop after an outage of 10 s, ms", 2.0),
    },
    "recovery": {
        "p50_s": ("recovery after Redis is back, median, s", 2.5),
        "p95_s": ("recovery after Redis is back, 95 %, s", 2.5),
    },
    "publish": {
        "added_ns": ("added to `publish_nowait`, ns", 200.0),
        "added_by_a_full_outbox_ns": ("added to `publish_nowait` by a full outbox, ns", 400.0),
    },
}
"""What a figure is called, and what it should not exceed (of tokens a second: should reach)."""


def print_tables(result: dict[str, Any]) -> None:
    """For docs/fleet.md."""
    if "flood" in result:
        print("\n| flood | events/s | × base | publisher µs (× base) | subscriber µs |\n|---|---:|---:|---:|---:|")
    for name, row in result.get("flood", {}).items():
        print(
            f"| {name} | {row['events_per_second']:,.0f} | {row['x_base']:.2f} | {row['publisher_us']:.1f} "
            f"({row['publisher_x_base']:.2f}) | {row['subscriber_us']:.1f} |"
        )
    if "rates" in result:
        print("\n| at a rate | p50 ms | p99 ms | publisher µs (× XADD each) | subscriber µs |")
        print("|---|---:|---:|---:|---:|")
    for name, row in result.get("rates", {}).items():
        print(
            f"| {name} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['publisher_us']:.0f} "
            f"({row['publisher_x_xadd']:.2f}) | {row['subscriber_us']:.0f} |"
        )
    print("\n| what | measured | asked |\n|---|---:|---:|")
    for part, figures in TARGETS.items():
        for name, (words, asked) in figures.items():
            if part in result:
                sign = "≥" if name == "tokens_per_second_ratio" else "≤"
                print(f"| {words} | {result[part][name]:.3g} | {sign} {asked:g} |")


if __name__ == "__main__":
    sys.exit(main())
