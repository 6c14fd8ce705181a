"""The standalone host as a user starts it, for the browser's tests and pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.net import PATIENCE, closed_port

ROOT = Path(__file__).parents[2]
QUICK = {"COPILOT_PULSE_RETRY_BASE": "0.05", "COPILOT_PULSE_PANEL_REFRESH": "0.2"}
ANSWER_MS = 1_000 * PATIENCE


class Program:
    """`python -m backend`, on a free port unless one is given. Another one may take its port when it has ended."""

    def __init__(self, port: int = 0, *arguments: str, **environ: str) -> None:
        # Chats of another program are none of its past.
        self.folder = tempfile.TemporaryDirectory(prefix="standalone-")
        own = {**QUICK, "COPILOT_PULSE_STORE_DIR": self.folder.name, **environ}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backend", "--port", str(port or closed_port()), *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, **own},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = next(word for word in self.process.stdout.readline().split() if word.startswith("http://"))

    def metrics(self) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/metrics", timeout=PATIENCE) as response:
            return json.load(response)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.folder.cleanup()


def patient_program() -> Program:
    """One whose answer to "/stall" stays unfinished for as long as a test needs it."""
    return Program(COPILOT_PULSE_STALL_TIMEOUT="600")
