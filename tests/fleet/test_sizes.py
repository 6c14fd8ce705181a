"""What is large: what is beyond a plan, or beyond what a Redis takes, is told as lost, and the rest goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.event_bus import Event
from backend.fleet_redis import outbox, reader, registry
from tests.support.fleet_nodes import Node, nodes, settle, url_of, wait_for
from tests.support.net import PATIENCE
from tests.support.plan import Plan
from tests.support.proxy import Fault, FaultProxy
from tests.support.redis_server import RedisServer


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


@pytest.mark.timeout(600)
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
                for number in range(4 if how == "slow" else 12):
                    node.offer(2)
                    offer_large(node, "x" * (200_000 if number == 2 else 40_000))
            for node in (one, other):
                # Over the slow line each try that is in vain takes its time, and the wait after it.
                assert await wait_for(lambda node=node: late.settled(node), 4 * PATIENCE)
                row = await settle(late, node)

                assert how == "slow" or 1 <= row["told"] < 9  # its neighbours in the entry are lost with it
            assert set((late.fleet.figures() or {})["gaps"]) == {"unreadable"}
            one.offer(1)
            await settle(late, one)
        finally:
            await late.fleet.aclose()


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
