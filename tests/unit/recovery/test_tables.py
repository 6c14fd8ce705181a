"""docs/errors.md says what the code does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from backend.recovery import tables
from backend.recovery.kinds import KINDS
from backend.recovery.rules import FALLBACK, RULES


def test_document_is_up_to_date() -> None:
    """After a change of the tables: `python -m backend.recovery.tables`."""
    assert tables.markdown() == tables.DOCUMENT.read_text("utf-8")


def test_every_kind_and_rule_has_a_row_of_whole_cells() -> None:
    """No bar or line break of a pattern tears a table."""
    rows = [line for line in tables.markdown().splitlines() if line.startswith("| ")]
    cells = [len(re.split(r"(?<!\\)\|", row)) for row in rows]

    assert {4, 8} == set(cells)
    assert len(KINDS) == sum(row.startswith("| `") for row in rows)
    assert len(RULES) + len(FALLBACK) == sum(bool(re.match(r"\| \d+ \|", row)) for row in rows)


def test_command_writes_and_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--check` tells an outdated document by its exit status and writes nothing."""
    document = tmp_path / "errors.md"
    monkeypatch.setattr(tables, "DOCUMENT", document)
    monkeypatch.setattr(sys, "argv", ["tables", "--check"])
    assert (1, False) == (tables.main(), document.exists())
    monkeypatch.setattr(sys, "argv", ["tables"])
    assert 0 == tables.main()
    monkeypatch.setattr(sys, "argv", ["tables", "--check"])
    assert 0 == tables.main()
    document.write_text("old", "utf-8")
    assert 1 == tables.main()
