"""The leak check finds what is left, and only that."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.host import Host
from tests.support.leaks import no_leaks
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer
from tests.support.page import CopilotPage


async def test_clean_block_passes(llm: FaultServer) -> None:
    """A block that opened and closed everything passes, with a server's own side closing a little later."""
    async with no_leaks():
        reader, writer = await asyncio.open_connection("127.0.0.1", llm.port)
        await asyncio.create_task(asyncio.sleep(0))
        writer.close()
        assert reader is not None


async def test_left_task_is_found() -> None:
    """A task that goes on is reported by its coroutine's name."""
    task: asyncio.Task[bool] | None = None
    with pytest.raises(AssertionError, match=r"Event\.wait"):
        async with no_leaks(timeout=0.05):
            task = asyncio.create_task(asyncio.Event().wait())
    assert task is not None
    task.cancel()


async def test_left_socket_is_found() -> None:
    """A socket that stays open is reported."""
    left: list[socket.socket] = []
    with pytest.raises(AssertionError, match="sockets"):
        async with no_leaks(timeout=0.05):
            left.append(socket.socket())
    left[0].close()


async def test_page_leaves_nothing(standin: Host, llm: FaultServer) -> None:
    """The page itself keeps no connection and no task after a request."""
    llm.plan(answer(1))
    async with CopilotPage(standin.url) as page, no_leaks():
        await page.json("/system_stats")
