"""The generated tables in docs/ say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backend.recovery.kinds import KINDS
from backend.recovery.rules import FALLBACK, RULES
from backend.settings import describe
from docs import tables


@pytest.mark.parametrize("name", ["docs/errors.md", "docs/events.md", "docs/settings.md", "docs/settings.zh.md"])
def test_page_is_up_to_date(name: str) -> None:
    """After a change of what a table shows: `python -m docs.tables`."""
    assert tables.pages()[name] == (tables.ROOT / name).read_text("utf-8")


def test_every_kind_and_rule_has_a_row_of_whole_cells() -> None:
    """No bar or line break of a pattern tears a table."""
    rows = [line for line in tables.errors().splitlines() if line.startswith("| ")]
    cells = [len(re.split(r"(?<!\\)\|", row)) for row in rows]

    assert {4, 8} == set(cells)
    assert len(KINDS) == sum(row.startswith("| `") for row in rows)
    assert len(RULES) + len(FALLBACK) == sum(bool(re.match(r"\| \d+ \|", row)) for row in rows)


def test_every_setting_has_chinese_text() -> None:
    """No setting is missing from the Chinese table, and none in it is gone."""
    assert [row["name"] for row in describe()] == list(tables.CHINESE)


def test_a_setting_without_chinese_text_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who adds a setting reads which one lacks its sentence, and in which file it belongs."""
    monkeypatch.setattr(
        tables, "CHINESE", {name: text for name, text in tables.CHINESE.items() if name != "redis_pace"}
    )

    assert 2 == tables.main([])
    assert "'redis_pace' has no Chinese sentence: add one to CHINESE in docs/tables.py" in capsys.readouterr().err


def test_command_writes_and_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` tells an outdated page by its exit status and writes nothing."""
    (tmp_path / "docs").mkdir()
    for name, text in tables.pages().items():
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    page = tmp_path / "docs" / "errors.md"
    assert 0 == tables.main(["--check"])
    page.write_text("old", "utf-8")

    assert (1, "old") == (tables.main(["--check"]), page.read_text("utf-8"))
    assert (0, tables.errors()) == (tables.main([]), page.read_text("utf-8"))
    assert ["docs/errors.md is out of date", "docs/errors.md is up to date now"] == capsys.readouterr().out.splitlines()
