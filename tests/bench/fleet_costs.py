"""What the fleet costs a machine, and how soon it is well again; parts of `bench_fleet`, which runs them all."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import multiprocessing
import random
import statistics
import time
from asyncio import events
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from backend.event_bus import EventBus
from backend.fleet import Fleet
from backend.settings import Secret, Settings
from backend.streams.registry import StreamRegistry
from tests.bench import bench_chat
from tests.support.fleet_nodes import nodes, wait_for
from tests.support.host import PLUGIN, STANDIN, Host
from tests.support.net import refused_url
from tests.support.proxy import FaultProxy
from tests.support.redis_server import RedisServer

Figures = dict[str, float]
CHATS, TOKENS, PAUSE = 50, 60, 0.05


# -- mirroring answers -----------------------------------------------------------------------------------


async def _chats(token: Callable[[int, str], Awaitable[object]]) -> float:
    """Microseconds of processor time a token of 50 chats with 20 tokens a second each, by `token(chat, text)`."""

    async def chat(number: int) -> None:
        text = ""
        await asyncio.sleep(PAUSE * number / CHATS)
        for word in range(TOKENS):
            text += f"word {word} "
            await token(number, text)
            await asyncio.sleep(PAUSE)

    gc.collect()
    began = time.process_time()
    await asyncio.gather(*(chat(number) for number in range(CHATS)))
    return (time.process_time() - began) / (CHATS * TOKENS) * 1e6


async def _relayed(fleet: Fleet) -> float:
    """Into the logs of answers, as chats write them; mirrored if the fleet is on."""
    store = StreamRegistry(settings=Settings, publish=lambda *_: None, clock=time.monotonic)
    store.elsewhere = [one for one in (fleet.answers,) if one is not None]
    streams = [store.claim(f"the-answer-{number}-of-a-fleet", f"session {number}", "chat") for number in range(CHATS)]
    for stream in streams:
        stream.relay.head(200, {})

    async def token(number: int, text: str) -> None:
        streams[number].relay.line({"text": text, "session_id": "session", "finished": False})

    try:
        return await _chats(token)
    finally:
        for stream in streams:
            store.finish(stream, "completed")


async def mirroring(rounds: int) -> Figures:
    """What copying an answer to Redis costs a token, and what an XADD a token costs."""
    from redis.asyncio import Redis

    plain, mirrored, each = [], [], []
    async with RedisServer() as redis, Redis(port=redis.port, protocol=2, socket_timeout=None) as client:
        settings = dataclasses.replace(Settings(), redis_url=Secret(redis.url), redis_answers=True)
        for _ in range(rounds):
            plain.append(await _relayed(Fleet(EventBus())))
            fleet = Fleet(EventBus())
            fleet.start(settings)
            await wait_for(lambda fleet=fleet: fleet._parts is not None and fleet._parts.writer.link.up, 20)
            mirrored.append(await _relayed(fleet))
            await fleet.aclose()

            async def xadd(number: int, text: str) -> None:
                await client.xadd(f"answer-{number}", {"t": text[-8:]})

            async def nothing(number: int, text: str) -> None:
                return None

            each.append(await _chats(xadd) - await _chats(nothing))
    ours = statistics.median(with_ - without for with_, without in zip(mirrored, plain, strict=True))
    theirs = statistics.median(each)
    return {"mirror_us": ours, "xadd_us": theirs, "ratio": ours / theirs}


# -- holds of the loop, and recovery -----------------------------------------------------------------------


class Holds:
    """The longest that one turn of the loop took, in processor time, without Python's garbage collector: what
    neighbours do is not counted, nor what the collector finds of the whole program."""

    def __enter__(self) -> Holds:
        self.longest = 0.0
        self._collecting = self._since = 0.0
        gc.callbacks.append(self._on_collector)
        self._run = run = events.Handle._run

        def timed(handle: Any) -> None:
            began = time.thread_time() - self._collecting
            run(handle)
            self.longest = max(self.longest, time.thread_time() - self._collecting - began)

        setattr(events.Handle, "_run", timed)  # noqa: B010 (it is private)
        return self

    def _on_collector(self, phase: str, _: object) -> None:
        if phase == "start":
            self._since = time.thread_time()
        else:
            self._collecting += time.thread_time() - self._since

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._on_collector)
        setattr(events.Handle, "_run", self._run)  # noqa: B010


async def holds(outage: float = 10.0) -> Figures:
    """Milliseconds of the longest turn at 1,000 events a second: as a rule, and while an outage is made up for."""
    async with RedisServer() as redis, nodes(redis.url) as (one, other):

        async def offer(seconds: float) -> float:
            end = time.monotonic() + seconds
            with Holds() as held:
                while time.monotonic() < end:
                    one.offer(10)
                    await asyncio.sleep(0.01)
            return held.longest * 1000

        await offer(0.5)
        usual = await offer(4.0)
        redis.kill()
        await offer(outage)
        await redis.start()
        waiting = len(one.fleet._parts.outbox)  # type: ignore[union-attr]
        after = await offer(4.0)
        await wait_for(lambda: other.settled(one), 20)
        return {"usual_ms": usual, "after_outage_ms": after, "waited": waiting}


async def recovery(rounds: int = 20) -> Figures:
    """Seconds from Redis' first answer after an outage of up to 5 s to the arrival of what was offered then."""
    found, draw = [], random.Random(14)
    async with RedisServer() as redis, nodes(redis.url) as (one, other):
        for _ in range(rounds):
            redis.kill()
            await asyncio.sleep(draw.uniform(0.1, 5.0))
            await redis.start()
            began = time.monotonic()
            one.offer(1)
            await wait_for(lambda: other.settled(one), 30)
            found.append(time.monotonic() - began)
    found.sort()
    return {"p50_s": statistics.median(found), "p95_s": found[int(0.95 * (len(found) - 1) + 0.5)]}


