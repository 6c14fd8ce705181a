"""The panel in the real ComfyUI with its real frontend, in the oldest version that we support and in the newest.

Where ComfyUI is missing these tests fail; `.ci/env.sh comfyui-plugin` makes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.llm_steps import Plan, Words, answer, reset_at, status

from .comfy_world import World, enter, newest_frontend, setting, toggle
from .conftest import HERE
from .waiting import wait_for

pytestmark = [pytest.mark.comfyui, pytest.mark.timeout(600)]

TITLE = ".cpulse-verdict-title"
# In the message of a chat that failed; frontends differ in what they make of a message.
TOLD = "The panel says what to do"
BADGE = "app.extensionManager.getSidebarTabs().find((tab) => tab.id === 'copilot-pulse').iconBadge ?? null"
# The frontend's own complaints: parts that a small install lacks, and its own bugs; and what a stopped server causes.
EXPECTED_IN_COMFYUI = re.compile(
    r"^Failed to load resource|^WebSocket connection to|template|Jobs API|jobs: |queue: |reading 'id'|Invalid layout"
    r"|deprecated|workflow|AxiosError|manifest|cleanup event listeners for graph|ComfyApi\.fetchApi"
)


@pytest.fixture(scope="module", params=["pinned", "newest"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """ComfyUI with the frontend that it pins, and with the newest one."""
    frontend = newest_frontend() if request.param == "newest" else None
    made = World(tmp_path_factory.mktemp("world") / "run", frontend=frontend)
    yield made
    made.close()


@pytest.fixture(scope="module")
def comfy_page(world: World, browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """ComfyUI's page and its complaints. Loading it takes seconds, so the tests of a world share it."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US")
    made = context.new_page()
    errors: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    made.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    made.add_init_script(path=HERE / "counting.js")
    enter(made, world.url)
    yield made, errors
    context.close()


@pytest.fixture
def page(comfy_page: tuple[Page, list[str]]) -> Iterator[Page]:
    """ComfyUI's page with no tab open, in English and dark, and its errors looked through after the test."""
    made, errors = comfy_page
    errors.clear()
    yield made
    for name, value in (("Comfy.Locale", "en"), ("Comfy.Sidebar.Location", "left")):
        setting(made, name, value)
    use_palette(made, "dark")
    made.evaluate("app.extensionManager.sidebarTab.activeSidebarTabId = null")
    made.wait_for_function("!document.querySelector('.cpulse')")
    assert [error for error in errors if not EXPECTED_IN_COMFYUI.search(error)] == []


def open_panel(page: Page) -> None:
    toggle(page)
    page.wait_for_selector(".cpulse-tile-value")


def caught_up(page: Page, world: World) -> None:
    """Wait until the page has got all that the server has sent it so far: one socket keeps the order."""
    page.evaluate("""() => {
        window.caughtUp = false;
        app.api.addEventListener('status', () => { window.caughtUp = true; }, { once: true });
    }""")
    world.comfy.post("/queue", {"clear": True})
    page.wait_for_function("window.caughtUp")


def use_palette(page: Page, name: str) -> None:
    """Change ComfyUI's theme, and wait until the page has its colours."""
    colours = "document.documentElement.style.cssText"
    before = page.evaluate(colours)
    changes = page.evaluate("app.extensionManager.setting.get('Comfy.ColorPalette')") != name
    setting(page, "Comfy.ColorPalette", name)
    if changes:
        page.wait_for_function(f"before => {colours} !== before", arg=before)


def roots(page: Page) -> int:
    return page.locator(".cpulse").count()


def test_key_opens_and_closes_the_panel(page: Page, world: World) -> None:
    """Alt+Shift+P opens the panel and closes it; the server knows of it only while it is open."""
    page.locator("body").press("Alt+Shift+P")
    expect(page.locator(".cpulse-tile-value").first).to_be_visible()
    wait_for(lambda: world.panels() == 1)
    page.locator("body").press("Alt+Shift+P")
    expect(page.locator(".cpulse")).to_have_count(0)

    wait_for(lambda: world.panels() == 0)
    assert page.locator(".p-toast-message-error").count() == 0


