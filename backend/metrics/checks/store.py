"""What the event store's own figures mean for health.

The monitor knows no store: the source `store` gives plain data (`EventStore.statistics()`, with what is wrong under
`problem`), or None where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..health import Check, Finding, check_of

# Rows that are missing say nothing of the disk now.
_OF_LOSSES: Final = ("lost",)


def checks(read: Callable[[], Mapping[str, Any] | None]) -> dict[str, tuple[Check, str]]:
    """name -> (check, componentType). None of them fails: chats go on without a history."""
    return {
        "store:writable": (check_of(read, _writable), "datastore"),
        "store:lost": (check_of(read, _lost), "datastore"),
        "store:text": (check_of(read, _text), "datastore"),
    }


def _finding(problem: Mapping[str, Any], value: float) -> Finding:
    code = "store_" + str(problem["code"]).replace(" ", "_")
    return Finding("warn", value, "events", None, problem["text"], problem["advice"], code, problem["values"], "none")


def _writable(figures: Mapping[str, Any]) -> Finding:
    problem = figures["problem"]
    if problem is not None and problem["code"] not in _OF_LOSSES:
        return _finding(problem, figures["stored"])
    return Finding("pass", figures["stored"], "events")


def _lost(figures: Mapping[str, Any]) -> Finding:
    problem, lost = figures["problem"], sum(figures["lost"].values())
    if problem is not None and problem["code"] in _OF_LOSSES:
        return _finding(problem, lost)
    return Finding("pass", lost, "events")


def _text(figures: Mapping[str, Any]) -> Finding:
    """Not wrong, but nobody should have to guess it."""
    return Finding("pass", "stored" if figures["with_text"] else "not stored")
