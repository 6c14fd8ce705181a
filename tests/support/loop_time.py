"""Moves a running loop's clock ahead, so that a test of silence takes no time and a slow machine changes nothing.

A limit on silence can be as long in tests as it is for users: while a model server of the test does nothing but
stall, nobody else has anything to do, and the time that the limit still asks for is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import process_time

from tests.support.llm_server import FaultServer

SKIP = 31.0  # more than any limit that ENVIRONMENT sets
LOOK = 0.01
# Who has something to do uses the processor, on a slow machine too. So little CPU between two looks, in seconds, is
# idle; so many idle looks in a row say that everybody waits for the model.
IDLE_CPU = 0.0015
IDLE_LOOKS = 4


class LoopTime:
    """The running loop's clock with what was skipped added; everything that the loop times follows it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._real = self._loop.time
        self.skipped = 0.0

    def __call__(self) -> float:
        return self._real() + self.skipped

    def skip(self, seconds: float) -> None:
        """Move on: what is due by then runs in the loop's next turns. What has arrived is read before that."""
        self.skipped += seconds


@contextlib.asynccontextmanager
async def stalls_skipped(*servers: FaultServer) -> AsyncIterator[LoopTime]:
    """While all that the servers do is to stall, and nobody else has anything to do, the loop's clock runs ahead."""
    loop = asyncio.get_running_loop()
    time = LoopTime()
    loop.time = time  # type: ignore[method-assign]

    def all_stall() -> bool:
        return any(s.stalled for s in servers) and all(s.stalled == s.active for s in servers)

    async def look() -> None:
        idle = 0
        while True:
            used = process_time()
            await asyncio.sleep(LOOK)
            idle = idle + 1 if all_stall() and process_time() - used < IDLE_CPU else 0
            if idle >= IDLE_LOOKS:
                idle = 0
                time.skip(SKIP)

    task = loop.create_task(look())
    try:
        yield time  # what was skipped stays skipped: a clock never goes back
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
