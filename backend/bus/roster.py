"""The subscriptions of a bus from beginning to end, and the mailboxes whose handlers are still at work after it."""

from __future__ import annotations

import asyncio
import itertools
import logging
from functools import partial
from typing import Any, Final

from .mailbox import Mailbox
from .subscribers import Subscription, Subscriptions

CANCEL_PATIENCE: Final = 1.0

logger = logging.getLogger("copilot_pulse.event_bus")


class Roster:
    """Who is subscribed, under which name, and which mailboxes have not come to their end yet.

    For the loop's thread. `conflated` counts what was conflated in queues that are gone.
    """

    __slots__ = ("_ids", "_joining", "_names", "conflated", "register", "retired")

    def __init__(self) -> None:
        self.register = Subscriptions()
        self.retired: set[Mailbox] = set()  # their subscription has ended, their handler is still at work
        self.conflated = 0
        self._ids = itertools.count(1)
        self._names: set[str] = set()
        self._joining: set[asyncio.Task[Any] | None] = set()  # of handlers that wait in join()

    def new(self, pattern: str, name: str) -> Subscription:
        """A subscription with an id and a name of its own; to be registered with `add()` when it is complete."""
        id_ = next(self._ids)
        return Subscription(id_, pattern, f"{name}#{id_}" if name in self._names else name)

    def add(self, subscription: Subscription) -> None:
        """Register a subscription."""
        self._names.add(subscription.name)
        self.register.add(subscription)

    def remove(self, pattern: str, id_: int, *, discard: bool, counted: bool) -> bool:
        """End a subscription; False if there is none. Doesn't wait.

        discard: drop what waits, and, if `counted`, count it as a loss; else it is delivered to the end.
        """
        subscription = self.register.remove(pattern, id_)
        if subscription is None:
            return False
        self._names.discard(subscription.name)
        subscription.leaves()
        queue, mailbox = subscription.queue, subscription.mailbox
        if queue is not None:
            self.conflated += queue.statistics().conflated
        if mailbox is not None:
            self._retire(mailbox, discard=discard, counted=counted)
        elif queue is not None:
            queue.close(discard=discard, counted=counted)
        return True

    def remove_all(self, *, discard: bool) -> None:
        """End all subscriptions. Doesn't wait."""
        for subscription in self.register:
            self.remove(subscription.pattern, subscription.id, discard=discard, counted=True)

    def mailboxes(self) -> list[Mailbox]:
        """All that may have something to do."""
        return [sub.mailbox for sub in self.register if sub.mailbox is not None] + list(self.retired)

    async def join(self) -> bool:
        """Wait for one mailbox that has something to do, other than the caller's; False if there is none.

        A handler that waits here itself is not waited for by another one: they would wait for each other.
        """
        current, boxes = asyncio.current_task(), self.mailboxes()
        in_handler = any(box.task is current for box in boxes)
        skipped = {current, *self._joining} if in_handler else set()
        busy = next((box for box in boxes if box.busy and box.task not in skipped), None)
        if busy is None:
            return False
        busy.kick()
        if in_handler:
            self._joining.add(current)
        try:
            await busy.queue.join()
        finally:
            self._joining.discard(current)
        return True

    async def end_tasks(self, *, drain: bool, timeout: float) -> None:
        """See the retired mailboxes to their end, other than the caller's.

        drain: give them `timeout` seconds first; then, or if cancelled, their tasks are cancelled, and what
        waits in them is dropped and counted.
        """
        current, loop = asyncio.current_task(), asyncio.get_running_loop()

        def at_work() -> list[asyncio.Task[Any]]:
            tasks = [box.task for box in self.retired]
            return [task for task in tasks if task is not None and task is not current and task.get_loop() is loop]

        end = loop.time() + timeout
        try:
            while drain and (left := end - loop.time()) > 0:
                for box in list(self.retired):
                    box.kick()
                if not (tasks := at_work()):
                    break
                await asyncio.wait(tasks, timeout=left)
        finally:
            tasks = at_work()
            for box in list(self.retired):
                if box.task is None or box.task in tasks:
                    box.retire(counted=True)
                if box.over:
                    self.retired.discard(box)
            for task in tasks:
                task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=CANCEL_PATIENCE)
            for task in stuck:
                logger.warning("the %s does not end although it was cancelled; left behind", task.get_name())

    def _retire(self, mailbox: Mailbox, *, discard: bool, counted: bool) -> None:
        if discard:
            mailbox.retire(counted=counted)
        else:
            mailbox.finish()
        if not mailbox.over:
            self.retired.add(mailbox)
            mailbox.ended = partial(self.retired.discard, mailbox)
