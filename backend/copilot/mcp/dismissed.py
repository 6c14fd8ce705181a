"""The MCP servers whose absence the user does not want to hear of again, kept in a small file."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Final

log = logging.getLogger("copilot_pulse.mcp")

MOST_SERVERS: Final = 200


class Dismissed:
    """Names of servers, as the panel shows them; no address, which may hold a key. For the event loop's thread.

    Without a file it forgets when ComfyUI stops. A file that cannot be read or written is told once in the log.
    """

    def __init__(self, file: Path | None = None) -> None:
        """Reads the file, if there is one."""
        self._file = file
        self._names: list[str] = []
        try:
            stored = json.loads(file.read_text("utf-8")) if file is not None and file.is_file() else []
        except (OSError, ValueError, RecursionError) as error:
            log.warning("the dismissed notices could not be read: %s", type(error).__name__)
            stored = []
        if isinstance(stored, list):
            self._names = [name for name in stored if isinstance(name, str)][:MOST_SERVERS]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def set(self, name: str, dismissed: bool) -> None:
        """Take note, and write the file anew: whole, or not at all."""
        if dismissed == (name in self._names):
            return
        self._names = [other for other in self._names if other != name] + [name] * dismissed
        self._names = self._names[-MOST_SERVERS:]
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part = self._file.with_suffix(".part")
            part.write_text(json.dumps(self._names), "utf-8")
            os.replace(part, self._file)
        except OSError as error:
            log.warning("a dismissed notice is kept until ComfyUI stops only: %s", type(error).__name__)
