"""Events of a fleet, on the real redis-server: what is offered arrives once and in order, or is told as lost."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from backend.aio import faults, forget_faults
from backend.event_bus import Event
from backend.fleet_redis import outbox, reader, registry
from tests.bench import fleet_chaos
from tests.injection.raising import raising
from tests.support.fleet_nodes import Node, nodes, wait_for
from tests.support.leaks import no_leaks
from tests.support.plan import Plan
from tests.support.proxy import Fault, FaultProxy
from tests.support.redis_server import RedisServer


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """A server without persistence."""
    async with RedisServer() as server:
        yield server


@pytest.fixture
async def proxy(redis: RedisServer) -> AsyncIterator[FaultProxy]:
    """The network before it."""
    async with FaultProxy(redis.port) as between:
        yield between


def url_of(proxy: FaultProxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0"


async def settle(reader: Node, writer: Node) -> dict[str, Any]:
    """Wait until the reader knows what became of everything, and hold that against what was offered."""
    assert await wait_for(lambda: reader.settled(writer)), reader.account(writer)
    row = reader.account(writer)
    assert (row["arrived"] + row["told"], row["twice"], row["in_order"]) == (row["offered"], 0, True), row
    return row


def later(seconds: float) -> Callable[[], float]:
    """A clock that is ahead."""
    return lambda: time.monotonic() + seconds


async def look(registry: Any) -> None:
    """Let it beat and look for the others now, and wait until it has."""
    done = asyncio.Event()
    original = registry._look

    async def noted() -> None:
        await original()
        done.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_look", noted)
        while not done.is_set():  # Redis may be back a moment later
            registry.look_soon()
            await asyncio.sleep(0.01)


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
        await fleet_chaos.strike(kind.split(" ", 1)[0], redis, proxy, random.Random(kind))
        stop.set()
        await offering
        one.offer(1)
        row = await settle(other, one)

        assert row["told"] == 0


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

        assert await wait_for(lambda: len(other.got["a"]) + other.told["a"] + len(heard) == one.offered)
        assert heard == ["essential"]
        assert other.got["a"][-1] == one.offered
        assert (one.fleet.figures() or {})["outbox"]["dropped"] == other.told["a"] == 301


async def test_a_reader_that_stays_away_is_told_what_redis_no_longer_has(redis: RedisServer) -> None:
    """A slow handler slows the reading; beyond what Redis keeps, the numbers tell the gap."""
    async with nodes(redis.url, redis_keep_bytes=20_000) as (one, other):
        gate = asyncio.Event()

        async def slow(event: Any) -> None:
            await gate.wait()

        other.fleet.bus.subscribe("chaos", slow, capacity=10)
        other.fleet.bus.configure(put_timeout=60, essential=lambda event: True)
        for _ in range(100):
            one.offer(30)
            await asyncio.sleep(0.005)
        assert await wait_for(lambda: one.fleet._parts is not None and one.fleet._parts.writer.empty)
        gate.set()
        row = await settle(other, one)

        assert row["told"] > 0
        assert set((other.fleet.figures() or {})["gaps"]) == {"trimmed"}


async def test_what_redis_lost_beyond_the_tail_is_told(redis: RedisServer) -> None:
    """Redis comes back empty and the writer has only its newest kilobytes: the rest is a number."""
    async with nodes(redis.url, redis_tail_bytes=2_000, redis_read_pace=0.0) as (one, other):
        one.offer(10)
        await settle(other, one)
        gate = asyncio.Event()

        async def slow(event: Any) -> None:
            await gate.wait()

        other.fleet.bus.subscribe("chaos", slow, capacity=10)
        other.fleet.bus.configure(put_timeout=60, essential=lambda event: True)
        for _ in range(40):
            one.offer(30)
            await asyncio.sleep(0.005)
        assert await wait_for(lambda: one.fleet._parts is not None and one.fleet._parts.writer.empty)
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


async def test_an_event_of_any_size_and_shape_can_be_shown(redis: RedisServer) -> None:
    """The panel asks for the last events of all: megabytes, nesting without end or half an emoji break none of it."""
    async with nodes(redis.url) as (one, other):
        deep: Any = "x"
        for _ in range(500):
            deep = [deep]
        odd: dict[str, Any] = {
            "large": "x" * 500_000, "many": list(range(10_000)), "deep": deep, "half": "\ud800", "none": float("nan"),
        }  # fmt: skip
        one.local.publish_nowait(Event("chaos.odd", odd, "test"))
        one.local.publish_nowait(Event("chaos.last", {}, "test"))
        assert await wait_for(lambda: any(e["type"] == "chaos.last" for e in other.fleet.events_since(0)[1]))
        _, events = other.fleet.events_since(0)
        (shown,) = [event["data"] for event in events if event["type"] == "chaos.odd"]

        assert set(shown) == set(odd)
        assert len(json.dumps(events)) < 20_000


def offer_large(node: Node, pad: str) -> None:
    node.offered += 1
    node.local.publish_nowait(Event("chaos", {"i": node.offered, "pad": pad}, "test"))


async def test_an_event_too_large_for_a_plan_is_told_and_the_rest_goes_on(redis: RedisServer) -> None:
    """A batch is halved until it fits; what is too large by itself is lost, as a number, and holds up nobody."""
    async with Plan(redis.port, most=20_000) as plan, nodes(plan.url, redis_timeout=60.0) as (one, other):
        for _ in range(3):
            offer_large(one, "x" * 30_000)
            one.offer(200)
        row = await settle(other, one)
        one.offer(5)
        offer_large(one, "x" * 30_000)  # nothing comes behind it
        last = await settle(other, one)
        figures = one.fleet.figures() or {}

        assert (row["arrived"], last["arrived"], last["told"]) == (600, 605, 4)
        assert plan.refused > 4
        assert figures["outbox"]["dropped"] == 4
        assert figures["links"]["writer"]["reconnects"] == {}
        assert (other.fleet.figures() or {})["gaps"] == {"unsent": 4}


async def test_more_than_a_plan_gives_at_once_is_read_in_parts(redis: RedisServer) -> None:
    """The answer to a read has its limit, too, and whoever reads from the beginning finds much."""
    async with nodes(redis.url, "abc") as (one, other, _), Plan(redis.port, most=100_000) as plan:
        for node in (one, other):
            for _ in range(20):
                offer_large(node, "x" * 40_000)
        await settle(one, other)
        await settle(other, one)
        late = Node("d", plan.url)
        try:
            late.start()
            late.fleet._parts.registry._looked = True  # type: ignore[union-attr]  # what it finds is news to it
            rows = [await settle(late, node) for node in (one, other)]

            assert [row["arrived"] for row in rows] == [20, 20]
            assert plan.refused > 0
        finally:
            await late.fleet.aclose()


async def test_no_value_is_larger_than_each_redis_takes() -> None:
    """A Redis with the least limit that can be set, and events of which a letter is three bytes, or six."""
    async with (
        RedisServer("--proto-max-bulk-len", "1mb") as server,
        nodes(server.url, redis_timeout=60.0) as (one, other),
    ):
        one.offer(3)
        offer_large(one, "中" * 400_000)
        one.offer(3)
        offer_large(one, "\x01" * 400_000)
        offer_large(one, "中" * 300_000)
        row = await settle(other, one)

        assert (row["arrived"], row["told"]) == (7, 2)
        assert (one.fleet.figures() or {})["links"]["writer"]["reconnects"] == {}


async def test_large_events_that_wait_are_bounded_in_bytes(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand events of a plugin may be gigabytes. The oldest large ones go, and are told; the small ones stay."""
    monkeypatch.setattr(outbox, "MOST_HEAVY", 2_000_000)
    monkeypatch.setattr(registry, "BEAT", 0.1)
    async with nodes(redis.url) as (one, other):
        redis.kill()
        assert await wait_for(lambda: not one.fleet._parts.writer.link.up)  # type: ignore[union-attr]
        for _ in range(20):
            offer_large(one, "x" * 500_000)
            one.offer(10)
        assert await wait_for(lambda: (one.fleet.figures() or {})["outbox"]["dropped"] >= 15)
        await redis.start()
        row = await settle(other, one)

        assert row["arrived"] >= 200 + 3
        assert row["told"] >= 15


