"""Who may ask: our own page and programs, but no page of another origin, however the request has travelled.

A browser lets every page send requests to every server, cookies and all, and a proxy may change the name in `Host`.
So a request that changes something has to show one thing that no foreign page can:

- `Origin` names the host and port that the request was sent to, or that a proxy says it was sent to;
- `Sec-Fetch-Site`, which browsers keep to themselves, says `same-origin`;
- the header `X-Copilot-Pulse`, which our page sends: for another origin a browser asks the server first whether it
  may, and neither we nor ComfyUI ever allow it;
- neither `Origin` nor `Sec-Fetch-Site`: no browser, but a program, which could say anything.

And its body is JSON, which a form cannot send. No I/O in here but reading a body; names are never resolved.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from .hosts import bare_host, is_address, is_loopback, is_private_name

log = logging.getLogger("copilot_pulse.origin")

MARK: Final = "X-Copilot-Pulse"
"""The header with which our page marks what it sends; its value does not matter."""
MAX_BODY: Final = 64 * 1024
_CLIENT_GONE: Final = 499
_PORTS: Final = {"http": 80, "https": 443}
_PROXIED: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


class Refused(Exception):
    """Raised when a request is not let through; holds the status and the reason for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


# -- who asks ---------------------------------------------------------------------------------------


def check_origin(request: web.Request) -> None:
    """Raise Refused (403) if a browser may have sent the request from a page of another origin."""
    sites = request.headers.getall("Sec-Fetch-Site", [])
    if any(site not in ("none", "same-origin") for site in sites):
        raise Refused(403, "the request comes from another site")
    check_reader(request)


def check_reader(request: web.Request) -> None:
    """Raise Refused (403) if a page of another origin wants to read what names chats and sessions.

    Only ComfyUI's CORS option makes that possible at all. A link from another site passes: no script
    can read where it leads.
    """
    origins = request.headers.getall("Origin", [])
    if origins and not (_from_here(request, origins) or MARK in request.headers):
        raise Refused(403, "the request comes from another origin")


def check_socket(request: web.Request) -> None:
    """Raise Refused (403) if this WebSocket handshake may come from a page that is not ours.

    Stricter than ComfyUI's own check, and independent of it: ComfyUI's holds for names of loopback only, and is
    off with `--enable-cors-header`.

    - A browser always says `Origin`; who says none but shows itself as a browser is refused.
    - Against DNS rebinding a connection to loopback has to name loopback in `Host`, and any other an address,
      this machine, or a name that cannot be had in public; unless a proxy handed it on: a page's script can put
      no header into a WebSocket handshake. A page that is served under a public name without a proxy chats
      over HTTP.
    """
    headers = request.headers
    name = host_name(headers.get("Host", ""))
    if not name:
        raise Refused(403, "the request names no host")
    origins = headers.getall("Origin", [])
    if len(origins) > 1 or len(headers.getall("Host", [])) > 1:
        raise Refused(403, "the request says twice where it comes from")
    if origins:
        if not _from_here(request, origins):
            raise Refused(403, "the request comes from another origin")
    elif any(header.lower().startswith("sec-fetch-") for header in headers):
        raise Refused(403, "a browser has to say where the request comes from")
    if any(header in headers for header in _PROXIED):
        return
    if not (is_loopback(name) if _came_to_loopback(request) else _leads_only_here(name)):
        raise Refused(403, "this server answers to names of this machine and of its own network only")


def check_loopback_name(request: web.Request) -> None:
    """Raise Refused (403) if `Host` names another machine: for a server that listens on loopback only."""
    if not is_loopback(host_name(request.headers.get("Host", ""))):
        raise Refused(403, "this server answers to names of this machine only")


def _from_here(request: web.Request, origins: list[str]) -> bool:
    """Whether the page that a browser names is one that this server has sent."""
    if len(origins) != 1:
        return False
    headers = request.headers
    if headers.getall("Sec-Fetch-Site", []) == ["same-origin"]:
        return True
    forwarded = [host.strip() for value in headers.getall("X-Forwarded-Host", []) for host in value.split(",")]
    return any(same_origin(origins[0], host) for host in (headers.get("Host", ""), *forwarded))


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


# -- names ------------------------------------------------------------------------------------------


