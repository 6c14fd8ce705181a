"""What happens to an event that the fast lane of a queue does not take: layers 2 to 4."""

from __future__ import annotations

from collections.abc import Callable

from .backpressure import QueueClosed
from .bus_event import DONE, Event
from .bus_routes import Answer, Queue


class SlowLane:
    """Its two methods get the queues of a route whose `limit` says that appending is not all.

    `put_timeout`, in seconds, may be changed at any time.
    """

    __slots__ = ("_clock", "put_timeout")

    def __init__(self, clock: Callable[[], float], put_timeout: float) -> None:
        self._clock = clock
        self.put_timeout = put_timeout

    def publish(self, queues: tuple[Queue, ...], event: Event) -> Answer:
        """Append where there is room; a coroutine that waits for the rest, or DONE if there is none.

        So one full mailbox holds up the publisher, but not the event on its way to the others.
        """
        full = [queue for queue in queues if not queue.closed and not queue.try_append(event)]
        held_up = [queue for queue in queues if queue.throttle.delaying and not queue.closed]
        return self._wait(full, held_up, event) if full or held_up else DONE

    async def _wait(self, full: list[Queue], held_up: list[Queue], event: Event) -> None:
        """All waits count from now: in the end the publisher has waited as long as the fullest queue asks."""
        began = self._clock()
        for queue in full:
            try:
                await queue.wait_and_append(event, self.put_timeout - (self._clock() - began))
            except QueueClosed:
                continue  # unsubscribed while we waited
        for queue in held_up:
            if not queue.closed:
                await queue.throttle.pause(began)

    def publish_nowait(self, queues: tuple[Queue, ...], event: Event) -> None:
        """Append, making room where there is none."""
        for queue in queues:
            if not queue.closed:
                queue.offer(event)
