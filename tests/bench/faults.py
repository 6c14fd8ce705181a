"""What a user sees of each fault, without and with Copilot Pulse.

    python -m tests.bench.faults [--check] [--write]

Runs every row of tests/integration/fault_rows.py three times on the stand-in Copilot, over real sockets: unpatched with
both MCP servers up, unpatched with both unreachable, and with the plugin with both unreachable. A row that has
not ended after 12 s counts as one that hangs. `--check` exits with 1 if a row with the plugin is not right; `--write`
puts the table into docs/faults.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final

from backend.copilot.notices import strip
from tests.integration.fault_rows import ENVIRONMENT, ROWS, Row
from tests.support.host import PLUGIN, STANDIN, Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer
from tests.support.mcp_server import McpServer
from tests.support.page import Chat

# Unpatched and patched are compared with one clock, so that a row that stalls has to be short here.
IN_REAL_TIME = {**ENVIRONMENT, "COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "2", "COPILOT_PULSE_STALL_TIMEOUT": "2"}

TARGET: Final = PLUGIN / "docs" / "faults.md"
_LIMIT: Final = 12.0
_AT_ONCE: Final = 6
_GOOD: Final = frozenset({"the whole answer", "what happened and what to do"})

_HEAD: Final = """\
# Faults: what the user sees

Each row is a fault that a model server, the network or the agent can produce, injected over real sockets. The
columns are the tests' stand-in for Copilot, which has Copilot's seams and flaws: unpatched, with its MCP servers
up and unreachable (as they are today), and with Copilot Pulse, MCP servers unreachable.
Made by `python -m tests.bench.faults --write`; every row of the last column is asserted in
tests/integration/test_faults.py.

"""


async def _ask(host: Host, row: Row, session: str) -> tuple[Chat, int]:
    async with FaultServer() as llm:
        llm.plan(*row.plans)
        url = row.url(llm) if row.url is not None else llm.base_url
        workflow = {"1": {"class_type": "VAELoader", "inputs": {}}} if row.kind == "debug" else None
        path = "/api/debug-agent" if row.kind == "debug" else "/api/chat/invoke"
        chat = await host.begin(session=session, llm=url, language=row.language, workflow=workflow, path=path)
        with contextlib.suppress(asyncio.TimeoutError):
            await chat.done(_LIMIT)
        if not chat.finished:
            await chat.hang_up()
        return chat, len(llm.chats)


async def _expected(host: Host, row: Row) -> str | None:
    if not row.like:
        return row.text
    like = Row(row.name, row.like, kind=row.kind)
    return strip((await _ask(host, like, f"like {row.name}"))[0].text)


def _seen(row: Row, chat: Chat, expected: str | None) -> str:
    if not chat.finished:
        return "hangs" if chat.error is None else "the connection is cut"
    text = strip(chat.text).strip()
    told = chat.text[len(strip(chat.text)) :]
    if expected is not None:
        if text == expected.strip():
            return "the whole answer"
        if text and expected.startswith(text):
            return f"a cut answer ({len(text)} of {len(expected.strip())} characters), no word why"
    elif told and text == row.partial.strip() and all(words in told for words in row.says):
        return "what happened and what to do"
    if not text and not told:
        return "nothing at all"
    if "apologize" in text or "×" in text or "rror" in text:
        return "an error text that does not help" if expected is None else "an error text instead of the answer"
    if expected is None and row.partial and row.partial.startswith(text):
        return "a cut answer, no word why"
    return "something else"


async def _column(host: Host, expected: dict[str, str | None], rows: Sequence[Row]) -> dict[str, str]:
    gate = asyncio.Semaphore(_AT_ONCE)
    await _ask(host, Row("warm-up", (answer(1),)), "warm-up")

    async def one(row: Row) -> tuple[str, str]:
        async with gate:
            chat, _ = await _ask(host, row, f"session {row.name}")
            return row.name, _seen(row, chat, expected[row.name])

    return dict(await asyncio.gather(*(one(row) for row in rows)))


async def measure() -> list[tuple[Row, str, str, str]]:
    """Every row with its three outcomes."""
    async with FaultServer() as calm:
        calm.plan(answer(1))
        async with Host([PLUGIN, STANDIN], llm=calm, env=IN_REAL_TIME) as host:
            expected = {row.name: await _expected(host, row) for row in ROWS}
            pulse = await _column(host, expected, ROWS)
        async with (
            McpServer() as tools,
            McpServer(tools={}) as search,
            Host([STANDIN], llm=calm, mcp=(tools.root, search.url)) as host,
        ):
            up = await _column(host, expected, ROWS)
        async with Host([STANDIN], llm=calm) as host:
            down = await _column(host, expected, ROWS)
    return [(row, up[row.name], down[row.name], pulse[row.name]) for row in ROWS]


def table(results: list[tuple[Row, str, str, str]]) -> str:
    """The page in Markdown."""
    columns = zip(*(row[1:] for row in results), strict=True)
    good = [Counter(seen in _GOOD for seen in column)[True] for column in columns]
    total = len(results)
    lines = [
        _HEAD,
        f"A right answer or a clear message: unpatched **{good[0]} of {total}** with MCP up, **{good[1]} of {total}** "
        f"with MCP unreachable; with Copilot Pulse **{good[2]} of {total}**.\n\n",
        "| fault | unpatched, MCP up | unpatched, MCP unreachable | with Copilot Pulse |\n|---|---|---|---|\n",
    ]
    lines += [f"| {row.name} | {up} | {down} | {pulse} |\n" for row, up, down, pulse in results]
    return "".join(lines)


def main() -> None:
    """Measure and say how many are right; write the page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a row with the plugin is not right")
    parser.add_argument("--write", action="store_true", help="put the table into docs/faults.md")
    options = parser.parse_args()
    out = sys.stdout
    logging.disable(logging.CRITICAL)
    results = asyncio.run(measure())
    if options.write:
        TARGET.write_text(table(results), "utf-8")
    wrong = [(row.name, pulse) for row, _, _, pulse in results if pulse not in _GOOD]
    out.write(table(results).split("\n\n")[2] + "\n")
    for name, seen in wrong:
        out.write(f"not right: {name}: {seen}\n")
    if options.check and wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
