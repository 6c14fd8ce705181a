"""Finds Copilot and attaches every seam to it, each on its own: one that is missing costs only what it does."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from ..chats import Chat
from ..error_handling import hold_prompt
from ..monitoring import SourceNames
from .chat import ChatSeam
from .client import ClientSeam
from .http import HttpSeam
from .log import LogSeam
from .mcp.seam import McpSeam
from .mcp.tls import prepare_tls
from .memory import MemorySeam, user_texts
from .model import watch as stream_watch
from .model.seam import ModelSeam
from .run import RunSeam
from .seam import CopilotModules, Seam, SeamMissing, find_copilots

if TYPE_CHECKING:
    from ..pulse import Pulse

log = logging.getLogger("copilot_pulse")

NOT_FOUND: Final = (
    "ComfyUI-Copilot was not found. Install it with ComfyUI Manager (search for ComfyUI-Copilot) and restart ComfyUI."
)
NOT_LOADED: Final = (
    "ComfyUI-Copilot is installed but did not load. Usually the agent library is missing or a wrong package of the"
    " same name is in the way: python -m pip uninstall -y agents; python -m pip install -U openai-agents"
)


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
        pulse.before_chat += (self._hold_prompt, self._prepare_connections, self._summarise_history)
        pulse.chat_notices.append(self._missing_tools)
        pulse.probe_mcp = self.mcp.probe
        pulse.monitor.add_source(SourceNames.MCP, self.mcp.snapshot)
        pulse.monitor.watch.look_past(stream_watch.__file__)

    def attach(self) -> bool:
        """Attach to every Copilot that has been imported. False if there is none. Never raises.

        Must run on the event loop's thread. Calling it again attaches what came later and changes
        nothing else.
        """
        registry = self._pulse.seams
        copilots = list(find_copilots())
        registry.copilots = [copilot.root for copilot in copilots]
        registry.detail = "" if copilots else (NOT_LOADED if _tried_to_load() else NOT_FOUND)
        for seam in self.seams:
            if not copilots:
                registry.set(seam.name, False, registry.detail.rstrip("."))
            problems = [problem for copilot in copilots if (problem := self._attach_one(seam, copilot))]
            if copilots:
                registry.set(seam.name, not problems, "; ".join(problems))
        return bool(copilots)

    async def _hold_prompt(self, chat: Chat, messages: Any) -> None:
        """What the user wrote is kept out of the errors of the chat, in whose task this runs."""
        if isinstance(messages, list):
            hold_prompt(user_texts(messages))

    async def _prepare_connections(self, chat: Chat, messages: Any) -> None:
        """Certificates are read in a thread, once: it takes 40 ms, and the chat would do it on the loop."""
        await self.client.http.prepare()
        await prepare_tls()

    async def _summarise_history(self, chat: Chat, messages: Any) -> None:
        if chat.kind == "chat" and isinstance(messages, list):
            await self.memory.precompute(messages, chat.session, chat.owner)

    def _missing_tools(self, chat: Chat) -> str | None:
        return self.mcp.notice(chat) if chat.kind == "chat" else None

    def _attach_one(self, seam: Seam, copilot: CopilotModules) -> str:
        """Attach one seam to one Copilot; returns what is in the way, or ""."""
        try:
            seam.attach(copilot)
        except SeamMissing as missing:
            return str(missing)
        except Exception as error:  # fail open: a Copilot that we do not understand must work as it is
            log.debug("attaching the %s seam failed", seam.name, exc_info=True)
            return f"{type(error).__name__}: {error}"
        return ""

    def detach(self, reason: str = "detached") -> None:
        """Put back every object that was replaced, in the reverse order. Chats that run go on to their end."""
        for seam in reversed(self.seams):
            seam.detach()
        for seam in self.seams:
            self._pulse.seams.set(seam.name, False, reason)

    async def aclose(self) -> None:
        """Detach, stop the chats and end every task of the seams. Waits for them."""
        self.detach()
        for seam in reversed(self.seams):
            await seam.aclose()


def _tried_to_load() -> bool:
    """Whether parts of a Copilot were imported, without its door: its import broke half-way."""
    return any(name.endswith((".backend.agent_factory", ".backend.service.mcp_client")) for name in sys.modules)
