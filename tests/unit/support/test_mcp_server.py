"""The MCP server speaks to the real client of openai-agents and breaks as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agents.mcp import MCPServerSse

from tests.support.loop_time import LoopTime
from tests.support.mcp_server import McpServer, Tool
from tests.support.net import Gate, until

LIMIT = 60.0


@asynccontextmanager
async def client(server: McpServer) -> AsyncIterator[MCPServerSse]:
    """A connected client, entered and left in one task."""
    params: Any = {"url": server.url, "timeout": LIMIT, "sse_read_timeout": LIMIT}
    made = MCPServerSse(params=params, client_session_timeout_seconds=LIMIT)
    try:  # not `async with`: old versions leave the stream open if a cancel hits their __aenter__
        await made.connect()  # type: ignore[no-untyped-call]
        yield made
    finally:
        await made.cleanup()  # type: ignore[no-untyped-call]


async def listed(server: McpServer) -> list[str]:
    """The tools that a new client sees."""
    async with client(server) as made:
        return [tool.name for tool in await made.list_tools()]


async def test_lists_and_calls_tools(mcp: McpServer) -> None:
    """A tool is listed, called with its arguments, answers, and is counted."""
    mcp.tools["double"] = Tool(lambda arguments: str(2 * arguments["n"]))
    async with client(mcp) as made:
        names = [tool.name for tool in await made.list_tools()]
        result = await made.call_tool("double", {"n": 21})

    assert ["search_node", "double"] == names
    assert "42" == getattr(result.content[0], "text", None)
    assert [("double", {"n": 21})] == mcp.calls
    await mcp.until_idle()


@pytest.mark.parametrize("fault", ["500", "404", "html", "drop"])
async def test_faults_of_the_connection(mcp: McpServer, fault: str) -> None:
    """A client cannot connect while the fault lasts, and can once it is over."""
    mcp.fault = fault
    with pytest.raises(BaseException):  # noqa: B017  (each version has its own, exception groups too)
        await listed(mcp)

    mcp.fault = ""

    assert ["search_node"] == await listed(mcp)
    assert 2 == mcp.connects


@pytest.mark.parametrize("fault", ["silent", "no_initialize"])
async def test_silence(mcp: McpServer, fault: str) -> None:
    """A server that accepts and then says nothing holds the client until it leaves."""
    mcp.fault = fault
    task = asyncio.create_task(listed(mcp))
    await until(lambda: mcp.connects == 1 and (fault == "silent" or mcp.methods["initialize"] == 1))

    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await mcp.until_idle()


async def test_refused_and_back(mcp: McpServer) -> None:
    """A stopped server refuses; started again it is found at the same URL."""
    url = mcp.url
    await mcp.stop()
    with pytest.raises(BaseException):  # noqa: B017
        await listed(mcp)

    await mcp.start()

    assert url == mcp.url
    assert ["search_node"] == await listed(mcp)


async def test_dies_in_a_call(mcp: McpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call that kills the server is counted, and its client gets no answer."""
    time = LoopTime()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", time)
    async with client(mcp) as made:
        mcp.fault = "die_in_call"
        call = asyncio.ensure_future(made.call_tool("search_node", {"query": "x"}))
        await until(lambda: mcp.calls_of("search_node") == 1, what="the call")
        time.skip(LIMIT + 1)
        with pytest.raises(Exception):  # noqa: B017
            await call

    assert 1 == mcp.calls_of("search_node")


async def test_slow_tool_waits_for_its_gate(mcp: McpServer) -> None:
    """A gated tool answers when the test lets it."""
    gate = Gate()
    mcp.tools["slow"] = Tool("at last", gate=gate)
    async with client(mcp) as made:
        task = asyncio.create_task(made.call_tool("slow", {}))
        await until(lambda: gate.waiting == 1)
        assert not task.done()
        gate.open()
        result = await task

    assert "at last" == getattr(result.content[0], "text", None)
