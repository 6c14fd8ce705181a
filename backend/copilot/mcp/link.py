"""One connection to one MCP server, held by one task from its first byte to its close.

The MCP client is made of cancel scopes that must be left in the task that entered them. Copilot enters and
leaves them where it happens to be; here one task connects, waits and cleans up, and everybody else asks it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

from ...aio import cancel_all, ends, fail_open, in_front, wait_set

log = logging.getLogger("copilot_pulse.mcp")

CLEAN_SECONDS: Final = 5.0
# A limit is kept in steps of this size, and a step that comes late counts no more: while ComfyUI itself
# is busy on the event loop, no server can answer, and none is to blame.
_STEP_SECONDS: Final = 0.05
State = Literal["new", "connecting", "up", "failed", "closed"]


class McpTimeout(Exception):
    """Raised (or kept as a link's error) when an MCP server did not answer in time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"no answer within {seconds:g} s")


class McpLost(Exception):
    """Raised (or kept as a link's error) when the connection to an MCP server broke while it was in use."""

    def __init__(self) -> None:
        super().__init__("the connection was lost")


def _outcome(task: asyncio.Future[Any]) -> Any:
    """The call's result. A cancel from inside it is an error: it must not look like the caller's own."""
    if task.cancelled():
        raise McpLost
    error = task.exception()
    if error is not None and hasattr(error, "exceptions") and not isinstance(error, Exception):
        raise McpLost from error
    return task.result()


class Link:
    """The connection's life: `start()`, `ready()`, in between calls through `run()`, `close()`.

    `connect`, `list_tools` and `cleanup` do the work; all three run in the link's own task. `limit` is the
    time for connecting and listing the tools together, in seconds in which the event loop was not held up.
    `outcome(link)` is called once, when the link is up or has failed (not if it was closed before), and
    `lost(link)` if it broke after it had been up.
    For the event loop's thread.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[Any]],
        list_tools: Callable[[], Awaitable[int]],
        cleanup: Callable[[], Awaitable[Any]],
        limit: float,
        outcome: Callable[[Link], None] | None = None,
        lost: Callable[[Link], None] | None = None,
        name: str = "mcp",
    ) -> None:
        self._connect = connect
        self._list_tools = list_tools
        self._cleanup = cleanup
        self._outcome = outcome
        self._lost = lost
        self.limit = limit
        self.name = name
        self.state: State = "new"
        self.error: BaseException | None = None
        self.tools = 0
        self.task: asyncio.Task[None] | None = None
        self._ready: asyncio.Event = asyncio.Event()
        self._stop: asyncio.Event = asyncio.Event()
        self._timed_out = False
        self._cancelled = False
        self._spent = 0.0
        self._looked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to connect, in a task of its own; a second call changes nothing."""
        if self.task is None:
            self.state = "connecting"
            loop = asyncio.get_running_loop()
            live = in_front(self._live, self._live, "the task of a tool server, at the first try")
            self.task = loop.create_task(live(), name=f"copilot-pulse {self.name}")

    @property
    def up(self) -> bool:
        """Whether calls can go through."""
        return self.state == "up"

    def inside(self) -> bool:
        """Whether the caller runs in the link's own task."""
        return self.task is not None and asyncio.current_task() is self.task

    @fail_open("the wait for a tool server")
    async def ready(self, wait: float) -> bool:
        """Whether the link is up; waits until it is or has failed, `wait` seconds at most.

        A cancel leaves the link as it is.
        """
        if self._ready.is_set() or self.task is None or wait <= 0:
            return self.up
        await wait_set(self._ready, wait)
        return self.up

    async def run(self, call: Awaitable[Any], limit: float | None) -> Any:
        """The result of `call`, unless the link ends or `limit` seconds (None: no limit) pass before.

        The call is cancelled then, and when the caller is. Raises what the call raises, McpTimeout, McpLost.
        """
        task = asyncio.ensure_future(call)
        ended = self.task
        try:
            await asyncio.wait(
                {task} if ended is None else {task, ended},
                timeout=limit,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if task.done():
                return in_front(_outcome, asyncio.Task.result, "the outcome of a tool")(task)
        finally:
            await cancel_all([task])
        if ended is not None and ended.done():
            raise McpLost
        raise McpTimeout(limit or 0.0)

    def stop(self) -> None:
        """Ask the link to end; does not wait. Cancels its task only while it connects, and only once."""
        if self.task is None:
            self.state = "closed"
            self._ready.set()
        self._stop.set()
        if self.state == "connecting":
            self._cancel()

    async def close(self, wait: float) -> bool:
        """End the link and wait for its task, `wait` seconds at most; False if it is still cleaning up."""
        self.stop()
        if self.task is None or self.task.done() or self.inside():
            return True
        return await ends(self.task, wait)

    def _cancel(self) -> None:
        # Twice would interrupt the clean-up that the first cancel began, and leave its socket open.
        if not self._cancelled and self.task is not None:
            self._cancelled = True
            self.task.cancel()

    @fail_open("the time limit of a tool server")
    def _watch_the_time(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._timer is not None:
            self._spent += min(now - self._looked_at, _STEP_SECONDS)
        self._looked_at = now
        left = self.limit - self._spent
        if left <= 0:
            self._timed_out = True
            self._cancel()
        else:
            self._timer = loop.call_later(min(left, _STEP_SECONDS), self._watch_the_time)

    async def _live(self) -> None:
        """The link's task."""
        foreign: BaseException | None = None
        self.task = asyncio.current_task()  # known here first if the loop starts tasks eagerly
        try:
            self._watch_the_time()
            try:
                await self._connect()
                self.tools = await self._list_tools()
            finally:
                if self._timer is not None:
                    self._timer.cancel()
            if not self._stop.is_set():
                in_front(self._settle, self._now, "the state of a tool server")("up")
                await self._stop.wait()
        except asyncio.CancelledError as cancel:
            if self._timed_out and not self._stop.is_set():
                self.error = McpTimeout(self.limit)
            elif not self._stop.is_set():
                # The MCP client cancels the task that holds it when its connection breaks.
                self.error = McpLost()
            if self._cancelled:
                uncancel = getattr(asyncio.current_task(), "uncancel", None)
                if uncancel is not None:
                    uncancel()
            else:
                foreign = cancel
        except BaseException as error:  # groups of the MCP client may hold cancels and are no Exception then
            if not self._stop.is_set():
                self.error = error
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                foreign = error
        self._settle("closed" if self._stop.is_set() else "failed")
        await self._clean()
        if foreign is not None:
            raise foreign

    def _now(self, state: State) -> None:
        self.state = state
        self._ready.set()

    def _settle(self, state: State) -> None:
        was, self.state = self.state, state
        self._ready.set()
        notify = None
        if was == "connecting" and state in ("up", "failed"):
            notify = self._outcome
        elif was == "up" and state == "failed":
            notify = self._lost
        if notify is not None:
            try:
                notify(self)
            except Exception:
                log.warning("noting the state of an MCP server failed", exc_info=True)

    @fail_open("the closing of a tool server's session")
    async def _clean(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        timer = asyncio.get_running_loop().call_later(CLEAN_SECONDS, task.cancel)
        try:
            await self._cleanup()
        except asyncio.CancelledError:
            log.debug("%s: cleaning up was cut short", self.name)
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            log.debug("%s: cleaning up failed: %s", self.name, type(error).__name__)
        finally:
            timer.cancel()

    def __repr__(self) -> str:
        return f"<Link {self.name} {self.state}, {self.tools} tools>"
