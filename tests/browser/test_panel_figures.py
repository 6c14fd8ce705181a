"""True numbers: every figure that the panel shows is the one that it was told, with its time and its unit."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from . import scenarios
from .conftest import OpenPage, open_still, settled
from .fake_pulse import FakePulse
from .waiting import wait_for

Json = dict[str, Any]

# What four chats of one model did, by hand: two answered at once, one was saved by asking again, one given up.
TRUTH: Json = {
    "completed": 3,
    "failed": 1,
    "cancelled": 2,
    "failures": 2,
    "saved": 1,
    "explained": 1,
    "input_tokens": 4_321,
    "output_tokens": 1_234,
    "tokens": 1_234,
    "tokens_estimated": 0,
    "cost": 1.5,
    "currency": "€",
    "first_token_seconds": {"p50": 0.5, "p90": 0.9, "p99": 0.9, "max": 0.9, "count": 4, "exact": True},
    "tokens_per_second": {"p50": 42.0, "count": 3},
}
MODEL: Json = {
    "model": "only-model",
    "host": "h.example",
    "chats": 4,
    "failed": 1,
    "saved": 1,
    "retries": 4,
    "calls": 8,
    "calls_failed": 5,
    "first_token_p50": 0.5,
    "first_token_p95": 0.9,
    "tokens_per_second_p50": 42.0,
    "input_tokens": 4_321,
    "output_tokens": 1_234,
    "tokens": 1_234,
    "tokens_estimated": 0,
    "cost": 1.5,
    "cost_estimated": False,
    "local": False,
    "last_error": {"kind": "timeout", "type": "T", "time": 0.0},
}


def true_panel(fake: FakePulse, open_page: OpenPage, width: int = 340, **more: Any) -> Page:
    """A panel of a server that did just what `TRUTH` says."""
    rows = [
        scenarios._chat(1, "done", seconds=10.0, tokens=400, first_token=0.5, cost=0.5, input_tokens=1_000),
        scenarios._chat(
            2,
            "done",
            seconds=20.0,
            tokens=834,
            first_token=0.9,
            attempts=3,
            retries=1,
            saved=True,
            breaks=[5.0],
            cost=1.0,
        ),
        scenarios._chat(3, "failed", seconds=7.0, attempts=4, retries=3, error={"kind": "timeout", "type": "T"}),
    ]
    breaker = scenarios._breaker("llm:h.example only-model", "closed", 3, 5, 5, 8)

    def change(snapshot: Json) -> None:
        now = snapshot["time"]
        model = MODEL | {"last_error": {"kind": "timeout", "type": "T", "time": now - 120}}
        install = {"since": now - 5 * 86_400, "chats": 40, "saved": 11, "tokens": 9_876, "cost": 12.25}
        snapshot["chat"] |= {**TRUTH, "active": 0, "models": [model], "current": rows, "since_install": install, **more}
        snapshot["errors"] |= {"by_kind": {"timeout": 5}, "recent": [], "breakers": [breaker], "total": 5}
        snapshot["system"] |= {"rss_bytes": 512e6, "cpu_percent": 7.0}
        snapshot["events"] |= {"published_total": 4_711, "rate": {"1s": 3.0, "10s": 2.5, "60s": 2.0}}
        snapshot["mcp"] = []

    fake.change = change
    fake.stored = []
    return settled(open_page(f"{fake.url}/page", width, 900))


def test_every_number_is_the_true_one(fake: FakePulse, open_page: OpenPage) -> None:
    """Tiles, chats, models, breakers, kinds of errors and the bus: each figure against the book-keeping of the test."""
    page = true_panel(fake, open_page, width=900)
    tiles = [re.sub(r"\s+", " ", text) for text in page.locator(".cpulse-tile").all_inner_texts()]
    assert tiles == [
        "Chats 6 3 done, 1 failed, 2 stopped since start",
        "Saved 1 of 2 1 explained since start",
        "First token 500 ms median of 4 last hour",
        "Tokens/s 42 median of 3 last hour",
        "Cost €1.50 4,321 in, 1,234 out since start",
        "Memory 512 MB CPU 7% now",
    ]
    chats = [re.sub(r"\s+", " ", text) for text in page.locator(".cpulse-chat .cpulse-row-sub").all_inner_texts()]
    assert chats == [
        "Done 10 s · 400 tokens · 42/s · €0.50",
        "Saved by Pulse 20 s · 834 tokens · 44/s · €1.00 · 2 attempts",
        "Failed: No answer in time from api.openai.com 7 s · 4 attempts",
    ]
    sums = [re.sub(r"\s+", " ", text) for text in page.locator(".cpulse-sum").all_inner_texts()]
    day = page.evaluate(
        "new Intl.DateTimeFormat('en', { month: 'short', day: 'numeric' }).format(Date.now() - 5 * 86_400_000)"
    )
    assert sums == [
        f"Saved by Pulse 1 11 since {day}",
        f"Tokens written 1,234 9,876 since {day}",
        f"Cost €1.50 €12.25 since {day}",
    ]
    model = page.locator(".cpulse-models-body .cpulse-model")
    heads = page.locator(".cpulse-model-head [role=columnheader]").all_inner_texts()
    cells = model.locator("[role=cell] .cpulse-cell-value").all_inner_texts()
    assert dict(zip(heads[1:], cells, strict=True)) == {
        "Calls": "8", "Failed": "5", "Retried": "4", "Saved": "1", "1st token": "500 ms", "p95": "900 ms",
        "Tokens/s": "42", "In": "4,321", "Out": "1,234", "Cost": "€1.50",
    }  # fmt: skip
    expect(model).to_contain_text("No answer in time from h.example, 2m ago")
    breaker = page.locator(".cpulse-links .cpulse-row", has_text="only-model")
    expect(breaker).to_contain_text("3 of the last 5 calls count against it · 5 of 8 since the start")
    page.get_by_text("Errors by kind").click()
    expect(page.locator(".cpulse-type")).to_have_text("No answer in time from the model server5")
    expect(page.locator(".cpulse-inside > summary")).to_contain_text("2.5 events/s, 4,711 since the start")


def test_estimates_are_marked(fake: FakePulse, open_page: OpenPage) -> None:
    """What no server told is marked in the tile, the list and the table; what is not known is no zero."""
    estimated: Json = {
        "tokens_estimated": 900,
        "input_tokens": None,
        "output_tokens": None,
        "cost": None,
        "tokens": 900,
    }
    row = scenarios._chat(9, "done", seconds=9.0, tokens=900, first_token=0.5, tokens_estimated=True)
    page = true_panel(
        fake, open_page, **estimated, current=[row], models=[MODEL | estimated | {"last_error": None, "local": True}]
    )

    expect(page.locator(".cpulse-tile", has_text="Tokens").last).to_contain_text("≈ 900")
    expect(page.locator(".cpulse-chat").first).to_contain_text("≈ 900 tokens")
    page.get_by_role("button", name="All figures").click()
    cells = page.locator(".cpulse-models-body .cpulse-cell-value").all_inner_texts()
    assert cells[7:] == ["–", "≈\u00a0900", "free"]


def test_a_stop_is_no_failure(fake: FakePulse, open_page: OpenPage) -> None:
    """Chats that the reader stopped are told as stopped, and are neither among the failed nor among the broken."""
    page = true_panel(fake, open_page, completed=4, failed=0, cancelled=3, failures=0, saved=0, explained=0)
    tiles = page.locator(".cpulse-tile")

    expect(tiles.nth(0)).to_contain_text("4 done, 3 stopped")
    expect(tiles.nth(0)).not_to_contain_text("failed")
    expect(tiles.nth(1)).to_contain_text("no chat broke")


def test_a_local_model_costs_nothing(fake: FakePulse, open_page: OpenPage) -> None:
    """Who runs a model at home reads tokens in the tile and no zeros of money anywhere."""
    free: Json = {"cost": 0.0, "cost_estimated": True, "currency": ""}
    install = {"since": fake.clock(), "chats": 4, "saved": 1, "tokens": 1_234, "cost": 0.0}
    model = MODEL | {"cost": 0.0, "cost_estimated": True, "local": True, "last_error": None}
    page = true_panel(fake, open_page, **free, models=[model], since_install=install)
    expect(page.locator(".cpulse-tile").nth(4)).to_contain_text("5,555")
    expect(page.locator(".cpulse-sum").last).to_have_text("Costfree")

    expect(page.locator(".cpulse-models-body .cpulse-cell-value").last).to_have_text("free")


def test_prices_are_set_from_the_table(fake: FakePulse, open_page: OpenPage) -> None:
    """The table leads to the setting of the prices."""
    page = true_panel(fake, open_page)
    page.get_by_role("button", name="prices").click()

    assert page.evaluate("pulse.settingsOpened") == 1


def test_sums_by_day(fake: FakePulse, open_page: OpenPage) -> None:
    """The last days stand below the models, the newest first, by the reader's midnight."""
    page = true_panel(fake, open_page)
    page.get_by_text("By day").click()
    rows = page.locator(".cpulse-fold tbody tr")
    expect(rows).to_have_count(6)
    expect(rows.nth(1).locator("td")).to_have_text(["55", "1", "9,000", "€0.18"])
    expect(rows.nth(5).locator("td").last).to_have_text("free")  # of a local server, as in the table above
    (asked,) = [where for _, where, _ in fake.requests if "/totals" in where]

    assert "step=day" in asked
    assert "offset=" in asked
    first = page.evaluate(
        "(since) => new Date(1000 * since).toTimeString().slice(0, 8)", float(asked.split("since=")[1])
    )
    assert first == "00:00:00"


