"""One task holds one connection: how it begins, breaks, is cancelled and ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backend.copilot.mcp import link as mcp_link
from backend.copilot.mcp.link import Link, McpLost, McpTimeout
from tests.support.net import until


class Work:
    """The three steps of a link, each as slow or broken as the test wants, and what was seen."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.tasks: set[Any] = set()
        self.cancels = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.hold_cleanup = asyncio.Event()
        self.hold_cleanup.set()
        self.error: BaseException | None = None

    async def connect(self) -> None:
        """Open the connection."""
        self.seen.append("connect")
        await self._wait(self.hold)
        if self.error is not None:
            raise self.error

    async def list_tools(self) -> int:
        """Two tools."""
        self.seen.append("list")
        return 2

    async def cleanup(self) -> None:
        """Close the connection."""
        self.seen.append("cleanup")
        await self._wait(self.hold_cleanup)
        self.seen.append("clean")

    async def _wait(self, hold: asyncio.Event) -> None:
        self.tasks.add(asyncio.current_task())
        try:
            await hold.wait()
        except asyncio.CancelledError:
            self.cancels += 1
            raise

    def link(self, limit: float = 5.0) -> Link:
        """A link that does this work; outcomes are noted in `seen`."""
        return Link(
            connect=self.connect,
            list_tools=self.list_tools,
            cleanup=self.cleanup,
            limit=limit,
            outcome=lambda link: self.seen.append(f"outcome {link.state}"),
            lost=lambda link: self.seen.append("lost"),
        )


async def forever() -> None:
    """A call without an end."""
    await asyncio.Event().wait()


async def test_a_life_in_one_task() -> None:
    """Connecting and cleaning up happen in the link's own task, in order, once."""
    work = Work()
    link = work.link()
    link.start()
    link.start()
    up = await link.ready(5)
    closed = await link.close(5)
    again = await link.close(5)

    assert (True, True, True) == (up, closed, again)
    assert ["connect", "list", "outcome up", "cleanup", "clean"] == work.seen
    assert {link.task} == work.tasks
    assert ("closed", 2, 0) == (link.state, link.tools, work.cancels)


async def test_an_error_settles_the_link_before_it_cleans_up() -> None:
    """Whoever waits learns of the failure at once, not after the clean-up."""
    work = Work()
    work.error = ConnectionRefusedError()
    work.hold_cleanup.clear()
    link = work.link()
    link.start()

    assert not await link.ready(5)
    assert isinstance(link.error, ConnectionRefusedError)
    assert "clean" not in work.seen
    work.hold_cleanup.set()
    assert await link.close(5)


async def test_the_limit_cancels_once_and_the_clean_up_runs() -> None:
    """A server that is silent is given up with exactly one cancel; stopping it meanwhile adds none."""
    work = Work()
    work.hold.clear()
    work.hold_cleanup.clear()
    link = work.link(limit=0.01)
    link.start()
    up = await link.ready(5)
    link.stop()
    work.hold_cleanup.set()
    await link.close(5)

    assert not up
    assert isinstance(link.error, McpTimeout)
    assert 1 == work.cancels
    assert ["connect", "outcome failed", "cleanup", "clean"] == work.seen


async def test_closing_while_connecting_cancels_once_and_reports_nothing() -> None:
    """A chat that is stopped on its way in says nothing about the server."""
    work = Work()
    work.hold.clear()
    link = work.link()
    link.start()
    await until(lambda: "connect" in work.seen)
    link.stop()
    link.stop()

    assert await link.close(5)
    assert ["connect", "cleanup", "clean"] == work.seen
    assert (1, None) == (work.cancels, link.error)


async def test_closing_before_the_start() -> None:
    """A link that never began can be closed."""
    link = Work().link()

    assert await link.close(1)
    assert not await link.ready(1)


async def test_a_cancelled_wait_leaves_the_link_alone() -> None:
    """Who waits for the link may be cancelled; the link goes on."""
    work = Work()
    work.hold.clear()
    link = work.link()
    link.start()
    waiter = asyncio.create_task(link.ready(60))
    await until(lambda: "connect" in work.seen)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    work.hold.set()

    assert await link.ready(5)
    await link.close(5)


