"""Takes the picture of docs/fleet.md: the panel of three real ComfyUI behind nginx, one of which was killed.

    COPILOT_PULSE_COMFY_PYTHON=$(.ci/env.sh comfyui-plugin) python -m tests.browser.screenshot_fleet

The chats go through the stand-in Copilot to a model server on loopback, and are spread by the proxy. Nothing is
drawn or retouched.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.llm_steps import Plan, Wait, Words, answer, status
from tests.support.net import Gate

from .chromium import launch
from .comfy_world import toggle
from .screenshots import BANNER, TARGET, WIDTH, widen
from .test_fleet_comfyui import Studio, open_studio
from .test_streams_comfyui import ANSWER, ask
from .waiting import wait_for

MODEL = "qwen3:8b"
# From the title to the end of what happened at the others.
VIEW = """() => {
  const panel = document.querySelector('.cpulse').getBoundingClientRect();
  const { top, bottom } = document.querySelector('.cpulse-fleet').getBoundingClientRect();
  return { x: panel.left, y: top - 12, width: panel.width, height: bottom - top + 24 };
}"""


def chats(studio: Studio, page: Page) -> None:
    """Some that end well, one that the model's server refuses, and one that goes on."""
    for plan in (answer(40), answer(60), status(400), answer(20)):
        studio.llm.plan(plan)
        before = page.locator(f"{ANSWER}[data-finished=true]").count()
        ask(page)
        expect(page.locator(f"{ANSWER}[data-finished=true]")).to_have_count(before + 1, timeout=60_000)
    studio.llm.plan(Plan(Words(2_000, pace=0.2), Wait(Gate())))
    ask(page)
    wait_for(lambda: studio.where("mirrored"), 60, "the answer is mirrored")


def take(studio: Studio, browser: Browser, path: Path) -> None:
    """One writes an answer, one idles, one is dead."""
    context = browser.new_context(viewport={"width": 1280, "height": 2400}, locale="en-US", device_scale_factor=2)
    page = context.new_page()
    page.add_init_script(f"localStorage.setItem('copilotModel', '{MODEL}')")
    open_studio(studio, page)
    page.locator(BANNER).click()
    chats(studio, page)
    # The proxy gives a page to one and the same server; that one tells of the others.
    toggle(page)
    page.wait_for_selector(".cpulse-tile-value")
    widen(page, WIDTH)
    here = page.locator(".cpulse-fleet > .cpulse-list .cpulse-row-title", has_text="(").first.text_content() or ""
    writer = studio.where("mirrored")
    studio.kill(next(name for name in studio.comfies if name != writer and not here.startswith(name)))
    expect(page.locator(".cpulse-fleet .cpulse-row[data-tone=down]")).to_have_count(1, timeout=60_000)
    page.locator(".cpulse-fleet .cpulse-row", has_text=writer).locator("summary").first.click()
    page.locator(".cpulse-fleet .cpulse-fold summary").click()
    page.mouse.move(1200, 600)
    page.locator(".cpulse-fleet").scroll_into_view_if_needed()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.screenshot(path=path, clip=page.evaluate(VIEW))
    sys.stdout.write(f"{path.name}: {path.stat().st_size / 1000:.0f} kB\n")
    context.close()


def main() -> int:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="screenshots-") as folder, sync_playwright() as playwright:
        studio = Studio(Path(folder) / "run")
        browser = launch(playwright)
        try:
            take(studio, browser, options.target / "fleet.png")
        finally:
            browser.close()
            studio.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
