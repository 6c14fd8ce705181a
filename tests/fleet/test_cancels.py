"""A cancel at each suspension of each part of the fleet, on the real redis-server: nothing is left, nothing is half."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from backend.settings import Settings
from backend.streams.registry import Stream, StreamRegistry
from tests.support.cancelling import CancelAt, CancelOne
from tests.support.fleet_nodes import Node, nodes, wait_for
from tests.support.leaks import open_sockets, other_tasks
from tests.support.redis_server import RedisServer

SESSION = "session-of-a-page"
MOST = 400
"""No part suspends so often in what is tried here: a driver that never ends is a mistake of the test."""


class Work:
    """A node that does everything that there is: events, shared work, an answer written and one of another read."""

    def __init__(self, name: str, url: str, other: Node, elsewhere: StreamRegistry) -> None:
        self.node = Node(name, url, redis_answers=True, redis_pace=0.0, redis_read_pace=0.0)
        self.name = name
        self.written = 0
        self.other = other
        self.elsewhere = elsewhere
        self.done: Counter[str] = Counter()

    async def run(self, driver: CancelOne) -> None:
        """All of it, as far as it can be done without the part that is cancelled."""
        node, name = self.node, f"an-answer-of-{self.node.fleet.boot}"
        node.start()
        node.fleet.share("chaos", group="work", handler=lambda event: self.done.update([event.key]))
        store = store_of(node)
        theirs = begin(self.elsewhere, name + "-theirs")
        ours = begin(store, name)
        node.offer(5)
        self.other.offer(5)
        parts = node.fleet._parts
        assert parts is not None

        def over() -> bool:
            return driver.hit and driver.name == "Writer.run"

        assert await wait_for(lambda: over() or parts.writer.acked == 5)
        theirs.relay.line({"text": "words", "session_id": SESSION, "finished": False})
        if not over() and node.fleet.answers is not None:
            found = await node.fleet.answers.find(theirs.id, SESSION)
            if not isinstance(found, int | None):
                found.cancel()
                found.leave()
        store.finish(ours, "completed")
        self.elsewhere.finish(theirs, "completed")
        node.offer(5)
        assert await wait_for(lambda: over() or parts.writer.acked == 10)
        assert await wait_for(lambda: driver.hit or not (node.fleet.figures() or {})["answers"]["mirrored"])


def store_of(node: Node) -> StreamRegistry:
    """The streams of a node."""
    store = StreamRegistry(settings=Settings, publish=lambda *_: None, clock=time.monotonic)
    store.elsewhere = [one for one in (node.fleet.answers,) if one is not None]
    return store


def begin(store: StreamRegistry, name: str) -> Stream:
    """An answer with its head."""
    stream = store.claim(name, SESSION, "chat")
    stream.relay.head(200, {})
    return stream


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """No task and no socket but those of the other node, which waits for its next heartbeat anew each time."""
    tasks, sockets = other_tasks(), open_sockets()
    yield

    def clean() -> bool:
        left = [task.get_coro() for task in other_tasks() - tasks]
        return open_sockets() <= sockets and all(getattr(one, "__qualname__", "") == "Event.wait" for one in left)

    assert await wait_for(clean), (other_tasks() - tasks, open_sockets(), sockets)


async def entries_are_whole(redis: RedisServer, node: Node) -> int:
    """Each entry of the node's stream is one JSON array, without a hole to the one before; returns the events."""
    seen = 0
    for id_, fields in await redis.command("XRANGE", f"{{copilot-pulse}}:i:{node.fleet.boot}", "-", "+"):
        last, count = map(int, id_.split(b"-"))
        rows = json.loads(fields[b"b"])
        assert [row[0] for row in rows] == list(range(seen + 1, last + 1)), id_
        assert len(rows) == count
        seen = last
    return seen


async def clients(redis: RedisServer) -> int:
    """Connections that the server holds, without the one that asks."""
    return int((await redis.command("INFO", "clients"))["connected_clients"]) - 1


async def no_more_clients(redis: RedisServer, number: int) -> None:
    """Wait until the server holds so many connections."""
    left: list[int] = []

    async def gone() -> bool:
        left[:] = [await clients(redis)]
        return left == [number]

    assert await wait_for(gone), (left, number)


PARTS = ("Writer.run", "Reader.run", "Registry.run", "Group.run", "Mirror.run", "Replica.run")


