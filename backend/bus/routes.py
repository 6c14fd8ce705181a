"""The routes of the event bus: who gets the events of one type, worked out once and then only looked up.

`EventBus.publish()` finds the route of an event's type in a dictionary. How many other types and subscriptions
there are does not matter. Then:

    plain handlers   The route is the list of them, and publish() calls one after the other. `left` counts down
                     from some number; at the end `rest` is called, which samples the latency and sees that the
                     loop gets its turn, for a plain handler never makes its publisher wait. If there is just
                     one, `only` is it, which saves a loop of one round.
    one mailbox      `only` is its queue, and `items` what lies in there. While these are fewer than the queue's
                     `limit`, appending is all there is to do (see "The fast lane" of BoundedQueue); otherwise
                     `rest` sees to it. `left` starts at 0 and only falls. In a small mailbox nobody has to look
                     at the clock, for it is full in less than a slice, and makes its publisher wait; a large one
                     lowers its limit so that `rest` is called often enough.
    any others       `left` only falls too, so that `rest` is called for every event after the plain handlers.

`total - left` is the number of events published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from ..backpressure import FAST_LANE, BoundedQueue
from .event import DONE, Event

Answer = Any
"""DONE or a coroutine for `publish`, None for `publish_nowait`."""
Call = Callable[[Event], object]
Queue = BoundedQueue[Event]
Tick = Callable[[Event], "tuple[int, Answer]"]
"""What to do once in a while: how many events until the next time, and what `publish` is to return."""
Slow = Callable[["tuple[Queue, ...]", Event], Answer]
Rest = Callable[["Route", Event], Answer]

# A handler runs without awaiting, so a CancelledError from it is its own (a cancelled future's result, say)
# and not a cancel of the publisher.
CAUGHT: Final = (Exception, asyncio.CancelledError)


class Route(list[Call]):
    """The plain handlers for one event type, whose they are, and what else there is to do.

    An owner that unsubscribes knows its routes weakly, and takes its handler out. A delivery that is under
    way keeps its route alive, even if another one has taken its place meanwhile.
    """

    __slots__ = ("__weakref__", "_owners", "items", "left", "only", "rest", "rest_nowait", "total")

    def __init__(
        self, calls: Iterable[tuple[object, Call]], queue: Queue | None, rest: Rest, rest_nowait: Rest
    ) -> None:
        pairs = list(calls)
        super().__init__(_distinct(call for _, call in pairs))
        self._owners = [owner for owner, _ in pairs]
        self.only: Any = self[0] if queue is None and len(self) == 1 else queue
        self.items = None if queue is None else queue.items
        self.rest = rest
        self.rest_nowait = rest_nowait
        self.left = 0
        self.total = 0

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def published(self) -> int:
        """How many events went this way."""
        return self.total - self.left

    def again_after(self, number: int) -> None:
        """`rest` is not needed for the next `number` events."""
        self.total += number - self.left
        self.left = number

    def drop(self, owner: object) -> None:
        """Don't call this owner's handler any more. The list keeps its length: a loop may be going through it."""
        self[self._owners.index(owner)] = _gone

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


def rest_of_plain(tick: Tick) -> Rest:
    """For a route that has plain handlers at most."""

    def rest(route: Route, event: Event) -> Answer:
        number, answer = tick(event)
        route.again_after(number)
        return answer

    return rest


def rest_of_one_queue(queue: Queue, tick: Tick, slow: Slow, done: Answer) -> Rest:
    """For a route with one mailbox or stream and no plain handler, if appending is not all."""
    queues = (queue,)

    def rest(route: Route, event: Event) -> Answer:
        answer = slow(queues, event)
        return tick(event)[1] if answer is done and len(queue.items) >= FAST_LANE else answer

    return rest


def rest_of_queues(queues: Sequence[Queue], tick: Tick, slow: Slow, done: Answer) -> Rest:
    """For a route with several mailboxes or streams, or one and plain handlers."""
    left = 0

    def rest(route: Route, event: Event) -> Answer:
        nonlocal left
        others: tuple[Queue, ...] = ()
        for queue in queues:
            if len(queue.items) < queue.limit:
                queue.items.append(event)
            else:
                others += (queue,)
        if others and (waiting := slow(others, event)) is not done:
            return waiting
        if left:
            left -= 1
            return done
        left, answer = tick(event)
        return answer

    return rest


def closed(tick: Tick, refuse: Callable[[Event], object]) -> Route:
    """The route for everything on a closed bus. A publisher that goes on and on still lets the loop turn."""

    def rest(route: Route, event: Event) -> Answer:
        refuse(event)
        return tick(event)[1]

    return Route((), None, rest, rest)


def build(
    calls: Sequence[tuple[object, Call]],
    queues: Sequence[Queue],
    *,
    ticks: tuple[Tick, Tick],
    slows: tuple[Slow, Slow],
) -> Route:
    """The route to these handlers, with their owners, and these queues; for `publish` and `publish_nowait`."""
    only = queues[0] if len(queues) == 1 and not calls else None
    rests: list[Rest] = []
    for tick, slow, done in zip(ticks, slows, (DONE, None), strict=True):
        if not queues:
            rests.append(rest_of_plain(tick))
        elif only is not None:
            rests.append(rest_of_one_queue(only, tick, slow, done))
        else:
            rests.append(rest_of_queues(queues, tick, slow, done))
    return Route(calls, only, *rests)
