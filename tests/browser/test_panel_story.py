"""The story of a chat, the ways between chats, problems and log, the search of past chats, and the ticks."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from . import scenarios
from .conftest import OpenPage, settled
from .fake_pulse import FakePulse
from .waiting import wait_for

# The page's clock goes on by more than the pause between two askings for a story.
LATER = "{ const now = performance.now.bind(performance); performance.now = () => now() + 5_000 }"


@pytest.fixture
def stored(fake: FakePulse, open_page: OpenPage) -> Page:
    """The busy panel of a server with an event store, all of the ended chats shown."""
    fake.stored = scenarios.stored_chats(fake.clock())
    page = settled(open_page(f"{fake.url}/page"))
    page.locator(".cpulse-chats > .cpulse-button").click()
    return page


def saved_chat(page: Page) -> Locator:
    return page.locator(".cpulse-chat[data-saved]").first


def test_a_chat_opens_into_its_waterfall(stored: Page) -> None:
    """Opened by keyboard, a chat tells its turns, attempts, waits, tools, hand-offs, tokens, bytes and its end."""
    chat = saved_chat(stored)
    head = chat.get_by_role("button", name=re.compile("qwen3"))
    expect(head).to_have_attribute("aria-expanded", "false")
    head.focus()
    stored.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-expanded", "true")
    spans = chat.locator(".cpulse-span:not([data-kind=turn])")
    labels = ["Attempt 1", "Waiting", "Attempt 2", "search_nodes", "Hand-off", "Attempt 1", "Reader"]
    expect(spans.locator(".cpulse-span-label")).to_have_text(labels)
    expect(chat.locator(".cpulse-span[data-kind=turn]")).to_have_text([re.compile("Turn 1"), re.compile("Turn 2")])
    expect(spans.locator(".cpulse-span-time")).to_have_text(
        ["9.3 s", "500 ms", "1.4 s", "1.1 s", "9.3 s", "9.3 s", "22 s"]
    )
    notes = spans.locator(".cpulse-span-note").all_inner_texts()
    assert notes[0] == "The connection to 127.0.0.1:11434 broke · first token after 1.9 s"
    assert notes[1] == "412 characters taken back"
    assert notes[2] == "first token after 500 ms · 2,900 in, 31 out"
    assert notes[4] == "to Workflow"
    facts = chat.locator(".cpulse-facts")
    for told in ("answered, saved by Pulse", "7,600 in, 1,544 out · 2,048 cached", "6,120 characters", "48 kB; 1.3 MB"):
        expect(facts).to_contain_text(told)
    stored.keyboard.press("Enter")

    expect(head).to_have_attribute("aria-expanded", "false")
    expect(chat.locator(".cpulse-story")).to_have_count(0)


def test_bars_of_the_waterfall_lie_where_things_happened(stored: Page) -> None:
    """Each bar begins and ends at its share of the whole, and an attempt's wait for the first token is set off."""
    chat = saved_chat(stored)
    chat.get_by_role("button", name=re.compile("qwen3")).click()
    expect(chat.locator(".cpulse-span")).to_have_count(9)
    shares = chat.locator(".cpulse-span[data-failed]").evaluate("""(line) => {
      const track = line.querySelector('.cpulse-span-track').getBoundingClientRect();
      const box = (name) => line.querySelector(name).getBoundingClientRect();
      const share = (x) => (x - track.left) / track.width;
      const [before, bar] = [box('.cpulse-span-before'), box('.cpulse-span-bar')];
      return [share(before.left), share(before.right), share(bar.left), share(bar.right)];
    }""")

    assert shares == pytest.approx([0, 1.9 / 21.7, 1.9 / 21.7, 9.3 / 21.7], abs=0.01)


def test_a_running_chat_is_told_as_it_goes_on(stored: Page, fake: FakePulse) -> None:
    """The story of a chat that runs is asked for again, and its open span grows with the chat."""
    chat = stored.locator(".cpulse-chat[data-state=retrying]")
    chat.get_by_role("button", name=re.compile("qwen3")).click()
    expect(chat.locator(".cpulse-span-label")).to_have_text(["Attempt 1", "Waiting", "Reader"])
    asked = sum("/story?" in where for _, where, _ in fake.requests)
    row = next(one for one in fake.snapshot()["chat"]["current"] if one["chat_id"] == "13-abc")
    stored.evaluate(LATER)
    rows = [one | {"seconds": 10.0} if one == row else one for one in fake.snapshot()["chat"]["current"]]
    fake.push(chat=fake.snapshot()["chat"] | {"current": rows})

    wait_for(lambda: sum("/story?" in where for _, where, _ in fake.requests) > asked)
    expect(chat.locator(".cpulse-facts")).to_contain_text("it runs")


