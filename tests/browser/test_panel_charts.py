"""The charts: what they draw, how they are read with the pointer, the keyboard and as a table."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, settled
from .fake_pulse import FakePulse

NAMES = [
    "Time to first token",
    "Tokens per second",
    "Chats at once",
    "Errors",
    "Recovery rate",
    "Events per second",
    "Fullest queue",
    "Event latency",
    "Memory",
    "CPU",
    "Loop lag, p99",
]


def chart(page: Page, title: str) -> Locator:
    return page.locator(".cpulse-chart", has=page.locator(".cpulse-chart-title", has_text=re.compile(f"^{title}$")))


def system(rss: float) -> dict[str, object]:
    """The system part of a snapshot, with this much memory."""
    return {
        "rss_bytes": rss,
        "cpu_percent": 1,
        "connections": {},
        "threads": 1,
        "loop_lag_seconds": {"p50": None, "p99": None, "max": None},
        "last_stall": None,
    }


def test_all_charts_are_there(panel: Page) -> None:
    """Each of the figures that the panel promises has a chart, in the order of the layers."""
    expect(panel.locator(".cpulse-chart-title")).to_have_text(NAMES)


def test_lines_are_drawn(fake: FakePulse, open_page: OpenPage) -> None:
    """Every series of a busy server gives a line, and the queue's chart has its three thresholds."""
    fake.scenario = "failing"
    page = open_page(f"{fake.url}/page", height=4200)
    settled(page)
    page.wait_for_function(
        """() => [...document.querySelectorAll('.cpulse-series:not(.cpulse-join)')]
          .every((path) => (path.getAttribute('d') ?? '').length > 10)"""
    )

    expect(chart(page, "Fullest queue").locator(".cpulse-threshold")).to_have_count(3)


def test_range_switch(panel: Page, fake: FakePulse) -> None:
    """One minute, an hour and a day each show their own past."""
    rate = chart(panel, "Events per second")
    axis = rate.locator(".cpulse-axis")
    for name, points in (("1h", 720), ("24h", 1440), ("1m", 60)):
        panel.locator(f'input[value="{name}"]').check(force=True)
        panel.wait_for_function(
            "n => pulse.panel.service.history.series.events_rate.filter((v) => v !== null).length >= n - 2",
            arg=points,
        )
        assert f"/copilot-pulse/history?range={name}" in [where for _, where, _ in fake.requests]
        rate.scroll_into_view_if_needed()
        # Seconds matter in a minute and are noise in a day.
        expect(axis.nth(3)).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$" if name == "1m" else r"^\d\d:\d\d$"))


def test_hover_reads_all_charts_at_one_moment(panel: Page) -> None:
    """Pointing into one chart shows the value and the time there, in every chart."""
    memory = chart(panel, "Memory")
    now = memory.locator(".cpulse-value").inner_text()
    rate = chart(panel, "Events per second").locator(".cpulse-plot")
    rate.scroll_into_view_if_needed()
    box = rate.bounding_box()
    assert box is not None
    panel.mouse.move(box["x"] + 45, box["y"] + 30)

    expect(chart(panel, "Events per second").locator(".cpulse-pointer")).to_have_attribute("visibility", "visible")
    expect(memory.locator(".cpulse-when")).to_have_attribute("visibility", "visible")
    expect(memory.locator(".cpulse-value")).not_to_have_text(now)
    panel.mouse.move(5, 5)
    expect(memory.locator(".cpulse-when")).to_have_attribute("visibility", "hidden")


def test_keyboard_reads_values(panel: Page) -> None:
    """A chart can be reached by keyboard; arrows move through its values and the label tells them."""
    plot = chart(panel, "CPU").locator(".cpulse-plot")
    plot.focus()
    expect(plot).to_have_attribute("aria-label", re.compile(r"^CPU\. Now: \d+%"))
    panel.keyboard.press("ArrowLeft")
    panel.keyboard.press("ArrowLeft")
    expect(plot).to_have_attribute("aria-label", re.compile(r"^CPU at \d\d:\d\d:\d\d: "))
    first = plot.get_attribute("aria-label")
    panel.keyboard.press("Home")
    assert plot.get_attribute("aria-label") != first
    panel.keyboard.press("Escape")

    expect(plot).to_have_attribute("aria-label", re.compile("Now"))


