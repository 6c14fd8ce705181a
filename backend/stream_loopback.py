"""A chat request that the server makes to itself, so that a chat over a WebSocket runs through the very same pipeline.

Copilot's own handler, ComfyUI's and everybody's middlewares see an ordinary POST. Its answer is read from the
stream's relay; the response of this request carries nothing (mode `detached`, see copilot/tap.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from aiohttp import web

from .relay import Relay
from .stream_store import Stream, StreamStore

log = logging.getLogger("copilot_pulse.streams")

STREAM: Final = "X-Copilot-Pulse-Stream"
MODE: Final = "X-Copilot-Pulse-Mode"
PATHS: Final = frozenset({"/api/chat/invoke", "/api/debug-agent"})
MAX_ERROR_BODY: Final = 64 * 1024
# What the page must not say for itself: who it is, where it comes from, and what belongs to a connection.
_REFUSED: Final = frozenset(
    {
        "connection", "content-length", "content-type", "cookie", "expect", "forwarded", "host", "keep-alive",
        "origin", "referer", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "via", "x-real-ip",
        "accept-encoding", "access-control-request-method", "access-control-request-headers",
    }
)  # fmt: skip
_REFUSED_PREFIXES: Final = ("sec-", "proxy-", "x-forwarded-", "x-copilot-pulse-")
# What the handshake said, and ComfyUI has let pass, holds for the chats too.
_FROM_HANDSHAKE: Final = (
    "Host", "Origin", "Cookie", "User-Agent", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-For",
    "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-User",
)  # fmt: skip


class NoAddress(Exception):
    """Raised when the connection does not tell where this server listens."""


def headers_for(handshake: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    """The headers of the request: those of the handshake, and those of the page that are harmless."""
    headers = {
        name: value
        for name, value in asked.items()
        if name.lower() not in _REFUSED and not name.lower().startswith(_REFUSED_PREFIXES)
    }
    headers.update({name: handshake[name] for name in _FROM_HANDSHAKE if name in handshake})
    headers["Content-Type"] = "application/json"
    return headers


class Loopback:
    """Makes requests to the server that a connection came in at. One for each connection; close it."""

    def __init__(self, request: web.Request) -> None:
        """Raises NoAddress."""
        transport = request.transport
        name = transport.get_extra_info("sockname") if transport is not None else None
        secure = transport is not None and transport.get_extra_info("sslcontext") is not None
        connector: aiohttp.BaseConnector
        if isinstance(name, (str, bytes)) and name:
            connector = aiohttp.UnixConnector(name if isinstance(name, str) else name.decode())
            host = "localhost"
        elif isinstance(name, tuple) and len(name) >= 2:
            # It is ourselves: whose name the certificate bears does not matter.
            connector = aiohttp.TCPConnector(limit=0, ssl=False, force_close=True)
            address = str(name[0]).partition("%")[0]
            host = f"[{address}]:{name[1]}" if ":" in address else f"{address}:{name[1]}"
        else:
            raise NoAddress("the server's own address is not known")
        self._base = f"{'https' if secure else 'http'}://{host}"
        self._handshake = request.headers
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
        )

    async def chat(
        self, streams: StreamStore, stream: Stream, path: str, headers: Mapping[str, str], body: Any
    ) -> None:
        """Ask, and wait until the handler has begun to answer. What goes wrong is written to the stream.

        The connection is closed then: nothing would come over it, and a detached chat does not need it. A
        cancel leaves a chat that has begun running.
        """
        all_headers = headers_for(self._handshake, headers)
        all_headers[STREAM], all_headers[MODE] = stream.id, "detached"
        data = json.dumps(body).encode()
        try:
            async with self._session.post(
                self._base + path, data=data, headers=all_headers, allow_redirects=False
            ) as response:
                if not stream.claimed:
                    # Refused before it came to us: by a middleware, or because nobody has this route.
                    text = (await response.content.read(MAX_ERROR_BODY)).decode("utf-8", "replace")
                    shown = {"Content-Type": response.headers.get("Content-Type", "text/plain")}
                    _refused(streams, stream, stream.relay, response.status, shown, text)
                else:
                    response.close()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.warning("a chat over WebSocket could not be asked: %s", type(error).__name__)
            if not stream.claimed:
                text = json.dumps({"error": "the server could not reach itself"})
                _refused(streams, stream, stream.relay, 502, {"Content-Type": "application/json"}, text)
        finally:
            if not stream.claimed:
                streams.discard(stream)

    async def aclose(self) -> None:
        """Close the connections that are left."""
        await self._session.close()


def _refused(
    streams: StreamStore, stream: Stream, relay: Relay, status: int, headers: Mapping[str, str], text: str
) -> None:
    relay.head(status, headers)
    relay.body(text)
    stream.claimed = True
    streams.finish(stream, "failed")
