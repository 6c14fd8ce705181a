"""What the plugin adds to ComfyUI's start: its import, and its part of the start-up hooks.

    python -m tests.bench.bench_start [--rounds 15] [--json FILE]

Each round is a process of its own, a host as ComfyUI's (tests/support/host.py) with the stand-in for Copilot loaded
before us, so that aiohttp and the agent library are there already. An empty plugin is started in the same way, in turn.
Byte code is kept from a first start that is not counted, as of every start of ComfyUI but the first. Wall time, and
processor time of the event loop's thread; medians and the best round of each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from tests.support.host import PLUGIN, STANDIN, Host

EMPTY: Final = "NODE_CLASS_MAPPINGS = {}\n"
TARGET_MS: Final = 50.0
FIGURES: Final = ("import wall", "import CPU", "attach wall", "attach CPU", "both wall", "both CPU")


class TimedHost(Host):
    """Notes how long the last of its plugins takes to be imported, and its hooks at the start."""

    def __init__(self, plugin: Path) -> None:
        super().__init__([STANDIN, plugin])
        self._plugin = plugin
        self._began = (0.0, 0.0)
        self.figures: dict[str, float] = {}

    def _note(self, what: str) -> None:
        wall, cpu = self._began
        self.figures[f"{what} wall"] = (time.perf_counter() - wall) * 1_000
        self.figures[f"{what} CPU"] = (time.thread_time() - cpu) * 1_000

    def _begin(self) -> None:
        self._began = (time.perf_counter(), time.thread_time())

    def _load(self, path: Path) -> None:
        if path != self._plugin:
            super()._load(path)
            return

        async def begin(_app: object) -> None:
            self._begin()

        async def end(_app: object) -> None:
            self._note("attach")

        self.server.app.on_startup.append(begin)
        self._begin()
        super()._load(path)
        self._note("import")
        self.server.app.on_startup.append(end)


async def one_start(plugin: Path) -> dict[str, float]:
    """The figures of one start, in milliseconds. Once in a process: what is imported stays."""
    host = TimedHost(plugin)
    async with host:
        assert not host.failed, host.failed
    figures = host.figures
    return {
        **figures,
        **{f"both {kind}": figures[f"import {kind}"] + figures[f"attach {kind}"] for kind in ("wall", "CPU")},
    }


def started(plugin: Path, cache: Path) -> dict[str, float]:
    """The same in a new process, with its byte code in `cache`."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache), "COPILOT_PULSE_STORE_DIR": str(cache / "store")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "tests.bench.bench_start", "--one", str(plugin)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(rounds: int) -> dict[str, Any]:
    """Both plugins in turn: for each figure the median and the best round."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty"
        empty.mkdir()
        (empty / "__init__.py").write_text(EMPTY, "utf-8")
        plugins = {"this plugin": PLUGIN, "an empty one": empty}
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in plugins}
        for one in range(rounds + 1):
            for name, plugin in plugins.items():
                figures = started(plugin, Path(folder) / "cache")
                if one > 0:
                    seen[name].append(figures)
    return {
        name: {
            figure: {"median": statistics.median(row[figure] for row in rows), "best": min(row[figure] for row in rows)}
            for figure in FIGURES
        }
        for name, rows in seen.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asyncio.run(one_start(options.one))))
        return
    results = compare(options.rounds)
    print(f"ms, median / best of {options.rounds} (target of both: {TARGET_MS:.0f})")
    print(f"{'':14}" + "".join(f"{figure:>16}" for figure in FIGURES))
    for name, row in results.items():
        print(f"{name:14}" + "".join(f"{row[f]['median']:9.1f} /{row[f]['best']:5.1f}" for f in FIGURES))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), "utf-8")


if __name__ == "__main__":
    main()