def test_table_view(panel: Page) -> None:
    """Each chart can be read as a table, newest first, with headings that a screen reader tells."""
    latency = chart(panel, "Event latency")
    latency.get_by_role("button", name="Event latency as a table").click()
    table = latency.get_by_role("table")

    expect(table.locator("thead th")).to_have_text(["Time", "p50", "p99"])
    expect(table.locator("tbody tr")).to_have_count(30)
    expect(table.locator("tbody tr").first.locator("td").first).to_contain_text("µs")
    expect(latency.locator(".cpulse-plot")).to_be_hidden()
    latency.get_by_role("button").click()
    expect(latency.locator(".cpulse-plot")).to_be_visible()


def test_table_goes_on(panel: Page, fake: FakePulse) -> None:
    """An open table follows the updates and the range like the plot that it stands for."""
    memory = chart(panel, "Memory")
    memory.get_by_role("button", name="Memory as a table").click()
    top = memory.locator("tbody tr").first
    fake.push(time=panel.evaluate("pulse.panel.service.history.end") + 1, system=system(5e9))
    expect(top.locator("td")).to_have_text("5 GB")
    panel.locator('input[value="24h"]').check(force=True)
    memory.scroll_into_view_if_needed()  # it scrolled away to the switch; out of sight nothing is drawn

    expect(top.locator("th")).to_have_text(re.compile(r"^\d\d:\d\d$"))


def test_scale_of_whole_numbers(panel: Page) -> None:
    """There is no half chat: a chart of whole numbers has whole labels."""
    panel.evaluate("document.querySelectorAll('.cpulse-chart')[2].scrollIntoView()")
    labels = chart(panel, "Chats at once").locator("text[text-anchor=end].cpulse-axis")
    expect(labels.nth(2)).to_have_text(re.compile(r"\d"))

    assert all(float(label).is_integer() for label in labels.all_text_contents()[:3])


def test_labels_are_inside_of_their_chart(fake: FakePulse, open_page: OpenPage) -> None:
    """No label of a scale is cut off at the card's edge, in either language."""
    fake.change = lambda snapshot: snapshot["system"].update(rss_bytes=147_200_000)
    for lang in ("en", "zh"):
        page = open_page(f"{fake.url}/page?lang={lang}", height=4200)
        settled(page)
        page.wait_for_function("document.querySelector('.cpulse-axis').textContent")
        outside = page.evaluate("""() => [...document.querySelectorAll('.cpulse-axis')]
          .filter((label) => label.textContent)
          .filter((label) => label.getBoundingClientRect().left < label.closest('figure').getBoundingClientRect().left)
          .map((label) => label.textContent)""")
        assert outside == []


def test_no_cursor_where_there_is_nothing_to_read(fake: FakePulse, open_page: OpenPage) -> None:
    """Pointing into one chart leaves a chart without data alone."""
    fake.scenario = "idle"
    page = open_page(f"{fake.url}/page", height=4200)
    settled(page)
    box = chart(page, "CPU").locator(".cpulse-plot").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 40, box["y"] + 30)
    expect(chart(page, "CPU").locator(".cpulse-pointer")).to_have_attribute("visibility", "visible")

    expect(chart(page, "Recovery rate").locator(".cpulse-pointer")).to_have_attribute("visibility", "hidden")


def test_nothing_is_drawn_while_nothing_changes(panel: Page) -> None:
    """A panel that gets no data asks for no frame and starts no timer besides its lease."""
    panel.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    panel.evaluate(
        """() => {
          window.frames_asked = 0;
          const ask = requestAnimationFrame;
          window.requestAnimationFrame = (work) => { window.frames_asked += 1; return ask(work); };
        }"""
    )
    panel.wait_for_function("leftovers().frames === 0")

    assert panel.evaluate("[leftovers().timers, window.frames_asked]") == [1, 0]