def test_nothing_is_sent_while_closed(page: Page, world: World) -> None:
    """With the panel closed not one message of ours comes over ComfyUI's socket, whatever the chats do."""
    page.evaluate("""() => {
        window.updates = 0;
        app.api.addEventListener('copilot-pulse.update', () => { window.updates += 1; });
    }""")
    open_panel(page)
    page.wait_for_function("window.updates > 0")
    toggle(page)
    wait_for(lambda: world.panels() == 0)
    caught_up(page, world)
    before = page.evaluate("window.updates")
    for _ in range(3):
        world.chat("while closed")
    caught_up(page, world)

    assert page.evaluate("window.updates") == before


def test_leaving_for_another_extension_s_tab(page: Page, world: World) -> None:
    """Copilot's tab gets the whole sidebar, ours stops; back again ours is alone and live."""
    open_panel(page)
    toggle(page, "comfyui-copilot")
    expect(page.locator("#comfyui-copilot-plugin")).to_be_visible()
    expect(page.locator(".cpulse")).to_have_count(0)
    wait_for(lambda: world.panels() == 0)
    toggle(page)
    expect(page.locator(".cpulse-tile-value").first).to_be_visible()

    assert roots(page) == 1
    assert page.locator("#comfyui-copilot-plugin").count() == 0
    wait_for(lambda: world.panels() == 1)


def test_leaving_for_a_tab_of_comfyui(page: Page, world: World) -> None:
    """ComfyUI says nothing when one of its own tabs takes over; the panel notices by itself."""
    open_panel(page)
    toggle(page, "node-library")
    expect(page.locator(".cpulse")).to_have_count(0)
    wait_for(lambda: world.panels() == 0)
    toggle(page)
    expect(page.locator(".cpulse-tile-value").first).to_be_visible()

    wait_for(lambda: world.panels() == 1)


def test_moving_the_sidebar(page: Page, world: World) -> None:
    """The panel survives a move of the sidebar from left to right and back."""
    open_panel(page)
    for place in ("right", "left"):
        setting(page, "Comfy.Sidebar.Location", place)
        page.wait_for_function(
            "right => (document.querySelector('.cpulse')?.getBoundingClientRect().left > innerWidth / 2) === right",
            arg=place == "right",
        )
        expect(page.locator(".cpulse-tile-value").first).to_be_visible()
        wait_for(lambda: world.panels() == 1)

    assert roots(page) == 1


def test_nothing_is_left_after_twenty_openings(page: Page, world: World) -> None:
    """Opened and closed twenty times, the panel leaves no listener, timer, frame or observer of its own."""
    open_panel(page)
    toggle(page)
    expect(page.locator(".cpulse")).to_have_count(0)
    ours = """() => {
      const all = window.leftovers.ours();
      return { listeners: all.listeners, observers: all.observers, timers: all.timers };
    }"""
    page.wait_for_function("window.leftovers.ours().timers === 0")
    before = page.evaluate(ours)
    for _ in range(20):
        open_panel(page)
        toggle(page)
        expect(page.locator(".cpulse")).to_have_count(0)
    page.wait_for_function(f"before => JSON.stringify(({ours})()) === JSON.stringify(before)", arg=before)


def test_real_chats_with_real_faults(page: Page, world: World) -> None:
    """A running answer, a repaired fault and a given-up chat are told as what they are."""
    open_panel(page)
    world.llm.plan(Plan(Words(4000, 0.005)))
    world.begin("a long one", model="slow-model")
    row = page.locator(".cpulse-chat[data-state=streaming]", has_text="slow-model")
    expect(row).to_contain_text(re.compile(r"\d+ tokens"))
    row.get_by_role("button", name="Stop this chat").click()
    expect(page.locator(".cpulse-chat[data-state=cancelled]", has_text="slow-model")).to_be_visible()
    world.llm.plan(reset_at(10), answer(40))
    world.chat("mended", model="shaky-model")
    expect(page.locator(".cpulse-problem[data-outcome=recovered]").first).to_contain_text("shaky-model")
    world.llm.plan(status(401))
    world.chat("refused", model="locked-model")

    expect(page.locator(".cpulse-problem[data-outcome=gave_up]").first).to_contain_text("API key")
    expect(page.locator(TITLE)).to_contain_text("The API key was refused")
    expect(page.locator(".cpulse-verdict-advice")).to_contain_text("Set a valid API key")
    expect(page.locator(".cpulse-log-row", has_text="chat.finished").first).to_be_visible()
    caught_up(page, world)
    assert page.evaluate(BADGE) is None  # who looks at the panel has seen it
    assert page.get_by_text(TOLD).count() == 0


