"""Copilot Pulse: complete answers, live metrics and an event bus for ComfyUI-Copilot.

ComfyUI imports this file from `custom_nodes`, under a name made from the folder's path. Other custom nodes reach
the event bus whatever our folder is called, and whichever of us loads first:

    from copilot_pulse import get_event_bus
"""

from __future__ import annotations

import sys as _sys

from .backend.event_bus import Event, EventBus, get_event_bus

__all__ = ["NODE_CLASS_MAPPINGS", "Event", "EventBus", "get_event_bus"]

# No nodes, but ComfyUI reports a failed import without it.
NODE_CLASS_MAPPINGS: dict[str, type] = {}

# Of two copies the first one attaches, so the name stays with it.
_first = _sys.modules.get("copilot_pulse")
if _first is None or _sys.modules.get(_first.__name__) is not _first:
    _sys.modules["copilot_pulse"] = _sys.modules[__name__]


def _install() -> object | None:
    """Hook into ComfyUI's server, if this is ComfyUI and the plugin is not switched off."""
    import logging

    log = logging.getLogger("copilot_pulse")
    try:
        from server import PromptServer
    except ImportError:
        return None  # imported for the bus alone
    instance = getattr(PromptServer, "instance", None)
    if instance is None:
        return None
    try:
        from .backend.plugin import Plugin
        from .backend.pulse import Pulse

        pulse = Pulse.create()
        if not pulse.settings.current.enabled:
            log.info("Copilot Pulse is off (COPILOT_PULSE): nothing is attached")
            return None
        plugin = Plugin(pulse, instance)
        plugin.install()
    except Exception:
        log.exception("Copilot Pulse could not be loaded; ComfyUI and Copilot work as without it")
        return None
    return plugin


_plugin = _install()
if _plugin is not None:
    WEB_DIRECTORY = "./web"
    __all__ += ["WEB_DIRECTORY"]