def test_charts_out_of_sight_are_not_drawn(fake: FakePulse, open_page: OpenPage) -> None:
    """A chart below the fold is drawn when it is scrolled to, not before."""
    page = open_page(f"{fake.url}/page", height=300)
    settled(page)
    line = chart(page, "Loop lag, p99").locator(".cpulse-series")
    assert line.get_attribute("d") is None
    line.evaluate("(e) => e.closest('figure').scrollIntoView()")

    expect(line).to_have_attribute("d", re.compile("^M"))


def test_snapshots_carry_the_charts_on(panel: Page, fake: FakePulse) -> None:
    """Each update moves the charts on by its own values, without asking the server for the past again."""
    asked = sum("history" in where for _, where, _ in fake.requests)
    base = panel.evaluate("pulse.panel.service.history.end") + 1
    for second in range(1, 4):
        fake.push(time=base + second, system=system(5e9 + second))
    panel.wait_for_function("pulse.panel.service.history.series.rss_bytes.at(-1) === 5e9 + 3")

    assert panel.evaluate("pulse.panel.service.history.series.rss_bytes.slice(-3)") == [
        5e9 + 1,
        5e9 + 2,
        5e9 + 3,
    ]
    assert panel.evaluate("pulse.panel.service.history.series.rss_bytes.length") == 60
    assert sum("history" in where for _, where, _ in fake.requests) == asked


def test_theme_changes_without_a_script(panel: Page) -> None:
    """Colours follow the theme's variables at once: text, lines and surfaces."""
    title = panel.locator(".cpulse-verdict-title")
    stroke = panel.locator(".cpulse-series-line").first
    dark = [
        title.evaluate("(e) => getComputedStyle(e).color"),
        stroke.evaluate("(e) => getComputedStyle(e).stroke"),
    ]
    panel.evaluate("document.documentElement.classList.add('light')")
    light = [
        title.evaluate("(e) => getComputedStyle(e).color"),
        stroke.evaluate("(e) => getComputedStyle(e).stroke"),
    ]

    assert dark[0] == "rgb(255, 255, 255)"
    assert light[0] == "rgb(0, 0, 0)"
    assert dark[1] != light[1]


def test_no_motion_where_none_is_wanted(fake: FakePulse, open_page: OpenPage) -> None:
    """For readers who asked for reduced motion nothing moves."""
    page = open_page(f"{fake.url}/page", reduced_motion="reduce")
    settled(page)

    assert page.evaluate(
        """() => [...document.querySelectorAll('.cpulse *')].map((e) => getComputedStyle(e))
          .every((style) => parseFloat(style.transitionDuration) === 0 && style.animationName === 'none')"""
    )


def test_everything_can_be_reached_by_keyboard(panel: Page) -> None:
    """Tab goes through all that can be used or read, each with a visible focus."""
    seen: list[str] = []
    panel.evaluate("document.querySelector('.cpulse-verdict').scrollIntoView()")
    for _ in range(70):
        panel.keyboard.press("Tab")
        what = panel.evaluate("""() => {
          const e = document.activeElement;
          if (!e || e === document.body) return '';
          const style = getComputedStyle(e.matches('.cpulse-choice input') ? e.nextElementSibling : e);
          return `${e.tagName} ${e.getAttribute('aria-label') ?? e.getAttribute('value')} ${style.outlineStyle}`;
        }""")
        if not what:
            break
        seen.append(what)
    text = "\n".join(seen)

    for wanted in (
        "Stop this chat",
        "INPUT 1m",
        "svg Event latency",
        "Event latency as a table",
        "Try bing again now",
        "Filter",
        "Pause the log",
        "Event log",
        "Copy diagnostics",
    ):
        assert wanted in text, text
    assert all(entry.endswith(("solid", "auto")) for entry in seen), text