def host_name(host: str) -> str:
    """The name or address in a `Host` header, without its port; empty if there is none. Never raises."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "") if parts.port != 0 and parts.username is None else ""
    except ValueError:  # a port that is no number, or a broken IPv6 address
        return ""


def _leads_only_here(name: str) -> bool:
    """Whether nobody from outside can have this name lead to us: an address, or a name that is not public."""
    return is_address(name) or is_private_name(name) or bare_host(name) == socket.gethostname().lower()


def _came_to_loopback(request: web.Request) -> bool:
    address = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return isinstance(address, tuple) and is_loopback(str(address[0]))


# -- what is asked, and what is answered ---------------------------------------------------------------


async def read_json(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request that changes something, or Refused: 403, 415, 413 or 400.

    Waits for the body, which somebody may have read before us; a cancel leaves nothing behind.
    """
    check_origin(request)
    if request.content_type != "application/json":
        raise Refused(415, "the body has to be application/json")
    too_large = Refused(413, f"the body is larger than {MAX_BODY} bytes")
    if (request.content_length or 0) > MAX_BODY:
        raise too_large
    body = await request.content.read(MAX_BODY + 1)
    while len(body) <= MAX_BODY and not request.content.at_eof():
        body += await request.content.read(MAX_BODY + 1 - len(body))
    if not body:
        body = await request.read()  # another plugin's middleware may have read it: aiohttp keeps the bytes
    if len(body) > MAX_BODY:
        raise too_large
    try:
        data = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not valid JSON") from None
    if not isinstance(data, dict):
        raise Refused(400, "the body has to be a JSON object")
    return data


def refusal(status: int, reason: str, after: int = 0) -> web.Response:
    """The answer that says no, in JSON; `reason` is one sentence for the client.

    `after`: seconds after which it makes sense to ask again; 0 if that is not known.
    """
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if after:
        headers["Retry-After"] = str(after)
    return web.json_response({"error": reason}, status=status, headers=headers)


def answer_refusals(handler: Handler, *more: type[Exception]) -> Handler:
    """`handler` with its refusals as answers: Refused, and `more` classes with `status`, `reason` and maybe `after`.

    What nobody expected is logged and answered by 500, also in JSON, unless the answer has begun already.
    """

    refusals: tuple[type[Exception], ...] = (Refused, *more)

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except refusals as refused:
            status, reason = getattr(refused, "status", 400), getattr(refused, "reason", "")
            return refusal(status, reason, getattr(refused, "after", 0))
        except web.HTTPError as error:
            return refusal(error.status, error.reason)
        except ConnectionError:
            if request.transport is not None and not request.transport.is_closing():
                raise
            return web.Response(status=_CLIENT_GONE)  # nobody reads it, and no log need know of it
        except web.HTTPException:
            raise
        except (web.RequestPayloadError, web.PayloadAccessError):
            return refusal(400, "the body cannot be read as its headers say")
        except Exception:
            if getattr(request.writer, "output_size", 0):
                raise
            log.exception("%s %s failed", request.method, request.match_info.get_info().get("formatter", "a route"))
            return refusal(500, "internal error")

    return answer


def not_allowed(allowed: str) -> Handler:
    """The handler of any other method than those `allowed`, such as "GET, HEAD"."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        response = refusal(405, f"this path takes {allowed}")
        response.headers["Allow"] = allowed
        return response

    return refuse


def serve(
    router: web.UrlDispatcher,
    path: str,
    handlers: Mapping[str, Handler],
    *refusals: type[Exception],
    head: bool = True,
) -> list[str]:
    """Add a path of ours and its twin under `/api`, with a handler for each method; returns both paths.

    GET serves HEAD as well, unless `head` says no. Any other method is answered 405, and told which ones there
    are. `refusals`: see `answer_refusals`. Call it before the router is frozen.
    """
    methods = {**handlers, "HEAD": handlers["GET"]} if head and "GET" in handlers else handlers
    refuse = not_allowed(", ".join(sorted(methods)))
    for full in (path, f"/api{path}"):
        for method, handler in methods.items():
            router.add_route(method, full, answer_refusals(handler, *refusals))
        router.add_route("*", full, refuse)
    return [path, f"/api{path}"]