def test_a_story_that_is_read_stays_while_chats_begin(stored: Page, fake: FakePulse) -> None:
    """However many chats begin meanwhile, the one that is read stays in the list, open."""
    stored.locator(".cpulse-chats > .cpulse-button").click()  # the few
    head = stored.locator(".cpulse-open").nth(3)
    head.click()
    rows = fake.snapshot()["chat"]["current"]
    new = [rows[0] | {"chat_id": f"new-{n}", "state": "streaming"} for n in range(9)]
    fake.push(chat=fake.snapshot()["chat"] | {"active": 12, "current": [*new, *rows]})
    expect(stored.locator(".cpulse-count")).to_have_text("13")

    expect(stored.locator(".cpulse-open[aria-expanded=true]")).to_have_count(1)


def test_without_the_store_memory_is_told(panel: Page) -> None:
    """Without an event store the story says so, and shows attempts, breaks and the error from memory."""
    panel.get_by_role("button", name="Show 5 more").click()
    chat = saved_chat(panel)
    chat.get_by_role("button", name=re.compile("qwen3")).click()

    expect(chat.locator(".cpulse-story .cpulse-note")).to_contain_text("COPILOT_PULSE_STORE")
    expect(chat.locator(".cpulse-span-label")).to_have_text(["Attempt 1", "Attempt 2"])
    expect(chat.locator(".cpulse-span-time")).to_have_text(["9.3 s", "12 s"])
    expect(chat.locator(".cpulse-span").first).to_contain_text("The connection to 127.0.0.1:11434 broke")


def test_a_store_that_is_off_is_asked_once(panel: Page, fake: FakePulse) -> None:
    """However long the story of a running chat is read, what is not there is not asked for again and again."""
    panel.locator(".cpulse-open").first.click()
    expect(panel.locator(".cpulse-story .cpulse-note")).to_contain_text("COPILOT_PULSE_STORE")
    panel.evaluate(LATER)
    rows = fake.snapshot()["chat"]["current"]
    for seconds in (12.0, 13.0):
        fake.push(chat=fake.snapshot()["chat"] | {"current": [rows[0] | {"seconds": seconds}, *rows[1:]]})
        expect(panel.locator(".cpulse-chat").first).to_contain_text(f"{seconds:.0f} s")

    assert sum("/story?" in where for _, where, _ in fake.requests) == 1


def test_marks_stand_where_an_answer_broke(panel: Page, fake: FakePulse) -> None:
    """The bar of the list has a mark at each break, and a chat that was saved says by whom."""
    panel.get_by_role("button", name="Show 5 more").click()
    chat = saved_chat(panel)
    expect(chat.locator(".cpulse-break")).to_have_count(1)
    place = chat.evaluate("""(row) => {
      const bar = row.querySelector('.cpulse-bar').getBoundingClientRect();
      const mark = row.querySelector('.cpulse-break').getBoundingClientRect();
      return ((mark.left + mark.right) / 2 - bar.left) / bar.width;
    }""")
    assert place == pytest.approx(9.3 / 21.7, abs=0.01)
    expect(chat).to_contain_text("Saved by Pulse")
    expect(chat).to_contain_text("2 attempts")
    expect(chat.locator(".cpulse-bar")).to_have_attribute("title", re.compile("broke at 9.3 s$"))
    fake.scenario = "failing"
    fake.push()

    failed = panel.locator(".cpulse-chat[data-state=failed]").first
    expect(failed.locator(".cpulse-break")).to_have_count(4)
    expect(failed).to_contain_text("Failed: Nothing listens at 127.0.0.1:11434")


@pytest.mark.parametrize(
    ("next_", "told"), [("ask again", "asked again in"), ("give up", "given up in"), ("", "Silent for 14 s")]
)
def test_a_silent_model_is_told_as_one(still_panel: Page, fake: FakePulse, next_: str, told: str) -> None:
    """A model that says nothing is no model that streams: for how long, and what will happen when; both count."""
    row = fake.snapshot()["chat"]["current"][0]
    silent = {"since": 14.0, "at": fake.clock() - 14, "next": next_, "next_in": 16.0 if next_ else None}
    fake.push(chat=fake.snapshot()["chat"] | {"current": [row | {"silent": silent}]})
    state = still_panel.locator(".cpulse-chat .cpulse-state").first
    expect(state).to_contain_text("Silent for 14 s")
    expect(state).to_contain_text(told)

    # No message comes, and the seconds go on.
    still_panel.clock.run_for(2_500)
    expect(state).to_contain_text("Silent for 16 s")
    if next_:
        expect(state).to_contain_text("in 14 s")


def test_problems_lead_to_their_chat_and_its_log(fake: FakePulse, open_page: OpenPage) -> None:
    """From a problem to its chat, from there to its lines in the log, and back: each opens and takes the focus."""
    fake.scenario = "failing"
    fake.change = lambda snapshot: snapshot["errors"]["recent"][0].update(chat_id="20-abc")
    page = settled(open_page(f"{fake.url}/page"))
    problem = page.locator(".cpulse-problem").first
    problem.locator("summary").click()
    problem.get_by_role("button", name="Show the chat").click()
    chat = page.locator(".cpulse-chat", has_text="4 attempts")
    head = chat.locator(".cpulse-open")
    expect(head).to_be_focused()
    expect(head).to_have_attribute("aria-expanded", "true")
    expect(head).to_be_in_viewport()
    chat.get_by_role("button", name="Its lines in the log").click()
    rows = page.locator(".cpulse-log-row")
    expect(page.get_by_label("Filter")).to_have_value("20-abc")
    expect(rows).not_to_have_count(0)
    expect(rows.first).to_contain_text("chat.finished")
    expect(rows.first.locator("summary")).to_be_focused()
    rows.first.locator("summary").click()
    rows.first.get_by_role("button", name="Show the chat").click()
    expect(head).to_be_focused()
    chat.get_by_role("button", name="Its problem").click()

    expect(problem.locator("summary")).to_be_focused()
    expect(problem.locator("details")).to_have_attribute("open", "")


