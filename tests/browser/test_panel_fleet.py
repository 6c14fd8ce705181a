"""The fleet's view of the panel, on `python -m backend --fleet 3` with its private Redis."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.support.redis_server import need_redis

from .conftest import OpenPage

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fleet() -> Iterator[tuple[str, dict[str, int]]]:
    """The command as a newcomer starts it: its address and its hosts' processes."""
    need_redis()
    process = subprocess.Popen(
        [sys.executable, "-m", "backend", "--fleet", "3", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = ""
    while "Try it" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    found = re.search(r"at (http://[\d.:]+)", said)
    assert found is not None
    yield found[1], {m[1]: int(m[2]) for m in re.finditer(r"(host-\d) .*kill -9 (\d+)", said)}
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    ("locale", "title", "silent"), [("en-US", "Machines", "no sign of life"), ("zh-CN", "机器", "没有响应")]
)
def test_all_machines_are_in_one_panel(
    fleet: tuple[str, dict[str, int]], open_page: OpenPage, locale: str, title: str, silent: str
) -> None:
    """Before the chats, for it is what they run on: a row each, with what it does when opened; what happens at the
    others is in one list, folded; one that hangs is told."""
    url, pids = fleet
    page = open_page(url, 1280, 1400, locale=locale)
    view = page.locator(".cpulse-fleet")
    rows = page.locator(".cpulse-fleet > .cpulse-list").first.locator(":scope > .cpulse-row")
    expect(rows).to_have_count(3)
    expect(view.locator("h3")).to_have_text(title)
    for number in range(1, 4):  # they are spread over the hosts
        page.get_by_role("textbox").first.fill("/help")
        page.get_by_role("textbox").first.press("Enter")
        expect(page.locator(".meta")).to_have_count(2 * number)  # the question, and its answer
        expect(page.locator(".send")).to_have_text(re.compile("Send|发送"))
    expect(page.locator(".cpulse-fleet ~ .cpulse-now")).to_have_count(1)
    expect(view.locator(".cpulse-fleet-log")).to_be_hidden()
    view.locator(".cpulse-fold summary").click()
    expect(view.locator(".cpulse-fleet-log li", has_text="host-").first).to_be_visible()
    rows.nth(1).locator("summary").click()
    expect(rows.nth(1).locator("details li").first).to_be_visible()
    os.kill(pids["host-3"], signal.SIGSTOP)  # one that ends is started again at once
    try:
        expect(view.locator(".cpulse-row[data-tone=down] .cpulse-state")).to_have_text(silent)
        # That it is missed is not how the others are.
        expect(page.locator(".cpulse-verdict")).to_contain_text("host-3")
        expect(view.locator(".cpulse-row .cpulse-state", has_text="host-3")).to_have_count(0)
    finally:
        os.kill(pids["host-3"], signal.SIGCONT)


def test_machines_that_vanish_in_one_moment_are_all_told(
    fleet: tuple[str, dict[str, int]], open_page: OpenPage
) -> None:
    """What the fleet itself tells has no key; a row each, and none twice."""
    url, _ = fleet
    page = open_page(url, 1280, 1400, locale="en-US")
    log = page.locator(".cpulse-fleet-log li")

    def answer(route: Route) -> None:
        told = {"key": "", "type": "fleet.instance", "time": 1.5, "source": "copilot-pulse", "session": None}
        rows = [{**told, "instance": name, "data": {"instance": name, "state": "gone"}} for name in ("one", "two")]
        events = rows if "since=1002" not in route.request.url else []
        route.fulfill(json={"on": True, "instances": [], "seq": 1002, "events": events})

    page.route("**/copilot-pulse/fleet?*", answer)
    for name in ("one", "two"):
        expect(log.filter(has_text=name)).to_have_count(1)


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("en-US", ["well", "no sign of life", "for 1 min 15 s", "Last heard of it:"]),
        ("zh-CN", ["运行正常", "没有响应", "已持续 1", "最后收到的状态："]),
    ],
)
def test_a_machine_that_is_gone_is_no_machine_at_work(
    fleet: tuple[str, dict[str, int]], open_page: OpenPage, locale: str, words: list[str]
) -> None:
    """It is told since when, and what it did is told as the last that was heard; who is well is told so in words."""
    url, _ = fleet
    page = open_page(url, 1280, 1400, locale=locale)
    chat = {"chat_id": "1", "model": "m", "state": "streaming", "seconds": 3.0, "tokens": 7}
    status = {
        "health": "pass", "impact": "", "summary": "Copilot Pulse is well.", "problems": [], "current": [chat],
        "chats": 1, "failed": 0, "first_token": 0.1, "lag": 0.1,
    }  # fmt: skip
    row = {"here": False, "version": "1", "started": 1.0, "behind": 0, "seconds": 75.2, "status": status}
    rows = [{**row, "boot": name, "name": name, "state": name} for name in ("up", "gone")]
    page.route(
        "**/copilot-pulse/fleet?*", lambda route: route.fulfill(json={"instances": rows, "seq": 0, "events": []})
    )
    shown = page.locator(".cpulse-fleet > .cpulse-list").first.locator(":scope > .cpulse-row")
    expect(shown).to_have_count(2)
    well, silent, since, last = words

    expect(shown.nth(0).locator(".cpulse-state")).to_have_text(well)
    expect(shown.nth(1).locator(".cpulse-state")).to_have_text(silent)
    expect(shown.nth(1).locator(".cpulse-figures")).to_contain_text(since)
    shown.nth(1).locator("summary").click()
    expect(shown.nth(1).locator("details li").first).to_have_text(last)
    expect(shown.nth(0).locator("details li")).to_have_count(1)


