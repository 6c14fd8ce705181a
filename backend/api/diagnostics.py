"""One JSON for a bug report: versions, settings, health, last errors. No text of a chat, no secret."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from typing import Any, Final

PACKAGES: Final = (
    "aiohttp", "openai-agents", "openai", "mcp", "httpx", "httpcore", "anyio", "pydantic", "requests",
    "prometheus-client", "psutil", "torch", "comfyui-frontend-package",
)  # fmt: skip


def versions() -> dict[str, str]:
    """What is installed here: Python, the system, the libraries that a chat goes through, ComfyUI.

    Reads a few small files (a few milliseconds): not for a hot path. From any thread.
    """
    from importlib import metadata  # 5 ms that ComfyUI's start need not wait for

    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    host = sys.modules.get("comfyui_version")
    if host is not None:
        found["comfyui"] = str(getattr(host, "__version__", "unknown"))
    return found


def diagnostics(
    snapshot: dict[str, Any],
    health: dict[str, Any],
    settings: list[dict[str, Any]],
    errors: list[dict[str, Any]],
    installed: dict[str, str],
    redact: Callable[[Any], Any],
) -> dict[str, Any]:
    """The report. `redact` has the last word over all of it. Session and chat ids are left out: they name
    a conversation, and a report is read by strangers."""
    chat = dict(snapshot.get("chat", {}))
    chat["current"] = [_anonymous(row) for row in chat.get("current", ())]
    report = {
        "what": "Copilot Pulse diagnostics",
        "version": snapshot.get("version"),
        "time": snapshot.get("time"),
        "uptime_seconds": snapshot.get("uptime_seconds"),
        "versions": installed,
        "settings": {row["name"]: row["value"] for row in settings if row["value"] != row["default"]},
        "health": health,
        "seams": snapshot.get("seams"),
        "mcp": snapshot.get("mcp"),
        "events": snapshot.get("events"),
        "system": snapshot.get("system"),
        "chat": chat,
        "http": snapshot.get("http"),
        "errors": {
            **snapshot.get("errors", {}),
            "recent": [_anonymous(row) for row in errors],
        },
        "extra": snapshot.get("extra"),
    }
    return dict(redact(report))


def _anonymous(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("chat_id", "session_id", "error_id")}
