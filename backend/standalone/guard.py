"""The standalone host's middleware: who may talk to it (see origin.py), and what may run in its page.

It stands before every route, also before the chat's and the page socket's, which in ComfyUI are ComfyUI's to guard.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from ..origin import Refused, check_loopback_name, check_origin, refusal

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def check(request: web.Request, *, loopback_only: bool, taken: bool = True) -> None:
    """Raise Refused if the request is not let through. No I/O.

    `taken`: whether the path takes this method at all; where it does not, that is the answer, and not what is wrong
    with the body. `loopback_only` tells that the server listens on loopback, so that no other name can be right
    (against DNS rebinding). A WebSocket is checked like a request that changes something: browsers let any page open
    one.
    """
    if loopback_only:
        check_loopback_name(request)
    changes = request.method not in _SAFE
    if changes or "Upgrade" in request.headers:
        check_origin(request)
    if changes and taken and request.content_type != "application/json":
        raise Refused(415, "the body has to be application/json")


def guard(*, loopback_only: bool) -> Any:
    """The middleware. It stands before all others, and waits for nothing of its own. Errors leave it as JSON."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            check(request, loopback_only=loopback_only, taken=_is_taken(request))
        except Refused as refused:
            return refusal(refused.status, refused.reason)
        try:
            return await handler(request)
        except web.HTTPError as error:
            if error.content_type != "text/plain":
                raise
            told = refusal(error.status, error.reason)
            told.headers.update({name: value for name, value in error.headers.items() if name == "Allow"})
            return told

    return guarded


def _is_taken(request: web.Request) -> bool:
    """Whether a route is there for this method: those for any method say no."""
    found = request.match_info
    return found.http_exception is None and found.route.method != hdrs.METH_ANY


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For `app.on_response_prepare`: what may run in our page, and that files are asked for anew."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-cache")
