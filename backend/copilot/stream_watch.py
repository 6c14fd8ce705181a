"""Watches one attempt of a model call, from the request to the last byte: is it alive, is it whole?

The watch sits at the border of the OpenAI client: `client_for(watch, client)` gives the model class a client
whose `chat.completions.create` goes through the watch. So every chunk, and every byte below the chunks (a
heartbeat comment is a sign of life, too), passes here, with any version of the libraries.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

from ..error_handling import LengthLimit, PulseError, StreamStalled, wrong_body

T = TypeVar("T")
# A server that sends heartbeats for ever without a token is not waited for longer than this, in seconds.
HEARTBEAT_LIMIT: Final = 600.0
# The loop gets a turn at least this often while a model is fast, in seconds.
TURN: Final = 0.005
# Of a body that is no stream so much is kept to tell what it is, in bytes.
HEAD: Final = 4096
# A timer that comes later than this, in seconds, tells of a blocked loop and not of a silent model.
LATE: Final = 0.05


class StreamWatch:
    """One attempt. Belongs to the task that runs the agent; nothing here may be called from elsewhere.

    `first_limit` and `stall_limit` are seconds of silence, 0 for no limit: before the first token, and
    between two bytes after it.
    """

    def __init__(self, *, base_url: str, first_limit: float, stall_limit: float) -> None:
        self.base_url = base_url
        self.first_limit = first_limit
        self.stall_limit = stall_limit
        self.finish_reason: str | None = None
        self.done_seen = False
        self.reasoning = 0
        self.chunks = 0
        self.has_text = False
        self.has_reasoning = False
        self.has_tool_call = False
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._began = self._loop.time()
        self._alive = self._began
        self._turn = self._began
        self._waiting = False
        self._fired = False
        self._due = 0.0
        self._excused = -1.0
        self._tail = b""
        self._timer: asyncio.TimerHandle | None = None
        self._stream: Any = None
        self._response: Any = None
        self._head = bytearray()
        self._arm()

    # -- silence ---------------------------------------------------------------------------------

    @property
    def answered(self) -> bool:
        """Whether the model has sent anything of an answer: text, reasoning or a tool call."""
        return self.has_text or self.has_reasoning or self.has_tool_call

    def _limit(self) -> float:
        return self.stall_limit if self.answered else self.first_limit

    def _arm(self) -> None:
        # One timer that looks at a time stamp when it fires: moving a timer for each chunk would cost
        # more than all else we do for it.
        limit = self._limit()
        self._due = self._alive + limit if limit > 0 else self._loop.time() + 1.0
        self._timer = self._loop.call_at(self._due, self._check)

    def _check(self) -> None:
        self._timer = None
        limit = self._limit()
        now = self._loop.time()
        late = now - self._due
        if late > LATE and self._excused != self._alive:
            # The loop itself stood still; what has arrived meanwhile is read before we judge. Once for
            # each sign of life, since a loop may be late for ever.
            self._excused = self._alive
            self._due = now + min(late, 1.0)
            self._timer = self._loop.call_at(self._due, self._check)
            return
        silent = limit > 0 and now >= self._alive + limit
        endless = limit > 0 and not self.answered and now >= self._began + max(HEARTBEAT_LIMIT, limit)
        # While the consumer works on an event the model is not to blame for the silence.
        if (silent or endless) and self._waiting and self._task is not None:
            self._fired = True
            self._task.cancel()
            return
        if silent:
            self._alive = now
        self._arm()

    async def next(self, source: AsyncIterator[T]) -> T:
        """The next event of `source`, which reads from the watched stream.

        Raises StreamStalled when the model falls silent for longer than its limit, StopAsyncIteration at
        the end, and whatever `source` raises. When the caller is cancelled, CancelledError passes.
        """
        self._waiting = True
        try:
            event = await source.__anext__()
            # A fast model's tokens lie ready in the buffers: reading them never waits, and nobody else
            # in ComfyUI would get a turn until the answer is through.
            if self._loop.time() - self._turn > TURN:
                await asyncio.sleep(0)
                self._turn = self._loop.time()
            return event
        except asyncio.CancelledError:
            if not self._fired:
                raise
            if sys.version_info >= (3, 11) and self._task is not None and self._task.uncancel() > 0:
                raise  # somebody else cancelled the task as well
            raise StreamStalled(round(self._loop.time() - self._alive), first=not self.answered) from None
        finally:
            self._waiting = False

    # -- what passes -----------------------------------------------------------------------------

    def saw_bytes(self, data: bytes) -> None:
        """Called for every piece of the body, heartbeats included."""
        self._alive = self._loop.time()
        if not self.chunks and len(self._head) < HEAD:
            self._head += data[:HEAD]
        # The mark may be cut in two, and an answer may hold the word.
        self._tail = (self._tail + data)[-64:]
        self.done_seen = b"data: [DONE]" in self._tail or b"data:[DONE]" in self._tail

    def saw_chunk(self, chunk: Any) -> None:
        """Called for every chunk of the completion."""
        self.chunks += 1
        waited_for_first = not self.answered
        for choice in getattr(chunk, "choices", None) or ():
            if choice.finish_reason:
                self.finish_reason = choice.finish_reason
            delta = choice.delta
            if delta is None:
                continue
            if delta.content:
                self.has_text = True
            elif getattr(delta, "tool_calls", None):
                self.has_tool_call = True
            elif reasoning := (
                getattr(delta, "reasoning_content", None)
                or getattr(delta, "reasoning", None)
                or getattr(delta, "thinking_blocks", None)
            ):
                self.has_reasoning = True
                self.reasoning += len(reasoning)
            elif getattr(delta, "refusal", None):
                self.has_text = True
        if waited_for_first and self.answered and self._timer is not None:
            self._timer.cancel()  # armed with the longer limit
            self._arm()

    def take(self, stream: Any) -> WatchedStream:
        """Watch an opened stream."""
        self._stream = stream
        response = getattr(stream, "response", None)
        if response is not None:
            self._alive = self._loop.time()
            self._response = response
            self._watch_bytes(response)
        return WatchedStream(stream, self)

    def verdict(self, error: Exception | None) -> PulseError | None:
        """What the attempt really died of, where the library's `error` (or its silence) does not tell."""
        if self.finish_reason == "length" and error is not None and not self.has_text:
            return LengthLimit()  # all of it went into reasoning
        return self.wrong_body()

    def wrong_body(self) -> PulseError | None:
        """What came instead of a stream (a web page, a JSON error with status 200), judged by its first bytes.

        None if chunks came, or nothing at all. The client reads such a body as an empty stream.
        """
        response = self._response
        if self.chunks or response is None or not self._head:
            return None
        url = str(response.url)
        return wrong_body(
            response.headers.get("content-type"),
            bytes(self._head),
            url=self.base_url if response.history else url,
            status=response.status_code,
            redirected_to=url if response.history else None,
        )

    def _watch_bytes(self, response: Any) -> None:
        read = response.aiter_bytes

        async def aiter_bytes(*args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
            async for data in read(*args, **kwargs):
                self.saw_bytes(data)
                yield data

        response.aiter_bytes = aiter_bytes

    def stop(self) -> None:
        """Stop watching, at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def aclose(self) -> None:
        """Stop watching and close the connection; safe to call twice."""
        self.stop()
        stream, self._stream = self._stream, None
        if stream is not None:
            await close_stream(stream)


class WatchedStream:
    """A stream of chunks as the client gives it, with the watch looking on."""

    def __init__(self, stream: Any, watch: StreamWatch) -> None:
        self._stream = stream
        self._chunks = stream.__aiter__()
        self._watch = watch

    @property
    def response(self) -> Any:
        """The HTTP response below, where there is one."""
        return self._stream.response

    def __aiter__(self) -> WatchedStream:
        return self

    async def __anext__(self) -> Any:
        chunk = await self._chunks.__anext__()
        self._watch.saw_chunk(chunk)
        return chunk

    async def close(self) -> None:
        """Close the connection."""
        await close_stream(self._stream)

    aclose = close


async def close_stream(stream: Any) -> None:
    """Close a stream of the client, whatever its version calls it."""
    close = getattr(stream, "close", None) or getattr(stream, "aclose", None)
    if close is not None:
        await close()


class _Completions:
    def __init__(self, completions: Any, watch: StreamWatch) -> None:
        self._completions = completions
        self._watch = watch

    async def create(self, *args: Any, **kwargs: Any) -> Any:
        answer = await self._completions.create(*args, **kwargs)
        return self._watch.take(answer) if hasattr(answer, "__aiter__") else answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._completions, name)


class _Chat:
    def __init__(self, chat: Any, watch: StreamWatch) -> None:
        self.completions = _Completions(chat.completions, watch)
        self._chat = chat

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chat, name)


class WatchedClient:
    """An OpenAI client whose chat completions pass through a watch; all else is the client's own.

    A proxy instead of a patch on the client: a wrapped method that the client holds makes a reference
    cycle, and each chat would leave its sockets to the garbage collector.
    """

    def __init__(self, client: Any, watch: StreamWatch) -> None:
        self._client = client
        self.chat = _Chat(client.chat, watch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