@pytest.mark.parametrize("part", PARTS)
async def test_a_part_that_is_cancelled_anywhere_leaves_nothing(redis: RedisServer, part: str) -> None:
    """No task, no connection, no half entry; what it had written arrives once, and what others wrote as well."""
    async with nodes(redis.url, "b", redis_answers=True, redis_pace=0.0, redis_read_pace=0.0) as (other,):
        elsewhere = store_of(other)
        assert await wait_for(lambda: all(row["up"] for row in (other.fleet.figures() or {})["links"].values()))
        before = await clients(redis)
        other_done: Counter[str] = Counter()
        other.fleet.share("chaos", group="work", handler=lambda event: other_done.update([event.key]))
        shared = other.fleet._parts.groups.groups["work"]  # type: ignore[union-attr]
        assert await wait_for(lambda: shared.link.up)
        before += 1
        heard: set[str] = set()
        other.fleet.bus.subscribe("fleet.instance", lambda event: heard.add(event.data["instance"]))
        number, hits = 0, 0
        while True:
            number += 1
            # What it counts has to be there: on a slow machine the other node may be connecting anew.
            assert await wait_for(lambda: all(row["up"] for row in (other.fleet.figures() or {})["links"].values()))
            async with nothing_left():
                driver = CancelOne(part, number)
                loop = asyncio.get_running_loop()
                loop.set_task_factory(driver)
                work = Work(f"a{number}", redis.url, other, elsewhere)
                try:
                    await work.run(driver)
                finally:
                    loop.set_task_factory(None)
                copied = work.node.fleet._parts.mirror  # type: ignore[union-attr]
                await work.node.fleet.aclose()
                await work.node.local.aclose()
            written = work.written = await entries_are_whole(redis, work.node)
            if part != "Writer.run":
                assert written == work.node.offered
            if work.name in heard:  # not of one that ended before its first heartbeat
                assert await wait_for(lambda work=work: len(other.got.get(work.name, [])) >= work.written)
                assert other.got[work.name] == list(range(1, written + 1))
            assert not other.told
            assert not copied.foreign.number  # its own entries are not taken for those of somebody else
            hits += driver.hit
            if not driver.hit:
                break
            assert number < MOST
        await no_more_clients(redis, before)
        assert hits


async def test_leaving_can_be_cancelled_anywhere(redis: RedisServer) -> None:
    """`aclose()` that is cancelled leaves no task and no connection either."""
    async with nodes(redis.url, "b") as (other,):
        before, number = await clients(redis), 0
        while True:
            number += 1
            async with nothing_left():
                node = Node("a", redis.url, redis_answers=True)
                node.start()
                up = node.fleet._parts.writer.link  # type: ignore[union-attr]
                assert await wait_for(lambda up=up: up.up)

                async def handle(event: Any) -> None:
                    await asyncio.sleep(0)

                node.fleet.bus.subscribe("*", handle)
                node.offer(20)
                driver = CancelAt(node.fleet.aclose(), number)

                async def leave(driver: CancelAt = driver) -> None:
                    await driver

                with suppress(asyncio.CancelledError):
                    await asyncio.ensure_future(leave())
                await node.local.aclose()
            await entries_are_whole(redis, node)
            if not driver.hit:
                break
        assert number > 2
        await no_more_clients(redis, before)
        assert not other.told


async def test_who_asks_can_be_cancelled_anywhere(redis: RedisServer) -> None:
    """The next question gets its own answer, not that of the one who has gone."""
    async with nodes(redis.url, "ab", redis_answers=True, redis_timeout=60.0) as (one, other):
        store = store_of(other)
        names = [f"an-answer-of-twenty-two-{number}" for number in range(3)]
        for name in names:
            begin(store, name)
        assert one.fleet.answers is not None
        answers, parts = one.fleet.answers, one.fleet._parts
        assert parts is not None
        for name in names:
            while not await answers.claimed(name, SESSION):
                await asyncio.sleep(0.01)
        asks: list[Any] = [
            lambda: answers.find(names[0], SESSION),
            lambda: answers.claimed(names[0], SESSION),
            lambda: parts.writer.errand(("TIME",), ("GET", "{copilot-pulse}:nothing")),
            lambda: answers.find("nobody's", SESSION),
        ]
        for ask in asks:
            number, hit = 0, True
            while hit:
                number += 1
                driver = CancelAt(ask(), number)

                async def run(driver: CancelAt = driver) -> None:
                    await driver

                with suppress(asyncio.CancelledError):
                    await asyncio.ensure_future(run())
                hit = driver.hit
                replies = await parts.writer.errand(("ECHO", f"{number}"))
                assert replies == [f"{number}".encode()]
                found = await answers.find(names[1], SESSION)
                assert not isinstance(found, int | None)
                assert found.owner == other.fleet.boot
        one.offer(3)
        other.offer(3)
        assert await wait_for(lambda: one.settled(other) and other.settled(one))
        for node in (one, other):
            links = (node.fleet.figures() or {})["links"]
            assert [row["reconnects"] for row in links.values()] == [{}, {}]
