"""What happens in a chat, and beside one, while a function of the plugin raises; and what the user then reads.

In most of them the model is healthy, and the answer must be whole. Where it breaks for good, the user must be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from backend.copilot.model.watch import TOLD_AFTER
from backend.standalone.host import Host as Standalone
from backend.standalone.options import Options
from tests.integration.fault_rows import ENVIRONMENT
from tests.support.host import PLUGIN, Host, PromptServer
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import (
    PAGE,
    Delta,
    Eof,
    Finish,
    Plan,
    Reasoning,
    Stall,
    Text,
    ToolCall,
    Wait,
    Words,
    answer,
    cut_at,
    empty_answer,
    error_at,
    garbage_at,
    html,
    json_instead_of_stream,
    reset_at,
    status,
    words,
)  # fmt: skip
from tests.support.loop_time import LoopTime, stalls_skipped
from tests.support.mcp_server import McpServer, Tool
from tests.support.net import PATIENCE, Gate, refused_url, until
from tests.support.page import API_KEY, Chat
from tests.support.plugged import NODES, pulse_of, user_folder
from tests.support.redis_server import RedisServer, need_redis
from tests.support.stream_client import StreamClient
from tests.support.stream_reading import Page

TEXT = words(40)
# How long an answer may take before it counts as hung, and all that happens in a scenario; the clock of the loop runs
# ahead while the model stalls.
HUNG = PATIENCE
ALL_HUNG = 3 * PATIENCE
# What stands beside a chat is waited for so long, in seconds: it may be what was made to raise.
BRIEFLY = 0.2
MARK = "\u2063"  # before and behind a notice
LOST = "lost: "


class Receiver:
    """Takes the messages of the webhook."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def _take(self, request: web.Request) -> web.Response:
        self.messages.append(await request.json())
        return web.Response()

    async def __aenter__(self) -> Receiver:
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()


@dataclass
class World:
    """A running host with a healthy model and healthy tool servers, so that a seam that gives way is missed by none."""

    host: Host
    llm: FaultServer
    time: LoopTime
    hook: Receiver
    tools: McpServer
    mcp: tuple[str, str] = ("", "")
    environment: Mapping[str, str] = field(default_factory=lambda: ENVIRONMENT)
    plan: Plan = field(default_factory=answer)
    neighbour: str = ""  # another machine of the fleet
    redis: RedisServer | None = None

    async def ask(self, scenario: str) -> str:
        """What the user reads in the end of the scenario, or what happened instead."""
        asking = asyncio.ensure_future(SCENARIOS[scenario].ask(self))
        try:
            await until(asking.done, ALL_HUNG)  # by the wall's clock, for the loop's is moved
            return asking.result()
        except Exception as error:
            return f"{LOST}{type(error).__name__}: {error}" if asking.done() else f"{LOST}hung"
        finally:
            asking.cancel()
            await asyncio.wait({asking}, timeout=HUNG)

    async def get(self, *paths: str, **headers: str) -> list[int]:
        """GET each; the statuses, 0 where there was none."""
        return [await self._request("GET", path, None, headers) for path in paths]

    async def post(self, path: str, body: Any) -> int:
        """POST JSON, as our own page does; the status, 0 if there was none."""
        return await self._request("POST", path, body, {"Origin": self.host.url})

    async def _request(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> int:
        limit = aiohttp.ClientTimeout(total=HUNG / 3)
        ask = self.host.page.session.request
        try:
            async with ask(method, self.host.url + path, json=body, headers=headers, timeout=limit) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, asyncio.TimeoutError, TimeoutError):
            return 0


def read(chat: Chat) -> str:
    """What the page shows, without notices."""
    if not chat.finished:
        return f"{LOST}not finished, {chat.error or chat.status} {chat.text}"
    return _without_notice(chat.text)


def _without_notice(text: str) -> str:
    return text.partition(MARK)[0].rstrip("> \n")  # a notice is a quotation


# -- the transports


async def _post(world: World) -> str:
    world.llm.plan(world.plan)
    return read(await world.host.chat(session="injected", timeout=HUNG))


def _streamed(transport: str) -> Callable[[World], Awaitable[str]]:
    async def ask(world: World) -> str:
        world.llm.plan(world.plan)
        async with StreamClient(world.host.url, world.llm.base_url, session="injected") as client:
            page = await (client.chat_http() if transport == "http" else client.chat_ws())
        return page.text if page.outcome == "completed" else f"{LOST}{page.outcome}: {page.text}"

    return ask


# -- other chats


async def _tools(world: World) -> str:
    world.llm.plan(
        Plan(ToolCall("count_up", {})),
        Plan(Reasoning("let me look"), ToolCall("search_node", {"query": "x"})),
        answer(),
    )
    return read(await world.host.chat(session="injected", timeout=HUNG))