def test_a_chat_of_long_ago_is_looked_up(fake: FakePulse, open_page: OpenPage) -> None:
    """A problem whose chat has left the list still leads to it, as long as the store knows it."""
    fake.stored = []

    def change(snapshot: dict[str, Any]) -> None:
        snapshot["chat"]["current"] = []
        snapshot["errors"]["recent"][0]["chat_id"] = "10-abc"

    fake.change = change
    page = settled(open_page(f"{fake.url}/page"))
    problem = page.locator(".cpulse-problem").first
    problem.locator("summary").click()
    problem.get_by_role("button", name="Show the chat").click()

    expect(page.locator(".cpulse-open[aria-expanded=true]")).to_be_focused()
    expect(page.locator(".cpulse-span")).to_have_count(9)
    page.locator(".cpulse-chat").get_by_role("button", name="Its lines in the log").click()
    expect(page.locator(".cpulse-log-row")).to_have_count(1)
    expect(page.locator(".cpulse-log-row")).to_contain_text("77 messages")


def test_search_of_past_chats(stored: Page, fake: FakePulse) -> None:
    """Past chats are found by model, outcome, retries, duration and the text of an error, a page at a time."""
    stored.get_by_role("button", name="Search past chats").click()
    found = stored.locator(".cpulse-search .cpulse-chat")
    expect(found).to_have_count(20)
    stored.locator(".cpulse-search").get_by_role("button", name="Show more").click()
    expect(found).to_have_count(40)
    stored.get_by_label("Outcome").select_option("failed")
    failed = [row for row in fake.stored or [] if row["outcome"] == "failed"]
    expect(found).to_have_count(len(failed))
    stored.get_by_label("Model", exact=True).select_option("qwen3:8b")
    expect(found).to_have_count(sum(row["model"] == "qwen3:8b" for row in failed))
    stored.get_by_label("Outcome").select_option("retried")
    stored.get_by_label("Duration").select_option("15")
    slow = [row for row in fake.stored or [] if row["retries"] and row["seconds"] > 15 and row["model"] == "qwen3:8b"]
    expect(found).to_have_count(len(slow))
    stored.get_by_label("Text of an error").fill("no such error")
    expect(stored.locator(".cpulse-search")).to_contain_text("No chat matches.")
    stored.get_by_label("Text of an error").fill("connection")
    expect(found).to_have_count(len(slow))
    stored.get_by_role("button", name="Search past chats").click()

    expect(stored.locator(".cpulse-search")).to_be_hidden()


def test_search_without_the_store(fake: FakePulse, open_page: OpenPage) -> None:
    """Without a store what is in memory is searched, and the panel says that this is all."""
    fake.scenario = "failing"
    page = settled(open_page(f"{fake.url}/page"))
    page.get_by_role("button", name="Search past chats").click()
    found = page.locator(".cpulse-search .cpulse-chat")
    expect(page.locator(".cpulse-search")).to_contain_text("only the chats since the start are searched")
    expect(found).to_have_count(4)
    page.get_by_label("Outcome").select_option("failed")
    expect(found).to_have_count(2)
    page.get_by_label("Text of an error").fill("api key")

    expect(found).to_have_count(1)


def test_the_last_chats_as_ticks(stored: Page, fake: FakePulse) -> None:
    """The last fifty chats are ticks that differ by height, from before the start too; a click opens the chat."""
    ticks = stored.locator(".cpulse-tick")
    expect(ticks).to_have_count(46)  # fifty rows, four of which run
    stored.get_by_role("img", name=re.compile("^last 46 chats: 32 done, 3 saved, 5 failed, 5 stopped")).wait_for()
    heights = stored.evaluate("""() => Object.fromEntries(['done', 'saved', 'failed', 'cancelled', 'interrupted'].map(
      (kind) => [kind, parseFloat(getComputedStyle(
        document.querySelector(`.cpulse-tick[data-kind=${kind}]`), '::before').height)]))""")
    assert len({round(height) for height in heights.values()}) == 5
    expect(ticks.last).to_have_attribute("title", re.compile("gpt-4.1-mini · done · 8.8 s$"))
    stored.locator(".cpulse-tick[data-kind=saved]").last.click()

    expect(saved_chat(stored).locator(".cpulse-open")).to_be_focused()
    wait_for(lambda: any("story?chat=10-abc" in where for _, where, _ in fake.requests))
