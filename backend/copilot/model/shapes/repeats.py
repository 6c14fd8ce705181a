"""Text that comes twice: a last delta that repeats the whole answer, deltas that each hold all of the text so far."""

from __future__ import annotations

from typing import Final

# A text of so many characters is not said twice by chance, nor does one piece after the other begin with it.
_LONG: Final = 12
_NEAR: Final = 8
# Neither do so many pieces in a row each begin with the one before, whatever they hold.
_MANY: Final = 16
# Rules of dashes, laughter and round numbers grow by themselves: a text that tells has so many different letters
# near its beginning.
_DIFFERENT: Final = 3
_BEGINNING: Final = 1000


class RepeatFilter:
    """Lets each piece of an answer's text through once.

    Pieces that begin with all of the text so far are held back until it is sure what they are. Each begins with the
    one before, and what is repeated is long enough to be no chance: from then on the server sends all of its text
    each time, and only what is new is let through. One piece does not: they were words that happen to be the same,
    and all of them are let through. Time and memory grow with what comes in.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._count = 0
        self._length = 0
        self._held: list[str] = []
        self._cumulative = False

    @property
    def text(self) -> str:
        """All that was let through."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def feed(self, text: str) -> str:
        """What is new in a piece of text."""
        if self._cumulative:
            return self._go_on(text)
        if self._held:
            return self._compare(text)
        if len(text) + _NEAR >= self._length > 0 and self._is_all(text):
            self._held = [text]
            return ""
        return self._take(text)

    def rest(self) -> str:
        """What is held back, once the answer has ended, without what was a repetition."""
        held, self._held = self._held, []
        if not held:
            return ""
        if len(held) > 1:
            repeated = _tells(held[-2])
        else:
            repeated = (self._length >= _LONG or self._count > 1) and _tells(self.text)
        return self._take(held[-1][self._length :]) if repeated else self._take("".join(held))

    def _is_all(self, text: str) -> bool:
        whole = self.text
        return text.startswith(whole) or text.strip() == whole.strip() != ""

    def _compare(self, text: str) -> str:
        """A piece behind others that are held back."""
        last = self._held[-1]
        if not (len(text) > len(last) and text.startswith(last) and last.startswith(self.text)):
            held, self._held = self._held, []
            shown = self._take("".join(held))
            return shown + self.feed(text)
        if len(self._held) < _MANY and not (len(last) >= _LONG and _tells(last)):
            self._held.append(text)
            return ""
        self._held = []
        self._cumulative = True
        return self._take(text[self._length :])

    def _go_on(self, text: str) -> str:
        """A piece of a server that sends all of its text each time, unless it goes over to sending what is new."""
        if len(text) >= self._length and text.startswith(self.text):
            return self._take(text[self._length :])
        if len(text) > _NEAR and self.text.startswith(text):
            return ""
        self._cumulative = False
        return self._take(text)

    def _take(self, text: str) -> str:
        self._pieces.append(text)
        self._count += 1
        self._length += len(text)
        return text


def _tells(text: str) -> bool:
    return len({sign for sign in text[:_BEGINNING] if sign.isalnum()}) >= _DIFFERENT
