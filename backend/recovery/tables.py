"""The tables of errors as Markdown: `python -m backend.recovery.tables` writes docs/errors.md."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Final

from . import advice_en
from .breaker import BreakerLimits
from .kinds import KINDS, Severity
from .lazy import LazyPattern
from .retry import RetryPolicy
from .rules import FALLBACK, RULES, Rule

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "errors.md"
_CLASSES: Final = {
    Severity.LOW: "Not an error: clean up and let it through; counted as cancelled.",
    Severity.MEDIUM: "The model call is made again where the table says so; else the user is told.",
    Severity.HIGH: "No retry: the user is told what to change.",
    Severity.CRITICAL: "The chat stops at once and frees its memory; health fails until it has passed.",
}


def markdown() -> str:
    """The whole document."""
    return "\n".join([*_head(), *_classes(), *_kinds(), *_rules(), *_recorded(), *_waiting()]) + "\n"


def main() -> int:
    """Write the document; with `--check` only compare it, and return 1 if it is out of date."""
    text = markdown()
    if "--check" in sys.argv[1:]:
        return 0 if DOCUMENT.is_file() and DOCUMENT.read_text("utf-8") == text else 1
    DOCUMENT.write_text(text, "utf-8", newline="\n")
    return 0


def _prose(text: str) -> list[str]:
    return [*textwrap.wrap(" ".join(text.split()), 110, break_on_hyphens=False, break_long_words=False), ""]


def _head() -> list[str]:
    return [
        "# Errors",
        "",
        *_prose(
            """What Pulse does about each failure. This page is written from the code by `python -m
            backend.recovery.tables`; a test fails if the two differ."""
        ),
    ]


def _classes() -> list[str]:
    rows = [f"| {severity.value.upper()} | {text} |" for severity, text in _CLASSES.items()]
    return ["## Classes", "", "| class | what is done |", "|---|---|", *rows, ""]


def _kinds() -> list[str]:
    lines = [
        "## Kinds",
        "",
        *_prose(
            """*Retried*: the broken model call is made again. *Breaker*: the failure counts against the
            server's circuit breaker. The advice is what the user reads; pieces in braces are filled in,
            and a Chinese chat reads it in Chinese."""
        ),
        "| kind | class | retried | breaker | meaning | advice |",
        "|---|---|---|---|---|---|",
    ]
    for name, kind in KINDS.items():
        what, do = advice_en.TEXTS[name]
        cells = [
            f"`{name}`",
            kind.severity.value.upper(),
            "yes" if kind.retryable else "",
            "yes" if kind.upstream else "",
            kind.doc,
            f"{what} {do}".strip(),
        ]
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return [*lines, ""]


def _rules() -> list[str]:
    lines = [
        "## How a kind is found",
        "",
        *_prose(
            """The first row that matches decides. All that a row names must be true; *body* means that the
            server answered. After the numbered rows up to *then your own rules* come those that were
            registered with `register_rule()`, and then the general ones. A *carrier* only carries another
            error: if a rule knows that one, it decides. Causes and members of exception groups are looked
            through in the same way."""
        ),
        "| | kind | when | types | status | codes and words |",
        "|---|---|---|---|---|---|",
    ]
    for number, rule in enumerate(RULES, start=1):
        lines.append(_rule_row(str(number), rule))
    lines.append("| | | *then your own rules* | | | |")
    for number, rule in enumerate(FALLBACK, start=len(RULES) + 1):
        lines.append(_rule_row(str(number), rule))
    lines.append("| | `unknown` | *everything else* | | | |")
    return [*lines, ""]


def _rule_row(number: str, rule: Rule) -> str:
    types = ", ".join(f"`{t if isinstance(t, str) else t.__name__}`" for t in rule.types)
    status = ", ".join(f"{s.start}–{s.stop - 1}" if isinstance(s, range) else str(s) for s in rule.status)
    if not status and rule.spoken:
        status = "*body*"
    told = []
    if rule.codes:
        told.append(", ".join(f"`{code}`" for code in sorted(rule.codes)))
    if rule.words is not None:
        count = _alternatives(rule.words)
        told.append(f"{count} phrase{'s' if count > 1 else ''}")
    doc = rule.doc + (" (*carrier*)" if rule.wrapper else "")
    return "| " + " | ".join(_cell(c) for c in (number, f"`{rule.kind}`", doc, types, status, "; ".join(told))) + " |"


def _alternatives(pattern: LazyPattern) -> int:
    """How many phrases a pattern of words.py lists, by its top-level bars."""
    depth, bars = 0, 0
    for at, char in enumerate(pattern.pattern):
        escaped = at > 0 and pattern.pattern[at - 1] == "\\"
        if not escaped:
            depth += (char in "([") - (char in ")]")
            bars += char == "|" and depth == 0
    return bars + 1


def _recorded() -> list[str]:
    return [
        "## What is recorded",
        "",
        *_prose(
            """An `error` event, a row of `/api/metrics` and the sentence of `/api/health` hold at most 500
            characters of what the server said. Keys are replaced by `[redacted]`. What the user has written in
            this chat is replaced by `[prompt]`: every stretch of 16 letters (6 of Chinese, Japanese or Korean)
            that also stands in a message of the user, as it is or escaped as in JSON. Where a server sends the
            request itself back, its message ends before that; of an answer that is no JSON the first 80
            characters are kept."""
        ),
    ]


def _waiting() -> list[str]:
    policy, limits = RetryPolicy(), BreakerLimits()
    return [
        "## Waiting",
        "",
        *_prose(
            f"""A broken model call is made again at most {policy.max_retries} times. Wait *k* is random
            between 0 and `min({policy.cap:g}, {policy.base:g} * 2**(k-1))` seconds. A server's
            Retry-After (seconds, milliseconds, a date, or words such as "try again in 6s") is waited out
            in full, with up to a hundredth more. All waits of one call together stay within {policy.budget:g}
            s; a server that asks for more is told to the user at once."""
        ),
        "## Circuit breaker",
        "",
        *_prose(
            f"""One for each model of a server. It opens when at least {limits.min_calls} calls of
            the last {limits.window:g} s have ended and {limits.share:.0%} of them failed. Open, it
            refuses at once and tells the seconds left; after {limits.open_for:g} s it lets
            {limits.probes} call through as a probe, whose success closes it. Cancelled calls count as
            neither, and results of calls that began before the last change of state are ignored. An open
            one that nobody has called for another {limits.window:g} s closes by itself."""
        ),
        "All these numbers are settings.",
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
