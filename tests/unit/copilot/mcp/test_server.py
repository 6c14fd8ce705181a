"""Tool servers as a chat meets them: healthy, broken, slow, silent, and left in the middle. Real ones, on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
from agents import mcp as agents_mcp

from backend.copilot.mcp import server as guard
from backend.error_handling import hold_prompt
from tests.support.leaks import no_leaks
from tests.support.mcp_server import McpServer, Tool
from tests.support.mcp_world import McpWorld, text_of
from tests.support.net import Gate, closed_port, until


def is_error(result: Any) -> bool:
    """Whether a tool's result tells the model of an error, on either version of the mcp package."""
    return bool(getattr(result, "isError", None) or getattr(result, "is_error", None))


async def test_tools_of_a_healthy_server_are_listed_and_called(world: McpWorld) -> None:
    """With a healthy server the chat has its tools, and nothing is left afterwards."""
    async with McpServer(tools={"search_node": Tool("found it")}) as mcp, no_leaks():
        async with world.server(mcp.url) as server:
            names = [tool.name for tool in await server.list_tools()]
            result = await server.call_tool("search_node", {"query": "x"})
        await mcp.until_idle()

        assert ["search_node"] == names
        assert "found it" == text_of(result)
        assert [("search_node", {"query": "x"})] == mcp.calls
        assert ("up", 1) == (world.row(mcp.url)["state"], world.row(mcp.url)["tools"])
        assert [] == world.changes


async def test_the_agent_accepts_a_guarded_server(world: McpWorld) -> None:
    """openai-agents takes the guarded class for one of its own and offers its tools to the model."""
    from agents import Agent, RunContextWrapper

    async with McpServer() as mcp, McpServer(fault="500") as dead:
        async with world.server(mcp.url) as one, world.server(dead.url) as two:
            agent: Any = Agent(name="a", mcp_servers=[one, two])
            tools = await agent.get_mcp_tools(RunContextWrapper(None))

        assert isinstance(one, agents_mcp.MCPServerSse)
        assert ["search_node"] == [tool.name for tool in tools]


async def test_of_two_tools_of_one_name_the_agent_gets_one(world: McpWorld) -> None:
    """Two servers that offer one name: openai-agents would end the run. The first keeps it while it is there."""
    from agents import Agent, RunContextWrapper

    same = {"search_node": Tool("first"), "only_here": Tool()}
    another = {"search_node": Tool("second"), "own": Tool()}
    async with McpServer(tools=same) as first, McpServer(tools=another) as second, world.server(second.url) as two:
        one = await world.server(first.url).__aenter__()
        agent: Any = Agent(name="a", mcp_servers=[one, two])
        tools = await agent.get_mcp_tools(RunContextWrapper(None))
        again = await agent.get_mcp_tools(RunContextWrapper(None))
        other: Any = Agent(name="b", mcp_servers=[two, one])
        turned = await other.get_mcp_tools(RunContextWrapper(None))
        answer = text_of(await one.call_tool("search_node", {}))

        await one.__aexit__(None, None, None)
        left = await agent.get_mcp_tools(RunContextWrapper(None))

    assert ["search_node", "only_here", "own"] == [tool.name for tool in tools]
    assert [tool.name for tool in tools] == [tool.name for tool in again]
    assert ["own", "search_node", "only_here"] == [tool.name for tool in turned]
    assert "first" == answer
    assert ["search_node", "own"] == [tool.name for tool in left]


async def test_chats_do_not_take_each_others_tools(world: McpWorld) -> None:
    """A name is one server's in one chat only: another chat of the same server has it as well."""
    async with McpServer() as mcp:

        async def names() -> list[str]:
            async with world.server(mcp.url) as server:
                return [tool.name for tool in await server.list_tools()]

        found = await asyncio.gather(*(asyncio.create_task(names()) for _ in range(3)))

    assert [["search_node"]] * 3 == found


