"""Events of a fleet, on the real redis-server: what is offered arrives once and in order, or is told as lost."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

import pytest

from backend.aio import faults, forget_faults
from backend.event_bus import Event
from backend.fleet_redis import reader, registry
from tests.bench import fleet_chaos
from tests.injection.raising import raising
from tests.support.fleet_nodes import Node, look, nodes, settle, url_of, wait_for
from tests.support.leaks import no_leaks
from tests.support.proxy import FaultProxy
from tests.support.redis_server import RedisServer


async def test_events_of_all_instances_are_on_one_bus(redis: RedisServer) -> None:
    """Each with its type, data, session and origin; those from here too, and each bus hears it once."""
    async with nodes(redis.url) as (one, other):
        heard: list[Any] = []
        for node in (one, other):
            node.fleet.bus.subscribe("chat.*", heard.append)
        event = Event("chat.started", {"chat_id": "7", "kind": "chat", "messages": 2}, "copilot-pulse", "session")
        one.local.publish_nowait(event)
        assert await wait_for(lambda: len(heard) == 2)

        here, there = heard
        assert (here.instance, there.instance) == ("", "a")
        assert here.data == there.data == event.data
        assert (there.type, there.source, there.session) == (event.type, event.source, event.session)
        assert abs(there.wall - event.wall) < 5
        assert there.key == f"{one.fleet.boot}-1"


async def test_the_local_bus_keeps_its_meaning(redis: RedisServer) -> None:
    """What happens elsewhere is not on the local bus, so metrics and plugins do not count it as their own."""
    async with nodes(redis.url) as (one, other):
        local: list[Event] = []
        other.local.subscribe("*", local.append)
        one.offer(3)
        await settle(other, one)

        assert local == []


@pytest.mark.parametrize("expose", [False, True])
async def test_text_leaves_the_process_only_if_it_may(redis: RedisServer, expose: bool) -> None:
    """Without COPILOT_PULSE_EXPOSE_TEXT neither the reader nor Redis itself has a word of a chat."""
    async with nodes(redis.url, expose_text=expose) as (one, other):
        heard: list[Any] = []
        other.fleet.bus.subscribe("chat.finished", heard.append)
        one.local.publish_nowait(Event("chat.finished", {"chat_id": "7", "notice": "hush"}, "test"))
        assert await wait_for(lambda: heard)

        stored = str(await redis.command("XRANGE", f"{{copilot-pulse}}:i:{one.fleet.boot}", "-", "+"))
        assert ("hush" in str(heard[0].data), "hush" in stored) == (expose, expose)
        assert heard[0].data.get("notice_length", 4) == 4


async def test_deltas_and_what_the_patterns_leave_out_stay_here(redis: RedisServer) -> None:
    """Tokens by the thousand are not for the fan-out; the rest is chosen by COPILOT_PULSE_REDIS_EVENTS."""
    async with nodes(redis.url, redis_events="*,!chat.*,!http.request") as (one, other):
        heard: list[str] = []
        other.fleet.bus.subscribe("*", lambda event: heard.append(event.type))
        for type_ in ("chat.delta", "chat.started", "http.request", "fleet.gap", "error", "chaos"):
            one.local.publish_nowait(Event(type_, {"i": 1}, "test"))
        assert await wait_for(lambda: "chaos" in heard)

        assert heard == ["error", "chaos"]


@pytest.mark.parametrize("kind", [*fleet_chaos.FAULTS, "kill with persistence"])
async def test_a_fault_loses_nothing_untold(kind: str) -> None:
    """Offered before, during and after: all of it arrives, in order, nothing twice; the publisher never waits."""
    async with (
        RedisServer(appendonly="persistence" in kind) as redis,
        FaultProxy(redis.port) as proxy,
        nodes(url_of(proxy)) as (one, other),
    ):
        stop = asyncio.Event()

        async def offer() -> None:
            while not stop.is_set():
                one.offer(5)
                await asyncio.sleep(0.005)

        offering = asyncio.ensure_future(offer())
        assert await wait_for(lambda: len(other.got.get("a", ())) > 20)
        read = len(other.got["a"])
        await fleet_chaos.strike(kind.split(" ", 1)[0], redis, proxy, random.Random(kind))
        struck = one.offered
        stop.set()
        await offering
        one.offer(1)
        row = await settle(other, one)

        # Of what Redis had when it was wiped, newer events may hide from the writer that it is gone: what nobody had
        # read before is told then. Nothing else is lost.
        assert row["told"] <= (struck - read if kind == "wipe" else 0)


async def test_a_restart_while_nothing_happens_is_noticed(redis: RedisServer) -> None:
    """Redis comes back empty: the newest events are there again for whoever has not had them, and so is the member."""
    async with nodes(redis.url) as (one, other):
        one.offer(50)
        await settle(other, one)
        redis.kill()
        await redis.start()
        stream = f"{{copilot-pulse}}:i:{one.fleet.boot}"

        async def there_again() -> bool:
            rows = await redis.command("XRANGE", stream, "-", "+")
            healed = sum(int(id_.split(b"-")[1]) for id_, _ in rows) == 50
            return healed and bool(await redis.command("EXISTS", f"{{copilot-pulse}}:h:{one.fleet.boot}"))

        assert await wait_for(there_again)
        one.offer(1)
        await settle(other, one)


async def test_a_wipe_while_nothing_happens_is_healed(redis: RedisServer) -> None:
    """FLUSHALL breaks no connection; the next heartbeat finds that the stream is gone."""
    async with nodes(redis.url) as (one, other):
        one.offer(50)
        await settle(other, one)
        await redis.command("FLUSHALL")
        figures = one.fleet.figures
        assert await wait_for(lambda: (figures() or {})["healed_events"] == 50)


async def test_reading_works_again_before_there_is_anything_to_read(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is alone, or among the silent, is told healthy at once, and reads what is new to read without a delay."""
    monkeypatch.setattr(reader, "BLOCK", 600.0)
    async with nodes(redis.url, "a") as (node,):
        links = [getattr(node.fleet._parts, part).link for part in ("reader", "writer")]
        assert links[0].up
        redis.kill()
        assert await wait_for(lambda: not any(link.up for link in links))
        await redis.start()
        assert await wait_for(lambda: all(link.up for link in links))
        async with nodes(redis.url, "b") as (other,):
            assert await wait_for(lambda: node.knows("b"))
            other.offer(3)
            await settle(node, other)


