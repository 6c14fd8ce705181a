"""Three real ComfyUI behind the real nginx, round robin, with one Redis, in Chromium: what a killed server leaves."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Page, expect
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.comfyui.harness import ComfyUI
from tests.support.llm_steps import Plan, Wait, Words, words
from tests.support.net import Gate
from tests.support.nginx import Nginx
from tests.support.proxy import FaultProxy
from tests.support.redis_server import RedisServer

from .comfy_world import Servers, enter, toggle
from .conftest import OpenPage
from .test_streams_comfyui import ANSWER, NETWORK, ask, is_whole, shows
from .waiting import wait_for

pytestmark = [pytest.mark.comfyui, pytest.mark.timeout(600)]
NAMES = ("studio-1", "studio-2", "studio-3")
OURS = re.compile(r"stream|cpulse|[Pp]ulse")


class Studio(Servers):
    """Three ComfyUI that share a Redis, nginx before them, and a network that can be cut. `close()` ends all of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.redis = RedisServer()
        self.run(self.redis.start())
        # The redis-py of these tests: ComfyUI's Python need not have one, and it is pure Python.
        extra = folder / "extra"
        extra.mkdir(parents=True)
        (extra / "redis").symlink_to(Path(redis.__file__).parent)
        shared = {
            "COPILOT_PULSE_REDIS_URL": self.redis.url,
            "COPILOT_PULSE_REDIS_ANSWERS": "on",
            "PYTHONPATH": str(extra),
        }
        self.comfies = {
            name: self.lay_comfy(folder / name, environment={**shared, "COPILOT_PULSE_INSTANCE": name})
            for name in NAMES
        }  # fmt: skip
        self.start()
        self.nginx = Nginx(*(comfy.port for comfy in self.comfies.values()))
        self.network = FaultProxy(self.nginx.port)
        self.run(self.network.start())

    def start(self) -> None:
        """Start those that do not run, and wait until each knows the others.

        A name is free again when the others have noticed the end of who had it.
        """
        dead = {name for name, comfy in self.comfies.items() if not comfy.running}
        alive = [comfy for comfy in self.comfies.values() if comfy.running]
        wait_for(lambda: not any(dead & self._up(comfy) for comfy in alive), 240, "the end is noticed")
        with ThreadPoolExecutor(len(self.comfies)) as pool:
            list(pool.map(ComfyUI.start, self._dead()))
        wait_for(lambda: all(self._knows_all(comfy) for comfy in self.comfies.values()), 240, "the fleet is complete")

    def _dead(self) -> list[ComfyUI]:
        return [comfy for comfy in self.comfies.values() if not comfy.running]

    def _knows_all(self, comfy: ComfyUI) -> bool:
        return self._up(comfy) == set(NAMES)

    def _up(self, comfy: ComfyUI) -> set[str]:
        rows = comfy.get("/copilot-pulse/fleet").json()["instances"]
        return {row["name"] for row in rows if row["state"] == "up"}

    def kill(self, name: str) -> None:
        """As the kernel does when the memory is full."""
        os.killpg(self.comfies[name].pid, signal.SIGKILL)
        self.comfies[name].stop()

    def cut(self) -> None:
        """Break every connection of the browser; it can connect again at once."""

        async def now() -> None:
            self.network.offline()
            self.network.online()

        self.run(now())

    def where(self, state: str) -> str:
        """The one that writes the answer ("mirrored"), or that a page reads it from elsewhere ("followed")."""
        for name, comfy in self.comfies.items():
            if comfy.running:
                text = comfy.get("/copilot-pulse/metrics?format=prometheus").text
                family = {one.name: one for one in parse(text)}["copilot_pulse_redis_answers"]
                if {sample.labels["state"]: sample.value for sample in family.samples}[state]:
                    return name
        return ""

    def close(self) -> None:
        self.run(self.network.stop())
        self.nginx.close()
        with ThreadPoolExecutor(len(self.comfies)) as pool:
            list(pool.map(ComfyUI.stop, self.comfies.values()))
        self.redis.kill()
        self.redis.forget()
        super().close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """One for all tests of the file: it takes a while to boot."""
    made = Studio(tmp_path_factory.mktemp("studio") / "run")
    yield made
    made.close()


@pytest.fixture
def page(studio: Studio, open_page: OpenPage, console_errors: list[str]) -> Iterator[Page]:
    """ComfyUI's page with Copilot's tab open, at the address of the whole studio."""
    studio.start()
    studio.llm.reset_counts()
    made = open_studio(studio, open_page("about:blank", 1440, 900, locale="en-US"))
    yield made
    console_errors[:] = [e for e in console_errors if OURS.search(e) and not NETWORK.search(e)]


def open_studio(studio: Studio, page: Page) -> Page:
    """ComfyUI with Copilot's tab, set up for the model of the tests."""
    page.add_init_script(
        f"localStorage.setItem('openaiBaseUrl', '{studio.llm.base_url}');"
        "localStorage.setItem('openaiApiKey', 'sk-browser-1234567890');"
        "localStorage.setItem('sessionId', 'studio');"
    )
    enter(page, studio.network.url)
    toggle(page, "comfyui-copilot")
    page.wait_for_selector("#comfyui-copilot-plugin")
    return page


def read_elsewhere(studio: Studio) -> tuple[str, str]:
    """Break connections until the page reads at another server than the one that writes; (writer, reader)."""
    wait_for(lambda: studio.where("mirrored"), 60, "the answer is mirrored")
    writer, reader = studio.where("mirrored"), ""

    def elsewhere() -> bool:
        nonlocal reader
        reader = studio.where("followed")
        return bool(reader)

    for _ in range(6):
        studio.cut()
        try:
            wait_for(elsewhere, 30)
            return writer, reader
        except AssertionError:  # the turn was the writer's
            continue
    raise AssertionError("the page never came to another server")


def test_the_server_that_the_page_reads_at_is_killed(studio: Studio, page: Page) -> None:
    """The answer goes on at a third, or at its own: whole, and the model was asked once."""
    gate = Gate()
    studio.llm.plan(Plan(Words(40), Wait(gate), Words(200, start=40, pace=0.005)))
    ask(page)
    shows(page, words(40).strip())
    writer, reader = read_elsewhere(studio)
    assert reader != writer
    studio.kill(reader)
    gate.open()
    is_whole(page, words(240))

    assert page.locator(ANSWER).last.text_content() == words(240)
    assert len(studio.llm.chats) == 1


def test_the_server_that_answers_is_killed(studio: Studio, page: Page) -> None:
    """The page reads at another meanwhile: it keeps the text so far, and is told in a sentence; nobody asks again."""
    studio.llm.plan(Plan(Words(40), Wait(Gate()), Words(200, start=40)))
    ask(page)
    shows(page, words(40).strip())
    writer, reader = read_elsewhere(studio)
    assert reader != writer
    studio.kill(writer)
    expect(page.locator(f"{ANSWER}[data-finished=true]").last).to_be_attached(timeout=60_000)
    told = page.locator(ANSWER).last.text_content() or ""

    assert told.startswith(words(40).rstrip())
    assert "has stopped" in told.removeprefix(words(40).rstrip())
    assert len(studio.llm.chats) == 1