async def _debug(world: World) -> str:
    world.llm.plan(answer())
    return read(await world.host.debug(session="injected", timeout=HUNG))


async def _long(world: World) -> str:
    """A chat that has gone on for long: Copilot has it summarised, and notices of before come back."""
    told = [f"something said {MARK}Copilot Pulse was here{MARK}" for _ in range(12)]
    history = [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(told)]
    world.llm.plan(answer())
    return read(await world.host.chat(session="injected", history=history, timeout=HUNG))


async def _broken(world: World) -> str:
    """The connection to the model breaks, and it is asked again."""
    texts = [await _mended(world, reset_at(10), status(503), Plan(Words(5), Stall()), cut_at(8))]
    world.llm.plan(reset_at(10), answer())
    async with StreamClient(world.host.url, world.llm.base_url, session="injected") as client:
        page = await client.chat_http()
    texts.append(_without_notice(page.text) if page.outcome else f"{LOST}no end: {page.text}")
    return _joined(texts)


async def _strange(world: World) -> str:
    """The model's server sends what is no answer, and is asked again."""
    busy = Plan(Text("Error: the model is overloaded, please try again later"), Eof())
    plans = (error_at(7), garbage_at(6), empty_answer(), json_instead_of_stream({"error": "busy"}), busy)
    return await _mended(world, *plans, *map(_as_text, CALLS[:1]), Plan(status=502, body=PAGE))


# How models write the call of a tool into their text.
CALLS = (
    '<tool_call>{"name": "count_up", "arguments": {}}</tool_call>',
    "<tool_call>count_up\n<arg_key>note</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
    "<tool_call><function=count_up><parameter=note>1</parameter></function></tool_call>",
    "<count_up><note>1</note></count_up>",
    '[count_up(note="1")]',
    'to=functions.count_up <|message|>{"note": "1"}',
)


def _as_text(call: str) -> Plan:
    return Plan(Text(call))


async def _odd(world: World) -> str:
    """A server that speaks a dialect of its own: thoughts in the text, all of it each time, calls as text."""
    growing = [Text(TEXT[:end]) for end in (40, 80, 120, 160)]
    calls = [{"id": "a", "function": {"name": "count_up", "arguments": part}} for part in ("{}", "{}")]
    plans = (
        Plan(Text("<think>let me"), Text(" think</think>"), Text(TEXT)),
        Plan(*growing),
        Plan(*(Delta({"tool_calls": [{"index": 0, **call}]}) for call in calls), Finish("tool_calls")),
        Plan(Text("Error: the server is overloaded"), Finish("error")),
    )
    texts = [await _mended(world, *plans, *map(_as_text, CALLS[1:]))]
    refused = {"error": {"message": "The reasoning_content in the thinking mode must be passed back to the API."}}
    world.llm.plan(Plan(Reasoning("hm"), ToolCall("count_up", {})), status(400, refused), answer())
    model = f"odd-{len(world.llm.chats)}"  # of which nothing is known yet
    texts.append(read(await world.host.chat(session="injected", model=model, timeout=HUNG)))
    return _joined(texts)


async def _failing(world: World) -> str:
    """A server fails until it is left alone, and is asked again once it is well."""
    world.llm.plan(*(status(503) for _ in range(6)))
    texts = [_told(await world.host.chat(session="injected", timeout=HUNG)) for _ in range(3)]
    await asyncio.sleep(1.1 * float(FAILS["COPILOT_PULSE_BREAKER_OPEN"]))
    return _joined([*texts, await _post(world)])


async def _broken_tools(world: World) -> str:
    """A tool fails, takes too long, and is lost with its server in the middle of a call."""
    texts = []
    for fault, tool in (("", Tool(error=True)), ("", Tool(delay=60.0)), ("die_in_call", Tool())):
        world.tools.fault, world.tools.tools["search_node"] = fault, tool
        world.llm.plan(Plan(ToolCall("search_node", {"query": "x"})), answer())
        texts.append(_told(await world.host.chat(session="injected", timeout=HUNG)))
    world.tools.fault, world.tools.tools["search_node"] = "", Tool("found it")
    for server in pulse_of(world.host).monitor.snapshot()["mcp"]:
        await world.post(f"{OURS}/mcp/probe", {"server": server["server"]})
    return _joined([*texts, await _post(world)])


