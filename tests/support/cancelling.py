"""Cancels a coroutine at each of its suspensions in turn: what a shutdown may hit is hit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any


class CancelAt:
    """Awaits `coro` and cancels the task that does so at its `number`-th suspension. `hit` tells whether it came.

    As with any cancel, what is being waited for is cancelled first, and the coroutine may go on for some suspensions.
    """

    def __init__(self, coro: Coroutine[Any, Any, Any], number: int) -> None:
        self.hit = False
        self._coro = coro
        self._left = number

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = partial(self._coro.send, None)
        while True:
            try:
                waiting = step()
            except StopIteration as end:
                return end.value
            self._left -= 1
            if self._left == 0:
                self.hit = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield waiting
                step = partial(self._coro.send, None)
            except BaseException as error:
                step = partial(self._coro.throw, error)


class CancelOne:
    """A task factory: the first coroutine with this qualified name is cancelled at its `number`-th suspension.

    Or the one that keeps it up.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.driver: CancelAt | None = None

    @property
    def hit(self) -> bool:
        """Whether it was cancelled."""
        return self.driver is not None and self.driver.hit

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        if self.driver is None and self.name in _names(coro):
            self.driver = CancelAt(coro, self.number)
            return asyncio.Task(_await(self.driver), loop=loop, **options)
        return asyncio.Task(coro, loop=loop, **options)


def _names(coro: Any) -> set[str]:
    """The coroutine's own name, and of one that keeps another up the other's."""
    kept = coro.cr_frame.f_locals.get("run") if getattr(coro, "__qualname__", "") == "kept_up" else None
    return {getattr(one, "__qualname__", "") for one in (coro, kept)}


async def _await(driver: CancelAt) -> Any:
    return await driver
