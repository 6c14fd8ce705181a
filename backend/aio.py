"""Waiting for an event with a limit, without losing a cancel."""

from __future__ import annotations

import asyncio


async def wait_set(event: asyncio.Event, seconds: float) -> bool:
    """Wait until `event` is set, `seconds` at most; returns whether it is. A cancel always passes.

    `asyncio.wait_for` swallows a cancel that comes in the same turn as the event, before Python 3.12.
    """
    waiter = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiter}, timeout=seconds)
        return event.is_set()
    finally:
        waiter.cancel()
