"""What happens to an event that the fast lane of a queue does not take: layers 2 to 4."""

from __future__ import annotations

from collections.abc import Callable

from ..backpressure import Arrival, pause_in_all, wait_for_room
from .event import DONE, Event
from .routes import Answer, Queue


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
        return self._wait(full, held_up, event, self._clock()) if full or held_up else DONE

    async def _wait(self, full: list[Queue], held_up: list[Queue], event: Event, came: float) -> None:
        """For room in all full queues at once; then, in all throttles at once, for what is left of the pause.

        Pauses count from `came`: the publisher has waited as long as the fullest queue asks, not as all together.
        """
        if full:
            for queue in held_up:
                queue.throttle.reacted(came)
            arrivals = [Arrival(queue, event) for queue in full]
            await wait_for_room(arrivals, self.put_timeout)
            for arrival in arrivals:
                # Closed with the bus: a loss. Unsubscribed: nobody wants the event any more.
                if not arrival.inside and not arrival.queue.unwanted:
                    arrival.queue.refuse(event)
            held_up = [queue for queue in held_up if not queue.closed]
        if held_up:
            await pause_in_all((queue.throttle for queue in held_up), came)

    def publish_nowait(self, queues: tuple[Queue, ...], event: Event) -> None:
        """Append, making room where there is none."""
        for queue in queues:
            if not queue.closed:
                queue.offer(event)
