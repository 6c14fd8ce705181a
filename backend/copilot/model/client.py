"""The border of the OpenAI client: a client whose streams of chunks pass through a `StreamWatch`.

What a stream holds is put right here, where each chunk passes in every version of the libraries: events that say
nothing are left out, a failure that the client does not see is raised, and one after the end is no failure.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from typing import Any

from .tool_deltas import ToolDeltas
from .watch import StreamWatch, close_stream


class WatchedStream:
    """A stream of chunks as the client gives it, with the watch looking on."""

    def __init__(self, stream: Any, watch: StreamWatch, tools: ToolDeltas) -> None:
        self._stream = stream
        self._watch = watch
        self._tools = tools
        _leave_blanks_out(stream)
        self._chunks = stream.__aiter__()

    @property
    def response(self) -> Any:
        """The HTTP response below, where there is one."""
        return self._stream.response

    def __aiter__(self) -> WatchedStream:
        return self

    async def __anext__(self) -> Any:
        watch = self._watch
        try:
            while True:
                chunk = await self._chunks.__anext__()
                if chunk is not None:  # "data: null"
                    self._mend(chunk)
                    watch.saw_chunk(chunk)
                    return chunk
        except StopAsyncIteration:
            watch.ended()
            raise
        except asyncio.CancelledError:
            if not (watch.finished and watch.caught()):
                raise
        except Exception:
            if not watch.finished:
                raise
        # The model has said that it is done: whatever happens to the connection then, the answer is whole.
        watch.ended()
        raise StopAsyncIteration

    def _mend(self, chunk: Any) -> None:
        if not hasattr(chunk, "choices"):
            raise json.JSONDecodeError("an event that is no object", "", 0)
        if not chunk.choices:
            _raise_failure(chunk, getattr(self._stream, "response", None))
            return
        for choice in chunk.choices:
            delta = choice.delta
            if delta is None:
                continue
            if getattr(delta, "tool_calls", None):
                self._tools.mend(delta.tool_calls)
            refusal = getattr(delta, "refusal", None)
            if refusal:
                # What the model says when it refuses is its answer; nobody below shows refusals to the user.
                delta.content, delta.refusal = (delta.content or "") + refusal, None

    async def close(self) -> None:
        """Close the connection."""
        await close_stream(self._stream)

    aclose = close


def _raise_failure(chunk: Any, response: Any) -> None:
    """Raise what a chunk tells of a failure, if it does; the client sees only what stands under "error"."""
    told = getattr(chunk, "model_extra", None) or {}
    words = next((told[key] for key in ("message", "detail", "msg", "error_msg") if told.get(key)), None)
    if words is None and getattr(chunk, "object", None) != "error":
        return
    from openai import APIError

    raise APIError(str(words or "error"), getattr(response, "request", None), body=dict(told))  # type: ignore[arg-type]


def _leave_blanks_out(stream: Any) -> None:
    """Let the client not see events without data: the standard says to ignore them, and it does not."""
    read = getattr(stream, "_iter_events", None)
    if read is None:
        return

    async def events() -> AsyncIterator[Any]:
        del stream._iter_events  # or the stream would hold itself until the garbage collector comes by
        async for event in read():
            if event.data and not event.data.isspace():
                yield event

    stream._iter_events = events


class _Completions:
    def __init__(self, completions: Any, watch: StreamWatch, tools: ToolDeltas) -> None:
        self._completions = completions
        self._watch = watch
        self._tools = tools

    async def create(self, *args: Any, **kwargs: Any) -> Any:
        answer = await self._completions.create(*args, **kwargs)
        if not hasattr(answer, "__aiter__"):
            return answer
        self._watch.take(answer)
        return WatchedStream(answer, self._watch, self._tools)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._completions, name)


class _Chat:
    def __init__(self, chat: Any, completions: _Completions) -> None:
        self.completions = completions
        self._chat = chat

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chat, name)


class WatchedClient:
    """An OpenAI client whose chat completions pass through a watch; all else is the client's own.

    A proxy instead of a patch on the client: a wrapped method that the client holds makes a reference
    cycle, and each chat would leave its sockets to the garbage collector.
    """

    def __init__(self, client: Any, watch: StreamWatch, tools: ToolDeltas) -> None:
        self._client = client
        self.chat = _Chat(client.chat, _Completions(client.chat.completions, watch, tools))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def without_retries(client: Any) -> Any:
    """The same client, connections and headers, without its own retries.

    Not `with_options()`: that reads the environment again, and would send an organization that its owner has
    taken out.
    """
    calling = copy.copy(client)
    calling.max_retries = 0
    vars(calling).pop("chat", None)  # made when first used, for the client that it was made on
    return calling
