"""The charts: what they draw, how they are read with the pointer, the keyboard and as a table."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, settled
from .fake_pulse import FakePulse

NAMES = [
    "Time to first token, median",
    "Tokens per second, median",
    "Chats at once",
    "Errors",
    "Recovery rate",
    "Memory",
    "CPU",
    "Loop lag, p99",
    "Events per second",
    "Fullest queue",
    "Event latency",
]


def look_inside(page: Page) -> None:
    """Open what only matters to who looks after Pulse itself."""
    page.locator(".cpulse-inside > summary").click()


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
    look_inside(page)
    page.wait_for_function(
        """() => [...document.querySelectorAll('.cpulse-series:not(.cpulse-join)')]
          .every((path) => (path.getAttribute('d') ?? '').length > 10)"""
    )

    expect(chart(page, "Fullest queue").locator(".cpulse-threshold")).to_have_count(3)


def test_range_switch(panel: Page, fake: FakePulse) -> None:
    """An hour, a day and a week each show their own past; the hour is shown first."""
    rate = chart(panel, "CPU")
    labels = rate.locator("text.cpulse-axis[text-anchor=middle]:visible", has_text=re.compile("."))
    expect(panel.locator(".cpulse-charts")).to_have_attribute("data-range", "1h")
    for name, points in (("24h", 850), ("7d", 320), ("1h", 720)):
        panel.locator(f'input[value="{name}"]').check(force=True)
        panel.wait_for_function(
            "n => pulse.panel.service.history.series.events_rate.filter((v) => v !== null).length >= n - 2",
            arg=points,
        )
        assert f"/copilot-pulse/history?range={name}" in [where for _, where, _ in fake.requests]
        rate.scroll_into_view_if_needed()
        # Days matter in a week, and the time of day in less.
        wanted = r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)$" if name == "7d" else r"^\d\d:\d\d$"
        expect(labels.first).to_have_text(re.compile(wanted))
        assert labels.count() >= 2


def test_a_week_without_a_store_is_told_as_less(panel: Page, fake: FakePulse) -> None:
    """Where no history is on disk, seven days are what memory has, and the panel says so; it says nothing else."""
    note = panel.get_by_text("this is what is in memory, a day at most")
    expect(note).to_be_hidden()
    panel.locator('input[value="7d"]').check(force=True)
    expect(note).to_be_visible()
    fake.stored = []
    fake.push()

    expect(note).to_be_hidden()


def test_holes_are_marked_where_the_program_was_down(panel: Page) -> None:
    """Times in which nothing ran are shaded, told at the pointer and in the table, and no line crosses them."""
    panel.locator('input[value="7d"]').check(force=True)
    memory = chart(panel, "Memory")
    memory.scroll_into_view_if_needed()
    expect(memory.locator(".cpulse-down")).to_have_attribute("d", re.compile("^(M.+){6}"))
    assert (memory.locator(".cpulse-series").get_attribute("d") or "").count("M") > 4
    first = panel.evaluate("""() => {
      const { down, end, step, points } = pulse.panel.service.history;
      return (down[3][0] / 2 + down[3][1] / 2 - (end - (points - 1) * step)) / (step * (points - 1));
    }""")
    box = memory.locator(".cpulse-plot").bounding_box()
    assert box is not None
    panel.mouse.move(box["x"] + 50 + first * (box["width"] - 54), box["y"] + 30)
    expect(memory.locator(".cpulse-value")).to_have_text("not running")
    memory.get_by_role("button", name="Memory as a table").click()

    expect(memory.locator("td", has_text="not running").first).to_be_visible()


def test_the_pointer_snaps_to_what_is_known(panel: Page) -> None:
    """Wherever the pointer is in a sparse chart, it reads the nearest value, and writes it beside the dot."""
    first = chart(panel, "Time to first token, median")
    first.scroll_into_view_if_needed()
    plot = first.locator(".cpulse-plot")
    box = plot.bounding_box()
    assert box is not None
    for share in range(2, 20):
        panel.mouse.move(box["x"] + 50 + share / 20 * (box["width"] - 54), box["y"] + 40)
        expect(first.locator(".cpulse-value")).to_have_text(re.compile(r"\d (ms|s)$"))
    tip = first.locator(".cpulse-tip")
    expect(tip).to_have_attribute("visibility", "visible")

    assert tip.text_content() == first.locator(".cpulse-value").inner_text()


def test_memory_begins_at_zero(panel: Page) -> None:
    """A tremble of a megabyte does not look like a leak."""
    memory = chart(panel, "Memory")
    memory.scroll_into_view_if_needed()

    expect(memory.locator("text[text-anchor=end].cpulse-axis").first).to_have_text("0 GB")


def test_errors_are_summed_up(fake: FakePulse, open_page: OpenPage) -> None:
    """The chart names the time that a bar stands for; bars, caption and table tell sums of the same errors."""
    fake.scenario = "failing"
    page = settled(open_page(f"{fake.url}/page"))
    errors = chart(page, "Errors")
    errors.scroll_into_view_if_needed()
    total = page.evaluate("pulse.panel.service.history.series.errors.reduce((sum, n) => sum + (n ?? 0), 0)")
    assert total > 20
    expect(errors.locator(".cpulse-unit")).to_have_text("per 1 min")
    expect(errors.locator(".cpulse-value")).to_have_text(re.compile(rf"^{total:,.0f} in 1 hr$"))
    errors.get_by_role("button", name="Errors as a table").click()
    expect(errors.locator("thead th").nth(1)).to_have_text("errors in 2 min")
    cells = errors.locator("tbody td").all_inner_texts()

    assert sum(float(cell) for cell in cells) == total


def test_hover_reads_all_charts_at_one_moment(panel: Page) -> None:
    """Pointing into one chart shows the value and the time there, in every chart."""
    memory = chart(panel, "Memory")
    now = memory.locator(".cpulse-value").inner_text()
    rate = chart(panel, "CPU").locator(".cpulse-plot")
    rate.scroll_into_view_if_needed()
    box = rate.bounding_box()
    assert box is not None
    panel.mouse.move(box["x"] + 45, box["y"] + 30)

    expect(chart(panel, "CPU").locator(".cpulse-pointer")).to_have_attribute("visibility", "visible")
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
    look_inside(panel)
    latency = chart(panel, "Event latency")
    latency.get_by_role("button", name="Event latency as a table").click()
    table = latency.get_by_role("table")

    expect(table.locator("thead th")).to_have_text(["Time", "p50, mean of 2 min", "p99, highest of 2 min"])
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
    before = top.locator("td").inner_text()
    end = panel.evaluate("pulse.panel.service.history.end")
    for number in range(1, 7):
        fake.push(time=end + 5 * number + 1, system=system(90e9))
    expect(top.locator("td")).not_to_have_text(before)
    panel.locator('input[value="24h"]').check(force=True)
    memory.scroll_into_view_if_needed()  # it scrolled away to the switch; out of sight nothing is drawn

    expect(memory.locator("thead th").nth(1)).to_have_text("memory, mean of 48 min")


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
        look_inside(page)
        page.wait_for_function("document.querySelector('.cpulse-inside .cpulse-axis').textContent")
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


def test_nothing_is_drawn_while_nothing_changes(panel: Page, fake: FakePulse) -> None:
    """A panel that gets no data asks for no frame and starts no timer besides its lease."""
    # What counts seconds, such as a chat that runs, has a timer.
    fake.push(chat=fake.snapshot()["chat"] | {"active": 0, "current": []})
    expect(panel.locator(".cpulse-chats .cpulse-empty")).to_be_visible()
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
    base = panel.evaluate("pulse.panel.service.history.end")
    for number in range(1, 4):
        fake.push(time=base + 5 * number + 1, system=system(5e9 + number))
    panel.wait_for_function("pulse.panel.service.history.series.rss_bytes.at(-1) === 5e9 + 3")

    assert panel.evaluate("pulse.panel.service.history.series.rss_bytes.slice(-3)") == [
        5e9 + 1,
        5e9 + 2,
        5e9 + 3,
    ]
    assert panel.evaluate("pulse.panel.service.history.series.rss_bytes.length") == 720
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
    """Tab goes through all that can be used or read, each with a visible focus; of the charts it stops at one."""
    seen: list[str] = []
    panel.evaluate("document.querySelector('.cpulse-verdict').scrollIntoView()")
    for _ in range(70):
        panel.keyboard.press("Tab")
        what = panel.evaluate("""() => {
          const e = document.activeElement;
          if (!e || e === document.body) return '';
          const style = getComputedStyle(e.matches('.cpulse-choice input') ? e.nextElementSibling : e);
          const name = e.getAttribute('aria-label') ?? e.getAttribute('value') ?? e.textContent;
          return `${e.tagName} ${name} ${style.outlineStyle}`;
        }""")
        if not what:
            break
        seen.append(what)
    text = "\n".join(seen)

    for wanted in (
        "Search past chats",
        "Stop this chat",
        "All figures",
        "INPUT 1h",
        "svg Time to first token, median",
        "Time to first token, median as a table",
        "Try bing again now",
        "Filter",
        "Pause the log",
        "chat.finished",
        "Inside Pulse",
        "Copy diagnostics",
    ):
        assert wanted in text, text
    assert sum(entry.startswith("svg") for entry in seen) == 1
    assert all(entry.endswith(("solid", "auto")) for entry in seen), text


def test_arrows_lead_from_chart_to_chart(panel: Page) -> None:
    """Up and down go to the next chart, and what is folded away is passed over."""
    chart(panel, "Time to first token, median").locator(".cpulse-plot").focus()
    for title in ("Tokens per second, median", "Chats at once", "Errors", "Recovery rate", "Memory"):
        panel.keyboard.press("ArrowDown")
        expect(chart(panel, title).locator(".cpulse-plot")).to_be_focused()
    panel.keyboard.press("ArrowUp")

    expect(chart(panel, "Recovery rate").locator(".cpulse-plot")).to_be_focused()
