"""Where the event store of this machine is, or is to be."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..settings import Settings

EVENTS: Final = Path("copilot-pulse", "events")
_PLUGIN: Final = Path(__file__).resolve().parents[2]


def state_folder(environ: Mapping[str, str], platform: str = sys.platform) -> Path | None:
    """The folder in which programs of this user keep their state; None for a user who has no home."""
    if platform == "win32" and environ.get("LOCALAPPDATA"):
        return Path(environ["LOCALAPPDATA"])
    named = environ.get("HOME") or environ.get("USERPROFILE")
    if not named:
        return None
    home = Path(named)
    if platform == "win32":
        return home / "AppData" / "Local"
    if platform == "darwin":
        return home / "Library" / "Application Support"
    named = environ.get("XDG_STATE_HOME", "")
    return Path(named) if named.startswith("/") else home / ".local" / "state"


def store_folder(settings: Settings, environ: Mapping[str, str]) -> Path | None:
    """Where the standalone host keeps its events; None if the user has neither named a folder nor a home."""
    if settings.store_dir:
        return Path(settings.store_dir).expanduser()
    state = state_folder(environ)
    return None if state is None else state / EVENTS


def candidates(settings: Settings, environ: Mapping[str, str]) -> list[Path]:
    """Where events may be, the likeliest first: the user's choice; ComfyUI's user folder; the standalone host's."""
    if settings.store_dir:
        return [Path(settings.store_dir).expanduser()]
    inside = _PLUGIN.parents[1] / "user" / EVENTS if _PLUGIN.parent.name == "custom_nodes" else None
    return [place for place in (inside, store_folder(settings, environ)) if place is not None]
