"""What tokens cost: the user's own prices, by patterns of model names. Nothing is built in.

    gpt-4.1* = $2.00 / $8.00 / $0.50; deepseek-* = 0.27 / 1.10

One entry a line, or separated by `;`: what a million tokens cost going in, coming out and (third, optional) going in
from the server's cache. The first entry that fits counts. A model on this machine or in the private network costs
nothing. A sign before the numbers is shown with every figure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ..hosts import is_local
from .counters import OTHER, UNKNOWN

_MILLION: Final = 1_000_000
_NUMBER: Final = re.compile(r"([^\d\s.,=/;-]{0,4})\s*(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})")
_SHOWN: Final = 60
_FORM: Final = "write model = in / out, or model = in / out / cached, each for a million tokens"


class Price(NamedTuple):
    """What a million tokens of the models of a pattern cost; without `cached`, what the cache brings costs as much
    as the rest."""

    pattern: str
    asked: float
    written: float
    cached: float | None = None


class Prices(NamedTuple):
    """The user's prices; `unread` are the entries, as far as they are short, that could not be read."""

    rows: tuple[Price, ...] = ()
    sign: str = ""
    unread: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with each entry that could not be read, in words."""
        return tuple(f'"{entry}" is no price: {_FORM}' for entry in self.unread)

    def of(self, model: str, host: str) -> Price | None:
        """The price of a model on a host (`name:port`), or None if nobody has told it."""
        if is_free(host):
            return Price(model, 0.0, 0.0)
        name = model.lower()
        return next((row for row in self.rows if fnmatchcase(name, row.pattern.lower())), None)

    def cost(self, row: Mapping[str, Any]) -> float | None:
        """The cost of a row of usage (`model`, `host`, and the counts of `backend.events.ModelUsage`), or None."""
        price = self.of(str(row.get("model", "")), str(row.get("host", "")))
        if price is None:
            return None
        asked = (row.get("input") or 0) + (row.get("estimated_input") or 0)
        written = (row.get("output") or 0) + (row.get("estimated") or 0)
        cached = min(row.get("cached") or 0, asked) if price.cached is not None else 0
        return ((asked - cached) * price.asked + cached * (price.cached or 0) + written * price.written) / _MILLION

    def sum(self, rows: Sequence[Mapping[str, Any]]) -> float | None:
        """The cost of several rows together; None if one of them has no price, or there are none."""
        costs = [self.cost(row) for row in rows]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known and len(known) == len(costs) else None


def is_free(host: str) -> bool:
    """Whether a row's host is this machine or one of its own network; a label that stands for several is none."""
    return host not in (UNKNOWN, OTHER) and is_local(host)


def estimated(row: Mapping[str, Any]) -> bool:
    """Whether a part of a row of usage is not the server's own count."""
    return bool(row.get("estimated") or row.get("estimated_input"))


@lru_cache(maxsize=8)
def parse_prices(text: str) -> Prices:
    """The prices in a text. Never raises: an entry that cannot be read is left out and stands in `unread`."""
    rows: list[Price] = []
    unread: list[str] = []
    signs: list[str] = []
    for entry in map(str.strip, re.split(r"[;\n]", text)):
        if not entry or entry.startswith("#"):
            continue
        pattern, equals, numbers = entry.rpartition("=")
        parts = [_NUMBER.fullmatch(part.strip()) for part in numbers.split("/")]
        found = [part for part in parts if part is not None]
        if not equals or not pattern.strip() or len(found) != len(parts) or len(found) not in (2, 3):
            unread.append(entry[:_SHOWN])
            continue
        signs += [part[1].strip() for part in found if part[1].strip()]
        rows.append(Price(pattern.strip(), *(float(part[2]) for part in found)))
    return Prices(tuple(rows), signs[0] if signs else "", tuple(unread))


def rounded(cost: float | None) -> float | None:
    """A cost for JSON: six significant digits, for a single answer may cost a thousandth of a cent."""
    return None if cost is None or not math.isfinite(cost) else float(f"{cost:.6g}")
