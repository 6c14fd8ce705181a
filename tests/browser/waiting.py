"""How the browser tests wait for what no locator can wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

from tests.support.net import PATIENCE


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE, what: str = "it") -> None:
    """Wait until something on the server's side is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


def wait_for_script(page: Page, expression: str, what: str = "it") -> None:
    """Wait until an expression is true in the page.

    `page.wait_for_function` asks its first time from outside and then from a frame of the page, where the standalone
    host's Content-Security-Policy forbids `eval`: it works there only if it need not wait. This asks from outside.
    """
    wait_for(lambda: page.evaluate(expression), what=what)
