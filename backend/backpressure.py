"""Back-pressure in four layers, with one front: `BoundedQueue`.

1. `pressure/buffer.py`, `Buffer`: it holds at most `capacity` items.
2. `pressure/line.py` and `arrival.py`, `WaitingLine`: a producer waits for room, first come first served, at most
   `put_timeout`.
3. `pressure/buffer.py`, `RoomMaker`: then room is made, by conflating by key, else by dropping the oldest item that
   may be dropped.
4. `pressure/throttle.py`, `Throttle`: producers are slowed by fill, in zones with hysteresis.

Everything here belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Iterable
from typing import Any, Final, Generic, Literal, TypeVar

from .pressure.arrival import Arrival, Arrivals, wait_for_room
from .pressure.buffer import Buffer, KeyOf, Marked, RoomMaker
from .pressure.line import Sleep, WaitingLine, WakeReason, make_timer
from .pressure.statistics import QueueStatistics, add_bounded
from .pressure.throttle import UNTHROTTLED, Throttle, ThrottlePlan, Zone, pause_in_all

__all__ = [
    "FAST_PATH",
    "UNTHROTTLED",
    "BoundedQueue",
    "OnZone",
    "QueueClosed",
    "QueueFull",
    "QueueStatistics",
    "ThrottlePlan",
    "Zone",
    "add_bounded",
    "put_in_all",
]

T = TypeVar("T")
OnZone = Callable[[str, Zone, Zone, float], object]
"""`on_zone(name, zone, was, fill)`: told of a queue that changed its zone."""

FAST_PATH: Final = 512
"""Of so many appends in a row by the fast path, at least one takes the slow path, so that the loop gets its turn."""

logger = logging.getLogger("copilot_pulse.backpressure")


class QueueFull(asyncio.QueueFull):
    """Raised when an item is put without waiting and there is no room."""

    def __init__(self, name: str, capacity: int) -> None:
        super().__init__(f"the queue {name!r} holds {capacity} items, which is all it may")


class QueueClosed(RuntimeError):
    """Raised when an item is put into a closed queue, or taken from a closed queue that is empty."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the queue {name!r} is closed")