def test_a_chat_that_fails_unseen_is_told(page: Page, world: World) -> None:
    """With the panel shut: a message, the icon and the page's title tell, until the panel is opened."""
    world.llm.plan(status(401))
    world.chat("refused", model="locked-model")
    expect(page.get_by_text(TOLD).first).to_be_visible()
    page.wait_for_function(f"['!', '!!'].includes({BADGE})")
    page.wait_for_function("document.title.startsWith('(!) ')")
    page.evaluate("document.title = 'another workflow'")
    page.wait_for_function("document.title === '(!) another workflow'")
    open_panel(page)

    page.wait_for_function(f"({BADGE}) === null")
    page.wait_for_function("document.title === 'another workflow'")


# What the real page of Copilot does when a message is sent.
ASK = """([llm, session]) => fetch('/api/chat/invoke', {
    method: 'POST', headers: { 'Content-Type': 'application/json', 'Openai-Api-Key': 'k', 'Openai-Base-Url': llm },
    body: JSON.stringify({ session_id: session, prompt: 'hello', messages: [{ role: 'user', content: 'hello' }],
      ext: [{ type: 'model_select', data: ['locked-model'] }], images: [], intent: null, mock: false }),
  }).then((response) => response.text())"""


def test_a_failed_chat_is_told_once_in_its_own_page(page: Page, world: World, browser: Browser) -> None:
    """Another page that is open, and was opened later, shows it on the icon and says nothing."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US")
    try:
        other = context.new_page()
        enter(other, world.url)
        world.llm.plan(status(401))
        page.evaluate(ASK, [world.llm.base_url, "told-once"])
        expect(page.get_by_text(TOLD).first).to_be_visible()
        other.wait_for_function(f"['!', '!!'].includes({BADGE})")
        caught_up(other, world)
        assert other.get_by_text(TOLD).count() == 0
    finally:
        context.close()


def test_the_message_of_a_failed_chat_can_be_switched_off(page: Page, world: World) -> None:
    """Who does not want to be told is not; the icon still shows it."""
    setting(page, "CopilotPulse.FailureToast", False)
    try:
        page.evaluate("""() => { window.toasts = []; const { toast } = app.extensionManager; const add = toast.add;
          toast.add = (message) => { window.toasts.push(message.summary); return add.call(toast, message); }; }""")
        world.llm.plan(status(401))
        world.chat("refused", model="locked-model")
        page.wait_for_function(f"['!', '!!'].includes({BADGE})")
        caught_up(page, world)
        assert page.evaluate("window.toasts") == []
    finally:
        setting(page, "CopilotPulse.FailureToast", True)


def test_the_strip_shows_figures_and_opens_the_panel(page: Page, world: World) -> None:
    """Off at first; switched on it shows the items that are wanted, live, and a click opens the panel."""
    strip = page.locator("button[aria-label^='Copilot Pulse: ']").filter(has_text=re.compile(r"\d"))
    expect(strip).to_have_count(0)
    world.llm.plan(answer(40))
    world.chat("for the figures")
    try:
        setting(page, "CopilotPulse.Strip", True)
        expect(strip).to_have_text(re.compile(r"^0 · [\d.,]+ m?s · [\d,.]+/s$"))
        world.llm.plan(Plan(Words(4000, 0.005)))
        world.begin("a long one", session="strip")
        expect(strip).to_have_text(re.compile(r"^1 · "))
        setting(page, "CopilotPulse.StripFirstToken", False)
        expect(strip).to_have_text(re.compile(r"^1 · [\d,.]+/s$"))
        strip.click()
        expect(page.locator(".cpulse-tile-value").first).to_be_visible()
        page.get_by_role("button", name="Stop this chat").first.click()
        expect(strip).to_have_text(re.compile(r"^0 · "))
    finally:
        setting(page, "CopilotPulse.StripFirstToken", True)
        setting(page, "CopilotPulse.Strip", False)
    expect(strip).to_have_count(0)


def test_settings_button_shows_our_settings(page: Page) -> None:
    """The button leads to our own page of ComfyUI's settings, not to their first one."""
    open_panel(page)
    page.locator(".cpulse").get_by_role("button", name="Settings").click()
    try:
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("Updates per second")).to_be_visible()
        names = ["Silence within an answer", "First token (s)", "Retries", "Updates per second"]
        places = [dialog.get_by_text(name).first.evaluate("(e) => e.getBoundingClientRect().top") for name in names]
        assert places == sorted(places)  # what matters first, the rest behind it
    finally:
        page.keyboard.press("Escape")