async def test_a_tool_of_a_dying_server_does_not_end_the_run(world: McpWorld) -> None:
    """When the server dies in a tool call the model reads an error, on versions that would raise as well."""
    from agents import Agent, RunContextWrapper

    async with McpServer() as mcp:
        async with world.server(mcp.url) as server:
            agent: Any = Agent(name="a", mcp_servers=[server])
            (tool,) = await agent.get_mcp_tools(RunContextWrapper(None))
            mcp.fault = "die_in_call"
            util: Any = sys.modules["agents.mcp.util"].MCPUtil
            mcp_tool = (await server.list_tools())[0]
            output = await util.invoke_mcp_tool(server, mcp_tool, RunContextWrapper(None), json.dumps({}))

        assert "search_node" == tool.name
        assert "The tool search_node failed" in str(output)
        assert 1 == mcp.calls_of("search_node")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("refused", "o"),
        ("500", "500"),
        ("404", "404"),
        ("html", "web page"),
        ("drop", ""),
        ("bad_list", "does not work here"),
    ],
)
async def test_a_broken_server_costs_its_tools_only(
    make_world: Callable[..., McpWorld], fault: str, words: str
) -> None:
    """The chat is entered, has no tools of the broken server, and the panel knows why."""
    world = make_world(mcp_retry=60.0)
    async with McpServer(fault="" if fault == "refused" else fault) as mcp:
        url = f"http://127.0.0.1:{closed_port()}/secret-path/sse" if fault == "refused" else mcp.url
        async with no_leaks(), Closing(world):
            tools = await world.tools(url)

            row = world.row(url)
            assert [] == tools
            assert "down" == row["state"]
            assert words in row["reason"]
            assert "secret-path" not in json.dumps(world.seam.snapshot())
            assert [(row["server"], "down")] == world.changes
            assert ["mcp"] == [entry["where"] for entry in world.recorded]
            assert "secret-path" not in json.dumps(world.recorded)


class Closing:
    """Close a world's seam before the leak check looks."""

    def __init__(self, world: McpWorld) -> None:
        self.world = world

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        await self.world.seam.aclose()


@pytest.mark.parametrize("fault", ["silent", "no_initialize"])
async def test_a_silent_server_holds_one_chat_and_no_other(make_world: Callable[..., McpWorld], fault: str) -> None:
    """The first chat waits for the limit; while the server is known to be down it is not even asked."""
    world = make_world(mcp_timeout=0.5, mcp_retry=60.0)
    async with McpServer(fault=fault) as mcp, no_leaks(), Closing(world):
        first = await world.tools(mcp.url)
        asked = mcp.connects
        second = await world.tools(mcp.url)

        assert ([], []) == (first, second)
        assert 1 == asked == mcp.connects
        assert "no answer within 0.5 s" == world.row(mcp.url)["reason"]
        assert world.row(mcp.url)["retry_in"] > 0
        assert 1 == len(world.changes)


async def test_a_slow_server_that_makes_it_in_time_is_used(world: McpWorld) -> None:
    """A server that needs a moment is waited for."""
    async with McpServer(fault="slow", delay=0.15) as mcp:
        assert ["search_node"] == await world.tools(mcp.url)


async def test_a_server_comes_back_by_itself(world: McpWorld) -> None:
    """After an outage the probe finds the server, says so once, and the next chat has the tools."""
    mcp = McpServer()
    await mcp.start()
    try:
        assert ["search_node"] == await world.tools(mcp.url)
        await mcp.stop()
        assert [] == await world.tools(mcp.url)
        await mcp.start()
        await until(lambda: world.row(mcp.url)["state"] == "up")

        name = world.row(mcp.url)["server"]
        assert [(name, "down"), (name, "up")] == world.changes
        assert ["search_node"] == await world.tools(mcp.url)
        await mcp.until_idle()
    finally:
        await mcp.stop()


async def test_a_call_on_a_dead_server_is_an_error_for_the_model(make_world: Callable[..., McpWorld]) -> None:
    """A tool of a server that is down, or was never entered, gives the model a text and raises nothing."""
    world = make_world(mcp_retry=60.0)
    async with McpServer(fault="500") as mcp, world.server(mcp.url) as server:
        result = await server.call_tool("search_node", {})

        assert is_error(result)
        assert "The tool search_node failed" in text_of(result)


async def test_a_server_that_dies_in_a_call_is_looked_at_again(world: McpWorld) -> None:
    """A broken call makes the server suspect: it is asked again, and is down if it really is."""
    mcp = McpServer()
    await mcp.start()
    try:
        async with world.server(mcp.url) as server:
            await server.list_tools()
            await mcp.stop()
            result = await server.call_tool("search_node", {})
            await until(lambda: world.row(mcp.url)["reason"] != "")

        assert is_error(result)
        assert [("down")] == [state for _, state in world.changes]
    finally:
        await mcp.stop()


