"""Who subscribed to what, from beginning to end, the mailboxes whose handlers are still at work after it, and how
many events all queues together have dropped and conflated."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from ..backpressure import BoundedQueue
from .event import Event
from .mailbox import Mailbox
from .routes import Call, Route

CANCEL_PATIENCE: Final = 1.0

logger = logging.getLogger("copilot_pulse.event_bus")


class Subscription:
    """One handler (`call`), mailbox (`queue` and `mailbox`) or stream (`queue`) and its pattern."""

    __slots__ = (
        "call", "errors", "id", "logged", "mailbox", "name", "pattern", "queue", "routes", "unlogged",
    )  # fmt: skip

    def __init__(self, id_: int, pattern: str, name: str) -> None:
        self.id = id_
        self.pattern = pattern
        self.name = name
        self.call: Call | None = None
        self.queue: BoundedQueue[Event] | None = None
        self.mailbox: Mailbox | None = None
        self.errors = 0
        self.logged = float("-inf")
        self.unlogged = 0
        self.routes: weakref.WeakSet[Route] = weakref.WeakSet()

    @property
    def kind(self) -> str:
        """inline, mailbox or stream."""
        return "inline" if self.queue is None else "mailbox" if self.mailbox is not None else "stream"

    def describe(self) -> dict[str, Any]:
        """A row for the statistics."""
        return {
            "id": self.id,
            "pattern": self.pattern,
            "name": self.name,
            "kind": self.kind,
            "errors": self.errors,
        }

    def leave_routes(self) -> None:
        """Out of all routes at once, also of one that is delivering an event right now."""
        for route in self.routes:
            route.drop(self)


class Subscriptions:
    """Who is subscribed, under which name, and which mailboxes have not come to their end yet.

    For the loop's thread. Finding those for a type looks at its own patterns only. `dropped` counts the events that
    were dropped in any queue; queues come and go, and this sum stays. `conflated` counts what was conflated in
    queues that are gone.
    """

    __slots__ = ("_by_id", "_by_pattern", "_ids", "_joining", "_names", "conflated", "dropped", "retired")

    def __init__(self) -> None:
        self._by_pattern: dict[str, dict[int, Subscription]] = {}
        self._by_id: dict[int, Subscription] = {}
        self.retired: set[Mailbox] = set()  # their subscription has ended, their handler is still at work
        self.dropped = 0
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
        self._by_pattern.setdefault(subscription.pattern, {})[subscription.id] = subscription
        self._by_id[subscription.id] = subscription

    def remove(self, pattern: str, id_: int, *, discard: bool, counted: bool) -> bool:
        """End a subscription; False if there is none with this pattern and id. Doesn't wait.

        discard: drop what waits, and, if `counted`, count it as a loss; else it is delivered to the end.
        """
        same = self._by_pattern.get(pattern)
        if same is None or id_ not in same:
            return False
        subscription = same.pop(id_)
        del self._by_id[id_]
        if not same:
            del self._by_pattern[pattern]
        self._names.discard(subscription.name)
        subscription.leave_routes()
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
        for subscription in self:
            self.remove(subscription.pattern, subscription.id, discard=discard, counted=True)

    def count_drop(self, event: Event) -> None:
        """A queue drops this event; the queue itself counts it by its type."""
        self.dropped += 1

    def matching(self, type_: str) -> list[Subscription]:
        """The subscriptions for events of a type, oldest first."""
        found = [sub for pattern in patterns_of(type_) for sub in self._by_pattern.get(pattern, {}).values()]
        found.sort(key=lambda sub: sub.id)
        return found

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def mailboxes(self) -> list[Mailbox]:
        """All that may have something to do."""
        return [sub.mailbox for sub in self if sub.mailbox is not None] + list(self.retired)

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


def patterns_of(type_: str) -> Iterator[str]:
    """Every pattern that matches a type, each once: `a.b.c` has a.b.c, a.b.*, a.* and *."""
    if not type_.endswith("*"):  # a type that looks like a pattern is among the others
        yield type_
    at = type_.rfind(".")
    while at > 0:
        yield type_[:at] + ".*"
        at = type_.rfind(".", 0, at)
    yield "*"


def check_pattern(pattern: str) -> None:
    """Raises ValueError unless `pattern` is a type, a prefix such as `chat.*`, or `*`."""
    plain = pattern[:-2] if pattern.endswith(".*") else pattern
    if pattern != "*" and (not plain or "*" in plain):
        raise ValueError(f"{pattern!r} is no pattern: allowed are a type, a prefix such as 'chat.*', and '*'")


def is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling the handler gives a coroutine: async functions, methods, partials, callable objects."""
    while isinstance(handler, partial):
        handler = handler.func
    if inspect.iscoroutinefunction(handler):
        return True
    method: Any = type(handler).__call__
    return inspect.iscoroutinefunction(method)


def weakly(handler: Callable[..., Any], gone: Callable[[], object]) -> Callable[..., Any]:
    """The handler behind a weak reference (of a method: to its object); `gone()` is called when it dies.

    That may happen in any thread, wherever the garbage collector runs. Raises TypeError for what cannot be
    referred to weakly, such as a method of a built-in type.
    """
    make: Any = weakref.WeakMethod if inspect.ismethod(handler) else weakref.ref
    if inspect.isbuiltin(handler) and not inspect.ismodule(handler.__self__):
        # The method would be gone at once, though its object is not.
        raise TypeError(f"{name_of(handler)} cannot be subscribed weakly: it is a method of a built-in type")
    reference: Callable[[], Callable[..., Any] | None] = make(handler, lambda _: gone())
    if is_async(handler):

        async def call_async(event: Event) -> None:
            target = reference()
            if target is not None:
                await target(event)

        return call_async

    def call(event: Event) -> None:
        target = reference()
        if target is not None:
            target(event)

    return call


def name_of(handler: Callable[..., Any]) -> str:
    """A handler's name for logs and statistics."""
    inner = getattr(handler, "func", handler)  # a partial's
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return str(name).replace("<locals>.", "")
