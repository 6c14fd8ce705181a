"""Why Copilot cannot be used, in words that say what to do: it is not there, too old, or lacks a library.

A module whose import fails leaves `sys.modules`, so a Copilot that did not load has no door to be found by. What
its import had done until then is left, and tells that it is there; what it lacks is looked up.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

log = logging.getLogger("copilot_pulse")

NOT_FOUND: Final = (
    "ComfyUI-Copilot was not found. Install it with ComfyUI Manager (search for ComfyUI-Copilot) and restart ComfyUI."
)
TOO_OLD: Final = (
    "This ComfyUI-Copilot is version 1, and Copilot Pulse works with 2.0 and newer. Update ComfyUI-Copilot with"
    " ComfyUI Manager and restart ComfyUI."
)
_BROKEN: Final = "ComfyUI-Copilot is installed but did not load: {why} Then restart ComfyUI."
_UNKNOWN: Final = (
    "ComfyUI-Copilot is installed but did not load. ComfyUI's start log says why: look for IMPORT FAILED, and the"
    " lines above it."
)
# What is left of version 2, and of version 1, by the end of a module's name.
_LEFT_OF_2: Final = (".backend.utils.globals", ".backend.controller", ".backend.service", ".backend.utils")
_LEFT_OF_1: Final = ".service.conversation_service"
_FINGERPRINT: Final = "get_comfyui_copilot_api_key"
# What version 2 imports when it loads, and what pip calls it.
_LIBRARIES: Final = {
    "openai": "openai",
    "httpx": "httpx",
    "dotenv": "python-dotenv",
    "sqlalchemy": '"sqlalchemy<2"',
    "requests": "requests",
    "modelscope": "modelscope",
}
_INSTALL_AGENTS: Final = "python -m pip install -U openai-agents"


def why_no_copilot() -> str:
    """Why no usable Copilot was found. Looks at loaded modules and installed packages; takes some milliseconds."""
    try:
        if any(name.endswith(_LEFT_OF_1) and _is_copilot(name, 2) for name in list(sys.modules)):
            return TOO_OLD
        if not any(
            name.endswith(left) and _is_copilot(name, left.count("."))
            for name in list(sys.modules)
            for left in _LEFT_OF_2
        ):
            return NOT_FOUND
        why = _agents_problem() or _missing_library()
        return _BROKEN.format(why=why) if why else _UNKNOWN
    except Exception:
        log.debug("why Copilot cannot be used is not known", exc_info=True)
        return NOT_FOUND


def _is_copilot(name: str, depth: int) -> bool:
    """Whether the module `name`, `depth` names below its root, is Copilot's; other plugins have a backend, too."""
    module = sys.modules.get(name)
    if hasattr(module, _FINGERPRINT):
        return True
    root = sys.modules.get(".".join(name.split(".")[:-depth]))
    file = getattr(root, "__file__", None)
    if not file:
        return False
    try:
        project = (Path(file).parent / "pyproject.toml").read_text("utf-8", "replace")
    except OSError:
        return False
    return "comfyui-copilot" in project.lower()


def _agents_problem() -> str:
    """What is wrong with openai-agents, whose import name, agents, others have taken too; "" if nothing is."""
    version = _version("openai-agents")
    found = _spec("agents")
    folder = Path(found.origin).parent if found is not None and found.origin else None
    if found is None or (version and folder is None):
        return f"the package openai-agents is missing. Run: {_INSTALL_AGENTS}"
    if not version or (folder is not None and not (folder / "run.py").is_file()):
        return f"a wrong package named agents is in the way. Run: python -m pip uninstall -y agents; {_INSTALL_AGENTS}"
    if folder is not None and not (folder / "mcp").is_dir():
        return f"openai-agents {version} is too old. Run: {_INSTALL_AGENTS}"
    return ""


def _missing_library() -> str:
    for module, package in _LIBRARIES.items():
        if _spec(module) is None:
            return f"the Python package {module} is missing. Run: python -m pip install {package}"
    return ""


def _spec(name: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return getattr(sys.modules.get(name), "__spec__", None)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def library_mismatch() -> tuple[str, str]:
    """The versions of openai-agents and openai, if the two do not work together; else two empty texts.

    Some versions of openai-agents count tokens in a way that newer versions of openai refuse: every run fails.
    So it is tried, on the very object that fails.
    """
    usage = getattr(sys.modules.get("agents.usage"), "Usage", None)
    if usage is None:
        return "", ""
    try:
        usage()
    except Exception as error:
        log.debug("openai-agents and openai do not fit: %s", type(error).__name__)
        return _version("openai-agents") or "?", _version("openai") or "?"
    return "", ""


MISMATCH: Final = {
    "en": (
        "openai-agents {agents} does not work with openai {openai}, so no chat can be answered. Run"
        " `python -m pip install -U openai-agents openai` with the Python that runs ComfyUI, and restart ComfyUI."
    ),
    "zh": (
        "openai-agents {agents} 与 openai {openai} 不兼容，所有对话都无法回答。请用运行 ComfyUI 的 Python 执行"
        " `python -m pip install -U openai-agents openai`，然后重启 ComfyUI。"
    ),
}
