"""Looks on while the server is attacked, and writes down what must not be."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import traceback
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.fuzz.planted import leaks
from tests.support.host import PLUGIN, Host
from tests.support.plugged import module_of, pulse_of

BACKEND = str(PLUGIN / "backend")
OUTPUTS = (
    "/copilot-pulse/metrics?format=json", "/copilot-pulse/metrics?format=prometheus",
    "/copilot-pulse/metrics?format=openmetrics", "/copilot-pulse/history", "/copilot-pulse/diagnostics",
    "/copilot-pulse/fleet", "/copilot-pulse/settings", "/copilot-pulse/events?limit=2000&order=newest",
    "/copilot-pulse/events/chats", "/copilot-pulse/events/export?since=1m", "/copilot-pulse/events/totals",
)  # fmt: skip
# Kinds of errors that say the fault is this program's: whoever sent something is never told so.
OURS = ("fault", "internal", "memory", "system")
# What a machine that is too slow for this shows, and no fault of what was sent.
LOAD = {"loop:lag"}
# More than what is kept in bounds (errors, events, answers) may still grow to after the warm-up, in bytes.
GROWTH = 96 * 2**20


def ours_last(error: BaseException) -> bool:
    """Whether the innermost frame that belongs neither to Python nor to a library is one of the plugin's."""
    found = False
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith(BACKEND):
            found = True
        elif frame.filename.startswith(str(PLUGIN)):
            found = False
    return found