async def _retold(world: World) -> str:
    """What a chat with tools, a break and a page that left has been through is looked up."""
    world.llm.plan(Plan(Reasoning("hm"), ToolCall("count_up", {})), reset_at(3), answer())
    async with StreamClient(world.host.url, world.llm.base_url, session="injected") as client:
        page = await client.chat_http()
    world.llm.plan(status(401))
    await world.host.chat(session="injected", timeout=HUNG)
    await world.get(f"{OURS}/diagnostics", f"{OURS}/events/totals?step=hour", f"{OURS}/events?chat=x&since=1h&until=0s")
    try:
        rows = (await world.host.page.json(f"{OURS}/events/chats?limit=2&failed=1")).get("chats", ())
        rows += (await world.host.page.json(f"{OURS}/events/chats?limit=2&retried=1")).get("chats", ())
        await world.get(*(f"{OURS}/events/story?chat={row['chat_id']}" for row in rows))
    except Exception:  # what happens there is not the chat's
        await asyncio.sleep(0)
    return page.text if page.outcome == "completed" else f"{LOST}{page.outcome}: {page.text}"


async def _mended(world: World, *plans: Plan) -> str:
    texts = []
    for plan in plans:
        world.llm.plan(plan, answer())
        texts.append(read(await world.host.chat(session="injected", timeout=HUNG)))
    return _joined(texts)


async def _given_up(world: World) -> str:
    """What cannot be mended is told."""
    texts = []
    limit = {"error": {"message": "Rate limit reached. Please try again in 2h13m.", "code": "rate_limit_exceeded"}}
    for broken in (status(401), status(404), status(400), status(429, limit, retry_after=8000), html()):
        world.llm.plan(broken)
        texts.append(_told(await world.host.chat(session="injected", timeout=HUNG)))
    texts.append(_told(await world.host.chat(session="injected", llm=refused_url("/v1"), timeout=HUNG)))
    world.llm.plan(Plan(Words(3), ToolCall("crash_run", {})))
    texts.append(_told(await world.host.chat(session="injected", timeout=HUNG)))
    return _joined(texts)


async def _refused(world: World) -> str:
    """The many ways in which a server refuses, with what it was sent in its words, and an answer is none."""
    said = "please draw a purple hippopotamus under the moonlight"

    def no(code: int, message: str) -> Plan:
        return status(code, {"error": {"message": message}})

    plans = [
        no(401, f"Incorrect API key: {API_KEY}"),
        no(400, f"{API_KEY} asked: {said}"),
        no(400, "This model does not support tools"),
        no(400, "the maximum context length is 8192 tokens"),
        no(403, "you are not allowed to use this model"),
        no(403, "your account is suspended"),
        no(429, "quota exceeded per day"),
        status(400, {"detail": [{"loc": ["body", "messages"], "msg": "bad", "input": said}]}),
        status(404, b"nothing here"),
        no(429, "Rate limit reached. Try again at 2099-01-01 00:00:00"),
        html(403, b"<html><title>Unsupported region</title>"),
        Plan(Finish("content_filter")),
        Plan(Text("x"), Finish("strange")),
        Plan(ToolCall("no_such_tool", {})),
    ]
    texts = []
    for plan in plans:
        world.llm.plan(plan)
        texts.append(_told(await world.host.chat(said, session="injected", timeout=HUNG)))
    for url in ("http://a..b/v1", "nonsense"):
        texts.append(_told(await world.host.chat(said, session="injected", llm=url, timeout=HUNG)))
    body = {"session_id": "injected", "prompt": said, "ext": [], "images": [], "messages": [{"role": "nobody"}]}
    texts.append(_told(await world.host.chat(session="injected", body=body, timeout=HUNG)))
    return _joined(texts)


def _told(chat: Chat) -> str:
    if not chat.finished:
        return f"{LOST}not finished, {chat.error or chat.status} {chat.text}"
    return "told" if chat.text.strip() else f"{LOST}blank"


def _joined(texts: list[str]) -> str:
    lost = [text for text in texts if text.startswith(LOST)]
    return lost[0] if lost else "\n".join(texts)


async def _no_tools(world: World) -> str:
    """A tool server is away, and is asked again."""
    client = world.host.copilot("backend.service.mcp_client")
    tools, client.BACKEND_BASE_URL = client.BACKEND_BASE_URL, refused_url()
    try:
        texts = [await _post(world)]
    finally:
        client.BACKEND_BASE_URL = tools
    for server in pulse_of(world.host).monitor.snapshot()["mcp"]:
        await world.post("/copilot-pulse/mcp/dismiss", {"server": server["server"], "dismissed": True})
        await world.post("/copilot-pulse/mcp/probe", {"server": server["server"]})
        await world.post("/copilot-pulse/mcp/dismiss", {"server": server["server"], "dismissed": False})
    return _joined([*texts, await _post(world)])


async def _resumed(world: World) -> str:
    """A page that leaves in mid-answer and comes back, over HTTP and over a WebSocket."""
    texts = []
    for over_socket in (False, True):
        gate = Gate()
        world.llm.plan(Plan(Words(20), Wait(gate), Words(20, start=20)))
        async with StreamClient(world.host.url, world.llm.base_url, session="injected") as client:
            first = asyncio.ensure_future(client.chat_ws() if over_socket else client.ask_http())
            await until(lambda: first.done() or (gate.waiting and client.page.text), HUNG)  # noqa: B023
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            gate.open()
            page = await (client.chat_ws() if over_socket else client.chat_http())
        texts.append(page.text if page.outcome == "completed" else f"{LOST}{page.outcome}: {page.text}")
    return _joined(texts)


