"""Which route serves which event type, and how many events went each way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .bus_event import DONE, Event
from .bus_pace import Pacer
from .bus_routes import Answer, Calls, Failed, Route, Slow, build
from .bus_subscriptions import Subscriptions

MAX_TYPES: Final = 4096
OTHER_TYPES: Final = "(other types)"


class RouteTable:
    """The routes by event type, built when a type is first published and forgotten when a pattern changes.

    `waiting` and `nowait` are looked up directly by the bus; a missing type is built by `add()`. Programs
    that make up types as they go cost no memory beyond `MAX_TYPES` routes and counts; the counts of further
    types are added up under `OTHER_TYPES`.
    """

    __slots__ = (
        "_failed", "_heard", "_pacer", "_published", "_routes", "_slow", "_slow_nowait", "_subscriptions",
        "nowait", "waiting",
    )  # fmt: skip

    def __init__(
        self, subscriptions: Subscriptions, pacer: Pacer, *, slow: Slow, slow_nowait: Slow, failed: Failed
    ) -> None:
        self._subscriptions = subscriptions
        self._pacer = pacer
        self._slow = slow
        self._slow_nowait = slow_nowait
        self._failed = failed
        self.waiting: dict[str, Callable[[Event], Answer]] = {}
        self.nowait: dict[str, Callable[[Event], Answer]] = {}
        self._routes: dict[str, list[Route]] = {}
        self._heard: dict[str, bool] = {}
        self._published: dict[str, int] = {}  # by routes that were forgotten

    def add(self, type_: str, *, waits: bool) -> Callable[[Event], Answer]:
        """Build the missing route of a type: for `publish()` if `waits`, else for `publish_nowait()`."""
        if len(self._routes) >= MAX_TYPES and type_ not in self._routes:
            self.forget("*")
        found = self._subscriptions.matching(type_)
        calls = Calls((sub, sub.call) for sub in found if sub.call is not None)
        route = build(
            calls,
            [sub.queue for sub in found if sub.queue is not None],
            DONE if waits else None,
            self._pacer.make_tick(sampled=bool(calls), waits=waits),
            self._slow if waits else self._slow_nowait,
            self._failed,
        )
        for sub in found:
            if sub.call is not None:
                sub.joins(calls)
        self._routes.setdefault(type_, []).append(route)
        (self.waiting if waits else self.nowait)[type_] = route.deliver
        return route.deliver

    def forget(self, pattern: str) -> None:
        """The routes that a pattern touches have to be built anew."""
        if pattern == "*" or pattern.endswith(".*"):
            prefix = pattern[:-1]
            types = [type_ for type_ in self._routes if type_.startswith(prefix)]
            self._heard.clear()
        else:
            types = [pattern] if pattern in self._routes else []
            self._heard.pop(pattern, None)
        for type_ in types:
            self.waiting.pop(type_, None)
            self.nowait.pop(type_, None)
            number = sum(route.published() for route in self._routes.pop(type_))
            if number:
                known = type_ in self._published or len(self._published) < MAX_TYPES
                label = type_ if known else OTHER_TYPES
                self._published[label] = self._published.get(label, 0) + number

    def heard(self, type_: str) -> bool:
        """Whether anybody is subscribed to events of this type."""
        heard = self._heard.get(type_)
        if heard is None:
            if len(self._heard) >= MAX_TYPES:
                self._heard.clear()
            heard = self._heard[type_] = bool(self._subscriptions.matching(type_))
        return heard

    def published(self) -> dict[str, int]:
        """Events published so far, by type."""
        counts = dict(self._published)
        for type_, routes in list(self._routes.items()):
            number = sum(route.published() for route in routes)
            if number:
                counts[type_] = counts.get(type_, 0) + number
        return counts