async def test_what_is_remembered_for_the_panel_is_small(redis: RedisServer) -> None:
    """The last 200 events of others may each be a megabyte; who subscribes gets all of them."""
    async with nodes(redis.url) as (one, other):
        heard: list[int] = []
        other.fleet.bus.subscribe("chaos", lambda event: heard.append(len(event.data["pad"])))
        for _ in range(5):
            offer_large(one, "x" * 500_000)
        await settle(other, one)

        assert heard == [500_000] * 5
        kept = [event for _, event in other.fleet._recent if event.type == "chaos"]
        assert [len(event.data["pad"]) for event in kept] == [1_000] * 5
        assert [event.key for event in kept] == [f"{one.fleet.boot}-{number}" for number in range(1, 6)]


async def test_a_tail_that_is_too_large_now_holds_up_nobody(redis: RedisServer) -> None:
    """What is sent again after a wipe was taken once; a plan that has become smaller may refuse it."""
    async with Plan(redis.port, most=200_000) as plan, nodes(plan.url) as (one, other):
        offer_large(one, "x" * 100_000)
        one.offer(3)
        await settle(other, one)
        plan.most = 20_000
        await redis.command("FLUSHALL")
        one.fleet._parts.writer.heal()  # type: ignore[union-attr]
        one.offer(3)
        row = await settle(other, one)

        assert row["arrived"] == 7


