"""`GET /copilot-pulse/fleet`: every instance of the fleet, and what happened at the others."""

from __future__ import annotations

from typing import Any, Final

from ..fleet import Fleet

MAX_ROWS: Final = 500
_NUMBERS: Final = ("chats", "done", "failed", "first_token", "errors", "lag")
_WORDS: Final = ("health", "impact", "summary")
_LISTS: Final = {
    "problems": ("check", "status", "code", "output", "impact"),
    "current": ("chat_id", "state", "model", "seconds", "tokens", "retries", "first_token"),
}


def view(fleet: Fleet, since: int) -> dict[str, Any]:
    """The body: `on`, `instances`, `events` of the others after number `since`, `seq` (the newest number).

    What other instances say is shown as they say it, cut to known names and plain values: anybody who can write to
    that Redis can say anything.
    """
    seq, events = fleet.events_since(since)
    return {
        "on": fleet.on,
        "instances": [{**row, "status": _status(row["status"])} for row in fleet.instances()[:MAX_ROWS]],
        "seq": seq,
        "events": events,
    }


def _status(told: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {name: _number(told.get(name)) for name in _NUMBERS}
    known.update({name: _word(told.get(name)) for name in _WORDS})
    for name, keys in _LISTS.items():
        rows = told.get(name)
        known[name] = [
            {key: _number(row.get(key)) if _number(row.get(key)) is not None else _word(row.get(key)) for key in keys}
            for row in (rows if isinstance(rows, list) else [])[:10]
            if isinstance(row, dict)
        ]
    return known


def _number(value: Any) -> float | int | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _word(value: Any) -> str:
    return value[:300] if isinstance(value, str) else ""
