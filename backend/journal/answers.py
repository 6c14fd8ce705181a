"""Answers of chats in the store, so that a page can come back to one after a crash or a restart.

For each answer that is being written, a reader takes what is new four times a second and makes rows of it, of type
`store.answer`. They bear the answer's name and session only as one hash, in the place of the session, and `chat_id`,
by which `forget` finds them. Without the user's leave to store text a single row says that there was such an answer:
the page is told of the restart then, instead of that its answer is unknown.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import hashlib
import json
import logging
import re
import secrets
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from ..aio import fail_open
from .redaction import DataRedactor, Redaction
from .rows import Stored, dumps

log = logging.getLogger("copilot_pulse.store")

ANSWER: Final = "store.answer"
WRITE_PACE: Final = 0.25
KEPT_SECONDS: Final = 86_400.0
"""Seconds for which an answer of a former run can be asked for."""
MOST_BYTES: Final = 4_000_000
"""Characters of one answer that are stored; what is behind them is not."""
PART: Final = 20_000
STRING: Final = 1_900
ABOVE: Final = 10**9
"""Numbers of frames, more than an answer has: pages may have some that were not stored."""
FIND_SECONDS: Final = 5.0
# A secret must not lie on disk in two halves: the last two words wait for what follows them.
_LAST_WORDS: Final = re.compile(r"[!-~]{0,200}\s{0,20}[!-~]{0,200}\s{0,20}\Z")
_LONGEST_WORDS: Final = 440

_MISSING: Final = "answers in the event store"

RESTARTED: Final[Mapping[str, str]] = {
    "en": "\n\n---\nThe server was restarted, or crashed, while this answer was being written. Above is what was kept "
    "of it; send the message again to have all of it.",
    "zh": "\n\n---\n服务器在生成此回答期间重启或崩溃了。以上是已保存的部分；请重新发送消息以获得完整回答。",
}
RESTARTED_EARLY: Final[Mapping[str, str]] = {
    "en": "The server was restarted, or crashed, before any of this answer was kept; send the message again.",
    "zh": "服务器重启或崩溃时，此回答尚未保存任何内容；请重新发送消息。",
}
NOT_KEPT: Final[Mapping[str, str]] = {
    "en": "The server was restarted, or crashed, since this answer was begun, and keeps no text of chats. "
    "Send the message again.",
    "zh": "此回答开始后服务器重启或崩溃过，而且没有保存对话文字。请重新发送消息。",
}


class Reader(Protocol):
    """What `Relay.observe()` gives: a reader that nobody waits for."""

    @property
    def done(self) -> bool: ...
    def next_nowait(self) -> dict[str, Any] | None: ...


class Relay(Protocol):
    """The log of an answer: read while it is written, and filled with what was stored."""

    @property
    def seq(self) -> int: ...
    @property
    def finished(self) -> bool: ...
    def observe(self) -> Reader: ...
    def apply(self, frame: Mapping[str, Any]) -> None: ...


class Stream(Protocol):
    """An answer that is written here."""

    @property
    def id(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def chat_id(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def relay(self) -> Relay: ...


def name_of(stream_id: str, session: str) -> str:
    """What an answer is called in the store."""
    digest = hashlib.sha256(json.dumps([stream_id, session]).encode()).digest()
    return base64.urlsafe_b64encode(digest)[:22].decode()


class _Frames:
    """Frames on their way to the disk. Made on the loop; cleaned and packed in the writer's thread."""

    def __init__(self, frames: list[dict[str, Any]], clean: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._frames = frames
        self._clean = clean
        self._packed: str | None = None
        # Four bytes for a character, and as many again where JSON escapes it: no row gets too large.
        self.parts = 1 + sum(_size(frame) for frame in frames) // PART

    def part(self, number: int) -> list[str]:
        """One of the parts, as strings that a row takes whole."""
        if self._packed is None:
            clean = self._clean({"frames": self._frames})["frames"]
            # In hexadecimal digits a second look for secrets finds none, and leaves it whole.
            self._packed = zlib.compress(dumps(clean).encode()).hex()
            self._frames = []
        length = -(-len(self._packed) // self.parts)
        text = self._packed[number * length : (number + 1) * length]
        return [text[at : at + STRING] for at in range(0, len(text), STRING)]


def _size(frame: Mapping[str, Any]) -> int:
    rest = {name: value for name, value in frame.items() if name != "text"}
    return 4 * len(frame.get("text", "")) + len(json.dumps(rest, default=str))


class _Row:
    """An event for the writer alone: its data is made in the writer's thread."""

    type = ANSWER
    source = "store"

    def __init__(self, name: str, head: Mapping[str, Any], frames: _Frames | None = None, part: int = 0) -> None:
        self.session = name
        self.time = time.monotonic()
        self._head = head
        self._frames = frames
        self._part = part

    @property
    def data(self) -> dict[str, Any]:
        if self._frames is None:
            return dict(self._head)
        return {**self._head, "part": self._part, "parts": self._frames.parts, "frames": self._frames.part(self._part)}


class _Written:
    """One answer that is being written here. Made where it is asked for."""

    def __init__(self, stream: Stream, redaction: Redaction) -> None:
        self.stream = stream
        self.name = name_of(stream.id, stream.session)
        self.reader = stream.relay.observe()
        self.batches = 0
        self.size = 0
        self._tail = ""
        self._tail_at = 0
        # What the request has brought is known as its secret in its own context only, if it looks like a word.
        self._context = contextvars.copy_context()
        self._redactor = DataRedactor(redaction, bounded=False)

    def clean(self, data: dict[str, Any]) -> dict[str, Any]:
        """The data without secrets. For the writer's thread."""
        self._redactor.refresh()
        return self._context.run(self._redactor.data, data)

    def news(self) -> list[dict[str, Any]]:
        """The frames that are new, the last words of the text left for the next time while more may come."""
        frames = []
        while (frame := self.reader.next_nowait()) is not None:
            frame = dict(frame)
            if "text" in frame:
                self._join(frame)
                if not self.stream.relay.finished:
                    self._hold_back(frame)
            elif frame["type"] == "end" and self._tail:
                frame |= {"at": self._tail_at, "text": self._tail}
                self._tail = ""
            if "text" in frame:
                frame["was"] = len(frame["text"])
                self.size += frame["was"]
            frames.append(frame)
        return frames

    def _join(self, frame: dict[str, Any]) -> None:
        if self._tail and frame["at"] >= self._tail_at:
            kept = _first_units(self._tail, frame["at"] - self._tail_at)
            frame["at"], frame["text"] = self._tail_at, kept + frame["text"]
        self._tail = ""

    def _hold_back(self, frame: dict[str, Any]) -> None:
        text = frame["text"]
        start = max(len(text) - _LONGEST_WORDS, 0)
        found = _LAST_WORDS.search(text[start:])
        cut = start + found.start() if found is not None else len(text)
        frame["text"], self._tail = text[:cut], text[cut:]
        self._tail_at = frame["at"] + _units(frame["text"])


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _first_units(text: str, units: int) -> str:
    return text.encode("utf-16-le", "surrogatepass")[: 2 * units].decode("utf-16-le", "surrogatepass")


class Answers:
    """What the streams ask for (`streams/registry.py`, `Elsewhere`). For the loop's thread; none of it raises.

    `take` gets the rows, `read(type, name, since)` finds them, in a thread by way of `ask`.
    """

    def __init__(
        self,
        *,
        take: Callable[[Any], None],
        read: Callable[[str, str, float], Iterable[Stored]],
        ask: Callable[..., Awaitable[Any]],
        redaction: Redaction,
        with_text: bool,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._take = take
        self._read = read
        self._ask = ask
        self._with_text = with_text
        self._wall = wall
        self._run = secrets.token_hex(6)
        self._redaction = redaction
        self._written: dict[str, _Written] = {}
        self._timer: asyncio.TimerHandle | None = None

    # Writing

    @fail_open(_MISSING)
    def begin(self, stream: Stream) -> None:
        """This answer is written here from now on."""
        self._written[stream.id] = _Written(stream, self._redaction)
        self._arm()

    @fail_open(_MISSING)
    def finish(self, stream: Stream) -> None:
        """It has ended."""
        one = self._written.pop(stream.id, None)
        if one is not None:
            self._write(one)

    def discard(self, stream: Stream) -> None:
        """It has never been."""
        self._written.pop(stream.id, None)

    @fail_open(_MISSING)
    def close(self) -> None:
        """The program stops: write what there is. That an answer ends because of it is not its end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for one in self._written.values():
            self._write(one)
        self._written.clear()

    def _arm(self) -> None:
        if self._timer is None and self._written:
            self._timer = asyncio.get_running_loop().call_later(WRITE_PACE, self._look)

    @fail_open(_MISSING)
    def _look(self) -> None:
        self._timer = None
        self._arm()
        for one in self._written.values():
            self._write(one)

    def _write(self, one: _Written) -> None:
        stream = one.stream
        # A row without a chat is not written: `forget` would not find it.
        if not stream.chat_id or not stream.relay.seq or one.size > MOST_BYTES or (one.batches and not self._with_text):
            return
        head = {"chat_id": stream.chat_id, "run": self._run, "language": stream.language, "batch": one.batches}
        if not self._with_text:
            one.batches += 1
            self._take(_Row(one.name, head))
        elif frames := one.news():
            one.batches += 1
            packed = _Frames(frames, one.clean)
            for part in range(packed.parts):
                self._take(_Row(one.name, head, packed, part))

    # Reading

    async def claimed(self, stream_id: str, session: str) -> bool:
        """Whether somebody else writes it: an answer of a former run has ended with it."""
        return False

    async def find(self, stream_id: str, session: str) -> StoredAnswer | str | None:
        """The answer as it was stored; a sentence if only its name was; None if it is not known. A cancel leaves
        the thread that looks to finish by itself."""
        asking: asyncio.Future[StoredAnswer | str | None] = asyncio.ensure_future(
            self._ask(self._load, name_of(stream_id, session))
        )
        try:
            await asyncio.wait({asking}, timeout=FIND_SECONDS)
            return asking.result() if asking.done() else None
        except Exception as error:
            log.warning("an answer of a former run cannot be read: %s", type(error).__name__)
            return None
        finally:
            asking.cancel()

    def _load(self, name: str) -> StoredAnswer | str | None:
        rows = list(self._read(ANSWER, name, self._wall() - KEPT_SECONDS))
        if not rows:
            return None
        run, language = rows[-1].data.get("run"), str(rows[-1].data.get("language"))
        language = language if language in RESTARTED else "en"
        frames = list(_frames_of(row.data for row in rows if row.data.get("run") == run))
        return StoredAnswer(frames, RESTARTED[language], RESTARTED_EARLY[language]) if frames else NOT_KEPT[language]


def _frames_of(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The frames of an answer's rows, as far as none is missing or damaged."""
    batch = 0
    parts: list[str] = []
    for row in rows:
        strings = row.get("frames")
        if row.get("batch") != batch or row.get("part") != len(parts) or not isinstance(strings, list):
            return
        parts.append("".join(map(str, strings)))
        if len(parts) == row.get("parts"):
            try:
                frames = json.loads(zlib.decompress(bytes.fromhex("".join(parts))))
            except (ValueError, zlib.error, RecursionError):
                return
            yield from frames
            batch, parts = batch + 1, []


class StoredAnswer:
    """An answer of a former run: see `RemoteAnswer` in streams/registry.py."""

    def __init__(self, frames: list[dict[str, Any]], sentence: str, early: str) -> None:
        self._frames = frames
        self._sentence = sentence
        self._early = early

    def follow(self, relay: Relay, lost: Callable[..., None]) -> None:
        """Give `relay` all of it, and `lost()` what to say (with some text, and without) if its end is missing."""
        whole = all("text" not in frame or frame["was"] == len(frame["text"]) for frame in self._frames)
        for frame in self._frames if whole else _anew(self._frames):
            relay.apply({name: value for name, value in frame.items() if name != "was"})
        if not relay.finished:
            lost(self._sentence, self._early)

    def cancel(self) -> None:
        """Nothing works on it any more."""

    def leave(self) -> None:
        """Nothing is held for it."""


def _anew(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same answer where secrets were taken out of its text. Places in it are no more those that pages know: all
    of the text comes once more behind every number that a page may have."""
    # Where it began in the text as it was, how long it was there, and what is left of it.
    pieces: list[tuple[int, int, str]] = []
    told = []
    for frame in frames:
        if "text" not in frame:
            told.append(frame)
            continue
        at = frame["at"]
        while pieces and pieces[-1][0] >= at:
            pieces.pop()
        if pieces:
            start, was, text = pieces.pop()
            pieces.append((start, was, text if at - start >= was else _first_units(text, at - start)))
        pieces.append((at, frame["was"], frame["text"]))
        if frame["type"] in ("item", "gap"):
            told.append({**frame, "at": 0, "text": "".join(text for _, _, text in pieces)})
        elif frame["type"] == "end":
            told.append({name: value for name, value in frame.items() if name not in ("at", "text")})
    behind = frames[-1]["seq"] + ABOVE
    whole = {"type": "delta", "seq": behind, "at": 0, "text": "".join(text for _, _, text in pieces)}
    if told and told[-1]["type"] == "end":
        return [*told[:-1], whole, {**told[-1], "seq": behind + 1}]
    return [*told, whole]
