"""Shared work on the real Redis: each event is handled by one instance, at least once, whatever happens."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from backend.event_bus import Event, EventBus
from backend.fleet import Fleet
from backend.fleet_redis import groups
from backend.fleet_redis.redis_link import LinkError
from tests.support.fleet_nodes import Node, nodes, url_of, wait_for
from tests.support.net import PATIENCE
from tests.support.plan import Plan
from tests.support.proxy import FaultProxy
from tests.support.redis_server import RedisServer


def hurry(*made: Node) -> None:
    """Look for what others did not finish several times a second."""
    for node in made:
        assert node.fleet._parts is not None
        node.fleet._parts.groups.sweep = 0.2


def die(node: Node) -> None:
    """As kill -9 would."""
    assert node.fleet._parts is not None
    for task in node.fleet._parts.tasks:
        task.cancel()


async def hang_with(node: Node, source: Node, count: int) -> None:
    """`node` begins with the first of `count` events of `source` and never ends."""
    begun = asyncio.Event()

    async def hang(event: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    node.fleet.share("chaos", group="work", handler=hang)
    source.offer(count)
    await asyncio.wait_for(begun.wait(), PATIENCE)


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
        assert await wait_for(lambda: all(len(seen) == 600 for seen in by.values()))

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
        await hang_with(made[0], made[1], 50)
        for node in made[1:]:
            node.fleet.share("chaos", group="work", handler=lambda event: seen.update([event.key]))
        die(made[0])
        made[2].offer(50)
        assert await wait_for(lambda: len(seen) == 100)

        assert sum((node.fleet.figures() or {})["groups"]["work"]["redelivered"] for node in made[1:]) > 0


async def test_a_slow_handler_keeps_its_work(redis: RedisServer) -> None:
    """Its claim is renewed while it works, so nobody else begins the same."""
    async with nodes(redis.url, redis_claim_idle=3.0) as made:
        hurry(*made)
        begun: Counter[str] = Counter()
        done: list[str] = []

        async def slow(event: Any) -> None:
            begun[event.key] += 1
            await asyncio.sleep(8)
            done.append(event.key)

        for node in made:
            node.fleet.share("chaos", group="work", handler=slow)
        made[0].offer(1)
        assert await wait_for(lambda: done)

        assert list(begun.values()) == [1]


async def test_poison_goes_to_the_dead_letters_and_the_rest_goes_on(redis: RedisServer) -> None:
    """What fails again and again is given up after five times, with its data; its neighbours are handled."""
    # One works on it: of two, one that stands still would be taken for dead, and both would give it up.
    async with nodes(redis.url, redis_timeout=60.0) as made:
        hurry(*made)
        tries: Counter[int] = Counter()
        told: list[Any] = []

        def handle(event: Any) -> None:
            tries[event.data["i"]] += 1
            if event.data["i"] == 2:
                raise ValueError("hush")

        made[1].fleet._parts.groups.claim_idle = 0.1  # type: ignore[union-attr]
        made[1].fleet.bus.subscribe("fleet.dead", lambda event: told.append(event.data))
        made[1].fleet.share("chaos", group="work", handler=handle)
        made[0].offer(3)
        assert await wait_for(lambda: told)
        (letter,) = await redis.command("XRANGE", "{copilot-pulse}:dead:work", "-", "+")

        assert told == [{"group": "work", "key": f"{made[0].fleet.boot}-2", "type": "chaos", "deliveries": 5}]
        assert f"{made[0].fleet.boot}-2" in str(letter)
        assert (tries[2], tries[1], tries[3]) == (5, 1, 1)
        stream = f"{{copilot-pulse}}:i:{made[0].fleet.boot}"

        async def done() -> bool:
            return bool((await redis.command("XPENDING", stream, "work"))["pending"] == 0)

        assert await wait_for(done), "it is still pending"


async def test_what_others_tried_meanwhile_counts(redis: RedisServer) -> None:
    """Between a look at what is pending and the claim it may have ended a machine again: five are five."""
    async with nodes(redis.url, "a", redis_timeout=60.0, redis_claim_idle=1.0) as (node,):
        hurry(node)
        tried: list[str] = []
        told: list[Any] = []
        stream = f"{{copilot-pulse}}:i:{node.fleet.boot}"
        node.offer(1)
        assert await wait_for(lambda: node.fleet._parts.writer.empty)  # type: ignore[union-attr]
        await redis.command("XGROUP", "CREATE", stream, "work", "0")
        await redis.command("XREADGROUP", "GROUP", "work", "another", "STREAMS", stream, ">")
        node.fleet.bus.subscribe("fleet.dead", lambda event: told.append(event.data["key"]))
        node.fleet.share("chaos", group="work", handler=lambda event: tried.append(event.key))
        link = node.fleet._parts.groups.groups["work"].link  # type: ignore[union-attr]
        ask = link.ask

        async def ask_late(*command: Any, **options: Any) -> Any:
            if command[0] == "XCLAIM":
                mine = ("XCLAIM", stream, "work", "another", 0, command[5], "IDLE", 3_600_000, "RETRYCOUNT", 5)
                await redis.command(*mine)
            return await ask(*command, **options)

        link.ask = ask_late  # type: ignore[method-assign]
        assert await wait_for(lambda: told or tried)

        assert (told, tried) == ([f"{node.fleet.boot}-1"], [])


async def test_poison_that_ends_its_machine_ends_five_and_no_more(redis: RedisServer) -> None:
    """It goes to the dead letters, too, by a machine that has not tried it."""
    async with nodes(redis.url, "abcdef", redis_claim_idle=1.0) as made:
        hurry(*made)
        tried: list[str] = []
        told: list[Any] = []
        for node in made:

            async def handle(event: Any, node: Node = node) -> None:
                tried.append(node.settings.instance)
                die(node)
                await asyncio.Event().wait()

            node.fleet.bus.subscribe("fleet.dead", lambda event: told.append(event.data["key"]))
            node.fleet.share("chaos", group="work", handler=handle)
        made[0].offer(1)
        assert await wait_for(lambda: told)

        assert (len(tried), told) == (5, [f"{made[0].fleet.boot}-1"])
        assert await redis.command("XLEN", "{copilot-pulse}:dead:work") == 1


async def test_poison_with_half_an_emoji_is_given_up_too(redis: RedisServer) -> None:
    """Whatever came as an event can be written as a dead letter."""
    async with nodes(redis.url, "a", redis_timeout=60.0, redis_claim_idle=0.1) as made:
        hurry(*made)
        tries: list[str] = []
        told: list[Any] = []

        def handle(event: Any) -> None:
            tries.append(event.data["half"])
            raise ValueError

        for node in made:
            node.fleet.bus.subscribe("fleet.dead", lambda event: told.append(event.data))
            node.fleet.share("chaos.odd", group="work", handler=handle)
        made[0].local.publish_nowait(Event("chaos.odd", {"half": "\ud83d"}, "test"))
        assert await wait_for(lambda: told)

        assert tries == ["\ud83d"] * 5


async def test_what_redis_was_not_told_is_done_is_not_done_again(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks between the work and its receipt: the entry comes again, to the one that has done it."""
    async with nodes(redis.url) as (one, _):
        done: list[int] = []
        asked: list[int] = []
        parts: Any = one.fleet._parts
        errand = parts.writer.errand

        async def breaks_once(*commands: Any) -> Any:
            if commands[0][0] == "XACK":
                asked.append(1)
                if len(asked) == 1:
                    raise LinkError("lost")
            return await errand(*commands)

        monkeypatch.setattr(parts.writer, "errand", breaks_once)
        one.fleet.share("chaos", group="work", handler=lambda event: done.append(event.data["i"]))
        one.offer(3)
        assert await wait_for(lambda: len(asked) > 1)

        assert done == [1, 2, 3]


