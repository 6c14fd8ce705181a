"""What a route does once every so many events: sample the latency, and see that the loop gets its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from .bus_event import DONE, Event
from .bus_routes import Answer, Tick

MAX_BETWEEN: Final = 127
KEEP_SAMPLES: Final = 4096


class Pacer:
    """Makes the `tick` of each route. For the loop's thread.

    A publisher whose handlers are all plain functions never has to wait, so `while True: await publish()`
    would hold the loop for ever. A tick notices when the loop has not turned for `slice_seconds` and then
    answers with a coroutine that lets it turn once. Ticks come every 128 events at least, and more often
    when handlers are slow: about four in a slice, as far as the past tells.
    """

    def __init__(self, clock: Callable[[], float], slice_seconds: float) -> None:
        self._clock = clock
        self._slice = slice_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._since = 0.0
        self._pending = False
        self.samples: deque[float] = deque(maxlen=KEEP_SAMPLES)

    def make_tick(self, *, sampled: bool, waits: bool) -> Tick:
        """A tick for one route: `sampled` if it calls handlers itself, `waits` if its publisher may wait."""
        clock, samples, quarter = self._clock, self.samples, self._slice / 4
        done: Answer = DONE if waits else None
        between = 0
        last = float("-inf")

        def tick(event: Event) -> tuple[int, Answer]:
            nonlocal between, last
            now = clock()
            elapsed, last = now - last, now
            if sampled:
                samples.append(now - event.time)
            # Twice as many until the next, or as many as would have fitted into a quarter of a slice.
            more = 2 * between + 1 if elapsed < quarter else int(between * quarter / elapsed)
            between = min(more, MAX_BETWEEN)
            return between, (self._breathe() if waits and self._overdue(now) else done)

        return tick

    def _overdue(self, now: float) -> bool:
        """Whether the loop has not turned for a slice. Leaves a mark that the loop's next turn takes off."""
        if self._pending and now - self._since < self._slice:
            return False
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

    async def _breathe(self) -> None:
        await asyncio.sleep(0)
