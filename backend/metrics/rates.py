"""Rates over sliding windows from a counter that only rises, whatever the rhythm in which it is looked at."""

from __future__ import annotations

from array import array
from typing import Final

WINDOWS: Final = (1, 10, 60)
_KEPT: Final = 128  # looks kept: 60 s at one a second, with room for a rhythm twice as fast


class SlidingRate:
    """What a counter gained per second over the last 1, 10 and 60 s. For one thread.

    `look(now, total)` is called about once a second. A rate is what the counter gained since the look
    that lies a window back, divided by the time that really passed, so an uneven rhythm or a blocked
    loop does not distort it. Looks closer than a quarter of a second replace each other.
    """

    __slots__ = ("_next", "_times", "_totals", "_used")

    def __init__(self) -> None:
        self._times = array("d", bytes(8 * _KEPT))
        self._totals = array("d", bytes(8 * _KEPT))
        self._next = 0
        self._used = 0

    def look(self, now: float, total: float) -> None:
        """Note the counter's value at the monotonic time `now`."""
        if self._used > 1 and now - self._times[(self._next - 2) % _KEPT] < 0.25:
            self._next = (self._next - 1) % _KEPT
            self._used -= 1
        self._times[self._next] = now
        self._totals[self._next] = total
        self._next = (self._next + 1) % _KEPT
        self._used = min(self._used + 1, _KEPT)

    def rate(self, window: float, now: float, total: float) -> float:
        """Gain per second over the last `window` seconds, or over the time known if that is shorter."""
        start = -1
        for back in range(1, self._used + 1):
            index = (self._next - back) % _KEPT
            # A look a little too young counts: looks come once a second give or take the loop's lag.
            start = index
            if now - self._times[index] >= window - 0.25:
                break
        if start < 0:
            return 0.0
        passed = now - self._times[start]
        return max(0.0, (total - self._totals[start]) / passed) if passed > 0 else 0.0

    def rates(self, now: float, total: float) -> dict[str, float]:
        """`{"1s": ..., "10s": ..., "60s": ...}`, events per second."""
        return {f"{window}s": round(self.rate(window, now, total), 3) for window in WINDOWS}
