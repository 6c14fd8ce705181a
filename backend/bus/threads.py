"""Events from other threads, on their way to the loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from ..backpressure import add_bounded
from .event import Event

INBOX_CAPACITY: Final = 10_000


class LoopGoneError(RuntimeError):
    """Raised when an event cannot be published from a thread, because no loop runs to take it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the event was not published: {why}")


def on_loop(loop: asyncio.AbstractEventLoop | None, call: Callable[[], object]) -> None:
    """Call something on the loop, from any thread; right here, if that loop doesn't run."""
    if loop is not None and loop.is_running():
        try:
            loop.call_soon_threadsafe(call)
            return
        except RuntimeError:  # closed since we looked
            pass
    call()


class Inbox:
    """A bounded, thread-safe queue in front of the bus, that wakes the loop once for a burst of events.

    If the loop is held up so long that `capacity` events wait, further ones are dropped and counted by type;
    essential ones only at twice that number. `essential(event)` is asked in the publisher's thread, with the
    lock held: it must not publish.
    """

    def __init__(
        self,
        deliver: Callable[[Event], None],
        essential: Callable[[Event], bool],
        *,
        capacity: int = INBOX_CAPACITY,
        slice_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._deliver = deliver
        self._essential = essential
        self._capacity = capacity
        self._slice = slice_seconds
        self._clock = clock
        # One that its own thread may take again: the garbage collector runs anywhere, and a `__del__` may publish.
        self._lock = threading.RLock()
        self._events: deque[Event] = deque()
        self._woken: asyncio.AbstractEventLoop | None = None
        self.received = 0
        self.dropped_by_type: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event, loop: asyncio.AbstractEventLoop | None) -> None:
        """Hand an event to `loop`. From any thread; does not wait. Raises LoopGoneError, or TypeError for a wrong type.

        On the loop that would be nobody's error, and the events behind it would wait.
        """
        hash(event.type)
        if loop is None:
            raise LoopGoneError("the bus has not met its event loop yet; call bus.bind() there first")
        if loop.is_closed():
            raise LoopGoneError("its event loop is closed")
        if not loop.is_running():
            raise LoopGoneError("its event loop does not run any more")
        with self._lock:
            waiting = len(self._events)
            if waiting >= self._capacity and (waiting >= 2 * self._capacity or not self._essential(event)):
                self._drop(event)
                return
            if self._woken is not loop:
                try:
                    loop.call_soon_threadsafe(self._run, loop)
                except RuntimeError:  # closed since we looked
                    raise LoopGoneError("its event loop is closed") from None
                self._woken = loop
            self._events.append(event)
            self.received += 1

    async def flush(self, until: float) -> None:
        """Wait until what came is published, at most `until` then (by the clock). On the loop."""
        loop = asyncio.get_running_loop()
        while self._events and self._clock() < until:
            if self._woken is not loop:  # another loop was to do it, and has gone
                self._run(loop)
            await asyncio.sleep(0)

    def empty(self, *, discard: bool) -> None:
        """Publish what came, at once; or drop it, and count that. On the loop."""
        for _ in range(len(self._events)):  # what handlers add meanwhile comes too late
            if discard:
                self._drop(self._events.popleft())
            else:
                self._deliver(self._events.popleft())

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the loop: publish what came, for a slice at most; the rest in the next turn."""
        end = self._clock() + self._slice
        with self._lock:
            self._woken = None
        while self._events:
            self._deliver(self._events.popleft())
            if self._events and self._clock() >= end:
                with self._lock:
                    if self._woken is not loop:
                        self._woken = loop
                        loop.call_soon(self._run, loop)
                return

    def _drop(self, event: Event) -> None:
        add_bounded(self.dropped_by_type, event.type)
