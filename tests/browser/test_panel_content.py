"""What the panel shows of what it is told: verdict, tiles, chats, problems, connections, log, languages."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from .conftest import OpenPage, settled
from .fake_pulse import FakePulse
from .waiting import has_shown, note_texts, wait_for


def show(fake: FakePulse, open_page: OpenPage, scenario: str, query: str = "", **options: object) -> Page:
    fake.scenario = scenario
    page = open_page(f"{fake.url}/page?{query}", **options)
    settled(page)
    return page


def pushed(page: Page, fake: FakePulse) -> None:
    """Send the same once more, and wait until the panel has it."""
    had = page.evaluate("pulse.panel.service._updates")
    fake.push()
    page.wait_for_function("had => pulse.panel.service._updates > had", arg=had)


def test_verdict_of_a_well_copilot(panel: Page) -> None:
    """With all well the first line says so and how many chats run, and asks for nothing."""
    expect(panel.locator(".cpulse-verdict")).to_have_attribute("data-status", "pass")
    expect(panel.locator(".cpulse-verdict-title")).to_have_text("Copilot is well, with 4 chats running.")
    expect(panel.locator(".cpulse-verdict-advice")).to_be_hidden()


def test_verdict_of_a_failing_copilot(fake: FakePulse, open_page: OpenPage) -> None:
    """When chats fail the first line says what failed and what to do, and the other problems follow."""
    page = show(fake, open_page, "failing")

    expect(page.locator(".cpulse-verdict")).to_have_attribute("data-status", "fail")
    expect(page.locator(".cpulse-verdict-title")).to_contain_text("Nothing listens at 127.0.0.1:11434")
    expect(page.locator(".cpulse-verdict-advice")).to_contain_text("Ollama listens on 11434")
    expect(page.locator(".cpulse-verdict-more li")).to_have_count(2)


def test_unknown_health_check_is_shown_in_the_server_s_words(fake: FakePulse, open_page: OpenPage) -> None:
    """A check that the panel has no words for is told as the server told it."""
    problem = {
        "check": "new:check",
        "status": "warn",
        "code": "brand_new",
        "output": "Something new.",
        "advice": "Do this.",
    }
    fake.change = lambda snapshot: snapshot.update(health={"status": "warn", "problems": [problem]})
    page = show(fake, open_page, "idle")

    expect(page.locator(".cpulse-verdict-title")).to_have_text("Something new.")
    expect(page.locator(".cpulse-verdict-advice")).to_have_text("Do this.")


def test_what_stops_no_chat_is_no_alarm(fake: FakePulse, open_page: OpenPage) -> None:
    """Missing tools alone are told calmly, with the news that chats work; beside real trouble they come last."""
    tools: dict[str, object] = {"check": "mcp:connections", "status": "warn", "code": "mcp_down", "impact": "none"}
    tools["values"] = {"names": "mcp.example.com"}
    page = show(fake, open_page, "idle")
    verdict = page.locator(".cpulse-verdict")
    fake.push(health={"status": "warn", "impact": "none", "problems": [tools]})
    expect(verdict).to_have_attribute("data-status", "info")
    expect(page.locator(".cpulse-verdict-title")).to_have_text(re.compile("^Chats work. "))
    expect(page.locator(".cpulse-verdict-advice")).to_contain_text("mcp.example.com")
    lag = {"check": "loop:lag", "status": "warn", "code": "loop_lag", "impact": "", "values": {"seconds": 0.7}}
    fake.push(health={"status": "warn", "impact": "", "problems": [lag, tools]})

    expect(verdict).to_have_attribute("data-status", "warn")
    expect(page.locator(".cpulse-verdict-more li")).to_have_count(1)


def test_a_page_without_comfyui_does_not_speak_of_it(fake: FakePulse, open_page: OpenPage) -> None:
    """On a page that gives no names neither ComfyUI nor Copilot is named, whatever goes wrong."""
    page = show(fake, open_page, "busy", "plain")
    shown = page.locator(".cpulse-body").inner_text()
    fake.stop_listening()
    expect(page.locator(".cpulse-verdict-title")).to_have_text("The server does not answer.")
    shown += page.locator(".cpulse-body").inner_text()

    # The product's own name stands at the foot.
    assert "ComfyUI" not in shown
    assert re.findall(r"Copilot(?! Pulse)", shown) == []


def test_tiles(panel: Page) -> None:
    """The tiles hold the key figures with their units."""
    expect(panel.locator(".cpulse-tile-value")).to_have_text(["59", "4 of 4", "620 ms", "74", "$0.17", "1.4 GB"])
    windows = ["since start", "since start", "last hour", "last hour", "since start", "now"]
    expect(panel.locator(".cpulse-tile-window")).to_have_text(windows)


def test_chats_with_their_states(still_panel: Page) -> None:
    """Each running chat tells its model, its host, what it is doing, for how long and how fast."""
    states = still_panel.locator(".cpulse-chat .cpulse-state")

    expect(states.nth(0)).to_have_text("Streaming")
    expect(states.nth(1)).to_have_text("Attempt 2 of 4 broke; next in 4 s")
    expect(states.nth(2)).to_have_text("Calling search_nodes")
    expect(states.nth(3)).to_have_text("Waiting for the first token")
    expect(still_panel.locator(".cpulse-chat").first).to_contain_text("gpt-4.1-mini")
    expect(still_panel.locator(".cpulse-chat").first).to_contain_text("6.4 s · 412 tokens")


def test_speed_of_a_chat(panel: Page, fake: FakePulse) -> None:
    """While it streams a chat shows the speed of its last seconds, and at the end the model's, without the waits."""
    row = fake.snapshot()["chat"]["current"][0]
    chat = panel.locator(".cpulse-chat").first

    def push(**change: object) -> None:
        fake.push(chat=fake.snapshot()["chat"] | {"current": [row | change]})

    push(seconds=8.4, tokens=512)
    expect(chat).to_contain_text("8.4 s · 512 tokens · 50/s")
    push(seconds=9.4, tokens=300)  # a broken attempt was taken back
    expect(chat).to_contain_text(re.compile(r"300 tokens$"))
    push(seconds=9.4, tokens=200)  # and once more within the same moment
    expect(chat).to_contain_text(re.compile(r"200 tokens$"))
    push(state="done", seconds=20.0, tokens=801, stream_tokens=800, stream_seconds=10.0)

    expect(chat).to_contain_text("20 s · 801 tokens · 80/s")


