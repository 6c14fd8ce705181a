"""One TLS context for all connections to tool servers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from agents import mcp as agents_mcp

from tests.support.mcp_server import McpServer
from tests.support.mcp_world import McpWorld


async def test_connections_share_one_tls_context(world: McpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chats make one TLS context, where the installed openai-agents lets us choose."""
    from backend.copilot.mcp import tls as mcp_http

    library = mcp_http._library()
    made: list[Any] = []
    create = library.create_ssl_context

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(args)
        return create(*args, **kwargs)

    monkeypatch.setattr(mcp_http, "_contexts", {})
    monkeypatch.setattr(library, "create_ssl_context", counted)
    async with McpServer() as mcp:
        for _ in range(3):
            assert ["search_node"] == await world.tools(mcp.url)
        await mcp.until_idle()

    assert mcp_http._takes_factory(agents_mcp.MCPServerSse) == (made == [()])
    assert made in ([], [()])


async def test_a_factory_of_ones_own_is_kept(world: McpWorld) -> None:
    """Parameters that bring their own HTTP client are not touched."""
    from backend.copilot.mcp.tls import share_tls_context

    own = object()
    server: Any = SimpleNamespace(params={"url": "http://x", "httpx_client_factory": own})
    share_tls_context(server)
    share_tls_context(object())

    assert own is server.params["httpx_client_factory"]
