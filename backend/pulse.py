"""A running plugin: one object that holds its parts and ties them together.

Made once, by the door to ComfyUI (`__init__.py`) or by the standalone host, and passed down. Making it starts
nothing: no task, no thread, no file. `start()` does, on the event loop, and `aclose()` ends all of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from .copilot.chats import Chat, ChatRegistry
from .copilot.seam import SeamRegistry
from .error_handling import RecoveryManager
from .event_bus import Event, EventBus, get_event_bus
from .events import EVENTS
from .monitoring import Monitor
from .settings import LiveSettings, from_environment

log = logging.getLogger("copilot_pulse")

VERSION: Final = "0.1.0"
# Deltas come by the thousand and the bus counts them itself.
_MONITORED: Final = tuple(type_ for type_ in EVENTS if type_ != "chat.delta")


class Pulse:
    """The parts of a running plugin: settings, bus, monitor, recovery, chats, seams."""

    def __init__(self, settings: LiveSettings, bus: EventBus) -> None:
        self.settings = settings
        self.bus = bus
        self.monitor = Monitor(version=VERSION)
        self.recovery = RecoveryManager(self.publish, settings=lambda: settings.current)
        self.chats = ChatRegistry()
        self.seams = SeamRegistry()
        # Awaited in a chat's own task before Copilot's generator starts: (chat, messages).
        self.before_chat: list[Callable[[Chat, Any], Awaitable[None]]] = []
        # Asked when an answer ends: what else the user must be told, or None.
        self.chat_notices: list[Callable[[Chat], str | None]] = []
        self._subscriptions: list[tuple[str, str]] = []
        self._ticker: asyncio.Task[None] | None = None
        settings.on_change(lambda names: self.publish("settings.changed", {"names": names}))
        self._connect()

    @classmethod
    def create(cls, environ: Mapping[str, str] = os.environ) -> Pulse:
        """The plugin with the settings that `environ` asks for, on the process's event bus."""
        settings, problems = from_environment(environ)
        return cls(LiveSettings(settings, problems), get_event_bus())

    def publish(self, type_: str, data: Mapping[str, Any]) -> None:
        """Publish an event of ours, from the loop, without waiting."""
        self.bus.publish_nowait(Event(type=type_, data=data, source="copilot-pulse"))

    def _connect(self) -> None:
        monitor = self.monitor
        for type_ in _MONITORED:
            self._subscriptions.append((type_, self.bus.subscribe(type_, monitor.on_event)))
        monitor.add_source("bus", self.bus.statistics)
        monitor.add_source("chats", self.chats.snapshot)
        monitor.add_source("breakers", self.recovery.breakers.snapshot)
        monitor.add_source("seams", self.seams.snapshot)
