"""An event as a row of the store, and back: what may be written, and how it is written down.

A row holds no text of a chat and no secret. What JSON has no word for becomes something that it has: infinities
and NaN are null, half a surrogate pair is escaped, an object becomes its text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final, NamedTuple

from ..events import EVENTS, TEXT_KEYS

MARK: Final = "[redacted]"
MAX_TEXT: Final = 2_000  # characters of one string
MAX_ROW: Final = 64_000  # characters of JSON
MAX_NODES: Final = 5_000  # values in one event's data
_MAX_DEPTH: Final = 24
_MEMO: Final = 4_096  # strings whose redacted form is remembered
_MEMO_LENGTH: Final = 200  # longer ones hardly ever come twice

Row = tuple[int, float, str, str, "str | None", int, str]
"""id, time, type, source, session, version of the data, data as JSON."""


class Stored(NamedTuple):
    """One event as the store has it. `time` is seconds since 1970, `id` rises without gaps in its slot."""

    slot: int
    id: int
    time: float
    type: str
    source: str
    session: str | None
    v: int
    data: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The event as the HTTP API and the exports show it; `id` is unique in the whole store."""
        return {
            "id": f"{self.slot}-{self.id}",
            "time": round(self.time, 6),
            "type": self.type,
            "source": self.source,
            "session": self.session,
            "v": self.v,
            "data": self.data,
        }


class TooLarge(ValueError):
    """Raised for data that is too large for a row."""


class Redaction(NamedTuple):
    """What the store is told about secrets.

    `text` takes them out of a string, `secret_name` says whether a field of that name holds one. `version`
    changes when `text` has learned something: remembered results are forgotten then. Called in any thread.
    """

    text: Callable[[str], str]
    secret_name: Callable[[str], bool]
    version: Callable[[], object] = lambda: 0


class Cleaner:
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
        if version != self._version or max(len(self._texts), len(self._names), len(self._hiding)) > _MEMO:
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
        if len(text) <= _MEMO_LENGTH:
            self._texts[text] = clean
        return clean

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
        if len(name) <= _MEMO_LENGTH:
            (self._hiding if hidden else self._names)[name] = clean
        return clean, hidden

    def _spend(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            raise TooLarge(f"it holds more than {MAX_NODES} values")

    def _other(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(str(value))
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


_escaped: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
_made: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _encoder() -> Callable[[Any], str]:
    """JSON's own encoder, made once instead of for each text: a third of the time of a small one."""
    make_encoder = getattr(json.encoder, "c_make_encoder", None)
    if make_encoder is None:  # another Python than CPython
        return _made.encode
    quote = json.encoder.encode_basestring  # type: ignore[attr-defined, unused-ignore]
    make = make_encoder(None, _made.default, quote, None, ":", ",", False, False, False)
    return lambda data: "".join(make(data, 0))


_plain: Final = _encoder()


def dumps(data: Any) -> str:
    """JSON that can be written as UTF-8, without spaces. Raises ValueError or TypeError for what cannot be."""
    text = _plain(data)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, such as cut text leaves
            text = _escaped(data)
    return text


class RowMaker:
    """Events into rows. For the writer's thread. `with_text`: the user wants the text of chats on disk."""

    def __init__(self, redaction: Redaction, *, with_text: bool = False) -> None:
        self._cleaner = Cleaner(redaction)
        self._with_text = with_text
        self._words: dict[Any, str] = {}
        self._versions = {name: getattr(spec, "v", 1) for name, spec in EVENTS.items()}

    def refresh(self) -> None:
        """Once a batch: take notice of secrets learned meanwhile."""
        if self._cleaner.refresh():
            self._words.clear()

    def make(self, offset: float, event: Any) -> Row:
        """The row of an event, its id 0; `offset` makes wall time of the event's time.

        Never raises: what cannot be written is a row that says why.
        """
        cleaner = self._cleaner
        type_ = str(event.type)
        try:
            data = event.data
            # Whatever the type: foreign plugins may publish ours with more in it.
            if not self._with_text and not TEXT_KEYS.isdisjoint(data):
                data = _without_text(data)
            text = dumps(cleaner.data(data))
            if len(text) > MAX_ROW:
                raise TooLarge(f"its data has {len(text)} characters of JSON")
        except Exception as error:
            text = self._unstorable(event, error)
        version = self._versions.get(type_, 1)
        try:
            time = event.time + offset
            source, session = self._word(event.source), event.session
            if session is not None:
                session = self._word(session)
        except Exception:  # a foreign object that is no Event
            time, source, session = monotonic() + offset, "", None
        return (0, time, self._word(type_), source, session, version, text)

    def _word(self, word: Any) -> str:
        """A type, a source or a session, as SQLite can hold it."""
        known = self._words.get(word)
        if known is None:
            if len(self._words) > _MEMO:
                self._words.clear()
            known = self._words[word] = _writable(self._cleaner.text(str(word)))
        return known

    def _unstorable(self, event: Any, error: Exception) -> str:
        # The words of a foreign error may quote the data.
        kept: dict[str, Any] = {"unstorable": str(error) if isinstance(error, TooLarge) else type(error).__name__}
        try:
            chat_id = event.data.get("chat_id")
            if isinstance(chat_id, str):
                kept["chat_id"] = chat_id[:100]
            return dumps(self._cleaner.data(kept))
        except Exception:
            return '{"unstorable":"its data cannot be read"}'


def _without_text(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """The length of what a chat says in the place of its words."""
    return {
        f"{key}_length" if key in TEXT_KEYS else key: len(str(value)) if key in TEXT_KEYS else value
        for key, value in data.items()
    }


def _writable(text: str) -> str:
    """`text` as UTF-8 can hold it."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# Without looking for spaces around it: `dumps` writes none.
_scan: Final = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def read_row(slot: int, row: Any) -> Stored:
    """The event of a row, as it was written. Data that is no JSON object any more is told as such."""
    id_, time, type_, source, session, version, text = row
    try:
        data, end = _scan(text, 0)
        if end != len(text) or type(data) is not dict:
            data = {"unreadable": "the data of this event is no object"}
    except (ValueError, TypeError, RecursionError, StopIteration):
        data = {"unreadable": "the data of this event is damaged"}
    return Stored(slot, id_, time, type_, source, session, version, data)
