"""What the fleet's own figures mean for health.

The monitor knows no Redis: the source `fleet` gives plain data (`Fleet.figures()`), or None where none is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..health import Check, Finding, check_of

NEWS_SECONDS: Final = 300.0
DOWN_WARNS: Final = 5.0
FILL_WARNS: Final = 0.7
SERVER_KINDS: Final = frozenset(
    {"full", "loading", "readonly", "busy", "refused", "keys", "cluster", "protected", "quota"}
)


def checks(read: Callable[[], Mapping[str, Any] | None]) -> dict[str, tuple[Check, str]]:
    """name -> (check, componentType). None of them fails: chats go on without Redis."""
    return {
        "redis:connection": (check_of(read, _connection), "datastore"),
        "redis:outbox": (check_of(read, _outbox), "datastore"),
        "redis:gaps": (check_of(read, _gaps), "datastore"),
        "redis:entries": (check_of(read, _entries), "datastore"),
        "redis:answers": (check_of(read, _answers), "datastore"),
        "fleet:instances": (check_of(read, _instances), "component"),
    }


def _connection(figures: Mapping[str, Any]) -> Finding:
    links = figures["links"]
    down = [link for link in links.values() if not link["up"] and link["problem"]]
    lasting = [link for link in down if link["down_seconds"] is None or link["down_seconds"] > DOWN_WARNS]
    if not lasting:
        return Finding("pass", len(links) - len(down), "connections", len(links))
    problem = lasting[0]["problem"]
    return Finding(
        "warn", len(links) - len(down), "connections", len(links),
        problem["text"],
        "Chats go on; other machines do not see this one until Redis works again.",
        "redis_" + ("server" if problem["kind"] in SERVER_KINDS else problem["kind"]),
        {"target": figures["target"], "cause": problem["text"]}, "none",
    )  # fmt: skip


def _outbox(figures: Mapping[str, Any]) -> Finding | None:
    outbox = figures.get("outbox")
    if outbox is None:
        return None
    fill = outbox["size"] / outbox["capacity"]
    if fill < FILL_WARNS:
        return Finding("pass", round(fill, 3), "ratio", FILL_WARNS)
    return Finding(
        "warn", round(fill, 3), "ratio", FILL_WARNS,
        f"Events for the other machines wait: their outbox is {fill:.0%} full.",
        "Beyond that the oldest are dropped and told as a gap. See redis:connection, or raise "
        "COPILOT_PULSE_REDIS_OUTBOX.",
        "redis_outbox", {"percent": round(100 * fill)}, "none",
    )  # fmt: skip


def _gaps(figures: Mapping[str, Any]) -> Finding | None:
    if "gaps" not in figures:
        return None
    lost = sum(figures["gaps"].values())
    if figures["gap_seconds"] is None or figures["gap_seconds"] > NEWS_SECONDS:
        return Finding("pass", lost, "events")
    return Finding(
        "warn", lost, "events", None,
        f"Events of other machines were lost in the last 5 minutes ({lost} since the start).",
        "Redis was away for too long or keeps too little: see COPILOT_PULSE_REDIS_OUTBOX and _KEEP_BYTES.",
        "fleet_gap", {"lost": lost}, "none",
    )  # fmt: skip


def _entries(figures: Mapping[str, Any]) -> Finding | None:
    if "bad_entries" not in figures:
        return None
    bad = figures["bad_entries"]
    if figures["bad_seconds"] is None or figures["bad_seconds"] > NEWS_SECONDS:
        return Finding("pass", bad, "entries")
    return Finding(
        "warn", bad, "entries", None,
        "In the last 5 minutes there was something in the fleet's keys in Redis that is not the fleet's, or cannot "
        f"be read ({bad} entries since the start).",
        "What it broke was written anew. Look who else writes under COPILOT_PULSE_REDIS_PREFIX, and whether all "
        "machines run the same version.",
        "fleet_entries", {"entries": bad}, "none",
    )  # fmt: skip


def _answers(figures: Mapping[str, Any]) -> Finding | None:
    answers = figures.get("answers")
    if not answers:
        return None
    cut = answers["cut"]
    number = sum(cut.values())
    if answers["cut_seconds"] is None or answers["cut_seconds"] > NEWS_SECONDS:
        return Finding("pass", number, "answers")
    return Finding(
        "warn", number, "answers", None,
        f"In the last 5 minutes an answer could not be copied for the other machines ({cut['large']} were too "
        f"large since the start, for {cut['slow']} the way to Redis was too slow).",
        "Here it is whole; who reads it at another machine gets what there is of it, and a sentence.",
        "fleet_answers", dict(cut), "none",
    )  # fmt: skip


def _instances(figures: Mapping[str, Any]) -> Finding | None:
    if "instances" not in figures:
        return None
    up = figures["instances"]["up"]
    gone = figures["gone"]
    if not gone or figures["gone_seconds"] is None or figures["gone_seconds"] > NEWS_SECONDS:
        return Finding("pass", up, "instances")
    names = ", ".join(gone[:5])
    return Finding(
        "warn", up, "instances", None,
        f"No sign of life from {names}.",
        "Look whether that machine runs and reaches Redis. The chats here are not affected.",
        "fleet_gone", {"names": names}, "none",
    )  # fmt: skip