def test_the_webhook_can_be_tried_in_the_settings(page: Page, world: World) -> None:
    """Where the server has a webhook, ComfyUI's dialog has a button that sends a test message."""
    other = page.context.new_page()
    try:
        other.route(
            "**/copilot-pulse/settings",
            lambda route: route.fulfill(json={**route.fetch().json(), "webhook": True}),
        )
        other.route("**/copilot-pulse/webhook/test", lambda route: route.fulfill(json={"ok": True, "status": 200}))
        enter(other, world.url)
        open_panel(other)
        other.locator(".cpulse").get_by_role("button", name="Settings").click()
        other.get_by_role("button", name="Send a test message").click()
        expect(other.get_by_text("Sent", exact=True).first).to_be_visible()
    finally:
        other.close()


def test_no_badge_for_what_stops_no_chat(page: Page) -> None:
    """The icon shows real trouble; tools whose server is gone, the common case, are no alarm."""
    shown = page.evaluate(f"""() => {{
        const tell = (detail) => app.api.dispatchEvent(new CustomEvent('copilot-pulse.status', {{ detail }}));
        return [['pass', ''], ['warn', ''], ['warn', 'none']].map(([status, impact]) => {{
          tell({{ status, impact }});
          return {BADGE};
        }});
    }}""")  # in one go: the server's own news come at any time

    assert shown == [None, "!", None]


def test_panel_stands_on_the_ground_of_comfyui_s_own_tabs(page: Page) -> None:
    """In a light theme too the panel has the colour of the tabs beside it, and a heading as they have."""
    ground = """(name) => { let e = document.querySelector(name);
      for (; e && getComputedStyle(e).backgroundColor === 'rgba(0, 0, 0, 0)'; e = e.parentElement);
      return getComputedStyle(e).backgroundColor; }"""
    for palette in ("light", "dark"):
        use_palette(page, palette)
        toggle(page, "node-library")
        page.wait_for_selector(".comfy-vue-side-bar-header")
        theirs = page.evaluate(ground, ".comfy-vue-side-bar-header")
        open_panel(page)
        expect(page.locator(".cpulse-heading")).to_have_text("Copilot Pulse")
        assert page.evaluate(ground, ".cpulse-body") == theirs
        toggle(page)


def test_reload_keeps_the_past(page: Page, world: World) -> None:
    """After a reload of the page the charts and the past errors are there again."""
    world.llm.plan(reset_at(10), answer(40))
    world.chat("before the reload")
    enter(page, world.url)
    open_panel(page)

    expect(page.locator(".cpulse-problem").first).to_be_visible()
    page.evaluate("document.querySelectorAll('.cpulse-chart')[5].scrollIntoView()")
    expect(page.locator(".cpulse-chart").nth(5).locator(".cpulse-series")).to_have_attribute("d", re.compile("^M"))


