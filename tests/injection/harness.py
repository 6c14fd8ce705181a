"""Makes one function of the plugin raise, once, at a moment of a chat; and tells what the user then reads.

The exception comes out of the function's first line, whoever called it and wherever it is awaited: a trace function
that raises at a call is the one way that reaches every function, coroutine, generator, lambda and property alike.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from tests.integration.fault_rows import ENVIRONMENT
from tests.support.host import PLUGIN, Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Plan, ToolCall, Wait, Words, answer, words
from tests.support.loop_time import LoopTime, stalls_skipped
from tests.support.mcp_server import McpServer
from tests.support.net import Gate, until
from tests.support.plugged import NODES, user_folder
from tests.support.redis_server import RedisServer, need_redis
from tests.support.stream_client import StreamClient

BACKEND = f"{PLUGIN / 'backend'}/"
TEXT = words(40)
# How long an answer may take before it counts as hung; the clock of the loop runs ahead while the model stalls.
HUNG = 15.0


class InjectedError(RuntimeError):
    """The exception that a function is made to raise."""


def name_of(code: CodeType) -> str:
    """A function by file and qualified name, such as `copilot/run.py:RunReader.read`."""
    qualname = getattr(code, "co_qualname", code.co_name)  # from Python 3.11 on
    return f"{code.co_filename.removeprefix(BACKEND)}:{qualname}"


@contextmanager
def traced(at_call: Callable[[CodeType], None]) -> Iterator[None]:
    """Call `at_call` with the code of each function of the plugin that is entered, in every thread begun here."""

    def trace(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(BACKEND) and frame.f_code.co_name != "<module>":
            at_call(frame.f_code)

    _looks_like_python(trace)
    before = sys.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(before)


class Injection:
    """Raises once in the function called `name`, when it is entered; `hit` says whether it was."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hit = False

    def __call__(self, code: CodeType) -> None:
        """For `traced`."""
        if not self.hit and name_of(code) == self.name:
            self.hit = True
            raise InjectedError(f"injected into {self.name}")


def _looks_like_python(function: Any) -> None:
    # An exception of a function has only its own frames; those of the tracer, below it, pass for the interpreter's.
    function.__code__ = function.__code__.replace(co_filename=threading.__file__)


_looks_like_python(Injection.__call__)


@dataclass
class World:
    """A running host with a healthy model and healthy tool servers, so that a seam that gives way is missed by none."""

    host: Host
    llm: FaultServer
    time: LoopTime
    mcp: tuple[str, str] = ("", "")
    environment: Mapping[str, str] = field(default_factory=lambda: ENVIRONMENT)
    plan: Plan = field(default_factory=answer)

    async def ask(self, scenario: str) -> str:
        """One chat; what the user reads in the end, or what happened instead."""
        try:
            return await asyncio.wait_for(SCENARIOS[scenario](self), HUNG)
        except TimeoutError:
            return "hung"
        except Exception as error:
            return f"{type(error).__name__}: {error}"


async def _plain(world: World) -> str:
    world.llm.plan(world.plan)
    chat = await world.host.chat(session="injected", timeout=HUNG)
    return chat.text if chat.finished else f"not finished: {chat.error or chat.status} {chat.text}"


async def _watched(world: World) -> str:
    """A chat in the middle of which the monitor looks, while somebody asks for metrics and health."""
    gate = Gate()
    world.llm.plan(Plan(Words(20), Wait(gate), Words(20, start=20)))
    chat = await world.host.begin(session="injected")
    await until(lambda: gate.waiting or chat.seconds, HUNG)
    for path in ("/api/metrics", "/api/health", "/system_stats"):
        async with world.host.page.session.get(world.host.url + path) as response:
            if path == "/system_stats" and response.status != 200:
                return f"a request of ComfyUI's own was answered {response.status}"
    world.time.skip(1.5)
    await asyncio.sleep(0.05)
    gate.open()
    await chat.done(HUNG)
    return chat.text if chat.finished else f"not finished: {chat.error or chat.status} {chat.text}"


async def _tools(world: World) -> str:
    world.llm.plan(Plan(ToolCall("count_up", {})), answer())
    chat = await world.host.chat(session="injected", timeout=HUNG)
    return chat.text if chat.finished else f"not finished: {chat.error or chat.status} {chat.text}"