async def _steered(world: World) -> str:
    """A page that pauses, leaves, goes on, and cancels other answers."""
    for over_socket in (False, True):
        world.llm.plan(Plan(Words(3), Wait(Gate())))
        async with StreamClient(world.host.url, world.llm.base_url, session="injected") as client:
            asking = asyncio.ensure_future(client.chat_ws() if over_socket else client.chat_http())
            await _soon(lambda: client.page.text)
            with contextlib.suppress(aiohttp.ClientError):
                await client.cancel_http()
            await _soon(asking.done)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    await _given_up_on(world)
    world.llm.plan(answer())
    async with StreamClient(world.host.url, world.llm.base_url, session="injected") as client:
        with contextlib.suppress(aiohttp.ClientError, AssertionError):
            async with client.socket() as socket:
                await socket.invoke()
                for kind in ("pause", "resume", "leave", "read", "cancel" if client.page.outcome else "leave"):
                    await socket.send(kind, **({"after": 0} if kind == "read" else {}))
                await socket.ws.send_str(json.dumps({"type": "read", "stream": "x" * 22, "after": 0}))
                await asyncio.wait({asyncio.ensure_future(_until_quiet(socket))}, timeout=BRIEFLY)
        page = await client.chat_ws()
    return page.text if page.outcome == "completed" else f"{LOST}{page.outcome}: {page.text}"


async def _given_up_on(world: World) -> None:
    """Pages that ask for what is refused, and one that never comes back."""
    async with StreamClient(world.host.url, world.llm.base_url, session="injected") as client:
        with contextlib.suppress(aiohttp.ClientError, AssertionError):
            async with client.socket() as socket:
                await socket.invoke(body={"session_id": "injected", "ext": 5})
                await socket.invoke(headers={"X-Strange": "1"})
                await socket.invoke(path="/api/nothing")
                await socket.ws.send_str("{")
                await asyncio.wait({asyncio.ensure_future(_until_quiet(socket))}, timeout=BRIEFLY)
    world.llm.plan(Plan(Words(3), Wait(Gate())))
    async with StreamClient(world.host.url, world.llm.base_url, session="injected") as client:
        asking = asyncio.ensure_future(client.ask_http())
        await _soon(lambda: client.page.text)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    world.time.skip(31.0)
    with contextlib.suppress(Exception):  # of what is made to raise
        await _soon(lambda: not pulse_of(world.host).monitor.snapshot()["chat"]["current"])


async def _until_quiet(socket: Any) -> None:
    while await socket.next(BRIEFLY) is not None:
        pass


# -- beside a chat


@asynccontextmanager
async def _held(world: World) -> AsyncIterator[Chat]:
    """A chat in the middle of its answer; when the block ends it goes on."""
    gate = Gate()
    world.llm.plan(Plan(Words(20), Wait(gate), Words(20, start=20)))
    chat = await world.host.begin(session="injected")
    await until(lambda: gate.waiting or chat.seconds, HUNG)
    try:
        yield chat
    finally:
        gate.open()
    await chat.done(HUNG)


async def _soon(condition: Callable[[], object]) -> None:
    with contextlib.suppress(AssertionError):
        await until(condition, BRIEFLY)


def _beside(happens: Callable[[World], Awaitable[None]]) -> Callable[[World], Awaitable[str]]:
    async def ask(world: World) -> str:
        async with _held(world) as chat:
            with contextlib.suppress(Exception):  # what happens there is not the chat's
                await happens(world)
            if await world.get("/system_stats") != [200]:
                return f"{LOST}a request of ComfyUI's own"
        return read(chat)

    return ask


OURS = "/copilot-pulse"
FULL_STORE = {"COPILOT_PULSE_STORE_BYTES": "1000000", "COPILOT_PULSE_STORE_FLUSH": "0.01"}


async def _watched(world: World) -> None:
    """A panel is open, and somebody reads all the figures."""
    async with world.host.page.session.ws_connect(f"{world.host.url}/ws?clientId=panel") as socket:
        await socket.receive(HUNG)
        await world.post(f"{OURS}/panel", {"client_id": "panel", "open": True})
        await world.get("/metrics", f"{OURS}/metrics", "/api/health")
        await world.get(f"{OURS}/metrics?format=prometheus", f"{OURS}/metrics?format=openmetrics")
        await world.get(*(f"{OURS}/history?range={name}" for name in ("1m", "1h", "24h", "7d")))
        await world.get(f"{OURS}/settings", f"{OURS}/diagnostics", f"{OURS}/fleet")
        await world.get(f"{OURS}/diagnostics", Origin="http://elsewhere.example")
        world.time.skip(1.5)
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await socket.receive(BRIEFLY)
        await world.post(f"{OURS}/panel", {"client_id": "panel", "open": False})


