"""Who may open a WebSocket to us. Browsers let every page open one to every server, cookies and all.

Stricter than ComfyUI's own check, and independent of it: ComfyUI's holds for names of loopback only, and is off
with `--enable-cors-header`.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from ..origin import same_origin

_PROXIED: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP")
# No registry gives these out.
_PRIVATE: Final = (".localhost", ".local", ".lan", ".internal", ".home.arpa")


def refusal(request: web.Request) -> str | None:
    """Why this handshake is refused, or None. No I/O; the name in `Host` is not resolved.

    - A browser always says `Origin`; it has to be exactly the scheme's host and port of `Host`.
    - Who says no `Origin` but shows itself as a browser is refused. A program that is none passes.
    - Against DNS rebinding a connection to loopback has to name loopback in `Host`, and any other an address,
      this machine, or a name that cannot be had in public; unless a proxy handed it on: a page's script can put
      no header into a WebSocket handshake. A page that is served under a public name without a proxy chats
      over HTTP.
    """
    host = request.headers.get("Host", "")
    name = _name(host)
    if not name:
        return "the request names no host"
    if len(request.headers.getall("Origin", [])) > 1 or len(request.headers.getall("Host", [])) > 1:
        return "the request says twice where it comes from"
    origin = request.headers.get("Origin")
    if origin is not None:
        if not same_origin(origin, host):
            return "the request comes from another origin"
    elif any(header.lower().startswith("sec-fetch-") for header in request.headers):
        return "a browser has to say where the request comes from"
    if any(header in request.headers for header in _PROXIED):
        return None
    if not (_is_loopback(name) if _came_to_loopback(request) else _is_private(name)):
        return "this server answers to names of this machine and of its own network only"
    return None


def _came_to_loopback(request: web.Request) -> bool:
    address = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return isinstance(address, tuple) and _is_loopback(str(address[0]))


def _name(host: str) -> str:
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "") if parts.port != 0 and parts.username is None else ""
    except ValueError:  # a port that is no number, or a broken IPv6 address
        return ""


def _is_private(name: str) -> bool:
    """Whether nobody from outside can have this name lead to us: an address, or a name that is not public."""
    name = name.strip("[]").rstrip(".").lower()
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return "." not in name or name.endswith(_PRIVATE) or name == socket.gethostname().lower()
    return True


def _is_loopback(name: str) -> bool:
    name = name.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
