"""An event loop whose clock jumps: a minute of timers takes as long as the code between them."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

# A turn takes time, as in life: or what is left of a wait by a rounding error would be waited for without end.
TURN_SECONDS: Final = 1e-9


class _Jumping(selectors.DefaultSelector):
    """Where the loop would sleep until its next timer, its clock moves there instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        self.loop.moved += TURN_SECONDS
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("every task waits and no timer is set: on a virtual clock that would last for ever")
        self.loop.moved += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop for simulations: `time()` is seconds since it was made, and moves only when nothing is ready (and by a
    nanosecond a turn).

    Whatever waits by the loop's own timers runs on it unchanged, and always in the same order. Not for code
    that waits for other threads, processes or sockets: nothing would give these the time they need. A loop
    on which every task waits, and no timer is set, raises RuntimeError.
    """

    def __init__(self) -> None:
        self.moved = 0.0
        selector = _Jumping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Virtual seconds."""
        return self.moved


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """What `main` returns, run on a `VirtualLoop` of its own; tasks that it leaves behind are cancelled."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
