"""The fleet in running plugins: what the route, the metrics and the health check say of it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, web
from prometheus_client.parser import text_string_to_metric_families as parse

from backend.api.routes import add_routes
from backend.chats import Chat
from backend.event_bus import Event, EventBus
from backend.fleet_redis.redis_link import WORDS
from backend.metrics.checks.fleet import SERVER_KINDS
from backend.pulse import Pulse
from backend.settings import LiveSettings, Secret, Settings
from tests.support.fleet_nodes import wait_for
from tests.support.redis_server import RedisServer

SECRET = "hush-7Kq"


@asynccontextmanager
async def plugin(name: str, url: str, **more: Any) -> AsyncIterator[tuple[Pulse, str]]:
    """A running plugin on a bus of its own, and the address of its routes."""
    settings = dataclasses.replace(Settings(), redis_url=Secret(url), instance=name, redis_timeout=10.0, **more)
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


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_kind_of_trouble_has_words_in_the_panel(language: str) -> None:
    """The code of the check is built from the kind."""
    import json
    from pathlib import Path

    path = Path(__file__).parents[2] / "locales" / language / "main.json"
    words = json.loads(path.read_text("utf-8"))["copilotPulse"]["health"]
    codes = {"redis_" + ("server" if kind in SERVER_KINDS else kind) for kind in WORDS}

    assert codes <= set(words)
