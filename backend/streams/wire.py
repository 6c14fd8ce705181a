"""Frames as they go over the wire: compact JSON, and a short form for text that only goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from .relay import Frame

Wire: TypeAlias = Mapping[str, Any] | Sequence[Any]


def encode(frame: Wire) -> str:
    """A frame as JSON in one line. Half a surrogate pair, which UTF-8 has no bytes for, is escaped."""
    text = json.dumps(frame, separators=(",", ":"), ensure_ascii=False, default=str)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(frame, separators=(",", ":"), default=str)
    return text


def line(frame: Wire) -> bytes:
    """A frame as a line of NDJSON."""
    return encode(frame).encode() + b"\n"


class Shortener:
    """Turns a delta that only appends into `[*prefix, step, text]`: most of an answer's frames, in a few bytes.

    One for each connection and stream; it has to see every frame that is sent.
    """

    def __init__(self, *prefix: int) -> None:
        self._prefix = prefix
        self._seq = 0
        self._end = -1  # UTF-16 units that the client has; unknown at first

    def __call__(self, frame: Frame) -> Wire:
        """`frame`, or its short form."""
        seq = frame.get("seq")
        if seq is None:
            return frame
        step, self._seq = seq - self._seq, seq
        if "at" not in frame:
            return frame
        text: str = frame["text"]
        goes_on = frame["at"] == self._end
        self._end = frame["at"] + (len(text) if text.isascii() else _units(text))
        if goes_on and frame["type"] == "delta":
            return [*self._prefix, step, text]
        return frame


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
