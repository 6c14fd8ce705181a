"""A model server that sends given bytes at given times, and nothing of its own: what a real server was seen to send.

    server = RawServer([Reply(b"HTTP/1.1 200 OK\\r\\n...", 75.0, b"data: ...\\n\\n")])

The first request gets the first reply, and so on; the last one repeats. Every connection is closed after one reply,
so a body without a length ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from .net import flushed, set_linger_zero

RESET = "reset"
"""A part of a reply: the connection is reset here."""


@dataclass(frozen=True, init=False)
class Reply:
    """What goes out for one request: bytes as they are, a float for a pause in seconds, or RESET."""

    parts: tuple[bytes | float | str, ...]

    def __init__(self, *parts: bytes | float | str) -> None:
        object.__setattr__(self, "parts", parts)


# A reply that is chosen when the request has come, by the seconds since the first one and by the request's JSON.
Chosen = Callable[[float, dict[str, Any]], Reply]

R = TypeVar("R", bound="RawServer")


class RawServer:
    """On loopback, on the running loop. `bodies` are the requests' JSON, `paths` their paths, in order.

    `swap` is replaced in all that is sent: for the address of another server. `active` and `stalled` count the
    requests that are answered, and those that pause.
    """

    def __init__(self, replies: Sequence[Reply | Chosen], swap: tuple[bytes, bytes] = (b"", b"")):
        self.replies = list(replies)
        self.swap = swap
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.active = 0
        self.stalled = 0
        self._first: float | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        """The base URL for a client, with /v1."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    @property
    def tool_outputs(self) -> list[str]:
        """What the tools had returned, by the last request."""
        messages = self.bodies[-1].get("messages", []) if self.bodies else []
        return [str(one.get("content")) for one in messages if one.get("role") == "tool"]

    @property
    def tools_run(self) -> list[str]:
        """The tools whose output stands in the last request, in order."""
        messages = self.bodies[-1].get("messages", []) if self.bodies else []
        names = {call["id"]: call["function"]["name"] for one in messages for call in one.get("tool_calls") or ()}
        return [names.get(one.get("tool_call_id"), "?") for one in messages if one.get("role") == "tool"]

    async def __aenter__(self: R) -> R:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                reply = await self._read(reader)
                self.active += 1
                sender = asyncio.ensure_future(self._send(reply, writer))
                gone = asyncio.ensure_future(reader.read())
                try:
                    await asyncio.wait({sender, gone}, return_when=asyncio.FIRST_COMPLETED)
                    if sender.done():
                        sender.result()
                finally:
                    self.active -= 1
                    sender.cancel()
                    gone.cancel()
                    await asyncio.gather(sender, gone, return_exceptions=True)
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Reply:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        headers = {name.strip().lower(): value for name, _, value in (line.partition(":") for line in lines[1:])}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        self.paths.append(lines[0].split(" ")[1])
        self.bodies.append(json.loads(raw) if raw else {})
        now = asyncio.get_running_loop().time()
        if self._first is None:
            self._first = now
        reply = self.replies[min(len(self.bodies) - 1, len(self.replies) - 1)]
        return reply(now - self._first, self.bodies[-1]) if callable(reply) else reply

    async def _send(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        for part in reply.parts:
            if isinstance(part, bytes):
                writer.write(part.replace(*self.swap) if self.swap[0] else part)
                await writer.drain()
            elif isinstance(part, str):
                await flushed(writer.transport)
                set_linger_zero(writer.transport.get_extra_info("socket"))
                writer.transport.abort()
                return
            else:
                self.stalled += 1
                try:
                    await asyncio.sleep(part)
                finally:
                    self.stalled -= 1