def test_stop_button_stops_its_chat(panel: Page, fake: FakePulse) -> None:
    """The stop button of a running chat stops that chat; one that has ended has none."""
    panel.locator(".cpulse-chat", has_text="deepseek").get_by_role("button", name="Stop this chat").click()
    panel.wait_for_function("document.querySelectorAll('.cpulse-chat button:disabled').length > 0")

    expect(panel.locator(".cpulse-chat[data-state=done] button:visible")).to_have_count(0)
    stopped = "/copilot-pulse/chats/15-abc/stop"
    wait_for(lambda: [where for _, where, _ in fake.requests if where.endswith("/stop")] == [stopped])


def test_refused_stop_can_be_tried_again(panel: Page, fake: FakePulse) -> None:
    """If the chat cannot be stopped the button comes back and the row says so, whatever news come meanwhile."""
    fake.failing_paths["/copilot-pulse/chats/15-abc/stop"] = 404
    row = panel.locator(".cpulse-chat", has_text="deepseek")
    stop = row.get_by_role("button", name="Stop this chat")
    stop.click()
    wait_for(lambda: any(where.endswith("/stop") for _, where, _ in fake.requests))
    pushed(panel, fake)

    expect(row).to_contain_text("could not be stopped")
    expect(stop).to_be_enabled()
    fake.failing_paths.clear()
    stop.click()
    expect(row).not_to_contain_text("could not be stopped")