def memory() -> int:
    """Bytes that this process holds, after all that can be given back has been."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(psutil.Process().memory_info().rss)


class Watch(logging.Handler):
    """All that is looked at. `findings` is what was found: one line each, with the case in hand."""

    def __init__(self, host: Host, store: Path) -> None:
        super().__init__(logging.DEBUG)
        self.host, self.store = host, store
        self.findings: list[str] = []
        self.case = "start"
        self._tasks: set[asyncio.Task[Any]] = set()
        self._faults = 0
        self._told: set[str] = set()
        self._before: int | None = None

    def found(self, what: str, case: str = "") -> None:
        """Write a finding down, once."""
        line = f"{case or self.case}: {what}"
        if what[:70] not in self._told and len(self.findings) < 200:
            self._told.add(what[:70])
            self.findings.append(line)
            print(f"FOUND {line}", flush=True)

    # -- begin and end

    def begin(self) -> None:
        """Look at all logs, the loop's complaints, and the error events, until `end`."""
        for name in ("", "copilot_pulse", "comfyui_copilot"):
            logging.getLogger(name).addHandler(self)
        logging.getLogger("copilot_pulse").setLevel(logging.DEBUG)
        asyncio.get_running_loop().set_exception_handler(self._complaint)
        pulse = pulse_of(self.host)
        pulse.bus.subscribe("error", self._error)
        self._tasks = asyncio.all_tasks()

    def end(self) -> None:
        """Look no more."""
        for name in ("", "copilot_pulse", "comfyui_copilot"):
            logging.getLogger(name).removeHandler(self)
        asyncio.get_running_loop().set_exception_handler(None)

    # -- what comes by itself

    def emit(self, record: logging.LogRecord) -> None:
        """A record of a log: of ours, of Copilot's, or of the server about a request that failed."""
        of_ours = record.pathname.startswith(BACKEND) or record.name.startswith("copilot_pulse")
        error = record.exc_info[1] if record.exc_info else None
        # What a server library says of a body that it throws away after our answer.
        rest = record.name == "aiohttp.server" and type(error).__name__ == "RequestPayloadError"
        if error is not None and ours_last(error) and not rest:
            self.found(
                f"logged with its traceback: {type(error).__name__} in {_place(error)} ({record.getMessage()[:80]})"
            )
        if record.levelno >= logging.CRITICAL:
            self.found(f"CRITICAL in the log of {record.name}: {record.getMessage()[:100]!r}")
        try:
            text = record.getMessage()
        except Exception:  # the stand-in logs with arguments that its text has no place for
            text = f"{record.msg} {record.args}"
        # Copilot itself logs what was asked; its keys are our business.
        if of_ours and leaks(text):
            self.found(
                f"a key or a prompt in the log at {record.pathname.rpartition('/')[2]}:{record.lineno}: {text[:160]!r}"
            )

    def _complaint(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.found(
            f"the loop complains: {context.get('message')} {context.get('exception')!r} {context.get('future')!r}"[:300]
        )

    def _error(self, event: Any) -> None:
        kind, severity = event.data.get("kind"), event.data.get("severity")
        unread = str(event.data.get("message")).startswith("unreadable (")
        # What an honest page asked: of what a hostile one asks, Copilot's own code may break.
        honest = str(event.session).startswith("fuzz-")
        if (kind in OURS and honest) or severity == "critical" or unread:
            words = {name: event.data.get(name) for name in ("kind", "severity", "message", "type")}
            self.found(f"told as a fault of ours: {words}"[:400])

    # -- what is asked for

    async def look(self, *, closely: bool) -> None:
        """After each round: nothing is left, health is well enough, no guard had anything to do, nothing leaks."""
        await self._all_quiet()
        self._look_at_faults()
        page = self.host.page.session
        async with page.get(self.host.url + "/copilot-pulse/health") as response:
            body = await response.text()
            failing = [name for name, rows in json.loads(body)["checks"].items() if rows[0]["status"] == "fail"]
            if set(failing) - LOAD or leaks(body):
                self.found(f"health answers {response.status} for {failing}: {body[:300]}")
        for name, data, _ in self.host.server.sent:
            if leaks(repr(data)):
                self.found(f"a key or a prompt in the message {name} to the panel")
        self.host.server.sent.clear()
        if not closely:
            return
        for path in OUTPUTS:
            await self._scan(page, path)
        for file in sorted(self.store.glob("**/*")):
            if file.is_file() and leaks(file.read_bytes()):
                self.found(f"a key or a prompt in the file {file.name}")

    async def _scan(self, page: aiohttp.ClientSession, path: str) -> None:
        async with page.get(self.host.url + path) as response:
            body = await response.read()
            if response.status != 200:
                self.found(f"{path} answers {response.status}: {body[:200]!r}")
            elif leaks(body):
                at = next(at for at in range(len(body)) if leaks(body[at : at + 60]))
                self.found(f"a key or a prompt in {path}: {body[max(0, at - 120) : at + 60]!r}")

    async def _all_quiet(self) -> None:
        """Wait until no task and no chat of this round is left; a minute is enough for what has to end by itself."""
        pulse = pulse_of(self.host)
        end = asyncio.get_running_loop().time() + 90
        while left := self._left():
            if asyncio.get_running_loop().time() > end:
                self.found(
                    f"left behind: {sorted({task.get_name() + ' ' + str(task.get_coro()) for task in left})[:5]}"
                )
                self._tasks |= left
                break
            await asyncio.sleep(0.02)
        del left
        if running := [chat.snapshot() for chat in pulse.chats if chat.active]:
            self.found(f"chats that still run: {running[:2]}")
        gc.collect()  # an exception that nobody has fetched is told when its task is collected
        await asyncio.sleep(0)

    def _left(self) -> set[asyncio.Task[Any]]:
        """Tasks of the plugin or of the server that began since; connections of the stand-in stay as they are."""
        return {
            task for task in asyncio.all_tasks() - self._tasks if task is not asyncio.current_task() and _stays(task)
        }

    def _look_at_faults(self) -> None:
        rows = module_of(self.host, "backend.aio").faults()
        for row in rows[self._faults :]:
            self.found(f"a guard passed over {row['type']} at {row['place']}: without {row['missing']}")
        self._faults = len(rows)

    def look_at_memory(self) -> tuple[int, int]:
        """(before, now) in bytes: `before` is from the first call, which is after the warm-up."""
        now = memory()
        if self._before is None:
            self._before = now
        elif now - self._before > GROWTH:
            self.found(f"memory grew from {self._before >> 20} to {now >> 20} MB")
        return self._before, now


def _stays(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(BACKEND)


def _place(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(BACKEND)]
    return f"{frames[-1].filename[len(BACKEND) + 1 :]}:{frames[-1].lineno}" if frames else "?"
