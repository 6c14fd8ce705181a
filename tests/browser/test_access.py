"""Access: axe-core finds nothing, the keyboard is not tired, and nothing is too small to hit, in both themes."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from . import scenarios
from .conftest import HERE, OpenPage, settled
from .fake_pulse import FakePulse
from .program import ANSWER_MS, Program
from .test_standalone_page import send
from .waiting import wait_for_script

AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
MOST_TAB_STOPS = 25

# Rules of WCAG 2.2 A and AA, and what axe-core holds for good practice. A part of a page is looked at by itself.
FINDINGS = """async (part) => {
  const { violations } = await axe.run(part ? { include: [part] } : document, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id} (${help}): ${html.slice(0, 200)} ${failureSummary}`));
}"""

TAB_STOPS = """(part) => {
  const groups = new Set();
  return [...document.querySelectorAll(`${part} :is(a[href], button, input, select, textarea, summary, [tabindex])`)]
    .filter((element) => element.tabIndex >= 0 && !element.disabled && element.checkVisibility())
    .filter(({ type, name }) => type !== "radio" || !(groups.has(name) || !groups.add(name)))
    .map((element) => element.outerHTML.slice(0, 120));
}"""

SMALL = """(part) => [...document.querySelectorAll(`${part} :is(a[href], button, input, select, textarea, summary)`)]
  .filter((element) => element.checkVisibility())
  .map((element) => [element, (element.closest("label") ?? element).getBoundingClientRect()])
  .filter(([, { width, height }]) => width < 24 || height < 24)
  .map(([element, { width, height }]) => `${width} x ${height}: ${element.outerHTML.slice(0, 160)}`)"""


def findings(page: Page, part: str = "") -> list[str]:
    """What axe-core has to say of a page, or of a part of it, once nothing moves in it any more."""
    wait_for_script(page, "document.getAnimations().every(({ playState, effect }) => playState !== 'running' "
                          "|| effect.getTiming().iterations === Infinity)")  # fmt: skip
    assert AXE.exists(), "axe-core is missing: npm ci in tests/browser"
    page.evaluate(AXE.read_text("utf-8"))
    found: list[str] = page.evaluate(FINDINGS, part)
    return found


def open_panel(open_page: OpenPage, fake: FakePulse, scenario: str, **query: str) -> Page:
    """The panel of the fake server with one of its scenarios, filled."""
    words = "&".join(f"{name}={value}" for name, value in {"scenario": scenario, **query}.items())
    page = open_page(f"{fake.url}/page?{words}", reduced_motion="reduce")
    page.wait_for_selector(".cpulse-tile-value")
    page.wait_for_function("getComputedStyle(document.querySelector('.cpulse-body')).visibility === 'visible'")
    return page


def open_everything(page: Page) -> None:
    """Open all that can be folded open: stories, lists, entries."""
    for summary in page.locator(".cpulse summary").all()[:20]:
        if summary.is_visible():
            summary.evaluate("(element) => { element.parentElement.open = true; }")
    heads = page.locator(".cpulse-open[aria-expanded=false]")
    heads.evaluate_all("(all) => all.slice(0, 3).forEach((head) => head.click())")


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("scenario", ["busy", "failing", "idle"])
def test_axe_finds_nothing_in_the_panel(open_page: OpenPage, fake: FakePulse, scenario: str, theme: str) -> None:
    """Names, roles, contrast, order: with chats, with failures, and empty; closed, and with everything unfolded."""
    page = open_panel(open_page, fake, scenario, theme=theme)

    assert findings(page, ".cpulse") == []
    open_everything(page)
    assert findings(page, ".cpulse") == []


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_on_the_standalone_page(program: Program, open_page: OpenPage, theme: str) -> None:
    """The whole page: welcome, an answer that was repaired, one that failed, and the settings."""
    page = open_page(program.url, 1280, 900, locale="en-US", color_scheme=theme, reduced_motion="reduce")
    page.wait_for_selector(".cpulse-tile-value")
    expect(page.locator(".welcome")).to_be_visible()
    assert findings(page) == []
    for text in ("/drop", "/401", "/tool"):
        send(page, text)
        expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible(timeout=ANSWER_MS)
    assert findings(page) == []
    page.locator(".top").get_by_role("button", name="Settings").click()
    page.get_by_text("Advanced", exact=True).click()
    expect(page.get_by_label("Refresh (s)")).to_be_visible()

    assert findings(page) == []


@pytest.mark.parametrize("scenario", ["busy", "failing", "idle"])
def test_the_keyboard_is_through_the_panel_soon(open_page: OpenPage, fake: FakePulse, scenario: str) -> None:
    """Lists, charts and the log are one stop each, and arrows go on inside of them."""
    page = open_panel(open_page, fake, scenario)
    stops = page.evaluate(TAB_STOPS, ".cpulse")

    assert len(stops) <= MOST_TAB_STOPS, stops


@pytest.mark.parametrize("width", [320, 340, 1200])
@pytest.mark.parametrize("scenario", ["busy", "failing"])
def test_nothing_is_too_small_to_hit(open_page: OpenPage, fake: FakePulse, scenario: str, width: int) -> None:
    """Whatever can be pressed is 24 pixels wide and high, and within the panel's width."""
    page = open_panel(open_page, fake, scenario)
    page.set_viewport_size({"width": width, "height": 900})
    open_everything(page)
    small: list[Any] = page.evaluate(SMALL, ".cpulse")
    beside = page.evaluate("""() => [...document.querySelectorAll(".cpulse button")].filter((button) => {
      const { left, right, width } = button.getBoundingClientRect();
      return width && (left < 0 || right > innerWidth);
    }).map((button) => button.outerHTML.slice(0, 160))""")

    assert small == []
    assert beside == []


# Areas that are as the ground they stand on, of those that tell something by nothing but their colour.
UNSEEN = """(selectors) => selectors.filter((selector) => {
  const [, plain, pseudo] = /^(.*?)(::\\w+)?$/.exec(selector);
  const [area] = [...document.querySelectorAll(plain)].filter((each) => each.checkVisibility());
  if (!area) throw new Error(`nothing is ${plain}`);
  const { backgroundColor, backgroundImage } = getComputedStyle(area, pseudo);
  const ground = getComputedStyle(document.body).backgroundColor;
  return backgroundImage === "none" && [ground, "rgba(0, 0, 0, 0)"].includes(backgroundColor);
})"""


def test_what_areas_tell_is_seen_in_forced_colours(open_page: OpenPage, fake: FakePulse, program: Program) -> None:
    """High contrast takes the fill from everything: ticks, bars, marks and what is chosen keep theirs."""
    fake.stored = scenarios.stored_chats(fake.clock())
    page = settled(open_panel(open_page, fake, "busy"))
    page.emulate_media(forced_colors="active")
    expect(page.locator(".cpulse-tick[data-kind=failed]").first).to_be_attached()
    page.locator(".cpulse-open").first.click()
    expect(page.locator(".cpulse-span-bar").first).to_be_visible()
    assert page.evaluate(UNSEEN, [
        ".cpulse-dot", ".cpulse-tick[data-kind=done]::before", ".cpulse-tick[data-kind=failed]::before",
        ".cpulse-tick[data-kind=saved]::before", ".cpulse-bar-wait", ".cpulse-bar-stream",
        ".cpulse-span-bar", ".cpulse-choice input:checked + span",
    ]) == []  # fmt: skip
    narrow = open_page(program.url, 400, 800, forced_colors="active")
    expect(narrow.locator(".welcome")).to_be_visible()

    assert narrow.evaluate(UNSEEN, [".tabs button[aria-pressed=true]"]) == []


def test_a_chart_out_of_sight_says_its_value(open_page: OpenPage, fake: FakePulse) -> None:
    """A screen reader goes through all charts: those below the fold are as up to date as those above."""
    page = open_page(f"{fake.url}/page?scenario=busy", 340, 300)
    page.wait_for_selector(".cpulse-tile-value")
    last = page.locator(".cpulse-plot").last
    page.wait_for_function("""() => {
      const plots = [...document.querySelectorAll('.cpulse-plot')].filter((plot) => plot.checkVisibility());
      const plot = plots.at(-1);
      return plot.getBoundingClientRect().top > innerHeight && /\\d/.test(plot.getAttribute('aria-label') ?? '');
    }""")

    assert last.get_attribute("aria-label")
