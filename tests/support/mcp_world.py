"""A plugin with nothing but the MCP seam, on whichever openai-agents is installed."""

from __future__ import annotations

import asyncio
from types import ModuleType, SimpleNamespace
from typing import Any, cast

from agents import mcp as agents_mcp

from backend.copilot.mcp.seam import McpSeam
from backend.error_handling import RecoveryManager
from backend.settings import LiveSettings, Settings

ROOT = "custom_nodes_x_mcp_test"
MODULE = f"{ROOT}.backend.service.mcp_client"


def text_of(result: Any) -> str:
    """The text of a tool's result."""
    return str(result.content[0].text)


class McpWorld:
    """A plugin with nothing but the MCP seam, and the module that it is attached to."""

    def __init__(self, **settings: Any) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.recorded: list[dict[str, Any]] = []
        live = LiveSettings(Settings(**settings))
        recovery = RecoveryManager(lambda type_, data: self.recorded.append(dict(data)), settings=lambda: live.current)
        recovery.redactor.add("s3cret")
        self.pulse: Any = SimpleNamespace(
            settings=live,
            publish=lambda type_, data: self.events.append((type_, dict(data))),
            recovery=recovery,
        )
        self.module = ModuleType(MODULE)
        self.module.MCPServerSse = agents_mcp.MCPServerSse  # type: ignore[attr-defined]
        self.seam = McpSeam(cast(Any, self.pulse))

    @property
    def changes(self) -> list[tuple[str, str]]:
        """(server, state) of each mcp.changed."""
        return [(d["server"], d["state"]) for type_, d in self.events if type_ == "mcp.changed"]

    def row(self, url: str) -> dict[str, Any]:
        """What the panel is shown of the server at `url`."""
        host = url.split("/")[2]
        return next(r for r in self.seam.snapshot() if r["host"] == host)

    def server(self, url: str, *, session: str = "s1", key: str = "k1") -> Any:
        """A server object as Copilot makes it."""
        return self.module.MCPServerSse(
            params={
                "url": url,
                "timeout": 300.0,
                "headers": {"X-Session-Id": session, "Authorization": f"Bearer {key}"},
            },
            cache_tools_list=True,
            client_session_timeout_seconds=300.0,
        )

    async def tools(self, url: str, **how: Any) -> list[str]:
        """The names of the tools that a whole chat with this one server sees."""

        async def chat() -> list[str]:
            async with self.server(url, **how) as server:
                return [tool.name for tool in await server.list_tools()]

        return await asyncio.create_task(chat())
