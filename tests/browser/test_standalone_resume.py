"""The standalone page over a reload, a network that breaks and a server that dies: nothing is lost without a word."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Plan, Wait, Words, words
from tests.support.net import PATIENCE, Gate
from tests.support.proxy import FaultProxy

from .conftest import OpenPage
from .program import Program
from .test_standalone_page import finished, send
from .waiting import wait_for

ANSWER = ".message.assistant .body"
BEGIN = words(40).strip()
WHOLE = words(100).strip()


class Outside:
    """A model whose answer stops in its middle until `go_on`, and a network to a program that can be cut."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._gate = Gate()
        self.model = FaultServer()
        self.model.plan(Plan(Words(40), Wait(self._gate), Words(60, start=40)))
        self._run(self.model.start())
        self._proxy: FaultProxy | None = None

    def program(self, port: int = 0) -> Program:
        """One that asks this model; the caller ends it."""
        return Program(port, "--llm", self.model.base_url, "--model", "slow")

    def way_to(self, program: Program) -> str:
        """A URL that leads to a program over the network."""
        self._proxy = FaultProxy(int(program.url.rpartition(":")[2]))
        self._run(self._proxy.start())
        return f"http://127.0.0.1:{self._proxy.port}"

    def set_network(self, up: bool) -> None:
        proxy = self._proxy
        assert proxy is not None

        async def switch() -> None:
            proxy.online() if up else proxy.offline()

        self._run(switch())

    def go_on(self) -> None:
        """Let the model say the rest."""
        self._gate.open()

    def close(self) -> None:
        for server in (self._proxy, self.model):
            if server is not None:
                self._run(server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)


@pytest.fixture
def outside() -> Iterator[Outside]:
    outside = Outside()
    yield outside
    outside.close()


@pytest.fixture
def program(outside: Outside) -> Iterator[Program]:
    """A program that may be killed."""
    program = outside.program()
    yield program
    program.end()


def opened(open_page: OpenPage, url: str) -> Page:
    page = open_page(url, 1280, 800, locale="en-US")
    page.get_by_role("textbox").wait_for()
    return page


def begun(page: Page) -> None:
    """Ask, and wait for the first half of the answer."""
    send(page, "hello")
    expect(page.locator(ANSWER).last).to_contain_text(BEGIN)


def is_whole(page: Page) -> None:
    """The answer has ended, and stands there once."""
    finished(page)
    expect(page.locator(ANSWER)).to_contain_text(WHOLE)
    assert (page.locator(ANSWER).text_content() or "").count("w0000") == 1


def test_a_reload_gets_the_rest_of_the_answer(program: Program, outside: Outside, open_page: OpenPage) -> None:
    """A page that is reloaded in mid-answer shows all of it, and the model was asked once."""
    page = opened(open_page, program.url)
    begun(page)
    page.reload()

    expect(page.locator(".message.user")).to_have_text("hello")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    outside.go_on()
    is_whole(page)
    wait_for(lambda: program.metrics()["chat"]["completed"] == 1)
    assert len(outside.model.chats) == 1
    page.reload()
    expect(page.locator(ANSWER)).to_contain_text(WHOLE)


def test_stop_works_after_a_reload(program: Program, open_page: OpenPage) -> None:
    """The page that came back can stop what the page before it had asked for."""
    page = opened(open_page, program.url)
    begun(page)
    page.reload()
    expect(page.locator(ANSWER)).to_contain_text(BEGIN)
    page.get_by_role("button", name="Stop", exact=True).click()

    finished(page)
    expect(page.locator(".meta").last).to_contain_text("Stopped")
    wait_for(lambda: program.metrics()["chat"]["cancelled"] == 1)


def test_a_network_cut_is_told_and_survived(program: Program, outside: Outside, open_page: OpenPage) -> None:
    """The network goes away in mid-answer and comes back: the page says so meanwhile, and has the whole answer."""
    page = opened(open_page, outside.way_to(program))
    begun(page)
    outside.set_network(False)
    expect(page.locator(".meta").last).to_contain_text("connection to this server is lost")
    outside.go_on()
    outside.set_network(True)

    is_whole(page)
    expect(page.locator(".meta").last).to_contain_text("came back for the rest")
    wait_for(lambda: program.metrics()["chat"]["completed"] == 1)


def test_a_new_server_does_not_know_the_answer(program: Program, outside: Outside, open_page: OpenPage) -> None:
    """When the server dies in mid-answer and another one comes, what had arrived stays, and is told to be a part."""
    page = opened(open_page, program.url)
    begun(page)
    program.end()
    expect(page.locator(".meta").last).to_contain_text("connection to this server is lost")
    again = outside.program(int(program.url.rpartition(":")[2]))
    try:
        finished(page)
        expect(page.locator(".meta").last).to_contain_text("nothing more of this answer")
        expect(page.locator(ANSWER)).to_contain_text(BEGIN)
    finally:
        again.end()


def test_a_question_that_reaches_nobody_is_given_back(open_page: OpenPage) -> None:
    """To a dead server: the page says so, the text is in the input again, and sent again it stands there once."""
    program = Program()
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
