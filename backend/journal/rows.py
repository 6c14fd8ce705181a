"""An event as a row of the store: what may be written, and how it is written down (`layout.py` says where).

A row holds no text of a chat and no secret. What JSON has no word for becomes something that it has: infinities
and NaN are null, half a surrogate pair is escaped, an object becomes its text.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from itertools import compress, repeat
from time import monotonic
from typing import Any, Final, NamedTuple, cast

from ..events import EVENTS, TEXT_KEYS
from .redaction import MEMO, MEMO_LENGTH, DataRedactor, Redaction, TooLarge

log = logging.getLogger("copilot_pulse.store")

MAX_ROW: Final = 64_000  # characters of JSON
_SHAPES: Final = 512  # shapes with names that a process makes: who publishes ever new names gets none
_SEEN: Final = 4_096  # the same without names
_SHAPE_NAMES: Final = 64  # data with more names is looked at one by one


class Shape:
    """What many events have in common: type, source, version of the data, and the names of its values.

    With `names` an event's data is stored as the array of its values, without (None) as an object. Shapes are
    compared by identity: a `RowMaker` makes each once.
    """

    __slots__ = ("names", "source", "type", "v")

    def __init__(self, type: str, source: str, v: int, names: tuple[str, ...] | None = None) -> None:
        self.type = type
        self.source = source
        self.v = v
        self.names = names

    def __repr__(self) -> str:
        return f"<Shape {self.type} from {self.source}, version {self.v}: {self.names}>"


Row = tuple["int | None", float, Shape, "str | None", str]
"""id, time, shape, session, data as JSON. The id None is the one after the last row's."""


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


_escaped: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
_made: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


_quote: Final[Callable[[str], str]] = json.encoder.encode_basestring  # type: ignore[attr-defined, unused-ignore]


def _encoder(quote: Callable[[str], str]) -> Callable[[Any], str] | None:
    """JSON's own encoder, made once instead of for each text: a third of the time of a small one.

    `quote` makes JSON of every string in the data, names included. None on another Python than CPython.
    """
    make_encoder = getattr(json.encoder, "c_make_encoder", None)
    if make_encoder is None:
        return None
    make = make_encoder(None, _made.default, quote, None, ":", ",", False, False, False)
    join = "".join
    return lambda data: join(make(data, 0))


_plain: Final = _encoder(_quote) or _made.encode


def dumps(data: Any) -> str:
    """JSON that can be written as UTF-8, without spaces. Raises ValueError or TypeError for what cannot be."""
    text = _plain(data)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, such as cut text leaves
            text = _escaped(data)
    return text


class _Quoted(dict[str, str]):
    """Strings without secrets, as JSON has them: looked up by the encoder itself, without a call of ours.

    New words, such as the ids of chats, are taken as they are at first: `settle()` says whether they were clean.
    """

    def __init__(self, redactor: DataRedactor) -> None:
        super().__init__()
        self._redactor = redactor
        self._new: list[str] = []

    def __missing__(self, text: str) -> str:
        if _is_word(text):
            self._new.append(text)
            self[text] = quoted = f'"{text}"'
            return quoted
        return self._look(text)

    def _look(self, text: str) -> str:
        clean = self._redactor.text(text)
        quoted = _quote(clean) if clean.isascii() else dumps(clean)
        if len(text) <= MEMO_LENGTH:
            self[text] = quoted
        return quoted

    def settle(self) -> bool:
        """Look at the new words, all at once; whether what was made with them can stay. None is kept unseen."""
        new, self._new = self._new, []
        if self._redactor.is_clean("\n".join(new)):
            return True
        for text in new:
            self._look(text)
        return False


class _Words(dict[Any, "str | None"]):
    """Types, sources and sessions without secrets, as SQLite can hold them. None stays None: no session."""

    def __init__(self, redactor: DataRedactor) -> None:
        super().__init__()
        self._redactor = redactor

    def __missing__(self, word: Any) -> str | None:
        if len(self) > MEMO:
            self.clear()
        self[word] = clean = None if word is None else _writable(self._redactor.text(str(word)))
        return clean