async def _searched(world: World) -> None:
    """Somebody looks up what was, and has it forgotten."""
    await world.get(*(f"{OURS}/events?{q}" for q in ("type=chat.*&limit=20", "order=newest&session=injected")))
    await world.get(*(f"{OURS}/events/chats?{q}" for q in ("limit=5", "retried=0&text=w0001")))
    rows = (await world.host.page.json(f"{OURS}/events/chats?limit=1")).get("chats", ())
    await world.get(*(f"{OURS}/events/story?chat={row['chat_id']}" for row in rows))
    await world.get(f"{OURS}/events/totals?step=hour", f"{OURS}/events/totals?step=day")
    await world.get(f"{OURS}/events/export?format=csv", f"{OURS}/events/export?format=ndjson&type=chat.*")
    async with world.host.page.session.get(f"{world.host.url}{OURS}/events/follow") as response:
        await asyncio.wait_for(response.content.readany(), BRIEFLY)
    await world.post(f"{OURS}/events/forget", {"session": "nobody"})


async def _operated(world: World) -> None:
    """Settings are changed, buttons pressed; another chat fails, and the webhook tells of it; a third is stopped."""
    await world.post(f"{OURS}/settings", {"panel_refresh": 0.5, "prices": "fake-* = $1 / $2"})
    await world.post(f"{OURS}/webhook/test", {})
    # Copilot's own handlers wait on the loop, where the model server of this world lives, too.
    headers = world.host.page.headers(llm=refused_url("/v1"))
    await world.get("/api/model_config", "/verify_openai_key", **headers)
    world.llm.plan_for("refused", status(401))
    sent = len(world.hook.messages)
    await world.host.chat("refused", session="another", model="refused", timeout=HUNG / 3)
    bus, event = _bus(world)
    for status_ in ("fail", "pass"):
        told = {"check": "mcp:connections", "status": status_, "was": "warn", "output": "x", "impact": "some"}
        bus.publish_nowait(event("health.changed", told, "test"))
    world.time.skip(61.0)
    world.llm.plan_for("stopped", Plan(Words(3), Wait(Gate())))
    third = await world.host.begin("stopped", session="a third", model="stopped")
    await _soon(lambda: third.text)
    for row in pulse_of(world.host).monitor.snapshot()["chat"]["current"]:
        if row["session_id"] == "a third":
            await world.post(f"{OURS}/chats/{row['chat_id']}/stop", {})
    await third.hang_up()
    for row in pulse_of(world.host).recovery.breakers.snapshot():
        await world.post(f"{OURS}/breakers/probe", {"name": row["name"]})
    await _soon(lambda: len(world.hook.messages) > sent)


async def _crowded(world: World) -> None:
    """Other custom nodes use the bus, and some are too slow for it."""
    bus, event = _bus(world)
    door = asyncio.Event()

    async def slow(_event: Any) -> None:
        await door.wait()

    def broken(_event: Any) -> None:
        raise ValueError("somebody else's")

    ids = [bus.subscribe("crowd", slow, capacity=10), bus.subscribe("crowd", broken, weak=True)]
    async with bus.stream("crowd", capacity=10) as stream:
        waits = [asyncio.ensure_future(_published(bus, event("crowd", {"i": i}, "test"))) for i in range(12)]
        await asyncio.sleep(0)
        for i in range(30):
            bus.publish_nowait(event("crowd", {"i": i}, "test"))
        await asyncio.to_thread(bus.publish_threadsafe, event("crowd", {}, "test"))
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(anext(stream), BRIEFLY)
        world.time.skip(6.0)
        await asyncio.wait(waits, timeout=BRIEFLY / 4)
        pulse_of(world.host).monitor.tick()
        door.set()
        await asyncio.wait(waits, timeout=BRIEFLY / 4)
        many = asyncio.ensure_future(bus.publish_many(event("crowd", {"i": i}, "test") for i in range(3)))
        waits.append(many)
        await asyncio.wait({many}, timeout=BRIEFLY / 4)
    for one in waits:
        one.cancel()
    for one in ids:
        bus.unsubscribe("crowd", one)


async def _silent(world: World) -> None:
    """The model says nothing for so long that the user is told."""
    world.time.skip(TOLD_AFTER)
    await asyncio.sleep(BRIEFLY / 2)


async def _stalled(world: World) -> None:
    """Another custom node blocks the loop."""
    time.sleep(0.12)
    await asyncio.sleep(0.02)
    time.sleep(0.06)
    pulse_of(world.host).monitor.tick()