def test_a_click_shows_the_chats_and_problems_of_that_machine(
    fleet: tuple[str, dict[str, int]], open_page: OpenPage
) -> None:
    """Closed, a row has its figures; opened, what that machine does and what is wrong there, and nothing of another."""
    url, _ = fleet
    page = open_page(url, 1280, 1400, locale="en-US")
    rows = []
    for number, name in enumerate(("one", "two"), 1):
        chat = {
            "chat_id": name,
            "model": f"model-of-{name}",
            "state": "streaming",
            "seconds": 3.0,
            "tokens": 7 * number,
        }
        problem = {
            "check": "mcp:connections", "status": "warn", "code": "", "impact": "degraded", "output": f"{name} is ill.",
        }  # fmt: skip
        status = {
            "health": "warn", "impact": "degraded", "summary": problem["output"], "problems": [problem],
            "current": [chat], "chats": number, "failed": 3 * number, "first_token": 0.1, "lag": 0.2,
        }  # fmt: skip
        rows.append(
            {"boot": name, "name": name, "here": False, "state": "up", "version": "1", "started": 1.0, "behind": 5,
             "seconds": 1.0, "status": status}
        )  # fmt: skip
    page.route(
        "**/copilot-pulse/fleet?*", lambda route: route.fulfill(json={"instances": rows, "seq": 0, "events": []})
    )
    shown = page.locator(".cpulse-fleet > .cpulse-list").first.locator(":scope > .cpulse-row")
    expect(shown).to_have_count(2)
    for number, (name, other) in enumerate((("one", "two"), ("two", "one")), 1):
        row = shown.nth(number - 1)
        expect(row.locator(".cpulse-state")).to_have_text(f"{name} is ill.")
        for figure in (str(number), str(3 * number), "100", "200", "5"):
            expect(row.locator(".cpulse-figures")).to_contain_text(figure)
        expect(row.locator("details li").first).to_be_hidden()
        row.locator("summary").click()
        lines = row.locator("details li")
        expect(lines).to_have_count(2)
        expect(lines.first).to_contain_text(f"model-of-{name}")
        expect(lines.last).to_contain_text(f"{name} is ill.")
        expect(row.locator("details")).not_to_contain_text(f"model-of-{other}")


def test_with_one_machine_it_is_not_there(open_page: OpenPage) -> None:
    """Nobody who has one machine sees the word, and nothing is asked for."""
    process = subprocess.Popen(
        [sys.executable, "-m", "backend", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    found = re.search(r"at (http://[\d.:]+)", process.stdout.readline())
    assert found is not None
    try:
        page = open_page(found[1], 1280, 900, locale="en-US")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.clock.install()
        page.reload()
        page.wait_for_selector(".cpulse-tile-value")
        page.clock.run_for(60_000)  # of the page's own time: more than the pause between two askings

        expect(page.locator(".cpulse-fleet")).to_be_hidden()
        assert [one for one in asked if "fleet" in one and "view-fleet" not in one] == []
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        process.stdout.close()
