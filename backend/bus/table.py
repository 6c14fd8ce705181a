"""Which route serves which event type, how many events went each way, and the figures of a bus as plain data."""

from __future__ import annotations

from typing import Any, Final

from ..backpressure import add_bounded
from .errors import Errors
from .loop_turns import LoopTurns
from .routes import PutInQueues, Route, build, put_nowait
from .subscribers import Subscriptions
from .threads import Inbox

MAX_TYPES: Final = 4096


class RouteTable:
    """The routes by event type, built when a type is first published and forgotten when a pattern changes.

    `routes` is looked up directly by the bus; a missing one is built by `add()`. Programs that make up types
    as they go cost no memory beyond `MAX_TYPES` routes and counts; the counts of further types are added up
    under "(other types)".
    """

    __slots__ = ("_published", "_put", "_subscriptions", "_turns", "_wanted", "routes")

    def __init__(self, subscriptions: Subscriptions, turns: LoopTurns, put: PutInQueues) -> None:
        self._subscriptions = subscriptions
        self._turns = turns
        self._put = put
        self.routes: dict[str, Route] = {}
        self._wanted: dict[str, bool] = {}
        self._published: dict[str, int] = {}  # by routes that were forgotten

    def add(self, type_: str) -> Route:
        """Build the missing route of a type."""
        if len(self.routes) >= MAX_TYPES:
            self.forget("*")
        found = self._subscriptions.matching(type_)
        calls = [(sub, sub.call) for sub in found if sub.call is not None]
        make_tick, sampled = self._turns.make_tick, bool(calls)
        route = self.routes[type_] = build(
            calls,
            [sub.queue for sub in found if sub.queue is not None],
            ticks=(make_tick(sampled=sampled, waits=True), make_tick(sampled=sampled, waits=False)),
            puts=(self._put, put_nowait),
        )
        for sub, _ in calls:
            sub.routes.add(route)
        return route

    def forget(self, pattern: str) -> None:
        """The routes that a pattern touches have to be built anew."""
        if pattern == "*" or pattern.endswith(".*"):
            prefix = pattern[:-1]
            types = [type_ for type_ in self.routes if type_.startswith(prefix)]
            self._wanted.clear()
        else:
            types = [pattern] if pattern in self.routes else []
            self._wanted.pop(pattern, None)
        for type_ in types:
            number = self.routes.pop(type_).published
            if number:
                add_bounded(self._published, type_, number, most=MAX_TYPES)

    def has_subscribers(self, type_: str) -> bool:
        """Whether anybody is subscribed to events of this type."""
        found = self._wanted.get(type_)
        if found is None:
            if len(self._wanted) >= MAX_TYPES:
                self._wanted.clear()
            found = self._wanted[type_] = bool(self._subscriptions.matching(type_))
        return found

    def published(self) -> dict[str, int]:
        """Events published so far, by type."""
        counts = dict(self._published)
        for type_, route in list(self.routes.items()):
            if route.published:
                counts[type_] = counts.get(type_, 0) + route.published
        return counts


def figures(table: RouteTable, subscriptions: Subscriptions, errors: Errors, inbox: Inbox) -> dict[str, Any]:
    """What was published by type, subscribers, each mailbox's figures, losses, errors, what threads published."""
    published = table.published()
    subscribers, queues = [], []
    for sub in subscriptions:
        row = sub.describe()
        subscribers.append(row)
        if sub.queue is not None:
            queues.append({**row, **sub.queue.statistics().as_dict()})
    inbox_dropped = sum(inbox.dropped_by_type.values())
    return {
        "published": published,
        "published_total": sum(published.values()),
        "subscribers": subscribers,
        "queues": queues,
        "dropped_total": subscriptions.dropped + inbox_dropped,
        "conflated_total": subscriptions.conflated + sum(row["conflated"] for row in queues),
        "handler_errors_total": errors.total,
        "handlers_cancelled_total": errors.cancelled,
        "threads": {
            "received": inbox.received,
            "waiting": len(inbox),
            "dropped": inbox_dropped,
            "dropped_by_type": dict(inbox.dropped_by_type),
        },
    }
