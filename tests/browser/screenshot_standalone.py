"""Takes the pictures of the standalone page for the READMEs: an answer in the middle of its repair.

    python -m tests.browser.screenshot_standalone

Waits between tries are longer than usual, so that there is time for a picture. Nothing is drawn or retouched.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, TimeoutError, expect, sync_playwright

from .chromium import launch
from .program import ANSWER_MS, ROOT, Program

TARGET = ROOT / "docs" / "screenshots"
LOCALES = {"standalone-dark": "en-US", "standalone-dark-zh": "zh-CN"}
QUIET = {"COPILOT_PULSE_RETRY_BASE": "10", "COPILOT_PULSE_PANEL_REFRESH": "1", "COPILOT_PULSE_BREAKER_SHARE": "1"}
BEFORE = ("/503", "/tool", "/429")


def ask(page: Page, command: str) -> None:
    """Press a button of the page."""
    page.get_by_role("button", name=command, exact=True).click()


def answered(page: Page) -> None:
    """Wait for the answer's end."""
    expect(page.locator(".send")).to_have_text(re.compile("Send|发送"), timeout=4 * ANSWER_MS)


def in_repair(page: Page) -> None:
    """Drop connections until one waits for its next try, in the chat and in the monitor."""
    while True:
        page.get_by_role("button", name=re.compile("New chat|新对话")).click()
        ask(page, "/drop")
        try:
            page.locator(".cpulse-chat[data-state=retrying]").wait_for(timeout=4_000)
            expect(page.locator(".meta").last).to_contain_text(re.compile(r"in [2-9] s|[2-9] 秒后"), timeout=500)
            return
        except (TimeoutError, AssertionError):  # the wait is random, and was too short
            answered(page)


def take(browser: Browser, name: str, locale: str, target: Path) -> None:
    """One picture, of a server of its own."""
    program = Program(0, **QUIET)
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, device_scale_factor=2, color_scheme="dark", locale=locale
    )
    try:
        page = context.new_page()
        page.goto(program.url)
        for command in BEFORE:
            ask(page, command)
            answered(page)
        in_repair(page)
        path = target / f"{name}.png"
        page.screenshot(path=path)
        sys.stdout.write(f"{path.name}: {path.stat().st_size / 1000:.0f} kB\n")
    finally:
        context.close()
        program.end()


def main() -> int:
    """Take both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for name, locale in LOCALES.items():
            take(browser, name, locale, options.target)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