def test_what_was_estimated_since_the_installation_is_marked(fake: FakePulse, open_page: OpenPage) -> None:
    """Also where this run has no tokens of its own yet."""
    install = {
        "since": fake.clock(), "chats": 4, "saved": 1, "tokens": 1_234, "tokens_estimated": 4, "cost": 0.5,
        "cost_estimated": True,
    }  # fmt: skip
    page = true_panel(fake, open_page, tokens=0, tokens_estimated=0, cost=None, since_install=install)
    notes = page.locator(".cpulse-sum-note")

    expect(notes.nth(1)).to_contain_text(re.compile(r"^≈\s1,234 since"))
    expect(notes.nth(2)).to_contain_text(re.compile(r"^≈\s€0\.50 since"))


def saved_file(page: Page, name: str) -> str:
    """The text of the file that a button saves."""
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return Path(download.value.path()).read_text("utf-8-sig")


def test_what_is_shown_is_saved_as_a_file(fake: FakePulse, open_page: OpenPage) -> None:
    """Chats, problems and charts as CSV and JSON: the rows that are shown, and no formula for a spreadsheet."""
    fake.scenario = "failing"
    fake.change = lambda snapshot: snapshot["chat"]["current"][0].update(model='=HYPERLINK("x"), "y"')
    page = settled(open_page(f"{fake.url}/page"))
    page.get_by_text("Save as file").click()
    chats = list(csv.DictReader(io.StringIO(saved_file(page, "Chats as CSV"))))
    assert [row["chat_id"] for row in chats] == ["21-abc", "20-abc", "19-abc", "11-abc"]
    assert chats[0]["model"] == '\'=HYPERLINK("x"), "y"'
    assert json.loads(chats[1]["breaks"]) == [0.1, 2.4, 7.9, 18.0]
    assert [row["state"] for row in json.loads(saved_file(page, "Chats as JSON"))][:2] == ["retrying", "failed"]
    problems = json.loads(saved_file(page, "Problems as JSON"))
    assert [row["kind"] for row in problems][:2] == ["connection_refused", "stalled"]
    points = list(csv.DictReader(io.StringIO(saved_file(page, "Trends as CSV"))))
    shown = page.evaluate("pulse.panel.service.history.series.rss_bytes")
    assert len(points) == 720

    assert [float(row["rss_bytes"]) for row in points] == shown


