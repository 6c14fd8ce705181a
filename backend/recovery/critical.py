"""Whether a critical error is still with us: health fails from it until its cause has passed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .classify import Classification

HOLD: Final = 60.0
"""Seconds without another critical error after which the cause may have passed."""
ENOUGH_FREE: Final = 0.05
"""Share of the memory that must be free before an out-of-memory has passed."""


def memory_free_share() -> float | None:
    """Free share of the system's memory, from 0 to 1; None where it cannot be told."""
    try:
        import psutil  # at the first critical error, not at start-up

        memory = psutil.virtual_memory()
        return float(memory.available) / float(memory.total)
    except Exception:  # no psutil, no /proc: an unknown state must not keep health failing for ever
        return None


class CriticalState:
    """Remembers the last critical error until it has passed. Any thread; nothing waits.

    It has passed after 60 s without another one; an out-of-memory also needs 5 % of the memory free again.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        memory_free: Callable[[], float | None] | None = None,
        hold: float = HOLD,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._memory_free = memory_free or memory_free_share
        self._hold = hold
        self._cause: dict[str, Any] | None = None
        self._since = 0.0

    def note(self, verdict: Classification) -> None:
        """A critical error happened."""
        count = self._cause["count"] + 1 if self._cause is not None else 1
        self._since = self._clock()
        self._cause = {
            "kind": verdict.kind,
            "type": verdict.type,
            "message": verdict.message,
            "time": self._wall(),
            "count": count,
        }

    def active(self) -> dict[str, Any] | None:
        """The cause, as {kind, type, message, time, count}, or None once it has passed."""
        cause = self._cause
        if cause is None or self._clock() - self._since < self._hold:
            return None if cause is None else dict(cause)
        free = self._memory_free() if cause["kind"] == "memory" else None
        if free is not None and free < ENOUGH_FREE:
            return dict(cause)
        self._cause = None
        return None

    def clear(self) -> None:
        """Forget it."""
        self._cause = None