def test_more_of_the_ended_chats_on_demand(panel: Page) -> None:
    """What runs is always shown, at least three chats in all, and the others after a click."""
    chats = panel.locator(".cpulse-chat")
    expect(chats).to_have_count(4)
    panel.get_by_role("button", name="Show 5 more").click()

    expect(chats).to_have_count(9)


def test_a_chat_that_begins_moves_nothing(fake: FakePulse, open_page: OpenPage) -> None:
    """The charts stay where they are when a chat begins, retries and ends."""
    page = show(fake, open_page, "recovered", width=400)
    rows = fake.snapshot()["chat"]["current"]
    height = "document.querySelector('.cpulse-chats').offsetHeight"
    before = page.evaluate(height)
    running = rows[0] | {"chat_id": "new", "model": "brand-new", "state": "streaming"}
    states = ({"tokens": 40}, {"state": "retrying", "retry_in": 2.5}, {"state": "waiting"}, {"state": "done"})
    for change in states:
        chats = fake.snapshot()["chat"] | {"active": 1, "current": [running | change, *rows]}
        fake.push(chat=chats)
        expect(page.locator(".cpulse-chat").first).to_contain_text("brand-new")
        assert page.evaluate(height) - before in (0, 32)  # "Show 1 more" came


def test_chats_of_one_model_differ(fake: FakePulse, open_page: OpenPage) -> None:
    """Each chat tells when it began and a debug run that it is one; a port that means nothing is left out."""

    def change(snapshot: dict) -> None:  # type: ignore[type-arg]
        for ago, row in enumerate(snapshot["chat"]["current"]):
            row |= {"model": "scripted", "host": "127.0.0.1:42241", "started": snapshot["time"] - 60 * ago}
        snapshot["chat"]["current"][2]["kind"] = "debug"

    fake.change = change
    page = show(fake, open_page, "recovered")
    rows = page.locator(".cpulse-chat")
    expect(rows).to_have_count(3)
    whole = rows.all_inner_texts()

    assert len({re.findall(r"\d\d:\d\d:\d\d", text)[0] for text in whole}) == 3
    assert "42241" not in "".join(whole)
    assert "Debug run" in whole[2]


def test_a_server_that_is_tried_again_says_so(fake: FakePulse, open_page: OpenPage) -> None:
    """While a server that is down is asked again its row says that, and no longer when."""
    fake.change = lambda snapshot: snapshot["mcp"][0].update(probing=True)
    page = show(fake, open_page, "failing")
    row = page.locator(".cpulse-links .cpulse-row", has_text="mcp.example.com")

    expect(row).to_contain_text("trying …")
    expect(row).not_to_contain_text("next try")


def test_retry_now(fake: FakePulse, open_page: OpenPage) -> None:
    """A dead MCP server and a paused model server can be tried at once; those that work have no button."""
    page = show(fake, open_page, "failing")
    links = page.locator(".cpulse-links")
    links.get_by_role("button", name="Try copilot again now").click()
    links.get_by_role("button", name="Try 127.0.0.1:11434 qwen3:8b again now").click()
    expect(links.get_by_role("button", name="again now")).to_have_count(2)
    page.wait_for_function("document.querySelectorAll('.cpulse-links button:disabled').length === 0")

    assert fake.posts("/copilot-pulse/mcp/probe") == [{"server": "copilot"}]
    assert fake.posts("/copilot-pulse/breakers/probe") == [{"name": "llm:127.0.0.1:11434 qwen3:8b"}]


