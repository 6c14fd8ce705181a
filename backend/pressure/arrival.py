"""Layers 2 and 3 for an item that finds no room, in one queue or in several at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from types import TracebackType
from typing import Any, Protocol

from .buffer import RoomMaker
from .line import Ticket, Timer, Waiter, WaitingLine, WakeReason


class Destination(Protocol):
    """What an arrival needs of the queue that it is for; `BoundedQueue` has it."""

    arrivals: Arrivals
    clock: Callable[[], float]
    producers: WaitingLine
    room: RoomMaker[Any]
    timer: Timer

    def settle(self) -> object:
        """Grant the room that there is to those who wait for it."""

    def try_in(self, arrival: Arrival, *, patient: bool) -> bool | None:
        """Let the entry in, if that is possible now; see `Arrival.inside` for what is returned."""


class Arrivals:
    """The entries with a key on their way into one queue, in the order in which they came.

    A newer entry may get past them: it can conflate, or make room, while they wait. Then they are out of date,
    and must neither replace it nor come after it.
    """

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[Hashable, dict[Arrival, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def add(self, arrival: Arrival) -> None:
        """The newest one."""
        self._by_key.setdefault(arrival.key, {})[arrival] = None

    def discard(self, arrival: Arrival) -> None:
        """It is in, or gives up."""
        same = self._by_key.get(arrival.key)
        if same is not None:
            same.pop(arrival, None)
            if not same:
                del self._by_key[arrival.key]

    def got_in(self, key: Hashable, arrival: Arrival | None) -> None:
        """An entry with this key is in the queue now: `arrival`, or one that did not have to wait."""
        for other in self._by_key.get(key, ()):
            if other is arrival:
                return
            other.overtake()


class Arrival:
    """One entry on its way into one queue. A context manager: leaving it gives up what it has not used.

    `inside` says how it went: True if the queue has the entry (or a newer one with its key), False if it was
    closed, None as long as the entry waits. `overtaken`: a newer entry with its key got in before it.
    """

    __slots__ = ("_ticket", "_waiter", "entry", "inside", "key", "overtaken", "queue")

    def __init__(self, queue: Destination, entry: Any) -> None:
        self.queue = queue
        self.entry = entry
        self.inside: bool | None = None
        self.key = queue.room.key_of(entry)
        self._waiter: Waiter | None = None
        self._ticket: Ticket | None = None
        self.overtaken = False
        if self.key is not None:
            queue.arrivals.add(self)

    def __enter__(self) -> Arrival:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def line_up(self, waiter: Waiter) -> None:
        """Stand in the queue's line. If there is room already, a place is granted at once."""
        self._waiter = waiter
        self._ticket = self.queue.producers.enter(waiter)
        self.queue.settle()

    def try_in(self, *, patient: bool) -> bool | None:
        """Let the entry in, if that is possible now; if not `patient`, by making room. Returns `inside`."""
        if self.inside is None:
            self.inside = self.queue.try_in(self, patient=patient)
            if self.inside is not None:
                self.leave()
        return self.inside

    def use_place(self) -> bool:
        """For the queue: the entry takes the place that was granted to it. False if none was."""
        if self._ticket is None or self._ticket.news is not WakeReason.GRANTED:
            return False
        self._ticket.use()
        return True

    def overtake(self) -> None:
        """A newer entry with the same key got in. An essential entry waits on: it may not be lost."""
        if not self.queue.room.is_essential(self.entry):
            self.overtaken = True
            if self._waiter is not None:
                self._waiter.wake()

    def leave(self) -> None:
        """Nobody waits with this entry any more. Leaving again is fine."""
        if self.key is not None:
            self.queue.arrivals.discard(self)
        if self._ticket is not None:
            self._ticket.leave()


async def wait_for_room(arrivals: Sequence[Arrival], timeout: float) -> None:
    """Stand in the lines of all these queues at once, until each entry is in (see `Arrival.inside`).

    A queue gets its entry as soon as it has room, whatever the others do. After `timeout` seconds room is made
    where there is none yet; where nothing may be dropped, it is waited for without limit. A cancel leaves all
    lines: queues that have not got their entry yet don't get it.
    """
    waiting = list(arrivals)
    clock, waiter = waiting[0].queue.clock, Waiter(waiting[0].queue.timer)
    end, patient = clock() + timeout, True
    try:
        for arrival in waiting:
            arrival.line_up(waiter)
        while waiting := [arrival for arrival in waiting if arrival.try_in(patient=patient) is None]:
            if patient:
                patient = await waiter.wait(max(0.0, end - clock()))
            else:
                await waiter.wait()
    finally:
        for arrival in arrivals:
            arrival.leave()
