"""Reads a body as events: what servers send for server-sent events, and what some send instead.

Accepted besides the standard: events that no blank line parts, lines of JSON without `data:`, several objects on one
line, a byte order mark, a whole answer as one JSON object. An event is known to be complete when its data is
complete JSON, so nothing waits for the line that follows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

BOM: Final = b"\xef\xbb\xbf"
# A longer body that is no stream is no answer of a model, in bytes.
LARGEST_LINE: Final = 32 * 1024 * 1024
DONE: Final = "[DONE]"
# Under these keys some gateways put the completion.
WRAPPERS: Final = ("data", "result", "output", "response", "body")
_FIELDS: Final = frozenset({b"data", b"event", b"id", b"retry", b"error"})
_NOTHING: Final = object()
_BETWEEN: Final = re.compile(r"\s*(?:data:)?\s*")
# An event of more lines, whose first one is no JSON, waits for the blank line that ends it.
_MOST_LINES: Final = 1_000
_decode = json.JSONDecoder().raw_decode


class ServerEvent(NamedTuple):
    """One event. `data` is parsed JSON; or, if `text`, the words that came instead."""

    name: str
    data: Any
    text: bool = False

    @property
    def done(self) -> bool:
        """Whether it is the mark of the end."""
        return self.text and self.data.strip("\"' ").upper() in ("[DONE]", "DONE")


class EventReader:
    """Turns pieces of a body into events. `feed()` each piece, `rest()` once at the end.

    `streams` tells that the body has begun as a stream of events and not as something else.
    """

    def __init__(self) -> None:
        self.streams = False
        self._line = bytearray()
        self._after_cr = False
        self._name = ""
        # Lines of data that are no JSON by themselves, and the body as it came if it is no stream.
        self._lines: list[bytes] = []
        self._raw: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterable[ServerEvent]:
        """The events that a piece of the body completes. A malformed one is given as its text."""
        line = self._line
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        if b"\n" not in data and b"\r" not in data:
            line += data
            return ()
        if line:
            line += data
            data = bytes(line)
            line.clear()
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, last = data.split(b"\n")
        line += last
        return self._read(lines)

    def rest(self) -> Iterable[ServerEvent]:
        """The body has ended: what no line end or blank line has completed, and a body that is one JSON value."""
        line = bytes(self._line)
        self._line.clear()
        yield from self._read([line, b""])
        if not self.streams and self._raw:
            try:
                whole = json.loads(b"\n".join(self._raw))
            except (ValueError, RecursionError):
                return
            for value in whole if isinstance(whole, list) else (whole,):
                if is_answer(value):
                    yield ServerEvent("", value)

    def _read(self, lines: Iterable[bytes]) -> Iterator[ServerEvent]:
        for line in lines:
            if line[:5] == b"data:":
                self.streams = True
                yield from self._saw_data(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                if self._lines:
                    yield from self._flush()
                self._name = ""
            elif line[:1] != b":":
                yield from self._saw_other(line)

    def _saw_other(self, line: bytes) -> Iterator[ServerEvent]:
        if line[:3] == BOM:  # a server that writes each event with a writer of its own marks each of them
            while line[:3] == BOM:
                line = line[3:]
            yield from self._read([line])
            return
        field, colon, value = line.partition(b":")
        field = field.strip().lower()
        if colon and field in _FIELDS:
            self.streams = True
            if field == b"data":
                yield from self._saw_data(value.removeprefix(b" "))
            elif field == b"event":
                self._name = value.decode("utf-8", "replace").strip()
            elif field == b"error":  # a field of llama.cpp's own
                self._name = "error"
                yield from self._saw_data(value.removeprefix(b" "))
        elif self.streams:
            if self._lines or line.lstrip()[:1] == b"{":  # JSON that goes on, or a line of it, without its field
                yield from self._saw_data(line)
        elif self._size < LARGEST_LINE:
            self._size += len(line)
            self._raw.append(line)
            if len(self._raw) == 1 and line[:1] == b"{" and (value := _loads(line)) is not _NOTHING:
                yield from self._saw_json_line(value)

    def _saw_json_line(self, value: Any) -> Iterator[ServerEvent]:
        """The body's first line is a JSON object: lines of JSON if more come, and one whole answer if not."""
        if is_answer(value):
            self.streams = True
            self._raw.clear()
            yield ServerEvent("", value)

    def _saw_data(self, data: bytes) -> Iterator[ServerEvent]:
        while data.startswith(b"data:"):  # a relay that puts its own field before the server's
            data = data[5:].lstrip()
        if not self._lines:
            if not data or data.isspace():
                return
            value = _loads(data)
            if isinstance(value, str) and value[:1] == "{":
                value = _loads(value.encode("utf-8", "surrogatepass"))
            if value is not _NOTHING:
                yield ServerEvent(self._name, value)
            elif data[:6] == b"[DONE]":
                yield ServerEvent(self._name, DONE, text=True)
            else:
                self._lines.append(data)
            return
        value = _loads(data)
        if data[:6] == b"[DONE]" or (isinstance(value, dict) and "choices" in value):
            # Lines that came before do not belong to this event.
            yield from self._flush()
            yield from self._saw_data(data)
            return
        self._lines.append(data)
        if len(self._lines) > _MOST_LINES:
            return
        if data.rstrip()[-1:] in (b"}", b"]") and (value := _loads(b"\n".join(self._lines))) is not _NOTHING:
            self._lines.clear()
            yield ServerEvent(self._name, value)

    def _flush(self) -> Iterator[ServerEvent]:
        """The data that is no JSON by itself: its lines joined, several values side by side, or words."""
        lines, self._lines = self._lines, []
        data = b"\n".join(lines)
        value = _loads(data)
        if value is not _NOTHING:
            yield ServerEvent(self._name, value)
            return
        text = data.decode("utf-8", "backslashreplace").strip()
        values = list(_side_by_side(text))
        if values:
            for value in values:
                yield ServerEvent(self._name, value)
        else:
            yield ServerEvent(self._name, text, text=True)


def is_answer(value: Any) -> bool:
    """Whether a JSON value may be a model's answer or a part of one; what is none is judged as a body of its own."""
    if not isinstance(value, dict) or value.get("error"):
        return False
    inner = [value, *(part for key in WRAPPERS if isinstance(part := value.get(key), dict))]
    return any("choices" in one for one in inner) or isinstance(value.get("message"), dict)


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return _NOTHING


def _side_by_side(text: str) -> Iterator[Any]:
    """The objects of a line that holds several, with or without `data:` between them; none if it holds words."""
    found: list[Any] = []
    at = 0
    while text.startswith("{", at):
        try:
            value, at = _decode(text, at)
        except (ValueError, RecursionError):
            return
        found.append(value)
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing as well
    if at == len(text) or text.startswith(DONE, at):
        yield from found
