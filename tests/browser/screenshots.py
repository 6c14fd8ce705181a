"""Takes the pictures of the panel and of ComfyUI's window from a real ComfyUI with real chats and real faults.

    COPILOT_PULSE_COMFY_PYTHON=$(.ci/env.sh comfyui-plugin) python -m tests.browser.screenshots

The chats go through the stand-in Copilot to a model server on loopback, which is told when to break: hence
its name, 127.0.0.1, with the port of Ollama where that is free. It is the newest frontend, and the panel alone in two
pixels for one, or all of ComfyUI with the sidebar as wide as it comes and the strip in the top bar in one for one.
Takes about four minutes, longer on a busy machine: no picture is taken while the panel says that ComfyUI is late or
stood still. Nothing is drawn or retouched.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests.comfyui.harness import ROOT
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Pause, Plan, Stall, ToolCall, Words, answer, reset_at, status
from tests.support.mcp_server import Tool

from .chromium import launch
from .comfy_world import World, enter, newest_frontend, setting, toggle
from .waiting import wait_for

TARGET = ROOT / "docs" / "screenshots"
Looks = Mapping[str, tuple[str, str]]
# What is shown on a page, each with ComfyUI's palette and language; a picture that no page shows is not taken.
STORY = {"panel-story-dark.png": ("dark", "en")}
WINDOW = {"comfyui-newest-dark.png": ("dark", "en"), "comfyui-newest-light-zh.png": ("light", "zh")}
FAILING = {"panel-failing-light.png": ("light", "en")}
BANNER = ".bg-gradient-to-r button >> nth=-1"
# What the panel says of a machine that has too much to do, and not of Copilot.
MACHINE = {"loop_lag", "loop_stalled", "process_paused", "latency_high", "memory_low"}
OLLAMA, LM_STUDIO = 11434, 1234
WIDTH, NARROW = 640, 360
SIZE, WINDOW_SIZE = ViewportSize(width=1280, height=1900), ViewportSize(width=1280, height=860)
QUICK = {"LoopStall": 2, "RetryBase": 0.1, "McpRetry": 60, "BreakerOpen": 60, "RetryBudget": 60}


class Photographer:
    """One page of ComfyUI that is put into each look and photographed."""

    def __init__(self, world: World, page: Page, target: Path) -> None:
        self.world = world
        self.page = page
        self.target = target

    def look(self, palette: str, language: str) -> None:
        setting(self.page, "Comfy.ColorPalette", palette)
        setting(self.page, "Comfy.Locale", language)
        title = {"en": "Trends", "zh": "趋势"}[language]
        self.page.wait_for_function(
            "title => document.querySelector('.cpulse-charts h3')?.textContent === title", arg=title
        )

    def take(self, pictures: Looks, prepare: Callable[[], None] = lambda: None, *, whole: bool = False) -> None:
        """A picture in each look; another language begins with everything closed, hence `prepare`."""
        for name, (palette, language) in pictures.items():
            self.look(palette, language)
            prepare()
            self.shoot(self.target / name, whole=whole)
        self.look("dark", "en")

    def take_windows(self) -> None:
        """All of ComfyUI, with a story beside the workflow."""
        setting(self.page, "CopilotPulse.Strip", True)
        self.page.set_viewport_size(WINDOW_SIZE)
        widen(self.page, NARROW)
        self.take(WINDOW, lambda: open_story(self.page), whole=True)
        setting(self.page, "CopilotPulse.Strip", False)
        self.page.set_viewport_size(SIZE)
        widen(self.page, WIDTH)

    def shoot(self, path: Path, *, whole: bool) -> None:
        self.page.evaluate("document.querySelector('.cpulse').scrollTop = 0")
        self.page.mouse.move(1200, 600)
        wait_for(lambda: not machine_trouble(self.world), 600, "a quiet machine")
        self.page.wait_for_function("!document.querySelector('.cpulse-stall:not([hidden])')")
        # ComfyUI says that it has another language now; that is not what the picture is about.
        self.page.wait_for_function("!document.querySelector('.p-toast-message, [data-testid=toast]')")
        # Two frames: one for the theme, one for the charts that follow it.
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        if whole:
            self.page.screenshot(path=path, scale="css")
        else:
            self.page.screenshot(path=path, clip=self.page.evaluate(PANEL))
        sys.stdout.write(f"{path.name}: {path.stat().st_size / 1000:.0f} kB\n")


# From the panel's head to the end of its first charts: what stands below is told in the docs.
PANEL = """() => {
  const { left, top, width } = document.querySelector('.cpulse').getBoundingClientRect();
  const end = document.querySelector('.cpulse-chart-group').getBoundingClientRect().bottom;
  return { x: left, y: top, width, height: Math.min(innerHeight, end + 12) - top };
}"""


def machine_trouble(world: World) -> set[str]:
    """What the panel would say of this machine now."""
    return MACHINE & {problem["code"] for problem in world.metrics()["health"]["problems"]}


def free_port(wanted: int) -> int:
    """This port, or any where it is taken: pictures with a random one say less."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