async def _debug(world: World) -> str:
    world.llm.plan(answer())
    chat = await world.host.debug(session="injected", timeout=HUNG)
    return chat.text if chat.finished else f"not finished: {chat.error or chat.status} {chat.text}"


def _streamed(transport: str) -> Callable[[World], Awaitable[str]]:
    async def ask(world: World) -> str:
        world.llm.plan(world.plan)
        async with StreamClient(world.host.url, world.llm.base_url, session="injected") as client:
            page = await (client.chat_http() if transport == "http" else client.chat_ws())
        return page.text if page.outcome == "completed" else f"{page.outcome}: {page.text}"

    return ask


async def _start(world: World) -> str:
    """ComfyUI starts, answers a request of its own and a first chat, and stops, beside the world that runs."""
    host = Host(NODES, llm=world.llm, mcp=world.mcp, env=world.environment)
    world.llm.plan(answer())
    async with host:
        async with host.page.session.get(host.url + "/system_stats") as response:
            if response.status != 200:
                return f"a request of ComfyUI's own was answered {response.status}"
        chat = await host.chat(session="injected", timeout=HUNG)
    return chat.text if chat.finished else f"not finished: {chat.error or chat.status} {chat.text}"


# Those of which each function is tried: a chat over each transport. Of the others, those that no one before enters.
TRANSPORTS = ("post", "stream over http", "stream over websocket")
SCENARIOS: dict[str, Callable[[World], Awaitable[str]]] = {
    "post": _plain,
    "stream over http": _streamed("http"),
    "stream over websocket": _streamed("websocket"),
    "tools": _tools,
    "debug": _debug,
    "watched": _watched,
    "fleet": _streamed("http"),
    "start": _start,
}


@asynccontextmanager
async def world(scenario: str = "post") -> AsyncIterator[World]:
    """A host with everything well. "fleet" has a Redis, and "start" has the servers only and starts a host itself."""
    async with AsyncExitStack() as stack:
        environment = dict(ENVIRONMENT)
        if scenario in ("fleet", "start"):
            need_redis()
            redis = await stack.enter_async_context(RedisServer())
            environment |= {"COPILOT_PULSE_REDIS_URL": redis.url, "COPILOT_PULSE_REDIS_ANSWERS": "on"}
        stack.enter_context(user_folder())
        llm = await stack.enter_async_context(FaultServer())
        tools = await stack.enter_async_context(McpServer())
        search = await stack.enter_async_context(McpServer(tools={}))
        time = await stack.enter_async_context(stalls_skipped(llm))
        host = Host(NODES, llm=llm, mcp=(tools.root, search.url), env=environment)
        if scenario != "start":
            await stack.enter_async_context(host)
        yield World(host, llm, time, (tools.root, search.url), environment)


async def todo() -> dict[str, tuple[str, list[str]]]:
    """The text of each scenario and the functions to be tried in it, see `TRANSPORTS`."""
    seen: set[str] = set()
    tried: dict[str, tuple[str, list[str]]] = {}
    for scenario in SCENARIOS:
        expected, names = await entered(scenario)
        tried[scenario] = expected, [name for name in names if scenario in TRANSPORTS or name not in seen]
        seen.update(names)
    return tried


async def entered(scenario: str) -> tuple[str, dict[str, None]]:
    """The text of an undisturbed chat, and the functions of the plugin that one enters, in order."""
    names: dict[str, None] = {}
    async with world(scenario) as running:
        await running.ask(scenario)  # what happens in the first chat only is the scenario "first chat"
        expected = await running.ask(scenario)
        with traced(lambda code: names.setdefault(name_of(code))):
            await running.ask(scenario)
    return expected, names


async def costs(scenario: str, names: list[str], expected: str) -> AsyncIterator[tuple[str, str]]:
    """The functions that cost the answer when they raise, as they are found, and what was read instead.

    A host is kept until something is lost: what one broken chat leaves behind must not be blamed on the next function.
    A loss counts if it happens again on a new host: a machine that is busy with other things loses some by itself.
    """
    left = list(names)
    suspects: set[str] = set()
    while left:
        lost = ""
        async with world(scenario) as running:
            await running.ask(scenario)
            await running.ask(scenario)
            while left and not lost:
                name = left.pop(0)
                injection = Injection(name)
                with traced(injection):
                    text = await running.ask(scenario)
                if text != expected:
                    lost = text
        if lost and name not in suspects:
            suspects.add(name)
            left.insert(0, name)
        elif lost:
            yield name, lost
