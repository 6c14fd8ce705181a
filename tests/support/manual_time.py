"""Time that stands still until the test moves it, for code that is given `clock` and `sleep`.

Unlike `FakeClock`, whose `sleep` returns at once, a sleeper here sleeps until `advance()` passes its hour.
"""

from __future__ import annotations

import asyncio
import itertools


async def turns(number: int = 20) -> None:
    """Let everything that is ready run: that many turns of the loop."""
    for _ in range(number):
        await asyncio.sleep(0)


class ManualTime:
    """Use the object as `clock=` and its `sleep` as `sleep=`; `asked` lists the sleeps, in seconds."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start
        self.asked: list[float] = []
        self._sleepers: dict[int, tuple[float, asyncio.Future[None]]] = {}
        self._ids = itertools.count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait until the time has been moved on by `seconds`."""
        self.asked.append(seconds)
        future = asyncio.get_running_loop().create_future()
        me = next(self._ids)
        self._sleepers[me] = (self.now + seconds, future)
        try:
            await future
        finally:
            del self._sleepers[me]

    @property
    def sleepers(self) -> int:
        """How many sleep now."""
        return len(self._sleepers)

    def jump(self, seconds: float) -> None:
        """Move on and wake who has slept long enough, without letting anybody run yet."""
        self.now += seconds
        for hour, future in self._sleepers.values():
            if hour <= self.now + 1e-9 and not future.done():
                future.set_result(None)

    async def advance(self, seconds: float) -> None:
        """Move on in small steps, letting everybody run after each."""
        await turns()  # who is about to sleep has to sleep first
        end = self.now + seconds
        while True:
            hours = [hour for hour, future in self._sleepers.values() if not future.done()]
            step = min([end, *hours])
            self.jump(max(0.0, step - self.now))
            await turns()
            if self.now >= end - 1e-9:
                return
