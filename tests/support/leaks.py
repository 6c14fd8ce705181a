"""Proof that nothing is left: tasks of this loop, and sockets of this process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil

from .net import PATIENCE, until


def open_sockets() -> int:
    """Internet sockets that this process holds, listening ones included."""
    inodes = Path("/proc/self/fd")
    if not inodes.is_dir():
        return len(psutil.Process().net_connections())
    found = 0
    for entry in inodes.iterdir():
        with contextlib.suppress(OSError):
            found += os.readlink(entry).startswith("socket:")
    return found


def other_tasks() -> set[asyncio.Task[Any]]:
    """Tasks of the running loop that are not done, without the caller's."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@contextlib.asynccontextmanager
async def no_leaks(timeout: float = PATIENCE, sockets: int = 0) -> AsyncIterator[None]:
    """Fail if the block leaves more tasks or sockets than there were.

    Start servers, the host and the client session before it. It waits up to `timeout` seconds for what is on
    its way out; `sockets` more may stay (a client's idle connections, say).
    """
    tasks, count = other_tasks(), open_sockets()
    yield

    def few_sockets() -> bool:
        return open_sockets() <= count + sockets

    def clean() -> bool:
        # A socket that only waits to be collected is no leak; to collect it costs more than many a test, and on a
        # busy machine the tasks would get no turn between two collections.
        return not (other_tasks() - tasks) and (few_sockets() or (gc.collect() >= 0 and few_sockets()))

    try:
        await until(clean, timeout)
    except AssertionError:
        left = [repr(task.get_coro()) for task in other_tasks() - tasks]
        raise AssertionError(f"left: tasks {left}, sockets {open_sockets()} (before: {count})") from None
