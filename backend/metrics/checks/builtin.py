"""The checks that every running plugin has. Each says what it saw, against which limit, and what to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from ..health import Check, Finding, Level
from ..histogram import quantiles
from ..layers.chat import ChatLayer
from ..layers.error import ErrorLayer
from ..layers.event import EventLayer
from ..layers.system import SystemLayer
from ..prices import Prices
from . import fleet, store

RECENT_SECONDS: Final = 300.0
"""Seconds for which a failed chat counts."""
ALL_FAILED_MIN: Final = 3
RECOVERY_MIN: Final = 5
RECOVERY_LOW: Final = 0.8
NEWS_SECONDS: Final = 60.0
"""Seconds for which a stall of the loop, a dropped event or a critical error is still news."""
STALL_WARNS: Final = 1.0
"""Seconds; shorter ones, of the loop or of the process, are told as events: each load of ComfyUI's own page
causes some."""
LAG_MIN: Final = 100
MEMORY_FULL: Final = 95.0
"""Percent in use above which an out-of-memory has not passed."""
STREAMS_CROWDED: Final = 0.9


_CRITICAL_ADVICE: Final[Mapping[str, tuple[str, str]]] = {  # by kind: code, advice
    "memory": ("critical", "Free memory (unload models, close other programs) or restart {program}."),
    "system": ("critical_system", "Check free disk space and open files, and restart {program}."),
}


class Watched(Protocol):
    """What the checks look at: the monitor's parts."""

    events: EventLayer
    errors: ErrorLayer
    chat: ChatLayer
    system: SystemLayer
    clock: Callable[[], float]

    @property
    def prices(self) -> Prices:
        """What tokens cost."""

    def rows(self, source: str) -> list[dict[str, Any]]:
        """The rows of a source as last read."""

    def value(self, source: str) -> Any:
        """What a source said last, or None."""


def builtin(monitor: Watched) -> dict[str, tuple[Check, str]]:
    """name -> (check, componentType)."""
    return {
        "copilot:seams": (_seams(monitor), "component"),
        "pulse:faults": (_faults(monitor), "component"),
        "errors:critical": (_critical(monitor), "component"),
        "chat:failures": (_chat_failures(monitor), "component"),
        "errors:recoveryRate": (_recovery(monitor), "component"),
        "breakers:open": (_breakers(monitor), "component"),
        "mcp:connections": (_mcp(monitor), "component"),
        "streams:running": (_streams(monitor), "component"),
        "events:queueFill": (_queue_fill(monitor), "system"),
        "events:dropped": (_dropped(monitor), "system"),
        "events:latency": (_latency(monitor), "system"),
        "loop:lag": (_lag(monitor), "system"),
        "loop:stall": (_stall(monitor), "system"),
        "system:memory": (_memory(monitor), "system"),
        "settings:prices": (_prices(monitor), "component"),
        **fleet.checks(lambda: monitor.value("fleet")),
        **store.checks(lambda: monitor.value("store")),
    }


def _seams(monitor: Watched) -> Check:
    def check() -> Finding | None:
        if monitor.value("seams") is None:
            return None
        rows = monitor.rows("seams")
        missing = [row for row in rows if not row.get("attached")]
        attached = len(rows) - len(missing)
        if rows and not missing:
            return Finding("pass", attached, "seams", len(rows))
        if attached == 0:
            detail = next((str(row["detail"]) for row in missing if row.get("detail")), "")
            if "switched off" in detail:
                return Finding(
                    "warn", 0, "seams", len(rows) or None,
                    "Copilot Pulse is switched off: chats run as without it.",
                    "Switch it on in the settings, under Copilot Pulse, or take COPILOT_PULSE=off out of "
                    "the environment.",
                    "switched_off", {"detail": detail}, "none",
                )  # fmt: skip
            if detail.startswith(("ComfyUI-Copilot is installed", "This ComfyUI-Copilot")):
                return Finding(
                    "warn", 0, "seams", len(rows) or None,
                    "ComfyUI-Copilot cannot be used.", detail, "copilot_broken", {"detail": detail},
                )  # fmt: skip
            return Finding(
                "warn", 0, "seams", len(rows) or None,
                "ComfyUI-Copilot is not attached" + (f": {detail}." if detail else "."),
                "Install ComfyUI-Copilot beside this plugin, or see in ComfyUI's start log why it did not "
                "load, and restart ComfyUI.",
                "copilot_missing", {"detail": detail},
            )  # fmt: skip
        names = ", ".join(str(row.get("name", "?")) for row in missing)
        return Finding(
            "warn", attached, "seams", len(rows),
            f"This Copilot differs from the versions we know; not attached: {names}.",
            "Those parts work as without this plugin. Update Copilot and Copilot Pulse, or report the "
            "diagnostics with Copilot's version.",
            "seams_missing", {"names": names},
        )  # fmt: skip

    return check


