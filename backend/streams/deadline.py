"""Time limits for connections that take nothing any more and do not say so. For the event loop's thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable
from typing import Any, Final

WRITE_LIMIT: Final = 30.0
"""Seconds that a peer may take for what is written to it ..."""
SLOWEST: Final = 10_000
"""... and one more for so many bytes of it."""


async def write_in_time(transport: asyncio.BaseTransport | None, writing: Awaitable[Any], size: int) -> None:
    """Await `writing`, of `size` bytes, and abort the connection if that takes too long; whoever writes meets that.

    Raises what `writing` raises; a cancel is passed on to it.
    """
    abort = getattr(transport, "abort", None)
    timer = asyncio.get_running_loop().call_later(WRITE_LIMIT + size / SLOWEST, abort) if abort is not None else None
    try:
        await writing
    finally:
        if timer is not None:
            timer.cancel()


def notice_silence(transport: asyncio.BaseTransport | None) -> None:
    """Have the kernel end the connection if its peer acknowledges nothing for `WRITE_LIMIT`, where it can (Linux).

    Without that, small frames into a dead connection are taken for sent for a quarter of an hour.
    """
    sock = transport.get_extra_info("socket") if transport is not None else None
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if sock is not None and option is not None:
        with contextlib.suppress(OSError):  # not TCP, or closed meanwhile
            sock.setsockopt(socket.IPPROTO_TCP, option, int(WRITE_LIMIT * 1000))
