"""The routes of the event bus: who gets the events of one type, worked out once and then only looked up.

`EventBus.publish()` finds the route of an event's type in a dictionary. How many other types and subscriptions
there are does not matter. Then:

    plain handlers   The route is the list of them, and publish() calls one after the other. `countdown` falls
                     from some number; below 0 `slow_path` is called, which samples the latency and sees that the
                     loop gets its turn, for a plain handler never makes its publisher wait. If there is just
                     one, `single` is it, which saves a loop of one round. One that raises ends the loop, and
                     `Errors.call_failed()` goes on behind it: a `try` inside of the loop would be an instruction
                     that does nothing for each handler, 2 % of publishing to ten.
    one mailbox      `single` is its queue, and `items` what lies in there. While these are fewer than the queue's
                     `limit`, appending is all there is to do (see "The fast path" of BoundedQueue); otherwise
                     `slow_path` sees to it. In a small mailbox nobody has to look at the clock, for it is full in
                     less than a slice, and makes its publisher wait; a large one lowers its limit so that
                     `slow_path` is called often enough.
    any others       `slow_path` is called for every event after the plain handlers.

With a queue `countdown` starts at 0 and only falls. `counted - countdown` is the number of events published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from ..backpressure import FAST_PATH, BoundedQueue, put_in_all
from .event import DONE, Event
from .settings import BusSettings

Answer = Any
"""DONE or a coroutine for `publish`, None for `publish_nowait`."""
Call = Callable[[Event], object]
Queue = BoundedQueue[Event]
Tick = Callable[[Event], "tuple[int, Answer]"]
"""What to do once in a while: how many events until the next time, and what `publish` is to return."""
PutInQueues = Callable[["tuple[Queue, ...]", Event], Answer]
SlowPath = Callable[["Route", Event], Answer]

# A handler runs without awaiting, so a CancelledError from it is its own (a cancelled future's result, say)
# and not a cancel of the publisher.
CAUGHT: Final = (Exception, asyncio.CancelledError)


class Route(list[Call]):
    """The plain handlers for one event type, whose they are, and what else there is to do.

    An owner that unsubscribes knows its routes weakly, and takes its handler out. A delivery that is under
    way keeps its route alive, even if another one has taken its place meanwhile.
    """

    __slots__ = (
        "__weakref__",
        "_calls",
        "_owners",
        "countdown",
        "counted",
        "items",
        "single",
        "slow_path",
        "slow_path_nowait",
    )

    def __init__(
        self, calls: Iterable[tuple[object, Call]], queue: Queue | None, slow_path: SlowPath, slow_path_nowait: SlowPath
    ) -> None:
        pairs = list(calls)
        super().__init__(_distinct(call for _, call in pairs))
        self._calls = tuple(self)
        self._owners = [owner for owner, _ in pairs]
        self.single: Any = self[0] if queue is None and len(self) == 1 else queue
        self.items = None if queue is None else queue.items
        self.slow_path = slow_path
        self.slow_path_nowait = slow_path_nowait
        self.countdown = 0
        self.counted = 0

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def published(self) -> int:
        """How many events went this way."""
        return self.counted - self.countdown

    def again_after(self, number: int) -> None:
        """`slow_path` is not needed for the next `number` events."""
        self.counted += number - self.countdown
        self.countdown = number

    def drop(self, owner: object) -> None:
        """Don't call this owner's handler any more. The list keeps its length: a loop may be going through it."""
        self[self._owners.index(owner)] = _gone

    def behind(self, call: Call) -> Iterator[Call]:
        """The handlers that come after this one, which may have been unsubscribed meanwhile; each as it is then."""
        place = next(place for place, other in enumerate(self._calls) if other is call)
        return islice(self, place + 1, None)

    def owner_of(self, call: Call) -> object | None:
        """Whose handler this is; None if it was unsubscribed meanwhile."""
        return next((owner for owner, other in zip(self._owners, self, strict=True) if other is call), None)


def _distinct(calls: Iterable[Call]) -> Iterator[Call]:
    """One function may be subscribed several times; each is told from the others by its identity."""
    seen: set[int] = set()
    for call in calls:
        if id(call) in seen:
            call = partial(call)
        seen.add(id(call))
        yield call


def _gone(event: Event) -> None:
    """Stands in for a handler that was unsubscribed."""


def make_put(settings: BusSettings) -> PutInQueues:
    """For `publish`: append where there is room; a coroutine that waits for the rest, or DONE if there is none.

    How long it waits, for room or because a queue slows its publishers, `put_in_all()` of backpressure.py decides.
    """

    def put(queues: tuple[Queue, ...], event: Event) -> Answer:
        return put_in_all(queues, event, settings.put_timeout) or DONE

    return put


def put_nowait(queues: tuple[Queue, ...], event: Event) -> None:
    """For `publish_nowait`: append, making room where there is none."""
    for queue in queues:
        if not queue.closed:
            queue.offer(event)


def slow_path_of_plain(tick: Tick) -> SlowPath:
    """For a route that has plain handlers at most."""

    def slow_path(route: Route, event: Event) -> Answer:
        number, answer = tick(event)
        route.again_after(number)
        return answer

    return slow_path


def slow_path_of_one_queue(queue: Queue, tick: Tick, put: PutInQueues, done: Answer) -> SlowPath:
    """For a route with one mailbox or stream and no plain handler, if appending is not all."""
    queues = (queue,)

    def slow_path(route: Route, event: Event) -> Answer:
        answer = put(queues, event)
        return tick(event)[1] if answer is done and len(queue.items) >= FAST_PATH else answer

    return slow_path


def slow_path_of_queues(queues: Sequence[Queue], tick: Tick, put: PutInQueues, done: Answer) -> SlowPath:
    """For a route with several mailboxes or streams, or one and plain handlers."""
    until_tick = 0
    nowait = done is None

    def slow_path(route: Route, event: Event) -> Answer:
        nonlocal until_tick
        others: tuple[Queue, ...] = ()
        for queue in queues:
            if len(queue.items) < queue.limit:
                queue.items.append(event)
                if nowait:
                    queue.nowait += 1
            else:
                others += (queue,)
        if others and (waiting := put(others, event)) is not done:
            return waiting
        if until_tick:
            until_tick -= 1
            return done
        until_tick, answer = tick(event)
        return answer

    return slow_path


def closed_route(tick: Tick, refuse: Callable[[Event], object]) -> Route:
    """The route for everything on a closed bus. A publisher that goes on and on still lets the loop turn."""

    def slow_path(route: Route, event: Event) -> Answer:
        refuse(event)
        return tick(event)[1]

    return Route((), None, slow_path, slow_path)


def build(
    calls: Sequence[tuple[object, Call]],
    queues: Sequence[Queue],
    *,
    ticks: tuple[Tick, Tick],
    puts: tuple[PutInQueues, PutInQueues],
) -> Route:
    """The route to these handlers, with their owners, and these queues; for `publish` and `publish_nowait`."""
    single = queues[0] if len(queues) == 1 and not calls else None
    slow_paths: list[SlowPath] = []
    for tick, put, done in zip(ticks, puts, (DONE, None), strict=True):
        if not queues:
            slow_paths.append(slow_path_of_plain(tick))
        elif single is not None:
            slow_paths.append(slow_path_of_one_queue(single, tick, put, done))
        else:
            slow_paths.append(slow_path_of_queues(queues, tick, put, done))
    return Route(calls, single, *slow_paths)