_is_word: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch
_DICT: Final = frozenset((dict,))
_NUMBERS: Final = frozenset((int, float, bool, type(None)))  # what a telling name may hold as it is


class _Shapes(dict[tuple[Any, ...], "Shape | None"]):
    """The shape of events whose data is flat, None for the others. The key is type, source, the names of data and
    then the types of their values.

    Flat is what holds strings and numbers only, of which nothing is hidden and nothing is told as its length.
    """

    def __init__(
        self,
        redactor: DataRedactor,
        words: _Words,
        secret_name: Callable[[str], bool],
        text_keys: frozenset[str],
    ) -> None:
        super().__init__()
        self._clean = redactor.text
        self._words = words
        self._secret_name = secret_name
        self._text_keys = text_keys
        self._versions = {name: getattr(spec, "v", 1) for name, spec in EVENTS.items()}
        self._named: dict[tuple[Any, ...], Shape] = {}
        self._unnamed: dict[tuple[str, str], Shape] = {}

    def forget(self) -> None:
        """There are new secrets: words of shapes may be some."""
        self.clear()
        self._named.clear()
        self._unnamed.clear()

    def __missing__(self, key: tuple[Any, ...]) -> Shape | None:
        type_, source, *rest = key
        names, kinds = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        if len(self) >= _SEEN:
            self.clear()
        self[key] = shape = self._shape(type_, source, tuple(names)) if self._is_flat(names, kinds) else None
        return shape

    def _is_flat(self, names: list[Any], kinds: list[type]) -> bool:
        return (
            len(names) <= _SHAPE_NAMES
            and all(type(name) is str and len(name) <= MEMO_LENGTH for name in names)
            and self._text_keys.isdisjoint(names)
            and all(
                kind in _NUMBERS or (kind is str and not self._secret_name(name))
                for name, kind in zip(names, kinds, strict=True)
            )
        )

    def _shape(self, type_: Any, source: Any, names: tuple[str, ...]) -> Shape | None:
        shape = self._named.get((type_, source, names))
        if shape is None and len(self._named) < _SHAPES:
            clean = tuple(map(self._clean, names))
            shape = Shape(self._words[type_] or "", self._words[source] or "", self._version(type_), clean)
            self._named[type_, source, names] = shape
        return shape

    def _version(self, type_: Any) -> int:
        return self._versions.get(str(type_), 1)

    def unnamed(self, event: Any) -> Shape:
        """The shape of any event, whose data is stored as an object. Never raises."""
        type_, source = "unreadable", ""
        try:
            type_ = str(event.type)
            source = self._words[event.source] or ""
        except Exception:  # a foreign object that is no Event
            log.debug("an event without a type or a source")
        shape = self._unnamed.get((type_, source))
        if shape is None:
            if len(self._unnamed) >= _SEEN:
                self._unnamed.clear()
            shape = Shape(self._words[type_] or "", source, self._version(type_))
            self._unnamed[type_, source] = shape
        return shape


