"""A clock that the test moves by hand."""

from __future__ import annotations

import asyncio


class FakeClock:
    """Call it for the time in seconds; `advance` moves it; `sleep` notes the wish, moves on and yields once.

    Use the object itself as `clock=` and its bound `sleep` as `sleep=`; `slept` lists what was asked for.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self.time = start
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.time

    def now(self) -> float:
        """The same as calling the object."""
        return self.time

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.time += seconds

    async def sleep(self, seconds: float) -> None:
        """Pretend to sleep; a cancel at its one yield is let through, with the time already moved."""
        self.slept.append(seconds)
        self.time += max(seconds, 0.0)
        await asyncio.sleep(0)
