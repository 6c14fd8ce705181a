"""One-shot timers: the loop's own, or made of an injected `sleep` so that a test's clock drives them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

Sleep = Callable[[float], Awaitable[object]]


class Cancellable(Protocol):
    """What a timer hands out: `cancel()` keeps it from firing."""

    def cancel(self) -> object: ...


Timer = Callable[[float, Callable[[], object]], Cancellable]
"""`timer(delay, callback)` calls `callback()` on the loop after `delay` seconds, unless cancelled."""


def make_timer(sleep: Sleep | None = None) -> Timer:
    """A timer on the running loop's clock, or, if given, on whatever `sleep(seconds)` waits for."""
    if sleep is None:
        return _loop_timer
    pause = sleep

    def timer(delay: float, callback: Callable[[], object]) -> Cancellable:
        async def run() -> None:
            await pause(delay)
            callback()

        return asyncio.get_running_loop().create_task(run())

    return timer


def _loop_timer(delay: float, callback: Callable[[], object]) -> Cancellable:
    return asyncio.get_running_loop().call_later(delay, callback)
