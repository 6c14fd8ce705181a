"""The panel's connection: leases, updates, reconnects, what it leaves behind, and what it lets in."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from . import scenarios
from .conftest import OpenPage, open_still, settled
from .fake_pulse import FakePulse
from .waiting import note_texts, shown_texts, wait_for, wait_for_script

TITLE = ".cpulse-verdict-title"
HIDE = """state => {
    Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
    document.dispatchEvent(new Event('visibilitychange')); }"""


def told(fake: FakePulse) -> list[Any]:
    """What the server was told of panels; a lease that was renewed, as after a socket that came late, counts once."""
    return [body for body, _ in groupby(fake.posts("/copilot-pulse/panel"))]


def test_updates_are_shown(panel: Page, fake: FakePulse) -> None:
    """What the server sends is on the page without a reload."""
    fake.scenario = "failing"
    fake.push()

    expect(panel.locator(TITLE)).to_contain_text("All of the last 3 chats failed")


def test_open_and_close_say_so(panel: Page, fake: FakePulse) -> None:
    """An open panel holds a lease; closing gives it back, and nothing is asked or sent any more."""
    client = panel.evaluate("pulse.transport.clientId")
    assert fake.leases == {client}
    panel.evaluate("pulse.close()")
    wait_for(lambda: not fake.leases)
    asked = len(fake.requests)
    fake.push(readers=0)

    assert told(fake) == [
        {"client_id": client, "open": True},
        {"client_id": client, "open": False},
    ]
    assert len(fake.requests) == asked
    assert panel.locator(".cpulse").count() == 0


def test_a_lease_does_not_overtake_the_end_of_the_last_one(panel: Page, fake: FakePulse) -> None:
    """Closed and opened at once, the panel is open for the server too, however slow its first request is."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route) if '"open":false' in (route.request.post_data or "") else route.continue_()

    panel.route("**/copilot-pulse/panel", hold)
    panel.evaluate("() => { pulse.close(); pulse.open(); }")
    wait_for(lambda: panel.evaluate("pulse.panel.service.history.end > 0") and held, what="the new panel's figures")
    held[0].continue_()
    settled(panel)

    assert [body["open"] for body in told(fake)] == [True, False, True]
    assert len(fake.leases) == 1


def test_a_socket_that_is_slow_to_get_its_name_is_waited_for(fake: FakePulse, open_page: OpenPage) -> None:
    """ComfyUI names a page over its socket: a panel that is there before is filled, and tells of no trouble."""
    page = open_page(f"{fake.url}/page?closed")
    page.wait_for_function("window.ready && pulse.transport.connected")
    page.evaluate("() => { window.named = pulse.transport.clientId; pulse.transport.clientId = ''; pulse.open(); }")
    expect(page.locator(".cpulse-tile-value").first).to_have_text("59")
    note_texts(page, TITLE)
    wait_for(lambda: sum("/metrics" in where for _, where, _ in fake.requests) > 1, what="the next look")
    page.evaluate("pulse.transport.clientId = named")
    settled(page)

    assert shown_texts(page, TITLE) == ["Copilot is well, with 4 chats running."]
    assert [body["client_id"] for body in told(fake)] == [page.evaluate("named")]


def test_nothing_is_left_after_closing(fake: FakePulse, open_page: OpenPage) -> None:
    """Opened and closed ten times, the panel leaves no listener, timer, frame or observer behind."""
    page = open_page(f"{fake.url}/page?closed")
    page.wait_for_function("window.ready && pulse.transport.connected")
    before = page.evaluate("leftovers()")
    for round_ in range(10):
        page.evaluate("pulse.open()")
        settled(page)
        page.get_by_role("button", name="Copy diagnostics").click()
        page.locator(".cpulse-plot").first.hover()
        page.locator('input[value="1h"]' if round_ % 2 else 'input[value="24h"]').check(force=True)
        page.evaluate("pulse.setLocale('zh')")
        page.locator(".cpulse-log-row summary").first.click()
        page.evaluate("pulse.close()")
    page.wait_for_function("before => JSON.stringify(leftovers()) === JSON.stringify(before)", arg=before)


