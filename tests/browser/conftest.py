"""Fixtures of the browser tests. Where Chromium is missing they fail; they never skip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

# Its plugin imports this when the run is over. In Python 3.11 parsing then fails ("AST constructor recursion depth
# mismatch"), because Playwright's greenlets have shifted the interpreter's recursion counter.
import hypothesis.internal.observability  # noqa: F401
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.support.net import PATIENCE

from .chromium import launch
from .fake_pulse import FakePulse
from .program import Program

HERE = Path(__file__).parent
# The browser itself logs requests that fail; tests that break the server cause them on purpose.
EXPECTED = ("Failed to load resource", "WebSocket connection to")
# Playwright's own five seconds are few while another suite works beside this one.
expect.set_options(timeout=1_000 * PATIENCE)

OpenPage = Callable[..., Page]


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """All tests of this folder need a browser."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a file's tests: Playwright's plain interface cannot be started twice at a time."""
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    """The standalone host as a user starts it."""
    program = Program()
    yield program
    program.end()


@pytest.fixture
def fake() -> Iterator[FakePulse]:
    """A server that speaks the panel's contract."""
    server = FakePulse("busy").start()
    yield server
    server.close()


@pytest.fixture
def console_errors() -> list[str]:
    """What the pages of a test have complained about; what is left in it at the end fails the test."""
    return []


@pytest.fixture
def open_page(browser: Browser, console_errors: list[str]) -> Iterator[OpenPage]:
    """Opens pages in contexts of their own, and fails the test on any error in their consoles."""
    contexts = []
    errors = console_errors

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(EXPECTED):
            errors.append(message.text)

    def make(url: str, width: int = 340, height: int = 900, **options: object) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(1_000 * PATIENCE)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.add_init_script(path=HERE / "counting.js")
        page.goto(url)
        return page

    yield make
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def panel(fake: FakePulse, open_page: OpenPage) -> Page:
    """A page of the busy fake with the panel open and filled."""
    return settled(open_page(f"{fake.url}/page"))


@pytest.fixture
def still_panel(fake: FakePulse, open_page: OpenPage) -> Page:
    """The same on a page whose clock stands still: what counts seconds shows those of the last message."""
    return open_still(open_page, f"{fake.url}/page")


def open_still(open_page: OpenPage, url: str) -> Page:
    """A page with the panel, filled, whose clock stands still until the test moves it (`page.clock.run_for`)."""
    page = open_page("about:blank")
    page.clock.install()
    page.goto(url)
    return settled(page)


def settled(page: Page) -> Page:
    """The page, once its panel is all there: its stylesheet, figures, the past of the charts, lease and first update.

    What a test does next then meets nothing that is still on its way.
    """
    page.wait_for_function("""() => {
      const service = window.pulse?.panel?.service;
      return service && !service._loading && !service._asked && pulse.transport.connected
        && service.log.some(({ type }) => type === 'pulse.started') && document.querySelector('.cpulse-log-row')
        && [...document.querySelectorAll('.cpulse > *')].every((part) => part.style.visibility !== 'hidden');
    }""")
    return page
