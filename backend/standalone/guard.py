"""Who may talk to the standalone host: its own page, and programs that are no browser.

A web page that a user happens to visit can send requests to loopback, too. Three checks keep it out: the
`Host` has to be a name of this machine (against DNS rebinding), a request that changes something has to come
from the same origin, and a body has to be JSON, which another origin cannot send without asking first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from ..origin import Refused, check_origin

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address without a port, is this machine and nothing else."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def refusal(request: web.Request, *, loopback_only: bool) -> tuple[int, str] | None:
    """The status and the reason with which a request is refused, or None. No I/O.

    `loopback_only` tells that the server listens on loopback, so that no other name can be right.
    """
    if loopback_only and not is_loopback(_name(request.headers.get("Host", ""))):
        return 403, "this server answers to names of this machine only"
    if request.method in _SAFE and "Upgrade" not in request.headers:
        return None
    try:
        check_origin(request)
    except Refused as refused:
        return refused.status, refused.reason
    if request.method not in _SAFE and request.content_type != "application/json":
        return 415, "the body has to be application/json"
    return None


def _name(host: str) -> str:
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "") if parts.port != 0 else ""
    except ValueError:  # a port that is no number, or a broken IPv6 address
        return ""


def guard(*, loopback_only: bool) -> Any:
    """The middleware. It stands before all others, and waits for nothing of its own."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = refusal(request, loopback_only=loopback_only)
        if refused is not None:
            status, reason = refused
            return web.json_response({"error": reason}, status=status)
        return await handler(request)

    return check


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For `app.on_response_prepare`: what may run in our page, and that files are asked for anew."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-cache")
