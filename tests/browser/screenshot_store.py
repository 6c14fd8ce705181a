"""Takes the picture of docs/event-store.md: the panel in the middle of chats, and again after `kill -9` and a restart.

    COPILOT_PULSE_COMFY_PYTHON=$(.ci/env.sh comfyui-plugin) python -m tests.browser.screenshot_store --minutes 60

A real ComfyUI answers chats for half of the time, is killed while one is being written, is down for a while, is
started again and answers more; the chats go through the stand-in Copilot to a model server on loopback, whose
connections break now and then. Both pictures are the panel alone, side by side in one file. Nothing is drawn or
retouched.
"""

from __future__ import annotations

import argparse
import base64
import signal
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.support.llm_steps import Pause, Plan, Words, reset_at, status

from .chromium import launch
from .comfy_world import World, enter, toggle
from .screenshots import BANNER, OLLAMA, TARGET, WIDTH, free_port, machine_trouble, widen
from .waiting import wait_for

HEIGHT = 2000
MODELS = ("gpt-4.1-mini", "qwen3:8b", "deepseek-chat")
SIDE_BY_SIDE = """<body style="margin:0;display:flex;gap:12px;background:#fff;width:max-content">
{}</body>"""


def chats(world: World, seconds: float, pause: float, name: str) -> None:
    """One after the other with pauses between them; some need a second try, one in eight fails."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        good = Plan(Pause(0.2 + 0.13 * (number % 4)), Words(90 + 30 * (number % 4), 0.012))
        plans = {3: [reset_at(25), good], 6: [status(503), reset_at(60), good], 7: [status(400)]}
        world.llm.plan(*plans.get(number % 8, [good]))
        world.chat(f"question {number}", model=MODELS[number % 3], session=f"{name}-{number}")
        time.sleep(max(0.0, min(pause, end - time.monotonic())))


def open_panel(page: Page, world: World) -> None:
    """The panel, over the last hour."""
    enter(page, world.url)
    if page.locator(BANNER).count():
        page.locator(BANNER).click()
    toggle(page)
    page.wait_for_selector(".cpulse")
    widen(page, WIDTH)
    wait_for(lambda: world.panels() == 1, what="the panel listens")


def shoot(page: Page, world: World) -> bytes:
    """The panel, when the machine is quiet and all of it is drawn."""
    page.evaluate("document.querySelector('.cpulse').scrollTop = 0")
    page.mouse.move(1200, 600)
    wait_for(lambda: not machine_trouble(world), 600, "a quiet machine")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(".cpulse").screenshot()


def before_and_after(page: Page, world: World, minutes: float) -> list[bytes]:
    """Chats, a kill in the middle of an answer, a restart, more chats."""
    half = 30.0 * minutes
    open_panel(page, world)
    chats(world, half, half / 40, "before")
    world.llm.plan(Plan(Pause(0.2), Words(9_000, 0.02)))
    world.begin("and this one is cut off", model=MODELS[1], session="cut-off")
    wait_for(lambda: world.metrics()["chat"]["active"] == 1, what="the answer that will be cut off")
    time.sleep(4)
    pictures = [shoot(page, world)]
    world.comfy.stop(signal.SIGKILL)
    time.sleep(half / 6)
    world.comfy.start()
    wait_for(lambda: world.metrics()["past"] is not None, what="what was before the restart")
    open_panel(page, world)
    chats(world, half, half / 40, "after")
    return [*pictures, shoot(page, world)]


def join(page: Page, pictures: list[bytes], path: Path) -> None:
    """Both in one file, as they are."""
    pieces = [
        f'<img style="width:{WIDTH}px" src="data:image/png;base64,{base64.b64encode(one).decode()}">'
        for one in pictures
    ]  # fmt: skip
    page.set_content(SIDE_BY_SIDE.format("".join(pieces)))
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    page.locator("body").screenshot(path=path)
    sys.stdout.write(f"{path.name}: {path.stat().st_size / 1000:.0f} kB\n")


def main() -> int:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=TARGET)
    parser.add_argument("--minutes", type=float, default=6.0, help="for which chats go on, the restart in their middle")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="screenshots-") as folder, sync_playwright() as playwright:
        world = World(Path(folder) / "run", llm_port=free_port(OLLAMA))
        browser = launch(playwright)
        try:
            context = browser.new_context(
                viewport={"width": 1400, "height": HEIGHT}, locale="en-US", device_scale_factor=1.5
            )
            context.set_default_timeout(60_000)
            context.add_init_script("localStorage.setItem('copilotPulse.range', '1h')")
            page = context.new_page()
            pictures = before_and_after(page, world, options.minutes)
            join(context.new_page(), pictures, options.target / "store-restart.png")
        finally:
            browser.close()
            world.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