class BoundedQueue(Generic[T]):
    """A bounded first-in, first-out queue with all four layers. For the loop's thread.

    capacity: items that it holds. name: for errors, logs and statistics. put_timeout: seconds that `put()` waits for
    room before room is made; may be changed at any time. throttle: a `ThrottlePlan` or the name of a mode;
    `UNTHROTTLED` reports zones but never delays.
    key(item), essential(item): an item's key for conflation, and whether it must not be dropped to make room (it is
    lost only if offered to a queue that holds twice its capacity, or by a close); both can also be given with
    each put. conflate: "full" replaces an older item with the same key only once the queue
    is full and `put_timeout` has passed; "always" does it at once, so that a reader finds at most the newest of each
    key. label(item): the word under which a dropped item is counted; on_drop(item) is told of it. on_zone(name, zone,
    was, fill) is called at each change of zone, on_throttle(name, change), at most once a second, with what the
    throttle's model decides; one of them that raises is logged. slice_seconds: a consumer or producer that never has
    to wait still lets the loop turn this often. clock and sleep: the outside world, for tests.

    Order is kept among items that stay. No item is lost or doubled by a cancel: see `put()` and `get()`.

    The fast path (for code on the hot path): as long as `len(queue.items) < queue.limit`, appending to
    `queue.items` is all that a put has to do. Whatever needs more than that (a sleeping consumer, a zone that
    changes or delays, a producer in line, a close) lowers `limit`, and `put_nowait()` and the others do it.
    Who puts there without waiting counts itself in `queue.nowait`.
    """

    __slots__ = (
        "_conflate_always",
        "_consumers",
        "_joiners",
        "_overflow",
        "_refused",
        "_slice",
        "_turn",
        "arrivals",
        "attention",
        "buffer",
        "capacity",
        "clock",
        "closed",
        "in_hand",
        "items",
        "limit",
        "name",
        "nowait",
        "on_throttle",
        "on_zone",
        "peak",
        "producers",
        "put_timeout",
        "room",
        "settle_by",
        "throttle",
        "timer",
        "unwanted",
        "wake",
    )  # fmt: skip

    def __init__(
        self,
        capacity: int = 1000,
        *,
        name: str = "queue",
        put_timeout: float = 5.0,
        throttle: ThrottlePlan | str | None = None,
        key: KeyOf | None = None,
        essential: Callable[[Any], bool] | None = None,
        conflate: Literal["full", "always"] = "full",
        label: Callable[[Any], str] | None = None,
        on_drop: Callable[[Any], object] | None = None,
        on_zone: OnZone | None = None,
        on_throttle: Callable[[str, dict[str, Any]], object] | None = None,
        slice_seconds: float = 0.005,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep | None = None,
    ) -> None:
        timer = self.timer = make_timer(sleep)
        self.name = name
        self.capacity = capacity
        self.put_timeout = put_timeout
        self.on_zone = on_zone
        self.on_throttle = on_throttle
        self.clock = clock
        self.throttle = Throttle(capacity, ThrottlePlan.of(throttle), clock=clock, timer=timer, counts=self._counts)
        self.buffer: Buffer[T] = Buffer(capacity)
        self.room: RoomMaker[T] = RoomMaker(self.buffer, key=key, essential=essential, label=label, on_drop=on_drop)
        self._conflate_always = conflate == "always"
        self.producers = WaitingLine(timer, self._settle)
        self.arrivals = Arrivals()
        self._consumers = WaitingLine(timer, self._promise_again)
        self._joiners: list[asyncio.Future[None]] = []
        self._slice = slice_seconds
        self._turn = float("-inf")
        self._refused = 0
        self._overflow = 0
        self.items: deque[Any] = self.buffer.items
        self.peak = 0
        self.nowait = 0  # puts so far that could not wait; the throttle's model wants to know
        self.closed = False
        self.unwanted = False  # True once its consumers have closed it: what is left then is no loss
        # The rest is shared with the owner of a mailbox (bus/mailbox.py), who consumes without get():
        self.in_hand = 0  # 1 while an item is in its handler's hands: it still counts against the capacity
        self.wake: Callable[[], None] | None = None  # a sleeping owner sets it, and the next put calls it
        self.attention = False  # whoever takes an item has to call settle() afterwards
        self.settle_by = float("-inf")  # when the owner has to settle() at the latest, by the clock
        self.limit = 0
        if self._conflate_always:
            self.room.build_index()
        self._settle()

    # -- putting ---------------------------------------------------------------------------------------

    async def put(self, item: T, key: Hashable | None = None, essential: bool = False) -> None:
        """Put an item: throttled by fill, then, if there is no room, waiting for it, then making it.

        After `put_timeout` seconds without room a waiting item with the same key is replaced, or the oldest
        item that is not essential dropped; if all are essential, it waits on. If a newer item with the same
        key gets in while this one waits, this one counts as replaced by it, and the wait is over. Lets the
        loop turn every `slice_seconds`, even if there is always room. A cancel at any point raises
        CancelledError and the item has not been put. Raises QueueClosed, also when closed while waiting.
        """
        entry = _entry(item, key, essential)
        if self.closed:
            raise QueueClosed(self.name)
        overdue = self.clock() - self._turn >= self._slice
        if not overdue and (self.try_conflate(entry) or (not self.throttle.delaying and self.try_append(entry))):
            return
        with Arrival(self, entry) as arrival:
            if overdue:
                await asyncio.sleep(0)
                self._turn = self.clock()
            if arrival.try_in(patient=True) is None:
                if self.throttle.delaying:
                    await self.throttle.pause()
                await wait_for_room((arrival,), self.put_timeout)
        if not arrival.inside:
            raise QueueClosed(self.name)

    def put_nowait(self, item: T, key: Hashable | None = None, essential: bool = False) -> None:
        """Put an item if there is room now. Raises QueueFull if there is none, QueueClosed if closed."""
        entry = _entry(item, key, essential)
        if self.closed:
            raise QueueClosed(self.name)
        self.nowait += 1
        if not self.try_conflate(entry) and not self.try_append(entry):
            raise QueueFull(self.name, self.capacity)

    def offer(self, item: T, key: Hashable | None = None, essential: bool = False) -> bool:
        """Put an item without ever waiting or raising: if there is no room, make some at once (layer 3).

        An essential item is let in beyond the capacity if nothing can be dropped for it, up to twice the
        capacity: a consumer that is stuck for ever must not fill the memory. Returns False if the item was
        not taken in; it is then counted in `refused` and `dropped_by_type`. On a closed queue too.
        """
        entry = _entry(item, key, essential)
        if not self.closed:
            self.nowait += 1
            if self.try_conflate(entry) or self.try_append(entry) or self.make_room(entry):
                return True
            if self.room.is_essential(entry) and len(self.items) < 2 * self.capacity:
                self._overflow += 1
                self.append(entry)
                return True
        self.refuse(entry)
        return False

    # -- taking ----------------------------------------------------------------------------------------

    async def get(self) -> T:
        """The oldest item; waits if there is none.

        A cancel raises CancelledError and no item has been taken. Raises QueueClosed when the queue is closed
        and empty. Lets the loop turn every `slice_seconds`, even if there is always an item.
        """
        if self._available() and self.clock() - self._turn >= self._slice:
            await asyncio.sleep(0)
            self._turn = self.clock()
        while not self._available():
            if self.closed and not self.items:  # what is promised to others may yet come back
                raise QueueClosed(self.name)
            with self._consumers.enter() as ticket:
                self._settle()
                why = await ticket.wait()
                self._turn = self.clock()
                if why is WakeReason.GRANTED:
                    ticket.use()
                    if self.items:
                        break
        return self._take()

    def __aiter__(self) -> BoundedQueue[T]:
        """`async for item in queue`: ends when the queue is closed and empty."""
        return self

    async def __anext__(self) -> T:
        try:
            return await self.get()
        except QueueClosed:
            raise StopAsyncIteration from None

    # -- the whole -------------------------------------------------------------------------------------

    def close(self, *, discard: bool = False, counted: bool = True) -> None:
        """Take no more items. Consumers get what is there, unless `discard`, which drops (and counts) it.

        Not `counted`: nobody wants the discarded items any more, they are no drops by type. Waiting producers
        raise QueueClosed; waiting consumers too, once it is empty. Closing again is fine.
        """
        self.closed = True
        if not counted:
            self.unwanted = True
        if discard:
            self.room.clear(counted=counted)
        self.producers.close()
        self.throttle.release(go=True)
        self._settle()
        # A producer that broke off between its item and the promise of it has left a consumer waiting.
        while self._consumers.tickets and self._available():
            self._consumers.grant()
        if not self.items:
            self._consumers.close()

    async def join(self) -> None:
        """Wait until the queue is empty and its owner has finished the item in hand. A cancel changes nothing."""
        while self.items or self.in_hand:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._joiners.append(future)
            self._settle()
            try:
                await future
            finally:
                if future in self._joiners:
                    self._joiners.remove(future)

    def statistics(self) -> QueueStatistics:
        """A snapshot of the figures; see `QueueStatistics`."""
        size = len(self.items) + self.in_hand
        taken = self.buffer.taken - self.in_hand
        return QueueStatistics(
            name=self.name,
            size=size,
            capacity=self.capacity,
            fill=size / self.capacity,
            zone=self.throttle.zone.value,
            peak=max(self.peak, size),
            put=taken + size + self.buffer.dropped + self.room.conflated,
            taken=taken,
            conflated=self.room.conflated,
            dropped=self.buffer.dropped + self._refused,
            refused=self._refused,
            overflow=self._overflow,
            dropped_by_type=dict(self.room.dropped_by_type),
            waiting_producers=len(self.producers),
            waiting_consumers=len(self._consumers),
            throttled=self.throttle.count,
            throttled_now=self.throttle.waiting,
            throttled_seconds=self.throttle.seconds,
            reaction_seconds=self.throttle.reaction,
            throttle=self.throttle.statistics(),
            closed=self.closed,
        )

    @property
    def awaited(self) -> bool:
        """Whether a task waits for the queue to get emptier."""
        return bool(self._joiners or self.producers.tickets or self.throttle.waiting)

    def __len__(self) -> int:
        return len(self.items)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        state = "closed" if self.closed else self.throttle.zone.value
        return f"<BoundedQueue {self.name!r} {len(self.items) + self.in_hand}/{self.capacity} {state}>"

    # -- for those who bring and take items themselves: arrivals, `put_in_all()`, the event bus's mailboxes --

    def try_in(self, arrival: Arrival, *, patient: bool) -> bool | None:
        """Decide about an entry that waits: True if it is in (or out of date), False if closed, None: wait on."""
        if arrival.overtaken:
            self.room.conflated += 1
            return True
        if self.closed:
            return False
        if self.try_conflate(arrival.entry, arrival):
            return True
        if arrival.use_place():
            self.append(arrival.entry, arrival)
            return True
        return True if not patient and self.make_room(arrival.entry, arrival) else None

    def try_append(self, entry: Any) -> bool:
        """Append if there is room that nobody else waits for. `entry` is an item, or a `Marked` one."""
        if self.closed or self.producers.tickets or not self._has_room():
            return False
        self.append(entry)
        return True

    def try_conflate(self, entry: Any, arrival: Arrival | None = None) -> bool:
        """Replace an older item with the same key, if this queue does that without being full."""
        return self._conflate_always and self._conflate(entry, arrival)

    def make_room(self, entry: Any, arrival: Arrival | None = None) -> bool:
        """Layer 3 for an entry; True if it is in the queue now."""
        if self._conflate(entry, arrival):
            self._settle()
            return True
        if self.room.drop_oldest():
            self.append(entry, arrival)
            return True
        return False

    def append(self, entry: Any, arrival: Arrival | None = None) -> None:
        """Append an entry, whatever there is room for."""
        self.items.append(entry)
        if self.room.active:
            self.room.added(entry)
        if self.arrivals:
            self.arrivals.got_in(self.room.key_of(entry), arrival)
        if self._consumers.tickets:
            self._consumers.grant()
        if self.wake is not None:
            self.wake()
        self._settle()

    def refuse(self, entry: Any) -> None:
        """Count an entry that did not get in as lost."""
        self._refused += 1
        self.room.count_lost(entry)

    def settle(self) -> bool:
        """See to all that depends on the level, for the owner who popped from `items`. True: a producer goes on."""
        waiting = self.throttle.waiting + len(self.producers)
        self._settle()
        return self.throttle.waiting + len(self.producers) < waiting

    # -- inside ----------------------------------------------------------------------------------------

    def _counts(self) -> tuple[int, int, int]:
        """Items taken; items lost, replaced or refused; and puts that could not wait, so far."""
        buffer = self.buffer
        return buffer.taken - self.in_hand, buffer.dropped + self._refused + self.room.conflated, self.nowait

    def _has_room(self) -> bool:
        return len(self.items) + self.in_hand + self.producers.reserved < self.capacity

    def _available(self) -> bool:
        """Whether there is an item that is not promised to a waiting consumer."""
        return len(self.items) > self._consumers.reserved

    def _conflate(self, entry: Any, arrival: Arrival | None) -> bool:
        if not self.room.conflate(entry):
            return False
        if self.arrivals:
            self.arrivals.got_in(self.room.key_of(entry), arrival)
        return True

    def _take(self) -> T:
        item = self.buffer.take()
        if self.attention or self.closed:
            self._settle()
            if self.closed and not self.items:
                self._consumers.close()
        return item

    def _promise_again(self) -> None:
        """A consumer that was promised an item was cancelled: promise it to the next."""
        if self._available():
            self._consumers.grant()
        self._settle()

    def _settle(self) -> None:
        """Bring everything that depends on the level up to date. Every slow path ends here."""
        level = len(self.items) + self.in_hand
        if level > self.peak:
            self.peak = level
        throttle, producers, room = self.throttle, self.producers, self.room
        was = throttle.note(level)
        while producers.tickets and self._has_room():
            producers.grant()
        if not level and self._joiners:
            for future in self._joiners:
                if not future.done():
                    future.set_result(None)
        if room.active and throttle.zone is not Zone.DEGRADED and not self._conflate_always:
            room.drop_index()
        waiting = bool(producers.tickets) or producers.reserved > 0
        self.attention = (
            waiting or room.active or throttle.delaying or throttle.zone is not Zone.GREEN or bool(self._joiners)
        )
        if self.attention:
            self.settle_by = float("-inf")
        if (
            waiting or room.active or throttle.delaying or self.wake is not None or self._consumers.tickets
            or self.closed
        ):  # fmt: skip
            self.limit = 0
        else:
            # A level that would be a new peak or enter another zone takes the slow path, and is seen there; in a
            # large queue also now and then, to see that the loop gets its turn.
            self.limit = min(throttle.ceiling, self.peak, self.capacity, level + FAST_PATH) - self.in_hand
        if was is not None and self.on_zone is not None:
            self._report("on_zone", self.on_zone, throttle.zone, was, level / self.capacity)
        if throttle.news is not None:
            news = throttle.take_news()
            if self.on_throttle is not None:
                self._report("on_throttle", self.on_throttle, news)

    def _report(self, what: str, hook: Callable[..., object], *arguments: object) -> None:
        try:
            hook(self.name, *arguments)
        except Exception as error:
            logger.error("%s of the queue %s failed: %s", what, self.name, type(error).__name__)


