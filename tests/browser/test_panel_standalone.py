"""The panel on the standalone host's page: true figures of real chats over real sockets, with real faults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .conftest import OpenPage
from .program import ANSWER_MS, Program, patient_program
from .waiting import wait_for


@pytest.fixture
def page(program: Program, open_page: OpenPage) -> Page:
    """Its page, wide enough for chat and panel."""
    page = open_page(program.url, 1280, 900, locale="en-US")
    page.wait_for_selector(".cpulse-tile-value")
    return page


def ask(page: Page, text: str) -> None:
    page.get_by_role("textbox").first.fill(text)
    page.get_by_role("textbox").first.press("Enter")


def answered(page: Page) -> None:
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible(timeout=ANSWER_MS)


def chats_of(page: Page) -> list[str]:
    """The ids of the ended chats that the panel has, the newest first."""
    shown: list[str] = page.evaluate(
        "() => [...document.querySelectorAll('.cpulse-tick')].map((tick) => tick.dataset.chat).reverse()"
    )
    return shown


def test_a_private_server_is_told_as_such(open_page: OpenPage) -> None:
    """COPILOT_PULSE_PRIVATE leaves no panel: one sentence says so, chats go on, and nothing breaks in the page."""
    program = Program(COPILOT_PULSE_PRIVATE="on")
    try:
        page = open_page(program.url, 1280, 900, locale="en-US")
        expect(page.locator(".cpulse-verdict-title")).to_have_text("This server shows no panel.")
        ask(page, "/drop")
        answered(page)
        expect(page.locator(".message.assistant .meta")).to_contain_text("1 retried")

        expect(page.locator(".cpulse-verdict-title")).to_have_text("This server shows no panel.")
        expect(page.locator(".cpulse-tile-value, .cpulse-chart, .cpulse-foot").filter(visible=True)).to_have_count(0)
    finally:
        program.end()


def test_a_restart_under_an_open_panel(open_page: OpenPage, tmp_path: Path) -> None:
    """The server is killed and started again while the panel is open: what was is still there, and what is of the
    new run is told as such."""
    program = Program(COPILOT_PULSE_STORE_DIR=str(tmp_path))
    port = int(program.url.rsplit(":", 1)[1])
    page = open_page(program.url, 1280, 900, locale="en-US")
    try:
        page.wait_for_selector(".cpulse-tile-value")
        for text in ("/drop", "/401", "hello"):
            ask(page, text)
            answered(page)
        expect(page.locator(".cpulse-tick")).to_have_count(3, timeout=ANSWER_MS)
        before = chats_of(page)
        kinds = [page.locator(f".cpulse-tick[data-kind={kind}]").count() for kind in ("done", "saved", "failed")]
        problems = page.locator(".cpulse-problem .cpulse-row-title").all_inner_texts()
        expect(page.locator(".cpulse-sum").first).to_contain_text(re.compile("1 since"))
        program.end()
        expect(page.locator(".cpulse-verdict-title")).to_have_text("The server does not answer.", timeout=ANSWER_MS)
        program = Program(port, COPILOT_PULSE_STORE_DIR=str(tmp_path))
        expect(page.locator(".cpulse[data-stale]")).to_have_count(0, timeout=ANSWER_MS)

        # What is of this run begins anew ...
        expect(page.locator(".cpulse-tile-value").first).to_have_text("0")
        # ... and what was before is there still.
        expect(page.locator(".cpulse-tick")).to_have_count(3, timeout=ANSWER_MS)
        assert chats_of(page) == before
        kept = [page.locator(f".cpulse-tick[data-kind={kind}]").count() for kind in ("done", "saved", "failed")]
        assert kept == kinds == [1, 1, 1]
        expect(page.locator(".cpulse-problem .cpulse-row-title")).to_have_text(problems, use_inner_text=True)
        expect(page.locator(".cpulse-sum").first).to_contain_text(re.compile("1 since"))
        page.locator(".cpulse-tick[data-kind=saved]").click()
        story = page.locator(".cpulse-story")
        expect(story.locator(".cpulse-span[data-kind=attempt]")).to_have_count(2)
        expect(story).to_contain_text("answered, saved by Pulse")
    finally:
        program.end()


def test_a_mended_fault_is_told(page: Page, program: Program) -> None:
    """A dropped connection shows as a recovered problem, in the log, in the tiles and as a bar in the chart."""
    before = program.metrics()["errors"]["recovered"]
    ask(page, "/drop")
    answered(page)

    expect(page.locator(".cpulse-problem[data-outcome=recovered]").first).to_be_visible()
    expect(page.locator(".cpulse-log-row", has_text="chat.retrying").first).to_be_visible()
    wait_for(lambda: program.metrics()["errors"]["recovered"] > before)
    bars = page.locator(".cpulse-series-bars")
    bars.scroll_into_view_if_needed()
    expect(bars).to_have_attribute("d", re.compile("^M"))


def test_a_refused_key_is_the_headline(page: Page) -> None:
    """A wrong key is not retried; the first line tells it with what to do, and the chat's row says failed."""
    ask(page, "/401")
    answered(page)

    expect(page.locator(".cpulse-verdict-title")).to_contain_text("The API key was refused")
    expect(page.locator(".cpulse-verdict-advice")).to_contain_text("Set a valid API key")
    expect(page.locator(".cpulse-chat[data-state=failed]").first).to_be_visible()


def test_a_chat_is_stopped_from_the_panel(open_page: OpenPage) -> None:
    """The stop button of the panel ends the answer that is being read in the chat."""
    program = patient_program()
    try:
        page = open_page(program.url, 1280, 900, locale="en-US")
        ask(page, "/stall")
        row = page.locator(".cpulse-chat[data-state=streaming]")
        expect(row).to_contain_text(re.compile(r"\d tokens"), timeout=ANSWER_MS)
        row.get_by_role("button", name="Stop this chat").click()

        answered(page)
        expect(page.locator(".cpulse-chat[data-state=cancelled]").first).to_be_visible()
    finally:
        program.end()


def test_a_reload_keeps_the_past(page: Page) -> None:
    """After a reload the ended chats, the problems and the charts are there again."""
    ask(page, "/drop")
    answered(page)
    page.reload()

    expect(page.locator(".cpulse-problem").first).to_be_visible()
    expect(page.locator(".cpulse-chat").first).to_be_visible()
    dots = page.locator(".cpulse-series-dots").first
    dots.scroll_into_view_if_needed()
    expect(dots).to_have_attribute("d", re.compile("^M"))
