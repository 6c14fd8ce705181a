"""Who may talk to the standalone host: its own page, and programs that are no browser.

A web page that a user happens to visit can send requests to loopback, too. Three checks keep it out: the
`Host` has to be a name of this machine (against DNS rebinding), a request that changes something has to come
from the same origin, and a body has to be JSON, which another origin cannot send without asking first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


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
    try:
        host = urlsplit(f"//{request.headers.get('Host', '')}")
        name, port = host.hostname, host.port
        if loopback_only and not is_loopback(name or ""):
            return 403, "this server answers to names of this machine only"
        changes = request.method not in _SAFE or "Upgrade" in request.headers
        if not changes:
            return None
        origin = request.headers.get("Origin")
        if origin is not None and not _same_place(origin, name, port):
            return 403, "the request comes from another origin"
    except ValueError:  # a port that is no number, or a broken IPv6 address
        return 403, "the Host or Origin header cannot be read"
    if origin is None and request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return 403, "the request comes from another site"
    if request.method not in _SAFE and request.content_type != "application/json":
        return 415, "the body has to be application/json"
    return None


def _same_place(origin: str, name: str | None, port: int | None) -> bool:
    page = urlsplit(origin)
    if page.scheme not in _PORTS or page.hostname is None or page.hostname != name:
        return False
    # The scheme that we were reached by is not known behind a proxy, so a missing port is either default.
    default = _PORTS[page.scheme]
    return (page.port or default) == (port or default)


def guard(*, loopback_only: bool) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
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
