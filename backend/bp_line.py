"""Layer 2: a line in which tasks wait for a place, first come first served, exact under cancellation.

A place that becomes free is *reserved* for the first in line, and stays so until that task has run and used
it. So nobody who comes later can slip in front, and a task that is cancelled after it was granted a place,
but before it ran, gives the place back: no wake-up is lost, and a cancelled task has changed nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from types import TracebackType

from .bp_timer import Cancellable, Timer


class Wake(Enum):
    """Why a waiting task goes on: a place is reserved for it, its time is up, or the line was closed."""

    GRANTED = "granted"
    TIME_UP = "time is up"
    CLOSED = "closed"


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

    def enter(self) -> Ticket:
        """Stand at the end of the line. Use the ticket as a context manager: leaving it cleans up."""
        return Ticket(self)

    def grant(self) -> bool:
        """Reserve a place for the first in line that still waits. False if there is none."""
        while self.tickets:
            ticket, _ = self.tickets.popitem(last=False)
            if ticket.grant():
                self.reserved += 1
                return True
        return False

    def close(self) -> None:
        """Wake everybody with `Wake.CLOSED`."""
        while self.tickets:
            self.tickets.popitem(last=False)[0].wake(Wake.CLOSED)


class Ticket:
    """A task's place in a line; made by `WaitingLine.enter()`."""

    __slots__ = ("_future", "_granted", "_line")

    def __init__(self, line: WaitingLine) -> None:
        self._line = line
        self._future: asyncio.Future[Wake] | None = None
        self._granted = False

    def __enter__(self) -> Ticket:
        self._line.tickets[self] = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.tickets.pop(self, None)
        if self._granted:
            self._granted = False
            self._line.reserved -= 1
            self._line._returned()

    async def wait(self, timeout: float | None = None) -> Wake:
        """Wait until a place is granted, the line is closed, or `timeout` seconds have gone (None: no limit).

        After `Wake.TIME_UP` the ticket keeps its place in line, so `wait()` may be called again. A cancel
        raises CancelledError; leaving the `with` block then gives the place back.
        """
        if self not in self._line.tickets:
            return Wake.GRANTED if self._granted else Wake.CLOSED
        future: asyncio.Future[Wake] = asyncio.get_running_loop().create_future()
        self._future = future
        alarm: Cancellable | None = None
        if timeout is not None:
            alarm = self._line._timer(timeout, self._time_up)
        try:
            why = await future
            # A place may have been granted after the alarm rang and before this task ran.
            return Wake.GRANTED if self._granted else why
        finally:
            self._future = None
            if alarm is not None:
                alarm.cancel()

    def use(self) -> None:
        """The granted place is taken now: it is no longer reserved."""
        self._granted = False
        self._line.reserved -= 1

    def grant(self) -> bool:
        """For the line only: reserve a place for this ticket. False if its task is being cancelled."""
        if self._future is not None and self._future.cancelled():
            return False
        self._granted = True
        self.wake(Wake.GRANTED)
        return True

    def wake(self, why: Wake) -> None:
        """For the line only: let the task go on."""
        if self._future is not None and not self._future.done():
            self._future.set_result(why)

    def _time_up(self) -> None:
        self.wake(Wake.TIME_UP)
