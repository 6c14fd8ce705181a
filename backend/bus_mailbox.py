"""A mailbox: the bounded queue of one `async def` handler, and the task that drains it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .backpressure import BoundedQueue
from .bus_event import Event

# While somebody waits for room, or the zone is not green, the drain looks after them this often. Often
# enough that a waiting publisher loses little; seldom enough that it costs a fast handler nothing.
ATTENTION_SECONDS: Final = 0.00015
MAX_BETWEEN: Final = 32

if sys.version_info >= (3, 11):
    _DrainTask = asyncio.Task
else:

    class _DrainTask(asyncio.Task):  # type: ignore[type-arg]
        """Counts cancel requests, as every task does from Python 3.11 on."""

        _asked = 0

        def cancel(self, msg: Any = None) -> bool:
            self._asked += 1
            return super().cancel(msg)

        def cancelling(self) -> int:
            return self._asked


class Mailbox:
    """Feeds one handler from one queue, in order, one event at a time. For the loop's thread.

    The task is made when the first event comes, runs in the context (contextvars) in which the handler was
    subscribed, and sleeps between events. A handler that raises costs its event only; `failed` is told. If
    somebody else cancels the task, it ends, and the next event (or whoever waits for this mailbox) starts a
    new one; an event that was in the handler's hands then is not delivered again.
    """

    __slots__ = (
        "_context", "_failed", "_handler", "_sampled", "_sleeper", "_slice", "_slice_end", "queue", "retired",
        "task",
    )  # fmt: skip

    def __init__(
        self,
        queue: BoundedQueue[Event],
        handler: Callable[[Event], Awaitable[object]],
        *,
        failed: Callable[[Event, BaseException], None],
        sampled: Callable[[float], None],
        slice_seconds: float,
    ) -> None:
        self.queue = queue
        self._handler = handler
        self._failed = failed
        self._sampled = sampled
        self._slice = slice_seconds
        self._slice_end = 0.0
        self._context = contextvars.copy_context()
        self._sleeper: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.retired = False
        queue.wake = self._wake
        queue.settle()

    @property
    def busy(self) -> bool:
        """Whether an event waits or is being handled."""
        return bool(self.queue.items) or self.queue.held > 0

    def retire(self, *, counted: bool) -> None:
        """Deliver nothing more; a handler at work finishes its event. Doesn't wait.

        What waits is dropped, and, if `counted`, that is counted as a loss.
        """
        self.retired = True
        self.queue.close(discard=True, counted=counted)
        self._rouse()

    def finish(self) -> None:
        """Take in nothing more, deliver what is there, then end the task. Doesn't wait."""
        self.retired = True
        self.queue.close()
        if self.queue.items:
            self.kick()
        else:
            self._rouse()

    def kick(self) -> None:
        """See that what waits is delivered, should the task have been cancelled by somebody else."""
        if self.queue.items and self.queue.wake is not None:
            self.queue.wake = None
            self._wake()
            self.queue.settle()

    def _rouse(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def _wake(self) -> None:
        """An event lies in the empty queue."""
        if self.task is None or self.task.done():
            loop = asyncio.get_running_loop()
            # A task object rather than create_task(): an eager task factory would run the handler right here,
            # in the middle of the publisher.
            self.task = self._context.run(
                lambda: _DrainTask(self._drain(), loop=loop, name=f"mailbox of {self.queue.name}")
            )
        else:
            self._rouse()

    async def _drain(self) -> None:
        queue, handler = self.queue, self._handler
        buffer, items, popleft, clock = queue.buffer, queue.items, queue.items.popleft, queue.clock
        between, seconds_each = 1, self._slice / MAX_BETWEEN / 4
        try:
            while True:
                self._begin_slice()
                last = clock()
                while items:
                    # Reading the clock costs as much as a small handler: once in 32 events will do, unless
                    # the handler is slow.
                    for _ in buffer.counted(min(between, len(items))):
                        try:
                            event = popleft()
                        except IndexError:  # the handler closed its own mailbox
                            buffer.not_taken()
                            break
                        try:
                            await handler(event)
                        except Exception as error:
                            self._failed(event, error)
                        except asyncio.CancelledError as error:
                            self._failed(event, error)
                            if _asked_to_stop():
                                raise
                    now = clock()
                    between = MAX_BETWEEN if now - last < between * seconds_each else 1
                    last = now
                    if now >= queue.deadline:
                        await self._look_up()
                event = None  # an idle mailbox holds on to nobody's data
                queue.held = 0
                if self.retired:
                    break
                queue.wake = self._wake
                self._sleeper = asyncio.get_running_loop().create_future()
                queue.settle()
                await self._sleeper
        finally:
            self._sleeper = None
            queue.held = 0
            queue.wake = self._wake
            queue.settle()
            if queue.items:  # cancelled by somebody else, with events waiting
                asyncio.get_running_loop().call_soon(self._kick_if_awaited)

    def _kick_if_awaited(self) -> None:
        # Not otherwise: at the end of the loop everything is cancelled, and a new task would be one too many.
        if self.queue.awaited:
            self.kick()

    def _begin_slice(self) -> None:
        """The loop has just turned, and there are events to handle."""
        self.queue.let_go = 0
        self._slice_end = self.queue.clock() + self._slice
        self._next_in_hand(self._settle())

    def _settle(self) -> float:
        """Between two events: settle the queue's level, sample the age of the next event. Returns the time."""
        queue = self.queue
        queue.held = 0
        queue.settle()
        now = queue.clock()
        if queue.items:
            self._sampled(now - queue.items[0].time)
        return now

    def _next_in_hand(self, now: float) -> None:
        """The next event is popped right after this: it stays part of the level."""
        queue = self.queue
        queue.held = 1
        queue.limit -= 1
        queue.deadline = min(self._slice_end, now + ATTENTION_SECONDS) if queue.attention else self._slice_end

    async def _look_up(self) -> None:
        """See to publishers that wait; let the loop turn if some can go on now, or the slice is over."""
        now = self._settle()
        if self.queue.let_go or now >= self._slice_end:
            await asyncio.sleep(0)
            self._begin_slice()
        else:
            self._next_in_hand(now)


def _asked_to_stop() -> bool:
    """Whether the running task was cancelled, rather than something that the handler waited for."""
    task: Any = asyncio.current_task()
    return bool(task.cancelling())
