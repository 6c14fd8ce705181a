"""Makes the mailboxes and streams of a bus, with the settings that it has at that moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ..backpressure import BoundedQueue, ThrottlePlan
from .errors import Failures
from .event import Event
from .hooks import Hooks
from .mailbox import Mailbox
from .routes import Queue
from .subscribers import Subscription


class BoxMaker:
    """`capacity` and `throttle` may be changed at any time, for what is made from then on.

    sampled(seconds) is told the age of an event now and then, when it comes into its handler's hands.
    """

    __slots__ = ("_clock", "_failures", "_hooks", "_sampled", "_sleep", "_slice", "capacity", "throttle")

    def __init__(
        self,
        hooks: Hooks,
        failures: Failures,
        *,
        capacity: int,
        throttle: ThrottlePlan | None,
        sampled: Callable[[float], None],
        slice_seconds: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] | None,
    ) -> None:
        self.capacity = capacity
        self.throttle = throttle
        self._hooks = hooks
        self._failures = failures
        self._sampled = sampled
        self._slice = slice_seconds
        self._clock = clock
        self._sleep = sleep

    def queue(self, subscription: Subscription, capacity: int | None) -> Queue:
        """Give a subscription its queue. Raises ValueError for a capacity below 1."""
        subscription.queue = BoundedQueue(
            self.capacity if capacity is None else capacity,
            name=subscription.name,
            throttle=self.throttle,
            key=self._hooks.key,
            essential=self._hooks.is_essential,
            label=self._hooks.drop,
            on_zone=self._hooks.zone_changed,
            slice_seconds=self._slice,
            clock=self._clock,
            sleep=self._sleep,
        )
        return subscription.queue

    def mailbox(self, subscription: Subscription, handler: Callable[[Event], Any], capacity: int | None) -> None:
        """Give a subscription its queue, and the mailbox that feeds an async handler from it."""
        subscription.mailbox = Mailbox(
            self.queue(subscription, capacity),
            handler,
            failed=partial(self._failures.handler_failed, subscription),
            cancelled=self._failures.handler_cancelled,
            sampled=self._sampled,
            slice_seconds=self._slice,
        )
