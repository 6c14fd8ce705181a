"""Which openai-agents works with which openai, tried by chatting: the table in docs/compatibility.md.

    python -m tests.compatibility [--write] [--only 0.8.4 ...]

Makes an environment for each combination in ${XDG_CACHE_HOME:-~/.cache}/copilot-pulse-ci, brings it up to what pip
resolves today, and runs four chats in it: the plugin and the stand-in Copilot, real sockets, a model server on
loopback. One combination after the other, about half a minute each once the environments are there. `--only` tries some
of them, and writes nothing. Needs PyPI; exits with 1 if a combination is not as `PAIRS` says.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import logging
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "compatibility.md"
BEGIN: Final = "<!-- made by python -m tests.compatibility --write -->"
END: Final = "<!-- end -->"

_LIMIT: Final = 60.0
_WHOLE: Final = "right"
_PACKAGES: Final = ("openai-agents", "openai", "mcp", "pydantic")


@dataclass(frozen=True)
class Pair:
    """One combination: what pip is asked for, and whether chats are to work with what it then installs."""

    name: str
    asked: tuple[str, ...]
    works: bool = True

    @property
    def folder(self) -> Path:
        """Where its environment is kept."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "copilot-pulse-ci"
        return cache / ("compatibility-" + "-".join(self.asked).translate(str.maketrans("=<>", "---")))

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return self.folder / "bin" / "python"


# The versions between 0.5.1 and 0.17.8 break with openai 2.45 or newer, which is what pip resolves for them today.
PAIRS: Final = (
    Pair("0.3.3", ("openai-agents==0.3.3",)),
    Pair("0.8.4", ("openai-agents==0.8.4",), works=False),
    Pair("0.8.4, openai of its time", ("openai-agents==0.8.4", "openai<2.45")),
    Pair("0.16.1", ("openai-agents==0.16.1",), works=False),
    Pair("0.16.1, openai of its time", ("openai-agents==0.16.1", "openai<2.45")),
    Pair("newest", ("openai-agents",)),
)


def prepare(pair: Pair) -> None:
    """Make the environment, or bring it up to what pip resolves today. CalledProcessError if pip cannot."""
    if not pair.python.exists():
        venv.create(pair.folder, with_pip=True)
    command = [str(pair.python), "-m", "pip", "install", "-qqq", "--no-input", "--disable-pip-version-check"]
    requirements = ["-r", str(ROOT / "requirements.txt")]
    subprocess.run([*command, "-U", "--upgrade-strategy", "eager", *requirements, *pair.asked], check=True)


def measure(pair: Pair) -> dict[str, Any]:
    """Chat in the environment of `pair`; its versions and what became of each chat."""
    done = subprocess.run(
        [pair.python, "-m", "tests.compatibility", "--here"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{pair.name}: {done.stderr.strip()[-600:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


async def chats() -> dict[str, str]:
    """Four chats with the libraries of this interpreter: "right", or what the user reads instead."""
    from backend.copilot.notices import NO_WIDTH, strip
    from tests.integration.fault_rows import ENVIRONMENT
    from tests.support.host import Host
    from tests.support.llm_server import FaultServer
    from tests.support.llm_steps import Plan, ToolCall, answer, reset_at, status, words
    from tests.support.plugged import NODES

    tool = Plan(ToolCall("count_up", {"note": "a"}))
    plans = {
        "plain chat": [answer(40)],
        "connection reset in mid-answer": [reset_at(20), answer(40)],
        "a tool call, then text": [tool, answer(40)],
        "a key that is refused (401)": [status(401)],
    }
    whole, refused = words(40).strip(), "refused the API key"
    found: dict[str, str] = {}
    async with FaultServer() as llm, Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        for number, (name, script) in enumerate(plans.items()):
            llm.plan(*script)
            chat = await host.begin(session=f"session-{number}")
            with contextlib.suppress(asyncio.TimeoutError):
                await chat.done(_LIMIT)
            if not chat.finished:
                await chat.hang_up()
            right = refused in chat.text if script[0].status == 401 else strip(chat.text).strip() == whole
            said = " ".join(chat.text.replace(NO_WIDTH, "").split()).removeprefix("> ")
            found[name] = _WHOLE if right else said or "nothing at all"
    return found


def here() -> None:
    """Print this interpreter's result as one line of JSON."""
    logging.disable(logging.CRITICAL)
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    sys.stdout.write("\n" + json.dumps({"versions": versions, "chats": asyncio.run(chats())}) + "\n")


def table(results: Sequence[dict[str, Any]]) -> str:
    """The page's table: a row a combination, a column a chat; sentences that are no answer follow below it."""
    names = list(results[0]["chats"])
    lines = ["| " + " | ".join([*_PACKAGES, *names]) + " |", "|" + "---|" * (len(_PACKAGES) + len(names))]
    sentences: list[str] = []
    for result in results:
        cells = [result["versions"][name] for name in _PACKAGES]
        for name in names:
            said = result["chats"][name]
            if said != _WHOLE and said not in sentences:
                sentences.append(said)
            cells.append(said if said == _WHOLE else f"fails, and says why ({sentences.index(said) + 1})")
        lines.append("| " + " | ".join(cells) + " |")
    told = [f"{number}. “{said}”" for number, said in enumerate(sentences, 1)]
    return "\n".join([*lines, *([""] if told else []), *told])


def as_expected(pair: Pair, result: dict[str, Any]) -> bool:
    """Whether all chats of `pair` are right, or all fail with a sentence that names a command."""
    texts = result["chats"].values()
    return all(text == _WHOLE for text in texts) if pair.works else all("pip install" in text for text in texts)


def main() -> int:
    """Try all combinations, print the table, write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/compatibility.md")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only combinations whose name begins so")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        here()
        return 0
    results, odd = [], []
    for pair in PAIRS:
        if options.only and not pair.name.startswith(tuple(options.only)):
            continue
        prepare(pair)
        result = measure(pair)
        results.append(result)
        if not as_expected(pair, result):
            odd.append(pair.name)
        sys.stderr.write(f"{pair.name}: {json.dumps(result, ensure_ascii=False)}\n")
    made = table(results)
    sys.stdout.write(made + "\n")
    if options.write and not options.only:
        before, rest = PAGE.read_text("utf-8").split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.split(END)[1]}", "utf-8")
    if odd:
        sys.stderr.write(f"not as expected: {', '.join(odd)}\n")
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