def test_language(page: Page, world: World) -> None:
    """A switch of ComfyUI's language switches the open panel at once, and holds after a reload."""
    open_panel(page)
    setting(page, "Comfy.Locale", "zh")
    expect(page.locator(".cpulse-charts h3")).to_have_text("趋势")
    enter(page, world.url)
    open_panel(page)

    expect(page.locator(".cpulse-charts h3")).to_have_text("趋势")


def test_themes(page: Page) -> None:
    """In each of ComfyUI's themes the panel's text can be read: a contrast of at least 4.5 to 1."""
    open_panel(page)
    weak: dict[str, float] = {}
    for palette in ("dark", "light", "nord", "solarized", "arc", "github"):
        use_palette(page, palette)
        contrasts = page.evaluate(CONTRASTS)
        weak |= {f"{palette} {name}": value for name, value in contrasts.items() if value < 4.5}

    assert weak == {}


def test_settings_are_validated_taken_over_and_kept(page: Page, world: World) -> None:
    """A setting of the dialog reaches the server at once; a bad one is refused and put back; good ones are kept."""

    def on_server(name: str) -> object:
        rows = world.comfy.get("/copilot-pulse/settings").json()["settings"]
        return next(row["value"] for row in rows if row["name"] == name)

    setting(page, "CopilotPulse.MaxRetries", 5)
    wait_for(lambda: on_server("max_retries") == 5)
    setting(page, "CopilotPulse.MaxRetries", 77)
    expect(page.get_by_text("Allowed: 0 to 10").first).to_be_visible()
    page.wait_for_function("app.extensionManager.setting.get('CopilotPulse.MaxRetries') === 5")
    assert on_server("max_retries") == 5
    kept = world.comfy.app / "user" / "default" / "comfy.settings.json"
    wait_for(lambda: json.loads(kept.read_text("utf-8"))["CopilotPulse.MaxRetries"] == 5)
    open_panel(page)
    world.comfy.stop()
    world.comfy.start()

    assert on_server("max_retries") == 5
    # The page was open all the time: it finds the new server by itself, without a reload.
    wait_for(lambda: world.panels() == 1, what="the panel's return after the restart")
    expect(page.locator(".cpulse[data-stale]")).to_have_count(0)
    setting(page, "CopilotPulse.MaxRetries", 3)
    wait_for(lambda: on_server("max_retries") == 3)


def test_two_windows(page: Page, world: World) -> None:
    """Two windows each have a panel of their own; closing one leaves the other live."""
    open_panel(page)
    other = page.context.new_page()
    enter(other, world.url)
    open_panel(other)
    wait_for(lambda: world.panels() == 2)
    toggle(page)
    wait_for(lambda: world.panels() == 1)
    world.llm.plan(answer(10))
    before = other.locator(".cpulse-tile-note").first.inner_text()
    world.chat("for the other window")

    expect(other.locator(".cpulse-tile-note").first).not_to_have_text(before)
    other.close()
    wait_for(lambda: world.panels() == 0)


# What the text stands on: the nearest opaque background, with the translucent ones above it painted over.
CONTRASTS = """() => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const paint = (...colours) => {
    pen.clearRect(0, 0, 1, 1);
    for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const opaque = (colour) => paint(colour)[3] === 255;
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const out = {};
  for (const name of ['.cpulse-verdict-title', '.cpulse-verdict-advice', '.cpulse-tile-value', '.cpulse-tile-note',
      '.cpulse h3', '.cpulse h4', '.cpulse-chart-title', '.cpulse-row-title', '.cpulse-row-host', '.cpulse-state']) {
    const element = [...document.querySelectorAll(name)].find((e) => e.getClientRects().length && e.textContent);
    if (!element) continue;
    const below = [];
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      below.unshift(colour);
      if (opaque(colour)) break;
    }
    const back = light(paint('white', ...below));
    const text = light(paint('white', ...below, getComputedStyle(element).color));
    out[name] = Math.round((Math.max(back, text) + 0.05) / (Math.min(back, text) + 0.05) * 10) / 10;
  }
  return out;
}"""
