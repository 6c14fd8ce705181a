"""Both doors to the streams, HTTP and WebSocket, and what metrics and health are told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ..metrics.health import Finding
from .http import StreamRoutes, add_stream_routes
from .store import MAX_RUNNING
from .ws import MAX_SOCKETS, StreamSockets

if TYPE_CHECKING:
    from ..pulse import Pulse

SOURCE: Final = "streams"
CROWDED: Final = 0.9


class Streams:
    """The doors of a running plugin. Make it, add the routes before the server starts, `aclose()` at its end."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self.sockets = StreamSockets(pulse.streams)
        self._routes: StreamRoutes | None = None

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add all routes, tell the monitor of the source `streams` and of the check `streams:running`."""
        self._routes = add_stream_routes(router, self._pulse.streams)
        self.sockets.add_routes(router)
        self._pulse.monitor.add_source(SOURCE, self._snapshot)
        self._pulse.monitor.add_check("streams:running", self._finding)

    def _snapshot(self) -> dict[str, Any]:
        closed = {str(code): count for code, count in sorted(self.sockets.closed.items())}
        return {**self._pulse.streams.snapshot(), "sockets": len(self.sockets), "sockets_closed": closed}

    def _finding(self) -> Finding:
        running, sockets = self._pulse.streams.snapshot()["running"], len(self.sockets)
        if max(running / MAX_RUNNING, sockets / MAX_SOCKETS) < CROWDED:
            return Finding("pass", running, "streams", MAX_RUNNING)
        return Finding(
            "warn", running, "streams", MAX_RUNNING,
            f"{running} answers are running and {sockets} sockets are open: nearly all that are allowed.",
            "Close pages that chat, or wait for answers to end.",
        )  # fmt: skip

    async def aclose(self) -> None:
        """End every reader and socket and wait for them. Chats end with the chat registry."""
        await self.sockets.aclose()
        if self._routes is not None:
            await self._routes.aclose()
