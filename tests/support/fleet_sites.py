"""Instances of a fleet with the routes of their streams, as a page meets them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web

from backend.fleet_redis.mirror import name_of
from backend.settings import Settings
from backend.streams.registry import Stream, StreamRegistry
from backend.streams.routes import Streams

from .fleet_nodes import Node, nodes, wait_for
from .stream_reading import Page

NAME = "answer-of-twenty-two-chars"
SESSION = "session-of-a-page"
LINE = {"session_id": SESSION, "type": "message", "ext": None, "finished": False}
COPY = f"{{copilot-pulse}}:a:{name_of(NAME, SESSION)}"
"""What the answer is called in Redis."""


class Site:
    """One instance with its streams and their routes."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.settings = Settings(resume_grace=30.0)
        self.registry = StreamRegistry(settings=lambda: self.settings, publish=lambda *_: None, clock=time.monotonic)
        self.registry.elsewhere = [one for one in (node.fleet.answers,) if one is not None]
        self.streams = Streams(self.registry)
        self.url = ""
        self.peers: list[Site] = [self]
        self._runner: web.AppRunner | None = None

    @property
    def socket_url(self) -> str:
        """Where a page opens its WebSocket."""
        return self.url.split("/copilot-pulse/")[0] + f"/ws/chat/{SESSION}"

    async def start(self) -> None:
        app = web.Application()
        self.streams.add_routes(app.router)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/copilot-pulse/streams/{NAME}"

    async def stop(self) -> None:
        await self.streams.aclose()
        assert self._runner is not None
        await self._runner.cleanup()

    def begin(self) -> Stream:
        stream = self.registry.claim(NAME, SESSION, "chat")
        stream.relay.head(200, {"Content-Type": "application/json"})
        return stream

    @property
    def has_claimed(self) -> bool:
        """Whether Redis knows of the answers that it writes, as far as Redis is there."""
        parts = self.node.fleet._parts
        assert parts is not None
        return not parts.writer.link.up or all(one.claimed for one in list(parts.mirror.answers.values()))

    def has_copied(self, stream: Stream) -> bool:
        """Whether Redis has all that it has written of an answer."""
        parts = self.node.fleet._parts
        assert parts is not None
        acked = parts.mirror.answers[name_of(stream.id, stream.session)].acked or ""
        return acked.startswith(f"{stream.relay.seq}-")

    async def read(self, page: Page, *, until: str = "", session: str = SESSION) -> int:
        """Read over HTTP from where the page is, to the end or until it has this text; returns the status."""
        assert await wait_for(lambda: all(site.has_claimed for site in self.peers))
        query = {"after": str(page.seq), "session": session}
        # An answer of megabytes that comes at once is one line.
        async with ClientSession(read_bufsize=2**23) as client, client.get(self.url, params=query) as answer:
            async for raw in answer.content if answer.status == 200 else _nothing():
                frame = json.loads(raw)
                if isinstance(frame, list) or frame["type"] not in ("state", "beat"):
                    page.take(frame)
                if until and page.text.endswith(until):
                    break
            return answer.status


@asynccontextmanager
async def sites(url: str, names: str = "ab", **settings: Any) -> AsyncIterator[list[Site]]:
    """Instances whose answers move."""
    async with nodes(url, names, redis_answers=True, **settings) as made:
        found = [Site(node) for node in made]
        for site in found:
            site.peers = found
            await site.start()
        try:
            yield found
        finally:
            for site in found:
                await site.stop()


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for one in nothing:
        yield one


def line(text: str, **more: Any) -> dict[str, Any]:
    return {**LINE, "text": text, **more}
