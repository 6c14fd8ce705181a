"""What real servers were seen to send, and how each is handled: the table in docs/wire.md.

    python -m tests.bench.wire [--check] [--before FILE] [--json FILE] [--write]

Plays every row of tests/integration/wire_rows.py on the standalone host, its raw server, the real agent library and
default settings; silence takes no time, since the loop's clock runs ahead while everybody waits. `--json` keeps the
results; run by an older checkout they are the column that `--before` adds. `--write` writes docs/wire.md; `--check`
exits with 1 if a row is not right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Final

from tests.integration.wire_rows import ROWS
from tests.support.wire import play, wrong
from tests.support.wire_shapes import Row

PAGE: Final = Path(__file__).parents[2] / "docs" / "wire.md"
_LIMIT: Final = 5000.0  # by a clock that runs ahead
_GROUPS: Final = {
    "A": "A finish reason that nobody listed",
    "B": "Chunks of a shape of their own",
    "C": "Tool calls whose index and id say nothing",
    "D": "A history that the server refuses",
    "E": "Patience",
    "F": "A failure told inside a 200",
    "G": "Too long, in other words",
    "H": "One provider's number read with another's list",
    "I": "Limits for hours or days",
    "J": "A model that is there is called missing",
    "K": "Memory, crashes, images",
    "L": "Statuses with a meaning of their own",
    "M": "A redirect",
    "O": "HTTP itself",
}
_HEAD: Final = """\
# What real servers send

Servers that call themselves OpenAI-compatible differ in what they send. Each row is a behaviour that was reported in
public, sent byte for byte by a raw server, and read through the standalone host with the real agent library and
default settings. *Right* means: the whole answer and nothing else, or what happened in words that fit, with no
request and no tool too many.
Made by `python -m tests.bench.wire --write`; every row is asserted in tests/integration/test_wire.py.

"""


async def _one(row: Row) -> str:
    try:
        return wrong(row, await asyncio.wait_for(play(row), _LIMIT))
    except Exception as error:  # an older checkout may do anything
        return f"{type(error).__name__}: {error}"


def measure() -> dict[str, str]:
    """What is wrong of each row, by its id; "" if all is right."""
    return {row.id: asyncio.run(_one(row)) for row in ROWS}


def table(results: dict[str, str], before: dict[str, str] | None) -> str:
    """The page in Markdown."""
    lines = [_HEAD]
    right = sum(not words for words in results.values())
    summary = f"Right: **{right} of {len(results)}**"
    if before is not None:
        known = [words for name, words in before.items() if name in results]
        summary += f"; before the normaliser **{sum(not words for words in known)} of {len(known)}**"
    lines.append(summary + ".\n")
    for group, title in _GROUPS.items():
        lines.append(f"\n## {group}. {title}\n\n")
        lines.append(
            "| behaviour | before | now |\n|---|---|---|\n"
            if before is not None
            else "| behaviour | now |\n|---|---|\n"
        )
        for row in (one for one in ROWS if one.group == group):
            cells = [row.name.replace("|", "\\|")]
            if before is not None:
                cells.append({None: "", "": "right"}.get(before.get(row.id), "wrong"))
            cells.append("right" if not results[row.id] else "wrong")
            lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def main() -> None:
    """Play, print the counts and what is wrong, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    results = measure()
    before = json.loads(options.before.read_text("utf-8")) if options.before else None
    out = sys.stdout
    for group in _GROUPS:
        names = [row.id for row in ROWS if row.group == group]
        out.write(f"{group}: {sum(not results[name] for name in names)} of {len(names)}\n")
    out.write(f"right: {sum(not words for words in results.values())} of {len(results)}\n")
    for name, words in results.items():
        if words:
            out.write(f"not right: {name}: {words}\n")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if options.write:
        PAGE.write_text(table(results, before), "utf-8")
    if options.check and any(results.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
