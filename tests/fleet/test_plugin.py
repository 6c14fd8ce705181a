"""The fleet in running plugins: what the route, the metrics and the health check say of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from prometheus_client.parser import text_string_to_metric_families as parse

from backend.api.routes import add_routes
from backend.chats import Chat
from backend.event_bus import Event, EventBus
from backend.fleet_redis.redis_link import WORDS
from backend.metrics.checks import fleet as checks_of_fleet
from backend.metrics.checks.fleet import SERVER_KINDS
from backend.pulse import Pulse
from backend.settings import LiveSettings, Secret, Settings
from tests.support.fleet_nodes import wait_for
from tests.support.net import closed_port
from tests.support.redis_server import RedisServer

SECRET = "hush-7Kq"


@asynccontextmanager
async def plugin(name: str, url: str, **more: Any) -> AsyncIterator[tuple[Pulse, str]]:
    """A running plugin on a bus of its own, and the address of its routes."""
    given = {"redis_url": Secret(url), "instance": name, "redis_timeout": 10.0, **more}
    settings = dataclasses.replace(Settings(), **given)
    pulse = Pulse(LiveSettings(settings), EventBus())
    app = web.Application()
    add_routes(app, pulse, lambda *message: None)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    pulse.start()
    try:
        yield pulse, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await pulse.aclose()
        await runner.cleanup()
        await pulse.bus.aclose()


async def get(url: str, **headers: str) -> tuple[int, Any]:
    async with ClientSession() as client, client.get(url, headers=headers) as answer:
        return answer.status, await (answer.text() if "metrics" in url else answer.json())


async def test_each_instance_shows_all(caplog: pytest.LogCaptureFixture) -> None:
    """A row an instance with its verdict, chats and problems; the others' events with their instance."""
    redis = RedisServer("--requirepass", SECRET)
    redis.password = SECRET
    async with redis, plugin("left", redis.url) as (left, address), plugin("right", redis.url) as (right, _):
        assert await wait_for(lambda: len(left.fleet.instances()) == 2)
        assert await wait_for(lambda: left.fleet._parts is not None and left.fleet._parts.reader.sources)
        problem = {"check": "mcp:connections", "status": "warn", "was": "pass", "output": "Not reachable."}
        right.bus.publish_nowait(Event("health.changed", problem, "test"))
        right.bus.publish_nowait(Event("chat.finished", {"chat_id": "7", "notice": "words of a chat"}, "test"))
        assert await wait_for(lambda: left.fleet.events_since(0)[0] >= 3)
        status, body = await get(address + "/copilot-pulse/fleet")

        assert (status, body["on"]) == (200, True)
        assert [(row["name"], row["here"], row["state"]) for row in body["instances"]] == [
            ("left", True, "up"), ("right", False, "up"),
        ]  # fmt: skip
        assert body["instances"][1]["status"]["health"] in ("pass", "warn")
        assert {"chats", "first_token", "errors", "lag", "problems", "current"} <= set(body["instances"][1]["status"])
        assert body["instances"][1]["version"] == body["instances"][0]["version"] != ""
        types = [(event["instance"], event["type"]) for event in body["events"]]
        assert ("right", "health.changed") in types
        assert ("right", "chat.finished") in types
        status, later = await get(f"{address}/copilot-pulse/fleet?since={body['seq']}")
        assert later["events"] == []
        assert "words of a chat" not in str(body)
        for path in ("fleet", "settings", "diagnostics", "health", "metrics", "metrics?format=prometheus"):
            assert SECRET not in str(await get(f"{address}/copilot-pulse/{path}"))
    assert SECRET not in caplog.text


async def test_a_private_machine_sends_figures_only() -> None:
    """COPILOT_PULSE_PRIVATE: neither Redis nor another machine learns a session, a model, a host or a word."""
    secret = "NAMED"
    async with (
        RedisServer() as redis,
        plugin("left", redis.url) as (left, address),
        plugin("", redis.url, private=True, expose_text=True) as (right, _),
    ):
        assert await wait_for(lambda: len(left.fleet.instances()) == 2)
        assert await wait_for(lambda: left.fleet._parts is not None and left.fleet._parts.reader.sources)
        chat = Chat(session=secret)
        chat.figures.of(secret, secret).told(1, 2, 3, 4)
        right.chats.add(chat)
        finished = {
            "chat_id": secret, "outcome": "failed", "model": secret, "host": secret, "seconds": 1.5, "tokens": 7,
            "by_model": [{"model": secret}], "notice": secret, "error_kind": "quota", secret: 1,
        }  # fmt: skip
        error = {"error_id": secret, "kind": "quota", "type": secret, "message": secret, "model": secret}
        for type_, data in (
            ("chat.finished", finished), ("error", error),
            ("health.changed", {"check": "mcp:connections", "status": "warn", "output": secret}),
            ("other.plugin", {secret: 1}),
        ):  # fmt: skip
            right.bus.publish_nowait(Event(type_, data, "test", secret))
        assert await wait_for(lambda: any(e["type"] == "other.plugin" for e in left.fleet.events_since(0)[1]))
        right.fleet._parts.registry.look_soon()  # type: ignore[union-attr]
        assert await wait_for(lambda: left.fleet.instances()[1]["status"].get("chats") == 1)
        _, body = await get(address + "/copilot-pulse/fleet")
        stored = [
            str(await redis.command(*command, f"{{copilot-pulse}}:{key}:{right.fleet.boot}", *rest))
            for command, key, rest in ((("GET",), "h", ()), (("XRANGE",), "i", ("-", "+")))
        ]

    events = {event["type"]: event for event in body["events"]}
    assert events["chat.finished"]["data"] == {
        "chat_id": "", "outcome": "failed", "model": "", "host": "", "seconds": 1.5, "tokens": 7,
        "error_kind": "quota", "notice_length": 0,
    }  # fmt: skip
    assert events["chat.finished"]["session"] is None
    assert events["error"]["data"]["kind"] == "quota"
    assert events["other.plugin"]["data"] == {}
    told = [event["data"] for event in body["events"] if event["type"] == "health.changed"]
    assert {"check": "mcp:connections", "status": "warn", "output": ""} in told
    assert body["instances"][1]["name"].startswith("private-")
    assert body["instances"][1]["status"]["current"] == []
    for text in (str(body), *stored):
        assert secret not in text