def _bus(world: World) -> tuple[Any, Any]:
    """The event bus of the host, and the class of its events."""
    bus = pulse_of(world.host).bus
    return bus, type(bus).publish.__globals__["Event"]


async def _published(bus: Any, event: Any) -> None:
    await bus.publish(event)


# -- other hosts


async def _neighbour(world: World) -> str:
    """The answer that another machine gives is stopped, and read, at this one; and that one's events come in."""
    texts = []
    for cancelled in (True, False):
        world.llm.plan(Plan(Words(3), Wait(Gate())) if cancelled else answer())
        async with StreamClient(world.neighbour, "", session="injected") as client:
            asking = asyncio.ensure_future(client.ask_http())
            await until(lambda: client.page.text or asking.done(), HUNG)  # noqa: B023
            client.url = world.host.url
            if not cancelled:
                await asking
                client.page = Page()
            with contextlib.suppress(aiohttp.ClientError):
                await (client.cancel_http() if cancelled else _read_on(client))
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            texts += [] if cancelled else [client.page.text]
    await world.get(f"{OURS}/fleet")
    with contextlib.suppress(Exception):  # another custom node's
        done = asyncio.Event()
        bus, event = _bus(world)
        end = pulse_of(world.host).fleet.share("other.work", group="injected", handler=lambda _event: done.set())
        bus.publish_nowait(event("other.work", {}, "test"))
        await _soon(done.is_set)
        end()
    return _joined([*texts, await _streamed("http")(world)])


async def _away(world: World) -> str:
    """Redis is away, with an answer under way, and comes back without what it held."""
    assert world.redis is not None
    gate = Gate()
    world.llm.plan(Plan(Words(20), Wait(gate), Words(20, start=20)))
    async with StreamClient(world.host.url, world.llm.base_url, session="injected") as client:
        asking = asyncio.ensure_future(client.chat_http())
        await until(lambda: asking.done() or (gate.waiting and client.page.text), HUNG)
        world.redis.kill()
        try:
            with contextlib.suppress(Exception):  # another custom node's
                bus, event = _bus(world)
                for number in range(300):
                    bus.publish_nowait(event("other.node", {"number": number, "pad": "x" * 200}, "test"))
                bus.publish_nowait(event("other.node", {"pad": "x" * 200_000}, "test"))
            world.time.skip(3.0)
            await world.get(f"{OURS}/fleet", f"{OURS}/health")
        finally:
            await world.redis.start()
        world.time.skip(11.0)
        gate.open()
        await until(asking.done, HUNG)
        with contextlib.suppress(Exception):  # of what is made to raise
            await _soon(lambda: (pulse_of(world.host).fleet.figures() or {})["links"]["writer"]["up"])
    page = client.page
    return page.text if page.outcome == "completed" else f"{LOST}{page.outcome}: {page.text}"


async def _read_on(client: StreamClient) -> None:
    """As a page does that has lost its connection: again and again."""
    for _ in range(50):
        await client.resume_http()
        if client.page.outcome is not None:
            return
        await asyncio.sleep(0.02)


async def _start(world: World) -> str:
    """ComfyUI starts, answers a request of its own and a first chat, forgets it, and stops; the servers go on."""
    world.host = host = Host(NODES, llm=world.llm, mcp=world.mcp, env=world.environment)
    world.llm.plan(answer())
    async with host:
        async with host.page.session.get(host.url + "/system_stats") as response:
            if response.status != 200:
                return f"{LOST}a request of ComfyUI's own was answered {response.status}"
        text = read(await host.chat(session="injected", timeout=HUNG))
        await world.get(f"{OURS}/metrics?format=prometheus")
        await world.post(f"{OURS}/events/forget", {"session": "injected"})
    return text


async def _bare(world: World) -> str:
    """ComfyUI starts without Copilot; its own requests are answered, and the panel says what is missing."""
    world.host = host = Host([PLUGIN], llm=world.llm, env=world.environment)
    async with host:
        if await world.get("/system_stats") != [200]:
            return f"{LOST}a request of ComfyUI's own"
        await world.get(f"{OURS}/metrics", f"{OURS}/health", f"{OURS}/diagnostics")
        await world.post(f"{OURS}/settings", {"queue_size": "many", "panel_refresh": 0.5})
        return "up" if host.server is PromptServer.instance else f"{LOST}another server"


async def _proxied(world: World) -> str:
    """ComfyUI starts where a proxy that is away stands before all servers but the local ones."""
    world.host = host = Host(NODES, llm=world.llm, mcp=world.mcp, env=world.environment)
    async with host:
        told = _told(await host.chat(session="injected", llm="http://model.example/v1", timeout=HUNG))
        return _joined([told, await _post(world)])


