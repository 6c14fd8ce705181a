"""The real ComfyUI behind the real nginx, in Chromium, at an address of a network: panel and chats work."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.llm_steps import Plan, Words, words
from tests.support.nginx import CONFIGURATIONS, Nginx

from .chromium import launch
from .comfy_world import World, enter, toggle
from .conftest import OpenPage
from .test_streams_comfyui import ask, is_whole
from .waiting import wait_for

pytestmark = [pytest.mark.comfyui, pytest.mark.timeout(600)]

# Over plain http browsers say nothing of the site that asks, except at loopback. An address: ComfyUI looks up any name
# that `Host` holds, for each request of a module, and where no server knows it that takes half a second.
NAME = "192.0.2.7"
OURS = re.compile(r"copilot-pulse|cpulse|[Pp]ulse")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium in whose network that address is this machine."""
    with sync_playwright() as playwright:
        chromium = launch(playwright, f"--host-resolver-rules=MAP {NAME} 127.0.0.1")
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """ComfyUI with the stand-in Copilot and the plugin."""
    made = World(tmp_path_factory.mktemp("proxies") / "run")
    yield made
    made.close()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_behind_nginx(world: World, open_page: OpenPage, console_errors: list[str], name: str) -> None:
    """Whatever the proxy makes of `Host`."""
    world.llm.reset_counts()
    world.llm.plan(Plan(Words(60)))
    with Nginx(world.comfy.port, lines=CONFIGURATIONS[name]) as proxy:
        page: Page = open_page("about:blank", 1440, 900, locale="en-US")
        page.add_init_script(
            f"localStorage.setItem('openaiBaseUrl', '{world.llm.base_url}');"
            "localStorage.setItem('openaiApiKey', 'sk-browser-1234567890');"
            f"localStorage.setItem('sessionId', 'proxies-{len(name)}');"
        )
        enter(page, f"http://{NAME}:{proxy.port}")
        toggle(page)
        expect(page.locator(".cpulse-tile-value").first).to_be_visible()
        wait_for(lambda: world.panels() == 1, what="the panel has its lease")
        expect(page.locator(".cpulse-verdict")).not_to_have_attribute("data-status", "off")
        expect(page.locator(".cpulse-verdict-title")).not_to_contain_text("server")
        toggle(page, "comfyui-copilot")
        page.wait_for_selector("#comfyui-copilot-plugin")
        ask(page)
        is_whole(page, words(60))
        page.context.close()
    wait_for(lambda: world.panels() == 0, what="the lease has been given back")

    assert len(world.llm.chats) == 1
    console_errors[:] = [error for error in console_errors if OURS.search(error)]