# -- many instances ----------------------------------------------------------------------------------------


async def instances(number: int = 50, rate: float = 100.0, seconds: float = 20.0) -> Figures:
    """What each of many instances takes of a core while all together publish `rate` events a second, and Redis' part.

    They share this process, and each of them gets the events of all others.
    """
    names = [f"instance-{n}" for n in range(number)]
    async with RedisServer() as redis, nodes(redis.url, names) as made:
        turn, before = 0, await _of_redis(redis)
        began, spent = time.monotonic(), time.process_time()
        while turn < rate * seconds:
            await asyncio.sleep(max(0.0, began + turn / rate - time.monotonic()))
            made[turn % number].offer()
            turn += 1
        took, spent = time.monotonic() - began, time.process_time() - spent
        after = await _of_redis(redis)
        arrived = sum(len(got) for node in made for got in node.got.values())
    return {
        "each_percent": spent / took / number * 100, "redis_percent": (after[0] - before[0]) / took * 100,
        "redis_mb": after[1] / 1e6, "events_per_second": turn / took, "arrived_per_second": arrived / took,
    }  # fmt: skip


async def _of_redis(redis: RedisServer) -> tuple[float, float]:
    """(its processor seconds so far, the bytes that it uses)"""
    cpu, memory = await redis.command("INFO", "CPU"), await redis.command("INFO", "MEMORY")
    return cpu["used_cpu_user"] + cpu["used_cpu_sys"], memory["used_memory"]


# -- chats beside a Redis that swallows everything ---------------------------------------------------------


@asynccontextmanager
async def _model(tokens: int) -> AsyncIterator[str]:
    """A model server, a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=bench_chat._serve, args=(theirs, tokens), daemon=True)
    server.start()
    try:
        yield await asyncio.to_thread(ours.recv)
    finally:
        ours.send(None)
        await asyncio.to_thread(server.join, 5)


async def chats(rounds: int, tokens: int = 1_000, each: int = 30) -> Figures:
    """Real chats through the plugin with a black-holed Redis, over those without any: the median of first tokens, the
    best tokens a second of three long answers, and this process's processor time."""
    first: list[float] = []
    speed: list[float] = []
    cpu: list[float] = []
    async with (
        RedisServer() as redis,
        FaultProxy(redis.port) as proxy,
        _model(tokens) as long_url,
        _model(20) as short_url,
    ):
        proxy.pause()
        holes = {"COPILOT_PULSE_REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0", "COPILOT_PULSE_REDIS_ANSWERS": "on"}
        plain = {"COPILOT_PULSE_MCP_TIMEOUT": "0.2", "BACKEND_BASE_URL": refused_url()}
        for number in range(rounds):
            found: dict[str, tuple[float, float, float]] = {}
            for name in ("hole", "none") if number % 2 else ("none", "hole"):
                environment = {**plain, **(holes if name == "hole" else {})}
                found[name] = (
                    *await _first_tokens(short_url, environment, each),
                    await _seconds_of_long_answer(long_url, environment),
                )
            first.append(found["hole"][0] / found["none"][0])
            cpu.append(found["hole"][1] / found["none"][1])
            speed.append(found["none"][2] / found["hole"][2])
    return {
        "first_token_ratio": statistics.median(first), "tokens_per_second_ratio": statistics.median(speed),
        "cpu_ratio": statistics.median(cpu),
    }  # fmt: skip


@asynccontextmanager
async def _host(base_url: str, environment: dict[str, str]) -> AsyncIterator[Host]:
    """A host that is warm, and knows that its Redis is silent."""
    async with Host([PLUGIN, STANDIN], llm=base_url, env=environment) as host:
        await host.chat(session="warm-up", timeout=120)
        await asyncio.sleep(2.5)
        yield host


async def _first_tokens(base_url: str, environment: dict[str, str], number: int) -> tuple[float, float]:
    """(the median of seconds to the first token, processor seconds of a chat)"""
    async with _host(base_url, environment) as host:
        began = time.process_time()
        rows = [await host.chat(session=f"short-{n}", timeout=120) for n in range(number)]
        spent = time.process_time() - began
    return statistics.median(row.first_seconds or 0.0 for row in rows), spent / number


async def _seconds_of_long_answer(base_url: str, environment: dict[str, str]) -> float:
    """The best of three, for what else runs on the machine only adds to it."""
    async with _host(base_url, environment) as host:
        rows = [await host.chat(session=f"long-{n}", timeout=120) for n in range(3)]
    shown = [[t for t, text in zip(row.times, row.shown, strict=True) if text] for row in rows]
    return min(times[-1] - times[0] for times in shown)