async def _kept(world: World) -> str:
    """ComfyUI starts with a store that is full and whose newest file is broken; figures of the past are asked for."""
    folder = Path(world.environment["COPILOT_PULSE_STORE_DIR"])
    for file in sorted(folder.glob("events-*.db"))[-1:]:
        file.write_bytes(b"no database" + file.read_bytes()[11:])
    world.host = host = Host(NODES, llm=world.llm, mcp=world.mcp, env={**world.environment, **FULL_STORE})
    world.llm.plan(answer())
    async with host:
        with contextlib.suppress(Exception):
            bus, event = _bus(world)
            for number in range(400):
                bus.publish_nowait(event("other.node", {"number": number, "pad": "x" * 500}, "test"))
        text = read(await host.chat(session="injected", timeout=HUNG))
        await world.get(f"{OURS}/diagnostics", f"{OURS}/history?range=7d", f"{OURS}/events?type=other.*&limit=5")
        await world.get(f"{OURS}/events/story?chat=x", f"{OURS}/events/export?format=csv")
        await world.post(f"{OURS}/events/forget", {"all": True})
        await world.get(f"{OURS}/events?limit=5")
    return text


async def _restarted(world: World) -> str:
    """ComfyUI is stopped in mid-answer and started again; the page comes back for what there was, and chats on."""
    environment = {**world.environment, **FULL_STORE, "COPILOT_PULSE_STORE_TEXT": "on"}
    world.llm.plan(Plan(Words(20), Wait(Gate())))
    async with StreamClient("", world.llm.base_url, session="injected") as client:
        async with Host(NODES, llm=world.llm, mcp=world.mcp, env=environment) as host:
            client.url = host.url
            asking = asyncio.ensure_future(client.ask_http())
            await until(lambda: asking.done() or client.page.text, HUNG)
            time.sleep(0.12)  # somebody blocks the loop
            await asyncio.sleep(BRIEFLY / 4)
        await asyncio.wait({asking}, timeout=BRIEFLY)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        world.llm.plan(answer())
        async with Host(NODES, llm=world.llm, mcp=world.mcp, env=environment) as host:
            client.url, had = host.url, client.page.text
            await _read_on(client)
            if had and not client.page.text.startswith(had):
                return f"{LOST}what the page had: {client.page.text}"
            return read(await host.chat(session="injected", timeout=HUNG))


