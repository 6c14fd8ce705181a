"""The routes of the streams: come back to an answer, stop it, or chat over a WebSocket. docs/protocol.md has both.

Who may open a socket, how many there may be, and how all of it ends with the server. What goes over a socket is in
streams/socket.py. For the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from aiohttp import WSCloseCode, web

from ..origin import Refused, check_reader, check_socket, read_json, refusal, serve
from .registry import MAX_RUNNING, StreamRefused, StreamRegistry
from .socket import CODES, MAX_FRAME, SMALL_FRAME, Socket
from .wire import BEAT_SECONDS, PROTOCOL, STATE, Shortener, line, notice_silence, write_in_time

log = logging.getLogger("copilot_pulse.streams")

STREAM_PATH: Final = "/copilot-pulse/streams/{id}"
SOCKET_PATH: Final = "/ws/chat/{session_id}"
MAX_SOCKETS: Final = 1_024
MAX_SOCKETS_PER_SESSION: Final = 16
HEARTBEAT: Final = 20.0
_LAST_WAIT: Final = 2.0


class Streams:
    """The routes of a running plugin. Make it, add the routes before the server starts, `aclose()` at its end."""

    def __init__(self, streams: StreamRegistry, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._streams = streams
        self._clock = clock
        self.sockets: set[Socket] = set()
        # How many sockets were closed with each code that is known; a page may make others up, which are one.
        self.closed: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add all routes, each also below /api; call it before the router is frozen."""
        serve(router, STREAM_PATH, {"GET": self.read}, StreamRefused, head=False)
        serve(router, f"{STREAM_PATH}/cancel", {"POST": self.cancel}, StreamRefused)
        serve(router, SOCKET_PATH, {"GET": self.socket}, head=False)

    def snapshot(self) -> dict[str, Any]:
        """Figures for metrics and health: counts, bytes and limits, no ids and no text."""
        return {
            **self._streams.snapshot(),
            "sockets": len(self.sockets),
            "sockets_closed": dict(sorted(self.closed.items())),
            "limits": {"running": MAX_RUNNING, "sockets": MAX_SOCKETS},
        }

    async def read(self, request: web.Request) -> web.StreamResponse:
        """GET: frames after `?after=`, as NDJSON, to the end of the answer. `?session=` has to be right.

        404: not known here; 410: no longer kept; 503: not known yet, with `Retry-After`; 200 with
        `X-Copilot-Pulse-State: running|finished`.
        """
        check_reader(request)
        after = _number(request.query.get("after", "0"))
        stream = await self._streams.find_anywhere(request.match_info["id"], request.query.get("session", ""), after)
        reader = self._streams.read(stream, after, "http")
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            response = web.StreamResponse(
                headers={
                    "Content-Type": "application/x-ndjson",
                    "Cache-Control": "no-store",
                    "X-Content-Type-Options": "nosniff",
                    "X-Accel-Buffering": "no",
                    STATE: stream.state,
                }
            )
            transport = request.transport
            notice_silence(transport)
            await response.prepare(request)
            short = Shortener()
            state = {"type": "state", "state": stream.state, "seq": stream.relay.seq, "after": reader.after}
            await response.write(line(state))
            async for frame in reader.frames(BEAT_SECONDS):
                if transport is None or transport.is_closing():
                    break
                data = line(short(frame))
                await write_in_time(transport, response.write(data), len(data))
            await write_in_time(transport, response.write_eof(), 0)
        except ConnectionError:
            log.debug("the reader of a stream is gone")
        finally:
            self._tasks.discard(task)
            self._streams.leave(stream, reader)
        return response

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """POST {"session"}: stop the answer at once. 404, 410 and 503 as above; 200 also if it has ended."""
        data = await read_json(request)
        session = data.get("session")
        owner = session if isinstance(session, str) else ""
        stream = await self._streams.find_anywhere(request.match_info["id"], owner)
        state = stream.state
        stream.cancel()
        return web.json_response({"cancelled": state == "running", "state": state})

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """GET with an upgrade: serve one WebSocket until it ends."""
        check_socket(request)
        session = request.match_info["session_id"]
        of_session = sum(socket.session == session for socket in self.sockets)
        if len(self.sockets) >= MAX_SOCKETS or of_session >= MAX_SOCKETS_PER_SESSION:
            raise Refused(429, "too many sockets are open")
        ws = web.WebSocketResponse(
            protocols=(PROTOCOL,), heartbeat=HEARTBEAT, max_msg_size=MAX_FRAME + SMALL_FRAME, timeout=2.0,
            compress=False,
        )  # fmt: skip
        if not ws.can_prepare(request):
            response = refusal(426, f"open this as a WebSocket: {PROTOCOL}")
            response.headers["Upgrade"] = "websocket"
            return response
        await ws.prepare(request)
        socket = Socket(self._streams, ws, request, session, self._clock)
        self.sockets.add(socket)
        try:
            code = await socket.run()
            self.closed[str(code) if code in CODES else "other"] += 1
        finally:
            self.sockets.discard(socket)
            # Its request may be on its way to our own handler, and the page may come back for the answer.
            task = asyncio.get_running_loop().create_task(socket.linger(), name="copilot-pulse stream socket")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return ws

    async def aclose(self) -> None:
        """Tell every page that the server goes, end every reader, and wait. Chats end with the chat registry."""
        goodbyes = [
            socket.ws.close(code=WSCloseCode.GOING_AWAY, message=b"the server stops") for socket in self.sockets
        ]
        await asyncio.gather(*goodbyes, return_exceptions=True)
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_WAIT)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Refused(400, "after has to be a whole number, 0 or more")
    return int(text)