def test_a_try_that_could_not_be_started_is_told(fake: FakePulse, open_page: OpenPage) -> None:
    """In the list and in the headline, until the next try; the news of every second do not wipe it away."""
    fake.failing_paths |= {"/copilot-pulse/mcp/probe": 500, "/copilot-pulse/breakers/probe": 500}
    page = show(fake, open_page, "failing")
    told = "the try could not be started"
    row = page.locator(".cpulse-links .cpulse-row", has_text="mcp.example.com")
    verdict = page.locator(".cpulse-verdict")
    row.get_by_role("button", name="again now").click()
    verdict.get_by_role("button", name="Try now").click()
    expect(page.locator(".cpulse-links button:disabled, .cpulse-verdict button:disabled")).to_have_count(0)
    wait_for(lambda: fake.posts("/copilot-pulse/mcp/probe") and fake.posts("/copilot-pulse/breakers/probe"))
    pushed(page, fake)

    expect(row).to_contain_text(told)
    expect(verdict).to_contain_text(told)
    fake.failing_paths.clear()
    row.get_by_role("button", name="again now").click()
    verdict.get_by_role("button", name="Try now").click()
    expect(page.get_by_text(told)).to_have_count(0)


def test_a_dead_server_is_not_told_of_again(fake: FakePulse, open_page: OpenPage) -> None:
    """Beside a dead MCP server, and no other line, stands a button that ends the notices about it in answers."""
    page = show(fake, open_page, "failing")
    links = page.locator(".cpulse-links")
    with page.expect_response("**/copilot-pulse/mcp/dismiss"):
        links.get_by_role("button", name="Do not tell again: copilot").click()
    expect(links.get_by_role("button", name="tell again")).to_have_count(1)

    assert fake.posts("/copilot-pulse/mcp/dismiss") == [{"server": "copilot", "dismissed": True}]


def test_a_model_server_that_fails_is_not_shown_as_a_good_one(fake: FakePulse, open_page: OpenPage) -> None:
    """A server whose calls fail is amber before it is paused; a single slip of many calls is none."""
    calls = {"retry_in": 0, "state": "closed"}
    rows = [
        {**calls, "name": "llm:bad.example", "window_failures": 4, "window_calls": 4, "failures": 4, "calls": 40},
        {**calls, "name": "llm:good.example", "window_failures": 1, "window_calls": 2, "failures": 9, "calls": 12},
        {**calls, "name": "llm:new.example", "window_failures": 0, "window_calls": 0, "failures": 0, "calls": 0},
    ]
    fake.change = lambda snapshot: snapshot["errors"].update(breakers=rows)
    page = show(fake, open_page, "busy")
    links = page.locator(".cpulse-links .cpulse-row")

    expect(links.filter(has_text="bad.example")).to_have_attribute("data-tone", "half")
    expect(links.filter(has_text="bad.example")).to_contain_text("In use, but some calls fail")
    expect(links.filter(has_text="bad.example")).to_contain_text(
        "4 of the last 4 calls count against it · 4 of 40 since the start"
    )
    expect(links.filter(has_text="good.example")).to_have_attribute("data-tone", "up")
    expect(links.filter(has_text="new.example")).to_have_attribute("data-tone", "up")


def test_problems_tell_what_became_of_each(fake: FakePulse, open_page: OpenPage) -> None:
    """Past errors stand newest first with their outcome; a click shows the advice and the server's words."""
    page = show(fake, open_page, "failing")
    rows = page.locator(".cpulse-problem")
    expect(rows).to_have_count(3)
    page.locator(".cpulse-problems").get_by_role("button", name="Show 1 more").click()
    expect(rows).to_have_count(4)
    expect(rows.nth(0)).to_contain_text("Given up")
    expect(rows.nth(1)).to_contain_text("Recovered")
    rows.nth(2).locator("summary").click()

    expect(rows.nth(2).locator(".cpulse-detail")).to_contain_text("Set a valid API key")
    expect(rows.nth(2).locator(".cpulse-detail")).to_contain_text("HTTP 401")
    page.get_by_text("Errors by kind").click()
    expect(page.locator(".cpulse-type").first).to_contain_text("Nothing listens at the model server")