def _faults(monitor: Watched) -> Check:
    """What of ours has broken: chats go on without it, and somebody should know."""

    def check() -> Finding | None:
        if monitor.value("faults") is None:
            return None
        rows = [row for row in monitor.rows("faults") if row["ago"] < RECENT_SECONDS]
        if not rows:
            return Finding("pass", 0, "faults", 1)
        missing = ", ".join(dict.fromkeys(row["missing"] for row in rows))
        first = rows[0]
        where = f"{first['type']} in {first['place']}"
        return Finding(
            "warn", sum(row["count"] for row in rows), "faults", 1,
            f"Something of Copilot Pulse broke; chats went on without: {missing}.",
            "Answers are not affected. Please report it, with the diagnostics.",
            "fault", {"missing": missing, "where": where}, "none",
        )  # fmt: skip

    return check


def _critical(monitor: Watched) -> Check:
    """Passes again a minute after the last critical error; after an out-of-memory only once some memory is free."""

    def check() -> Finding:
        when, kind, type_ = monitor.errors.last_critical or (float("-inf"), "", "")
        used = monitor.system.process.get("memory_used_percent")
        full = kind == "memory" and used is not None and used > MEMORY_FULL
        if monitor.clock() - when >= NEWS_SECONDS and not full:
            monitor.errors.last_critical = None
            return Finding("pass", 0, "errors", 1)
        code, advice = _CRITICAL_ADVICE.get(kind, _CRITICAL_ADVICE["memory"])
        return Finding(
            "fail", 1, "errors", 1,
            f"A critical error stopped a chat: {type_}.",
            f"{advice} This clears once the cause has passed.",
            code, {"cause": type_},
        )  # fmt: skip

    return check


# Kinds of failures that are this program's own. For those of a server nobody restarts ComfyUI, nor for what breaks
# Copilot or its library, where three messages of a wrong shape are enough, whoever sends them.
_OURS: Final = frozenset(("fault", *_CRITICAL_ADVICE))


def _chat_failures(monitor: Watched) -> Check:
    def check() -> Finding:
        ended = [o for o in monitor.chat.ended_within(RECENT_SECONDS, monitor.clock()) if o != "cancelled"]
        failed = ended.count("failed")
        if not failed:
            return Finding("pass", 0, "chats", 1)
        lost = [
            row for row in monitor.errors.ended_within(RECENT_SECONDS, monitor.clock()) if row["outcome"] == "gave_up"
        ]
        cause = str(lost[-1].get("message", "")).rstrip(". ")[:200] if lost else ""
        because = f" Last: {cause}." if cause else ""
        # With the newest chat answered, what failed before it is no reason to act any more.
        if failed == len(ended) and failed >= ALL_FAILED_MIN:
            servers = bool(lost) and _OURS.isdisjoint(row.get("kind") for row in lost)
            return Finding(
                "warn" if servers else "fail", failed, "chats", ALL_FAILED_MIN,
                f"All of the last {failed} chats failed.{because}",
                "Check the model's base URL, its key and whether its server runs.",
                "chats_all_failed", {"failed": failed, "cause": cause},
            )  # fmt: skip
        what = f"{failed} of the last {len(ended)} chats" if len(ended) > 1 else "The last chat"
        return Finding(
            "warn", failed, "chats", 1,
            f"{what} failed.{because}",
            "The chat says what to change; the error log has the details.",
            "chats_failed", {"failed": failed, "of": len(ended), "cause": cause},
            "none" if ended[-1] == "completed" else "",
        )  # fmt: skip

    return check


