"""What a text says behind its escapes, and where in it each character stands."""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from .lazy import LazyPattern

# How a character is written in URLs, JSON, the strings of programs and HTML, also when that has been quoted again.
# Each alternative begins at a sign that it does not go on from, so the time grows with the length of the text only.
_ESCAPE: Final = LazyPattern(
    r"(?P<url>(?:%(?:25)*[0-9A-Fa-f]{2})+)"
    r"|(?<!\\)\\+(?:u(?P<json>[0-9A-Fa-f]{4})|u\{0*(?P<braces>[0-9A-Fa-f]{1,6})\}|x(?P<byte>[0-9A-Fa-f]{2})"
    r"|(?P<octal>[0-3][0-7]{2})|(?P<letter>[nrtbf])|(?P<sign>[\"'/]?))"
    r"|&(?:amp;)*(?:\#(?:[xX]0*(?P<hex>[0-9A-Fa-f]{1,6})|0*(?P<dec>[0-9]{1,7}));|(?P<name>[A-Za-z][A-Za-z0-9]{1,30};))"
)
_BYTE: Final = LazyPattern("%(?:25)*([0-9A-Fa-f]{2})")
_NUMBERS: Final = (("json", 16), ("braces", 16), ("byte", 16), ("octal", 8), ("hex", 16), ("dec", 10))
_LETTERS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_LAYERS: Final = 3


class Unescaped:
    """`text` is what the given text says; `span()` tells where a stretch of it stands in what was given."""

    def __init__(self, text: str) -> None:
        self._layers: list[_Layer] = []
        for _ in range(_LAYERS):
            layer = _Layer(text)
            if not layer.starts:
                break
            text = layer.text
            self._layers.append(layer)
        self.text = text

    @property
    def changed(self) -> bool:
        """Whether there was an escape at all."""
        return bool(self._layers)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `self.text[start:end]`, which is not empty, stands: from, to."""
        for layer in reversed(self._layers):
            start, end = layer.place(start)[0], layer.place(end - 1)[1]
        return start, end


class _Layer:
    """One reading of a text; a character that comes of an escape stands where all of the escape does."""

    def __init__(self, given: str) -> None:
        self.starts: list[int] = []
        self._given: list[tuple[int, int]] = []
        parts: list[str] = []
        at = length = 0
        for found in _ESCAPE.compiled.finditer(given):
            for char, begin, end in _meant(found):
                parts += (given[at:begin], char)
                length += begin - at
                self.starts.append(length)
                self._given.append((begin, end))
                length += 1
                at = end
        self.text: str = "".join((*parts, given[at:]))

    def place(self, at: int) -> tuple[int, int]:
        """Where the character at this place of the reading stands in what was given."""
        nearest = bisect_right(self.starts, at) - 1
        if nearest < 0:
            return at, at + 1
        beyond = at - self.starts[nearest]
        begin, end = self._given[nearest]
        return (end + beyond - 1, end + beyond) if beyond else (begin, end)


def _meant(escape: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    """The characters that an escape stands for, each with its place; nothing if it is none."""
    start, end = escape.span()
    if escape["url"]:
        yield from _of_url(escape["url"], start)
    elif escape["letter"]:
        yield _LETTERS[escape["letter"]], start, end
    elif escape["name"]:
        char = html.unescape(f"&{escape['name']}")
        if len(char) == 1:
            yield char, start, end
    elif escape["sign"] is not None:
        if end - start > 1:
            yield escape["sign"] or "\\", start, end
    else:
        number = next(int(escape[name], base) for name, base in _NUMBERS if escape[name])
        if number <= 0x10FFFF:
            yield chr(number), start, end


def _of_url(run: str, start: int) -> Iterator[tuple[str, int, int]]:
    """A run of `%xx`, which are bytes of UTF-8."""
    found = list(_BYTE.compiled.finditer(run))
    at = 0
    for char in bytes(int(byte[1], 16) for byte in found).decode("utf-8", "surrogateescape"):
        last = at + len(char.encode("utf-8", "surrogateescape")) - 1
        yield char, start + found[at].start(), start + found[last].end()
        at = last + 1