def test_the_failure_of_the_headline_is_among_the_problems(fake: FakePulse, open_page: OpenPage) -> None:
    """However much was mended since, what was given up lately is the first row; an old one is not."""

    def change(snapshot: dict) -> None:  # type: ignore[type-arg]
        now = snapshot["time"]
        row = {"type": "T", "severity": "medium", "host": "h.example", "model": "m"}
        kinds = ["timeout", "stalled", "truncated", "connection", "rate_limited", "overloaded"]
        mended = [{**row, "kind": kind, "outcome": "recovered", "time": now - 5 * n} for n, kind in enumerate(kinds)]
        lost = {**row, "kind": "html_body", "outcome": "gave_up", "time": now - 43}
        old = {**row, "kind": "auth", "outcome": "gave_up", "time": now - 2000}
        snapshot["errors"]["recent"] = [*mended, lost, old]
        snapshot["health"]["problems"] = [
            {"check": "chat:failures", "status": "warn", "code": "chats_failed", "values": {"failed": 1, "of": 7}}
        ]

    fake.change = change
    page = show(fake, open_page, "failing")
    told = "h.example answered with a web page"
    expect(page.locator(".cpulse-verdict-title")).to_contain_text(told)
    rows = page.locator(".cpulse-problem .cpulse-row-title")
    expect(rows).to_have_count(3)
    expect(rows.first).to_have_text(told)
    page.get_by_role("button", name="Show 5 more").click()

    expect(rows.last).to_have_text("The API key was refused by h.example")


def test_a_standstill_is_told_while_the_server_warns_of_it(fake: FakePulse, open_page: OpenPage) -> None:
    """A standstill is told with its time and cause while it is news; what happened once is not told for ever."""
    page = show(fake, open_page, "failing")
    expect(page.locator(".cpulse-stall")).to_be_hidden()
    values = {"seconds": 1.8, "frame": "llm_api.py:88 list_models"}
    problem = {"check": "loop:stall", "status": "warn", "code": "loop_stalled", "values": values}
    fake.push(health={"status": "warn", "problems": [problem]})
    stall = page.locator(".cpulse-stall")
    expect(stall).to_contain_text("llm_api.py:88 list_models")
    expect(stall).to_contain_text(re.compile(r"^\d\d:\d\d:\d\d: "))
    fake.push(health={"status": "warn", "problems": [{**problem, "code": "process_paused"}]})

    expect(stall).not_to_contain_text("llm_api.py")


def test_open_problem_survives_an_update(fake: FakePulse, open_page: OpenPage) -> None:
    """Reading the details of an error is not interrupted by the next update."""
    page = show(fake, open_page, "failing")
    now = fake.clock()
    fake.clock = lambda: now
    fake.push()
    page.locator(".cpulse-problem summary").first.click()
    fake.push(uptime_seconds=99_999.0)
    expect(page.locator(".cpulse-about")).to_contain_text("1 day")

    expect(page.locator(".cpulse-problem details[open]")).to_have_count(1)


def test_log_filter(fake: FakePulse, open_page: OpenPage) -> None:
    """The log can be narrowed to troubles and to words, and says when nothing is left."""
    page = show(fake, open_page, "failing")
    rows = page.locator(".cpulse-log-row")
    expect(rows.first).to_contain_text("health.changed")
    page.get_by_label("Kind of events").select_option("errors")
    expect(page.locator(".cpulse-log-row", has_text="chat.finished")).to_have_count(0)
    page.get_by_label("Filter").fill("breaker.")
    expect(rows).to_have_count(1)
    page.get_by_label("Filter").fill("no such thing")

    expect(rows).to_have_count(0)
    expect(page.locator(".cpulse-log")).to_contain_text("No event matches.")