def _recovery(monitor: Watched) -> Check:
    def check() -> Finding | None:
        share, ended = monitor.errors.recovery(monitor.clock())
        if share is None or ended < RECOVERY_MIN:
            return None
        if share >= RECOVERY_LOW:
            return Finding("pass", round(share, 3), "ratio", RECOVERY_LOW)
        return Finding(
            "warn", round(share, 3), "ratio", RECOVERY_LOW,
            f"Asking again helped in only {share:.0%} of the failures of the last 5 minutes.",
            "Look at the errors by host: a model server that keeps failing is better replaced than retried.",
            "recovery_low", {"share": round(share, 3)},
        )  # fmt: skip

    return check


def _breakers(monitor: Watched) -> Check:
    def check() -> Finding | None:
        if monitor.value("breakers") is None:
            return None
        held = [row for row in monitor.rows("breakers") if row.get("state") != "closed"]
        if not held:
            return Finding("pass", 0, "breakers", 1)
        names = ", ".join(str(row.get("name", "?")) for row in held)
        # Nothing but a chat asks a model server: once its time is up, it waits for the next one.
        wait = math.ceil(max(float(row.get("retry_in") or 0) for row in held))
        when = f"In {wait} s the next chat tries it" if wait else "The next chat tries it"
        return Finding(
            "warn", len(held), "breakers", 1,
            f"Paused because it kept failing: {names}.",
            f"{when}; check that the model server runs, or let the panel's retry button allow a call at once.",
            "breaker_open" if wait else "breaker_due", {"names": names, "retry_in": wait},
        )  # fmt: skip

    return check


def _mcp(monitor: Watched) -> Check:
    def check() -> Finding | None:
        if monitor.value("mcp") is None:
            return None
        down = [row for row in monitor.rows("mcp") if row.get("state") == "down"]
        if not down:
            return Finding("pass", 0, "servers", 1)
        names = ", ".join(dict.fromkeys(str(row.get("host") or row.get("server", "?")) for row in down))
        return Finding(
            "warn", len(down), "servers", 1,
            f"Not reachable: {names}.",
            "Chats go on without the tools of these servers. Nothing to do if the service is known to be "
            "suspended; else check the network or proxy.",
            "mcp_down", {"names": names}, "none",
        )  # fmt: skip

    return check


def _streams(monitor: Watched) -> Check:
    def check() -> Finding | None:
        told = monitor.value("streams")
        if told is None:
            return None
        running, sockets, limits = told["running"], told["sockets"], told["limits"]
        if max(running / limits["running"], sockets / limits["sockets"]) < STREAMS_CROWDED:
            return Finding("pass", running, "streams", limits["running"])
        return Finding(
            "warn", running, "streams", limits["running"],
            f"{running} answers are running and {sockets} sockets are open: nearly all that are allowed.",
            "Close pages that chat, or wait for answers to end.",
        )  # fmt: skip

    return check


def _queue_fill(monitor: Watched) -> Check:
    level = Level(warn=0.7)

    def check() -> Finding:
        fill = monitor.events.worst_fill
        if level.of(fill) == "pass":
            return Finding("pass", round(fill, 3), "ratio", level.warn)
        name = monitor.events.queues[0]["name"] if monitor.events.queues else "a queue"
        return Finding(
            "warn", round(fill, 3), "ratio", level.warn,
            f"The queue of {name} is {fill:.0%} full.",
            "Its reader is too slow: publishers are slowed down, and above 90 % pieces of text are merged. "
            "Close what reads it or raise queue_size.",
            "queue_full", {"name": name, "percent": round(100 * fill)},
        )  # fmt: skip

    return check


def _dropped(monitor: Watched) -> Check:
    seen = {"total": 0, "at": float("-inf")}

    def check() -> Finding:
        total, now = monitor.events.lost("dropped"), monitor.clock()
        if total > seen["total"]:
            seen["at"] = now
        seen["total"] = total
        if now - seen["at"] > NEWS_SECONDS:
            return Finding("pass", total, "events")
        return Finding(
            "warn", total, "events", None,
            f"Events were dropped in the last minute ({total} since the start).",
            "A subscriber does not keep up; see which queue is full. Answers are not affected.",
            "events_dropped", {"total": total},
        )  # fmt: skip

    return check


