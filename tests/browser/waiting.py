"""How the browser tests wait for what no locator can wait for."""

from __future__ import annotations

import re
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


# Observers run once per change of the page, so that no text is missed between two looks.
NOTE = """(selector) => {
  const texts = new Set();
  const note = () => document.querySelectorAll(selector).forEach((element) => texts.add(element.textContent));
  new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true });
  note();
  (window.shownTexts ??= {})[selector] = texts;
}"""


def note_texts(page: Page, selector: str) -> None:
    """From now on note each text that elements of a selector show, for `has_shown`; a reload ends it."""
    page.evaluate(NOTE, selector)


def shown_texts(page: Page, selector: str) -> list[str]:
    """The texts noted so far, each once."""
    texts: list[str] = page.evaluate("(selector) => [...shownTexts[selector]]", selector)
    return texts


def has_shown(page: Page, selector: str, pattern: str) -> None:
    """Wait until an element has shown such a text, though it may be gone again: `expect` looks once a second only."""
    wait_for(
        lambda: any(re.search(pattern, text) for text in shown_texts(page, selector)), what=f"{pattern!r} in {selector}"
    )
