"""Blocking calls of Copilot, off the event loop: a few daemon threads, made when needed and bounded.

Not `asyncio.to_thread`: what runs here waits for somebody else's server without a time limit, so a handful of
calls could fill the loop's shared pool (and with it every name look-up of ComfyUI), and the interpreter joins
the pool's threads when ComfyUI stops. A daemon thread does neither.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..aio import ends, in_front, wait_set

T = TypeVar("T")
_LIMIT: Final = 8


class ThreadsBusy(Exception):
    """Raised when all threads are still busy with earlier calls."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(f"{limit} earlier calls of {name} have not come back yet")


class CallTimeout(Exception):
    """Raised when a blocking call took longer than it may; its thread goes on by itself."""

    def __init__(self, name: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"{name} did not come back within {seconds:g} s")


class DaemonThreads:
    """Runs blocking functions in threads of its own, `limit` at once. For the event loop's thread."""

    def __init__(self, name: str, *, limit: int = _LIMIT) -> None:
        self.name = name
        self.limit = limit
        self.busy = 0
        self._freed = asyncio.Event()

    def start(self, function: Callable[..., T], /, *args: Any) -> asyncio.Future[T]:
        """Call `function(*args)` in a thread, under a copy of the caller's context. Does not wait.

        The future gets the result or the error; cancelling it does not stop the thread.
        Raises ThreadsBusy if `limit` calls are running.
        """
        if self.busy >= self.limit:
            raise ThreadsBusy(self.name, self.limit)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def deliver(result: Any, error: BaseException | None) -> None:
            self.busy -= 1
            self._freed.set()
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            elif isinstance(error, StopIteration):  # a future refuses this type
                future.set_exception(RuntimeError("the call raised StopIteration"))
            else:
                future.set_exception(error)

        def work() -> None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = context.run(function, *args)
            except BaseException as caught:
                error = caught
            try:
                loop.call_soon_threadsafe(delivered, result, error)
            except RuntimeError:
                return  # the loop was closed meanwhile: nobody waits any more

        def broken(*_: Any) -> None:
            self.busy = max(0, self.busy - 1)
            if not future.done():
                future.set_exception(RuntimeError("the call could not be made"))

        delivered = in_front(deliver, broken, "the result of a thread")
        guarded = in_front(work, lambda: loop.call_soon_threadsafe(broken), "the result of a thread")
        thread = threading.Thread(target=guarded, name=f"copilot-pulse {self.name}", daemon=True)
        thread.start()
        self.busy += 1
        return future

    async def until_free(self, limit: float | None = None) -> None:
        """Wait until a thread is free, `limit` seconds at most; `start()` at once, before it is taken.

        Raises CallTimeout. A cancel leaves nothing behind.
        """
        end = None if limit is None else time.monotonic() + limit
        while self.busy >= self.limit:
            self._freed.clear()
            if not await wait_set(self._freed, None if end is None else end - time.monotonic()):
                raise CallTimeout(self.name, limit or 0.0)

    async def run(self, function: Callable[..., T], /, *args: Any, limit: float | None = None) -> T:
        """Call `function(*args)` in a thread and wait for it, `limit` seconds at most (None: for ever).

        If the caller is cancelled, or the limit passes, the thread goes on and its outcome is dropped.
        Raises what the function raises, CallTimeout or ThreadsBusy.
        """
        return await self.wait(self.start(function, *args), limit)

    async def wait(self, future: asyncio.Future[T], limit: float | None = None) -> T:
        """Wait for a future of `start()`; neither the limit nor a cancel ends the call itself."""
        future.add_done_callback(_seen)
        if not await ends(future, limit):
            raise CallTimeout(self.name, limit or 0.0)
        return future.result()

    def __repr__(self) -> str:
        return f"<DaemonThreads {self.name} {self.busy} of {self.limit} busy>"


def _seen(future: asyncio.Future[Any]) -> None:
    # An error that nobody waits for any more is no news for asyncio's exception handler.
    if not future.cancelled():
        future.exception()