@pytest.mark.parametrize("remembered", [True, False])
async def test_who_comes_back_after_long_is_read_on(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, remembered: bool
) -> None:
    """A machine was cut off for minutes, or an hour, and writes what it has kept before it is seen again."""
    monkeypatch.setattr(registry, "READ_ON", 0.0)
    monkeypatch.setattr(registry, "REMEMBERED", 3600.0 if remembered else 0.0)
    async with nodes(redis.url) as (one, other):
        there, here = (node.fleet._parts.registry for node in (one, other))  # type: ignore[union-attr]
        one.offer(20)
        await settle(other, one)
        with monkeypatch.context() as patch:
            patch.setattr(there, "_beat", lambda: asyncio.sleep(0))
            await look(there)  # one that was under way is over
            await redis.command("DEL", f"{{copilot-pulse}}:h:{one.fleet.boot}")
            while one.fleet.boot in (here._reader.sources if remembered else here.instances):
                await look(here)
            one.offer(30)
            assert await wait_for(lambda: there._writer.empty)
        await look(there)
        assert await wait_for(lambda: one.fleet.boot in here._reader.sources)
        row = await settle(other, one)

        assert (row["arrived"], row["told"]) == (50, 0)


async def test_a_full_outbox_tells_how_much_it_dropped(redis: RedisServer) -> None:
    """While Redis is away the oldest that are not essential go first; the reader learns their number."""
    async with nodes(redis.url, redis_outbox=100) as (one, other):
        heard: list[str] = []
        other.fleet.bus.subscribe("error", lambda event: heard.append(event.data["i"]))
        redis.kill()
        assert await wait_for(lambda: not (one.fleet.figures() or {})["links"]["writer"]["up"])
        one.local.publish_nowait(Event("error", {"i": "essential"}, "test"))
        one.offered += 1
        one.offer(400)
        await redis.start()
        assert await wait_for(lambda: heard and other.told.get("a"))

        assert await wait_for(lambda: len(other.got.get("a", ())) + other.told["a"] + len(heard) == one.offered)
        assert heard == ["essential"]
        assert other.got["a"][-1] == one.offered
        assert (one.fleet.figures() or {})["outbox"]["dropped"] == other.told["a"] == 301


