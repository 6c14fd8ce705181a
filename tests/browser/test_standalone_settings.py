"""The standalone page's settings, theme and signs of trouble, in Chromium."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from .conftest import OpenPage
from .program import ANSWER_MS, Program
from .test_standalone_page import send
from .waiting import wait_for


@pytest.fixture
def page(program: Program, open_page: OpenPage) -> Page:
    """Its page, wide enough for chat and panel."""
    page = open_page(program.url, 1280, 900, locale="en-US", color_scheme="light")
    page.wait_for_selector(".cpulse-tile-value")
    return page


def open_settings(page: Page) -> None:
    page.locator(".top").get_by_role("button", name="Settings").click()
    expect(page.get_by_label("Retries")).to_be_visible()


def settings_of(page: Page) -> Any:
    rows = page.evaluate("fetch('/copilot-pulse/settings').then((response) => response.json())")["settings"]
    return {row["name"]: row["value"] for row in rows}


def test_a_setting_is_taken_over_or_put_back(page: Page) -> None:
    """What is changed holds at once; what is not allowed comes back, with what is."""
    open_settings(page)
    retries = page.get_by_label("Retries", exact=True)
    retries.fill("5")
    retries.blur()
    expect(page.get_by_role("dialog")).to_contain_text("Taken over")
    assert settings_of(page)["max_retries"] == 5
    retries.fill("77")
    retries.blur()
    expect(page.get_by_role("dialog")).to_contain_text("Allowed: 0 to 10.")

    expect(retries).to_have_value("5")
    assert settings_of(page)["max_retries"] == 5
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("Refresh (s)").fill("0.3")
    page.get_by_label("Refresh (s)").blur()
    expect(page.get_by_label("Refresh (s)")).to_be_visible()
    wait_for(lambda: settings_of(page)["panel_refresh"] == 0.3, what="the new refresh")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_slow_refusal_leaves_a_later_change_alone(page: Page) -> None:
    """Who mends a value before the server has refused it: what stands there is what the server has."""
    held: list[Route] = []
    page.route(
        "**/copilot-pulse/settings",
        lambda route: held.append(route) if route.request.method == "POST" else route.continue_(),
    )
    open_settings(page)
    retries = page.get_by_label("Retries", exact=True)
    for value in ("77", "4"):
        retries.fill(value)
        retries.blur()
        wait_for(lambda: page.title() and held, what="the first change")
    with page.expect_response("**/copilot-pulse/settings"):
        held[0].continue_()
    wait_for(lambda: page.title() and len(held) == 2, what="the second change")
    held[1].continue_()

    expect(page.get_by_role("dialog")).to_contain_text("Taken over")
    expect(retries).to_have_value("4")
    assert settings_of(page)["max_retries"] == 4


def test_a_price_that_cannot_be_read_is_named_in_the_reader_s_language(page: Page) -> None:
    """It stays to be mended, with the form that it should have."""
    page.get_by_role("button", name="切换到中文").click()
    page.locator(".top").get_by_role("button", name="设置").click()
    prices = page.get_by_label("价格", exact=True)
    prices.fill("a = 1 / 2; b = cheap")
    prices.blur()
    expect(page.get_by_role("dialog")).to_contain_text("“b = cheap”不是价格。请写成“模型 = 输入 / 输出”")

    expect(prices).to_have_value("a = 1 / 2; b = cheap")


@pytest.mark.parametrize(
    ("answer", "said"),
    [(None, "This server cannot be reached. Is it still running?"),
     ({"status": 403, "json": {"error": "figures only"}}, "The server does not show its settings (figures only)."),
     ({"status": 502, "body": "<html>"}, "The server does not show its settings (HTTP 502).")],
)  # fmt: skip
def test_settings_that_cannot_be_had_are_told_in_a_sentence(
    page: Page, answer: dict[str, Any] | None, said: str
) -> None:
    """Who opens them while the server is away, private or behind a broken proxy learns which it is."""
    page.route("**/copilot-pulse/settings", lambda route: route.fulfill(**answer) if answer else route.abort())
    page.locator(".top").get_by_role("button", name="Settings").click()

    expect(page.get_by_role("dialog").get_by_text(said, exact=True)).to_be_visible()
    expect(page.get_by_label("As the system")).to_be_visible()


def test_the_first_ones_are_those_that_matter(page: Page) -> None:
    """Silence, first token and retries are in sight; what only the environment decides is not offered."""
    open_settings(page)
    shown = page.locator(".set > .set-line > label").all_inner_texts()

    assert shown[:3] == ["Silence within an answer (s)", "First token (s)", "Retries"]
    expect(page.get_by_label("Wait for a full queue (s)")).to_be_hidden()
    assert page.get_by_role("dialog").get_by_text("REDIS").count() == 0
    assert page.get_by_role("dialog").get_by_text("Send a test message").count() == 0  # there is no webhook


@pytest.mark.parametrize(
    ("answer", "said"),
    [({"ok": True, "status": 200}, "Sent"), ({"ok": False, "status": 404}, "Not sent: HTTP 404"),
     ({"ok": False, "error": "the host is not known"}, "Not sent: the host is not known")],
)  # fmt: skip
def test_the_webhook_can_be_tried(page: Page, answer: dict[str, Any], said: str) -> None:
    """Who has set one learns at once whether a message arrives, and why not."""

    def with_webhook(route: Route) -> None:
        if route.request.method == "POST":
            route.continue_()
        else:
            route.fulfill(json={**route.fetch().json(), "webhook": True})

    page.route("**/copilot-pulse/settings", with_webhook)
    page.route("**/copilot-pulse/webhook/test", lambda route: route.fulfill(json=answer))
    open_settings(page)
    page.get_by_role("button", name="Send a test message").click()

    expect(page.get_by_role("dialog").get_by_text(said, exact=True)).to_be_visible()


def test_the_theme_is_chosen_and_kept(page: Page) -> None:
    """Page and panel follow the choice and not the system's, also after a reload; the system's comes back."""
    ground = "getComputedStyle(document.body).backgroundColor"
    panel = "getComputedStyle(document.querySelector('.panel')).backgroundColor"
    light = page.evaluate(f"[{ground}, {panel}]")
    open_settings(page)
    page.get_by_label("Dark", exact=True).check()
    dark = page.evaluate(f"[{ground}, {panel}]")
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    page.reload()
    page.wait_for_selector(".cpulse-tile-value")
    assert page.evaluate(f"[{ground}, {panel}]") == dark
    open_settings(page)
    page.get_by_label("As the system").check()

    assert page.evaluate(f"[{ground}, {panel}]") == light


@pytest.mark.parametrize("late", [False, True])
def test_a_failure_is_told_where_nobody_looks(program: Program, open_page: OpenPage, late: bool) -> None:
    """On a narrow screen the chat hides the panel: its tab and the page's title tell, until it is looked at; also if
    the page's first push comes after the failure (`late`). A failure of before the page was opened is no news.
    """
    page = open_page("about:blank", 390, 800, locale="en-US")
    held, pushes = late, 0

    def pass_on(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def down(message: str | bytes) -> None:
            nonlocal pushes
            if not held:
                socket.send(message)
                pushes += "copilot-pulse.update" in str(message)

        server.on_message(down)

    page.route_web_socket(re.compile("/ws"), pass_on)
    page.goto(program.url)
    page.wait_for_selector(".welcome")
    expect(page.locator(".cpulse-tile-value").first).not_to_be_empty()
    assert page.title() == "Copilot Pulse"
    send(page, "/401")
    expect(page.get_by_text("refused the API key").first).to_be_visible(timeout=ANSWER_MS)
    held = False
    tab = page.get_by_role("button", name="Monitor: something needs a look")
    expect(page).to_have_title("(!) Copilot Pulse", timeout=ANSWER_MS)
    expect(tab).to_be_visible()
    tab.click()

    expect(page).to_have_title("Copilot Pulse")
    expect(page.get_by_role("button", name="Monitor", exact=True)).to_be_visible()
    page.get_by_role("button", name="Chat", exact=True).click()
    before = pushes
    page.reload()
    # The second one goes out when the first has been read. Asking the page lets the route work meanwhile.
    wait_for(lambda: page.evaluate("true") and pushes >= before + 2, what="a push to the page that was loaded again")
    expect(page.locator(".cpulse-chat[data-state=failed]").first).to_be_attached()
    expect(page).to_have_title("Copilot Pulse")


@pytest.mark.parametrize(("width", "height"), [(320, 640), (360, 700), (640, 400)])
@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_every_button_is_in_reach(
    program: Program, open_page: OpenPage, width: int, height: int, language: str
) -> None:
    """On a phone, and on a laptop at 200 %: each button is in the page's width, none scrolls away to the side."""
    page = open_page(program.url, width, height, locale=language)
    page.wait_for_selector(".welcome")
    beside = page.evaluate("""() => [...document.querySelectorAll("button")].filter((button) => {
      const { left, right, width, height } = button.getBoundingClientRect();
      return width && (left < 0 || right > innerWidth || width < 24 || height < 24);
    }).map((button) => button.outerHTML)""")

    assert beside == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('.log').clientHeight") > 60
    page.get_by_role("button", name=re.compile("Settings|设置")).first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= innerWidth")