async def test_a_cancelled_close_still_closes() -> None:
    """Who waits for the end may be cancelled; the end comes."""
    work = Work()
    work.hold_cleanup.clear()
    link = work.link()
    link.start()
    await link.ready(5)
    closer = asyncio.create_task(link.close(60))
    await until(lambda: "cleanup" in work.seen)
    closer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closer
    work.hold_cleanup.set()

    assert await link.close(5)
    assert 0 == work.cancels


async def test_a_clean_up_that_hangs_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not let go cannot keep the task for ever."""
    monkeypatch.setattr(mcp_link, "CLEAN_SECONDS", 0.01)
    work = Work()
    work.hold_cleanup.clear()
    link = work.link()
    link.start()
    await link.ready(5)

    assert await link.close(5)
    assert 1 == work.cancels


async def test_a_connection_that_breaks_is_reported_as_lost() -> None:
    """The MCP client cancels the task that holds it when its connection breaks: calls end, and it is told."""
    work = Work()
    link = work.link()
    link.start()
    await link.ready(5)
    call = asyncio.create_task(link.run(forever(), None))
    await until(lambda: len(asyncio.all_tasks()) >= 4)
    assert link.task is not None
    link.task.cancel()

    with pytest.raises(McpLost):
        await call
    assert isinstance(link.error, McpLost)
    assert "lost" in work.seen
    assert "clean" in work.seen


async def hang(ended: list[str]) -> None:
    """A call without an answer, which tells when it is over."""
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("ended")


async def test_run_gives_up_after_its_limit_and_cancels_the_call() -> None:
    """A call that takes too long is cancelled and says how long it was given."""
    work = Work()
    link = work.link()
    link.start()
    await link.ready(5)
    ended: list[str] = []
    with pytest.raises(McpTimeout) as caught:
        await link.run(hang(ended), 0.01)
    assert ["ended"] == ended
    assert 0.01 == caught.value.seconds
    await link.close(5)


async def test_cancelling_run_cancels_the_call() -> None:
    """A chat that is stopped in a call waits until the call has ended."""
    link = Work().link()
    link.start()
    await link.ready(5)
    ended: list[str] = []
    task = asyncio.create_task(link.run(hang(ended), None))
    await until(lambda: len(asyncio.all_tasks()) >= 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ["ended"] == ended
    await link.close(5)


async def test_time_in_which_the_loop_was_held_up_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is not blamed for seconds in which ComfyUI blocked the event loop."""
    loop = asyncio.get_running_loop()
    real = loop.time
    work = Work()
    work.hold.clear()
    link = work.link(limit=30.0)
    link.start()
    await until(lambda: "connect" in work.seen)
    monkeypatch.setattr(loop, "time", lambda: real() + 60.0)
    turned = asyncio.Event()
    loop.call_later(0.1, turned.set)
    await turned.wait()
    work.hold.set()

    assert await link.ready(5)
    await link.close(5)


async def test_a_callback_that_fails_does_not_break_the_link() -> None:
    """If noting the outcome raises, the chat still has its tools."""
    work = Work()

    def broken(_: Link) -> None:
        raise RuntimeError("ours")

    link = Link(connect=work.connect, list_tools=work.list_tools, cleanup=work.cleanup, limit=5, outcome=broken)
    link.start()

    assert await link.ready(5)
    await link.close(5)


async def test_a_cancel_from_inside_a_call_is_not_the_callers() -> None:
    """When the MCP client cancels its own request, the chat gets an error and is not taken for cancelled."""
    link = Work().link()
    link.start()
    await link.ready(5)

    async def call() -> None:
        raise asyncio.CancelledError

    with pytest.raises(McpLost):
        await link.run(call(), 5)
    await link.close(5)


async def test_a_group_with_a_cancel_in_it_fails_the_link_and_no_more() -> None:
    """A group of errors that is no Exception settles the link, is cleaned up after, and ends there."""

    class Group(BaseException):
        exceptions = (asyncio.CancelledError(), OSError("x"))

    work = Work()
    work.error = Group()
    link = work.link()
    link.start()

    assert not await link.ready(5)
    await link.close(5)
    assert isinstance(link.error, Group)
    assert "clean" in work.seen
    other = Work().link()
    other.start()
    await other.ready(5)

    async def call() -> None:
        raise Group

    with pytest.raises(McpLost):
        await other.run(call(), 5)
    await other.close(5)
