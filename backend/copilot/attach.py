"""Finds Copilot and attaches every seam to it, each on its own: one that is missing costs only what it does."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from ..aio import close_all, fail_open
from ..chats import Chat
from ..monitoring import Finding, SourceNames
from .chat import ChatSeam
from .client import ClientSeam
from .diagnosis import MISMATCH, library_mismatch, why_no_copilot
from .http import HttpSeam
from .log import LogSeam
from .mcp.seam import McpSeam
from .mcp.tls import prepare_tls
from .memory import MemorySeam
from .model.seam import ModelSeam, read_ahead
from .pump import ChatRefused
from .run import RunSeam
from .seam import CopilotModules, Seam, SeamMissing, SeamUnneeded, find_copilots

if TYPE_CHECKING:
    from ..pulse import Pulse

log = logging.getLogger("copilot_pulse")


class Attachment:
    """The seams of a running plugin. `attach()` may be called again, `detach()` restores every object."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self.http = HttpSeam(pulse)
        self.client = ClientSeam(pulse)
        self.mcp = McpSeam(pulse)
        self.memory = MemorySeam(pulse)
        # The run seam before the chat seam: a chat must not start between the two without it.
        self.seams: tuple[Seam, ...] = (
            LogSeam(pulse),
            self.client,
            ModelSeam(pulse),
            RunSeam(pulse),
            self.mcp,
            self.memory,
            ChatSeam(pulse),
            self.http,
        )
        self._mismatch = ("", "")
        self._ahead: threading.Thread | None = None
        pulse.monitor.add_check("copilot:libraries", self._libraries)
        pulse.before_chat += (self._refuse, self._prepare_connections, self._summarise_history)
        pulse.chat_notices.append(self._missing_tools)
        pulse.probe_mcp = self.mcp.probe
        pulse.dismiss_mcp = self.mcp.directory.dismiss
        pulse.monitor.add_source(SourceNames.MCP, self.mcp.snapshot)

    def attach(self) -> bool:
        """Attach to every Copilot that has been imported. False if there is none. Never raises.

        Must run on the event loop's thread. Calling it again attaches what came later and changes
        nothing else.
        """
        registry = self._pulse.seams
        copilots = list(find_copilots())
        registry.copilots = [copilot.root for copilot in copilots]
        registry.detail = "" if copilots else why_no_copilot()
        self._mismatch = library_mismatch() if copilots else ("", "")
        for seam in self.seams:
            if not copilots:
                registry.set(seam.name, False, registry.detail.rstrip("."))
            if copilots:
                self._attach_to(seam, copilots)
        return bool(copilots)

    @fail_open("imports before the first chat")
    def read_ahead(self) -> None:
        """Import in a thread what only chats need. Called when all else is done: ComfyUI's start need not wait for it.

        Not left to the first chat, for by then an update of the plugin may have put other files there.
        """
        if self._pulse.seams.copilots and self._ahead is None:
            self._ahead = threading.Thread(target=read_ahead, name="copilot-pulse read-ahead", daemon=True)
            self._ahead.start()

    def _attach_to(self, seam: Seam, copilots: list[CopilotModules]) -> None:
        """Attach one seam to every Copilot, and note what came of it."""
        problems: list[str] = []
        unneeded: list[str] = []
        for copilot in copilots:
            try:
                seam.attach(copilot)
            except SeamUnneeded as reason:
                unneeded.append(str(reason))
            except SeamMissing as missing:
                problems.append(str(missing))
            except Exception as error:  # fail open: a Copilot that we do not understand must work as it is
                log.debug("attaching the %s seam failed", seam.name, exc_info=True)
                problems.append(f"{type(error).__name__}: {error}")
        attached = not problems and len(unneeded) < len(copilots)
        self._pulse.seams.set(seam.name, attached, "; ".join(problems or unneeded), needed=attached or bool(problems))

    def _libraries(self) -> Finding:
        """The health check: whether the agent library and its client fit together."""
        agents, openai = self._mismatch
        if not agents:
            return Finding()
        text = MISMATCH["en"].format(agents=agents, openai=openai)
        return Finding(
            "fail", agents, "", None, text, "", "libraries_mismatch", {"agents": agents, "openai": openai}
        )  # fmt: skip

    async def _refuse(self, chat: Chat, messages: Any) -> None:
        """Answer in Copilot's place where its libraries cannot: it would show the user a raw error."""
        agents, openai = self._mismatch
        if agents:
            raise ChatRefused(MISMATCH[chat.language].format(agents=agents, openai=openai))

    async def _prepare_connections(self, chat: Chat, messages: Any) -> None:
        """Certificates are read in a thread, once: it takes 40 ms, and the chat would do it on the loop."""
        await self.client.http.prepare()
        await prepare_tls()

    async def _summarise_history(self, chat: Chat, messages: Any) -> None:
        if chat.kind == "chat" and isinstance(messages, list):
            await self.memory.precompute(messages, chat.session, chat.owner)

    def _missing_tools(self, chat: Chat) -> str | None:
        return self.mcp.notice(chat) if chat.kind == "chat" else None

    def detach(self, reason: str = "detached") -> None:
        """Put back every object that was replaced, in the reverse order. Chats that run go on to their end."""
        for seam in reversed(self.seams):
            seam.detach()
        for seam in self.seams:
            self._pulse.seams.set(seam.name, False, reason)

    async def aclose(self) -> None:
        """Detach, stop the chats and end every task of the seams. Waits for them."""
        await close_all(self.detach, *(seam.aclose for seam in reversed(self.seams)))
        if self._ahead is not None:
            self._ahead.join()  # some 10 ms at most, and only of a program that ends right after its start