async def test_the_metrics_tell_of_the_fleet_and_of_redis() -> None:
    """All families of docs/fleet.md with their values; none of them without a Redis."""
    async with RedisServer() as redis, plugin("one", redis.url) as (pulse, address):
        assert await wait_for(lambda: pulse.fleet._parts is not None and pulse.fleet._parts.writer.link.up)
        pulse.publish("chat.started", {"chat_id": "7", "kind": "chat", "messages": 1})
        # Sources are read once a second.
        assert await wait_for(lambda: (pulse.monitor.value("fleet") or {}).get("sent_events"))
        _, text = await get(address + "/copilot-pulse/metrics?format=prometheus")
    families = {family.name: family for family in parse(text)}

    assert {s.labels["role"]: s.value for s in families["copilot_pulse_redis_up"].samples}["writer"] == 1
    assert families["copilot_pulse_redis_sent_events"].samples[0].value > 0
    assert families["copilot_pulse_redis_write_seconds"].type == "histogram"
    assert {s.labels["status"]: s.value for s in families["copilot_pulse_fleet_instances"].samples} == {
        "up": 1, "gone": 0,
    }  # fmt: skip
    async with plugin("off", "") as (pulse, address):
        _, text = await get(address + "/copilot-pulse/metrics?format=prometheus")
        _, body = await get(address + "/copilot-pulse/fleet")
    assert "redis" not in text
    assert (body["on"], body["instances"]) == (False, [])


FAMILIES = {
    "redis_up": "gauge", "redis_reconnects": "counter", "redis_errors": "counter", "redis_outbox_size": "gauge",
    "redis_outbox_capacity": "gauge", "redis_outbox_peak": "gauge", "redis_outbox_dropped": "counter",
    "redis_sent_events": "counter", "redis_sent_batches": "counter", "redis_write_seconds": "histogram",
    "redis_healed_events": "counter", "redis_received_events": "counter", "redis_gap_events": "counter",
    "redis_lag_events": "gauge", "redis_delivery_seconds": "histogram", "redis_bad_entries": "counter",
    "fleet_instances": "gauge", "redis_answers": "gauge", "redis_answer_behind_seconds": "gauge",
    "redis_answers_cut": "counter", "redis_remote_readers": "gauge", "redis_group_pending": "gauge",
    "redis_group_redelivered": "counter", "redis_group_dead": "counter", "redis_group_lost": "counter",
}  # fmt: skip
"""Every family that docs/fleet.md names."""


async def test_every_family_is_there_with_a_machine_that_does_all_of_it() -> None:
    """Shared work and answers that move, too; a dashboard has nothing to ask for that is not there."""
    async with RedisServer() as redis, plugin("one", redis.url, redis_answers=True) as (pulse, address):
        pulse.fleet.share("chat.started", group="billing", handler=lambda event: None)
        assert await wait_for(lambda: pulse.fleet._parts is not None and pulse.fleet._parts.writer.link.up)
        assert await wait_for(lambda: ((pulse.monitor.value("fleet") or {}).get("groups") or {}).get("billing"))
        _, text = await get(address + "/copilot-pulse/metrics?format=prometheus")
    there = {family.name.removeprefix("copilot_pulse_"): family.type for family in parse(text)}
    document = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text("utf-8")

    assert {name: kind for name, kind in there.items() if name.startswith(("redis_", "fleet_"))} == FAMILIES
    for name in FAMILIES:
        assert f"`{name}" in document or f"`{name.removeprefix('redis_outbox')}" in document, name


