"""Somebody else writes into the fleet's keys: what that breaks is written anew, and health tells of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from backend.event_bus import Event
from backend.fleet_redis import registry
from tests.support.fleet_nodes import nodes, settle, wait_for
from tests.support.fleet_sites import COPY, Site, line, sites
from tests.support.net import PATIENCE
from tests.support.redis_server import RedisServer
from tests.support.stream_reading import Page

LAST = f"{2**64 - 1}-{2**64 - 1}"
"""The last id that there is: behind it a stream takes no more entries."""
FRAMES = json.dumps([{"type": "delta", "seq": 5, "at": 0, "text": "made up"}])


def bad_of(site: Site) -> int:
    """How many entries it has found that are not the fleet's."""
    return int((site.node.fleet.figures() or {})["bad_entries"])


@pytest.mark.parametrize("link", ["lasts", "breaks"])
@pytest.mark.parametrize(
    "entry",
    [
        ("XADD", COPY, "*", "foo", "bar"),
        ("XADD", COPY, "*", "f", "[]"),
        ("XADD", COPY, "*", "f", "no json"),
        ("XADD", COPY, "*", "f", FRAMES),
        ("XADD", COPY, LAST, "f", "[" * 10_000),
        ("DEL", COPY),
    ],
)
async def test_an_answer_goes_on_behind_an_entry_of_somebody_else(
    redis: RedisServer, entry: tuple[Any, ...], link: str
) -> None:
    """Whoever reads it elsewhere gets all of it, byte for byte, and so does who comes later."""
    async with sites(redis.url, "abc") as (one, other, third):
        writer = one.node.fleet._parts.writer.link  # type: ignore[union-attr]
        stream, page, late = one.begin(), Page(), Page()
        text = "The beginning. "
        stream.relay.line(line(text))
        reading = asyncio.ensure_future(other.read(page))
        assert await wait_for(lambda: page.text == text)
        for turn in range(2):
            await redis.command(*entry)
            if entry[0] != "DEL":
                assert await wait_for(lambda turn=turn: bad_of(other) > turn or "[]" in entry)
            if link == "breaks":
                writer.drop()
            text += f"More, {turn}. "
            stream.relay.line(line(text, ext=[{"n": turn}]))
            assert await wait_for(lambda text=text: page.text == text)
        one.registry.finish(stream, "completed")
        await asyncio.wait_for(reading, PATIENCE)
        assert await third.read(late) == 200

        for read in (page, late):
            assert (read.text, read.outcome) == (text, "completed")
            assert [row["ext"] for row in read.lines if row["ext"]] == [[{"n": 0}], [{"n": 1}]]
        assert bad_of(one) > 0 or entry[0] == "DEL"


async def test_a_copy_whose_key_became_something_else_is_written_anew(redis: RedisServer) -> None:
    """Who reads it at that moment gets a sentence rather than nothing; who comes later gets all of it."""
    async with sites(redis.url, "ab") as (one, other):
        stream, page, late = one.begin(), Page(), Page()
        stream.relay.line(line("The beginning. "))
        reading = asyncio.ensure_future(other.read(page))
        assert await wait_for(lambda: page.text == "The beginning. ")
        await redis.command("SET", COPY, "mine")
        await asyncio.wait_for(reading, PATIENCE)
        stream.relay.line(line("The beginning. The end."))
        one.registry.finish(stream, "completed")

        assert (page.text[:15], page.outcome) == ("The beginning. ", "failed")
        assert await wait_for(lambda: one.node.fleet.answers.figures()["mirrored"] == 0)  # type: ignore[union-attr]
        assert (await other.read(late), late.text, late.outcome) == (200, "The beginning. The end.", "completed")
        assert bad_of(one) > 0


