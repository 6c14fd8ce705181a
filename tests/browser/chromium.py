"""How the browser tests start Debian's Chromium."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Browser, Playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATHS = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")


def find() -> str:
    """The path of Chromium; `CHROMIUM` names another one. RuntimeError says how to get it."""
    named = os.environ.get("CHROMIUM")
    for path in (named,) if named else PATHS:
        if Path(path).exists():
            return path
    raise RuntimeError("no Chromium: apt-get install chromium, or set CHROMIUM to its path")


def launch(playwright: Playwright, *more: str) -> Browser:
    """A headless Chromium, with `more` arguments; the caller closes it."""
    return playwright.chromium.launch(executable_path=find(), args=[*ARGUMENTS, *more])
