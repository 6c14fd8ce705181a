"""Who is there: nobody is missed who lives, nobody stays who is gone, and each has a name of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from backend.fleet_redis import reader, registry
from tests.support.fleet_nodes import Node, later, look, nodes, settle, wait_for
from tests.support.redis_server import RedisServer


@pytest.mark.parametrize("how", ["wiped", "restarted", "full", "away", "clock"])
async def test_nobody_is_missed_because_of_redis(redis: RedisServer, how: str) -> None:
    """All heartbeats are gone at once; those that live have not vanished, and their answers are not given up."""
    async with nodes(redis.url, "abc") as made:
        told: list[Any] = []
        for node in made:
            node.fleet.bus.subscribe("fleet.instance", lambda event: told.append(event.data))
        registries = [node.fleet._parts.registry for node in made if node.fleet._parts is not None]
        beats = [f"{{copilot-pulse}}:h:{node.fleet.boot}" for node in made]
        for turn in range(1, 4):
            if how == "wiped":
                await redis.command("FLUSHALL")
            elif how == "restarted":
                redis.kill()
                await redis.start()
            else:  # what it keeps it still has, but for the heartbeats, which have run out
                await redis.command("CONFIG", "SET", "maxmemory", "1" if how == "full" else "0")
                await redis.command("DEL", *beats)
                for one in registries if how == "away" else ():
                    one._clock = later(30.0 * turn)
            for one in registries:
                await look(one)
            await redis.command("CONFIG", "SET", "maxmemory", "0")
            assert await wait_for(lambda: all(node.knows() for node in made))
        for node in made:
            node.offer(1)
        for node in made:
            for other in made:
                assert node is other or await wait_for(lambda node=node, other=other: node.settled(other))

        assert told == []


@pytest.mark.parametrize("how", ["wiped", "asleep"])
async def test_nobody_is_missed_because_of_what_happens_between_a_heartbeat_and_a_look(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Redis is wiped there, or the machine on which all of it runs is put to sleep."""
    async with nodes(redis.url) as (one, other):
        told: list[Any] = []
        one.fleet.bus.subscribe("fleet.instance", lambda event: told.append(event.data))
        registry = one.fleet._parts.registry  # type: ignore[union-attr]
        beat = registry._beat

        async def beat_and_sleep() -> None:
            await beat()
            if how == "wiped":
                await redis.command("FLUSHALL")
            else:
                await redis.command("DEL", f"{{copilot-pulse}}:h:{other.fleet.boot}")
                registry._clock = later(30.0)

        with monkeypatch.context() as patch:
            patch.setattr(registry, "_beat", beat_and_sleep)
            await look(registry)

        assert told == []


