"""Answers that move: written at one instance, read on at another, with the real Redis in between."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import ClientSession

from backend.fleet_redis.mirror import name_of
from backend.fleet_redis.redis_link import LinkError
from backend.settings import Settings
from backend.streams.registry import StreamRefused
from backend.streams.wire import PROTOCOL
from tests.support.fleet_nodes import Node, later, url_of, wait_for
from tests.support.fleet_sites import COPY, NAME, SESSION, Site, line, sites
from tests.support.net import PATIENCE
from tests.support.plan import Plan
from tests.support.proxy import Fault, FaultProxy
from tests.support.redis_server import RedisServer
from tests.support.stream_reading import Page


async def test_a_page_reads_on_at_another_instance(redis: RedisServer) -> None:
    """Half here, half there, byte for byte, to the end; the items come too."""
    async with sites(redis.url) as (one, other):
        stream, page = one.begin(), Page()
        text = "The first half. 🎨 "
        stream.relay.line(line(text))
        await one.read(page, until=text)
        reading = asyncio.ensure_future(other.read(page))
        for number in range(50):
            text += f"word {number} 中文 "
            stream.relay.line(line(text))
            await asyncio.sleep(0.01)
        stream.relay.line(line(text, ext=[{"type": "workflow"}], finished=True))
        one.registry.finish(stream, "completed")

        assert await asyncio.wait_for(reading, PATIENCE) == 200
        assert (page.text, page.outcome) == (text, "completed")
        assert page.lines[-1]["ext"] == [{"type": "workflow"}]
        late = Page()
        assert await other.read(late) == 200  # finished, and still to be had everywhere
        assert late.text == text


async def test_redis_learns_neither_name_nor_session(redis: RedisServer) -> None:
    """And who has the name but not the session finds nothing."""
    async with sites(redis.url) as (one, other):
        stream = one.begin()
        stream.relay.line(line("words"))
        page = Page()
        await other.read(page, until="words")
        keys = str(await redis.command("KEYS", "*"))

        assert NAME not in keys
        assert await other.read(Page(), session="another session") == 404
        assert [await redis.command("PTTL", key) > 0 for key in await redis.command("KEYS", "*:a:*")] == [True, True]


async def test_a_name_that_is_asked_elsewhere_is_not_asked_again(redis: RedisServer) -> None:
    """The model is asked once, although the page does not know where its first request went."""
    async with sites(redis.url) as (one, other):
        one.begin()
        claim = COPY + ":o"
        assert await wait_for(lambda: redis.command("EXISTS", claim))
        refused: list[int] = []
        for _ in range(20):  # within a quarter second, unless the machine is very busy
            try:
                await other.registry.check(NAME, SESSION)
            except StreamRefused as error:
                refused.append(error.status)

        assert 409 in refused


async def test_a_name_that_two_instances_begin_belongs_to_the_first(redis: RedisServer) -> None:
    """Redis was too slow to say that it is taken: pages elsewhere read one answer, not two in turns."""
    async with sites(redis.url, "abc") as (one, other, third):
        claim = COPY + ":o"
        first, page = one.begin(), Page()
        first.relay.line(line("One "))
        reading = asyncio.ensure_future(third.read(page))
        assert await wait_for(lambda: page.text == "One ")
        second = other.begin()
        second.relay.line(line("Another answer altogether."))
        answers = other.node.fleet.answers
        assert answers is not None
        assert await wait_for(lambda: answers.figures()["mirrored"] == 0)
        other.registry.discard(second)
        first.relay.line(line("One answer."))
        one.registry.finish(first, "completed")
        await asyncio.wait_for(reading, PATIENCE)

        assert (page.text, page.outcome) == ("One answer.", "completed")
        assert (await redis.command("GET", claim)).decode() == one.node.fleet.boot


async def test_a_name_that_was_given_back_is_free_everywhere(redis: RedisServer) -> None:
    """At whatever moment, also while Redis is being asked for it: the page may ask again, anywhere."""
    async with sites(redis.url) as (one, other):
        claim = COPY + ":o"
        answers = one.node.fleet.answers
        assert answers is not None
        for turns in range(15):
            stream = one.begin()
            for _ in range(turns):
                await asyncio.sleep(0)
            one.registry.discard(stream)
            assert await wait_for(lambda: answers.figures()["mirrored"] == 0)
            while await redis.command("EXISTS", claim):
                await asyncio.sleep(0.01)
            await other.registry.check(NAME, SESSION)


async def test_a_cancel_and_a_lease_go_to_the_owner(redis: RedisServer) -> None:
    """A page that reads elsewhere keeps the chat alive, and its Stop stops it."""
    async with sites(redis.url) as (one, other):
        one.settings = Settings(resume_grace=10.0)
        stream, stopped, page = one.begin(), [], Page()
        stream.stop = lambda: stopped.append(time.monotonic())
        stream.relay.line(line("words"))
        reading = asyncio.ensure_future(other.read(page))
        assert await wait_for(lambda: NAME in one.registry._leases)
        await asyncio.sleep(0)
        assert not stopped
        async with ClientSession() as client, client.post(other.url + "/cancel", json={"session": SESSION}) as answer:
            assert (answer.status, (await answer.json())["cancelled"]) == (200, True)
        assert await wait_for(lambda: stopped)
        one.registry.finish(stream, "cancelled")
        await asyncio.wait_for(reading, PATIENCE)

        assert (page.text, page.outcome) == ("words", "cancelled")


async def test_the_owners_death_ends_the_answer_in_a_sentence(redis: RedisServer) -> None:
    """The text so far is whole; what follows says what has happened."""
    async with sites(redis.url) as (one, other):
        stream, page = one.begin(), Page()
        stream.relay.line(line("Half an ans"))
        reading = asyncio.ensure_future(other.read(page))
        assert await wait_for(lambda: page.text == "Half an ans")
        parts = one.node.fleet._parts
        assert parts is not None
        for task in parts.tasks:  # as kill -9 would
            task.cancel()
        await asyncio.wait_for(reading, PATIENCE)

        assert page.text.startswith("Half an ans\n")
        assert "has stopped" in page.text
        assert (page.outcome, page.lines[-1]["finished"]) == ("failed", True)


async def test_a_redis_that_is_wiped_has_the_answer_again(redis: RedisServer) -> None:
    """Restarted without persistence in the middle: the copy is written anew, and the reader goes on."""
    async with sites(redis.url) as (one, other):
        stream, page = one.begin(), Page()
        text = "before "
        stream.relay.line(line(text))
        reading = asyncio.ensure_future(other.read(page))
        assert await wait_for(lambda: page.text == text)
        redis.kill()
        text += "meanwhile "
        stream.relay.line(line(text))
        await redis.start()
        text += "after"
        stream.relay.line(line(text))
        assert await wait_for(lambda: page.text == text)
        one.registry.finish(stream, "completed")
        await asyncio.wait_for(reading, PATIENCE)

        assert (page.text, page.outcome) == (text, "completed")


@pytest.mark.parametrize("transport", ["http", "websocket"])
@pytest.mark.parametrize("when", ["started", "reconnecting", "silent"])
async def test_a_machine_that_has_not_found_redis_yet_is_asked_again(
    redis: RedisServer, proxy: FaultProxy, transport: str, when: str
) -> None:
    """It says that it does not know yet, instead of that there is no such answer; then it gives all of it."""
    async with sites(redis.url, "a") as (one,):
        stream = one.begin()
        stream.relay.line(line("The answer."))
        one.registry.finish(stream, "completed")
        assert await wait_for(lambda: one.node.fleet.answers.figures()["mirrored"] == 0)  # type: ignore[union-attr]
        if when == "started":
            proxy.offline()
        node = Node("b", url_of(proxy), redis_answers=True)
        node.start()
        other = Site(node)
        await other.start()
        writer = node.fleet._parts.writer.link  # type: ignore[union-attr]
        try:
            if when != "started":
                assert await wait_for(lambda: writer.up)
                proxy.offline(how="reset" if when == "reconnecting" else "hole")
            assert await wait_for(lambda: writer.problem is not None)
            page = Page()
            if transport == "http":
                query = {"after": "0", "session": SESSION}
                async with ClientSession() as client, client.get(other.url, params=query) as answer:
                    assert (answer.status, answer.headers.get("Retry-After")) == (503, "1")
                    assert "not known yet" in (await answer.json())["error"]
                stop = {"session": SESSION}
                async with ClientSession() as client, client.post(other.url + "/cancel", json=stop) as answer:
                    assert answer.status == 503
            else:
                async with ClientSession() as client, client.ws_connect(other.socket_url, protocols=(PROTOCOL,)) as ws:
                    assert (await ws.receive_json())["type"] == "hello"
                    await ws.send_json({"type": "read", "stream": NAME, "after": 0})
                    assert (await ws.receive_json())["state"] == "later"
            proxy.online()
            while (status := await other.read(page)) == 503:  # as the page's own reader does
                await asyncio.sleep(0.05)

            assert (status, page.text, page.outcome) == (200, "The answer.", "completed")
        finally:
            await other.stop()
            await node.fleet.aclose()


async def test_a_copy_goes_on_where_it_was_however_often_the_connection_breaks(redis: RedisServer) -> None:
    """At any moment, before or after Redis has taken an entry: nothing is missing, and nothing is written anew."""
    async with sites(redis.url, "abc") as (one, other, third):
        stream, page, late = one.begin(), Page(), Page()
        text, writer = "The beginning. ", one.node.fleet._parts.writer.link  # type: ignore[union-attr]
        stream.relay.line(line(text))
        assert await wait_for(lambda: one.has_copied(stream))
        ((first, _),) = await redis.command("XRANGE", COPY, "-", "+")
        reading = asyncio.ensure_future(other.read(page))
        call, draw = writer.call, random.Random(14).random

        async def breaks(*commands: Any, **options: Any) -> list[Any]:
            wrote = any(word == COPY for command in commands for word in command)
            chance = draw() if wrote else 1.0
            if chance < 0.25:  # before it is sent
                writer.drop()
            replies = await call(*commands, **options)
            if chance < 0.5:  # its reply is lost
                writer.drop()
                raise LinkError("lost")
            return replies

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writer, "call", breaks)
            for number in range(12):
                text += f"word {number} 中文 "
                stream.relay.line(line(text, ext=[{"n": number}]))
                assert await wait_for(lambda copied=one.has_copied: copied(stream))
        one.registry.finish(stream, "completed")
        await asyncio.wait_for(reading, PATIENCE)
        assert await third.read(late) == 200

        for read in (page, late):
            assert (read.text, read.outcome) == (text, "completed")
            assert [row["ext"][0]["n"] for row in read.lines if row["ext"]] == list(range(12))
        assert (await redis.command("XRANGE", COPY, "-", "+", "COUNT", 1))[0][0] == first
        assert sum((node.fleet.figures() or {})["bad_entries"] for node in (one.node, other.node, third.node)) == 0


async def test_without_redis_everything_is_as_before(redis: RedisServer) -> None:
    """Once it has been away for a while, a name that is not here is 404, at once; a chat begins at once."""
    async with sites(redis.url) as (_, other):
        redis.kill()
        assert await wait_for(lambda: not (other.node.fleet.figures() or {})["links"]["writer"]["up"])
        assert await other.read(Page()) == 503
        other.node.fleet.answers._replica.clock = later(31.0)  # type: ignore[union-attr]
        assert await other.read(Page()) == 404
        await other.registry.check(NAME, SESSION)
        stream = other.begin()
        stream.relay.line(line("words"))
        other.registry.finish(stream, "completed")
        page = Page()
        assert (await other.read(page), page.text) == (200, "words")


async def test_a_redis_that_a_person_has_to_mend_is_not_waited_for() -> None:
    """With a wrong password there is no fleet, and nobody is told to ask again."""
    redis = RedisServer("--requirepass", "right")
    redis.password = "right"
    async with redis:
        node = Node("a", redis.url.replace("right", "wrong"), redis_answers=True)
        node.start()
        site = Site(node)
        await site.start()
        try:
            assert await wait_for(lambda: node.fleet._parts.writer.link.problem is not None)  # type: ignore[union-attr]
            assert await site.read(Page()) == 404
        finally:
            await site.stop()
            await node.fleet.aclose()


async def test_while_redis_is_away_no_more_is_held_than_can_be_read_here(redis: RedisServer) -> None:
    """However many answers come meanwhile; those that are still kept are copied when Redis is back."""
    async with sites(redis.url) as (one, other):
        one.settings = Settings(stream_keep_bytes=100_000)
        redis.kill()
        assert await wait_for(lambda: not (one.node.fleet.figures() or {})["links"]["writer"]["up"])
        for number in range(50):
            stream = one.registry.claim(f"{NAME}-{number}", SESSION, "chat")
            stream.relay.head(200, {})
            stream.relay.line(line("x" * 20_000))
            one.registry.finish(stream, "completed")
        kept = one.registry.snapshot()["kept"]
        held = one.node.fleet._parts.mirror.answers  # type: ignore[union-attr]
        assert await wait_for(lambda: len(held) == kept), (len(held), kept)
        assert 0 < kept < 50
        await redis.start()
        assert await wait_for(lambda: not held)
        assert await wait_for(lambda: all(row["up"] for row in (other.node.fleet.figures() or {})["links"].values()))

        last = await other.registry.find_anywhere(f"{NAME}-49", SESSION)
        assert await wait_for(lambda: last.relay.text == "x" * 20_000)


async def test_an_answer_of_nearly_two_megabytes_moves_whole(redis: RedisServer) -> None:
    """Written in pieces or at once, with text that is two bytes a letter; the page has it byte for byte."""
    async with sites(redis.url, "abc") as (one, other, third):
        stream, page, late = one.begin(), Page(), Page()
        text = "long 长 🎨 " * 20_000
        reading = asyncio.ensure_future(other.read(page))
        for part in range(1, 9):
            piece = text[: len(text) * part // 8]
            stream.relay.line(line(piece))
            assert await wait_for(lambda piece=piece: page.text == piece)
        text += "x" * 1_200_000
        stream.relay.line(line(text))
        one.registry.finish(stream, "completed")
        await asyncio.wait_for(reading, PATIENCE)
        assert await third.read(late) == 200

        assert (len(page.text), page.outcome) == (len(text), "completed")
        assert page.text == text == late.text


@pytest.mark.parametrize("what", ["text", "items"])
async def test_an_answer_that_is_too_large_ends_elsewhere_in_a_sentence(redis: RedisServer, what: str) -> None:
    """Nobody waits for what never comes, its name stays taken, and it is not written again and again."""
    async with sites(redis.url, "abc") as (one, other, third):
        stream, page, late = one.begin(), Page(), Page()
        stream.relay.line(line("The beginning."))
        reading = asyncio.ensure_future(other.read(page))
        assert await wait_for(lambda: page.text == "The beginning.")
        if what == "text":
            stream.relay.line(line("The beginning." + "x" * 2_100_000))
        else:
            for number in range(12):
                stream.relay.line(line("The beginning.", ext=[{"n": number, "pad": "x" * 200_000}]))
        await asyncio.wait_for(reading, PATIENCE)
        assert await third.read(late) == 200
        answers = one.node.fleet.answers
        assert answers is not None

        for read in (page, late):
            assert read.outcome == "failed"
            assert "too large to be read at another machine" in read.text
        assert answers.figures()["mirrored"] == 0
        assert await other.registry.elsewhere[0].claimed(NAME, SESSION)
        one.registry.finish(stream, "completed")
        here = Page()
        assert (await one.read(here), here.outcome) == (200, "completed")


@pytest.mark.parametrize("limit", ["", "proto-max-bulk-len", "client-query-buffer-limit"])
async def test_an_answer_that_redis_finds_too_large_ends_elsewhere_in_a_sentence(
    redis: RedisServer, limit: str
) -> None:
    """A plan says so, a Redis says so and hangs up, or hangs up only. It is not tried for ever; a long text moves in
    pieces."""
    async with AsyncExitStack() as stack:
        if limit:
            await redis.command("CONFIG", "SET", limit, "1mb")
            url = redis.url
        else:
            url = (await stack.enter_async_context(Plan(redis.port, most=100_000))).url
        one, other = await stack.enter_async_context(sites(url))
        stream, page = one.begin(), Page()
        stream.relay.line(line("The beginning."))
        reading = asyncio.ensure_future(other.read(page))
        assert await wait_for(lambda: page.text == "The beginning.")
        text = "The beginning." + "x" * 1_100_000
        stream.relay.line(line(text))
        assert await wait_for(lambda: page.text == text)
        stream.relay.line(line(text, ext=[{"pad": "x" * 1_500_000}]))
        await asyncio.wait_for(reading, PATIENCE)
        one.node.offer(3)
        assert await wait_for(lambda: other.node.settled(one.node))

        assert page.text.startswith(text)
        assert "too large to be read at another machine" in page.text[len(text) :]
        assert other.node.account(one.node)["arrived"] == 3
        one.registry.finish(stream, "completed")


async def test_an_answer_that_a_reader_cannot_have_whole_ends_there_in_a_sentence(redis: RedisServer) -> None:
    """It was written under a larger limit: what can be read in parts is, and there is no hole in the text."""
    async with (
        Plan(redis.port, most=100_000) as plan,
        sites(redis.url, "a") as (one,),
        sites(plan.url, "b") as (other,),
    ):
        assert await wait_for(lambda: other.node.knows("a"))
        stream, page, late = one.begin(), Page(), Page()
        text = ""
        for _ in range(4):
            text += "words " * 10_000
            stream.relay.line(line(text))
            assert await wait_for(lambda: one.has_copied(stream))
        reading = asyncio.ensure_future(other.read(page))
        assert await wait_for(lambda: page.text == text)
        stream.relay.line(line(text, ext=[{"pad": "x" * 300_000}]))
        await asyncio.wait_for(reading, PATIENCE)

        assert page.text.startswith(text + "\n\n---\n")
        assert "too large to be read at another machine" in page.text
        assert await other.read(late) == 200
        assert late.text == page.text


async def test_an_answer_comes_whole_over_a_slow_line(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there although not all of it can be had at once; and nothing that is written waits behind it."""
    async with (
        FaultProxy(redis.port) as slow,
        sites(redis.url, "a") as (one,),
        sites(f"redis://127.0.0.1:{slow.port}/0", "b", redis_timeout=2.0) as (other,),
    ):
        stream, page = one.begin(), Page()
        text, answer = "", COPY
        for number in range(1, 11):
            text += "words " * 14_000
            stream.relay.line(line(text))
            for _ in range(6_000):
                if await redis.command("XLEN", answer) >= number:
                    break
                await asyncio.sleep(0.01)
        one.registry.finish(stream, "completed")
        # Eight entries, as many as are asked for at once, take longer than the limit; one takes a seventh of it.
        slow.default = Fault(delay=0.05, chunk=15_000)
        parts = other.node.fleet._parts
        assert parts is not None
        writing, connect = set(), parts.writer.link._connect

        async def noted() -> None:
            await connect()
            writing.add(parts.writer.link._connection._writer.get_extra_info("sockname")[1])

        monkeypatch.setattr(parts.writer.link, "_connect", noted)
        for link in (parts.reader.link, parts.writer.link):
            link.drop()
        assert await wait_for(lambda: len([link for link in slow.open_links if link.fault.delay]) == 2)
        assert await wait_for(lambda: parts.writer.link.up and other.node.knows("a"))

        assert await other.read(page) == 200
        assert (page.text, page.outcome) == (text, "completed")
        # Whatever breaks a connection meanwhile, the text came over none on which something is written.
        carried = {one._writers[0].get_extra_info("peername")[1]: one.down_bytes for one in slow.links}
        assert sum(carried.get(port, 0) for port in writing) < len(text) / 4 < sum(carried.values())


