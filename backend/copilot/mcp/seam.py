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
import logging
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..seam import CopilotModules, Replacements, SeamMissing, is_wrapper
from .directory import McpDirectory, Sleep
from .link import Link
from .server import LEAVE_SECONDS, Guard, guarded_class

if TYPE_CHECKING:
    from ...chats import Chat
    from ...pulse import Pulse

log = logging.getLogger("copilot_pulse.mcp")

_MODULE: Final = "backend.service.mcp_client"
_NAME: Final = "MCPServerSse"
_NEEDED: Final = ("connect", "cleanup", "list_tools", "call_tool")
_NOTICE: Final = {
    "en": "Answered without some of Copilot's tools: {names} cannot be reached. They come back by themselves."
    " Copilot Pulse's panel shows why.",
    "zh": "本次回答缺少部分工具：无法连接 {names}。恢复后会自动可用；原因见 Copilot Pulse 面板。",
}


class Crew:
    """The guarded servers of one chat, and whose the tool of each name is."""

    def __init__(self) -> None:
        self.guards: list[Guard] = []
        self._tools: dict[str, Guard] = {}

    def holder(self, tool: str, guard: Guard) -> Guard:
        """Who offers `tool`: the first that did, for as long as it is connected; else `guard`, from now on."""
        holder = self._tools.get(tool)
        if holder is None or not holder.up:
            holder = self._tools[tool] = guard
        return holder


class McpSeam:
    """Makes the subclass and keeps the directory of servers. For the event loop's thread."""

    name = "mcp"

    def __init__(
        self,
        pulse: Pulse,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.pulse = pulse
        self.clock = clock
        self.directory = McpDirectory(pulse, clock=clock, sleep=sleep)
        self._replacements = Replacements()
        self._owners: weakref.WeakKeyDictionary[asyncio.Task[Any], Crew] = weakref.WeakKeyDictionary()
        self._links: set[Link] = set()

    def attach(self, copilot: CopilotModules) -> None:
        """Replace the class in this Copilot; a second call changes nothing. Raises SeamMissing."""
        module = copilot.module(_MODULE)
        base = getattr(module, _NAME, None)
        if not isinstance(base, type) or not all(callable(getattr(base, name, None)) for name in _NEEDED):
            raise SeamMissing(f"{_MODULE} has no usable {_NAME}")
        if not is_wrapper(base):
            self._replacements.replace(module, _NAME, guarded_class(base, self))

    def detach(self) -> None:
        """Put the original classes back; servers of chats that run stay as they are until their end."""
        self._replacements.restore()

    async def aclose(self) -> None:
        """End all probing and all connections, and wait for them."""
        await self.directory.aclose()
        links = list(self._links)
        if links:
            await asyncio.gather(*(link.close(2 * LEAVE_SECONDS) for link in links))

    def snapshot(self) -> list[dict[str, Any]]:
        """One row a server, for metrics: server, host, state, tools, retry_in (s), reason."""
        return self.directory.snapshot()

    async def probe(self, server: str) -> bool:
        """Ask a server now; see `McpDirectory.probe()`."""
        return await self.directory.probe(server)

    def missing_tools_notice(self, session: str | None) -> list[str]:
        """Names of the servers whose tools the session's chat lacked; each is told once per outage."""
        return [server.name for server in self.directory.tell(session)]

    def notice(self, chat: Chat) -> str | None:
        """What the user of `chat` must be told about missing tools, once per session and outage, or None."""
        servers = self.directory.tell(chat.session)
        if not servers:
            return None
        text = _NOTICE.get(chat.language, _NOTICE["en"])
        return text.format(names=", ".join(server.name for server in servers))

    # -- for the guards --------------------------------------------------------------------------

    def guard(self, server: Any, base: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Guard | None:
        """What stands between Copilot and a new server object; None if it cannot be guarded. Never raises."""
        try:
            task = _current_task()
            crew = self._owners.get(task) if task is not None else None
            guard = Guard(self, crew or Crew(), server, base, args, kwargs)
            if task is not None:
                if crew is None:
                    self._owners[task] = guard.crew
                    task.add_done_callback(self._owner_done)
                guard.crew.guards.append(guard)
                guard.begin()
        except Exception:
            log.warning("an MCP server is used without Copilot Pulse", exc_info=True)
            return None
        return guard

    def adopt(self, link: Link) -> None:
        """Keep hold of a link that was started until its task ends."""
        if link.task is not None:
            self._links.add(link)
            link.task.add_done_callback(lambda _: self._links.discard(link))

    async def abandon(self, guard: Guard) -> None:
        """The chat of `guard` was cancelled while it entered its servers: end all of them, and wait."""
        task = _current_task()
        crew = self._owners.get(task) if task is not None else None
        guards = list(crew.guards) if crew is not None else []
        if guard not in guards:
            guards.append(guard)
        for each in guards:
            each.stop()
        await asyncio.gather(*(each.leave() for each in guards))

    def forget(self, guard: Guard) -> None:
        """The chat has left this server; its task may live on."""
        if guard in guard.crew.guards:
            guard.crew.guards.remove(guard)

    def _owner_done(self, task: asyncio.Task[Any]) -> None:
        crew = self._owners.pop(task, None)
        for guard in crew.guards if crew is not None else ():
            guard.stop()


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None