def put_in_all(queues: Iterable[BoundedQueue[Any]], item: Any, put_timeout: float) -> Coroutine[Any, Any, None] | None:
    """Put one item into several queues at once; await what is returned, unless it is None.

    A queue with room has the item when this returns, so one full queue holds up the producer, but not the
    item on its way to the others. What is left to wait for: room in all the full ones at the same time (each
    gets the item as soon as it has room; after `put_timeout` seconds room is made), then the pauses of all
    throttles, also at the same time. Closed queues get nothing; one that closes while its item waits counts
    that as a loss, unless its items are not wanted any more. A cancel: queues that have not got the item yet
    don't get it, all others have it.
    """
    still_open = [queue for queue in queues if not queue.closed]
    full = [queue for queue in still_open if not queue.try_append(item)]
    delaying = [queue for queue in still_open if queue.throttle.delaying and not queue.closed]
    if not full and not delaying:
        return None
    return _wait_in_all(full, delaying, item, put_timeout, still_open[0].clock())


async def _wait_in_all(
    full: list[BoundedQueue[Any]], delaying: list[BoundedQueue[Any]], item: Any, put_timeout: float, came: float
) -> None:
    """Pauses count from `came`: the producer waits as long as the fullest queue asks, not as all together."""
    if full:
        for queue in delaying:
            queue.throttle.reacted(came)
        arrivals = {Arrival(queue, item): queue for queue in full}
        await wait_for_room(list(arrivals), put_timeout)
        for arrival, queue in arrivals.items():
            if not arrival.inside and not queue.unwanted:
                queue.refuse(item)
        delaying = [queue for queue in delaying if not queue.closed]
    if delaying:
        await pause_in_all((queue.throttle for queue in delaying), came)


def _entry(item: Any, key: Hashable | None, essential: bool) -> Any:
    return item if key is None and not essential else Marked(item, key, essential)
