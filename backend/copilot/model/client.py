"""The border of the OpenAI client: a client whose streams of chunks pass through a watch and a normaliser.

Below it is what servers send, above it what the agent library reads. A failure that the client does not see is raised
here, and one after the end of an answer is none.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator
from typing import Any

from .shapes.normalise import Normaliser, OtherInterface, ToldFailure
from .shapes.sse import EventReader, ServerEvent
from .tokens import Asking
from .tool_history import Replay
from .watch import StreamWatch, close_stream


class WatchedStream:
    """A stream of chunks, read from the body of `stream`'s response: any server's in, the library's shape out."""

    def __init__(self, stream: Any, watch: StreamWatch, normaliser: Normaliser) -> None:
        self._stream = stream
        self._watch = watch
        self._normaliser = normaliser
        response = getattr(stream, "response", None)
        self.response: Any = response if hasattr(response, "aiter_bytes") else None
        self._chunks = self._read()

    def __aiter__(self) -> WatchedStream:
        return self

    def __anext__(self) -> Awaitable[Any]:
        return self._chunks.__anext__()  # one layer less for every token than a coroutine of its own

    async def _read(self) -> AsyncGenerator[Any, None]:
        watch = self._watch
        source = self._read_body() if self.response is not None else self._read_chunks()
        try:
            async for chunk in source:
                yield chunk
        except asyncio.CancelledError:
            if not (watch.finished and watch.caught()):
                raise
        except Exception as error:
            # If the model has said that it is done, the answer is whole whatever happens to the connection.
            if not watch.finished:
                if not isinstance(error, ToldFailure):
                    raise
                raise watch.stream_error(error.body) from None
        finally:
            await source.aclose()
        watch.ended()
        try:
            last = self._normaliser.close(done=watch.done_seen)
        except ToldFailure as failure:
            raise watch.stream_error(failure.body) from None
        except OtherInterface:
            raise watch.other_interface() from None
        for chunk in last:
            yield chunk

    async def _read_body(self) -> AsyncGenerator[Any, None]:
        watch = self._watch
        reader = EventReader()
        body = self.response.aiter_bytes()
        try:
            async for data in body:
                watch.saw_bytes(data)
                if not watch.done_seen:  # else it is read to the end, so that the connection can be used again
                    for chunk in self._chunks_of(reader.feed(data)):
                        yield chunk
            if not watch.done_seen:
                for chunk in self._chunks_of(reader.rest()):
                    yield chunk
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()

    def _chunks_of(self, events: Iterable[ServerEvent]) -> Iterator[Any]:
        for event in events:
            if event.text and event.done:
                self._watch.saw_done()
                return
            yield from self._normaliser.feed(event)

    async def _read_chunks(self) -> AsyncGenerator[Any, None]:
        """The chunks of a client that shows no body."""
        async for chunk in self._stream:
            if chunk is not None:
                data = chunk.model_dump() if hasattr(chunk, "model_dump") else chunk
                for made in self._normaliser.feed(ServerEvent("", data)):
                    yield made

    async def close(self) -> None:
        """Close the connection."""
        try:
            await self._chunks.aclose()
        finally:
            await close_stream(self._stream)

    aclose = close


class _Completions:
    def __init__(
        self, completions: Any, watch: StreamWatch, normaliser: Normaliser, replay: Replay, asking: Asking
    ) -> None:
        self._completions = completions
        self._watch = watch
        self._normaliser = normaliser
        self._replay = replay
        self._asking = asking

    async def create(self, *args: Any, **kwargs: Any) -> Any:
        answer = await self._replay.ask(self._ask, args, kwargs)
        if not hasattr(answer, "__aiter__"):
            return answer
        stream = WatchedStream(answer, self._watch, self._normaliser)
        self._watch.take(stream, getattr(answer, "response", None))
        return stream

    async def _ask(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await self._asking.ask(self._completions.create, args, kwargs)
        except UnicodeEncodeError as error:
            if error.encoding != "utf-8":  # the words are about a header, and not about the text
                raise
        return await self._asking.ask(self._completions.create, args, encodable(kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._completions, name)


def encodable(value: Any) -> Any:
    """Plain data with a sign for each half of an emoji, which a text may be cut to: there are no bytes for it."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    return [encodable(item) for item in value] if isinstance(value, list) else value


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

    def __init__(self, client: Any, watch: StreamWatch, normaliser: Normaliser, replay: Replay, asking: Asking) -> None:
        self._client = client
        self.chat = _Chat(client.chat, _Completions(client.chat.completions, watch, normaliser, replay, asking))

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
