"""One WebSocket of the streams: the client's frames, and a task for each stream that it reads.

A socket is nothing but a way to ask and to read: a chat is asked by a request of the server to itself
(streams/loopback.py), and what comes back is read from its relay, as over HTTP. A socket that breaks leaves the
chats running for their grace period. Who may open one, and how many there may be, is decided in streams/routes.py,
by the rules of origin.py. For the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from ..aio import missed, our_fault
from .loopback import PATHS, Loopback, NotAsked, not_carried
from .registry import Stream, StreamRefused, StreamRegistry
from .relay import RelayReader
from .wire import MAX_MEMBERS, PROTOCOL, PROTOCOL_VERSION, Shortener, Wire, encode, members, write_in_time

log = logging.getLogger("copilot_pulse.streams")

MAX_FRAME: Final = 8 * 2**20
"""Bytes of an invoke, which may hold pictures; every other frame of a client is limited to SMALL_FRAME."""
SMALL_FRAME: Final = 4096
FRAMES_PER_SECOND: Final = 30.0
BURST: Final = 60
MAX_STREAMS: Final = 8
IDLE_LIMIT: Final = 60.0
PAUSE_LIMIT: Final = 300.0
LONGEST_REASON: Final = 120

MALFORMED: Final = 4400
WRONG_SESSION: Final = 4403
TOO_LONG: Final = 4408
OUT_OF_ORDER: Final = 4409
WRONG_VERSION: Final = 4426
TOO_MUCH: Final = 4429
# With which a socket can be closed: those of the standard, and ours.
CODES: Final = frozenset(
    (*range(1000, 1016), MALFORMED, WRONG_SESSION, TOO_LONG, OUT_OF_ORDER, WRONG_VERSION, TOO_MUCH)
)
_ENDS: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)
# Looked for where a frame begins, before anything large is parsed.
_INVOKE: Final = re.compile(r'"type"\s*:\s*"invoke"')


class Close(Exception):
    """Raised to close the socket with a code and a reason for the client."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Socket:
    """One connection. `run()` serves it to its end, `linger()` waits for what it has begun."""

    def __init__(
        self,
        streams: StreamRegistry,
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
        self._readings: dict[str, Reading] = {}
        self._numbers = itertools.count()
        self._asking: set[asyncio.Task[None]] = set()
        self._loopback: Loopback | None = None
        self._tokens = float(BURST)
        self._refilled = self._useful = clock()
        self._idle: asyncio.TimerHandle | None = None
        self._why: Close | None = None
        self._closing: asyncio.Task[Any] | None = None

    async def run(self) -> int:
        """Serve until the socket is closed; returns the code of the close."""
        ws = self.ws
        try:
            if ws.ws_protocol != PROTOCOL:
                raise Close(WRONG_VERSION, f"this server speaks {PROTOCOL}")
            await self._send({"type": "hello", "version": PROTOCOL_VERSION, "limits": LIMITS})
            self._look()
            while (message := await ws.receive()).type not in _ENDS:
                await self._take(message)
        except Close as close:
            self.close(close)
        except ConnectionError:
            log.debug("a stream socket is gone")
        except Exception:
            log.exception("a stream socket broke")
            self.close(Close(WSCloseCode.INTERNAL_ERROR, "internal error"))
        finally:
            if self._idle is not None:
                self._idle.cancel()
            for reading in list(self._readings.values()):
                reading.close()
            if self._closing is not None:
                await asyncio.wait({self._closing})
        if self._why is not None:
            return self._why.code
        return ws.close_code or WSCloseCode.ABNORMAL_CLOSURE

    def close(self, why: Close) -> None:
        """Begin to close the socket, without waiting; the first reason counts, and `run()` ends."""
        if self._why is None:
            self._why = why
            log.info("a stream socket is closed: %d %s", why.code, why.reason)
            # Cut in the middle of a character it would not be UTF-8, and the client would see that instead.
            reason = why.reason.encode("utf-8", "replace")[:LONGEST_REASON].decode("utf-8", "ignore").encode()
            closing = write_in_time(self._request.transport, self.ws.close(code=why.code, message=reason), 0)
            self._closing = asyncio.get_running_loop().create_task(closing, name="copilot-pulse stream close")

    def _look(self) -> None:
        # Of its own: the time-out of receive() begins anew with each pong, and pongs come by themselves.
        quiet = 0.0 if self._readings or self._asking else self._clock() - self._useful
        if quiet >= IDLE_LIMIT:
            self.close(Close(TOO_LONG, f"nothing was asked or read for {IDLE_LIMIT:.0f} s"))
        else:
            self._idle = asyncio.get_running_loop().call_later(IDLE_LIMIT - quiet, self._look)

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
            raise Close(TOO_MUCH, f"more than {FRAMES_PER_SECOND:.0f} frames a second")
        if message.type is not WSMsgType.TEXT:
            raise Close(WSCloseCode.UNSUPPORTED_DATA, "frames are JSON text")
        text: str = message.data
        if len(text) > MAX_FRAME:
            raise Close(WSCloseCode.MESSAGE_TOO_BIG, f"a frame is at most {MAX_FRAME} bytes")
        if len(text) > SMALL_FRAME and not _INVOKE.search(text, 0, SMALL_FRAME):
            raise Close(WSCloseCode.MESSAGE_TOO_BIG, f"a frame that is no invoke is at most {SMALL_FRAME} bytes")
        try:
            found = members(text)
        except ValueError:
            found = {}
        frame = {name: value for name, (value, _, _) in found.items()}
        kind = frame.get("type")
        if not isinstance(kind, str):
            raise Close(MALFORMED, f'a frame is an object of JSON with a "type" and at most {MAX_MEMBERS} members')
        if kind != "invoke" and len(text) > SMALL_FRAME:
            raise Close(WSCloseCode.MESSAGE_TOO_BIG, f"a frame of this type is at most {SMALL_FRAME} bytes")
        if kind == "ping":
            await self._send({"type": "pong", **({"t": frame["t"]} if "t" in frame else {})})
            return
        self._useful = now
        handler = {
            "invoke": self._invoke, "read": self._read, "leave": self._leave, "cancel": self._cancel,
            "pause": self._pause, "resume": self._resume,
        }.get(kind)  # fmt: skip
        if handler is None:
            raise Close(MALFORMED, f"unknown type {kind[:40]!r}")
        stream_id = frame.get("stream")
        if not isinstance(stream_id, str):
            raise Close(MALFORMED, '"stream" has to be text')
        if "body" in found:  # the body of a chat request goes on as it came
            body, start, end = found["body"]
            frame["body"] = text[start:end].encode(), body
        await handler(stream_id, frame)

    async def _invoke(self, stream_id: str, frame: Mapping[str, Any]) -> None:
        asks: tuple[bytes, Any] = frame.get("body", (b"", None))
        body, headers = asks[1], frame.get("headers", {})
        path = frame.get("path", "/api/chat/invoke")
        if not isinstance(body, dict):
            raise Close(MALFORMED, '"body" has to be an object')
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
            raise Close(MALFORMED, '"headers" has to be an object of texts')
        if not isinstance(path, str) or path not in PATHS:
            raise Close(MALFORMED, '"path" has to be one of ' + ", ".join(sorted(PATHS)))
        if body.get("session_id") != self.session:
            raise Close(WRONG_SESSION, "the chat is of another session than the socket")
        self._must_be_new(stream_id)
        if unknown := not_carried(headers):
            await self._not_asked(stream_id, f"the header {unknown[:60]!r} is not carried over a WebSocket")
            return
        stream: Stream | None = None
        try:
            await self._streams.check(stream_id, self.session)
            stream = self._streams.reserve(stream_id, self.session)
            reading = self._begin(stream, self._streams.read(stream, 0, "websocket", resumed=False))
            asking = asyncio.get_running_loop().create_task(
                self._ask(reading, path, headers, asks), name="copilot-pulse stream invoke"
            )
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
            asking.add_done_callback(partial(self._asked, stream))
        except StreamRefused as refused:
            await self._refused(stream_id, refused)
        except Exception:
            if stream is not None:  # nobody would ever write to it: the page may ask anew under its name
                self._streams.discard(stream)
            raise

    async def _ask(self, reading: Reading, path: str, headers: Mapping[str, str], asks: tuple[bytes, Any]) -> None:
        stream = reading.stream
        try:
            if self._loopback is None:
                self._loopback = Loopback(self._request)
            await self._loopback.chat(self._streams, stream, path, headers, asks)
        except Exception as error:
            if not isinstance(error, NotAsked):
                missed(error, "a chat over a WebSocket: it is asked over HTTP")
            if not stream.claimed:
                # Before the stream ends for its readers: this is no answer.
                reading.close()
                self._streams.discard(stream)
                with contextlib.suppress(ConnectionError, RuntimeError):
                    await self._not_asked(stream.id, str(error) if isinstance(error, NotAsked) else "internal error")

    def _asked(self, stream: Stream, task: asyncio.Task[None]) -> None:
        if not stream.claimed:
            if stream.id in self._readings:  # before the stream ends for its readers: this is no answer
                self._readings[stream.id].close()
            self._streams.discard(stream)
        self.broken(task)

    async def _not_asked(self, stream_id: str, reason: str) -> None:
        """Nothing was done under this name: whoever asks over HTTP gets what the server says there."""
        await self._send({"type": "state", "stream": stream_id, "state": "refused", "reason": reason})

    async def _read(self, stream_id: str, frame: Mapping[str, Any]) -> None:
        after = frame.get("after", 0)
        if isinstance(after, bool) or not isinstance(after, int) or after < 0:
            raise Close(MALFORMED, '"after" has to be a whole number, 0 or more')
        self._must_be_new(stream_id)
        try:
            stream = await self._streams.find_anywhere(stream_id, self.session, after)
            reader = self._streams.read(stream, after, "websocket")
        except StreamRefused as refused:
            await self._refused(stream_id, refused)
            return
        known = {"state": stream.state, "seq": stream.relay.seq, "after": reader.after}
        await self._send({"type": "state", "stream": stream_id, **known})
        self._begin(stream, reader)

    async def _refused(self, stream_id: str, refused: StreamRefused) -> None:
        """Unknown, gone, in use and later are answers; all else closes."""
        if refused.status == 429:
            raise Close(TOO_MUCH, refused.reason)
        if refused.status == 400:
            raise Close(MALFORMED, refused.reason)
        state = {404: "unknown", 410: "gone", 409: "in use", 503: "later"}[refused.status]
        await self._send({"type": "state", "stream": stream_id, "state": state, "reason": refused.reason})

    def _must_be_new(self, stream_id: str) -> None:
        if stream_id in self._readings:
            raise Close(OUT_OF_ORDER, "this socket reads that stream already")
        if len(self._readings) >= MAX_STREAMS:
            raise Close(TOO_MUCH, f"a socket reads {MAX_STREAMS} streams at most")

    def _reading(self, stream_id: str, what: str) -> Reading:
        reading = self._readings.get(stream_id)
        if reading is None:
            raise Close(OUT_OF_ORDER, f"{what} is for a stream that this socket reads")
        return reading

    async def _leave(self, stream_id: str, frame: Mapping[str, Any]) -> None:
        self._reading(stream_id, "leave").close()

    async def _cancel(self, stream_id: str, frame: Mapping[str, Any]) -> None:
        # Also for a stream that another socket reads, or that has just ended here: a cancel is never too late.
        try:
            (await self._streams.find_anywhere(stream_id, self.session)).cancel()
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

    def _begin(self, stream: Stream, reader: RelayReader) -> Reading:
        reading = Reading(self, stream, reader, next(self._numbers))
        self._readings[stream.id] = reading
        reading.start(self._forward(reading))
        return reading

    async def _forward(self, reading: Reading) -> None:
        stream, reader = reading.stream, reading.reader
        short = Shortener(reading.number)
        try:
            async for frame in reader.frames():
                await reading.going.wait()
                wire = short(frame)
                await self._send({**frame, "stream": stream.id, "n": reading.number} if wire is frame else wire)
        except (ConnectionError, RuntimeError) as error:
            if our_fault(error):
                raise
            log.debug("a stream socket is gone")
        finally:
            self.left(reading)

    def broken(self, task: asyncio.Task[None]) -> None:
        """For a task of this socket: if it has failed, the page comes back with the next socket and reads on."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            missed(error, "a WebSocket: the page reads on over the next")
            self.close(Close(WSCloseCode.INTERNAL_ERROR, "internal error"))

    def left(self, reading: Reading) -> None:
        """A stream is not read here any more. Idempotent."""
        self._useful = self._clock()
        self._streams.leave(reading.stream, reading.reader)
        if self._readings.get(reading.stream.id) is reading:
            del self._readings[reading.stream.id]

    async def _send(self, frame: Wire) -> None:
        text = encode(frame)
        await write_in_time(self._request.transport, self.ws.send_str(text), len(text))


class Reading:
    """A stream that a socket reads, and the task that does it."""

    def __init__(self, socket: Socket, stream: Stream, reader: RelayReader, number: int) -> None:
        self.socket = socket
        self.number = number  # stands for the stream's name in short frames of this socket
        self.stream = stream
        self.reader = reader
        self.going = asyncio.Event()
        self.going.set()
        self._task: asyncio.Task[None] | None = None
        self._limit: asyncio.TimerHandle | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Read in a task of its own; if that breaks, the socket is closed."""
        self._task = asyncio.get_running_loop().create_task(work, name="copilot-pulse stream reader")
        self._task.add_done_callback(self.socket.broken)

    def pause(self, paused: bool) -> None:
        """Send nothing, or go on. A pause has a limit, which asking again does not move."""
        self.reader.pause(paused)
        if not paused:
            self.going.set()
            self._disarm()
        elif self.going.is_set():
            self.going.clear()
            why = Close(TOO_LONG, f"reading was paused for {PAUSE_LIMIT:.0f} s")
            self._limit = asyncio.get_running_loop().call_later(PAUSE_LIMIT, self.socket.close, why)

    def close(self) -> None:
        """Stop reading, without waiting. Idempotent."""
        self._disarm()
        if self._task is not None:
            self._task.cancel()
        self.socket.left(self)  # a task that has not begun never will, and cleans up nothing

    def _disarm(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


LIMITS: Final = {
    "frame_bytes": MAX_FRAME,
    "frames_per_second": int(FRAMES_PER_SECOND),
    "streams": MAX_STREAMS,
    "idle_seconds": IDLE_LIMIT,
    "pause_seconds": PAUSE_LIMIT,
}
