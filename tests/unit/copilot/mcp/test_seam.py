"""The MCP seam against real servers on loopback: attached and detached, what is told of missing tools, probes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.chats import Chat, current_chat
from backend.copilot.mcp.dismissed import Dismissed
from backend.copilot.seam import CopilotModules, SeamMissing
from tests.support.leaks import no_leaks
from tests.support.mcp_server import McpServer
from tests.support.mcp_world import MODULE, ROOT, McpWorld, text_of
from tests.support.net import until


async def test_probe_asks_at_once_and_only_once(make_world: Callable[..., McpWorld]) -> None:
    """Retry-now brings a server back without waiting for its time; two at once are one probe."""
    world = make_world(mcp_retry=3600.0)
    async with McpServer(fault="500") as mcp:
        await world.tools(mcp.url)
        name = world.row(mcp.url)["server"]
        still_down = await world.seam.probe(name)
        mcp.fault = ""
        before = mcp.connects
        both = await asyncio.gather(world.seam.probe(name), world.seam.probe(mcp.url))

        assert still_down is False
        assert [True, True] == list(both)
        assert 1 == mcp.connects - before
        with pytest.raises(KeyError):
            await world.seam.probe("no.such.host")
        await mcp.until_idle()


async def test_cancelling_a_probe_request_lets_the_probe_finish(make_world: Callable[..., McpWorld]) -> None:
    """A panel that goes away while it waits for retry-now does not stop it."""
    world = make_world(mcp_retry=3600.0)
    async with McpServer(fault="500") as mcp:
        await world.tools(mcp.url)
        mcp.fault, mcp.delay = "slow", 0.1
        task = asyncio.create_task(world.seam.probe(mcp.url))
        await until(lambda: mcp.connects == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        await until(lambda: world.row(mcp.url)["state"] == "up")


async def test_closing_during_a_probe_leaves_nothing(make_world: Callable[..., McpWorld]) -> None:
    """Shut-down ends a probe that hangs on a silent server, its task and its socket."""
    world = make_world(mcp_retry=0.1)
    async with McpServer(fault="500") as mcp, no_leaks():
        await world.tools(mcp.url)
        mcp.fault = "silent"
        await until(lambda: mcp.connects >= 2)
        await world.seam.aclose()


async def test_missing_tools_are_told_once_a_start_of_comfyui(make_world: Callable[..., McpWorld]) -> None:
    """Neither the next chat, nor another session, nor the next outage tells it again."""
    world = make_world(mcp_retry=3600.0)

    def told(session: str) -> list[str]:
        return [server.name for server in world.seam.directory.tell(session)]

    async with McpServer(fault="500") as mcp:
        await world.tools(mcp.url, session="a")
        name = world.row(mcp.url)["server"]
        first = told("a")
        await world.tools(mcp.url, session="a")
        again = told("a")
        await world.tools(mcp.url, session="b")
        other = told("b")
        mcp.fault = ""
        await world.seam.probe(name)
        await world.tools(mcp.url, session="a")
        healthy = told("a")
        mcp.fault = "500"
        await world.tools(mcp.url, session="a")
        second_outage = told("a")

        assert ([name], [], []) == (first, again, other)
        assert ([], []) == (healthy, second_outage)


async def test_a_dismissed_server_is_told_of_by_nobody(make_world: Callable[..., McpWorld], tmp_path: Path) -> None:
    """Also not after the next start; what was dismissed can be taken back, and an unknown server is refused."""
    file = tmp_path / "copilot-pulse" / "dismissed.json"
    async with McpServer(fault="500") as mcp:
        for start in range(2):
            world = make_world(mcp_retry=3600.0)
            world.seam.directory.dismissed = Dismissed(file)
            await world.tools(mcp.url, session="a")
            if start == 0:
                world.seam.directory.dismiss(world.row(mcp.url)["server"])
            assert world.row(mcp.url)["dismissed"]
            assert [] == world.seam.directory.tell("a")
        with pytest.raises(KeyError):
            world.seam.directory.dismiss("never-seen")
        world.seam.directory.dismiss(world.row(mcp.url)["server"], False)
        assert 1 == len(world.seam.directory.tell("a"))

    assert [] == json.loads(file.read_text("utf-8"))


@pytest.mark.parametrize(("language", "words"), [("en", "A tool server is down"), ("zh", "工具服务器不可用")])
async def test_the_notice_of_a_chat(make_world: Callable[..., McpWorld], language: str, words: str) -> None:
    """The user reads one short line in his language, without a promise; the panel names the server."""
    world = make_world(mcp_retry=3600.0)
    chat = Chat(session="s9", language=language)
    async with McpServer(fault="500") as mcp:
        token = current_chat.set(chat)
        try:
            await world.tools(mcp.url, session="ignored")
        finally:
            current_chat.reset(token)
        notice = world.seam.notice(chat)

        assert notice is not None
        assert words in notice
        assert len(notice) < 60
        assert "\n" not in notice
        assert world.seam.notice(chat) is None


async def test_attach_and_detach_restore_the_very_class() -> None:
    """Attaching twice changes nothing; detaching puts back the very same class."""
    world = McpWorld()
    original = world.module.MCPServerSse
    sys.modules[MODULE] = world.module
    try:
        world.seam.attach(CopilotModules(ROOT))
        ours = world.module.MCPServerSse
        world.seam.attach(CopilotModules(ROOT))

        assert ours is not original
        assert ours is world.module.MCPServerSse
        assert ours.__name__ == original.__name__
        world.seam.detach()
        assert original is world.module.MCPServerSse
    finally:
        sys.modules.pop(MODULE, None)


@pytest.mark.parametrize("value", [None, 3, object])
async def test_an_unknown_shape_is_a_missing_seam(value: Any) -> None:
    """A Copilot without a class of the expected shape is left alone, with a reason for health."""
    world = McpWorld()
    world.module.MCPServerSse = value  # type: ignore[attr-defined]
    sys.modules[MODULE] = world.module
    try:
        with pytest.raises(SeamMissing):
            world.seam.attach(CopilotModules(ROOT))
        assert value is world.module.MCPServerSse
    finally:
        sys.modules.pop(MODULE, None)


async def test_a_failure_of_ours_leaves_the_original_behaviour(
    world: McpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If guarding breaks, the object works as Copilot's own class does."""

    def broken(*_: Any) -> Any:
        raise RuntimeError("ours")

    monkeypatch.setattr(world.seam.directory, "want", broken)
    async with McpServer() as mcp, no_leaks():
        async with world.server(mcp.url) as server:
            tools = await server.list_tools()
            result = await server.call_tool("search_node", {})
        await mcp.until_idle()

        assert ["search_node"] == [tool.name for tool in tools]
        assert "found it" == text_of(result)


def test_a_server_made_without_a_loop_connects_when_it_is_entered() -> None:
    """An object made outside of a task works, too."""
    assert ["search_node"] == _tools_without_a_task(McpWorld())


def test_a_failure_of_ours_outside_of_a_task_leaves_the_original_behaviour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for such an object, which begins only when it is entered."""
    world = McpWorld()
    monkeypatch.setattr(world.seam.directory, "want", None)

    assert ["search_node"] == _tools_without_a_task(world)


def _tools_without_a_task(world: McpWorld) -> list[str]:
    """The tools of a server whose object was made in a thread, where no loop runs."""

    async def main() -> list[str]:
        async with McpServer() as mcp:
            server = await asyncio.to_thread(world.server, mcp.url)
            async with server:
                return [tool.name for tool in await server.list_tools()]

    sys.modules[MODULE] = world.module
    try:
        world.seam.attach(CopilotModules(ROOT))
        return asyncio.run(main())
    finally:
        world.seam.detach()
        sys.modules.pop(MODULE, None)
