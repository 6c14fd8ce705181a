"""The words of a chat, kept out of what is recorded about its errors.

Servers quote the request that they refuse. `hold_prompt()` tells what the user has written, for the current
context: the chat's own task and all that it starts. What `without_prompt()` then reads there loses every
stretch that also stands in those words. A chat that knows nothing of this has nothing taken out.
"""

from __future__ import annotations

import contextvars
from base64 import b64decode
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final

from .escapes import Unescaped
from .lazy import LazyPattern

MARK: Final = "[prompt]"
# Letters and digits are compared, in one case: what stands between them changes with each quoting. A stretch counts
# from 14 of them on; a letter of a language that writes without spaces says three times as much. A message of the user
# that is shorter counts from 6 on, if all of it is quoted.
_ENOUGH: Final = 14
_ENOUGH_WHOLE: Final = 6
_WIDE: Final = "\u2e80"
_MAX_PROMPT: Final = 32_768
_MAX_TEXT: Final = 600
_BREAK: Final = "\0"
# What may be Base64, of both alphabets, or hex: it is read as what it stands for, beside the letters that it is.
_ENCODED: Final = LazyPattern(r"[A-Za-z0-9+/_-]{12,}")
_HEX: Final = LazyPattern(r"[0-9A-Fa-f]{16,}")
_URL_SAFE: Final = str.maketrans("-_", "+/")
_MAX_LAYERS: Final = 2
# The key of a chat request, also inside a string of JSON or as Python prints it: from its brace on, the request
# itself is quoted, with the workflow and what the tools said.
_REQUEST: Final = LazyPattern(
    r"""\\{0,3}["'](?:messages|contents?|parts|prompt|input|inputs|role|arguments)\\{0,3}["']\s{0,4}:"""
)


class _Prompt:
    """What one chat's user has written, in the forms in which a server may quote it."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(text for text in texts if text.strip())

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Each message with single spaces, the newest first, 32 KB in all."""
        left = _MAX_PROMPT
        kept: list[str] = []
        for text in reversed(self._texts):
            kept.append(" ".join(text[:left].split()))
            left -= len(kept[-1])
            if left <= 0:
                break
        return tuple(kept)

    @cached_property
    def short(self) -> tuple[str, ...]:
        """The letters of each message that counts only as a whole."""
        letters = (_Letters(text).text for text in self.words)
        return tuple(text for text in letters if _ENOUGH_WHOLE <= _weight(text) < _ENOUGH)

    @cached_property
    def pile(self) -> str:
        """The letters of all of it in one string."""
        return _BREAK.join(_Letters(text).text for text in self.words)


class _Letters:
    """The letters and digits of a text, escapes read as what they stand for, and where each stands: from, to.

    Behind them, each after a break, those of what is encoded in the text: each of these stands where all of it does.
    """

    def __init__(self, text: str, layers: int = 0) -> None:
        self.spans: list[tuple[int, int]] = []
        letters: list[str] = []
        read = Unescaped(text)
        for at, char in enumerate(read.text):
            if char.isalnum():
                letters.append(char.lower()[:1])
                self.spans.append(read.span(at, at + 1))
        for decoded, span in _decoded(text) if layers else ():
            inner = _BREAK + _Letters(decoded, layers - 1).text
            letters.append(inner)
            self.spans += [span] * len(inner)
        self.text: str = "".join(letters)


def _decoded(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """What stands in Base64 or hex in a text, and from where to where.

    A piece may begin anywhere in what was encoded, so each start is tried, and what is no text then is left out.
    """
    for found in _ENCODED.compiled.finditer(text):
        run = found[0].translate(_URL_SAFE)
        for start in range(4):
            piece = run[start:]
            whole = piece[: len(piece) // 4 * 4]
            rest = piece[len(whole) :] if len(piece) % 4 > 1 else ""
            yield from _readable(b64decode(whole + (rest + "==")[:4] if rest else whole), found.span())
    for found in _HEX.compiled.finditer(text):
        for start in range(2):
            digits = found[0][start:]
            yield from _readable(bytes.fromhex(digits[: len(digits) // 2 * 2]), found.span())


def _readable(data: bytes, span: tuple[int, int]) -> Iterator[tuple[str, tuple[int, int]]]:
    """The text of these bytes, if they are one, apart from a character that is cut at either end."""
    text = data.decode("utf-8", "replace")
    if sum(char == "\ufffd" or not (char.isprintable() or char.isspace()) for char in text) <= 6:
        yield text, span


_prompt: contextvars.ContextVar[_Prompt | None] = contextvars.ContextVar("copilot_pulse_prompt", default=None)


def hold_prompt(texts: Iterable[str]) -> None:
    """Remember the user's messages, oldest first, for the current context and what will be started in it."""
    _prompt.set(_Prompt(texts))


def without_prompt(text: str) -> str:
    """The first 600 characters of `text`, a line without double spaces, with what quotes the prompt blanked.

    Takes 5 ms for the longest prompt, 35 ms if all of the text is encoded, mostly far less. Any thread; never raises.
    """
    text = without_request(text)[:_MAX_TEXT]
    prompt = _prompt.get()
    if prompt is None or not prompt.words:
        return text
    letters = _Letters(text, _MAX_LAYERS)
    quoted = bytearray(len(text))

    def blank(start: int, end: int) -> None:
        first, last = letters.spans[start][0], letters.spans[end - 1][1]
        quoted[first:last] = b"\1" * (last - first)

    for start in range(len(letters.text)):
        end = _stretch(letters.text, start)
        if end and letters.text[start:end] in prompt.pile:
            blank(start, end)
    for words in prompt.short:
        at = letters.text.find(words)
        while at >= 0:
            blank(at, at + len(words))
            at = letters.text.find(words, at + len(words))
    return _blanked(text, quoted) if any(quoted) else text


def without_request(text: str) -> str:
    """`text` up to where a chat request is quoted in it."""
    found = _REQUEST.search(text)
    brace = text.rfind("{", 0, found.start()) if found is not None else -1
    return text if brace < 0 else text[:brace].rstrip(" :[(\"'\\")


def _stretch(text: str, start: int) -> int:
    """Where the shortest stretch from `start` on that counts ends; 0 if the text ends or breaks before."""
    weight = 0
    for at in range(start, len(text)):
        if text[at] == _BREAK:
            return 0
        weight += 3 if text[at] >= _WIDE else 1
        if weight >= _ENOUGH:
            return at + 1
    return 0


def _weight(text: str) -> int:
    return sum(3 if char >= _WIDE else 1 for char in text[:_ENOUGH])


def _blanked(text: str, quoted: bytearray) -> str:
    parts: list[str] = []
    at = 0
    while (start := quoted.find(1, at)) >= 0:
        end = quoted.find(0, start)
        end = len(text) if end < 0 else end
        parts += (text[at:start], MARK)
        at = end
    return "".join((*parts, text[at:]))
