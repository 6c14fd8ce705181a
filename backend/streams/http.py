"""HTTP routes of the streams: come back to an answer, or stop it. docs/protocol.md describes both for clients.

`add_stream_routes(router, streams)` adds each as `/x` and as `/api/x`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from ..origin import Refused, check_reader, read_json
from .deadline import notice_silence, write_in_time
from .store import StreamRefused, StreamStore
from .wire import Shortener, line

log = logging.getLogger("copilot_pulse.streams")

OWN: Final = "/copilot-pulse/streams/{id}"
BEAT: Final = 10.0
STATE: Final = "X-Copilot-Pulse-State"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_stream_routes(router: web.UrlDispatcher, streams: StreamStore) -> StreamRoutes:
    """Add the routes; call it before the router is frozen. Close what it returns at the end."""
    routes = StreamRoutes(streams)
    for prefix in ("", "/api"):
        router.add_get(f"{prefix}{OWN}", _guarded(routes.read), allow_head=False)
        router.add_post(f"{prefix}{OWN}/cancel", _guarded(routes.cancel))
    return routes


def _guarded(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (Refused, StreamRefused) as refused:
            return web.json_response(
                {"error": refused.reason}, status=refused.status, headers={"Cache-Control": "no-store"}
            )

    return answer


class StreamRoutes:
    """The handlers. `close()` ends every reader, so that the server can stop."""

    def __init__(self, streams: StreamStore) -> None:
        self._streams = streams
        self._tasks: set[asyncio.Task[Any]] = set()

    async def read(self, request: web.Request) -> web.StreamResponse:
        """GET: frames after `?after=`, as NDJSON, to the end of the answer. `?session=` has to be right.

        404: not known here; 410: no longer kept; 200 with `X-Copilot-Pulse-State: running|finished`.
        """
        check_reader(request)
        after = _number(request.query.get("after", "0"))
        stream = self._streams.find(request.match_info["id"], request.query.get("session", ""))
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
            await response.write(line({"type": "state", "state": stream.state, "seq": stream.relay.seq}))
            async for frame in reader.frames(BEAT):
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
        """POST {"session"}: stop the answer at once. 404 and 410 as above; 200 also if it has ended."""
        data = await read_json(request)
        session = data.get("session")
        stream = self._streams.find(request.match_info["id"], session if isinstance(session, str) else "")
        state = stream.state
        stream.cancel()
        return web.json_response({"cancelled": state == "running", "state": state})

    async def aclose(self) -> None:
        """End all readers of this door and wait for them."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2.0)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise Refused(400, "after has to be a whole number, 0 or more")
    return int(text)