async def _standalone(world: World) -> str:
    """The program without ComfyUI starts, shows its page, and answers."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**world.environment, "COPILOT_PULSE_STORE_DIR": folder}
        host = Standalone(Options("127.0.0.1", 0, None), environment, pace=0)
        await host.start()
        try:
            async with aiohttp.ClientSession(host.url) as client, client.ws_connect("/ws?clientId=page") as socket:
                for path in ("/", "/standalone", "/i18n"):
                    async with client.get(path) as response:
                        if response.status != 200:
                            return f"{LOST}{path} was answered {response.status}"
                await client.post(f"{OURS}/panel", json={"client_id": "page", "open": True})
                texts = []
                for asked in ("hello", "/drop", "/tool"):
                    body = {"session_id": "injected", "messages": [{"role": "user", "content": asked}], "ext": []}
                    async with client.post("/api/chat/invoke", json=body) as response:
                        last = json.loads((await response.text()).splitlines()[-1])
                    texts.append(last["text"] if last["finished"] else f"{LOST}not finished: {last['text']}")
                with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                    await socket.receive(BRIEFLY)
            return _joined([_without_notice(text) for text in texts])
        finally:
            await host.close()


@dataclass(frozen=True)
class Scenario:
    """`again`: in which files those functions are tried, too, that a scenario before has entered; "" is all. `host`: it
    chats with a host that runs on. `redis`: that is one of a fleet; `neighbour`: in which there is another. `may_tell`:
    the answer need not be whole, but the user must be told. `settings`: variables of its host."""

    ask: Callable[[World], Awaitable[str]]
    again: tuple[str, ...] = ()
    host: bool = True
    redis: bool = False
    neighbour: bool = False
    may_tell: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    def cost(self, text: str, expected: str) -> bool:
        """Whether the user has lost something."""
        return text.startswith(LOST) or (text != expected and not (self.may_tell and text.strip()))


EVERY = ("",)
FAILS = {
    "COPILOT_PULSE_BREAKER_MIN_CALLS": "2", "COPILOT_PULSE_BREAKER_OPEN": "0.3", "COPILOT_PULSE_MAX_RETRIES": "1",
}  # fmt: skip
STALLS = {"COPILOT_PULSE_LOOP_STALL": "0.05"}
# In this order: a function is tried in the first one that enters it.
SCENARIOS: dict[str, Scenario] = {
    "post": Scenario(_post, again=EVERY),
    "stream over http": Scenario(_streamed("http"), again=EVERY),
    "stream over websocket": Scenario(_streamed("websocket"), again=EVERY),
    "tools": Scenario(_tools),
    "debug": Scenario(_debug),
    "long": Scenario(_long),
    "watched": Scenario(_beside(_watched)),
    "searched": Scenario(_beside(_searched)),
    "operated": Scenario(_beside(_operated)),
    "crowded": Scenario(_beside(_crowded)),
    "silent": Scenario(_beside(_silent)),
    "learned": Scenario(
        _beside(_crowded),
        again=("pressure/forecast.py", "pressure/throttle.py"),
        settings={"COPILOT_PULSE_THROTTLE": "learned"},
    ),
    "stalled": Scenario(_beside(_stalled), settings=STALLS),
    "resumed": Scenario(
        _resumed,
        again=("streams/tap.py", "streams/registry.py", "streams/relay.py", "streams/routes.py", "copilot/http.py"),
    ),
    "steered": Scenario(_steered),
    "no tools": Scenario(_no_tools, may_tell=True),
    "broken": Scenario(_broken, may_tell=True),
    "strange": Scenario(_strange, may_tell=True),
    "odd": Scenario(_odd, may_tell=True),
    "failing": Scenario(_failing, may_tell=True, settings=FAILS),
    "broken tools": Scenario(_broken_tools, may_tell=True, settings={"COPILOT_PULSE_MCP_TOOL_TIMEOUT": "0.1"}),
    "retold": Scenario(_retold),
    "given up": Scenario(_given_up, may_tell=True),
    "refused": Scenario(_refused, may_tell=True),
    "fleet": Scenario(_streamed("http"), redis=True),
    "neighbour": Scenario(_neighbour, redis=True, neighbour=True),
    "away": Scenario(_away, redis=True, settings={"COPILOT_PULSE_REDIS_OUTBOX": "100"}),
    "start": Scenario(_start, host=False, redis=True),
    "kept": Scenario(_kept, host=False),
    "restarted": Scenario(_restarted, host=False, settings=STALLS),
    "bare": Scenario(_bare, host=False),
    "proxied": Scenario(
        _proxied, host=False, may_tell=True, settings={"HTTP_PROXY": refused_url(), "NO_PROXY": "127.0.0.1"}
    ),
    "standalone": Scenario(_standalone, host=False),
}


@contextmanager
def quiet() -> Iterator[None]:
    """What is logged is made into text, as in a real ComfyUI, and goes nowhere; so do the errors of threads."""
    root = logging.getLogger()
    excepthook, threading.excepthook = threading.excepthook, lambda _args: None
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        handler = logging.StreamHandler(nowhere)
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)
            threading.excepthook = excepthook


@asynccontextmanager
async def world(scenario: str = "post") -> AsyncIterator[World]:
    """All the servers, and a host with everything well unless the scenario starts one itself."""
    plan = SCENARIOS[scenario]
    async with AsyncExitStack() as stack:
        hook = await stack.enter_async_context(Receiver())
        environment = {**ENVIRONMENT, "COPILOT_PULSE_WEBHOOK": hook.url, "COPILOT_PULSE_PANEL_REFRESH": "0.2"}
        redis = None
        if plan.redis:
            need_redis()
            redis = await stack.enter_async_context(RedisServer())
            environment |= {"COPILOT_PULSE_REDIS_URL": redis.url, "COPILOT_PULSE_REDIS_ANSWERS": "on"}
        folder = stack.enter_context(user_folder())
        environment |= {
            "COPILOT_PULSE_STORE_DIR": str(folder / "events"),
            "COPILOT_STANDIN_LOG": str(folder / "copilot.log"),
            **plan.settings,
        }
        llm = await stack.enter_async_context(FaultServer())
        tools = await stack.enter_async_context(McpServer())
        search = await stack.enter_async_context(McpServer(tools={}))
        clock = await stack.enter_async_context(stalls_skipped(llm))
        host = Host(NODES, llm=llm, mcp=(tools.root, search.url), env=environment)
        if plan.host:
            await stack.enter_async_context(host)
        running = World(host, llm, clock, hook, tools, (tools.root, search.url), environment, redis=redis)
        if plan.neighbour:
            running.neighbour = await stack.enter_async_context(_machine(llm, environment))
            bus = pulse_of(host).fleet
            await until(lambda: len(bus.instances()) == 2, what="two machines")
        yield running


@asynccontextmanager
async def _machine(llm: FaultServer, environment: Mapping[str, str]) -> AsyncIterator[str]:
    """Another machine of the fleet, on the same model, and where it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "backend", "--port", "0", "--llm", llm.base_url, "--model", "fake-model",
        cwd=PLUGIN, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **environment, "COPILOT_PULSE_INSTANCE": "neighbour", "COPILOT_PULSE_STORE": "off"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        while (found := re.search(r"http://[\d.:]+", (await process.stdout.readline()).decode())) is None:
            pass
        yield found[0]
    finally:
        process.terminate()
        await process.wait()
