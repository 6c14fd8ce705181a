"""The MCP seam: a tool server that is dead, slow or dies costs its tools, and not the chat.

Replaces `MCPServerSse` in Copilot's `mcp_client` (looked up for each chat) by a subclass of whatever class
stands there. Unpatched, Copilot connects to its two servers one after the other before each chat, waits up to
300 s for each, and gives the chat up if one fails. Here

- each server's connection lives in a task of its own (see `link`), begun when the object is made, so all
  servers connect side by side; entering waits for what is left of `mcp_timeout`, then goes on without;
- while a server is known to be down nobody waits for it (see `directory`), and it comes back by itself;
- `list_tools()` of a server that is not there is empty; `call_tool()` gives the model an error to read, also
  after `mcp_tool_timeout` seconds; neither raises;
- of two servers of a chat that offer tools of one name, one is taken: the agent library ends the run otherwise;
- the connections end with the chat: with the task that made the objects, at the latest.

If setting this up fails, the object behaves as the original class.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..seam import CopilotModules, Replacements, SeamMissing, is_wrapper
from .directory import McpDirectory, Sleep
from .server import GuardedServers, guarded_class

if TYPE_CHECKING:
    from ...chats import Chat
    from ...pulse import Pulse

_MODULE: Final = "backend.service.mcp_client"
_NAME: Final = "MCPServerSse"
_NEEDED: Final = ("connect", "cleanup", "list_tools", "call_tool")
_NOTICE: Final = {
    "en": ("A tool server is down; see Copilot Pulse.", "{n} tool servers are down; see Copilot Pulse."),
    "zh": ("有 1 个工具服务器不可用，详见 Copilot Pulse。", "有 {n} 个工具服务器不可用，详见 Copilot Pulse。"),
}


class McpSeam:
    """Puts the subclass in its place and keeps the directory of servers. For the event loop's thread."""

    name = "mcp"

    def __init__(
        self,
        pulse: Pulse,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.directory = McpDirectory(pulse, clock=clock, sleep=sleep)
        self._servers = GuardedServers(pulse, self.directory, clock)
        self._replacements = Replacements()

    def attach(self, copilot: CopilotModules) -> None:
        """Replace the class in this Copilot; a second call changes nothing. Raises SeamMissing."""
        module = copilot.module(_MODULE)
        base = getattr(module, _NAME, None)
        if not isinstance(base, type) or not all(callable(getattr(base, name, None)) for name in _NEEDED):
            raise SeamMissing(f"{_MODULE} has no usable {_NAME}")
        if not is_wrapper(base):
            self._replacements.replace(module, _NAME, guarded_class(base, self._servers.guard))

    def detach(self) -> None:
        """Put the original classes back; servers of chats that run stay as they are until their end."""
        self._replacements.restore()

    async def aclose(self) -> None:
        """End all probing and all connections, and wait for them."""
        await self.directory.aclose()
        await self._servers.aclose()

    def snapshot(self) -> list[dict[str, Any]]:
        """One row a server, for metrics: server, host, state, tools, retry_in (s), reason."""
        return self.directory.snapshot()

    async def probe(self, server: str) -> bool:
        """Ask a server now; see `McpDirectory.probe()`."""
        return await self.directory.probe(server)

    def notice(self, chat: Chat) -> str | None:
        """What the user of `chat` must be told about missing tools, or None: once, in one short line.

        Copilot's own tool servers were switched off for good, and chats are answered without them: whoever has read
        that once, or has dismissed it in the panel, does not want to read it below each answer.
        """
        servers = self.directory.tell(chat.session)
        if not servers:
            return None
        one, several = _NOTICE.get(chat.language, _NOTICE["en"])
        return (one if len(servers) == 1 else several).format(n=len(servers))