async def test_a_process_that_stood_still_does_not_blame_redis(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A laptop that slept, a loop that was held: it connects anew, and nothing is said of a Redis that did answer."""
    monkeypatch.setattr(reader, "BLOCK", 0.1)
    async with nodes(redis.url) as (one, other):
        link = other.fleet._parts.reader.link  # type: ignore[union-attr]
        before = link._connection
        while link._connection is before:
            await asyncio.sleep(0.05)
            time.sleep(1.5)
        one.offer(3)
        await settle(other, one)

        assert "does not answer" not in caplog.text
        assert link.up


async def test_a_host_that_starts_again_and_again_hides_nobody(redis: RedisServer) -> None:
    """Each start is remembered for an hour; those that live are found among a thousand that do not."""
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    boots = ["aaaaaaaa" + "".join(letters[number // 32**i % 32] for i in range(4)) for number in range(1_000)]
    await redis.command("SADD", "{copilot-pulse}:m", *boots)
    left = "redis.call('SET', '{copilot-pulse}:h:' .. boot, '{\"left\": true}', 'PX', 600000)"
    await redis.command("EVAL", f"for _, boot in ipairs(ARGV) do {left} end", 0, *boots)
    async with nodes(redis.url) as (one, other):
        one.offer(3)
        await settle(other, one)


async def test_who_writes_rubbish_as_a_heartbeat_harms_nobody(redis: RedisServer) -> None:
    """Members that are none, numbers that are none: the others go on seeing one another."""
    async with nodes(redis.url) as (one, _):
        rubbish = ["no json", "[]", "{}", '{"n": -1, "d": "x", "label": 7, "status": [], "started": 1%s}' % ("0" * 400)]
        rubbish += ['{"n": 1e999, "status": {"chats": {}, "problems": 7, "current": [1]}}', "[" * 50_000]
        for number, beat in enumerate(rubbish):
            boot = "abcdefghijk" + "234567"[number]
            await redis.command("SET", f"{{copilot-pulse}}:h:{boot}", beat, "PX", 60_000)
            await redis.command("SADD", "{copilot-pulse}:m", boot, "no boot", "x" * 1_000)
        await redis.command("XADD", f"{{copilot-pulse}}:c:{one.fleet.boot}", "*", "k", "look")
        async with nodes(redis.url, "c") as (late,):
            assert await wait_for(lambda: one.knows("c"))
            late.offer(3)
            await settle(one, late)


async def test_a_member_that_vanishes_is_noticed_and_one_that_leaves_at_once(redis: RedisServer) -> None:
    """The panel has to know within 15 s; a server that is stopped in good order says so itself."""
    async with nodes(redis.url, "abc") as (one, other, third):
        heard: list[tuple[str, str]] = []
        one.fleet.bus.subscribe("fleet.instance", lambda event: heard.append(tuple(event.data.values())))
        await third.fleet.aclose()
        assert await wait_for(lambda: ("c", "left") in heard)
        parts = other.fleet._parts
        assert parts is not None
        for task in parts.tasks:
            task.cancel()
        assert await wait_for(lambda: ("b", "gone") in heard)

        assert [row["state"] for row in one.fleet.instances()] == ["up", "gone", "left"]
        assert (one.fleet.figures() or {})["gone"] == ["b"]


async def test_whoever_vanishes_is_missed_within_15_seconds(redis: RedisServer) -> None:
    """Its heartbeat has run out by then, by Redis' clock, and everybody looks often enough to see that."""
    async with nodes(redis.url) as made:
        for node in made:
            left = await redis.command("PTTL", f"{{copilot-pulse}}:h:{node.fleet.boot}")
            slowest_look = 1.1 * registry.BEAT + registry.HURRY

            assert 0 < left / 1000 <= 15 - slowest_look


async def test_a_status_with_half_an_emoji_makes_nobody_invisible(redis: RedisServer) -> None:
    """A page can name a model so, and problems quote servers."""
    node = Node("odd", redis.url)
    async with nodes(redis.url, "b") as (other,):
        try:
            node.fleet.start(node.settings, status=lambda: {"summary": "half \ud83d"})
            assert await wait_for(lambda: other.knows("odd"))

            assert other.fleet.instances()[1]["status"] == {"summary": "half \ud83d"}
        finally:
            await node.fleet.aclose()


async def test_servers_on_one_machine_have_names_of_their_own(redis: RedisServer) -> None:
    """Three ComfyUI on one host share its name; the fleet tells them apart."""
    async with nodes(redis.url, "a") as (one,):
        twins = [Node("a", redis.url) for _ in range(2)]
        try:
            for twin in twins:
                twin.start()
            assert await wait_for(lambda: len(one.fleet.instances()) == 3)
            names = [row["name"] for row in one.fleet.instances()]
            assert len(set(names)) == 3
        finally:
            for twin in twins:
                await twin.fleet.aclose()


@pytest.mark.parametrize(
    ("label", "name"),
    [("evil\n\x1b[2J\u202egnp.", "evil[2Jgnp."), ("b", "b (aaaa)"), ("\u202e\n", "a" * 12), ("x" * 99, "x" * 64)],
)
async def test_a_name_has_nothing_in_it_that_cannot_be_seen(redis: RedisServer, label: str, name: str) -> None:
    """Anybody can write a heartbeat; its name stands in the log and in health, and is never that of another."""
    async with nodes(redis.url, "b") as (node,):
        boot = "a" * 12
        await redis.command("SET", f"{{copilot-pulse}}:h:{boot}", json.dumps({"label": label}), "PX", 60_000)
        await redis.command("SADD", "{copilot-pulse}:m", boot)
        await look(node.fleet._parts.registry)  # type: ignore[union-attr]

        assert node.fleet.instances()[1]["name"] == name


@pytest.mark.parametrize("pause", ["at once", "after it was noticed"])
async def test_a_restart_takes_its_name_back(redis: RedisServer, pause: str) -> None:
    """Killed and started again it is the same machine: under its name, missed by nobody, whether noticed or not."""
    code = (
        "import asyncio, sys\nfrom tests.support.fleet_nodes import Node\n"
        "async def main():\n    node = Node('b', sys.argv[1])\n    node.start()\n    await asyncio.sleep(600)\n"
        "asyncio.run(main())"
    )

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code, redis.url], cwd=Path(__file__).parents[2])

    async with nodes(redis.url, "a") as (one,):
        process = start()
        try:
            assert await wait_for(lambda: one.knows("b"))
            (before,) = others(one)
            process.kill()
            process.wait()
            if pause != "at once":
                assert await wait_for(lambda: (one.fleet.figures() or {})["gone"] == ["b"])
            process = start()
            assert await wait_for(lambda: [row["boot"] != before["boot"] for row in others(one)] == [True])
        finally:
            process.kill()
            process.wait()

        assert [(row["name"], row["state"]) for row in others(one)] == [("b", "up")]
        assert ((one.fleet.figures() or {})["gone"], (one.fleet.figures() or {})["gone_seconds"]) == ([], None)


def others(node: Node) -> list[dict[str, Any]]:
    """What a node shows of the others."""
    return node.fleet.instances()[1:]