def test_transport_leaves_nothing_either(fake: FakePulse, open_page: OpenPage) -> None:
    """Closing the standalone transport too leaves the page as it was."""
    page = open_page(f"{fake.url}/page?closed")
    page.wait_for_function("window.ready && pulse.transport.connected")
    page.evaluate("pulse.transport.close()")
    wait_for(lambda: not fake.sockets)

    page.wait_for_function("leftovers().timers === 0")


def test_hidden_page_asks_for_nothing(panel: Page, fake: FakePulse) -> None:
    """A page in the background gives its lease back, and is up to date again as soon as it is seen."""
    panel.evaluate(HIDE, "hidden")
    wait_for(lambda: not fake.leases)
    fake.scenario = "failing"
    panel.evaluate(HIDE, "visible")

    expect(panel.locator(TITLE)).to_contain_text("All of the last 3 chats failed")
    wait_for(lambda: len(fake.leases) == 1)


def test_a_page_that_is_hidden_while_it_loads_is_live_again(panel: Page, fake: FakePulse) -> None:
    """Hidden and seen again while its lease is still on its way, the panel gets it back all the same."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        first = not held and '"open":true' in (route.request.post_data or "")
        held.append(route) if first else route.continue_()

    panel.route("**/copilot-pulse/panel", hold)
    for state in ("hidden", "visible"):
        panel.evaluate(HIDE, state)
    wait_for(lambda: panel.title() and held, what="the new lease")
    for state in ("hidden", "visible"):
        panel.evaluate(HIDE, state)
    held[0].continue_()

    given = [True, False, True, False, True]
    wait_for(lambda: panel.title() and [body["open"] for body in told(fake)] == given)
    assert len(fake.leases) == 1


def test_what_comes_late_holds_nothing_up(panel: Page, fake: FakePulse) -> None:
    """A server that never answers for the past of the charts: the panel comes back after a restart all the same."""
    panel.route("**/copilot-pulse/history?*", lambda route: None)
    fake.drop_sockets()
    wait_for_script(panel, "pulse.panel.service._asked && pulse.transport.connected", "the reconnect")
    fake.stop_listening()
    expect(panel.locator(TITLE)).to_have_text("The server does not answer.")
    fake.scenario = "recovered"
    fake.start()

    expect(panel.locator(TITLE)).to_have_text("Copilot is well.")
    wait_for(lambda: len(fake.leases) == 1)


def test_lost_connection_comes_back(panel: Page, fake: FakePulse) -> None:
    """A cut connection is the headline, the last figures stay, dimmed; after the reconnect all is fetched anew."""
    fetched = sum("metrics" in where for _, where, _ in fake.requests)
    fake.failing_paths["/ws"] = 503
    fake.drop_sockets()
    expect(panel.locator(TITLE)).to_have_text("The live connection is lost.")
    expect(panel.locator(".cpulse-verdict")).to_have_attribute("data-status", "off")
    expect(panel.locator(".cpulse-verdict-more")).to_contain_text("Copilot is well, with 4 chats running.")
    expect(panel.locator(".cpulse-tile-value").first).to_have_text("59")
    expect(panel.locator(".cpulse-tiles")).to_have_css("opacity", "0.5")
    expect(panel.get_by_role("button", name="Stop this chat")).to_have_count(0)
    fake.scenario = "failing"
    del fake.failing_paths["/ws"]

    expect(panel.locator(TITLE)).to_contain_text("All of the last 3 chats failed")
    expect(panel.locator(".cpulse-tiles")).to_have_css("opacity", "1")
    wait_for(lambda: sum("metrics" in where for _, where, _ in fake.requests) > fetched)


def test_an_update_that_overtakes_an_answer_stays(panel: Page, fake: FakePulse) -> None:
    """A slow answer of before must not put the panel back to what was."""
    held: list[tuple[Route, APIResponse]] = []
    panel.route("**/copilot-pulse/metrics", lambda route: held.append((route, route.fetch())))
    fake.drop_sockets()
    wait_for(lambda: panel.evaluate("pulse.transport.connected") and held, what="the reconnect and the question")
    fake.scenario = "failing"
    fake.push()
    expect(panel.locator(TITLE)).to_contain_text("All of the last 3 chats failed")
    note_texts(panel, TITLE)
    for route, answer in held:
        route.fulfill(response=answer)
    wait_for_script(panel, "!pulse.panel.service._loading", "the end of the reload")

    assert [text for text in shown_texts(panel, TITLE) if "All of the last 3 chats failed" not in text] == []


def test_server_restart(panel: Page, fake: FakePulse) -> None:
    """A restarted server is found again without a reload, and the panel takes up its lease."""
    fake.stop_listening()
    expect(panel.locator(TITLE)).to_have_text("The server does not answer.")
    fake.scenario = "recovered"
    fake.start()

    expect(panel.locator(TITLE)).to_have_text("Copilot is well.")
    wait_for(lambda: len(fake.leases) == 1)


def test_dead_server_is_told_at_once_and_stays_dead(fake: FakePulse, open_page: OpenPage) -> None:
    """A server that went away is the red headline at once, and no failed reconnect takes it back."""
    page = open_still(open_page, f"{fake.url}/page")
    page.evaluate("""() => {
        window.told = [];
        const note = () => told.push(document.querySelector('.cpulse-verdict').dataset.status);
        pulse.panel.service.addEventListener('change', () => queueMicrotask(note));
        window.closes = 0;
        pulse.transport.addEventListener('close', () => { closes += 1; });
    }""")
    fake.stop_listening()
    # The page's clock stands still: nothing but the broken connection itself can have told it.
    expect(page.locator(TITLE)).to_have_text("The server does not answer.")
    page.evaluate("told.length = 0")
    for attempts in range(2, 5):
        page.clock.run_for(6_000)
        page.wait_for_function("n => closes >= n", arg=attempts)

    assert set(page.evaluate("told")) <= {"fail"}


def test_server_that_hangs_is_told_though_its_connection_stands(fake: FakePulse, open_page: OpenPage) -> None:
    """Updates that came each second and then no more: old figures must not go on as a good state for half a minute."""
    page = open_still(open_page, f"{fake.url}/page")
    for n in range(1, 6):
        fake.push()
        page.wait_for_function("n => pulse.panel.service._updates >= n", arg=n)
    fake.failing_paths["/copilot-pulse/metrics"] = 500
    page.clock.run_for(9_000)
    expect(page.locator(TITLE)).to_have_text("The server does not answer.")
    expect(page.locator(".cpulse-tiles")).to_have_css("opacity", "0.5")
    del fake.failing_paths["/copilot-pulse/metrics"]
    page.clock.run_for(9_000)

    expect(page.locator(TITLE)).to_have_text("Copilot is well, with 4 chats running.")


def test_another_program_on_the_port_is_no_copilot_pulse(panel: Page, fake: FakePulse) -> None:
    """It may answer every path with some JSON: the panel says what is missing, and nothing in the page breaks."""
    panel.evaluate("() => { window.came = 0; pulse.transport.addEventListener('update', () => { came += 1; }); }")
    fake.change = lambda snapshot: snapshot.clear()
    fake.drop_sockets()
    expect(panel.locator(TITLE)).to_have_text("Copilot Pulse is not running on the server.")
    panel.wait_for_function("came > 0")  # over the socket, too
    fake.change = lambda snapshot: None
    fake.drop_sockets()

    expect(panel.locator(TITLE)).to_have_text("Copilot is well, with 4 chats running.")


def test_restarted_server_is_believed(panel: Page, fake: FakePulse) -> None:
    """A restarted server counts its events from 1 again: they are new ones, and the old ones are gone."""
    event = {"id": "1", "type": "chat.started", "time": fake.clock() - 50, "data": {"messages": 7}}
    fake.push([event])
    expect(panel.locator(".cpulse-log-row", has_text="7 messages")).to_have_count(1)
    fake.failing_paths["/copilot-pulse/history"] = 500  # so that the charts have only what the panel itself saw
    fake.push(
        [
            {**event, "time": fake.clock(), "data": {"messages": 8}},
            {"id": "2", "type": "chat.first_token", "time": fake.clock(), "data": {"seconds": 0.5}},
        ],
        boot="second",
    )

    expect(panel.locator(".cpulse-log-row", has_text="8 messages")).to_have_count(1)
    expect(panel.locator(".cpulse-log-row", has_text="7 messages")).to_have_count(0)
    assert panel.evaluate("pulse.panel.service.history.series.first_token_p50.at(-1)") == 0.5


def test_a_store_that_opens_later_than_the_panel(panel: Page, fake: FakePulse) -> None:
    """The chats of before come as soon as the server has opened its store, and after a restart anew."""
    ticks = panel.locator(".cpulse-tick")
    expect(ticks).to_have_count(5)
    fake.stored = scenarios.stored_chats(fake.clock())
    fake.push()
    expect(ticks).to_have_count(46)
    fake.stored = fake.stored[:7]
    fake.scenario = "recovered"
    fake.push(boot="second")

    expect(ticks).to_have_count(10)


def test_errors_from_before_are_told_once_and_in_order(fake: FakePulse, open_page: OpenPage) -> None:
    """What the server remembers as an error and tells as an event too is one row, at its place in time."""
    row = {"error_id": "e9", "kind": "timeout", "type": "T", "outcome": "gave_up", "attempt": 1, "severity": "medium"}
    fake.change = lambda snapshot: snapshot["errors"].update(recent=[{**row, "time": snapshot["time"] - 30}])
    page = open_page(f"{fake.url}/page")
    settled(page)
    fake.push([{"id": "77", "type": "error", "time": fake.clock() - 30, "data": row}])
    fake.push([{"id": "78", "type": "chat.started", "time": fake.clock(), "data": {"messages": 9}}])
    expect(page.locator(".cpulse-log-row", has_text="9 messages")).to_have_count(1)

    expect(page.locator(".cpulse-log-row", has_text="No answer in time")).to_have_count(1)
    times = page.evaluate("pulse.panel.service.log.map((event) => event.time)")
    assert times == sorted(times)


def test_server_that_is_not_there(fake: FakePulse, open_page: OpenPage) -> None:
    """A server that answers errors is told as such, with what to do, and is tried again."""
    fake.failing_paths["/copilot-pulse/metrics"] = 500
    page = open_page(f"{fake.url}/page")
    expect(page.locator(TITLE)).to_have_text("The server does not answer.")
    fake.failing_paths.clear()

    expect(page.locator(TITLE)).to_have_text("Copilot is well, with 4 chats running.")


def test_plugin_missing_on_the_server(fake: FakePulse, open_page: OpenPage) -> None:
    """A page whose server has no Copilot Pulse says what to look for."""
    fake.failing_paths["/copilot-pulse/metrics"] = 404
    page = open_page(f"{fake.url}/page")

    expect(page.locator(TITLE)).to_have_text("Copilot Pulse is not running on the server.")


@pytest.mark.parametrize("path", ["/copilot-pulse/panel", "/copilot-pulse/metrics"])
def test_a_refusal_is_told_as_one(fake: FakePulse, open_page: OpenPage, path: str) -> None:
    """A server that says no is there: the headline says so, with its words, and that a proxy may be the reason."""
    fake.failing_paths[path] = 403
    page = open_page(f"{fake.url}/page")

    expect(page.locator(TITLE)).to_have_text("The server refuses the panel.")
    expect(page.locator(".cpulse-verdict")).to_contain_text("HTTP 403: made to fail.")
    expect(page.locator(".cpulse-verdict")).to_contain_text("proxy")


def test_two_pages(panel: Page, fake: FakePulse, open_page: OpenPage) -> None:
    """Two pages each get their own updates, and closing one leaves the other alone."""
    other = open_page(f"{fake.url}/page")
    settled(other)
    assert len(fake.leases) == 2
    panel.evaluate("pulse.close()")
    wait_for(lambda: len(fake.leases) == 1)
    fake.scenario = "failing"
    fake.push()

    expect(other.locator(TITLE)).to_contain_text("All of the last 3 chats failed")


def test_lease_is_renewed(fake: FakePulse, open_page: OpenPage) -> None:
    """The lease is renewed well before the server would forget the panel, for as long as it is open."""
    page = open_still(open_page, f"{fake.url}/page")
    for renewal in range(2, 5):
        page.clock.run_for(20_500)
        wait_for(lambda wanted=renewal: len(fake.posts("/copilot-pulse/panel")) >= wanted)  # type: ignore[misc]

    assert all(body["open"] for body in fake.posts("/copilot-pulse/panel"))


def test_silent_feed_is_noticed(fake: FakePulse, open_page: OpenPage) -> None:
    """If no update comes for a whole lease the panel looks over HTTP instead of showing old figures."""
    page = open_still(open_page, f"{fake.url}/page")
    page.clock.run_for(20_500)
    wait_for(lambda: len(fake.posts("/copilot-pulse/panel")) >= 2)
    fake.scenario = "failing"
    fake.leases.clear()
    page.clock.run_for(41_000)

    expect(page.locator(TITLE)).to_contain_text("All of the last 3 chats failed")


def test_reload_keeps_history(panel: Page, fake: FakePulse) -> None:
    """After a reload the charts, the errors and the chosen range are there again."""
    panel.locator('input[value="24h"]').check(force=True)
    expect(panel.locator(".cpulse-charts")).to_have_attribute("data-range", "24h")
    panel.reload()
    settled(panel)

    expect(panel.locator(".cpulse-charts")).to_have_attribute("data-range", "24h")
    assert panel.evaluate("pulse.panel.service.history.series.events_rate.filter((v) => v !== null).length") > 600


def test_panel_without_its_stylesheet(fake: FakePulse, open_page: OpenPage) -> None:
    """Nothing is shown before the stylesheet is there; if it cannot be had, the text is shown as it is."""
    page = open_page(f"{fake.url}/page?closed")
    page.wait_for_function("window.ready")
    page.route("**/panel.css", lambda route: None)
    page.evaluate("pulse.open()")
    page.wait_for_selector(".cpulse-log-row", state="attached")
    expect(page.locator(TITLE)).to_be_hidden()
    page.evaluate("pulse.close()")
    page.unroute("**/panel.css")
    page.route("**/panel.css", lambda route: route.abort())
    page.evaluate("pulse.open()")

    expect(page.locator(TITLE)).to_be_visible()


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror='window.hacked=1'>",
        "<script>window.hacked=1</script>",
        "</pre><svg onload='window.hacked=1'>",
        "\"><iframe srcdoc='<script>parent.hacked=1</script>'>",
    ],
)
def test_no_text_becomes_html(fake: FakePulse, open_page: OpenPage, text: str) -> None:
    """Whatever stands in names, messages and events is shown as text and never becomes a part of the page."""

    def poison(node: object) -> object:
        if isinstance(node, dict):
            return {
                key if key in KEEP else f"{key}": poison(value) if key not in KEEP else value
                for key, value in node.items()
            }
        if isinstance(node, list):
            return [poison(item) for item in node]
        return text if isinstance(node, str) else node

    def change(snapshot: dict) -> None:  # type: ignore[type-arg]
        poisoned = poison(snapshot)
        assert isinstance(poisoned, dict)
        snapshot.clear()
        snapshot.update(poisoned)
        snapshot["errors"]["by_type"] = {text: 3}
        snapshot["health"] = {
            "status": "fail",
            "problems": [
                {
                    "check": text,
                    "status": "fail",
                    "code": text,
                    "output": text,
                    "advice": text,
                    "values": {"names": text},
                }
            ],
        }

    fake.change = change
    fake.scenario = "failing"
    page = open_page(f"{fake.url}/page")
    page.wait_for_selector(".cpulse-chat")
    fake.push(
        [
            {
                "id": text,
                "type": text,
                "time": fake.clock(),
                "source": text,
                "session": text,
                "data": {text: text, "more": {"deep": text}},
            }
        ]
    )
    row = page.locator(".cpulse-log-row").first
    row.locator("summary").click()
    for detail in page.locator(".cpulse-problem summary").all():
        detail.click()

    expect(row).to_contain_text(text)
    assert page.evaluate("window.hacked") is None
    assert page.locator(".cpulse :is(img, script, iframe, object, embed)").count() == 0


# What decides how something is shown, rather than being shown.
KEEP = {"state", "severity", "outcome", "zone", "status", "chat_id"}
