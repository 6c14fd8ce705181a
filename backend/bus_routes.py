"""The hot path of the event bus: one prebuilt callable for each event type.

Who gets an event is worked out once per type, when the first event of that type is published, and again
after a subscription that matches it came or went. What publishing costs is then one dictionary look-up, one
call, and a loop over handlers; it does not depend on how many other types and subscriptions there are.

A route is a closure, because a local of an outer function is the cheapest thing to read in Python. Its parts:

    calls    plain handlers, called here; an error in one is reported, and the next is called
    queues   mailboxes and streams; as long as one holds fewer items than its `limit`, appending is all there
             is to do (see "The fast lane" of BoundedQueue); otherwise `slow` sees to it
    done     what to return if all is delivered: `DONE`, or None for publish_nowait()
    left     counts down to the next `tick`, which samples the latency and sees that the loop gets its turn.
             Nobody else would: a plain handler never makes its publisher wait. A full mailbox does, so a
             route to a single one has no tick.

`total - left` is the number of events published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from .backpressure import BoundedQueue
from .bus_event import Event

Answer = Any
"""DONE or a coroutine for `publish`, None for `publish_nowait`."""
Call = Callable[[Event], object]
Queue = BoundedQueue[Event]
Tick = Callable[[Event], "tuple[int, Answer]"]
"""What to do once in a while: how many events until the next time, and what `publish` is to return."""
Slow = Callable[["tuple[Queue, ...]", Event], Answer]
Failed = Callable[[Call, Event, BaseException], None]

# A handler runs without awaiting, so a CancelledError from it is its own (a cancelled future's result, say)
# and not a cancel of the publisher.
CAUGHT: Final = (Exception, asyncio.CancelledError)


class Calls(list[Call]):
    """The plain handlers of one route, and whose they are.

    An owner that unsubscribes knows them weakly, and takes its handler out. A delivery that is under way
    keeps its `Calls` alive, even if the route was replaced meanwhile.
    """

    __slots__ = ("__weakref__", "_owners")

    def __init__(self, calls: Iterable[tuple[object, Call]]) -> None:
        pairs = list(calls)
        super().__init__(call for _, call in pairs)
        self._owners = [owner for owner, _ in pairs]

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def drop(self, owner: object) -> None:
        """Don't call this owner's handler any more. The list keeps its length: a loop may be going through it."""
        self[self._owners.index(owner)] = _gone


def _gone(event: Event) -> None:
    """Stands in for a handler that was unsubscribed."""


class Route(NamedTuple):
    """How events of one type are delivered, and how many were."""

    deliver: Callable[[Event], Answer]
    published: Callable[[], int]


def build(
    calls: Calls, queues: Sequence[Queue], done: Answer, tick: Tick, slow: Slow, failed: Failed
) -> Route:
    """The route to these handlers and queues, in the form that is cheapest for their number."""
    left = total = 0

    if len(calls) == 1 and not queues:
        call = calls[0]

        def deliver(event: Event) -> Answer:
            nonlocal left, total
            left -= 1
            try:
                call(event)
            except CAUGHT as error:
                failed(call, event, error)
            if left >= 0:
                return done
            more, answer = tick(event)
            total, left = total + more - left, more
            return answer

    elif len(queues) == 1 and not calls:
        (queue,) = queues
        items, append = queue.items, queue.items.append

        def deliver(event: Event) -> Answer:
            nonlocal total
            total += 1
            if len(items) < queue.limit:
                append(event)
                return done
            return slow((queue,), event)

    elif not queues:

        def deliver(event: Event) -> Answer:
            nonlocal left, total
            left -= 1
            for call in calls:
                try:
                    call(event)
                except CAUGHT as error:
                    failed(call, event, error)
            if left >= 0:
                return done
            more, answer = tick(event)
            total, left = total + more - left, more
            return answer

    else:

        def deliver(event: Event) -> Answer:
            nonlocal left, total
            left -= 1
            for call in calls:
                try:
                    call(event)
                except CAUGHT as error:
                    failed(call, event, error)
            rest: tuple[Queue, ...] = ()
            for queue in queues:
                if len(queue.items) < queue.limit:
                    queue.items.append(event)
                else:
                    rest += (queue,)
            if rest and (waiting := slow(rest, event)) is not done:
                return waiting
            if left >= 0:
                return done
            more, answer = tick(event)
            total, left = total + more - left, more
            return answer

    def published() -> int:
        return total - left

    return Route(deliver, published)
