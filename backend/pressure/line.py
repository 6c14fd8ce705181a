"""Layer 2: a line in which tasks wait for a place, first come first served, exact under cancellation.

A place that becomes free is *reserved* for the first in line, and stays so until that task has run and used
it. So nobody who comes later can slip in front, and a task that is cancelled after it was granted a place,
but before it ran, gives the place back: no wake-up is lost, and a cancelled task has changed nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Protocol

Sleep = Callable[[float], Awaitable[object]]


class Cancellable(Protocol):
    """What a timer hands out: `cancel()` keeps it from firing."""

    def cancel(self) -> object: ...


Timer = Callable[[float, Callable[[], object]], Cancellable]
"""`timer(delay, callback)` calls `callback()` on the loop after `delay` seconds, unless cancelled."""


def make_timer(sleep: Sleep | None = None) -> Timer:
    """A timer on the running loop's clock, or, if given, on whatever `sleep(seconds)` waits for."""
    if sleep is None:
        return _loop_timer
    pause = sleep

    def timer(delay: float, callback: Callable[[], object]) -> Cancellable:
        async def run() -> None:
            await pause(delay)
            callback()

        return asyncio.get_running_loop().create_task(run())

    return timer


def _loop_timer(delay: float, callback: Callable[[], object]) -> Cancellable:
    return asyncio.get_running_loop().call_later(delay, callback)


class WakeReason(Enum):
    """Why a waiting task goes on: a place is reserved for it, its time is up, or the line was closed."""

    GRANTED = "granted"
    TIME_UP = "time is up"
    CLOSED = "closed"


class Waiter:
    """Wakes one task that waits for news, from one side or from several at once. For the loop's thread."""

    __slots__ = ("_future", "_timer")

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._future: asyncio.Future[bool] | None = None

    def wake(self, news: bool = True) -> bool:
        """Wake the task; False if it doesn't sleep, its time is up or it is being cancelled. Not kept for later."""
        future = self._future
        if future is None:
            return False
        if future.done():
            return not future.cancelled() and future.result()
        future.set_result(news)
        return True

    async def wait(self, timeout: float | None = None) -> bool:
        """Sleep until somebody calls `wake()`, and return its news; False after `timeout` seconds (None: no limit).

        A `wake()` from before is not remembered. A cancel leaves no timer behind.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._future = future
        timer = None if timeout is None else self._timer(timeout, partial(self.wake, False))
        try:
            return await future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()


class WaitingLine:
    """A first-in, first-out line. For the loop's thread.

    `reserved` counts places granted and not used yet; whoever admits newcomers must leave these free.
    `tickets` are those who stand in line without a place, the first first.
    `returned()` is called when a granted place comes back unused (a cancellation), so that the owner of the
    line can grant it to the next.
    """

    __slots__ = ("_returned", "_timer", "reserved", "tickets")

    def __init__(self, timer: Timer, returned: Callable[[], None]) -> None:
        self.tickets: OrderedDict[Ticket, None] = OrderedDict()
        self._timer = timer
        self._returned = returned
        self.reserved = 0

    def __len__(self) -> int:
        """How many stand in line without a place."""
        return len(self.tickets)

    def enter(self, waiter: Waiter | None = None) -> Ticket:
        """Stand at the end of the line. Use the ticket as a context manager, or `leave()` in the end.

        waiter: what to wake when there is news, for a task that stands in several lines; without one, the
        ticket has its own, and `Ticket.wait()` waits for it.
        """
        ticket = Ticket(self, Waiter(self._timer) if waiter is None else waiter)
        self.tickets[ticket] = None
        return ticket

    def grant(self) -> bool:
        """Reserve a place for the first in line. False if there is none.

        If that task is being cancelled, it gives the place back when it runs.
        """
        if not self.tickets:
            return False
        # It stays in line until it has been told: whoever closes the line tells those who are left.
        first = next(iter(self.tickets))
        first.tell(WakeReason.GRANTED)
        del self.tickets[first]
        self.reserved += 1
        return True

    def close(self) -> None:
        """Wake everybody with `WakeReason.CLOSED`."""
        while self.tickets:
            self.tickets.popitem(last=False)[0].tell(WakeReason.CLOSED)


class Ticket:
    """A task's place in a line; made by `WaitingLine.enter()`. `news` is None as long as it waits."""

    __slots__ = ("_line", "_waiter", "news")

    def __init__(self, line: WaitingLine, waiter: Waiter) -> None:
        self._line = line
        self._waiter = waiter
        self.news: WakeReason | None = None

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    async def wait(self, timeout: float | None = None) -> WakeReason:
        """Wait until a place is granted, the line is closed, or `timeout` seconds have gone (None: no limit).

        After `WakeReason.TIME_UP` the ticket keeps its place in line, so `wait()` may be called again. A cancel
        raises CancelledError; leaving the `with` block then gives the place back.
        """
        if self.news is None:
            await self._waiter.wait(timeout)
        # A place may have been granted after the timer fired and before this task ran.
        return self.news or WakeReason.TIME_UP

    def use(self) -> None:
        """The granted place is taken now: it is no longer reserved."""
        self.news = None
        self._line.reserved -= 1

    def leave(self) -> None:
        """Leave the line; a granted place that was not used goes back. Leaving again is fine."""
        self._line.tickets.pop(self, None)
        if self.news is WakeReason.GRANTED:
            self.news = None
            self._line.reserved -= 1
            self._line._returned()

    def tell(self, news: WakeReason) -> None:
        """For the line only: there is news for the task."""
        self.news = news
        self._waiter.wake()