class RowMaker:
    """Events into rows. For the writer's thread. `with_text`: the user wants the text of chats on disk."""

    def __init__(self, redaction: Redaction, *, with_text: bool = False) -> None:
        self._redactor = DataRedactor(redaction)
        self._text_keys: frozenset[str] = frozenset() if with_text else TEXT_KEYS
        self._words = _Words(self._redactor)
        self._shapes = _Shapes(self._redactor, self._words, redaction.secret_name, self._text_keys)
        self._quoted = _Quoted(self._redactor)
        self._encode = _encoder(self._quoted.__getitem__)

    def refresh(self) -> None:
        """Once a batch: take notice of secrets learned meanwhile."""
        forgot = self._redactor.refresh()
        if forgot or len(self._quoted) > MEMO:
            self._quoted.clear()
        if forgot:
            self._words.clear()
            self._shapes.forget()

    def make(self, offset: float, events: list[Any]) -> list[Row]:
        """The rows of events, their ids None; `offset` makes wall time of an event's time.

        Never raises: what cannot be written is a row that says why.
        """
        shapes, texts = self._flat(events)
        try:
            times = [event.time + offset for event in events]
            sessions = [event.session for event in events]
            if math.isfinite(sum(times)) and None not in shapes:
                held = cast("list[Shape]", shapes)
                return list(zip(repeat(None), times, held, map(self._words.__getitem__, sessions), texts))
        except Exception:
            log.debug("there are events that are none of ours")
        return [self._row(offset, *each) for each in zip(events, shapes, texts, strict=True)]

    def _row(self, offset: float, event: Any, shape: Shape | None, text: str) -> Row:
        if shape is None:
            shape, text = self._shapes.unnamed(event), self._text(event)
        try:
            time, session = event.time + offset, self._words[event.session]
            if not math.isfinite(time):
                raise ValueError("no time")
        except Exception:  # a foreign object that is no Event
            time, session = monotonic() + offset, None
        return (None, time, shape, session, text)

    def _flat(self, events: list[Any]) -> tuple[list[Shape | None], list[str]]:
        """Shapes and JSON of the events whose data is flat, made in one run; None and "" for the others.

        The shape decides, once for all of its events, that nothing in them is hidden and nothing goes deeper. All
        that is left to do then is quoting, and the encoder takes each string from a memory.
        """
        none: tuple[list[Shape | None], list[str]] = [None] * len(events), [""] * len(events)
        try:
            datas = [event.data for event in events]
            if self._encode is None or not set(map(type, datas)) <= _DICT:
                return none
            shape_of = self._shapes.__getitem__
            shapes = [
                shape_of((event.type, event.source, *data, *map(type, data.values())))
                for event, data in zip(events, datas, strict=True)
            ]
            values = [list(data.values()) for data in compress(datas, shapes)]
            text = self._json(values)
            texts = text[1:-1].replace("],[", "]\n[").split("\n")  # no JSON has a line's end in it
        except Exception as error:  # a foreign object, or a number that JSON has no word for
            log.debug("events are looked at one by one: %s", type(error).__name__)
            return none
        if len(texts) != len(values):  # none is flat, or a string holds what stands between two arrays
            return none
        if len(text) > MAX_ROW and max(map(len, texts)) > MAX_ROW:  # one is too long, and told as such
            return none
        if None not in shapes:
            return shapes, texts
        made = iter(texts)
        return shapes, ["" if shape is None else next(made) for shape in shapes]

    def _json(self, values: list[list[Any]]) -> str:
        assert self._encode is not None
        try:
            text = self._encode(values)
        finally:
            clean = self._quoted.settle()
        return text if clean else self._encode(values)

    def _text(self, event: Any) -> str:
        """JSON without secrets of any data, looked at value by value."""
        try:
            data = event.data
            # Whatever the type: foreign plugins may publish ours with more in it.
            if not self._text_keys.isdisjoint(data):
                data = _without_text(data)
            text = dumps(self._redactor.data(data))
            if len(text) > MAX_ROW:
                raise TooLarge(f"its data has {len(text)} characters of JSON")
            return text
        except Exception as error:
            return self._unstorable(event, error)

    def _unstorable(self, event: Any, error: Exception) -> str:
        # The words of a foreign error may quote the data.
        kept: dict[str, Any] = {"unstorable": str(error) if isinstance(error, TooLarge) else type(error).__name__}
        try:
            chat_id = event.data.get("chat_id")
            if isinstance(chat_id, str):
                kept["chat_id"] = chat_id[:100]
            return dumps(self._redactor.data(kept))
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
