"""Which code a stack belongs to, and how to name it in a report that may be shown to anybody."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import FrameType
from typing import Final, NamedTuple

DEPTH: Final = 40
_MARKERS: Final = ("site-packages", "dist-packages", "custom_nodes")
# Our own code that looks on while others work: it holds nothing up.
_BACKEND: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))).replace("\\", "/")
_WATCHING: Final = (f"{_BACKEND}/metrics/", f"{_BACKEND}/copilot/model/watch.py")
_STDLIB: Final = os.path.dirname(os.__file__).replace("\\", "/") + "/"
_WAITING_FILES: Final = frozenset({"threading.py", "queue.py", "selectors.py", "socket.py", "ssl.py"})
_WAITING: Final = frozenset(
    {
        ("concurrent/futures/thread.py", "_worker"),
        ("multiprocessing/connection.py", "_recv"),
        ("multiprocessing/connection.py", "wait"),
        ("subprocess.py", "_try_wait"),
    }
)


class Place(NamedTuple):
    """One frame: a short file name (never the path to somebody's home), the line, the function.

    `library` frames are not blamed if there are others; a frame that `watches` is ours and never blamed.
    """

    file: str
    line: int
    function: str
    library: bool
    watches: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


def place(filename: str, line: int, function: str) -> Place:
    """Name a frame. Library is what lies in site-packages or belongs to Python.

    What lies in `custom_nodes` is a plugin's, even if ComfyUI itself is installed in site-packages; what
    lies in a plugin's own site-packages is a library: the innermost of these folders decides.
    """
    path = filename.replace("\\", "/")
    if path.startswith(_WATCHING):
        return Place(path[len(_BACKEND) + 1 :], line, function, True, True)
    parts = path.split("/")
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] in _MARKERS:
            return Place("/".join(parts[index + 1 :]), line, function, parts[index] != "custom_nodes")
    if path.startswith("<"):
        return Place(path, line, function, True)
    if path.startswith(_STDLIB):
        return Place(path[len(_STDLIB) :], line, function, True)
    return Place("/".join(parts[-3:]), line, function, False)


def read_stack(frame: FrameType | None) -> list[Place]:
    """The innermost 40 frames, innermost first. Safe from another thread than the frames' own."""
    stack: list[Place] = []
    while frame is not None and len(stack) < DEPTH:
        stack.append(place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return stack


def is_idle(stack: Sequence[Place]) -> bool:
    """Whether the stack is that of an event loop that waits for something to happen."""
    return bool(stack) and (
        (stack[0].file == "selectors.py" and stack[0].function == "select")
        or (stack[0].file == "asyncio/windows_events.py" and stack[0].function == "_poll")
        or (stack[0].file.startswith("asyncio/") and stack[0].function in ("_run_once", "run_forever"))
    )


def is_waiting(stack: Sequence[Place]) -> bool:
    """Whether a thread only waits: for a lock, a queue, a socket, the clock, or as a worker for work."""
    return not stack or any((here.file, here.function) in _WAITING or here.file in _WAITING_FILES for here in stack[:2])


def blame(stack: Sequence[Place]) -> str:
    """The innermost frame that is somebody's own code and the library call it is in.

    `plugin/llm_api.py:63 list_models, in requests/api.py:73 get`; with no code but a library's, the
    innermost frame.
    """
    for index, here in enumerate(stack):
        if not here.library:
            called = next((below for below in reversed(stack[:index]) if not below.watches), None)
            return f"{here}, in {called}" if called is not None else str(here)
    return str(stack[0]) if stack else "unknown"
