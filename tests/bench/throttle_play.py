"""Plays one shape of traffic through the real event bus on a virtual clock, and measures what became of it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

from backend.event_bus import DONE, Event, EventBus
from tests.bench.throttle_shapes import Shape, Source
from tests.support.virtual_loop import run_virtually

LOOK_EVERY: Final = 0.025


@dataclass
class Outcome:
    """One shape under one policy. Times in seconds, levels as shares of the capacity, `over_*` as shares of the time.

    delay: what publishers waited, all of them together; published: the events that somebody waited for. sojourn:
    from the publish to the handler. born: from the moment at which the event was there to be published.
    """

    lost: int
    over70: float
    over90: float
    delay: float
    published: int
    delivered: int
    sojourn50: float
    sojourn99: float
    born: float
    statistics: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class _Play:
    """A bus with one subscriber, and its publishers."""

    def __init__(self, shape: Shape, throttle: Any) -> None:
        self.shape = shape
        self.loop = asyncio.get_running_loop()
        self.bus = EventBus(capacity=shape.capacity, throttle=throttle, clock=self.loop.time)
        self.delay = 0.0
        self.published = 0
        self.sojourns: list[float] = []
        self.born = 0.0
        self.levels: list[float] = []
        self.thresholds: list[float] = []
        self.take = shape.service.sampler(Random(f"service {shape.seed}"))
        self.bus.subscribe("t", self.handle)

    async def handle(self, event: Event) -> None:
        now = self.loop.time()
        published, born = event.data["at"]
        self.sojourns.append(now - published)
        self.born += now - born
        await asyncio.sleep(self.take(now))

    async def publish(self, born: float) -> None:
        now = self.loop.time()
        waiting = self.bus.publish(Event("t", {"at": (now, born)}, "bench"))
        self.published += 1
        if waiting is not DONE:
            await waiting
            self.delay += self.loop.time() - now

    async def look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            row = self.bus.statistics()["queues"][0]
            self.levels.append(row["fill"])
            self.thresholds.append(row["throttle"].get("threshold", 0) / row["capacity"])

    async def closed(self, source: Source, end: float) -> None:
        while (now := self.loop.time()) < end:
            await self.publish(now)
            if source.think:
                await asyncio.sleep(source.think)

    async def open(self, source: Source, end: float, rng: Random) -> None:
        born = source.begin
        while True:
            rate = source.rate(born) / source.number
            if rate <= 0:
                born += 0.05
            else:
                step = rng.expovariate(rate)
                born += min(step, 0.25)
                if step > 0.25:  # look at the rate again: it may have risen meanwhile
                    continue
            if born >= end:
                return
            if rate <= 0:
                continue
            if born > self.loop.time():
                await asyncio.sleep(born - self.loop.time())
            await self.publish(born)
            if self.loop.time() >= end:
                return

    async def bursts(self, source: Source, end: float, rng: Random) -> None:
        begin = source.begin
        while True:
            begin += source.every * (1 + source.jitter * (2 * rng.random() - 1))
            if begin >= end:
                return
            size = rng.randint(*source.size)
            await asyncio.sleep(max(0.0, begin - self.loop.time()))
            if source.kind == "nowait":
                await self.nowait(size, source.spread)
            else:
                shares = [size // source.number + (n < size % source.number) for n in range(source.number)]
                await asyncio.gather(*(self.one_share(share, begin) for share in shares if share))

    async def one_share(self, share: int, born: float) -> None:
        for _ in range(share):
            await self.publish(born)

    async def nowait(self, size: int, spread: float) -> None:
        parts = 20 if spread else 1
        for part in range(parts):
            now = self.loop.time()
            for _ in range(size // parts + (part < size % parts)):
                self.bus.publish_nowait(Event("t", {"at": (now, now)}, "bench"))
            if spread:
                await asyncio.sleep(spread / parts)

    async def source(self, source: Source, number: int, end: float) -> None:
        await asyncio.sleep(source.begin)
        rngs = [Random(f"{self.shape.seed} {number} {n}") for n in range(source.number)]
        if source.kind == "closed":
            await asyncio.gather(*(self.closed(source, end) for _ in rngs))
        elif source.kind == "open":
            await asyncio.gather(*(self.open(source, end, rng) for rng in rngs))
        else:
            await self.bursts(source, end, rngs[0])

    async def run(self) -> Outcome:
        end = self.shape.seconds
        watcher = asyncio.ensure_future(self.look())
        sources = [
            asyncio.ensure_future(self.source(source, number, min(end, source.end)))
            for number, source in enumerate(self.shape.sources)
        ]
        await asyncio.sleep(end)
        for task in (watcher, *sources):
            task.cancel()
        await asyncio.gather(watcher, *sources, return_exceptions=True)
        row = self.bus.statistics()["queues"][0]
        outcome = self._outcome(row)
        await self.bus.aclose(drain=False)
        return outcome

    def _outcome(self, row: dict[str, Any]) -> Outcome:
        sojourns, levels = sorted(self.sojourns), self.levels
        return Outcome(
            lost=row["dropped"],
            over70=sum(level > 0.7 for level in levels) / len(levels),
            over90=sum(level > 0.9 for level in levels) / len(levels),
            delay=self.delay,
            published=self.published,
            delivered=len(sojourns),
            sojourn50=sojourns[len(sojourns) // 2] if sojourns else 0.0,
            sojourn99=sojourns[int(len(sojourns) * 0.99)] if sojourns else 0.0,
            born=self.born / max(1, len(sojourns)),
            statistics=row,
        )


def play(shape: Shape, throttle: Any) -> Outcome:
    """The outcome of one shape with `throttle`, anything that EventBus takes."""
    return trace(shape, throttle)[0]


def trace(shape: Shape, throttle: Any) -> tuple[Outcome, list[float], list[float]]:
    """The outcome, and the level and the model's threshold all along, as shares of the capacity."""

    async def main() -> tuple[Outcome, list[float], list[float]]:
        run = _Play(shape, throttle)
        return await run.run(), run.levels, run.thresholds

    return run_virtually(main())