@pytest.mark.parametrize("link", ["lasts", "breaks"])
async def test_an_inbox_that_takes_no_more_is_emptied(redis: RedisServer, link: str) -> None:
    """Otherwise no Stop and no lease from another machine would ever come, and nobody would know."""
    async with sites(redis.url) as (one, other):
        stream, stopped, page = one.begin(), [], Page()
        stream.stop = lambda: stopped.append(1)
        stream.relay.line(line("words"))
        reading = asyncio.ensure_future(other.read(page))
        assert await wait_for(lambda: page.text == "words")
        inbox, reader = f"{{copilot-pulse}}:c:{one.node.fleet.boot}", one.node._reader
        reader.link.drop() if link == "breaks" else None
        await redis.command("XADD", inbox, LAST, "k", "hello")
        assert await wait_for(lambda: reader.bad.number > 0)

        async def takes_more() -> bool:
            found = await redis.command("XREVRANGE", inbox, "+", "-", "COUNT", 1)
            return not found or found[0][0].decode() != LAST

        assert await wait_for(takes_more)
        found = await other.registry.find_anywhere(stream.id, stream.session)
        found.cancel()
        assert await wait_for(lambda: stopped)
        one.registry.finish(stream, "cancelled")
        await asyncio.wait_for(reading, PATIENCE)


@pytest.mark.parametrize("number", [LAST, "4611686018427387904-1"])
async def test_a_number_that_never_was_makes_nobody_deaf(redis: RedisServer, number: str) -> None:
    """An entry that looks like ours, by an id beyond all of ours: it is counted, and what comes after it arrives."""
    async with nodes(redis.url) as (one, other):
        one.offer(3)
        await settle(other, one)
        rows = json.dumps([[int(number.split("-")[0]), "chaos", 1, "s", None, {"i": 99}]])
        await redis.command("XADD", f"{{copilot-pulse}}:i:{one.fleet.boot}", number, "v", 1, "d", 0, "b", rows)
        assert await wait_for(lambda: (other.fleet.figures() or {})["bad_entries"])
        one.offer(3)
        row = await settle(other, one)

        assert (row["arrived"], row["told"]) == (6, 0)
        assert await wait_for(lambda: (one.fleet.figures() or {})["bad_entries"])


async def test_a_heartbeat_that_somebody_else_wrote_is_forgotten_with_the_next(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It promises events that never were; those that are there arrive all the same."""
    monkeypatch.setattr(registry, "BEAT", 0.3)
    async with nodes(redis.url) as (one, other):
        one.offer(3)
        await settle(other, one)
        source = other._reader.sources[one.fleet.boot]
        beat = json.loads(await redis.command("GET", f"{{copilot-pulse}}:h:{one.fleet.boot}"))

        async def believed() -> bool:
            forged = json.dumps({**beat, "n": 2**62})
            await redis.command("SET", f"{{copilot-pulse}}:h:{one.fleet.boot}", forged, "PX", 60_000)
            await redis.command("XADD", f"{{copilot-pulse}}:c:{other.fleet.boot}", "*", "k", "look")
            return bool(source.last > 2**60)

        assert await wait_for(believed)
        assert await wait_for(lambda: source.last == 3)
        one.offer(3)
        assert await wait_for(lambda: other.got["a"] == [1, 2, 3, 4, 5, 6])


async def test_dead_letters_that_cannot_be_written_are_told(redis: RedisServer) -> None:
    """Their stream takes no more entries: health says whose key that is, and shared work goes on."""
    async with nodes(redis.url, redis_claim_idle=0.1) as (one, other):
        await redis.command("XADD", "{copilot-pulse}:dead:work", LAST, "foo", "bar")
        done: list[int] = []

        def handle(event: Any) -> None:
            if event.type == "chaos.odd":
                raise ValueError
            done.append(event.data["i"])

        for node in (one, other):
            node.fleet._parts.groups.sweep = 0.2  # type: ignore[union-attr]
            node.fleet.share("chaos.odd", group="work", handler=handle)
            node.fleet.share("chaos", group="work", handler=handle)
        one.local.publish_nowait(Event("chaos.odd", {}, "test"))

        def told() -> bool:
            problems = [(node.fleet.figures() or {})["links"]["writer"]["problem"] for node in (one, other)]
            return any(problem and "takes no more entries" in problem["text"] for problem in problems)

        assert await wait_for(told)
        one.offer(3)
        assert await wait_for(lambda: set(done) == {1, 2, 3})
