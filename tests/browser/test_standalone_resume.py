"""The standalone page over a reload, a network that breaks and a server that dies: nothing is lost without a word."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.net import PATIENCE
from tests.support.proxy import FaultProxy

from .conftest import OpenPage
from .program import ANSWER_MS, Program
from .test_standalone_page import finished, send
from .waiting import wait_for

ANSWER = ".message.assistant .body"
WHOLE = "my connection is closed within a second."


class Network:
    """A proxy between the browser and the program, that can be cut."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.proxy = FaultProxy(port)
        self.run(self.proxy.start())
        self.url = f"http://127.0.0.1:{self.proxy.port}"

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def set(self, up: bool) -> None:
        async def switch() -> None:
            self.proxy.online() if up else self.proxy.offline()

        self.run(switch())

    def close(self) -> None:
        self.run(self.proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def program() -> Iterator[Program]:
    """A program that may be killed."""
    program = Program()
    yield program
    program.end()


@pytest.fixture
def network(program: Program) -> Iterator[Network]:
    """The way to it."""
    network = Network(int(program.url.rpartition(":")[2]))
    yield network
    network.close()


def opened(open_page: OpenPage, url: str) -> Page:
    page = open_page(url, 1280, 800, locale="en-US")
    page.get_by_role("textbox").wait_for()
    return page


def begun(page: Page) -> None:
    """Ask for a slow answer and wait for its first words."""
    send(page, "/slow")
    expect(page.locator(ANSWER).last).to_contain_text("Three words", timeout=ANSWER_MS)


def test_a_reload_gets_the_rest_of_the_answer(program: Program, open_page: OpenPage) -> None:
    """A page that is reloaded in mid-answer shows all of it, and the model was asked once."""
    page = opened(open_page, program.url)
    begun(page)
    page.reload()

    expect(page.locator(".message.user")).to_have_text("/slow")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    finished(page)
    expect(page.locator(ANSWER)).to_contain_text(WHOLE)
    assert (page.locator(ANSWER).text_content() or "").count("Three words") == 1
    wait_for(lambda: program.metrics()["chat"]["completed"] == 1)
    page.reload()
    expect(page.locator(ANSWER)).to_contain_text(WHOLE)


def test_stop_works_after_a_reload(program: Program, open_page: OpenPage) -> None:
    """The page that came back can stop what the page before it had asked for."""
    page = opened(open_page, program.url)
    begun(page)
    page.reload()
    expect(page.locator(ANSWER)).to_contain_text("Three words")
    page.get_by_role("button", name="Stop", exact=True).click()

    finished(page)
    expect(page.locator(".meta").last).to_contain_text("Stopped")
    wait_for(lambda: program.metrics()["chat"]["cancelled"] == 1)


def test_a_network_cut_is_told_and_survived(program: Program, network: Network, open_page: OpenPage) -> None:
    """The network goes away in mid-answer and comes back: the page says so meanwhile, and has the whole answer."""
    page = opened(open_page, network.url)
    begun(page)
    network.set(False)
    expect(page.locator(".meta").last).to_contain_text("connection to this server is lost", timeout=ANSWER_MS)
    network.set(True)

    finished(page)
    expect(page.locator(ANSWER)).to_contain_text(WHOLE)
    assert (page.locator(ANSWER).text_content() or "").count("Three words") == 1
    expect(page.locator(".meta").last).to_contain_text("came back for the rest")
    wait_for(lambda: program.metrics()["chat"]["completed"] == 1)


def test_a_new_server_does_not_know_the_answer(program: Program, open_page: OpenPage) -> None:
    """When the server dies in mid-answer and another one comes, what had arrived stays, and is told to be a part."""
    page = opened(open_page, program.url)
    begun(page)
    program.end()
    expect(page.locator(".meta").last).to_contain_text("connection to this server is lost", timeout=ANSWER_MS)
    again = Program(int(program.url.rpartition(":")[2]))
    try:
        finished(page)
        expect(page.locator(".meta").last).to_contain_text("nothing more of this answer")
        expect(page.locator(ANSWER)).to_contain_text("Three words")
    finally:
        again.end()


def test_a_question_that_reaches_nobody_is_given_back(program: Program, open_page: OpenPage) -> None:
    """To a dead server: the page says so, the text is in the input again, and sent again it stands there once."""
    page = opened(open_page, program.url)
    program.end()
    send(page, "are you there?")

    finished(page)
    expect(page.locator(".meta").last).to_contain_text("cannot be reached")
    expect(page.locator(".meta").last).not_to_contain_text("0 updates")
    expect(page.get_by_role("textbox").first).to_have_value("are you there?")
    again = Program(int(program.url.rpartition(":")[2]))
    try:
        page.get_by_role("textbox").first.press("Enter")
        finished(page)
        expect(page.locator(ANSWER)).to_contain_text("You wrote: are you there?")
        expect(page.locator(".message.user")).to_have_count(1)
    finally:
        again.end()


def test_switched_off_the_page_reads_plain_lines(open_page: OpenPage) -> None:
    """With COPILOT_PULSE=off there are no streams: the page chats all the same, in Copilot's own lines."""
    program = Program(COPILOT_PULSE="off")
    try:
        page = opened(open_page, program.url)
        send(page, "/help")
        finished(page)
        expect(page.locator(ANSWER)).to_contain_text("/truncate")
        expect(page.locator(".meta").last).to_contain_text("updates")
    finally:
        program.end()
