"""The standalone host's middleware: who may talk to it (see origin.py), and what may run in its page.

It stands before every route, also before the chat's and the page socket's, which in ComfyUI are ComfyUI's to guard.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from ..origin import Handler, Refused, check_loopback_name, check_origin, refusal

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def check(request: web.Request, *, loopback_only: bool) -> None:
    """Raise Refused if the request is not let through. No I/O.

    `loopback_only` tells that the server listens on loopback, so that no other name can be right (against DNS
    rebinding). A WebSocket is checked like a request that changes something: browsers let any page open one.
    """
    if loopback_only:
        check_loopback_name(request)
    changes = request.method not in _SAFE
    if changes or "Upgrade" in request.headers:
        check_origin(request)
    if changes and request.content_type != "application/json":
        raise Refused(415, "the body has to be application/json")


def guard(*, loopback_only: bool) -> Any:
    """The middleware. It stands before all others, and waits for nothing of its own."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            check(request, loopback_only=loopback_only)
        except Refused as refused:
            return refusal(refused.status, refused.reason)
        return await handler(request)

    return guarded


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For `app.on_response_prepare`: what may run in our page, and that files are asked for anew."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-cache")
