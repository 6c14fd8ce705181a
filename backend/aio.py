"""Waits that lose no cancel: for an event with a limit, for a task to end, for tasks that are cancelled here.

`asyncio.wait_for` swallows a cancel that comes in the same turn as what it waits for, before Python 3.12.
`asyncio.wait` does not; all of these stand on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


async def wait_set(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until `event` is set, `seconds` at most (None: for ever); whether it was, even if it is cleared again.

    A cancel passes at once and leaves nothing behind.
    """
    if event.is_set():
        return True
    waiter = asyncio.ensure_future(event.wait())
    try:
        done, _ = await asyncio.wait({waiter}, timeout=seconds)
        return bool(done) or event.is_set()
    finally:
        waiter.cancel()


async def ends(task: asyncio.Future[Any], seconds: float | None) -> bool:
    """Wait until `task` has ended, `seconds` at most; whether it has. It is not cancelled, its error not raised."""
    done, _ = await asyncio.wait({task}, timeout=seconds)
    return bool(done)


async def cancel_all(tasks: Iterable[asyncio.Future[Any] | None], seconds: float | None = None) -> bool:
    """Cancel what still runs of `tasks`, each once, and wait for all, `seconds` at most; whether all have ended.

    Their errors are not raised. If the caller is cancelled meanwhile the tasks stay cancelled, and end by
    themselves. The caller's own task and None may be among them: both are passed over.
    """
    own = asyncio.current_task()
    running = {task for task in tasks if task is not None and task is not own and not task.done()}
    for task in running:
        task.cancel()
    if not running:
        return True
    _, left = await asyncio.wait(running, timeout=seconds)
    return not left