async def test_a_tool_that_fails_says_so_to_the_model(world: McpWorld) -> None:
    """A tool's own error passes as it is: the server is fine and stays up."""
    async with McpServer(tools={"bad": Tool("no luck", error=True)}) as mcp:
        async with world.server(mcp.url) as server:
            result = await server.call_tool("bad", {})

        assert is_error(result)
        assert "no luck" == text_of(result)
        assert "up" == world.row(mcp.url)["state"]


async def test_a_tool_that_hangs_is_given_up(make_world: Callable[..., McpWorld]) -> None:
    """After `mcp_tool_timeout` the model gets an error instead of the chat hanging on."""
    world = make_world(mcp_tool_timeout=0.1)
    gate = Gate()
    async with McpServer(tools={"slow": Tool("late", gate=gate)}) as mcp:
        async with world.server(mcp.url) as server:
            result = await server.call_tool("slow", {})
            gate.open()

        assert "no result within 0.1 s" in text_of(result)


async def test_a_tool_is_not_called_twice_where_we_break_over_its_error(
    make_world: Callable[..., McpWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that was made is made: what breaks while it is told of makes it neither again nor without a limit."""
    tell, calls = guard._tool_error, []

    def breaks_once(tool: str, why: str) -> Any:
        calls.append(tool)
        if len(calls) == 1:
            raise RuntimeError("ours")
        return tell(tool, why)

    monkeypatch.setattr(guard, "_tool_error", breaks_once)
    breaks_once.__code__ = breaks_once.__code__.replace(co_filename=guard.__file__)  # a fault of ours
    world = make_world(mcp_tool_timeout=0.1)
    gate = Gate()
    async with McpServer(tools={"slow": Tool("late", gate=gate)}) as mcp:
        async with world.server(mcp.url) as server:
            result = await asyncio.wait_for(server.call_tool("slow", {}), 30)
            gate.open()

        assert "no result within 0.1 s" in text_of(result)
        assert 1 == mcp.calls_of("slow")


async def test_the_limit_of_tools_can_be_switched_off(make_world: Callable[..., McpWorld]) -> None:
    """With 0 a tool takes as long as Copilot allows."""
    world = make_world(mcp_tool_timeout=0)
    gate = Gate()
    async with McpServer(tools={"slow": Tool("late", gate=gate)}) as mcp, world.server(mcp.url) as server:
        call = asyncio.create_task(server.call_tool("slow", {}))
        await until(lambda: gate.waiting == 1)
        gate.open()

        assert "late" == text_of(await call)


async def test_cancel_while_connecting_ends_every_server_of_the_chat(world: McpWorld) -> None:
    """Servers are asked side by side, and a chat cancelled on its way in leaves no task and no socket of either."""
    async with McpServer(fault="silent") as one, McpServer(fault="silent") as two, no_leaks():

        async def chat() -> None:
            first, second = world.server(one.url), world.server(two.url)
            async with first, second:
                pytest.fail("a silent server was entered before its time was up")

        task = asyncio.create_task(chat())
        await until(lambda: one.connects == 1 and two.connects == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert [] == world.changes


async def test_cancel_between_making_and_entering_ends_the_connection(world: McpWorld) -> None:
    """A server object that is never entered does not outlive the task that made it."""
    async with McpServer() as mcp, no_leaks():
        release = asyncio.Event()

        async def chat() -> None:
            world.server(mcp.url)
            await release.wait()

        task = asyncio.create_task(chat())
        await until(lambda: mcp.methods["tools/list"] == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await mcp.until_idle()


async def test_cancel_during_a_tool_call_closes_the_connection(world: McpWorld) -> None:
    """The user stops the chat while a tool runs: the call ends at once and nothing is left."""
    gate = Gate()
    async with McpServer(tools={"slow": Tool("late", gate=gate)}) as mcp, no_leaks():

        async def chat() -> None:
            async with world.server(mcp.url) as server:
                await server.call_tool("slow", {})

        task = asyncio.create_task(chat())
        await until(lambda: gate.waiting == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await mcp.until_idle()
        gate.open()


async def test_cancel_during_list_tools_closes_the_connection(world: McpWorld) -> None:
    """The same while the tools are listed anew."""
    async with McpServer() as mcp, no_leaks():

        async def chat() -> None:
            async with world.server(mcp.url) as server:
                server.invalidate_tools_cache()
                mcp.fault = "no_initialize"
                mcp._list = asyncio.Event().wait  # type: ignore[assignment, method-assign]
                mcp.methods.clear()
                await server.list_tools()

        task = asyncio.create_task(chat())
        await until(lambda: mcp.methods["tools/list"] == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await mcp.until_idle()
        for pending in list(mcp._tasks):
            pending.cancel()


async def test_cancel_while_leaving_still_closes_the_connection(world: McpWorld) -> None:
    """A cancel that comes while the chat says good-bye does not keep the connection open."""
    async with McpServer() as mcp, no_leaks():
        leaving = asyncio.Event()

        async def chat() -> None:
            server = world.server(mcp.url)
            async with server:
                leaving.set()

        task = asyncio.create_task(chat())
        await leaving.wait()
        task.cancel()
        await asyncio.wait({task})
        await mcp.until_idle()


async def test_leaving_in_another_task_is_no_cancel_scope_error(
    world: McpWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Entered here and left there, as when a generator is finalised: no cancel scope is broken."""
    caplog.set_level(logging.INFO)
    async with McpServer() as mcp, no_leaks():
        server = await asyncio.create_task(_entered(world.server(mcp.url)))
        await asyncio.create_task(_left(server))
        await mcp.until_idle()

        assert "exit cancel scope" not in caplog.text


async def _entered(server: Any) -> Any:
    return await server.__aenter__()


async def _left(server: Any) -> None:
    await server.__aexit__(None, None, None)


async def test_many_chats_leave_nothing(make_world: Callable[..., McpWorld]) -> None:
    """Twenty chats, ten at a time, with a healthy, a broken and a silent server: nothing is left."""
    world = make_world(mcp_timeout=0.5, mcp_retry=600.0)
    async with (
        McpServer() as good,
        McpServer(fault="500") as bad,
        McpServer(fault="silent") as mute,
        no_leaks(),
        Closing(world),
    ):
        await world.tools(mute.url)
        world.pulse.settings.update({"mcp_timeout": 30.0})

        async def chat(number: int) -> list[str]:
            servers = [world.server(mcp.url, session=str(number)) for mcp in (good, bad, mute)]
            one, two, three = servers
            async with one, two, three:
                names = [tool.name for server in servers for tool in await server.list_tools()]
                await one.call_tool("search_node", {"query": str(number)})
                return names

        for start in range(0, 20, 10):
            results = await asyncio.gather(*(asyncio.create_task(chat(start + n)) for n in range(10)))
            assert [["search_node"]] * 10 == list(results)
        await good.until_idle()

        assert {str(n) for n in range(20)} == {arguments["query"] for _, arguments in good.calls}
        assert 1 == mute.connects


class _Echoing(McpServer):
    """Refuses to list its tools, and gives back the key and what a user has said."""

    async def _answer(self, stream: Any, message: Any) -> None:
        if message.get("method") != "tools/list":
            return await super()._answer(stream, message)
        said = f"no {self.connects}: {self.headers[-1]['authorization']} wants a purple hippopotamus"
        error = {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -1, "message": said}}
        await stream.send("message", json.dumps(error))
        return None


async def test_the_reason_why_a_server_is_down_has_neither_key_nor_prompt(world: McpWorld) -> None:
    """Also when it is asked again later, outside of the request that brought the key."""
    async with _Echoing() as mcp:
        world.pulse.recovery.redactor.learn_headers({"Authorization": "Bearer correct-horse-battery"})
        hold_prompt(["a purple hippopotamus"])
        await world.tools(mcp.url, key="correct-horse-battery")
        await until(lambda: "no 2" in world.row(mcp.url)["reason"])

        assert "correct-horse" not in world.row(mcp.url)["reason"]
        first = next(data["reason"] for type_, data in world.events if type_ == "mcp.changed")
        assert "no 1: Bearer [redacted] wants [prompt]" == first
