"""The event loop's lag, and who holds it: which code a stack belongs to, and how it is named where anybody may read.

A heartbeat on the loop measures how late each beat comes. A daemon thread looks at the heartbeat a few
times a second; only when it is overdue does the thread sample the stack of the loop's thread, and when the
loop turns again, the next beat reports the code that was seen there most. Nothing runs before `start()`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final, NamedTuple

log = logging.getLogger("copilot_pulse.monitoring")

BEATS_PER_LIMIT: Final = 3
MIN_BEAT: Final = 0.01
MAX_BEAT: Final = 0.1
MAX_SAMPLES: Final = 200
FROZEN: Final = 5.0
"""A loop that stands still this long is logged from the thread, because it may never turn again."""
PAUSED: Final = "the whole process: paused, swapped out or starved"
ELSEWHERE: Final = "another thread, which held Python's lock"
THREAD: Final = " (in another thread, which held Python's lock)"

DEPTH: Final = 40
_MARKERS: Final = ("site-packages", "dist-packages", "custom_nodes")
_HERE: Final = os.path.dirname(os.path.abspath(__file__)).replace("\\", "/") + "/"
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


def place(filename: str, line: int, function: str, onlookers: tuple[str, ...] = (_HERE,)) -> Place:
    """Name a frame. `onlookers` are the beginnings of paths of our own code that looks on while others work: it holds
    nothing up. Library is what lies in site-packages or belongs to Python.

    What lies in `custom_nodes` is a plugin's, even if ComfyUI itself is installed in site-packages; what
    lies in a plugin's own site-packages is a library: the innermost of these folders decides.
    """
    path = filename.replace("\\", "/")
    parts = path.split("/")
    if path.startswith(onlookers):
        return Place("/".join(parts[-2:]), line, function, True, True)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] in _MARKERS:
            return Place("/".join(parts[index + 1 :]), line, function, parts[index] != "custom_nodes")
    if path.startswith("<"):
        return Place(path, line, function, True)
    if path.startswith(_STDLIB):
        return Place(path[len(_STDLIB) :], line, function, True)
    return Place("/".join(parts[-3:]), line, function, False)


def read_stack(frame: FrameType | None, onlookers: tuple[str, ...] = (_HERE,)) -> list[Place]:
    """The innermost 40 frames, innermost first. Safe from another thread than the frames' own."""
    stack: list[Place] = []
    while frame is not None and len(stack) < DEPTH:
        stack.append(place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name, onlookers))
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


class _Stall:
    """What the thread saw of one stall; handed over to the loop when it turns again."""

    __slots__ = ("counts", "logged", "samples", "stacks")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.stacks: dict[str, list[Place]] = {}
        self.samples = 0
        self.logged = False

    def add(self, stack: list[Place], note: str = "") -> None:
        name = blame(stack) + note
        self.counts[name] += 1
        self.samples += 1
        self.stacks[name] = stack  # the latest stack: by then a long call is where it spends its time

    def worst(self) -> str:
        return self.counts.most_common(1)[0][0] if self.counts else ""


def _busy_thread(without: set[int]) -> list[Place]:
    """The stack of the first thread that does not merely wait, those of `without` left out; [] for none."""
    for thread, frame in sys._current_frames().items():
        if thread not in without and not is_waiting(stack := read_stack(frame)):
            return stack
    return []