def test_log_speaks_the_reader_s_language(fake: FakePulse, open_page: OpenPage) -> None:
    """A change of health is told in words, in the reader's language; what only programs care for is not important."""
    page = show(fake, open_page, "busy", "lang=zh")
    change = {"check": "errors:recoveryRate", "status": "pass", "was": "warn", "output": "Server's words."}
    fake.push(
        [
            {"id": "a", "type": "chat.agent_changed", "time": fake.clock(), "data": {"agent": "Pulse"}},
            {"id": "b", "type": "health.changed", "time": fake.clock(), "data": change},
        ]
    )
    row = page.locator(".cpulse-log-row", has_text="health.changed")

    expect(row).to_contain_text("失败恢复 · 已恢复正常")
    expect(page.locator(".cpulse-log-row", has_text="agent_changed")).to_have_count(0)


def test_log_pause(panel: Page, fake: FakePulse) -> None:
    """A paused log stands still and counts what comes; resumed, it shows it."""
    before = panel.locator(".cpulse-log-row").count()
    panel.get_by_role("button", name="Pause the log").click()
    fake.push([{"id": "late", "type": "chat.started", "time": fake.clock(), "data": {"messages": 7}}])
    more = panel.get_by_role("button", name="Resume (1 new)")
    expect(more).to_be_visible()
    assert panel.locator(".cpulse-log-row").count() == before
    more.click()

    expect(panel.locator(".cpulse-log-row").first).to_contain_text("7 messages")


def test_log_is_bounded(panel: Page, fake: FakePulse) -> None:
    """However many events come, the page keeps a fixed number of rows and of events."""
    for batch in range(5):
        fake.push(
            [
                {"id": f"{batch}-{n}", "type": "chat.started", "time": fake.clock(), "data": {"messages": 1}}
                for n in range(200)
            ]
        )
    panel.wait_for_function("pulse.panel.service.logged >= 1000")
    expect(panel.locator(".cpulse-log-row")).to_have_count(150)

    assert panel.evaluate("[pulse.panel.service.log.length, pulse.panel.service._seen.size <= 2000]") == [
        500,
        True,
    ]


def test_log_details_on_click(panel: Page) -> None:
    """A click on an event shows all of its data."""
    row = panel.locator(".cpulse-log-row", has_text="chat.finished").first
    row.locator("summary").click()
    data = json.loads(row.locator("pre").inner_text())

    assert data["type"] == "chat.finished"
    assert data["data"]["tokens"] == 690


def test_same_event_twice_is_one_row(panel: Page, fake: FakePulse) -> None:
    """After a reconnect the server may tell the last events again; the log does not."""
    before = panel.locator(".cpulse-log-row").count()
    event = {"id": "twice", "type": "chat.started", "time": fake.clock(), "data": {"messages": 1}}
    fake.push([event])
    fake.push([event, {**event, "id": "last"}])
    expect(panel.locator(".cpulse-log-row")).to_have_count(before + 2)


def test_copy_diagnostics(panel: Page) -> None:
    """The button puts the server's report on the clipboard, as text that can be pasted into a bug report."""
    panel.context.grant_permissions(["clipboard-read", "clipboard-write"])
    note_texts(panel, ".cpulse-said")
    panel.get_by_role("button", name="Copy diagnostics").click()
    has_shown(panel, ".cpulse-said", "^Copied$")

    report = json.loads(panel.evaluate("navigator.clipboard.readText()"))
    assert report["versions"] == {"copilot-pulse": "0.1.0"}


def test_diagnostics_where_the_clipboard_is_forbidden(panel: Page) -> None:
    """Where the browser refuses the clipboard the report is shown, selected, to be copied by hand."""
    panel.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    panel.get_by_role("button", name="Copy diagnostics").click()

    expect(panel.locator(".cpulse-report")).to_be_visible()
    assert panel.evaluate("getSelection().toString() || document.activeElement.value").startswith("{")


def test_settings_button_asks_the_host(panel: Page) -> None:
    """The settings are the host's; the button asks it to show them."""
    panel.get_by_role("button", name="Settings").click()

    assert panel.evaluate("pulse.settingsOpened") == 1


