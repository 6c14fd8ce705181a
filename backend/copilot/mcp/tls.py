"""One TLS context for all MCP connections: making one takes 40 ms of the event loop, and each chat made two.

openai-agents takes a factory for the HTTP client in a server's parameters, in newer versions. Older ones,
and parameters that bring a factory of their own, are left as they are.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from ...aio import in_front

log = logging.getLogger("copilot_pulse.mcp")

_KEY: Final = "httpx_client_factory"
# By HTTP library: the context holds the system's certificates, nothing of a user's.
_contexts: dict[str, Any] = {}


def share_tls_context(server: Any) -> None:
    """Give a server object, before it connects, clients that share their TLS context. Never raises."""
    try:
        params = server.params
        if _KEY in params or not _takes_factory(type(server)):
            return
        library = _library()
        if library is not None:
            server.params = {**params, _KEY: _factory(library)}
    except Exception as error:
        log.debug("MCP clients keep a TLS context each: %s", type(error).__name__)


def _takes_factory(kind: type) -> bool:
    for base in kind.__mro__:
        params = getattr(sys.modules.get(base.__module__), f"{base.__name__}Params", None)
        if params is not None:
            return _KEY in getattr(params, "__annotations__", ())
    return False


def _library() -> Any:
    """The HTTP library that the installed mcp package speaks: httpx, or httpx2 since its version 2."""
    used = vars(sys.modules["mcp.client.sse"])
    return used.get("httpx2") or used.get("httpx")


async def prepare_tls() -> None:
    """Make the context in a thread, if there is none. Never raises: it is made when it is needed otherwise."""
    try:
        library = _library()
        if library is not None and library.__name__ not in _contexts:
            _contexts[library.__name__] = await asyncio.to_thread(library.create_ssl_context)
    except Exception as error:
        log.debug("no TLS context was made for MCP: %s", type(error).__name__)


def _factory(library: Any) -> Callable[..., Any]:
    def make(headers: Any = None, timeout: Any = None, auth: Any = None) -> Any:
        context = _contexts.get(library.__name__)
        if context is None:
            context = _contexts[library.__name__] = library.create_ssl_context()
        given = {"headers": headers, "timeout": timeout, "auth": auth}
        return library.AsyncClient(
            verify=context,
            follow_redirects=False,  # as openai-agents' own factory does
            **{name: value for name, value in given.items() if value is not None},
        )

    plain = partial(library.AsyncClient, follow_redirects=False)
    return in_front(make, plain, "the shared TLS context of tool servers")