def widen(page: Page, width: int) -> None:
    """Drag the sidebar's edge, as a reader does who wants to see more."""
    box = page.locator(".cpulse").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] + 2, 500)
    page.mouse.down()
    page.mouse.move(box["x"] + width, 500, steps=5)
    page.mouse.up()


def steady(world: World, seconds: float) -> None:
    """Ordinary chats, one after the other, so that the charts have something to tell; some need a retry."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        model = ("gpt-4.1-mini", "qwen3:8b", "deepseek-chat")[number % 3]
        good = Plan(Pause(0.2 + 0.13 * (number % 4)), Words(90 + 30 * (number % 4), 0.012))
        world.llm.plan(*([reset_at(25), good] if number % 6 == 3 else [good]))
        world.chat(f"question {number}", model=model, session=f"s{number}")


def busy(world: World) -> None:
    """Four chats at once: one streams, one waits for its tool, one for its next try, one for its model."""
    world.llm.plan_for("[stream]", Plan(Pause(0.5), Words(9000, 0.014)))
    world.llm.plan_for("[tool]", Plan(Words(12, 0.02), ToolCall("search_nodes", {"query": "upscale"})), answer(20))
    world.llm.plan_for("[retry]", status(429, retry_after=50), answer(40))
    world.llm.plan_for("[wait]", Plan(before=Stall()))
    for name, model in (
        ("stream", "gpt-4.1-mini"), ("retry", "qwen3:8b"), ("wait", "deepseek-reasoner"), ("tool", "gpt-4.1-mini")
    ):  # fmt: skip
        world.begin(f"[{name}] please", model=model, session=f"busy-{name}")


def open_story(page: Page) -> None:
    """Open the newest chat that was saved."""
    if not page.locator(".cpulse-chat[data-saved] .cpulse-open[aria-expanded=true]").count():
        page.locator(".cpulse-tick[data-kind=saved]").last.click()
    page.wait_for_selector(".cpulse-span[data-kind=wait]")


def stop_chats(world: World) -> None:
    """End whatever still runs, as the panel's stop buttons do."""
    for row in world.metrics()["chat"]["current"]:
        if row["state"] not in ("done", "failed", "cancelled"):
            world.comfy.post(f"/copilot-pulse/chats/{row['chat_id']}/stop", {})
    wait_for(lambda: world.metrics()["chat"]["active"] == 0, what="the end of the chats")


def main() -> int:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()
    options.target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as folder, sync_playwright() as playwright:
        world = World(Path(folder) / "run", frontend=newest_frontend(), llm_port=free_port(OLLAMA))
        browser = launch(playwright)
        try:
            context = browser.new_context(viewport=SIZE, locale="en-US", device_scale_factor=2, reduced_motion="reduce")
            context.set_default_timeout(60_000)
            page = context.new_page()
            enter(page, world.url)
            for name, value in QUICK.items():
                setting(page, f"CopilotPulse.{name}", value)
            toggle(page)
            page.wait_for_selector(".cpulse-tile-value")
            widen(page, WIDTH)
            scenes(Photographer(world, page, options.target))
        finally:
            browser.close()
            world.close()
    return 0


def scenes(camera: Photographer) -> None:
    """The scenes, in the order in which a bad day brings them."""
    world, page = camera.world, camera.page
    # What ComfyUI does while it starts is no news in a picture of a quiet minute.
    page.wait_for_selector(".cpulse-verdict[data-status=pass]", timeout=400_000)
    world.search.tools["search_nodes"] = Tool("found", delay=600)
    steady(world, 45)
    busy(world)
    page.wait_for_selector(".cpulse-chat[data-state=streaming]")
    steady(world, 8)
    stop_chats(world)
    camera.take(STORY, lambda: open_story(page))
    camera.take_windows()

    world.search.tools.pop("search_nodes")
    fallen = FaultServer(port=free_port(LM_STUDIO))
    world.run(fallen.start())
    base_url = fallen.base_url
    for server in (fallen, world.mcp, world.search):
        world.run(server.stop())
    for number in range(4):
        world.chat(f"into the void {number}", model="qwen3:8b", llm=base_url, session=f"void-{number}")
    page.wait_for_selector(".cpulse-verdict[data-status=fail], .cpulse-verdict[data-status=warn]")
    camera.take(FAILING)


if __name__ == "__main__":
    sys.exit(main())
