"""Traffic for bench_throttle.py: shapes with a name, shapes of an examiner, random mixtures of the same kinds of parts.

A shape is plain data: what a handler takes for an event (`Service`), and who publishes (`Source`s). Everything random
in it comes from its own seed, so a shape is the same for every policy, as far as the policy leaves it so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

SHORTEST: Final = 0.00005
Rate = Callable[[float], float]
"""Something a second at a time, in seconds since the beginning."""


@dataclass(frozen=True)
class Service:
    """How long the handler takes: on average 1 / rate(t) seconds, spread as `law` says; and when it stands still.

    law: "even", "exponential" or "pareto" (shape 1.5, cut off at 200 times the mean). stalls: (first, every, length):
    from `first` on, and then `every` so many seconds, the handler that begins an event takes `length` longer.
    """

    rate: Rate
    law: str = "even"
    stalls: tuple[float, float, float] | None = None

    def sampler(self, rng: Random) -> Callable[[float], float]:
        """What an event takes that begins at a time."""
        rate, law, stalls = self.rate, self.law, self.stalls
        next_stall = stalls[0] if stalls else math.inf

        def take(now: float) -> float:
            nonlocal next_stall
            seconds = 1 / rate(now)
            if law == "exponential":
                seconds *= rng.expovariate(1)
            elif law == "pareto":
                seconds *= min(200.0, rng.paretovariate(1.5) / 3)
            if now >= next_stall:
                assert stalls is not None
                seconds += stalls[2]
                next_stall = now + stalls[1]
            return max(SHORTEST, seconds)

        return take


@dataclass(frozen=True)
class Source:
    """Some publishers of one kind.

    kind "closed": `number` tasks, each of which publishes, waits, thinks for `think` seconds and publishes again.
    kind "open": events come at rate(t), at random moments; `number` tasks share them, and one that was held up
    publishes what has come meanwhile as fast as it may.
    kind "burst": every `every` seconds (give or take `jitter` of that) `size` events at once, shared by `number` tasks.
    kind "nowait": the same bursts by `publish_nowait`, `size` events over `spread` seconds.
    """

    kind: str
    number: int = 1
    think: float = 0.0
    rate: Rate = field(default=lambda _: 0.0)
    every: float = 1.0
    size: tuple[int, int] = (0, 0)
    jitter: float = 0.0
    spread: float = 0.0
    begin: float = 0.0
    end: float = math.inf


@dataclass(frozen=True)
class Shape:
    """One minute or so of traffic for one mailbox. calm: no overload in it that lasts."""

    name: str
    service: Service
    sources: Sequence[Source]
    seconds: float = 60.0
    capacity: int = 1000
    seed: int = 1
    overload: bool = False


def steady(rate: float) -> Rate:
    """Always the same."""
    return lambda _: rate


def step(before: float, after: float, at: float, until: float = math.inf) -> Rate:
    """`after` from `at` to `until`, else `before`."""
    return lambda t: after if at <= t < until else before


def wave(mean: float, swing: float, period: float) -> Rate:
    """A sine around `mean`, `swing` of it up and down."""
    return lambda t: mean * (1 + swing * math.sin(2 * math.pi * t / period))


def saw(low: float, high: float, period: float) -> Rate:
    """Rises from `low` to `high` and falls back at once."""
    return lambda t: low + (high - low) * (t % period) / period


def walk(mean: float, size: float, seed: int, seconds: float = 120.0) -> Rate:
    """Another rate each second, a random factor from the last."""
    rng, rate, rates = Random(seed), mean, []
    for _ in range(int(seconds) + 1):
        rate = min(mean * 3, max(mean / 3, rate * math.exp(rng.gauss(0, size))))
        rates.append(rate)
    return lambda t: rates[min(len(rates) - 1, int(t))]


def chats(rate: float, busy: float, idle: float) -> Rate:
    """Chats that stream at `rate` for `busy` seconds and are silent for `idle`."""
    return lambda t: rate if t % (busy + idle) < busy else 0.0


def named() -> list[Shape]:
    """The shapes of the table, 23 of them."""
    fast = Service(steady(400))
    return [
        Shape("steady", Service(steady(500), "exponential"), [Source("open", rate=steady(350))]),
        Shape("random arrivals, 95 %", Service(steady(500), "exponential"), [Source("open", rate=steady(475))]),
        Shape("closed loop, 400/s", fast, [Source("closed", 20)], overload=True),
        Shape("closed loop of 15, 40/s", Service(steady(40)), [Source("closed", 15)], overload=True),
        Shape("closed loop of 60, 40/s", Service(steady(40)), [Source("closed", 60)], overload=True),
        Shape("open overload", fast, [Source("open", 4, rate=steady(600))], overload=True),
        Shape("bursts, 1 publisher", Service(steady(500)), [Source("burst", 1, every=3, size=(300, 500))]),
        Shape("bursts, 20 publishers", Service(steady(500)), [Source("burst", 20, every=3, size=(300, 500))]),
        Shape(
            "handler slows down", Service(step(500, 200, 20, 40)), [Source("open", 3, rate=steady(350))], overload=True
        ),
        Shape("stalls of 1 s", Service(steady(600), stalls=(5, 6, 1.0)), [Source("open", 3, rate=steady(350))]),
        Shape(
            "one stall of 8 s", Service(steady(500), stalls=(10, 1e9, 8.0)), [Source("open", 10, rate=steady(250))],
            overload=True,
        ),
        Shape("day and night", fast, [Source("open", 4, rate=wave(380, 0.6, 30))], overload=True),
        Shape("heavy tail", Service(steady(500), "pareto"), [Source("open", 3, rate=steady(330))]),
        Shape("100 publishers", fast, [Source("closed", 100, think=0.1)], overload=True),
        Shape("flash crowd", fast, [Source("open", 100, rate=step(200, 2000, 20, 24))], overload=True),
        Shape("chats, reader of 30 a second", Service(steady(30)), [Source("open", 3, rate=chats(60, 5, 7))]),
        Shape("chats, handler with lulls", Service(step(300, 30, 25, 27)), [Source("open", 3, rate=chats(350, 6, 4))]),
        Shape(
            "greedy beside bursts of 450", Service(steady(400)),
            [Source("closed", 1), Source("nowait", every=3, size=(350, 550), jitter=0.3)], overload=True,
        ),
        Shape(
            "greedy beside bursts of 725", Service(steady(600)),
            [Source("closed", 1), Source("nowait", every=4, size=(600, 850), jitter=0.3)], overload=True,
        ),
        Shape("nowait only", Service(steady(300)), [Source("nowait", every=4, size=(700, 1300), jitter=0.3)]),
        Shape("sawtooth", Service(steady(500), "exponential"), [Source("open", 3, rate=saw(150, 800, 4))]),
        Shape("random walk", fast, [Source("open", 4, rate=walk(380, 0.25, 7))], overload=True),
        Shape("batches of 2,000", Service(steady(8000)), [Source("burst", 2, every=1, size=(2000, 2000))], seconds=20),
    ]  # fmt: skip


def on_and_off(rate: float, seed: int, seconds: float = 120.0) -> Rate:
    """Streams at `rate` and is silent in turns, each for a time with a heavy tail: 1 s at least, 3 s on average."""
    rng, at, ends = Random(seed), 0.0, []
    while at < seconds:
        at += rng.paretovariate(1.5)
        ends.append(at)
    return lambda t: 0.0 if sum(end <= t for end in ends) % 2 else rate


def stairs(rates: Sequence[float], each: float) -> Rate:
    """Each of these rates for so many seconds, and from the first again."""
    return lambda t: rates[int(t / each) % len(rates)]


def exam() -> list[Shape]:
    """Shapes that an examiner would think of. The model was not tuned on them."""
    fast = Service(steady(400))
    return [
        Shape(
            "on and off, heavy tails", Service(steady(300), "exponential"),
            [Source("open", 5, rate=on_and_off(550, 11)), Source("open", 5, rate=on_and_off(450, 12))], overload=True,
        ),
        Shape("sawtooth of the handler", Service(saw(100, 900, 6)), [Source("open", 4, rate=steady(420))]),
        Shape(
            "greedy, modest and bursts", fast,
            [
                Source("closed", 1), Source("closed", 20, think=0.25),
                Source("nowait", every=4, size=(300, 600), jitter=0.3),
            ], overload=True,
        ),
        Shape(
            "steps of the handler", Service(stairs((800, 100, 400, 150), 5)), [Source("open", 6, rate=steady(380))],
            overload=True,
        ),
        Shape(
            "pauses of a collector", Service(steady(600), stalls=(1, 1.5, 0.4)),
            [Source("open", 8, rate=steady(250)), Source("nowait", every=2, size=(200, 400), jitter=0.5)],
        ),
        Shape(
            "closed loop that thinks", Service(step(500, 150, 20, 35), "exponential"),
            [Source("closed", 40, think=0.1)], overload=True,
        ),
        Shape(
            "morning and evening", Service(steady(500), "exponential"),
            [Source("open", 10, rate=wave(420, 0.9, 60)), Source("nowait", every=5, size=(200, 500), jitter=0.3)],
            overload=True,
        ),
        Shape(
            "bursts as long as a hold", fast,
            [Source("closed", 5), Source("nowait", every=2, size=(350, 450), spread=0.5, jitter=0.2)], overload=True,
        ),
        Shape(
            "one slow event", Service(steady(500), "exponential", stalls=(8, 12, 3.0)),
            [Source("open", 5, rate=steady(330)), Source("nowait", every=6, size=(150, 300), jitter=0.3)],
            overload=True,
        ),
        Shape("capacity of 16", fast, [Source("open", 8, rate=steady(450))], capacity=16, overload=True),
        Shape(
            "capacity of 100", fast, [Source("closed", 2), Source("nowait", every=2, size=(30, 60), jitter=0.3)],
            capacity=100, overload=True,
        ),
        Shape(
            "capacity of 10,000", Service(steady(4000)),
            [Source("closed", 2), Source("nowait", every=4, size=(3500, 5500), jitter=0.3)], seconds=30,
            capacity=10000, overload=True,
        ),
    ]  # fmt: skip


USUAL: Final = (250, 500, 1000, 1000, 1000, 2000)
SMALL: Final = (8, 16, 32, 64, 100, 200)


def random_shape(seed: int, capacities: Sequence[int] = USUAL) -> Shape:
    """A mixture of one to three sources before a random handler. The same for the same seed."""
    rng = Random(f"shape {seed}")
    capacity = rng.choice(capacities)
    mean = math.exp(rng.uniform(math.log(60), math.log(800)))
    seconds = 30.0
    rate = rng.choice((
        steady(mean), steady(mean), step(mean, mean * rng.uniform(0.2, 0.6), rng.uniform(8, 20), rng.uniform(22, 28)),
        wave(mean, rng.uniform(0.1, 0.5), rng.uniform(4, 25)), walk(mean, rng.uniform(0.05, 0.3), seed),
    ))  # fmt: skip
    stalls = (rng.uniform(2, 10), rng.uniform(4, 15), rng.uniform(0.2, 2.5)) if rng.random() < 0.3 else None
    service = Service(rate, rng.choice(("even", "exponential", "exponential", "pareto")), stalls)
    kinds = [rng.choice(("closed", "open", "open", "burst", "nowait")) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
    if kinds.count("nowait") > 1:  # what these lose among themselves is nobody's to save
        kinds = ["nowait", "closed"]
    sources = [_random_source(rng, kind, mean, capacity) for kind in kinds]
    return Shape(f"random {seed}", service, sources, seconds, capacity, seed)


def _random_source(rng: Random, kind: str, mean: float, capacity: int) -> Source:
    number = rng.choice((1, 1, 2, 5, 20, 60))
    begin = rng.choice((0.0, 0.0, rng.uniform(0, 15)))
    if kind == "closed":
        return Source("closed", number, think=rng.choice((0.0, 0.0, number / mean * rng.uniform(0.3, 2))), begin=begin)
    if kind == "open":
        offered = mean * rng.uniform(0.2, 1.2)
        rates = (
            steady(offered), wave(offered, rng.uniform(0.2, 0.9), rng.uniform(3, 30)),
            chats(offered * 1.5, rng.uniform(1, 8), rng.uniform(1, 8)),
            saw(offered * 0.3, offered * 1.5, rng.uniform(2, 15)),
            step(offered * 0.5, offered * rng.uniform(1.5, 4), rng.uniform(8, 20), rng.uniform(22, 30)),
        )  # fmt: skip
        return Source("open", number, rate=rng.choice(rates), begin=begin)
    size = capacity * rng.uniform(0.1, 0.65)
    every = size / mean / rng.uniform(0.15, 0.6)
    sizes = (max(1, int(size * 0.7)), max(1, int(size * 1.3)))
    if kind == "burst":
        return Source("burst", number, every=every, size=sizes, jitter=0.3, begin=begin)
    return Source("nowait", every=every, size=sizes, jitter=0.3, spread=rng.choice((0.0, 0.0, 0.2, 1.0)), begin=begin)
