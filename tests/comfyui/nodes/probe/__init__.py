"""A custom node that watches another one load: its log lines, threads, files written, and the time it takes.

Put one copy before the node to watch and one right after it. COPILOT_PULSE_PROBE_LOG names the file that gets
one JSON line per observation; COPILOT_PULSE_PROBE_FOLDER is the folder of the node to watch. What happens
is told apart by the code that does it: a thread or a file counts if the watched folder is on the stack, a log
line if it was written there, also long after the import.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from server import PromptServer

NODE_CLASS_MAPPINGS: dict[str, Any] = {}

_folder = os.environ["COPILOT_PULSE_PROBE_FOLDER"] + os.sep
_log_file = os.environ["COPILOT_PULSE_PROBE_LOG"]
_name = Path(__file__).parent.name
_own_write = threading.local()


def _record(kind: str, **data: Any) -> None:
    _own_write.busy = True
    try:
        with open(_log_file, "a", encoding="utf-8") as out:
            out.write(json.dumps({"kind": kind, "probe": _name, **data}) + "\n")
    finally:
        _own_write.busy = False


def _culprit() -> str:
    """The innermost code of the watched folder on this thread's stack, or ''."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_folder):
            return f"{frame.f_code.co_filename[len(_folder) :]}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in {"open", "os.mkdir", "os.rename", "_thread.start_new_thread", "subprocess.Popen"}:
        return
    if getattr(_own_write, "busy", False):
        return
    what = arguments[0]
    if event == "open":
        _, mode, flags = arguments
        writes = any(letter in (mode or "") for letter in "wax+") or (
            mode is None and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        # The import system's own cache of byte code is Python's choice, not the plugin's. A number is a file
        # that was opened before, and was seen then.
        if not writes or isinstance(what, int) or "__pycache__" in str(what):
            return
    elif event in {"os.mkdir", "os.rename"} and "__pycache__" in f"{arguments}":
        return
    if where := _culprit():
        _record(event, what=str(what), where=where)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.pathname.startswith(_folder):
            where = record.pathname[len(_folder) :]
            _record("log", level=record.levelname, text=record.getMessage(), where=where)


async def _started(app: Any) -> None:
    _record("startup", time=time.perf_counter(), threads=[thread.name for thread in threading.enumerate()])


PromptServer.instance.app.on_startup.append(_started)
if "before" in _name:
    sys.addaudithook(_audit)
    logging.getLogger().addHandler(_Lines())
_record(
    "loaded",
    time=time.perf_counter(),
    threads=[thread.name for thread in threading.enumerate()],
    modules=sorted(name for name in list(sys.modules) if "." not in name),
)
