"""The words of a chat, kept out of what is recorded about its errors.

Servers quote the request that they refuse. `hold_prompt()` tells what the user has written, for the current
context: the chat's own task and all that it starts. What `without_prompt()` then reads there loses every
stretch that also stands in those words. A chat that knows nothing of this has nothing taken out.
"""

from __future__ import annotations

import contextvars
import json
from collections.abc import Iterable
from functools import cached_property
from typing import Final

from .lazy import LazyPattern

MARK: Final = "[prompt]"
# A stretch counts from 16 letters on; a letter of a language that writes without spaces says three times as
# much. A message of the user that is shorter counts from 8 on, if all of it is quoted.
_ENOUGH: Final = 16
_ENOUGH_WHOLE: Final = 8
_WIDE: Final = "\u2e80"
_MAX_PROMPT: Final = 32_768
_MAX_TEXT: Final = 600
_BREAK: Final = "\0"
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
    def pile(self) -> str:
        """All of it in one string, also as JSON escapes it."""
        escaped = (json.dumps(text)[1:-1] for text in self.words if not text.isascii())
        return _BREAK.join((*self.words, *escaped))


_prompt: contextvars.ContextVar[_Prompt | None] = contextvars.ContextVar("copilot_pulse_prompt", default=None)


def hold_prompt(texts: Iterable[str]) -> None:
    """Remember the user's messages, oldest first, for the current context and what will be started in it."""
    _prompt.set(_Prompt(texts))


def without_prompt(text: str) -> str:
    """The first 600 characters of `text`, a line without double spaces, with what quotes the prompt blanked.

    Takes 10 ms for the longest prompt, and mostly far less. Any thread; never raises.
    """
    text = without_request(text)[:_MAX_TEXT]
    prompt = _prompt.get()
    if prompt is None or not prompt.words:
        return text
    quoted = bytearray(len(text))
    for start in range(len(text)):
        end = _stretch(text, start)
        if end and text[start:end] in prompt.pile:
            quoted[start:end] = b"\1" * (end - start)
    for words in prompt.words:
        if _weight(words) < _ENOUGH_WHOLE or _weight(words) >= _ENOUGH:
            continue
        at = text.find(words)
        while at >= 0:
            quoted[at : at + len(words)] = b"\1" * len(words)
            at = text.find(words, at + len(words))
    return _blanked(text, quoted) if any(quoted) else text


def without_request(text: str) -> str:
    """`text` up to where a chat request is quoted in it."""
    found = _REQUEST.search(text)
    brace = text.rfind("{", 0, found.start()) if found is not None else -1
    return text if brace < 0 else text[:brace].rstrip(" :[(\"'\\")


def _stretch(text: str, start: int) -> int:
    """Where the shortest stretch from `start` on that counts ends; 0 if the text ends before."""
    weight = 0
    for at in range(start, len(text)):
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