def _latency(monitor: Watched) -> Check:
    level = Level(warn=0.25)

    def check() -> Finding | None:
        latency = monitor.events.latency.read(monitor.clock())
        (p99,) = quantiles(latency, (0.99,))
        if p99 is None:
            return None
        if level.of(p99) == "pass":
            return Finding("pass", round(p99, 6), "s", level.warn)
        return Finding(
            "warn", round(p99, 6), "s", level.warn,
            f"Events take up to {p99:.2f} s to reach their handlers.",
            "Something holds the event loop or a subscriber is slow; see the loop's lag and the queues.",
            "latency_high", {"seconds": round(p99, 3)},
        )  # fmt: skip

    return check


def _lag(monitor: Watched) -> Check:
    # Each load of ComfyUI's own page holds its loop for up to half a second.
    level = Level(warn=0.5, fail=2.0)

    def check() -> Finding | None:
        lag = monitor.system.lag.read(monitor.clock())
        (p99,) = quantiles(lag, (0.99,))
        # Among the first few beats one late one, while plugins still load, would already be the p99.
        if p99 is None or lag.count < LAG_MIN:
            return None
        status = level.of(p99)
        if status == "pass":
            return Finding("pass", round(p99, 6), "s", level.warn)
        return Finding(
            status, round(p99, 6), "s", level.threshold(),
            f"The event loop answers up to {p99:.2f} s late.",
            "Everybody's interface is slow: a plugin blocks {program} (the last stall names it), "
            "or the machine is at its limit.",
            "loop_lag", {"seconds": round(p99, 3)},
        )  # fmt: skip

    return check


def _stall(monitor: Watched) -> Check:
    def check() -> Finding:
        stall = monitor.system.last_stall
        if stall is None or monitor.clock() - monitor.system.last_stall_at > NEWS_SECONDS:
            return Finding("pass", 0, "s")
        seconds, frame = float(stall.get("seconds", 0)), str(stall.get("frame", ""))
        if seconds < STALL_WARNS:
            return Finding("pass", round(seconds, 3), "s", STALL_WARNS)
        if stall.get("cause") == "paused":
            return Finding(
                "warn", round(seconds, 3), "s", None,
                f"The whole process stood still for {seconds:.1f} s.",
                "Nothing to do if the computer slept; else it is out of memory or processor time.",
                "process_paused", {"seconds": round(seconds, 1)}, "none",
            )  # fmt: skip
        return Finding(
            "warn", round(seconds, 3), "s", None,
            f"The event loop stood still for {seconds:.1f} s in {frame}.",
            "While it does, {program} answers nobody. Report it to that plugin's author; updating it may help.",
            "loop_stalled", {"seconds": round(seconds, 1), "frame": frame},
        )  # fmt: skip

    return check


def _memory(monitor: Watched) -> Check:
    level = Level(warn=95.0, release=0.97)

    def check() -> Finding | None:
        used = monitor.system.process.get("memory_used_percent")
        if used is None:
            return None
        if level.of(used) == "pass":
            return Finding("pass", used, "percent", level.warn)
        return Finding(
            "warn", used, "percent", level.warn,
            f"{used:.0f} % of the machine's memory is in use.",
            "Unload models or close programs before the system starts to swap or kills {program}.",
            "memory_low", {"percent": round(used)},
        )  # fmt: skip

    return check


def _prices(monitor: Watched) -> Check:
    def check() -> Finding | None:
        prices = monitor.prices
        if not prices.rows and not prices.problems:
            return None
        if not prices.problems:
            return Finding("pass", len(prices.rows), "prices")
        return Finding(
            "warn", len(prices.problems), "entries", 1,
            f"Prices: {prices.problems[0]}.",
            "The other prices hold. Change it in the settings, or in COPILOT_PULSE_PRICES.",
            "prices_unread", {"entry": prices.unread[0]}, "none",
        )  # fmt: skip

    return check
