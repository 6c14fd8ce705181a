"""What a request that changes something must look like: from the same origin, JSON, small."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

MAX_BODY: Final = 64 * 1024
_PORTS: Final = {"http": 80, "https": 443}


class Refused(Exception):
    """Raised when a request is not let through; holds the status and the reason for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def check_origin(request: web.Request) -> None:
    """Raise Refused (403) if a browser sent the request from a page of another origin.

    A program that is no browser sends neither `Origin` nor `Sec-Fetch-Site` and passes.
    """
    origin = request.headers.get("Origin")
    if origin is not None:
        if not same_origin(origin, request.headers.get("Host", "")):
            raise Refused(403, "the request comes from another origin")
    elif request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Refused(403, "the request comes from another site")


def check_reader(request: web.Request) -> None:
    """Raise Refused (403) if a page of another origin wants to read what names chats and sessions.

    Only ComfyUI's CORS option makes that possible at all. A link from another site passes: no script
    can read where it leads.
    """
    origin = request.headers.get("Origin")
    if origin is not None and not same_origin(origin, request.headers.get("Host", "")):
        raise Refused(403, "the request comes from another origin")


def same_origin(origin: str, host: str) -> bool:
    """Whether an `Origin` header names the host and port of a `Host` header. Never raises."""
    try:
        there = urlsplit(origin)
        here = urlsplit(f"//{host}")
        if there.scheme not in _PORTS or not there.hostname:
            return False
        default = _PORTS[there.scheme]
        return (there.hostname, there.port or default) == (here.hostname, here.port or default)
    except ValueError:
        return False


async def read_json(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request that changes something, or Refused: 403, 415, 413 or 400.

    Waits for the body; a cancel leaves nothing behind.
    """
    check_origin(request)
    if request.content_type != "application/json":
        raise Refused(415, "the body has to be application/json")
    if (request.content_length or 0) > MAX_BODY:
        raise Refused(413, f"the body is larger than {MAX_BODY} bytes")
    body = await request.content.read(MAX_BODY + 1)
    while len(body) <= MAX_BODY and not request.content.at_eof():
        body += await request.content.read(MAX_BODY + 1 - len(body))
    if len(body) > MAX_BODY:
        raise Refused(413, f"the body is larger than {MAX_BODY} bytes")
    try:
        data = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not valid JSON") from None
    if not isinstance(data, dict):
        raise Refused(400, "the body has to be a JSON object")
    return data