@pytest.mark.parametrize("how", ["refused", "hung up", "slow"])
async def test_an_entry_that_cannot_be_read_is_told_and_the_rest_comes(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It was written under a larger limit than the reader's: a plan says so, a Redis hangs up, a line is too slow."""
    monkeypatch.setattr(reader, "BLOCK", 0.1)
    async with (
        Plan(redis.port, most=100_000 if how == "refused" else 2**24) as plan,
        FaultProxy(redis.port) as slow,
        nodes(redis.url, "ac") as (one, other),
    ):
        late = Node("b", {"refused": plan.url, "hung up": redis.url, "slow": url_of(slow)}[how])
        try:
            late.start()
            assert await wait_for(lambda: late.knows("a", "c"))
            late.fleet._parts.reader.link.drop()  # type: ignore[union-attr]
            if how == "hung up":
                await redis.command("CONFIG", "SET", "client-output-buffer-limit", "normal 100kb 0 0")
            elif how == "slow":
                slow.default = Fault(delay=0.02, chunk=6_000)
            for node in (one, other):
                for number in range(12):
                    node.offer(2)
                    offer_large(node, "x" * (200_000 if number == 5 else 40_000))
            for node in (one, other):
                row = await settle(late, node)

                assert how == "slow" or 1 <= row["told"] < 9  # its neighbours in the entry are lost with it
            assert set((late.fleet.figures() or {})["gaps"]) == {"unreadable"}
            one.offer(1)
            await settle(late, one)
        finally:
            await late.fleet.aclose()


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


async def test_what_is_too_large_in_an_inbox_stops_no_reader(redis: RedisServer) -> None:
    """Anybody can put a megabyte there; the reading of all else goes on, also after a reconnect."""
    async with Plan(redis.port, most=100_000) as plan, nodes(plan.url) as (one, other):
        inbox = f"{{copilot-pulse}}:c:{other.fleet.boot}"
        await redis.command("XADD", inbox, "*", "k", "x" * 1_000_000)
        one.offer(3)
        await settle(other, one)
        await redis.command("XADD", inbox, "*", "k", "x" * 1_000_000)
        other.fleet._parts.reader.link.drop()  # type: ignore[union-attr]
        one.offer(3)
        await settle(other, one)


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


async def test_a_writer_whose_plan_became_smaller_goes_on(redis: RedisServer) -> None:
    """After a reconnect it asks for its newest entry, which it may not have any more."""
    async with Plan(redis.port, most=200_000) as plan, nodes(plan.url) as (one, other):
        offer_large(one, "x" * 100_000)
        await settle(other, one)
        plan.most = 20_000
        one.fleet._parts.writer.link.drop()  # type: ignore[union-attr]
        one.offer(3)
        row = await settle(other, one)

        assert (row["arrived"], (one.fleet.figures() or {})["healed_events"]) == (4, 0)


async def test_heartbeats_that_are_too_many_for_a_plan_are_read_in_parts(redis: RedisServer) -> None:
    """A large fleet on a small plan sees all of itself; one that is too large by itself is nobody."""
    beat = json.dumps({"label": "x", "status": {"pad": "x" * 4_000}})
    for number in range(32):
        boot = "aaaaaaaaaaa" + "abcdefghijklmnopqrstuvwxyz234567"[number]
        large = json.dumps({"label": "large", "status": {"pad": "x" * 60_000}})
        await redis.command("SET", f"{{copilot-pulse}}:h:{boot}", large if number == 7 else beat, "PX", 60_000)
        await redis.command("SADD", "{copilot-pulse}:m", boot)
    async with Plan(redis.port, most=20_000) as plan, nodes(plan.url) as (one, _):
        assert len(one.fleet.instances()) == 2 + 31


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
