"""Between Copilot's handler and the network, for a request whose page can resume.

Such a request names its stream in the header `X-Copilot-Pulse-Stream`. What the handler writes then goes into the
stream's relay and nowhere else; the request's own response is one reader of it among others. So a connection that
breaks, or does not take any more, neither stops nor holds up the chat. Without the header nothing is changed.

`X-Copilot-Pulse-Mode` says what the response carries: `lines` (the default, Copilot's own format), `frames`
(docs/protocol.md), or `detached`: nothing, somebody else reads the relay.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from ..aio import fail_open, in_front, missed, our_fault
from .registry import Stream, StreamRefused, StreamRegistry
from .relay import Outcome, RelayReader
from .wire import BEAT_SECONDS, MODE, STREAM, LineWriter, Shortener, line, notice_silence, write_in_time

if TYPE_CHECKING:
    from ..chats import Chat

log = logging.getLogger("copilot_pulse.streams")

MAX_LINE: Final = 16_000_000
Mode = Literal["lines", "frames", "detached"]
# Headers that belong to one connection, or must not be handed on.
_OWN: Final = frozenset(
    {
        "connection", "content-encoding", "content-length", "date", "keep-alive", "server", "set-cookie",
        "trailer", "transfer-encoding", "upgrade", "vary",
    }
)  # fmt: skip
_OUTCOMES: Final[Mapping[str, Outcome]] = {"done": "completed", "failed": "failed", "cancelled": "cancelled"}


class StreamTap:
    """One request and its stream. Made by the HTTP seam; all of it runs in the request's task."""

    def __init__(self, streams: StreamRegistry, stream: Stream, mode: Mode) -> None:
        self.stream = stream
        self.mode: Mode = mode
        self.chat: Chat | None = None
        self.response: web.StreamResponse | None = None
        self._streams = streams
        self._reader: RelayReader | None = None
        if mode != "detached":
            # Each line of Copilot's has all of the text: cut into pieces it would be sent over and over.
            self._reader = streams.read(stream, 0, "http", resumed=False, pieces=mode == "frames")
        self._rest = bytearray()
        self._send: Callable[[bytes], Awaitable[None]] | None = None
        self._send_eof: Callable[[], Awaitable[None]] | None = None
        self._forwarder: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._at_end = False
        self._aside = False

    @property
    def begun(self) -> bool:
        """Whether the handler has begun to answer."""
        return self.stream.relay.seq > 0

    @fail_open("the slowing of a model whose reader is slow")
    def bind(self, chat: Chat) -> None:
        """A chat runs under this request."""
        self.chat = chat
        self.stream.chat_id = chat.id
        self.stream.language = chat.language
        self.stream.hold = chat.hold
        chat.hold(self.stream.held)

    @fail_open("the grace period of an answer")
    def client_left(self) -> None:
        """The connection of this request is gone; the chat goes on for its grace period."""
        if self._reader is not None:
            self._streams.leave(self.stream, self._reader)

    # -- the handler's response --------------------------------------------------------------------

    def take(self, request: web.Request, response: web.StreamResponse) -> None:
        """Stand between the handler and its response. Called when its headers are about to be sent."""
        relay = self.stream.relay
        if relay.finished or self._send is not None:
            return
        if isinstance(response, web.Response):
            self.plain(response)
            return
        # A second try is what is left where one breaks: its text has all the text before it.
        again = "a line of an answer"
        write, write_eof = in_front(self._write, self._write, again), in_front(self._write_eof, self._write_eof, again)
        if not relay.seq:
            relay.head(response.status, _shown(response))
        self._transport = request.transport
        notice_silence(request.transport)
        self._start_after_headers(request.writer)
        # Last: what breaks before has changed nothing of the response.
        self.response = response
        self._send, self._send_eof = response.write, response.write_eof
        response.write, response.write_eof = write, write_eof  # type: ignore[method-assign]
        response.headers[STREAM] = self.mode
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # a proxy must not collect frames
        if self.mode == "frames":
            response.content_type = "application/x-ndjson"

    def step_aside(self) -> None:
        """It cannot stand in between: the answer goes on plain, and who asked over a WebSocket takes it from there."""
        self._aside = True
        self._streams.unclaim(self.stream.id)
        self.client_left()

    def plain(self, response: web.Response) -> None:
        """An answer that is no stream, such as an error. It is also sent as it is."""
        relay = self.stream.relay
        if not relay.finished and not relay.seq:
            relay.head(response.status, _shown(response))
            relay.body(response.text or "")
            self._streams.finish(self.stream, "completed" if response.status < 400 else "failed")

    async def returned(self, response: web.StreamResponse) -> None:
        """The handler has returned its answer: end it, if the handler has left that to aiohttp."""
        if isinstance(response, web.Response):
            self.plain(response)
        elif response is self.response:
            await self._write_eof()

    async def _write(self, data: bytes | bytearray | memoryview) -> None:
        """Instead of the response's own: never waits for the network, but lets others have a turn."""
        self._rest += data
        if b"\n" in data:
            *whole, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
            for each in whole:
                if each.strip():
                    self._line(each)
        elif len(self._rest) > MAX_LINE:
            self._flush()
        await asyncio.sleep(0)

    def _flush(self) -> None:
        rest, self._rest = bytes(self._rest), bytearray()
        if rest.strip():
            self._line(rest)

    def _line(self, data: bytes) -> None:
        relay = self.stream.relay
        if relay.finished:
            return
        try:
            read = json.loads(data)
        except (ValueError, RecursionError):
            read = None
        if isinstance(read, dict):
            in_front(relay.line, relay.line, "a line of an answer")(read)
        else:
            relay.raw(data.decode("utf-8", "replace"))

    async def _write_eof(self, data: bytes = b"") -> None:
        """Instead of the response's own; aiohttp calls it once more after the handler.

        Waits until the page has what is left, or its connection is given up.
        """
        if self._at_end:
            return
        if data:
            await self._write(data)
        self._flush()
        self._at_end = True
        self.finish(None)
        if self._forwarder is not None:
            await asyncio.wait({self._forwarder})
        if self._send_eof is None or (self._reader is not None and not self._reader.done):
            self._break_off()
            return
        try:
            await write_in_time(self._transport, self._send_eof(), 0)
        except ConnectionError:
            log.debug("the page left at the last moment; it can read the answer's end from the stream")

    # -- the request's own response as a reader ----------------------------------------------------

    def _start_after_headers(self, writer: AbstractStreamWriter) -> None:
        # The handler may be silent for long before it writes: beats tell the page that it is not forgotten.
        reader, write_headers = self._reader, writer.write_headers
        if reader is None:
            return

        async def then_start(*args: Any, **options: Any) -> None:
            await write_headers(*args, **options)
            self._forwarder = asyncio.get_running_loop().create_task(
                self._forward(reader), name="copilot-pulse stream response"
            )
            # By whatever the task ends: a page to which nothing comes any more would wait until the answer ends.
            self._forwarder.add_done_callback(partial(self._forwarded, reader))

        again = in_front(then_start, then_start, "the response of a stream, at the first try")
        writer.write_headers = again  # type: ignore[method-assign]

    async def _forward(self, reader: RelayReader) -> None:
        send = self._send
        assert send is not None
        lines, short = LineWriter(), Shortener()
        try:
            async for frame in reader.frames(BEAT_SECONDS):
                data = line(short(frame)) if self.mode == "frames" else lines.encode(frame)
                if data:
                    await write_in_time(self._transport, send(data), len(data))
        except (ConnectionError, RuntimeError):
            log.debug("the page of a stream is gone")

    def _forwarded(self, reader: RelayReader, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            missed(error, "the response of a stream")
        self._streams.leave(self.stream, reader)
        if not reader.done:
            self._break_off()

    def _break_off(self) -> None:
        # A response that is not whole must not look as if it were, nor be followed by another on its connection.
        if self._transport is not None:
            self._transport.abort()

    # -- the end -------------------------------------------------------------------------------------

    def finish(self, error: BaseException | None) -> None:
        """The handler has ended, with `error` or as it should. Idempotent."""
        if self.stream.relay.finished or self._aside:
            return
        state = self.chat.state if self.chat is not None else ""
        outcome = _OUTCOMES.get(state, "completed" if error is None else "failed")
        if self.stream.cancelled or isinstance(error, asyncio.CancelledError):
            outcome = "cancelled"
        if not self.begun and error is not None and not self.stream.cancelled:
            # Nothing was asked and nothing said: the page may simply ask again.
            self._streams.discard(self.stream)
        else:
            self._streams.finish(self.stream, outcome)

    async def conclude(self, error: BaseException, response: web.StreamResponse) -> web.StreamResponse:
        """The handler was cancelled while it answered: end its response in order, for who still reads it."""
        self.finish(error)
        await self._write_eof()
        return response

    @fail_open("the end of a stream")
    async def aclose(self) -> None:
        """Leave the stream as a reader and end the task that writes; idempotent. Waits for it."""
        self.client_left()
        task, self._forwarder = self._forwarder, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})


def _shown(response: web.StreamResponse) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.lower() not in _OWN}


async def open_tap(streams: StreamRegistry, request: web.Request, session: str | None, kind: str) -> StreamTap | None:
    """The tap of a request that names a stream, else None. Raises StreamRefused.

    Waits only in a fleet whose answers move: a quarter second at most, to hear whether another machine has it.
    """
    stream_id = request.headers.get(STREAM)
    if stream_id is None:
        return None
    mode = request.headers.get(MODE, "lines")
    if mode not in ("lines", "frames", "detached"):
        raise StreamRefused(400, f"{MODE} has to be lines, frames or detached")
    await streams.check(stream_id, session or "")
    try:
        return StreamTap(streams, streams.claim(stream_id, session or "", kind), mode)  # type: ignore[arg-type]
    except Exception as error:
        if not our_fault(error):
            raise
        missed(error, "an answer that can be resumed, at the first try")
    streams.unclaim(stream_id)
    return StreamTap(streams, streams.claim(stream_id, session or "", kind), mode)  # type: ignore[arg-type]
