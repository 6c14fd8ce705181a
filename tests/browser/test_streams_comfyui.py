"""Copilot's chats in Chromium, in the real ComfyUI, over a network that breaks: the user gets the whole answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.llm_steps import Plan, Wait, Words, words
from tests.support.net import PATIENCE, Gate
from tests.support.proxy import Fault, FaultProxy

from .comfy_world import World, enter, setting, toggle
from .conftest import OpenPage
from .waiting import wait_for

pytestmark = [pytest.mark.comfyui, pytest.mark.timeout(600)]

ANSWER = ".copilot-standin-assistant"
# The frontend has complaints of its own, all the more when its network breaks.
OURS = re.compile(r"stream|cpulse|[Pp]ulse")
NETWORK = re.compile(r"WebSocket|ERR_|Failed to fetch|net::|NetworkError|/ws|403|Reconnect")
TRANSPORTS = ["auto", "http"]


class Network:
    """The proxy between the browser and ComfyUI."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.proxy = FaultProxy(world.comfy.port)
        world.run(self.proxy.start())

    def do(self, name: str, *arguments: Any, **options: Any) -> None:
        """Call a method of the proxy on its loop."""

        async def call() -> None:
            getattr(self.proxy, name)(*arguments, **options)

        self.world.run(call())

    def close(self) -> None:
        """Stop it."""
        self.world.run(self.proxy.stop())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """ComfyUI with the stand-in Copilot and the plugin."""
    made = World(tmp_path_factory.mktemp("streams") / "run")
    yield made
    made.close()


@pytest.fixture
def network(world: World) -> Iterator[Network]:
    """A network that is well at first."""
    made = Network(world)
    world.llm.reset_counts()
    yield made
    made.close()


@pytest.fixture
def page(world: World, network: Network, open_page: OpenPage, console_errors: list[str]) -> Iterator[Page]:
    """ComfyUI's page with Copilot's tab open, seen through the proxy."""
    made = chat_page(open_page, network)
    yield made
    console_errors[:] = [e for e in console_errors if OURS.search(e) and not NETWORK.search(e)]


def chat_page(open_page: OpenPage, network: Network, session: str = "browser-streams") -> Page:
    made = open_page("about:blank", 1440, 900, locale="en-US")
    made.add_init_script(
        f"localStorage.setItem('openaiBaseUrl', '{network.world.llm.base_url}');"
        "localStorage.setItem('openaiApiKey', 'sk-browser-1234567890');"
        f"localStorage.setItem('sessionId', '{session}');"
    )
    enter(made, network.proxy.url)
    toggle(made, "comfyui-copilot")
    made.wait_for_selector("#comfyui-copilot-plugin")
    return made


def ask(page: Page, prompt: str = "hello") -> None:
    page.get_by_placeholder("Ask the stand-in").fill(prompt)
    page.locator(".copilot-standin-send").click()


def shows(page: Page, text: str) -> None:
    """Wait until the newest answer holds `text`."""
    expect(page.locator(ANSWER).last).to_contain_text(text)


def is_whole(page: Page, text: str) -> None:
    """Wait until the answer has ended; it is `text`, and nothing else but a notice below it."""
    expect(page.locator(f"{ANSWER}[data-finished=true]").last).to_be_attached(timeout=2_000 * PATIENCE)
    shown = page.locator(ANSWER).last.text_content() or ""
    assert shown.startswith(text.rstrip())
    assert shown.count(text.split()[0]) == 1


