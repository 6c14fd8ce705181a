"""A publisher in a flood lets the event loop turn once in a while; so the latency of plain handlers is sampled, too."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from .event import DONE, Event
from .routes import Answer, Tick
from .settings import BusSettings

MAX_BETWEEN: Final = 127
KEEP_SAMPLES: Final = 4096


class LoopTurns:
    """Makes the `tick` of each route: what it does once every so many events. For the loop's thread.

    A publisher whose handlers are all plain functions never has to wait, so `while True: await publish()`
    would hold the loop for ever. A tick notices when the loop has not turned for `slice_seconds` and then
    answers with a coroutine that lets it turn once. Ticks come every 128 events at least, and more often
    when handlers are slow: about four in a slice, as far as the past tells. Unlike a mailbox, a route does not
    look at the clock after each event: that would cost a tenth of the time of a publish.
    """

    def __init__(self, settings: BusSettings) -> None:
        self._clock = settings.clock
        self._slice = settings.slice_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._since = 0.0
        self._pending = False
        self.samples: deque[float] = deque(maxlen=KEEP_SAMPLES)

    def make_tick(self, *, sampled: bool, waits: bool) -> Tick:
        """A tick for one route: `sampled` if it calls handlers itself, `waits` if its publisher may wait."""
        clock, sample, slice_ = self._clock, self.samples.append, self._slice
        done: Answer = DONE if waits else None
        between = 0
        last = float("-inf")

        def tick(event: Event) -> tuple[int, Answer]:
            nonlocal between, last
            now = clock()
            if sampled:
                sample(now - event.time)
            elapsed, last = now - last, now
            if elapsed >= slice_ / 4:
                between = int(between * slice_ / 4 / elapsed)
            elif between < MAX_BETWEEN:
                between = 2 * between + 1
            # The next tick comes a quarter later, which would be too late.
            if waits and (not self._pending or now - self._since >= slice_ * 0.75) and self._overdue(now):
                return between, self._turn()
            return between, done

        return tick

    def _overdue(self, now: float) -> bool:
        """Whether the loop has not turned for a slice. Leaves a mark that the loop's next turn takes off."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._pending and loop is self._loop:
            return True
        self._loop, self._since, self._pending = loop, now, True
        loop.call_soon(self._turned)
        return False

    def _turned(self) -> None:
        self._pending = False

    async def _turn(self) -> None:
        await asyncio.sleep(0)