def test_nothing_asked_yet(fake: FakePulse, open_page: OpenPage) -> None:
    """Before the first chat the panel says what will appear where."""
    page = show(fake, open_page, "idle")

    expect(page.locator(".cpulse-verdict-title")).to_have_text("Copilot is ready.")
    expect(page.locator(".cpulse-chats")).to_contain_text("No chat yet.")
    expect(page.locator(".cpulse-problems")).to_contain_text("None so far.")


def test_without_copilot(fake: FakePulse, open_page: OpenPage) -> None:
    """Where Copilot was not found the panel says so and what to install."""
    page = show(fake, open_page, "no_copilot")

    expect(page.locator(".cpulse-verdict-title")).to_have_text("ComfyUI-Copilot was not found.")
    expect(page.locator(".cpulse-verdict-advice")).to_contain_text("Install ComfyUI-Copilot")


def test_chinese(fake: FakePulse, open_page: OpenPage) -> None:
    """In Chinese everything that is ours is Chinese, plural forms and advice included."""
    page = show(fake, open_page, "failing", "lang=zh")

    expect(page.locator(".cpulse-verdict-title")).to_have_text("最近 3 个对话全部失败：127.0.0.1:11434 上没有服务。")
    expect(page.locator(".cpulse-charts h3")).to_have_text("趋势")
    # Key names that slipped through would show as dotted paths.
    texts = page.locator(".cpulse-body > :not(.cpulse-log)").all_inner_texts()
    assert re.findall(r"\b(?:verdict|health|charts|links|chats|tiles|kinds|foot)\.\w+", "\n".join(texts)) == []


def test_language_switch_keeps_everything(panel: Page, fake: FakePulse) -> None:
    """A switch of the language changes the texts at once, and asks the server for nothing."""
    before = len(fake.requests)
    parts = panel.locator(".cpulse-body > *").count()
    panel.evaluate("pulse.setLocale('zh')")
    expect(panel.locator(".cpulse-verdict-title")).to_have_text("Copilot 正常，4 个对话进行中。")
    expect(panel.locator(".cpulse-log-row")).not_to_have_count(0)

    assert len(fake.requests) == before
    assert panel.locator(".cpulse-body > *").count() == parts


@pytest.mark.parametrize("width", [140, 230, 280, 300, 460, 620, 860, 1280])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_nothing_sticks_out(fake: FakePulse, open_page: OpenPage, width: int, lang: str) -> None:
    """From a narrow sidebar to a whole screen, nothing is wider than the panel."""

    def long_names(snapshot: dict) -> None:  # type: ignore[type-arg]
        snapshot["chat"]["current"][0] |= {
            "model": "a-very-long-model-name/" * 4,
            "host": "host." * 20,
            "tool": "t" * 90,
        }
        snapshot["mcp"][0] |= {"server": "https://mcp.example.com/" + "path/" * 20, "reason": "r" * 200}
        snapshot["errors"]["by_kind"]["AnExceptionWithAVeryLongName" * 3] = 3

    fake.change = long_names
    page = show(fake, open_page, "failing", f"lang={lang}", width=width)

    assert page.evaluate(
        "document.querySelector('.cpulse').scrollWidth <= document.querySelector('.cpulse').clientWidth"
    )
    # What is cut off on purpose, with an ellipsis or a scrollbar of its own, may go on behind the edge.
    outside = page.evaluate("""() => {
      const edge = document.querySelector('.cpulse').getBoundingClientRect().right + 0.5;
      const clipped = '.cpulse-log-list, svg, .cpulse-row-head, .cpulse-type-name';
      return [...document.querySelectorAll('.cpulse *')]
        .filter((e) => e.getClientRects().length && !e.closest(clipped))
        .filter((e) => e.getBoundingClientRect().right > edge)
        .map((e) => e.className || e.tagName);
    }""")
    assert outside == []
