"""Addresses in the log lines of the libraries that a chat goes through: no more of them than the host.

httpx logs each request's URL at INFO, which ComfyUI shows, and the agent library what went wrong with one. The
path of an MCP server's URL may be a key, and a base URL may carry a user with a password. Lines that another
plugin causes are left alone: only what is logged in a chat or while an MCP server is probed is changed.
"""

from __future__ import annotations

import contextvars
import logging
import re
from typing import Final

from ..chats import current_chat

LOGGERS: Final = ("httpx", "httpx2", "mcp.client.sse", "mcp.client.streamable_http", "openai.agents")
_URL: Final = re.compile(
    r"\b(?P<scheme>https?|wss?)://(?:[^\s/?#\"']*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/?#\"'<>()\[\]@:]*)(?P<port>:\d+)?"
    r"(?P<rest>[^\s\"'<>)\]]*)"
)

# Set where work of ours runs outside of any chat.
hide_urls: contextvars.ContextVar[bool] = contextvars.ContextVar("copilot_pulse_hide_urls", default=False)


class InOurs(logging.Filter):
    """Asks `inner` about the records of a chat or of a probe, in whose context they are made; others pass."""

    def __init__(self, inner: logging.Filter) -> None:
        super().__init__()
        self._inner = inner

    def filter(self, record: logging.LogRecord) -> bool:
        """Any thread; never raises if `inner` does not."""
        if current_chat.get() is None and not hide_urls.get():
            return True
        return bool(self._inner.filter(record))


def hosts_only(text: str) -> str:
    """`text` with each URL cut down to scheme, host and port."""
    return _URL.sub(_host_only, text)


def _host_only(found: re.Match[str]) -> str:
    more = "/…" if found["rest"] not in ("", "/") else ""
    return f"{found['scheme']}://{found['host']}{found['port'] or ''}{more}"
