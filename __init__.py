"""Copilot Pulse: complete answers, live metrics and an event bus for ComfyUI-Copilot.

ComfyUI imports this file from `custom_nodes`, under a name made from the folder's path. Other custom nodes reach
the event bus whatever our folder is called, and whichever of us loads first:

    from copilot_pulse import get_event_bus
"""

import sys as _sys

from .backend.event_bus import Event, EventBus, get_event_bus

__all__ = ["NODE_CLASS_MAPPINGS", "Event", "EventBus", "get_event_bus"]

# No nodes, but ComfyUI reports a failed import without it.
NODE_CLASS_MAPPINGS: dict[str, type] = {}

_sys.modules.setdefault("copilot_pulse", _sys.modules[__name__])


def _install() -> bool:
    """Hook into ComfyUI's server, if this is ComfyUI and the plugin is not switched off."""
    import logging

    log = logging.getLogger("copilot_pulse")
    try:
        from server import PromptServer
    except ImportError:
        return False  # imported for the bus alone
    instance = getattr(PromptServer, "instance", None)
    if instance is None:
        return False
    try:
        from .backend.plugin import Plugin
        from .backend.pulse import Pulse

        pulse = Pulse.create()
        if not pulse.settings.current.enabled:
            log.info("Copilot Pulse is off (COPILOT_PULSE): nothing is attached")
            return False
        Plugin(pulse, instance).install()
    except Exception:
        log.exception("Copilot Pulse could not be loaded; ComfyUI and Copilot work as without it")
        return False
    return True


if _install():
    WEB_DIRECTORY = "./web"
    __all__ += ["WEB_DIRECTORY"]  # noqa: PLE0604
