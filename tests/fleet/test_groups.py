"""Shared work on the real Redis: each event is handled by one instance, at least once, whatever happens."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backend.event_bus import Event, EventBus
from backend.fleet import Fleet
from backend.fleet_redis import groups
from tests.support.fleet_nodes import Node, nodes, wait_for
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """A server without persistence."""
    async with RedisServer() as server:
        yield server


def hurry(*made: Node) -> None:
    """Look for what others did not finish several times a second."""
    for node in made:
        assert node.fleet._parts is not None
        node.fleet._parts.groups._sweep_every = 0.2
        node.fleet._parts.groups._next_sweep = 0.0


def die(node: Node) -> None:
    """As kill -9 would."""
    assert node.fleet._parts is not None
    for task in node.fleet._parts.tasks:
        task.cancel()


async def test_each_event_is_handled_by_one_of_the_group(redis: RedisServer) -> None:
    """Of all instances, their own among them; two groups have all of it each."""
    async with nodes(redis.url, "abc") as made:
        by: dict[str, Counter[str]] = {"billing": Counter(), "audit": Counter()}
        shares: Counter[str] = Counter()
        for node in made:
            for group, seen in by.items():

                async def handle(event: Any, seen: Counter[str] = seen, name: str = node.settings.instance) -> None:
                    seen[event.key] += 1
                    shares[name] += 1
                    await asyncio.sleep(0)

                node.fleet.share("chaos", group=group, handler=handle)
        for _ in range(40):
            for node in made:
                node.offer(5)
            await asyncio.sleep(0.01)
        assert await wait_for(lambda: all(len(seen) == 600 for seen in by.values()), 40)

        assert [set(seen.values()) for seen in by.values()] == [{1}, {1}]
        assert set(shares) == {"a", "b", "c"}
        for node in made:
            (row, _) = (node.fleet.figures() or {})["groups"].values()
            assert (row["failed"], row["dead"], row["lost"]) == (0, 0, 0)


async def test_what_an_instance_had_in_hand_when_it_died_is_done_by_another(redis: RedisServer) -> None:
    """At least once: what it had begun may be done twice, with the same key."""
    async with nodes(redis.url, "abc", redis_claim_idle=1.0) as made:
        hurry(*made)
        seen: Counter[str] = Counter()
        stuck = asyncio.Event()

        async def hang(event: Any) -> None:
            stuck.set()
            await asyncio.Event().wait()

        made[0].fleet.share("chaos", group="work", handler=hang)
        made[1].offer(50)
        await asyncio.wait_for(stuck.wait(), 30)
        for node in made[1:]:
            node.fleet.share("chaos", group="work", handler=lambda event: seen.update([event.key]))
        die(made[0])
        made[2].offer(50)
        assert await wait_for(lambda: len(seen) == 100, 60)

        assert sum((node.fleet.figures() or {})["groups"]["work"]["redelivered"] for node in made[1:]) > 0


async def test_a_slow_handler_keeps_its_work(redis: RedisServer) -> None:
    """Its claim is renewed while it works, so nobody else begins the same."""
    async with nodes(redis.url, redis_claim_idle=1.0) as made:
        hurry(*made)
        begun: Counter[str] = Counter()
        done: list[str] = []

        async def slow(event: Any) -> None:
            begun[event.key] += 1
            await asyncio.sleep(4)
            done.append(event.key)

        for node in made:
            node.fleet.share("chaos", group="work", handler=slow)
        made[0].offer(1)
        assert await wait_for(lambda: done, 40)

        assert list(begun.values()) == [1]


async def test_poison_goes_to_the_dead_letters_and_the_rest_goes_on(redis: RedisServer) -> None:
    """What fails again and again is given up after five times, with its data; its neighbours are handled."""
    async with nodes(redis.url, redis_claim_idle=1.0) as made:
        hurry(*made)
        tries: Counter[int] = Counter()
        told: list[Any] = []

        def handle(event: Any) -> None:
            tries[event.data["i"]] += 1
            if event.data["i"] == 2:
                raise ValueError("hush")

        for node in made:
            node.fleet._parts.groups._claim_idle = 0.1  # type: ignore[union-attr]
            node.fleet.bus.subscribe("fleet.dead", lambda event: told.append(event.data))
            node.fleet.share("chaos", group="work", handler=handle)
        made[0].offer(3)
        assert await wait_for(lambda: told, 60)
        (letter,) = await redis.command("XRANGE", "{copilot-pulse}:dead:work", "-", "+")

        assert told[0] == {"group": "work", "key": f"{made[0].fleet.boot}-2", "type": "chaos", "deliveries": 5}
        assert f"{made[0].fleet.boot}-2" in str(letter)
        assert (tries[2], min(tries[1], tries[3]) >= 1) == (5, True)
        stream = f"{{copilot-pulse}}:i:{made[0].fleet.boot}"
        for _ in range(500):
            if (await redis.command("XPENDING", stream, "work"))["pending"] == 0:
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("it is still pending")


async def test_redis_forgets_the_consumers_of_machines_that_are_gone(redis: RedisServer, monkeypatch: Any) -> None:
    """Redis keeps their names for ever; they are deleted when they have long been gone and owe nothing, not before."""
    monkeypatch.setattr(groups, "FORGOTTEN", 0.0)
    async with nodes(redis.url, "abc", redis_claim_idle=1.0) as made:
        hurry(*made)
        seen: Counter[str] = Counter()
        stuck = asyncio.Event()

        async def hang(event: Any) -> None:
            stuck.set()
            await asyncio.Event().wait()

        made[0].fleet.share("chaos", group="work", handler=hang)
        made[2].offer(20)
        await asyncio.wait_for(stuck.wait(), 30)
        made[1].fleet.share("chaos", group="work", handler=lambda event: seen.update([event.key]))
        die(made[0])
        stream = f"{{copilot-pulse}}:i:{made[2].fleet.boot}"

        async def consumers() -> set[str]:
            rows = await redis.command("XINFO", "CONSUMERS", stream, "work")
            return {dict(zip(row[::2], row[1::2], strict=True))[b"name"].decode() for row in rows}

        assert made[0].fleet.boot in await consumers()
        assert await wait_for(lambda: len(seen) == 20, 60)  # what it owed was taken over first
        while made[0].fleet.boot in await consumers():
            await asyncio.sleep(0.05)
        assert made[1].fleet.boot in await consumers()


@pytest.mark.parametrize("how", ["clients", "kill", "wipe"])
async def test_shared_work_survives_redis(redis: RedisServer, how: str) -> None:
    """Connections cut, a restart without persistence, a wipe: the group is there again and nothing is left undone."""
    async with nodes(redis.url, redis_claim_idle=1.0) as made:
        hurry(*made)
        seen: Counter[str] = Counter()

        async def handle(event: Any) -> None:
            await asyncio.sleep(0)
            seen[event.key] += 1

        for node in made:
            node.fleet.share("chaos", group="work", handler=handle)
        made[0].offer(20)
        assert await wait_for(lambda: len(seen) == 20, 30)
        made[0].offer(20)
        if how == "clients":
            await redis.command("CLIENT", "KILL", "TYPE", "normal")
        elif how == "kill":
            redis.kill()
            await redis.start()
        else:
            await redis.command("FLUSHALL")
        made[0].offer(20)
        made[1].offer(20)
        assert await wait_for(lambda: len(seen) == 80, 60)


async def test_without_a_fleet_the_work_is_done_here() -> None:
    """The same plugin runs on one machine."""
    local = EventBus()
    fleet = Fleet(local)
    seen: list[Any] = []
    end = fleet.share("chat.*", group="work", handler=seen.append)
    await local.publish(Event("chat.started", {"chat_id": "7"}, "test"))
    await local.join()
    end()
    await local.publish(Event("chat.started", {"chat_id": "8"}, "test"))
    await local.join()

    assert [event.data["chat_id"] for event in seen] == ["7"]
    for pattern, group in (("chat.*.x*", "g"), ("chat.*", "no spaces"), ("", "g")):
        with pytest.raises(ValueError, match=r"pattern|named"):
            fleet.share(pattern, group=group, handler=seen.append)
    await fleet.aclose()
    await local.aclose()
