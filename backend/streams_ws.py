"""Chats over a WebSocket at `/ws/chat/{session_id}`: the protocol of docs/protocol.md, version 1.

A socket is nothing but a way to ask and to read: a chat is asked by a request of the server to itself
(stream_loopback.py), and what comes back is read from its relay, as over HTTP. A socket that breaks leaves the
chats running for their grace period. For the event loop's thread.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from .relay import RelayReader
from .stream_handshake import refusal
from .stream_loopback import PATHS, Loopback, NoAddress
from .stream_store import Stream, StreamRefused, StreamStore
from .stream_wire import Shortener, Wire, encode

log = logging.getLogger("copilot_pulse.streams")

PATH: Final = "/ws/chat/{session_id}"
PROTOCOL: Final = "copilot-pulse.v1"
VERSION: Final = 1
MAX_FRAME: Final = 8 * 2**20
"""Bytes of an invoke, which may hold pictures; every other frame of a client is limited to SMALL_FRAME."""
SMALL_FRAME: Final = 4096
FRAMES_PER_SECOND: Final = 30.0
BURST: Final = 60
MAX_SOCKETS: Final = 1_024
MAX_SOCKETS_PER_SESSION: Final = 16
MAX_STREAMS: Final = 8
IDLE_LIMIT: Final = 60.0
PAUSE_LIMIT: Final = 300.0
HEARTBEAT: Final = 20.0

MALFORMED: Final = 4400
WRONG_SESSION: Final = 4403
TOO_LONG: Final = 4408
OUT_OF_ORDER: Final = 4409
WRONG_VERSION: Final = 4426
TOO_MUCH: Final = 4429


class _Close(Exception):
    """Raised to close the socket with a code and a reason for the client."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamSockets:
    """All sockets. `handle` is the route's handler; `aclose()` ends them and what they have begun."""

    def __init__(self, streams: StreamStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._streams = streams
        self._clock = clock
        self._sockets: set[_Socket] = set()
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
        socket = _Socket(self._streams, ws, request, session, self._clock)
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


class _Socket:
    """One connection: reads the client's frames, and runs a task for each stream that it reads."""

    def __init__(
        self,
        streams: StreamStore,
        ws: web.WebSocketResponse,
        request: web.Request,
        session: str,
        clock: Callable[[], float],
    ) -> None:
        self.ws = ws
        self.session = session
        self._streams = streams
        self._request = request
        self._clock = clock
        self._readings: dict[str, _Reading] = {}
        self._numbers = itertools.count()
        self._asking: set[asyncio.Task[None]] = set()
        self._loopback: Loopback | None = None
        self._tokens = float(BURST)
        self._refilled = clock()

    async def run(self) -> int:
        """Serve until the socket is closed; returns the code of the close."""
        ws = self.ws
        try:
            if ws.ws_protocol != PROTOCOL:
                raise _Close(WRONG_VERSION, f"this server speaks {PROTOCOL}")
            await self._send({"type": "hello", "version": VERSION, "limits": LIMITS})
            while True:
                try:
                    message = await ws.receive(timeout=IDLE_LIMIT)
                except asyncio.TimeoutError:
                    if self._readings:
                        continue
                    raise _Close(TOO_LONG, f"nothing was asked for {IDLE_LIMIT:.0f} s") from None
                if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                    break
                await self._take(message)
        except _Close as close:
            log.info("a stream socket is closed: %d %s", close.code, close.reason)
            await ws.close(code=close.code, message=close.reason.encode()[:120])
        except ConnectionError:
            log.debug("a stream socket is gone")
        except Exception:
            log.exception("a stream socket broke")
            await ws.close(code=WSCloseCode.INTERNAL_ERROR, message=b"internal error")
        finally:
            for reading in list(self._readings.values()):
                reading.close()
        return ws.close_code or WSCloseCode.ABNORMAL_CLOSURE

    async def linger(self) -> None:
        """Wait for the requests that are on their way, and end all tasks."""
        try:
            if self._asking:
                await asyncio.wait(set(self._asking), timeout=60.0)
        finally:
            for task in self._asking:
                task.cancel()
            if self._loopback is not None:
                await self._loopback.aclose()

    # -- the client's frames ---------------------------------------------------------------------

    async def _take(self, message: WSMessage) -> None:
        now = self._clock()
        self._tokens = min(float(BURST), self._tokens + (now - self._refilled) * FRAMES_PER_SECOND)
        self._refilled = now
        self._tokens -= 1
        if self._tokens < 0:
            raise _Close(TOO_MUCH, f"more than {FRAMES_PER_SECOND:.0f} frames a second")
        if message.type is not WSMsgType.TEXT:
            raise _Close(WSCloseCode.UNSUPPORTED_DATA, "frames are JSON text")
        text: str = message.data
        if len(text) > MAX_FRAME:
            raise _Close(WSCloseCode.MESSAGE_TOO_BIG, f"a frame is at most {MAX_FRAME} bytes")
        try:
            frame = json.loads(text)
        except (ValueError, RecursionError):
            raise _Close(MALFORMED, "the frame is not JSON") from None
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            raise _Close(MALFORMED, 'a frame is an object with a "type"')
        kind = frame["type"]
        if kind != "invoke" and len(text) > SMALL_FRAME:
            raise _Close(WSCloseCode.MESSAGE_TOO_BIG, f"a frame of this type is at most {SMALL_FRAME} bytes")
        if kind == "ping":
            await self._send({"type": "pong", **({"t": frame["t"]} if "t" in frame else {})})
            return
        handler = {
            "invoke": self._invoke, "read": self._read, "leave": self._leave, "cancel": self._cancel,
            "pause": self._pause, "resume": self._resume,
        }.get(kind)  # fmt: skip
        if handler is None:
            raise _Close(MALFORMED, f"unknown type {kind[:40]!r}")
        stream_id = frame.get("stream")
        if not isinstance(stream_id, str):
            raise _Close(MALFORMED, '"stream" has to be text')
        await handler(stream_id, frame)

    async def _invoke(self, stream_id: str, frame: Mapping[str, Any]) -> None:
        body, headers = frame.get("body"), frame.get("headers", {})
        path = frame.get("path", "/api/chat/invoke")
        if not isinstance(body, dict):
            raise _Close(MALFORMED, '"body" has to be an object')
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
            raise _Close(MALFORMED, '"headers" has to be an object of texts')
        if path not in PATHS:
            raise _Close(MALFORMED, '"path" has to be one of ' + ", ".join(sorted(PATHS)))
        if body.get("session_id") != self.session:
            raise _Close(WRONG_SESSION, "the chat is of another session than the socket")
        self._must_be_new(stream_id)
        try:
            stream = self._streams.reserve(stream_id, self.session)
            reader = self._streams.read(stream, 0, "websocket", resumed=False)
        except StreamRefused as refused:
            await self._refused(stream_id, refused)
            return
        try:
            if self._loopback is None:
                self._loopback = Loopback(self._request)
        except NoAddress:
            self._streams.leave(stream, reader)
            self._streams.discard(stream)
            raise _Close(WSCloseCode.INTERNAL_ERROR, "the server does not know its own address") from None
        self._begin(stream, reader)
        asking = asyncio.get_running_loop().create_task(
            self._loopback.chat(self._streams, stream, path, headers, body), name="copilot-pulse stream invoke"
        )
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def _read(self, stream_id: str, frame: Mapping[str, Any]) -> None:
        after = frame.get("after", 0)
        if isinstance(after, bool) or not isinstance(after, int) or after < 0:
            raise _Close(MALFORMED, '"after" has to be a whole number, 0 or more')
        self._must_be_new(stream_id)
        try:
            stream = self._streams.find(stream_id, self.session)
            reader = self._streams.read(stream, after, "websocket")
        except StreamRefused as refused:
            await self._refused(stream_id, refused)
            return
        await self._send({"type": "state", "stream": stream_id, "state": stream.state, "seq": stream.relay.seq})
        self._begin(stream, reader)

    async def _refused(self, stream_id: str, refused: StreamRefused) -> None:
        """Unknown, gone and in use are answers; all else closes."""
        if refused.status == 429:
            raise _Close(TOO_MUCH, refused.reason)
        if refused.status == 400:
            raise _Close(MALFORMED, refused.reason)
        state = {404: "unknown", 410: "gone", 409: "in use"}[refused.status]
        await self._send({"type": "state", "stream": stream_id, "state": state, "reason": refused.reason})

    def _must_be_new(self, stream_id: str) -> None:
        if stream_id in self._readings:
            raise _Close(OUT_OF_ORDER, "this socket reads that stream already")
        if len(self._readings) >= MAX_STREAMS:
            raise _Close(TOO_MUCH, f"a socket reads {MAX_STREAMS} streams at most")

    def _reading(self, stream_id: str, what: str) -> _Reading:
        reading = self._readings.get(stream_id)
        if reading is None:
            raise _Close(OUT_OF_ORDER, f"{what} is for a stream that this socket reads")
        return reading

    async def _leave(self, stream_id: str, frame: Mapping[str, Any]) -> None:
        self._reading(stream_id, "leave").close()

    async def _cancel(self, stream_id: str, frame: Mapping[str, Any]) -> None:
        # Also for a stream that another socket reads, or that has just ended here: a cancel is never too late.
        try:
            self._streams.find(stream_id, self.session).cancel()
        except StreamRefused as refused:
            await self._refused(stream_id, refused)

    async def _pause(self, stream_id: str, frame: Mapping[str, Any]) -> None:
        # The end of a stream and a pause may cross on the way; that is nobody's mistake.
        if not self._has_ended(stream_id):
            self._reading(stream_id, "pause").pause(True)

    async def _resume(self, stream_id: str, frame: Mapping[str, Any]) -> None:
        if not self._has_ended(stream_id):
            self._reading(stream_id, "resume").pause(False)

    def _has_ended(self, stream_id: str) -> bool:
        try:
            return stream_id not in self._readings and self._streams.find(stream_id, self.session).relay.finished
        except StreamRefused:
            return False

    # -- the server's frames ---------------------------------------------------------------------

    def _begin(self, stream: Stream, reader: RelayReader) -> None:
        reading = _Reading(self, stream, reader, next(self._numbers))
        self._readings[stream.id] = reading
        reading.start(self._forward(reading))

    async def _forward(self, reading: _Reading) -> None:
        stream, reader = reading.stream, reading.reader
        short = Shortener(reading.number)
        try:
            async for frame in reader.frames():
                while not reading.going.is_set():
                    try:
                        await asyncio.wait_for(reading.going.wait(), PAUSE_LIMIT)
                    except asyncio.TimeoutError:
                        reason = f"reading was paused for {PAUSE_LIMIT:.0f} s"
                        await self.ws.close(code=TOO_LONG, message=reason.encode())
                        return
                wire = short(frame)
                await self._send({**frame, "stream": stream.id, "n": reading.number} if wire is frame else wire)
        except (ConnectionError, RuntimeError):
            log.debug("a stream socket is gone")
        finally:
            self.left(reading)

    def left(self, reading: _Reading) -> None:
        """A stream is not read here any more. Idempotent."""
        self._streams.leave(reading.stream, reading.reader)
        if self._readings.get(reading.stream.id) is reading:
            del self._readings[reading.stream.id]

    async def _send(self, frame: Wire) -> None:
        await self.ws.send_str(encode(frame))


class _Reading:
    """A stream that a socket reads, and the task that does it."""

    def __init__(self, socket: _Socket, stream: Stream, reader: RelayReader, number: int) -> None:
        self.socket = socket
        self.number = number  # stands for the stream's name in short frames of this socket
        self.stream = stream
        self.reader = reader
        self.going = asyncio.Event()
        self.going.set()
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work, name="copilot-pulse stream reader")

    def pause(self, paused: bool) -> None:
        self.reader.pause(paused)
        if paused:
            self.going.clear()
        else:
            self.going.set()

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self.socket.left(self)  # a task that has not begun never will, and cleans up nothing


LIMITS: Final = {
    "frame_bytes": MAX_FRAME,
    "frames_per_second": int(FRAMES_PER_SECOND),
    "streams": MAX_STREAMS,
    "idle_seconds": IDLE_LIMIT,
    "pause_seconds": PAUSE_LIMIT,
}
