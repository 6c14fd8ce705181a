"""Who subscribed to what: patterns, matching, and the record of one subscription."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..backpressure import BoundedQueue
from .event import Event
from .mailbox import Mailbox
from .routes import Call, Route


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

    def leaves(self) -> None:
        """Out of all routes at once, also of one that is delivering an event right now."""
        for route in self.routes:
            route.drop(self)


class Subscriptions:
    """All subscriptions by pattern. Finding those for a type looks at its own patterns only."""

    def __init__(self) -> None:
        self._by_pattern: dict[str, dict[int, Subscription]] = {}
        self._by_id: dict[int, Subscription] = {}

    def add(self, subscription: Subscription) -> None:
        self._by_pattern.setdefault(subscription.pattern, {})[subscription.id] = subscription
        self._by_id[subscription.id] = subscription

    def remove(self, pattern: str, id_: int) -> Subscription | None:
        """Take out and return a subscription; None if there is none with this pattern and id."""
        same = self._by_pattern.get(pattern)
        if same is None or id_ not in same:
            return None
        subscription = same.pop(id_)
        del self._by_id[id_]
        if not same:
            del self._by_pattern[pattern]
        return subscription

    def matching(self, type_: str) -> list[Subscription]:
        """The subscriptions for events of a type, oldest first."""
        found = [sub for pattern in patterns_of(type_) for sub in self._by_pattern.get(pattern, {}).values()]
        found.sort(key=lambda sub: sub.id)
        return found

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)


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