def test_a_search_is_what_is_saved(fake: FakePulse, open_page: OpenPage) -> None:
    """While past chats are searched, the file has what was found."""
    fake.stored = scenarios.stored_chats(fake.clock())
    page = settled(open_page(f"{fake.url}/page"))
    page.get_by_role("button", name="Search past chats").click()
    page.get_by_label("Outcome").select_option("failed")
    failed = sum(row["outcome"] == "failed" for row in fake.stored)
    expect(page.locator(".cpulse-search .cpulse-chat")).to_have_count(failed)
    page.get_by_text("Save as file").click()

    assert {row["state"] for row in json.loads(saved_file(page, "Chats as JSON"))} == {"failed"}


def test_the_headline_follows_the_newest_chats(fake: FakePulse, open_page: OpenPage) -> None:
    """A failed chat is the headline until a later one went well; then it is a remark."""
    problem = {"check": "chat:failures", "status": "warn", "code": "chats_failed", "values": {"failed": 1, "of": 2}}
    failed = scenarios._chat(2, "failed", seconds=3.0, error={"kind": "timeout", "type": "T"})
    fake.scenario = "recovered"

    def change(snapshot: Json) -> None:
        snapshot["health"] = {"status": "warn", "impact": "", "problems": [problem]}
        row = scenarios._error(snapshot["time"], 240, "timeout", "T", "gave_up")
        snapshot["errors"]["recent"] = [row]
        snapshot["chat"]["current"] = [failed]

    fake.change = change
    page = settled(open_page(f"{fake.url}/page"))
    verdict = page.locator(".cpulse-verdict")
    expect(verdict).to_have_attribute("data-status", "warn")
    expect(page.locator(".cpulse-verdict-title")).to_contain_text("No answer in time")
    later = scenarios._chat(3, "done", seconds=3.0, tokens=9, first_token=0.1)
    fake.push(chat=fake.snapshot()["chat"] | {"current": [later, failed]})
    expect(verdict).to_have_attribute("data-status", "pass")
    expect(page.locator(".cpulse-verdict-title")).to_have_text("Copilot is well.")

    expect(page.locator(".cpulse-verdict-more")).to_contain_text("Later chats went well.")


def test_try_now_stands_in_the_headline_and_its_seconds_count(fake: FakePulse, open_page: OpenPage) -> None:
    """A paused model server can be tried from the headline, and the seconds until its next try run down."""
    problem = scenarios._problem("breakers:open", "warn", "breaker_open", names="llm:h.example m", retry_in=18)
    breaker = scenarios._breaker("llm:h.example m", "open", 5, 5, 5, 5, retry_in=18.0)

    def change(snapshot: Json) -> None:
        snapshot["health"] = scenarios._health(problem)
        snapshot["errors"] |= {"breakers": [breaker], "recent": []}

    fake.change = change
    page = open_still(open_page, f"{fake.url}/page")
    verdict = page.locator(".cpulse-verdict")
    expect(verdict).to_contain_text("18 s")
    page.clock.run_for(2_500)
    expect(verdict).to_contain_text("16 s")  # nothing was sent meanwhile
    expect(page.locator(".cpulse-links .cpulse-row", has_text="h.example")).to_contain_text("in 16 s")
    verdict.get_by_role("button", name=re.compile("h.example m")).click()

    wait_for(lambda: fake.posts("/copilot-pulse/breakers/probe") == [{"name": "llm:h.example m"}])
