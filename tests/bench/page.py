"""docs/benchmarks.md: one section a benchmark, between two marks, written by the benchmark itself."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
HEAD = "# Benchmarks\n\nEach section is written by the command that it names.\n"


def write_section(name: str, text: str) -> None:
    """Put the section into the page, in the place of the one before, or at the end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = PAGE.read_text("utf-8") if PAGE.exists() else HEAD
    section = f"{begin}\n{text.strip()}\n{end}"
    if begin in page:
        before, _, rest = page.partition(begin)
        page = before + section + rest.partition(end)[2]
    else:
        page = page.rstrip() + f"\n\n{section}\n"
    PAGE.write_text(page, "utf-8")
