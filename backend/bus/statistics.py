"""The figures of a bus as plain data."""

from __future__ import annotations

from typing import Any

from .errors import Failures
from .hooks import Hooks
from .roster import Roster
from .table import RouteTable
from .threads import Inbox


def figures(table: RouteTable, roster: Roster, failures: Failures, hooks: Hooks, inbox: Inbox) -> dict[str, Any]:
    """What was published by type, subscribers, each mailbox's figures, losses, errors, what threads published."""
    published = table.published()
    subscribers, queues = [], []
    for sub in roster.register:
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
        "dropped_total": hooks.dropped + inbox_dropped,
        "conflated_total": roster.conflated + sum(row["conflated"] for row in queues),
        "handler_errors_total": failures.total,
        "handlers_cancelled_total": failures.cancelled,
        "threads": {
            "received": inbox.received,
            "waiting": len(inbox),
            "dropped": inbox_dropped,
            "dropped_by_type": dict(inbox.dropped_by_type),
        },
    }