async def test_an_answer_moves_over_a_way_that_carries_little(redis: RedisServer) -> None:
    """What is written at once follows what the way to Redis carries: a long answer comes whole, and nothing breaks."""
    async with FaultProxy(redis.port) as slow:
        slow.default = Fault(up_delay=0.04, chunk=8_000)  # 200 kB/s at most
        async with (
            sites(url_of(slow), "a", redis_timeout=2.0) as (one,),
            sites(redis.url, "b") as (other,),
        ):
            assert await wait_for(lambda: other.node.knows("a"))
            stream, page = one.begin(), Page()
            text = "words " * 200_000
            stream.relay.line(line(text))
            one.registry.finish(stream, "completed")
            assert await wait_for(lambda: redis.command("EXISTS", COPY))
            assert await other.read(page) == 200
            figures = one.node.fleet.figures() or {}

            assert (len(page.text), page.outcome) == (len(text), "completed")
            assert figures["links"]["writer"]["reconnects"] == {}
            assert figures["answers"]["cut"] == {"large": 0, "slow": 0}


async def test_an_answer_that_is_too_much_for_the_way_to_redis_ends_elsewhere_in_a_sentence(
    redis: RedisServer, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not tried for ever: the page elsewhere has the text so far and learns why, and it is counted and logged."""
    async with (
        sites(url_of(proxy), "a", redis_timeout=2.0) as (one,),
        sites(redis.url, "b") as (other,),
    ):
        assert await wait_for(lambda: other.node.knows("a"))
        stream, page, late = one.begin(), Page(), Page()
        stream.relay.line(line("The beginning."))
        reading = asyncio.ensure_future(other.read(page))
        assert await wait_for(lambda: page.text == "The beginning.")
        proxy.default = Fault(up_delay=0.1, chunk=2_000)  # 20 kB/s at most
        one.node.fleet._parts.writer.link.drop()  # type: ignore[union-attr]
        stream.relay.line(line("The beginning.", ext=[{"pad": "x" * 400_000}]))
        await asyncio.wait_for(reading, 2 * PATIENCE)
        assert await other.read(late) == 200

        for read in (page, late):
            assert read.text.startswith("The beginning.\n\n---\n")
            assert ("to Redis is too slow" in read.text, read.outcome) == (True, "failed")
        assert (one.node.fleet.figures() or {})["answers"]["cut"] == {"large": 0, "slow": 1}
        assert "the way to Redis is too slow" in caplog.text
        one.registry.finish(stream, "completed")


async def test_a_key_of_somebody_else_stops_no_other_answer(redis: RedisServer) -> None:
    """One answer cannot be copied; those beside it are, each entry once, and the trouble is told."""
    async with sites(redis.url) as (one, other):
        key = f"{{copilot-pulse}}:a:{name_of('another-answer-of-22-chars', SESSION)}"
        await redis.command("SET", key, "mine")
        bad = one.registry.claim("another-answer-of-22-chars", SESSION, "chat")
        bad.relay.head(200, {})
        stream, page = one.begin(), Page()
        reading = asyncio.ensure_future(other.read(page))
        text = ""
        for number in range(30):
            text += f"word {number} "
            bad.relay.line(line(text))
            stream.relay.line(line(text))
            await asyncio.sleep(0.02)
        one.registry.finish(stream, "completed")
        await asyncio.wait_for(reading, PATIENCE)

        assert (page.text, page.outcome) == (text, "completed")
        problem = (one.node.fleet.figures() or {})["links"]["writer"]["problem"]
        assert (problem or {}).get("kind") == "keys" or await redis.command("TYPE", key) == b"stream"


async def test_what_anybody_wrote_under_the_name_of_an_answer_harms_nobody(redis: RedisServer) -> None:
    """Frames of the wrong shape are left out; the right ones among them are read."""
    async with sites(redis.url) as (one, other):
        key = COPY
        await redis.command("SET", key + ":o", one.node.fleet.boot)
        bad: list[Any] = [
            1, {}, {"type": "delta", "seq": "1"}, {"type": "delta", "seq": 1, "at": -1, "text": "x"},
            {"type": "item", "seq": 1, "line": 7}, {"type": "head", "seq": 1, "status": "200", "headers": {}},
            {"type": "end", "seq": 1, "outcome": "maybe"}, {"type": "gap", "seq": 1, "at": 0, "text": ""},
            {"type": [], "seq": 1}, {"type": "raw", "seq": 1, "text": None, "data": "x"},
        ]  # fmt: skip
        await redis.command("XADD", key, "1-1", "f", "no json")
        await redis.command("XADD", key, "2-1", "f", json.dumps(bad))
        good = [
            {"type": "head", "seq": 1, "status": 200, "headers": {}},
            {"type": "item", "seq": 2, "at": 0, "text": "fine", "line": {"text": ""}},
            {"type": "end", "seq": 3, "outcome": "completed"},
        ]
        await redis.command("XADD", key, "3-3", "f", json.dumps(good))
        page = Page()

        assert (await other.read(page), page.text, page.outcome) == (200, "fine", "completed")
