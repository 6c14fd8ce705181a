"""Text that comes twice: a last delta that repeats the whole answer, deltas that each hold all of the text so far."""

from __future__ import annotations

from typing import Final

# A text of so many characters, or of two pieces, is not said twice by chance.
_LONG: Final = 12
_NEAR: Final = 8


class RepeatFilter:
    """Lets each piece of an answer's text through once.

    A piece that begins with all of the text so far is held back until the next one, or the end, tells whether it
    repeats the text or goes on with words that happen to be the same.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._held = ""
        self._cumulative = False

    @property
    def text(self) -> str:
        """All that was let through."""
        return "".join(self._pieces)

    def feed(self, text: str) -> str:
        """What is new in a piece of text."""
        if self._held or self._cumulative:
            return self._compare(text)
        if len(text) + _NEAR >= self._length > 0 and self._is_all(text):
            self._held = text
            return ""
        return self._take(text)

    def rest(self) -> str:
        """What is held back, once the answer has ended, without what was a repetition."""
        held, self._held = self._held, ""
        if not held:
            return ""
        if self._length < _LONG and len(self._pieces) < 2:
            return self._take(held)
        return self._take(held[self._length :])

    def _is_all(self, text: str) -> bool:
        whole = "".join(self._pieces)
        return text.startswith(whole) or text.strip() == whole.strip() != ""

    def _compare(self, text: str) -> str:
        held, self._held = self._held, ""
        if held:
            if not (len(text) > len(held) >= self._length and text.startswith(held)):
                shown = self._take(held)
                return shown + self.feed(text)
            self._cumulative = True
        whole = "".join(self._pieces)
        if text.startswith(whole):
            return self._take(text[len(whole) :])
        return "" if whole.startswith(text) and len(text) > _NEAR else self._take(text)

    def _take(self, text: str) -> str:
        self._pieces.append(text)
        self._length += len(text)
        return text
