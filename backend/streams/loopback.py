"""A chat request that the server makes to itself, so that a chat over a WebSocket runs through the very same pipeline.

Copilot's own handler, ComfyUI's and everybody's middlewares see an ordinary POST. Its answer is read from the
stream's relay; the response of this request carries nothing (mode `detached`, see streams/tap.py).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from aiohttp import web

from .registry import Stream, StreamRegistry
from .relay import Outcome
from .wire import MODE, STREAM

log = logging.getLogger("copilot_pulse.streams")

PATHS: Final = frozenset({"/api/chat/invoke", "/api/debug-agent"})
MAX_ERROR_BODY: Final = 64 * 1024
# What Copilot's page sends (also a header that belongs into answers only, but says nothing in a question). Nothing else
# is carried: what a proxy takes out of a request it cannot take out of a frame.
_CARRIED: Final = re.compile(
    r"accept|accept-language|access-control-allow-origin|authorization|content-type|trace-id|"
    r"(encrypted-)?openai-[a-z0-9-]+|workflow-llm-[a-z0-9-]+|x-copilot-pulse-page",
    re.IGNORECASE,
)
# An answer with one of these is about the question; any other that does not come from the chat's handler is about who
# asks and how, and may be another one over HTTP.
_OF_THE_QUESTION: Final = frozenset({200, 400, 409, 413, 415, 422, 429})
# What the handshake said, and ComfyUI has let pass, holds for the chats too.
_FROM_HANDSHAKE: Final = (
    "Host", "Origin", "Cookie", "User-Agent", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-For",
    "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-User",
)  # fmt: skip


class NotAsked(Exception):
    """Raised when a question did not reach the chat's handler, and might over HTTP. The stream is untouched."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def not_carried(asked: Mapping[str, str]) -> str | None:
    """The first header of the page that a request of ours would not bear, or None."""
    return next((name for name in asked if not _CARRIED.fullmatch(name)), None)


def headers_for(handshake: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    """The headers of the request: those of the handshake, and those of the page that are carried."""
    taken = [name for name in _FROM_HANDSHAKE if name in handshake]
    if "Authorization" in handshake and not any(name.lower() == "authorization" for name in asked):
        taken.append("Authorization")  # the browser's own, for a server that asks for a password
    return {
        **{n: value for n, value in asked.items() if _CARRIED.fullmatch(n) and n.lower() != "content-type"},
        **{name: handshake[name] for name in taken},
        "Content-Type": "application/json",
    }


class Loopback:
    """Makes requests to the server that a connection came in at. One for each connection; close it."""

    def __init__(self, request: web.Request) -> None:
        """Raises NotAsked if the connection does not tell where this server listens."""
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
            raise NotAsked("the server's own address is not known")
        self._base = f"{'https' if secure else 'http'}://{host}"
        self._handshake = request.headers
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
        )

    async def chat(
        self, streams: StreamRegistry, stream: Stream, path: str, headers: Mapping[str, str], asks: tuple[bytes, Any]
    ) -> None:
        """Ask, and wait until the handler has begun to answer, or has refused the question: that is written then.

        `asks` is the body as it goes out, and what it says. The connection is closed then: nothing would come over it,
        and a detached chat does not need it. A cancel leaves a chat that has begun running. Raises NotAsked.
        """
        all_headers = headers_for(self._handshake, headers)
        all_headers[STREAM], all_headers[MODE] = stream.id, "detached"
        stream.asks = asks
        try:
            async with self._session.post(
                self._base + path, data=asks[0], headers=all_headers, allow_redirects=False
            ) as response:
                if stream.claimed:
                    response.close()
                elif response.status == 200 and (first := await _first_line(response)) is not None:
                    await _plain(streams, stream, response, first)
                elif response.status in _OF_THE_QUESTION:
                    shown = {"Content-Type": response.headers.get("Content-Type", "text/plain")}
                    _refused(streams, stream, response.status, shown, await _text(response))
                else:
                    raise NotAsked(f"the server's request to itself was answered with {response.status}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.warning("a chat over WebSocket could not be asked: %s", type(error).__name__)
            if not stream.claimed:
                raise NotAsked("the server could not reach itself") from None
        finally:
            stream.asks = None

    async def aclose(self) -> None:
        """Close the connections that are left."""
        await self._session.close()


async def _first_line(response: aiohttp.ClientResponse) -> bytes | None:
    """What has come, to behind the first line, if that is a line of Copilot's answer; else it is left unread."""
    data = b""
    while b"\n" not in data and len(data) < MAX_ERROR_BODY and (more := await response.content.readany()):
        data += more
    try:
        line = json.loads(data.partition(b"\n")[0])
    except (ValueError, RecursionError):
        line = None
    if isinstance(line, dict) and "text" in line and "finished" in line:
        return data
    response.content.unread_data(data)
    return None


async def _plain(streams: StreamRegistry, stream: Stream, response: aiohttp.ClientResponse, data: bytes) -> None:
    """The answer itself came, because its tap could not be made: its lines go into the relay from here."""
    stream.claimed = True
    relay = stream.relay
    relay.head(200, {"Content-Type": response.headers.get("Content-Type", "application/json")})
    outcome: Outcome = "failed"
    try:
        while data and not stream.cancelled:
            *whole, data = data.split(b"\n")
            for line in whole:
                try:
                    relay.line(json.loads(line))
                except (ValueError, RecursionError):
                    log.debug("a line of an answer is none")
            more = await response.content.readany()
            if not more:
                outcome = "completed"
                break
            data += more
    finally:
        streams.finish(stream, "cancelled" if stream.cancelled else outcome)
        response.close()


async def _text(response: aiohttp.ClientResponse) -> str:
    """The body, as far as it is of a reasonable length."""
    data = b""
    while len(data) < MAX_ERROR_BODY and (more := await response.content.read(MAX_ERROR_BODY - len(data))):
        data += more
    return data.decode("utf-8", "replace")


def _refused(streams: StreamRegistry, stream: Stream, status: int, headers: Mapping[str, str], text: str) -> None:
    stream.relay.head(status, headers)
    stream.relay.body(text)
    stream.claimed = True
    streams.finish(stream, "failed")
