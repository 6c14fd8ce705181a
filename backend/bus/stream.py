"""Pull instead of push: the events of a pattern as an asynchronous iterator."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from ..backpressure import BoundedQueue, QueueClosed
from .event import Event


class EventStream:
    """The events that match a pattern, from the moment it is entered (or first iterated) on.

        async with bus.stream("chat.*") as events:
            async for event in events:
                ...

    It has a bounded queue like a mailbox, so `publish()` slows down for a slow reader; `publish_nowait()`
    drops its oldest events. Iteration ends when the bus closes. Leaving the block, `aclose()`, and simply
    forgetting the stream all unsubscribe it. A cancel while waiting for an event loses none. Several tasks
    may read from one stream; each event goes to one of them. For the loop's thread. Entering it (or its first
    iteration) raises RuntimeError if the bus is closed.
    """

    def __init__(
        self, open_: Callable[[], tuple[BoundedQueue[Event], Callable[[], object], Callable[[], object]]]
    ) -> None:
        self._open = open_
        self._queue: BoundedQueue[Event] | None = None
        self._leave: Callable[[], object] | None = None
        self._abandon: Callable[[], object] | None = None
        self._closed = False

    async def __aenter__(self) -> EventStream:
        self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> EventStream:
        self._enter()
        return self

    async def __anext__(self) -> Event:
        """The next event; waits for one. Raises StopAsyncIteration once the stream or the bus is closed."""
        queue = self._enter()
        if queue is None:
            raise StopAsyncIteration
        try:
            return await queue.get()
        except QueueClosed:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Unsubscribe, and drop what was not read. Doesn't wait; closing again is fine."""
        self._closed = True
        leave, self._leave, self._abandon = self._leave, None, None
        if leave is not None:
            leave()

    async def aclose(self) -> None:
        """The same as `close()`, for `contextlib.aclosing()`."""
        self.close()

    def __del__(self) -> None:
        # The bus knows the queue, not the stream, so a forgotten stream gets here. The garbage collector may
        # run in any thread; `_abandon` sees to that.
        abandon = getattr(self, "_abandon", None)
        if abandon is not None:
            abandon()

    def _enter(self) -> BoundedQueue[Event] | None:
        if self._queue is None and not self._closed:
            self._queue, self._leave, self._abandon = self._open()
        return self._queue