async def test_health_says_what_is_wrong_with_redis_and_never_fails() -> None:
    """A warning without impact after some seconds: chats go on."""
    redis = RedisServer("--requirepass", SECRET)
    redis.password = SECRET
    async with redis, plugin("one", redis.url.replace(SECRET, "wrong")) as (pulse, address):
        clock = pulse.fleet.figures

        def waited() -> bool:
            link = (clock() or {})["links"]["writer"]
            return bool(link["problem"]) and link["down_seconds"] > 5

        assert await wait_for(waited)
        status, body = await get(address + "/copilot-pulse/health")
        verdict = pulse.monitor.board.verdict()["problems"]

    assert (status, body["checks"]["redis:connection"][0]["status"]) == (200, "warn")
    assert "password" in body["checks"]["redis:connection"][0]["output"]
    assert [(p["code"], p["impact"]) for p in verdict if p["check"] == "redis:connection"] == [
        ("redis_password", "none")
    ]


@pytest.mark.parametrize("what", ["address", "password", "rights", "tls", "version"])
async def test_health_says_which_of_all_it_is(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """What a person has to mend, in words and by a code of its own; the chats are not affected."""
    monkeypatch.setattr(checks_of_fleet, "DOWN_WARNS", 0.0)
    options = ("--rename-command", "XADD", "") if what == "version" else ("--requirepass", SECRET)
    redis = RedisServer(*options)
    redis.password = "" if what == "version" else SECRET
    async with redis:
        if what == "rights":
            await redis.command("ACL", "SETUSER", "few", "on", f">{SECRET}", "~*", "-@all", "+xread", "+select")
        url = {
            "address": f"redis://:{SECRET}@127.0.0.1:{closed_port()}/0", "version": redis.url,
            "password": redis.url.replace(SECRET, "wrong"), "tls": redis.url.replace("redis:", "rediss:"),
            "rights": redis.url.replace("//:", "//few:"),
        }[what]  # fmt: skip
        async with plugin("one", url, redis_timeout=1.0 if what == "tls" else 10.0) as (pulse, address):
            pulse.publish("chat.started", {"chat_id": "7", "kind": "chat", "messages": 1})
            code = f"redis_{what}"

            def told() -> list[Any]:
                problems = pulse.monitor.board.verdict()["problems"]
                return [(p["code"], p["impact"]) for p in problems if p["check"] == "redis:connection"]

            assert await wait_for(lambda: told() == [(code, "none")]), told()
            status, body = await get(address + "/copilot-pulse/health")

    assert (status, body["checks"]["redis:connection"][0]["status"]) == (200, "warn")
    words = {"address": "address", "password": "password", "rights": "right", "tls": "TLS", "version": "6.2"}[what]
    assert words in body["checks"]["redis:connection"][0]["output"]
    assert SECRET not in str(body)


async def test_health_says_that_somebody_else_writes_into_the_fleets_keys() -> None:
    """In words, with a number, and without impact: what it broke has been written anew."""
    async with RedisServer() as redis, plugin("one", redis.url) as (pulse, address):
        parts: Any = pulse.fleet._parts
        assert await wait_for(lambda: parts.reader.link.up)
        await redis.command("XADD", parts.keys.inbox(parts.fleet.boot), "*", "foo", "bar")
        assert await wait_for(lambda: (pulse.monitor.value("fleet") or {}).get("bad_entries"))
        _, body = await get(address + "/copilot-pulse/health")
        verdict = pulse.monitor.board.verdict()["problems"]

    (found,) = body["checks"]["redis:entries"]
    assert (found["status"], found["observedValue"]) == ("warn", 1)
    assert "not the fleet's" in found["output"]
    assert [(p["code"], p["impact"]) for p in verdict if p["check"] == "redis:entries"] == [("fleet_entries", "none")]


@pytest.mark.parametrize("why", ["large", "slow"])
async def test_health_and_metrics_say_that_an_answer_could_not_be_copied(why: str) -> None:
    """By its reason, where a user looks for it."""
    async with RedisServer() as redis, plugin("one", redis.url, redis_answers=True) as (pulse, address):
        parts: Any = pulse.fleet._parts
        assert await wait_for(lambda: parts.writer.link.up)
        stream = pulse.streams.claim("an-answer-of-22-letters", "session", "chat")
        (one,) = parts.mirror.answers.values()
        parts.mirror._give_up(one, why)
        pulse.streams.finish(stream, "completed")
        assert await wait_for(lambda: ((pulse.monitor.value("fleet") or {}).get("answers") or {})["cut"][why])
        _, body = await get(address + "/copilot-pulse/health")
        _, text = await get(address + "/copilot-pulse/metrics?format=prometheus")

    (found,) = body["checks"]["redis:answers"]
    assert (found["status"], found["observedValue"]) == ("warn", 1)
    assert f'copilot_pulse_redis_answers_cut_total{{reason="{why}"}} 1.0' in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_kind_of_trouble_has_words_in_the_panel(language: str) -> None:
    """The code of the check is built from the kind."""
    path = Path(__file__).parents[2] / "locales" / language / "main.json"
    words = json.loads(path.read_text("utf-8"))["copilotPulse"]["health"]
    codes = {"redis_" + ("server" if kind in SERVER_KINDS else kind) for kind in WORDS}

    assert codes <= set(words)
