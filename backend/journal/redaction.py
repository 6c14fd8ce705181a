"""Takes secrets out of data before it is written down or leaves the store, and bounds a row's size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

MARK: Final = "[redacted]"
MAX_TEXT: Final = 2_000  # characters of one string
MAX_NODES: Final = 5_000  # values in one event's data
MEMO: Final = 4_096  # strings whose redacted form is remembered
MEMO_LENGTH: Final = 200  # longer ones hardly ever come twice
_MAX_DEPTH: Final = 24


class TooLarge(ValueError):
    """Raised for data that is too large for a row."""


class Redaction(NamedTuple):
    """What the store is told about secrets.

    `text` takes them out of a string, `secret_name` says whether a field of that name holds one. `version`
    changes when `text` has learned something: remembered results are forgotten then. Called in any thread.

    Where `text` leaves lines of one word each (letters, digits, `_`, `.`, `-`) as they are, it has to leave each of
    them as it is, too: new words are looked at together.
    """

    text: Callable[[str], str]
    secret_name: Callable[[str], bool]
    version: Callable[[], object] = lambda: 0


class DataRedactor:
    """Plain data without secrets: the same as `redact_value`, with a memory of short strings. For one thread.

    The memory is what makes it cheap: most strings of events are names that come again and again. `bounded`: what
    is too long or too much is cut or refused, as it is for a row.
    """

    def __init__(self, redaction: Redaction, *, bounded: bool = True) -> None:
        self._redaction = redaction
        self._longest = MAX_TEXT if bounded else 1 << 60
        self._most = MAX_NODES if bounded else 1 << 60
        self._version = redaction.version()
        self._texts: dict[str, str] = {}
        self._names: dict[str, str] = {}  # of fields whose value is no secret
        self._hiding: dict[str, str] = {}  # of fields whose value is one
        self._left = 0

    def refresh(self) -> bool:
        """Forget what was remembered if there are new secrets; whether it was. Once a batch is enough."""
        version = self._redaction.version()
        if version != self._version or max(len(self._texts), len(self._names), len(self._hiding)) > MEMO:
            self._version = version
            self._texts.clear()
            self._names.clear()
            self._hiding.clear()
            return True
        return False

    def text(self, text: str) -> str:
        """A string without secrets."""
        known = self._texts.get(text)
        if known is not None:
            return known
        # Cut behind the redaction: half a key is not recognised as one. What is far too long is cut before
        # as well, so that its length does not decide how long this takes.
        longest = self._longest
        clean = self._redaction.text(text if len(text) <= 4 * longest else text[: 4 * longest])
        if len(clean) > longest or len(text) > 4 * longest:
            clean = f"{clean[:longest]}… ({len(text)} characters)"
        if len(text) <= MEMO_LENGTH:
            self._texts[text] = clean
        return clean

    def is_clean(self, text: str) -> bool:
        """Whether a text holds no secret. Nothing is remembered."""
        return not text or self._redaction.text(text) == text

    def data(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """The data of an event. Raises TooLarge if it has too many values."""
        self._left = self._most
        return self._mapping(data, 0)

    def _mapping(self, data: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        clean: dict[str, Any] = {}
        texts, names = self._texts, self._names
        self._spend(len(data))
        for key, value in data.items():
            name = names.get(key) if type(key) is str else None
            hidden = False
            if name is None:
                name, hidden = self._name(key)
            kind = type(value)
            if kind is str and not hidden:
                known = texts.get(value)
                value = known if known is not None else self.text(value)
            elif kind is float:
                value = value if math.isfinite(value) else None
            elif kind is not int and kind is not bool and value is not None:
                value = _hidden(value) if hidden else self._other(value, depth + 1)
            clean[name] = value
        return clean

    def _name(self, key: Any) -> tuple[str, bool]:
        """A field's name without secrets, and whether its value is one."""
        known = self._hiding.get(key) if type(key) is str else None
        if known is not None:
            return known, True
        name = key if type(key) is str else _name(key)
        hidden = bool(self._redaction.secret_name(name))
        clean = self.text(name)
        if len(name) <= MEMO_LENGTH:
            (self._hiding if hidden else self._names)[name] = clean
        return clean, hidden

    def _spend(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            raise TooLarge(f"it holds more than {MAX_NODES} values")

    def _other(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(str.__str__(value))  # what it holds, whatever its class shows
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        if depth >= _MAX_DEPTH:
            return MARK  # also ends circles
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._sequence(value, depth)
        if isinstance(value, (bytes, bytearray)):
            return self.text(bytes(value[: 4 * MAX_TEXT + 1]).decode("utf-8", "replace"))
        try:
            return self.text(str(value))
        except Exception:  # a foreign __str__ may do anything
            return f"<{type(value).__name__}>"

    def _sequence(self, value: Any, depth: int) -> list[Any]:
        self._spend(len(value))
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], (str, bytes)):
            name = _name(value[0])  # a raw header
            if self._redaction.secret_name(name):
                return [self.text(name), _hidden(value[1])]
        return [self._other(item, depth + 1) for item in value]


def _name(key: Any) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


def _hidden(value: Any) -> Any:
    """What a telling name holds: gone, unless it can be no secret."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str) and not value else MARK