async def fall_behind(reader: Node, writer: Node, count: int) -> asyncio.Event:
    """Redis has `count` events of `writer`, of which `reader` handles none before the gate, which this returns."""
    gate = asyncio.Event()

    async def slow(event: Any) -> None:
        await gate.wait()

    reader.fleet.bus.subscribe("chaos", slow, capacity=10)
    reader.fleet.bus.configure(put_timeout=60, essential=lambda event: True)
    for _ in range(count // 30):
        writer.offer(30)
        await asyncio.sleep(0.005)
    assert await wait_for(lambda: writer.fleet._parts is not None and writer.fleet._parts.writer.empty)
    return gate


async def test_a_reader_that_stays_away_is_told_what_redis_no_longer_has(redis: RedisServer) -> None:
    """A slow handler slows the reading; beyond what Redis keeps, the numbers tell the gap."""
    async with nodes(redis.url, redis_keep_bytes=20_000) as (one, other):
        gate = await fall_behind(other, one, 3000)
        gate.set()
        row = await settle(other, one)

        assert row["told"] > 0
        assert set((other.fleet.figures() or {})["gaps"]) == {"trimmed"}


async def test_what_redis_lost_beyond_the_tail_is_told(redis: RedisServer) -> None:
    """Redis comes back empty and the writer has only its newest kilobytes: the rest is a number."""
    async with nodes(redis.url, redis_tail_bytes=2_000, redis_read_pace=0.0) as (one, other):
        one.offer(10)
        await settle(other, one)
        gate = await fall_behind(other, one, 1200)
        redis.kill()
        await redis.start()
        gate.set()
        row = await settle(other, one)  # although nothing more is offered

        assert row["told"] > 0


async def test_readers_do_not_depend_on_redis_clock(redis: RedisServer) -> None:
    """Ids of Redis' own that lie in the future, as after a restart with the clock behind, leave nobody deaf."""
    async with nodes(redis.url) as (one, other):
        inbox = f"{{copilot-pulse}}:c:{other.fleet.boot}"
        ahead = f"{int(time.time() * 1000) + 3_600_000}-0"
        await redis.command("XADD", inbox, ahead, "k", "poke")
        reader = other._reader
        assert await wait_for(lambda: reader._inbox_cursor == ahead)
        redis.kill()
        await redis.start()
        assert await wait_for(lambda: reader.link.up and reader._inbox_cursor != ahead)
        one.offer(5)
        await settle(other, one)
        async with nodes(redis.url, "c") as (late,):
            late.offer(5)
            assert await wait_for(lambda: other.knows("c"))
            await settle(other, late)


async def test_a_failover_to_a_lagging_replica_is_healed(redis: RedisServer, proxy: FaultProxy) -> None:
    """The replica has not had the newest writes: the writer sends them again, readers skip what they had."""
    async with (
        RedisServer("--replicaof", "127.0.0.1", str(redis.port)) as replica,
        nodes(url_of(proxy)) as (one, other),
    ):
        one.offer(300)
        await settle(other, one)
        stream = f"{{copilot-pulse}}:i:{one.fleet.boot}"

        async def has_all() -> bool:
            return bool(await replica.command("XLEN", stream) == await redis.command("XLEN", stream))

        assert await wait_for(has_all)
        replica.pause()  # it lags
        one.offer(300)
        await settle(other, one)
        redis.kill()
        replica.resume()
        await replica.command("REPLICAOF", "NO", "ONE")
        await replica.command("CLIENT", "KILL", "TYPE", "master")
        proxy.target_port = replica.port
        one.offer(300)
        row = await settle(other, one)

        assert row["told"] == 0


async def test_who_writes_rubbish_into_the_stream_harms_nobody(redis: RedisServer) -> None:
    """What is no event is counted, told as lost and passed over; the events after it arrive."""
    async with nodes(redis.url) as (one, other):
        one.offer(3)
        await settle(other, one)
        stream = f"{{copilot-pulse}}:i:{one.fleet.boot}"
        deep = "[" * 100_000 + "]" * 100_000
        rubbish: list[Any] = [
            "no json", "{}", "[1]", deep, '[[4,"x"]]', '[[4,5,6,7,8,9]]', '[["4","t",1,"s",null,{}]]',
            '[[4,"fleet.gap",1,"s",null,{"instance":"a","lost":1000,"reason":"gone"}]]',
            '[[4,"t",1%s,"s",null,{}]]' % ("0" * 400), '[[4,"t",NaN,"s",null,{}]]', '[[4,"t",-1e999,"s",null,{}]]',
            '[[99,"t",1,"s",null,{}]]', json.dumps([[4, "t" * 300, 1, "s", None, {}]]),
        ]  # fmt: skip
        for number, payload in enumerate(rubbish):
            payload = payload.replace("[[4,", f"[[{4 + number},")
            await redis.command("XADD", stream, f"{4 + number}-1", "v", 1, "d", 0, "b", payload)
        await redis.command("XADD", stream, "30-7", "v", 9, "b", "[]")
        await redis.command("XADD", stream, "31-1", "nothing", "at all")
        await redis.command("XADD", stream, "32-1", "v", "1", "b", json.dumps([[32, "chaos", 1, "s", None, {"i": 32}]]))
        assert await wait_for(lambda: other.got["a"][-1] == 32)

        assert other.told["a"] == 32 - 4
        assert (other.fleet.figures() or {})["bad_entries"] == len(rubbish) + 2


@pytest.mark.parametrize("when", ["idle", "reconnect"])
async def test_an_entry_of_somebody_else_stops_no_writer(redis: RedisServer, when: str) -> None:
    """An XADD by hand gets an id of the clock, beyond all of ours: what is written from then on still arrives."""
    async with nodes(redis.url, "abc") as (one, other, third):
        seen: list[str] = []
        third.fleet.share("chaos", group="work", handler=lambda event: seen.append(event.key))
        one.offer(5)
        await settle(other, one)
        for turn in range(1, 4):
            await redis.command("XADD", f"{{copilot-pulse}}:i:{one.fleet.boot}", "*", "foo", "bar")
            assert await wait_for(lambda turn=turn: (other.fleet.figures() or {})["bad_entries"] >= turn)
            if when == "reconnect":
                one.fleet._parts.writer.link.drop()  # type: ignore[union-attr]
            one.offer(5)
            row = await settle(other, one)

            assert (row["arrived"], row["told"]) == (5 + 5 * turn, 0)
        assert await wait_for(lambda: len(set(seen)) == 20)


@pytest.mark.parametrize("key", ["i", "c"])
async def test_a_key_that_is_no_stream_makes_nobody_deaf(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Somebody else wrote to one machine's stream, or to the reader's inbox: the others are read, and it is told."""
    monkeypatch.setattr(reader, "PERMANENT_WAIT", 1.0)
    async with nodes(redis.url, "abc") as (one, other, third):
        name = f"{{copilot-pulse}}:{key}:{(one if key == 'i' else other).fleet.boot}"
        await redis.command("SET", name, "mine")
        for _ in range(2):
            other.fleet._parts.reader.link.drop()  # type: ignore[union-attr]
            for _ in range(5):
                third.offer(3)
                await settle(other, third)
        assert await wait_for(lambda: told_of(other) == "keys")
        await redis.command("DEL", name)
        if key == "c":
            one.offer(3)
            await settle(other, one)


def told_of(node: Node) -> str | None:
    """What is wrong with its reading."""
    problem = (node.fleet.figures() or {})["links"]["reader"]["problem"]
    return problem and str(problem["kind"])


async def test_nothing_stays_in_redis_for_ever(redis: RedisServer) -> None:
    """Twelve servers come and go: every key that is left has a time to live."""
    async with nodes(redis.url, "abcdefghijkl") as many:
        for node in many:
            node.offer(1)
        assert await wait_for(lambda: many[0].settled(many[1]))
    for key in await redis.command("KEYS", "*"):
        assert 0 < await redis.command("PTTL", key) <= 3_600_000, key


async def test_closing_leaves_no_task_and_no_connection(redis: RedisServer, proxy: FaultProxy) -> None:
    """At any moment: at once, while connecting, while Redis is silent, in the middle of events."""
    for wait in (0.0, 0.01, 0.1, 0.5):
        async with no_leaks():
            node = Node("a", url_of(proxy))
            node.start()
            node.offer(100)
            await asyncio.sleep(wait)
            node.offer(100)
            if wait == 0.1:
                proxy.pause()
            await node.fleet.aclose()
            await node.fleet.aclose()
            proxy.resume()
            await node.local.aclose()


async def test_a_random_chaos_loses_nothing_untold() -> None:
    """Twenty seconds of all faults in a row, always the same, so that it fails for a reason."""
    result = await fleet_chaos.run(20, 7)

    assert fleet_chaos.is_well(result), result


def test_without_a_redis_url_nothing_is_imported() -> None:
    """Off means off: neither redis nor the rooms of the wing that need it."""
    import subprocess

    code = (
        "import sys; from backend.fleet import get_fleet; from backend.settings import Settings;"
        "get_fleet().start(Settings()); print([m for m in sys.modules if 'redis' in m])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['backend.fleet_redis', 'backend.fleet_redis.layout']"


async def test_a_task_that_breaks_begins_anew(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours in a task of the fleet costs a pause, and is told; the events come again."""
    monkeypatch.setattr("backend.fleet.RESTART", 0.01)
    for function in ("reader.py:Reader._serve", "writer.py:Writer._serve", "registry.py:Registry._beat"):
        forget_faults()
        with raising(f"fleet_redis/{function}") as injection:
            async with nodes(redis.url) as (one, other):
                one.offer(20)
                assert await wait_for(lambda: other.settled(one))
                assert other.account(one)["arrived"] == 20
        assert injection.hit
        assert [row["missing"] for row in faults()] == ["the fleet"]
    forget_faults()