class LoopWatch:
    """Watches the loop that `start()` is called on.

    `on_lag(seconds)` is called on the loop for each beat, `on_stall(data)` on the loop after a stall of
    more than `limit()` seconds, with the data of a `loop.stalled` event.
    """

    def __init__(
        self,
        *,
        on_lag: Callable[[float], None],
        on_stall: Callable[[dict[str, Any]], None],
        limit: Callable[[], float] = lambda: 0.25,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._on_lag = on_lag
        self._on_stall = on_stall
        self._limit = limit
        self._clock = clock
        self._cpu = cpu
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._loop_thread = 0
        self._due = 0.0
        self._beat = MAX_BEAT
        self._cpu_at_beat = 0.0
        self._lock = threading.Lock()
        self._stall: _Stall | None = None
        self._loop_was_off = False
        self._onlookers: tuple[str, ...] = (_HERE,)

    def look_past(self, *paths: str) -> None:
        """Never blame the code in these files or folders: it stands on every stack because it looks on."""
        told = (path.replace("\\", "/") for path in paths)
        self._onlookers = tuple(dict.fromkeys((*self._onlookers, *told)))

    @property
    def samples(self) -> int:
        """Samples taken of the stall that goes on now; from any thread."""
        stall = self._stall
        return stall.samples if stall is not None else 0

    def start(self) -> None:
        """Begin to watch the running loop; twice is fine. Raises RuntimeError without a running loop."""
        if self._thread is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._stall = None
        self._stop = threading.Event()
        self._schedule()
        self._thread = threading.Thread(
            target=self._sample, args=(self._stop, self._loop), name="copilot-pulse loop watch", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop the heartbeat and end the thread (waits for it: a few milliseconds). Twice is fine."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(timeout=1.0)
        self._loop = None

    # On the loop

    def _schedule(self) -> None:
        assert self._loop is not None
        self._beat = min(MAX_BEAT, max(MIN_BEAT, self._limit() / BEATS_PER_LIMIT))
        self._cpu_at_beat = self._cpu()
        self._due = self._clock() + self._beat
        self._timer = self._loop.call_later(self._beat, self._on_beat)

    def _on_beat(self) -> None:
        # The loop's clock has a resolution; a beat that comes slightly early is on time.
        late = max(0.0, self._clock() - self._due)
        with self._lock:
            stall, self._stall = self._stall, None
            was_off, self._loop_was_off = self._loop_was_off, False
        burnt = self._cpu() - self._cpu_at_beat
        self._schedule()
        if was_off:
            return  # the loop was off between two run_until_complete(), so nobody was kept waiting
        self._on_lag(late)
        if late >= self._limit():
            self._on_stall(self._report(late, burnt, stall))

    def _report(self, late: float, burnt: float, stall: _Stall | None) -> dict[str, Any]:
        seen = stall.samples if stall is not None else 0
        # A process that was stopped took no samples and used no processor time; whatever frame the
        # thread caught when it woke up is not to blame.
        expected = late / self._beat
        if burnt < 0.1 * late and seen < 0.2 * expected:
            return {"seconds": round(late, 3), "cause": "paused", "frame": PAUSED, "stack": []}
        if stall is None or not seen:
            # Whoever held Python's lock kept our thread out, too; it may still be where it was.
            stall = _Stall()
            stack = _busy_thread({self._loop_thread, threading.get_ident()})
            if not stack:
                return {"seconds": round(late, 3), "cause": "thread", "frame": ELSEWHERE, "stack": []}
            stall.add(stack, THREAD)
        worst = stall.worst()
        return {
            "seconds": round(late, 3),
            "cause": "thread" if worst.endswith(THREAD) else "code",
            "frame": worst,
            "stack": [str(here) for here in reversed(stall.stacks[worst])],
        }

    # In the thread

    def _read(self) -> tuple[list[Place], str]:
        """The stack to blame and a note on it: the loop's, or, if the loop itself only waits for Python's
        lock, that of a busy thread."""
        stack = read_stack(sys._current_frames().get(self._loop_thread), self._onlookers)
        if not is_idle(stack):
            return stack, ""
        return _busy_thread({self._loop_thread, threading.get_ident()}), THREAD

    def _sample(self, stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        armed = False
        while not stop.wait(self._beat if armed else 2 * self._beat):
            overdue = self._clock() - self._due
            armed = overdue >= self._beat
            if not armed:
                continue
            if not loop.is_running():
                if loop.is_closed():
                    return
                self._loop_was_off = True
                continue
            stack, note = self._read()
            if not stack or stack[0].watches:
                continue  # ours only looks on: a process that was starved wakes up anywhere
            with self._lock:
                if self._clock() - self._due < self._beat:
                    continue  # the loop turned meanwhile
                if self._stall is None:
                    self._stall = _Stall()
                stall = self._stall
                if stall.samples < MAX_SAMPLES:
                    stall.add(stack, note)
            if overdue >= FROZEN and not stall.logged:
                stall.logged = True
                log.error("the event loop has stood still for %.0f s in %s", overdue, stall.worst())