@pytest.mark.parametrize("how", ["refused", "hung up"])
async def test_work_that_cannot_be_read_at_once_is_done_in_parts(
    redis: RedisServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it is one large entry of each of many machines; what is too large by itself stops nobody."""
    async with Plan(redis.port, most=100_000 if how == "refused" else 2**24) as plan, nodes(redis.url, "abc") as made:
        for node in made:
            for number in range(6):
                node.local.publish_nowait(Event("chaos", {"i": number, "pad": "x" * 70_000}, "test"))
        made[0].local.publish_nowait(Event("chaos", {"i": 6, "pad": "x" * 200_000}, "test"))
        writers = [node.fleet._parts.writer for node in made if node.fleet._parts is not None]
        assert await wait_for(lambda: all(writer.empty for writer in writers))
        if how == "hung up":
            await redis.command("CONFIG", "SET", "client-output-buffer-limit", "normal 100kb 0 0")
        late = Node("d", plan.url)
        seen: Counter[str] = Counter()
        try:
            late.start()
            late.fleet.share("chaos", group="work", handler=lambda event: seen.update([event.key]))
            assert await wait_for(lambda: len(seen) == 18 and figures_of(late)["lost"] == 1), seen
            made[0].offer(3)
            assert await wait_for(lambda: len(seen) == 21)

            assert set(seen.values()) == {1}
            stream = f"{{copilot-pulse}}:i:{made[0].fleet.boot}"
            for _ in range(2_000):
                if not (pending := (await redis.command("XPENDING", stream, "work"))["pending"]):
                    break
                await asyncio.sleep(0.01)
            assert pending == 0
            assert "events of group work are lost" in caplog.text
        finally:
            await late.fleet.aclose()


@pytest.mark.parametrize("when", ["before", "later"])
async def test_a_key_that_is_no_stream_stops_no_shared_work(redis: RedisServer, when: str) -> None:
    """Somebody else wrote to one machine's key: the work of the others is done."""
    async with nodes(redis.url, "abc") as (one, other, third):
        seen: Counter[str] = Counter()
        mine = ("SET", f"{{copilot-pulse}}:i:{one.fleet.boot}", "mine")
        if when == "before":
            await redis.command(*mine)
        other.fleet.share("chaos", group="work", handler=lambda event: seen.update([event.key]))
        for number in range(1, 6):
            third.offer(3)
            assert await wait_for(lambda number=number: len(seen) == 3 * number)
            if when == "later" and number == 2:
                await redis.command(*mine)
        assert set(seen.values()) == {1}


def figures_of(node: Node) -> dict[str, int]:
    """Of its only group."""
    (row,) = (node.fleet.figures() or {})["groups"].values()
    return dict(row)


async def test_a_handler_that_runs_into_a_cancel_has_failed_and_work_goes_on(redis: RedisServer) -> None:
    """A task or a future of its own that was cancelled: the event comes again, the group does not end."""
    async with nodes(redis.url, "a") as (node,):
        hurry(node)
        node.fleet._parts.groups.claim_idle = 0.1  # type: ignore[union-attr]
        tries: Counter[int] = Counter()

        async def waits(event: Any) -> None:
            tries[event.data["i"]] += 1
            if tries[event.data["i"]] == 1:
                work = asyncio.ensure_future(asyncio.sleep(60))
                work.cancel()
                await work

        def plain(event: Any) -> None:
            if tries[event.data["i"]] == 2:
                tries[event.data["i"]] += 1
                raise asyncio.CancelledError

        node.fleet.share("chaos", group="waits", handler=waits)
        node.fleet.share("chaos", group="plain", handler=plain)
        node.offer(3)
        assert await wait_for(lambda: min(tries[i] for i in (1, 2, 3)) >= 2)
        node.offer(1)
        assert await wait_for(lambda: tries[4] >= 2)

        assert (node.fleet.figures() or {})["groups"]["waits"]["failed"] >= 4


async def test_a_handler_that_hangs_holds_up_no_other_group(redis: RedisServer) -> None:
    """Each group works by itself; the one that hangs is shown as pending and leaves in good order."""
    async with nodes(redis.url, "a") as (node,):
        done: list[int] = []

        async def hang(event: Any) -> None:
            await asyncio.Event().wait()

        node.fleet.share("chaos", group="hangs", handler=hang)
        node.fleet.share("chaos", group="works", handler=lambda event: done.append(event.data["i"]))
        for number in range(1, 6):
            node.offer(1)
            assert await wait_for(lambda number=number: len(done) == number)
        figures = node.fleet.figures() or {}

        assert figures["groups"]["hangs"]["pending"] == 1
        assert figures["links"]["groups"]["up"]


async def test_two_patterns_of_one_group_share_its_events(redis: RedisServer) -> None:
    """A plugin that shares two types of events under one name gets both; no event is acknowledged unhandled."""
    async with nodes(redis.url) as made:
        first: Counter[str] = Counter()
        second: Counter[str] = Counter()
        for node in made:
            node.fleet.share("chaos", group="work", handler=lambda event: first.update([event.key]))
            node.fleet.share("other.*", group="work", handler=lambda event: second.update([event.key]))
        for number in range(50):
            made[number % 2].offer(1)
            made[number % 2].local.publish_nowait(Event("other.thing", {"i": number}, "test"))
            await asyncio.sleep(0.005)
        assert await wait_for(lambda: len(first) == 50 and len(second) == 50)

        assert set(first.values()) == set(second.values()) == {1}


async def test_the_neighbours_of_a_bad_event_are_done_once(redis: RedisServer) -> None:
    """They lie in one entry with it, which comes again: what was done of it here is not done again."""
    async with nodes(redis.url, "a") as (node,):
        hurry(node)
        node.fleet._parts.groups.claim_idle = 0.1  # type: ignore[union-attr]
        tries: Counter[int] = Counter()

        def handle(event: Any) -> None:
            tries[event.data["i"]] += 1
            if event.data["i"] == 2 and tries[2] < 4:
                raise ValueError("hush")

        node.fleet.share("chaos", group="work", handler=handle)
        node.offer(3)
        assert await wait_for(lambda: tries[2] == 4)

        assert (tries[1], tries[3]) == (1, 1)


async def test_work_that_waits_behind_a_slow_event_is_done_once(redis: RedisServer) -> None:
    """An instance is given several entries; those that it has no time for go to another, and are not done twice."""
    async with nodes(redis.url, redis_claim_idle=3.0) as made:
        hurry(*made)
        begun: Counter[int] = Counter()
        by: dict[int, str] = {}

        def handler(name: str) -> Any:
            async def handle(event: Any) -> None:
                begun[event.data["i"]] += 1
                by[event.data["i"]] = name
                if len(begun) == 1:
                    await asyncio.sleep(10)

            return handle

        for _ in range(4):  # an entry each
            made[0].offer(1)
            assert await wait_for(lambda: made[0].fleet._parts.writer.empty)  # type: ignore[union-attr]
        made[0].fleet.share("chaos", group="work", handler=handler("a"))
        assert await wait_for(lambda: begun)
        made[1].fleet.share("chaos", group="work", handler=handler("b"))
        assert await wait_for(lambda: len(begun) == 4)
        figures = made[0].fleet.figures
        assert await wait_for(lambda: (figures() or {})["groups"]["work"]["pending"] == 0)

        assert set(begun.values()) == {1}, begun
        assert set(by.values()) == {"a", "b"}


async def test_what_ends_is_called_no_more_and_may_begin_again(redis: RedisServer) -> None:
    """A plugin that is taken out and put back."""
    async with nodes(redis.url) as made:
        before: list[int] = []
        after: list[int] = []
        end = made[1].fleet.share("chaos", group="work", handler=lambda event: before.append(event.data["i"]))
        made[0].offer(5)
        assert await wait_for(lambda: len(before) == 5)
        end()
        end()
        made[0].offer(5)
        assert await wait_for(lambda: not (made[1].fleet.figures() or {})["groups"])
        assert "groups" not in (made[1].fleet.figures() or {})["links"]
        made[1].fleet.share("chaos", group="work", handler=lambda event: after.append(event.data["i"]))
        assert await wait_for(lambda: len(after) == 5)

        assert (len(before), sorted(after)) == (5, [6, 7, 8, 9, 10])


async def test_what_ends_while_redis_is_away_ends_at_once(redis: RedisServer) -> None:
    """Nothing of it tries on, or stands among the figures, until Redis is back."""
    async with nodes(redis.url) as (one, _):
        redis.kill()
        assert await wait_for(lambda: not (one.fleet.figures() or {})["links"]["writer"]["up"])
        end = one.fleet.share("chaos", group="work", handler=lambda event: None)
        assert await wait_for(lambda: (one.fleet.figures() or {})["links"]["groups"]["problem"])
        end()

        assert await wait_for(lambda: not (one.fleet.figures() or {})["groups"])
        assert not any("group work" in task.get_name() for task in asyncio.all_tasks())


async def test_redis_forgets_the_consumers_of_machines_that_are_gone(redis: RedisServer, monkeypatch: Any) -> None:
    """Redis keeps their names for ever; they are deleted when they have long been gone and owe nothing, not before."""
    monkeypatch.setattr(groups, "FORGOTTEN", 0.0)
    async with nodes(redis.url, "abc", redis_claim_idle=1.0) as made:
        hurry(*made)
        seen: Counter[str] = Counter()
        await hang_with(made[0], made[2], 20)
        made[1].fleet.share("chaos", group="work", handler=lambda event: seen.update([event.key]))
        die(made[0])
        stream = f"{{copilot-pulse}}:i:{made[2].fleet.boot}"

        async def consumers() -> set[str]:
            rows = await redis.command("XINFO", "CONSUMERS", stream, "work")
            return {dict(zip(row[::2], row[1::2], strict=True))[b"name"].decode() for row in rows}

        assert made[0].fleet.boot in await consumers()
        assert await wait_for(lambda: len(seen) == 20)  # what it owed was taken over first
        while made[0].fleet.boot in await consumers():
            await asyncio.sleep(0.05)
        assert made[1].fleet.boot in await consumers()


async def test_what_was_given_before_a_reconnect_is_done_before_what_is_new(
    redis: RedisServer, proxy: FaultProxy
) -> None:
    """Redis gave it to this machine, and the reply was lost: nobody else has it, so it comes first."""
    async with nodes(redis.url, "b") as (other,), nodes(url_of(proxy), "a") as (one,):
        done: list[int] = []
        one.fleet.share("chaos", group="work", handler=lambda event: done.append(event.data["i"]))
        other.offer(1)
        assert await wait_for(lambda: done == [1])
        proxy.offline()
        assert await wait_for(lambda: not (one.fleet.figures() or {})["links"]["groups"]["up"])
        stream = f"{{copilot-pulse}}:i:{other.fleet.boot}"
        for number in range(2, 5):  # an entry each
            other.offer(1)
            assert await wait_for(lambda: other.fleet._parts.writer.empty)  # type: ignore[union-attr]
            if number == 2:
                read = ("XREADGROUP", "GROUP", "work", one.fleet.boot, "STREAMS", stream, ">")
                assert len((await redis.command(*read))[0][1]) == 1
        proxy.online()
        assert await wait_for(lambda: len(done) >= 4)

        assert done == [1, 2, 3, 4]


async def test_work_is_taken_over_when_its_machine_is_gone_and_not_before(redis: RedisServer) -> None:
    """A claim lasts as long as the heartbeat, however long it is idle, and no longer."""
    async with nodes(redis.url, "abc", redis_claim_idle=3_600.0) as made:
        hurry(*made)
        lived: list[bool] = []
        seen: Counter[str] = Counter()
        await hang_with(made[0], made[2], 20)

        def handle(event: Any) -> None:
            lived.append(made[1].fleet._parts.registry.alive(made[0].fleet.boot))  # type: ignore[union-attr]
            seen[event.key] += 1

        made[1].fleet.share("chaos", group="work", handler=handle)
        made[1].offer(1)
        assert await wait_for(lambda: len(seen) == 1)
        lived.clear()
        die(made[0])
        assert await wait_for(lambda: len(seen) == 21)

        assert set(lived) == {False}


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
        assert await wait_for(lambda: len(seen) == 20)
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
        assert await wait_for(lambda: len(seen) == 80)


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
