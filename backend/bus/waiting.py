"""What happens to an event that the fast lane of a queue does not take: layers 2 to 4."""

from __future__ import annotations

from ..backpressure import put_in_all
from .event import DONE, Event
from .routes import Answer, Queue


class SlowLane:
    """Its two methods get the queues of a route whose `limit` says that appending is not all.

    `put_timeout`, in seconds, may be changed at any time.
    """

    __slots__ = ("put_timeout",)

    def __init__(self, put_timeout: float) -> None:
        self.put_timeout = put_timeout

    def publish(self, queues: tuple[Queue, ...], event: Event) -> Answer:
        """Append where there is room; a coroutine that waits for the rest, or DONE if there is none."""
        return put_in_all(queues, event, self.put_timeout) or DONE

    def publish_nowait(self, queues: tuple[Queue, ...], event: Event) -> None:
        """Append, making room where there is none."""
        for queue in queues:
            if not queue.closed:
                queue.offer(event)
