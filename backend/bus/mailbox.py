"""A mailbox: the bounded queue of one `async def` handler, and the task that drains it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, cast

from ..backpressure import BoundedQueue
from .event import Event

# While somebody waits for room, or the zone is not green, the drain looks after them between two events if this
# much time has gone: soon enough that a waiting publisher loses little, seldom enough for a handler that is faster.
ATTENTION_SECONDS: Final = 0.00015


class _DrainTask(asyncio.Task[None]):
    """The task of a mailbox, which it tells when somebody asks it to end."""

    def __init__(self, mailbox: Mailbox, coroutine: Coroutine[Any, Any, None], **kwargs: Any) -> None:
        self._mailbox = mailbox
        self._requests = 0
        super().__init__(coroutine, **kwargs)

    def cancel(self, msg: Any = None) -> bool:
        if self is self._mailbox.task and not self.done():
            self._requests += 1
            self._mailbox.asked_to_end()
        return super().cancel(msg)

    if sys.version_info < (3, 11):

        def cancelling(self) -> int:
            """As every task has it from Python 3.11 on; here nobody takes a request back."""
            return self._requests


class Mailbox:
    """Feeds one handler from one queue, in order, one event at a time. For the loop's thread.

    The task is made when the first event comes, runs in the context (contextvars) in which the handler was
    subscribed, and sleeps between events. A handler that raises costs its event only; `failed` is told, or
    `cancelled`, if it ends because the task was cancelled. If somebody else cancels the task, it ends,
    whatever the handler makes of the cancel, and the next event (or whoever waits for this mailbox) starts a
    new one; an event that was in the handler's hands then is not delivered again. A task whose loop has
    stopped or was closed gives way to one on the loop that runs.

    Who looks after the queue: while a task is at work, nobody has to wake it. Otherwise `queue.wake` is set
    (`_rest()`), and the next put calls it; it is taken away once a task has been seen to (`_wake()`).
    """

    __slots__ = (
        "_cancelled", "_context", "_failed", "_handler", "_late", "_sampled", "_sleeper", "_slice", "_slice_end",
        "ended", "queue", "retired", "task",
    )  # fmt: skip

    def __init__(
        self,
        queue: BoundedQueue[Event],
        handler: Callable[[Event], Awaitable[object]],
        *,
        failed: Callable[[Event, BaseException], None],
        cancelled: Callable[[], None],
        sampled: Callable[[float], None],
        slice_seconds: float,
    ) -> None:
        self.queue = queue
        self._handler = handler
        self._failed = failed
        self._cancelled = cancelled
        self._sampled = sampled
        self._slice = slice_seconds
        self._slice_end = 0.0
        self._context = contextvars.copy_context()
        self._sleeper: asyncio.Future[None] | None = None
        self._late = False  # an event came after the task had been asked to end
        self.task: asyncio.Task[None] | None = None
        self.retired = False
        self.ended: Callable[[], object] | None = None  # called when a retired mailbox has nothing more to do
        self._rest()

    @property
    def busy(self) -> bool:
        """Whether an event waits or is being handled."""
        return bool(self.queue.items) or self.queue.in_hand > 0

    @property
    def over(self) -> bool:
        """Whether there is nothing more to do: it is retired, empty, and its task has ended."""
        return self.retired and self.task is None and not self.queue.items

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
        """See that what waits is delivered, should the task have been cancelled, or its loop be gone."""
        if self.task is not None and self.task.get_loop().is_closed():
            self._ended(self.task)
        if self.queue.items and self.queue.wake is not None:
            self._wake()
            self.queue.settle()

    # -- is there a task at work? --------------------------------------------------------------------

    def _rest(self) -> None:
        """Nobody looks after the queue from now on: the next put has to call."""
        self.queue.in_hand = 0
        self.queue.wake = self._wake
        self.queue.settle()

    def _wake(self) -> None:
        """An event lies in the queue that nobody looks after: see that a task does, if there is a loop for it.

        Without one (it doesn't run yet, or this is another thread) the event lies there until the next call.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        task = self.task
        if task is None or task.done() or (task.get_loop() is not loop and not task.get_loop().is_running()):
            self._start(loop)
        elif task.get_loop() is loop:
            self._late = True
            self._rouse()
        else:
            return
        self.queue.wake = None

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._late = False
        self._sleeper = None
        # A task object rather than create_task(): an eager task factory would run the handler right here,
        # in the middle of the publisher.
        self.task = self._context.run(
            lambda: _DrainTask(self, self._drain(), loop=loop, name=f"mailbox of {self.queue.name}")
        )
        self.task.add_done_callback(self._ended)

    def _rouse(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def asked_to_end(self) -> None:
        """For the task: somebody cancels it; or a time limit in the handler does, and will take that back."""
        self._late = False
        self.queue.wake, self.queue.limit = self._wake, 0
        self.queue.settle_by = float("-inf")

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The task has ended: by its end, by a cancel (perhaps before it ever ran), or with its loop."""
        if task is not self.task:
            return  # it belonged to another loop, and has been replaced
        self.task = self._sleeper = None
        self._rest()
        # Not what lay there before the cancel, if nobody waits for that: at the end of the loop everything is
        # cancelled, and a new task would be one too many.
        if self._late or self.queue.awaited:
            self.kick()
        if self.over and self.ended is not None:
            self.ended()

    # -- the task ------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        queue, handler = self.queue, self._handler
        oldest, clock = queue.buffer.oldest, queue.clock
        while True:
            self._begin_slice()
            try:
                for event in oldest:
                    try:
                        await handler(event)
                    except Exception as error:
                        self._failed(event, error)
                    except asyncio.CancelledError as error:
                        if self._cancelling():
                            self._cancelled()
                            raise
                        self._failed(event, error)  # the handler ran into it by itself
                    if clock() >= queue.settle_by:
                        await self._settle()
            except IndexError:
                queue.buffer.missed()
            event = None  # an idle mailbox holds on to nobody's data
            if self.retired:
                return
            self._sleeper = asyncio.get_running_loop().create_future()
            self._rest()
            await self._sleeper

    def _cancelling(self) -> bool:
        return cast(_DrainTask, asyncio.current_task()).cancelling() > 0

    def _begin_slice(self) -> None:
        """The loop has just turned: settle the queue's level, sample the age of the next event."""
        queue = self.queue
        queue.in_hand = 0
        queue.settle()
        now = queue.clock()
        self._slice_end = now + self._slice
        if queue.items:
            self._sampled(now - queue.items[0].time)
        self._next_in_hand(now)

    def _next_in_hand(self, now: float) -> None:
        """The next event is popped right after this: it stays part of the level."""
        queue = self.queue
        queue.in_hand = 1
        queue.limit -= 1
        queue.settle_by = min(self._slice_end, now + ATTENTION_SECONDS) if queue.attention else self._slice_end

    async def _settle(self) -> None:
        """Between two events: see to publishers that wait; let the loop turn if one can go on, or the slice is over."""
        queue = self.queue
        queue.in_hand = 0
        if self._cancelling():
            # The handler has swallowed the cancel, or made another error of it. The loop may be at its end and wait
            # for this task; if it is not, a new one takes over.
            self._late = True
            raise asyncio.CancelledError
        now = queue.clock()
        if queue.settle() or now >= self._slice_end:
            await asyncio.sleep(0)
            self._begin_slice()
        else:
            self._next_in_hand(now)
