"""Copilot Pulse: complete answers, live metrics and an event bus for ComfyUI-Copilot.

ComfyUI imports this file from `custom_nodes`, under a name made from the folder's path. Other custom nodes reach
the event bus whatever our folder is called, and whichever of us loads first:

    from copilot_pulse import get_event_bus
"""

from __future__ import annotations

import importlib.abc as _abc
import importlib.machinery as _machinery
import os as _os
import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType
from typing import Any as _Any

from .backend.backpressure import BoundedQueue
from .backend.event_bus import Event, EventBus, get_event_bus

__all__ = ["NODE_CLASS_MAPPINGS", "BoundedQueue", "Event", "EventBus", "get_event_bus"]

# No nodes, but ComfyUI reports a failed import without it.
NODE_CLASS_MAPPINGS: dict[str, type] = {}


class _PublicName(_abc.MetaPathFinder, _abc.Loader):
    """Makes `copilot_pulse.<any module>` another name of our own module.

    Without it, Python would load that file a second time, and the other custom node would get a second event bus
    on which nothing ever happens.
    """

    public_name = "copilot_pulse"

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> _machinery.ModuleSpec | None:
        """Only for what is below `copilot_pulse`, as long as that is us."""
        ours = fullname.startswith("copilot_pulse.") and _sys.modules.get("copilot_pulse") is _sys.modules.get(__name__)
        return _machinery.ModuleSpec(fullname, self) if ours else None

    def create_module(self, spec: _machinery.ModuleSpec) -> _ModuleType:
        """The module under its real name; the import system is about to give it the wrong `__spec__`."""
        real = __name__ + spec.name[len("copilot_pulse") :]
        try:
            module = _import_module(real)
        except ModuleNotFoundError as error:
            if error.name == real:
                raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name) from None
            raise
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: _Any) -> None:
        """It ran when it was imported under its real name. Only its `__spec__` is put back."""
        module.__spec__ = module.__spec__.loader_state


def _put_back(module: _ModuleType) -> None:
    """Put a package and its modules where `import` finds them, from which a reload has taken them."""
    _sys.modules[module.__name__] = module
    for part in list(vars(module).values()):
        if isinstance(part, _ModuleType) and part.__name__.startswith(f"{module.__name__}."):
            _put_back(part)


_first = _sys.modules.get("copilot_pulse")
_plugin: object | None = vars(_first).get("_plugin") if _first is not None and _first.__name__ == __name__ else None
if _plugin is not None and _first is not None:
    # Something reloads custom nodes. What runs cannot be replaced before a restart, and its bus is the one to be found.
    _put_back(_first)
# Of two copies the first one attaches, so the name stays with it.
elif _first is None or _sys.modules.get(_first.__name__) is not _first:
    for _name in [_name for _name in list(_sys.modules) if _name.startswith("copilot_pulse.")]:
        del _sys.modules[_name]  # of a copy that could not be loaded to its end, or is no more
    _sys.modules["copilot_pulse"] = _sys.modules[__name__]
    # A finder of such a copy would keep all that the copy was.
    _others = [_one for _one in _sys.meta_path if getattr(_one, "public_name", "") != _PublicName.public_name]
    _sys.meta_path[:] = [_PublicName(), *_others]

# The folders of the copies that were loaded after us and do nothing; they write here.
_copies: list[str] = []


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
    first = _sys.modules["copilot_pulse"]
    if first is not _sys.modules[__name__] and getattr(vars(first).get("_plugin"), "server", None) is instance:
        # Two at once would wrap each chat, and each request of the page, twice.
        here, there = _os.path.dirname(__file__), _os.path.dirname(str(first.__file__))
        log.warning("Copilot Pulse is installed twice: the copy in %s runs, this one does nothing: %s", there, here)
        vars(first).setdefault("_copies", []).append(_os.path.basename(here))
        return None
    try:
        from .backend.plugin import Plugin
        from .backend.pulse import Pulse

        pulse = Pulse.create()
        if not pulse.settings.current.enabled:
            log.info("Copilot Pulse is off (COPILOT_PULSE): nothing is attached")
            return None
        plugin = Plugin(pulse, instance, copies=_copies)
        plugin.install()
    except Exception:
        log.exception("Copilot Pulse could not be loaded; ComfyUI and Copilot work as without it")
        return None
    return plugin


if _plugin is None:
    _plugin = _install()
if _plugin is not None:
    WEB_DIRECTORY = "./web"
    __all__ += ["WEB_DIRECTORY"]
