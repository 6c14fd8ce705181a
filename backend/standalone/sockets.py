"""The page's live connection at `/ws?clientId=`, in ComfyUI's message shape `{"type", "data"}`."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from typing import Any, Final

from aiohttp import WSCloseCode, web

from ..aio import cancel_all
from ..streams.wire import encode

log = logging.getLogger("copilot_pulse")

MAX_SOCKETS: Final = 64
_WAITING: Final = 8  # messages that wait for a slow page; a newer update makes an older one worthless
_ID_LENGTH: Final = 100


class _Socket:
    """One page: its connection, and what waits to be sent to it."""

    def __init__(self, client_id: str, ws: web.WebSocketResponse) -> None:
        self.client_id = client_id
        self.ws = ws
        self.waiting: deque[str] = deque(maxlen=_WAITING)
        self.wake = asyncio.Event()


class SocketHub:
    """All open pages. For the loop's thread."""

    def __init__(self) -> None:
        self._sockets: set[_Socket] = set()

    def __len__(self) -> int:
        return len(self._sockets)

    def send(self, name: str, data: Any, client_id: str | None = None) -> None:
        """Queue a message for the pages of `client_id`, or for all. Never waits, nor raises for a dead page.

        A page that does not keep up loses the oldest messages, eight are kept for it.
        """
        message: str | None = None
        for socket in self._sockets:
            if client_id is None or socket.client_id == client_id:
                message = message or encode({"type": name, "data": data})
                socket.waiting.append(message)
                socket.wake.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one page until it leaves; a route handler. A cancel closes the connection."""
        if len(self._sockets) >= MAX_SOCKETS:
            return web.json_response({"error": "too many pages are open"}, status=503)
        ws = web.WebSocketResponse(heartbeat=30, max_msg_size=4096, timeout=2.0)
        await ws.prepare(request)
        # Two tabs may have the same id (a duplicated tab keeps it): both get what is sent to it.
        client_id = request.query.get("clientId", "")[:_ID_LENGTH] or secrets.token_hex(16)
        socket = _Socket(client_id, ws)
        self._sockets.add(socket)
        sender = asyncio.get_running_loop().create_task(self._write(socket), name="page socket")
        try:
            self.send("status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": client_id}, client_id)
            async for _ in ws:
                pass  # pages say nothing here: they use HTTP
        finally:
            self._sockets.discard(socket)
            await cancel_all([sender])
        return ws

    async def _write(self, socket: _Socket) -> None:
        while True:
            await socket.wake.wait()
            socket.wake.clear()
            while socket.waiting:
                try:
                    await socket.ws.send_str(socket.waiting.popleft())
                except (ConnectionError, RuntimeError):  # the page has left; its reader ends, too
                    return
                except Exception as error:  # one bad message must not cost the page those that follow
                    log.warning("a message to a page was left out: %s", type(error).__name__)

    async def aclose(self) -> None:
        """Close every page's connection, side by side; they come back by themselves when we do."""
        closing = [socket.ws.close(code=WSCloseCode.GOING_AWAY) for socket in self._sockets]
        await asyncio.gather(*closing, return_exceptions=True)
