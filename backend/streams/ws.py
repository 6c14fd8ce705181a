"""Chats over a WebSocket at `/ws/chat/{session_id}`: the protocol of docs/protocol.md, version 1.

Who may open one, how many there may be, and how they end with the server. What goes over one is in streams/socket.py.
For the event loop's thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aiohttp import WSCloseCode, web

from .handshake import refusal
from .socket import MAX_FRAME, PROTOCOL, SMALL_FRAME, Socket
from .store import StreamStore

PATH: Final = "/ws/chat/{session_id}"
MAX_SOCKETS: Final = 1_024
MAX_SOCKETS_PER_SESSION: Final = 16
HEARTBEAT: Final = 20.0


class StreamSockets:
    """All sockets. `handle` is the route's handler; `aclose()` ends them and what they have begun."""

    def __init__(self, streams: StreamStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._streams = streams
        self._clock = clock
        self._sockets: set[Socket] = set()
        self._lingering: set[asyncio.Task[None]] = set()
        self.closed: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._sockets)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the route and its twin under /api; call it before the router is frozen."""
        for prefix in ("", "/api"):
            router.add_get(prefix + PATH, self.handle, allow_head=False)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one socket until it ends."""
        if reason := refusal(request):
            return web.json_response({"error": reason}, status=403)
        session = request.match_info["session_id"]
        if len(self._sockets) >= MAX_SOCKETS or sum(s.session == session for s in self._sockets) >= (
            MAX_SOCKETS_PER_SESSION
        ):
            return web.json_response({"error": "too many sockets are open"}, status=429)
        ws = web.WebSocketResponse(
            protocols=(PROTOCOL,), heartbeat=HEARTBEAT, max_msg_size=MAX_FRAME + SMALL_FRAME, timeout=2.0,
            compress=False,
        )  # fmt: skip
        if not ws.can_prepare(request):
            return web.json_response({"error": f"open this as a WebSocket: {PROTOCOL}"}, status=426)
        await ws.prepare(request)
        socket = Socket(self._streams, ws, request, session, self._clock)
        self._sockets.add(socket)
        try:
            code = await socket.run()
            self.closed[code] = self.closed.get(code, 0) + 1
        finally:
            self._sockets.discard(socket)
            # Its request may be on its way to our own handler, and the page may come back for the answer.
            task = asyncio.get_running_loop().create_task(socket.linger(), name="copilot-pulse stream socket")
            self._lingering.add(task)
            task.add_done_callback(self._lingering.discard)
        return ws

    async def aclose(self) -> None:
        """Tell every page that the server goes, and wait until nothing of the sockets runs."""
        closing = [
            socket.ws.close(code=WSCloseCode.GOING_AWAY, message=b"the server stops") for socket in self._sockets
        ]
        await asyncio.gather(*closing, return_exceptions=True)
        for task in self._lingering:
            task.cancel()
        if self._lingering:
            await asyncio.wait(set(self._lingering), timeout=2.0)