def states(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.metrics()["extra"]["streams"]
    return found


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_offline_and_online_again(page: Page, world: World, network: Network, transport: str) -> None:
    """The network goes away in mid-answer and comes back: the answer is whole, and the model was asked once."""
    setting(page, "CopilotPulse.Transport", transport)
    gate = Gate()
    world.llm.plan(Plan(Words(40), Wait(gate), Words(200, start=40, pace=0.005)))
    ask(page)
    shows(page, words(40).strip())
    network.do("offline")
    gate.open()
    wait_for(lambda: states(world)["kept"] > 0, what="the answer goes on without the page")
    network.do("online")
    is_whole(page, words(240))

    assert len(world.llm.chats) == 1
    setting(page, "CopilotPulse.Transport", "auto")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_chromium_says_offline(page: Page, world: World, transport: str) -> None:
    """The same when the browser itself is offline (a laptop's Wi-Fi)."""
    setting(page, "CopilotPulse.Transport", transport)
    gate = Gate()
    world.llm.plan(Plan(Words(40), Wait(gate), Words(60, start=40, pace=0.005)))
    ask(page)
    shows(page, words(40).strip())
    page.context.set_offline(True)
    gate.open()
    page.context.set_offline(False)
    is_whole(page, words(100))

    assert len(world.llm.chats) == 1
    setting(page, "CopilotPulse.Transport", "auto")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_connections_that_are_cut(page: Page, world: World, network: Network, transport: str) -> None:
    """Every connection of the chat is cut after some bytes: the answer is whole all the same."""
    setting(page, "CopilotPulse.Transport", transport)
    world.llm.plan(Plan(Words(300, pace=0.005)))
    faults = [Fault(cut_after=limit, how=how) for limit, how in ((700, "reset"), (900, "close"), (650, "half"))]  # type: ignore[arg-type]
    network.do("next", *faults)
    ask(page)
    is_whole(page, words(300))

    assert len(world.llm.chats) == 1
    setting(page, "CopilotPulse.Transport", "auto")


def test_the_websocket_is_used_and_saves_bytes(page: Page, world: World, network: Network) -> None:
    """Where it can be opened the chat goes over the WebSocket: that is what the bytes on the wire say."""
    world.llm.plan(Plan(Words(100, pace=0.01)))
    opened: list[str] = []
    page.on("websocket", lambda socket: opened.append(socket.url))
    ask(page)
    is_whole(page, words(100))

    assert any("/ws/chat/" in url for url in opened)
    assert len(world.llm.chats) == 1


def test_without_websockets_nobody_notices(page: Page, world: World, network: Network) -> None:
    """A proxy that lets no WebSocket of ours through: the chat goes over HTTP, with no message to the user."""
    world.llm.plan(Plan(Words(40)))
    page.evaluate(
        """() => {
            const Real = WebSocket;
            window.WebSocket = class extends Real {
                constructor(url, protocols) {
                    super(String(url).replace("/ws/chat/", "/no-such-route/"), protocols);
                }
            };
        }"""
    )
    ask(page)
    is_whole(page, words(40))

    assert len(world.llm.chats) == 1
    assert page.locator(".p-toast-message-error").count() == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_stop_stops_the_server(page: Page, world: World, transport: str) -> None:
    """Copilot's own stop button ends the model's request at once."""
    setting(page, "CopilotPulse.Transport", transport)
    world.llm.plan(Plan(Words(20), Wait(Gate()), Words(20)))
    ask(page)
    shows(page, words(20).strip())
    page.locator(".copilot-standin-stop").click()
    wait_for(lambda: world.llm.active == 0, what="the end of the model's request")

    expect(page.locator(ANSWER).last).to_have_attribute("data-error", re.compile("AbortError"))
    setting(page, "CopilotPulse.Transport", "auto")


def test_reload_in_mid_answer(page: Page, world: World, network: Network) -> None:
    """After a reload the panel offers the answer that went on: read it, let it go."""
    gate = Gate()
    world.llm.plan(Plan(Words(40), Wait(gate), Words(40, start=40)))
    ask(page)
    shows(page, words(40).strip())
    enter(page, network.proxy.url)
    gate.open()
    expect(page.locator(".p-toast-detail, .p-toast-message-content").first).to_contain_text(
        "finished while you were away"
    )
    toggle(page)
    row = page.locator(".cpulse-away-row")
    expect(row).to_contain_text("An answer finished while you were away")
    row.locator("summary").click()
    expect(row.locator(".cpulse-away-text")).to_contain_text(words(80).strip())
    row.get_by_role("button", name="Dismiss").click()
    expect(page.locator(".cpulse-away")).to_be_hidden()

    assert len(world.llm.chats) == 1
    assert page.evaluate("sessionStorage.getItem('copilotPulse.streams')") is None


def test_two_tabs(page: Page, world: World, network: Network, open_page: OpenPage) -> None:
    """Two tabs chat side by side, one loses its connections: each has its own answer, whole."""
    other = chat_page(open_page, network, "browser-other")
    world.llm.plan_for("first", Plan(Words(150, pace=0.01)))
    world.llm.plan_for("second", Plan(Words(150, start=500, pace=0.01)))
    ask(page, "first")
    ask(other, "second")
    shows(page, words(5).strip())
    shows(other, words(5, start=500).strip())
    other.context.set_offline(True)
    shows(page, words(100).strip())
    other.context.set_offline(False)
    is_whole(page, words(150))
    is_whole(other, words(150, start=500))

    assert len(world.llm.chats) == 2
