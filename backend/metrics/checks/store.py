"""What the event store's own figures mean for health.

The monitor knows no store: the source `store` gives plain data (`EventStore.statistics()`, with what is wrong under
`problem`), or None where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..health import Check, Finding

Read = Callable[[], Mapping[str, Any] | None]
# Rows that are missing say nothing of the disk now.
_OF_LOSSES: Final = ("lost",)


def checks(read: Read) -> dict[str, tuple[Check, str]]:
    """name -> (check, componentType). None of them fails: chats go on without a history."""
    return {
        "store:writable": (_writable(read), "datastore"),
        "store:lost": (_lost(read), "datastore"),
        "store:text": (_text(read), "datastore"),
    }


def _finding(problem: Mapping[str, Any], value: float) -> Finding:
    code = "store_" + str(problem["code"]).replace(" ", "_")
    return Finding("warn", value, "events", None, problem["text"], problem["advice"], code, problem["values"], "none")


def _writable(read: Read) -> Check:
    def check() -> Finding | None:
        figures = read()
        if figures is None:
            return None
        problem = figures["problem"]
        if problem is not None and problem["code"] not in _OF_LOSSES:
            return _finding(problem, figures["stored"])
        return Finding("pass", figures["stored"], "events")

    return check


def _lost(read: Read) -> Check:
    def check() -> Finding | None:
        figures = read()
        if figures is None:
            return None
        problem, lost = figures["problem"], sum(figures["lost"].values())
        if problem is not None and problem["code"] in _OF_LOSSES:
            return _finding(problem, lost)
        return Finding("pass", lost, "events")

    return check


def _text(read: Read) -> Check:
    """Not wrong, but nobody should have to guess it."""

    def check() -> Finding | None:
        figures = read()
        if figures is None:
            return None
        return Finding("pass", "stored" if figures["with_text"] else "not stored")

    return check
