"""What goes over the wire: frames as compact JSON, their short form, Copilot's lines; and how long a write may take.

docs/protocol.md describes it for clients. For the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
import socket
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from .relay import Frame

Wire: TypeAlias = Mapping[str, Any] | Sequence[Any]

STREAM: Final = "X-Copilot-Pulse-Stream"
"""The header by which a request names its stream, and the answer says in which mode it comes."""
MODE: Final = "X-Copilot-Pulse-Mode"
PAGE: Final = "X-Copilot-Pulse-Page"
"""The header by which a request says which of ComfyUI's pages it comes from (its `clientId`)."""
STATE: Final = "X-Copilot-Pulse-State"
PROTOCOL: Final = "copilot-pulse.v1"
PROTOCOL_VERSION: Final = 1
BEAT_SECONDS: Final = 10.0
"""Seconds of silence after which a frame without content keeps proxies from cutting the connection."""
WRITE_LIMIT: Final = 30.0
"""Seconds that a peer may take for what is written to it ..."""
SLOWEST: Final = 10_000
"""... and one more for so many bytes of it."""
LARGE: Final = 65_536
"""Characters of JSON from which on its reading is spared the garbage collector."""
MAX_MEMBERS: Final = 32
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_decode: Final = json.JSONDecoder().raw_decode


# -- reading -------------------------------------------------------------------------------------


def parse(data: str | bytes) -> Any:
    """What `json.loads()` reads, in a fifth of the time if it is large. Raises ValueError, also for endless nesting."""
    with _uncollected(len(data)):
        try:
            return json.loads(data)
        except RecursionError:
            raise ValueError("nested without end") from None


def members(text: str) -> dict[str, tuple[Any, int, int]]:
    """The members of an object of JSON: under each name the value, and from where to where it stands in `text`.

    So what came can be sent on as it came. Raises ValueError: no object, one of more than 32 members, endless nesting.
    """
    found: dict[str, tuple[Any, int, int]] = {}
    at = _behind("{", text, 0)
    with _uncollected(len(text)):
        for _ in range(MAX_MEMBERS):
            try:
                name, at = _decode(text, at)
                start = _behind(":", text, at)
                value, end = _decode(text, start)
            except RecursionError:
                raise ValueError("nested without end") from None
            if not isinstance(name, str):
                raise ValueError("a name is no text")
            found[name] = value, start, end
            at = _past_space(text, end)
            if text[at : at + 1] != ",":
                break
            at = _past_space(text, at + 1)
    if _behind("}", text, at) != len(text):
        raise ValueError("something follows the object")
    return found


@contextlib.contextmanager
def _uncollected(size: int) -> Iterator[None]:
    """No look for garbage while so much JSON is read: none of it is garbage, and each look would go through it all."""
    on = size >= LARGE and gc.isenabled()
    if on:
        gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _past_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found is not None else at


def _behind(sign: str, text: str, at: int) -> int:
    at = _past_space(text, at)
    if text[at : at + 1] != sign:
        raise ValueError(f"no {sign}")
    return _past_space(text, at + 1)


# -- frames --------------------------------------------------------------------------------------


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


class LineWriter:
    """Turns frames back into Copilot's lines: the newest text whole, and the other fields as they were."""

    def __init__(self) -> None:
        self.text = ""
        self._line: dict[str, Any] = {}

    def encode(self, frame: Frame) -> bytes:
        """The bytes of a frame in Copilot's format, or none."""
        kind = frame["type"]
        if "at" in frame:
            units = self.text.encode("utf-16-le", "surrogatepass")[: 2 * frame["at"]]
            self.text = units.decode("utf-16-le", "surrogatepass") + frame["text"]
        if kind == "item":
            line = frame["line"]
            if "at" in frame:
                self._line = line = {**line, "text": self.text}
            return json.dumps(line).encode() + b"\n"
        if kind == "delta" and self._line:
            plain = {name: None if name == "ext" else False for name in ("ext", "finished") if name in self._line}
            return json.dumps({**self._line, **plain, "text": self.text}).encode() + b"\n"
        return str(frame["data"]).encode() + b"\n" if kind == "raw" else b""


# -- time limits ---------------------------------------------------------------------------------


async def write_in_time(transport: asyncio.BaseTransport | None, writing: Awaitable[Any], size: int) -> None:
    """Await `writing`, of `size` bytes, and abort the connection if that takes too long; whoever writes meets that.

    Raises what `writing` raises; a cancel is passed on to it.
    """
    abort = getattr(transport, "abort", None)
    timer = asyncio.get_running_loop().call_later(WRITE_LIMIT + size / SLOWEST, abort) if abort is not None else None
    try:
        await writing
    finally:
        if timer is not None:
            timer.cancel()


def notice_silence(transport: asyncio.BaseTransport | None) -> None:
    """Have the kernel end the connection if its peer acknowledges nothing for `WRITE_LIMIT`, where it can (Linux).

    Without that, small frames into a dead connection are taken for sent for a quarter of an hour.
    """
    sock = transport.get_extra_info("socket") if transport is not None else None
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if sock is not None and option is not None:
        with contextlib.suppress(OSError):  # not TCP, or closed meanwhile
            sock.setsockopt(socket.IPPROTO_TCP, option, int(WRITE_LIMIT * 1000))
