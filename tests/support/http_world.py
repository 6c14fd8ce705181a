"""A real aiohttp server with Copilot Pulse's middleware, and handlers as Copilot has them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from backend.copilot.http import HttpSeam, RequestInfo, current_request
from backend.error_handling import Redactor

CHAT = "/api/chat/invoke"
BODY: dict[str, Any] = {"session_id": "s1", "messages": [{"role": "user", "content": "hi"}], "ext": []}
ROOT = "custom_nodes_x_http_test"


class Chats:
    """Notes which requests were closed, and can be slow or broken at it."""

    def __init__(self) -> None:
        self.closed: list[Any] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.cancelled = 0
        self.error: Exception | None = None

    async def close_request(self, request: object) -> None:
        """What the registry does when a request has ended."""
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.closed.append(request)
        if self.error is not None:
            raise self.error


class HttpWorld:
    """A server with the middleware and handlers of the test's choice."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.chats = Chats()
        self.redactor = Redactor()
        self.infos: list[RequestInfo | None] = []
        self.pulse = SimpleNamespace(
            publish=self.publish,
            recovery=SimpleNamespace(redactor=self.redactor),
            streams=None,
            chats=self.chats,
        )
        self.seam = HttpSeam(cast(Any, self.pulse))
        self.runner: web.AppRunner | None = None
        self.client: aiohttp.ClientSession | None = None
        self.port = 0

    def publish(self, type_: str, data: dict[str, Any]) -> None:
        """The bus."""
        assert "http.request" == type_
        self.events.append(data)

    @property
    def statuses(self) -> list[int]:
        """The status of each http.request."""
        return [event["status"] for event in self.events]

    async def start(
        self, *routes: tuple[str, str, Handler], after: Callable[[web.Application], None] | None = None
    ) -> HttpWorld:
        """Listen, with (method, path, handler) each at its path and under /api, as ComfyUI does it."""
        app = web.Application()
        self.seam.install(app)
        if after is not None:
            after(app)
        for method, path, handler in routes:
            app.router.add_route(method, path, handler)
            app.router.add_route(method, f"/api{path}", handler)
        self.runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.port = self.runner.addresses[0][1]
        self.client = aiohttp.ClientSession(f"http://127.0.0.1:{self.port}")
        return self

    async def stop(self) -> None:
        """Stop the client and the server."""
        if self.client is not None:
            await self.client.close()
        if self.runner is not None:
            await self.runner.cleanup()
        await self.seam.aclose()

    async def post(self, path: str = CHAT, body: Any = BODY, **how: Any) -> tuple[int, str]:
        """Status and text of a POST; a body of bytes is sent as it is."""
        assert self.client is not None
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.client.post(path, data=data, **how) as response:
            return response.status, await response.text()

    async def get(self, path: str, **how: Any) -> tuple[int, str]:
        """Status and text of a GET."""
        assert self.client is not None
        async with self.client.get(path, **how) as response:
            return response.status, await response.text()

    async def raw(self) -> asyncio.StreamWriter:
        """A connection of our own with a chat request sent, for rude goodbyes."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        data = json.dumps(BODY).encode()
        writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        return writer


class Staller:
    """A chat handler that begins to stream and then waits for ever."""

    def __init__(self, before: bytes = b'{"text": "a"}\n') -> None:
        self.before = before
        self.started = asyncio.Event()
        self.cancels = 0
        self.ends = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if self.before:
            await response.write(self.before)
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancels += 1
            raise
        finally:
            self.ends += 1
        return response


async def answer(request: web.Request) -> web.Response:
    """A handler that answers."""
    return web.json_response({"info": getattr(current_request.get(), "language", None)})
