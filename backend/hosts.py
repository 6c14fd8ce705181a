"""What a host is, by its name or address alone: this machine, the network around it, or somebody else's.

A host is given as `name`, `name:port`, `address`, `address:port` or `[address]:port`, in any case, with or without the
dot at its end. Names are never resolved: what is told here costs nothing, and nobody learns that it was asked. Any
thread may call these functions; none raises. What only looks like an address, as `127.0.0.1.example.com`, is a name.
"""

from __future__ import annotations

import ipaddress
from typing import Final

# No registry gives names below these to anybody.
_PRIVATE_NAMES: Final = (".localhost", ".local", ".lan", ".internal", ".home", ".home.arpa")


def bare_host(host: str) -> str:
    """The name or address in small letters, without port, brackets and the dot at its end; "" if there is none."""
    text = host.strip().lower()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return text.rstrip(".")


def is_address(host: str) -> bool:
    """Whether it is an IPv4 or IPv6 address, with a zone or without, and no name."""
    return _address(bare_host(host)) is not None


def is_loopback(host: str) -> bool:
    """Whether it is this machine and nothing else: what is sent there stays here."""
    name = bare_host(host)
    address = _address(name)
    return _is_localhost(name) if address is None else address.is_loopback


def is_local(host: str) -> bool:
    """Whether it is this machine or a part of its own network, which an overlay such as Tailscale's is, too."""
    address = _address(bare_host(host))
    return is_private_name(host) if address is None else not address.is_global


def is_private_name(host: str) -> bool:
    """Whether it is a name that nobody can have in public, so that no stranger can make it lead anywhere."""
    name = bare_host(host)
    if not name or " " in name or _address(name) is not None:
        return False
    return "." not in name or name.endswith(_PRIVATE_NAMES)


def _is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
