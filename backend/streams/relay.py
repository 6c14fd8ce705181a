"""What a chat's handler writes, kept so that readers may come, go and come back.

A `Relay` is the bounded log of one answer. Copilot writes cumulative text, so the log holds the newest text once,
and for each reader works out what is new to it; only what is not text (data, other fields, the end) is kept item
by item. Every write has a sequence number, from 1 on, and a long one several, so that it can be read in pieces. A
`RelayReader` pulls `frames`: plain dicts, ready for JSON, which docs/protocol.md describes. A slow reader costs a few
numbers of memory and holds up nobody.

All of it belongs to one thread, the event loop's. Offsets (`at`) count UTF-16 code units, as JavaScript does.
"""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

Frame = dict[str, Any]
Outcome = Literal["completed", "failed", "cancelled"]

MAX_ITEMS: Final = 256
"""Items that are no plain text, per answer; the oldest go first, and a reader that needs them is told of the gap."""
MAX_ITEM_CHARS: Final = 4_000_000
WAITED_FOR: Final = 4
"""So many times both bounds are kept for a reader that is there and has not had them."""
MAX_CUTS: Final = 32
INDEX_STEP: Final = 256
"""Characters between two marks of the index; a reader that comes back gets at most so many a second time."""
MAX_INDEX: Final = 512
PIECE: Final = 4_096
PIECES: Final = 32
"""A frame has at most so many characters of text, or this part of all the text if that is more: a connection that
breaks early still makes progress, a frame is little to hold, and a page that shows each piece has little to do."""
OVERHEAD: Final = 1_000
"""Bytes that a relay costs beside its text and items: counted, so that many empty answers cannot fill the memory."""


ABOVE: Final = 10**9
"""Numbers that are passed over where an answer's writer is gone: it may have given more of them than are known here."""


class RelayEnded(RuntimeError):
    """Raised when something is written after the end."""


class _Item(NamedTuple):
    seq: int
    before: int  # the number of the newest plain text before it; 0: none since the item before
    length: int  # of the text at that point, in characters
    frame: Mapping[str, Any]  # with "type"
    size: int  # in characters
    held: int  # in bytes of memory

    @property
    def has_text(self) -> bool:
        """Whether it is a line with text."""
        return self.frame["type"] == "item" and isinstance(self.frame["line"].get("text"), str)


class _Cut(NamedTuple):
    seq: int
    kept: int  # characters of the text before it that are still valid


class Relay:
    """One answer: written by one, read by any number. Nothing in it waits."""

    def __init__(self) -> None:
        self.seq = 0
        self.text = ""
        self.outcome: Outcome | None = None
        self.readers: list[RelayReader] = []
        # Called when a reader comes, leaves, pauses or goes on.
        self.on_readers: Callable[[], None] | None = None
        self._wide = False  # whether the text has characters of two UTF-16 units
        self._text_seq = 0  # of the newest plain text, 0 if an item came later
        self._items: deque[_Item] = deque()
        self._item_chars = 0
        self._item_bytes = 0
        self.lost = 0  # items that the log could not keep
        self._lost_seq = self._lost_length = 0
        self._cuts: list[_Cut] = []
        self._index_seqs: list[int] = [0]
        self._index_lengths: list[int] = [0]
        self._index_step = INDEX_STEP
        self._envelope: dict[str, Any] | None = None
        self._known: int | None = None  # the last number that is known here, if its writer is gone

    @property
    def finished(self) -> bool:
        """Whether the end has been written."""
        return self.outcome is not None

    @property
    def size(self) -> int:
        """Bytes of memory, roughly: four for a character that is not ASCII."""
        wide = 1 if self.text.isascii() else 4
        return OVERHEAD + len(self.text) * wide + self._item_bytes + 80 * len(self._index_seqs)

    # -- the writer's side -----------------------------------------------------------------------

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer begins. Raises RelayEnded, as all that writes does."""
        self._add("head", {"status": status, "headers": dict(headers)})

    def line(self, line: Mapping[str, Any]) -> None:
        """One line of Copilot's answer: an object whose `text`, if it has one, is all the text so far.

        A line that differs from the one before in its text alone is conflated; any other is kept whole. One
        without text is kept as it is, and what follows it as well.
        """
        text = line.get("text")
        if not isinstance(text, str):
            self._envelope = None
            self._add("item", {"line": dict(line)})
            return
        envelope = {name: value for name, value in line.items() if name != "text"}
        plain = self._envelope == envelope
        self._set_text(text)
        if plain:
            self._text_seq = self.seq
            self._wake()
            return
        # What follows an item with data, or the first line, is compared with its plain form.
        self._envelope = {**envelope, **{n: v for n, v in PLAIN.items() if n in envelope}}
        self._add("item", {"line": dict(line, text="")}, counted=True)

    def raw(self, text: str) -> None:
        """Something that is no line of Copilot's."""
        self._add("raw", {"data": text})

    def body(self, text: str) -> None:
        """The whole body of an answer that is no stream, such as an error."""
        self._add("body", {"data": text})

    def end(self, outcome: Outcome) -> None:
        """The answer has ended. The first end counts."""
        if self.outcome is None:
            self._add("end", {"outcome": outcome})
            self.outcome = outcome
            self._wake()

    def apply(self, frame: Mapping[str, Any]) -> None:
        """Take a frame that a reader of the same answer, elsewhere, was given; one that is not new changes nothing.

        This relay then gives every reader the same text under the same numbers. Writing and applying exclude one
        another. The frame has to have the shape that docs/protocol.md names.
        """
        seq, kind = frame["seq"], frame["type"]
        if seq <= self.seq or self.outcome is not None:
            return
        if "text" in frame:
            # Numbers between the one before and this one were given out elsewhere, for texts that are not known here:
            # only at this number is it known how much of the text a reader has.
            kept = self._first_units(frame["at"])
            text = kept + frame["text"]
            # Also if what was cut has grown back the same: in between, a reader elsewhere may have had less.
            if len(kept) < len(self.text):
                self._add_cut(seq, len(kept))
            self._wide = self._wide or (not text.isascii() and max(text) > "\uffff")
            self.text, self.seq = text, seq
            if abs(len(text) - self._index_lengths[-1]) >= self._index_step:
                self._mark(len(text))
        self.seq = seq
        if kind == "delta":
            self._text_seq = seq
            self._wake()
        elif kind == "gap":
            self.lost, self._lost_seq, self._lost_length = frame["lost"], seq, len(self.text)
            self._wake()
        else:
            data = {name: value for name, value in frame.items() if name not in ("type", "seq", "at", "text")}
            self._add(kind, data, counted=True)
            if kind == "end":
                self.outcome = frame["outcome"]
                self._wake()

    def abandon(self, sentence: str, line: Mapping[str, Any] | None = None) -> None:
        """Whoever wrote this is gone: add a sentence to the text, in a last line like those before, and end.

        `line` is what lines look like where no text is known yet. An answer that is no stream of lines, such as an
        error, gets none.
        """
        if self.outcome is None:
            self._known = self.seq
            self.seq += ABOVE
            written = next((item.frame["line"] for item in reversed(self._items) if item.has_text), None)
            if written is None and all(item.frame["type"] in ("head", "item") for item in self._items):
                written = line
            if written is not None:
                self.line({**written, "ext": None, "finished": True, "text": self.text + sentence})
            self.end("failed")

    def observe(self, after: int = 0, *, pieces: bool = False) -> RelayReader:
        """As `read()`, a reader that counts as none: nothing waits for it and nothing is kept for it."""
        return self._reader(after, "", pieces)

    def _first_units(self, units: int) -> str:
        """As much of the text as these UTF-16 code units."""
        if not self._wide:
            return self.text[:units]
        return self.text.encode("utf-16-le", "surrogatepass")[: 2 * units].decode("utf-16-le", "surrogatepass")

    def _add_cut(self, seq: int, kept: int) -> None:
        self._cuts.append(_Cut(seq, kept))
        if len(self._cuts) > MAX_CUTS:
            # Two cuts become one: a reader may get more than it lacks, never less.
            first, second = self._cuts[:2]
            self._cuts[:2] = [_Cut(second.seq, min(first.kept, second.kept))]

    def _set_text(self, text: str) -> None:
        if self.outcome is not None:
            raise RelayEnded(f"written after the end ({self.outcome})")
        self.seq += 1
        old = self.text
        kept = len(old) if text.startswith(old) else _common(old, text)
        added = text[kept:]
        if kept < len(old):
            self._add_cut(self.seq, kept)
        if added and not self._wide and not added.isascii():
            self._wide = max(added) > "\uffff"
        self.text = text
        piece = piece_of(len(text))
        for length in range(kept + piece, len(text), piece):
            self._mark(length)
            self.seq += 1
        if abs(len(text) - self._index_lengths[-1]) >= self._index_step:
            self._mark(len(text))

    def _mark(self, length: int) -> None:
        """Note in the index that the text up to `length` has the newest number."""
        self._index_seqs.append(self.seq)
        self._index_lengths.append(length)
        if len(self._index_seqs) > MAX_INDEX:
            self._index_step *= 2
            del self._index_seqs[1::2]
            del self._index_lengths[1::2]

    def _add(self, kind: str, data: Mapping[str, Any], *, counted: bool = False) -> None:
        if self.outcome is not None:
            raise RelayEnded(f"written after the end ({self.outcome})")
        if not counted:
            self.seq += 1
        frame = {"type": kind, **data}
        size, held = (len(repr(data)), held_bytes(data)) if kind != "end" else (0, 0)
        self._items.append(_Item(self.seq, self._text_seq, len(self.text), frame, size, held))
        self._item_chars += size
        self._item_bytes += held
        self._text_seq = 0
        if len(self._items) > MAX_ITEMS or self._item_chars > MAX_ITEM_CHARS:
            self._trim()
        self._wake()

    def _trim(self) -> None:
        items = self._items
        # The head is kept, for a reader needs it first, and so is the newest item, which nobody can have read yet.
        first = int(items[0].frame["type"] == "head")
        newest = 2 if items[-1].frame["type"] == "end" else 1
        read = min((reader.seq for reader in self.readers), default=self.seq)
        while len(items) - newest > first:
            lost = items[first]
            times = WAITED_FOR if lost.seq > read else 1
            if len(items) <= times * MAX_ITEMS and self._item_chars <= times * MAX_ITEM_CHARS:
                break
            del items[first]
            self._item_chars -= lost.size
            self._item_bytes -= lost.held
            self.lost += 1
            self._lost_seq, self._lost_length = lost.seq, lost.length

    def _wake(self) -> None:
        for reader in self.readers:
            reader.wake()

    # -- the readers' side -----------------------------------------------------------------------

    def read(self, after: int = 0, *, transport: str = "http", pieces: bool = True) -> RelayReader:
        """A reader that has everything up to the number `after`; close it when done.

        A number that was never given counts as 0: the reader gets everything. Without `pieces` a frame holds
        all the text that is new, however much.
        """
        reader = self._reader(after, transport, pieces)
        self.readers.append(reader)
        self._readers_changed()
        return reader

    def _reader(self, after: int, transport: str, pieces: bool) -> RelayReader:
        if not 0 <= after <= self.seq:
            after = 0
        index = bisect_right(self._index_seqs, after) - 1
        if self._known is not None and after > self._known:
            index = 0  # what it has was written behind what is known here: it gets all the text
        return RelayReader(self, after, self._index_seqs[index], self._index_lengths[index], transport, pieces)

    def _readers_changed(self) -> None:
        if self.on_readers is not None:
            self.on_readers()

    def valid(self, length: int, seq: int) -> int:
        """How many of the first `length` characters, as they were at `seq`, are still right."""
        for cut in reversed(self._cuts):
            if cut.seq <= seq:
                break
            length = min(length, cut.kept)
        return length

    def mark_before(self, seq: int, after: int, length: int) -> tuple[int, int] | None:
        """A mark after the number `after` and before `seq`: the last within `length` characters, else the first."""
        found = None
        for index in range(bisect_right(self._index_seqs, after), bisect_left(self._index_seqs, seq)):
            mark = self._index_seqs[index], self._index_lengths[index]
            if found is not None and mark[1] > length:
                break
            found = mark
        return found

    def units(self, length: int) -> int:
        """The first `length` characters in UTF-16 code units."""
        if not self._wide:
            return length
        return len(self.text[:length].encode("utf-16-le", "surrogatepass")) // 2

    def next_after(self, seq: int) -> _Item | None:
        """The oldest kept item past `seq`."""
        # Readers are nearly always at the end, so look from there.
        found = None
        for item in reversed(self._items):
            if item.seq <= seq:
                break
            found = item
        return found

    def gap_after(self, seq: int) -> tuple[int, int]:
        """The number up to which items past `seq` may be lost, and the text's length there; or 0, 0."""
        return (self._lost_seq, self._lost_length) if self._lost_seq > seq else (0, 0)

    @property
    def text_seq(self) -> int:
        """The number of the newest text that no item holds, or 0."""
        return self._text_seq

    def __repr__(self) -> str:
        state = self.outcome or "running"
        return f"<Relay {state}, seq {self.seq}, {len(self.text)} characters, {len(self.readers)} readers>"


def piece_of(length: int) -> int:
    """How many characters of a text of `length` a frame holds at most."""
    return max(PIECE, length // PIECES)


def held_bytes(value: Any) -> int:
    """Bytes of memory that plain data holds: of many small objects, far more than its text is long."""
    total, left = 0, [value]
    while left:
        one = left.pop()
        total += sys.getsizeof(one)
        if isinstance(one, Mapping):
            left.extend(one.keys())
            left.extend(one.values())
        elif isinstance(one, (list, tuple)):
            left.extend(one)
    return total


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


PLAIN: Final[Mapping[str, Any]] = {"ext": None, "finished": False}
"""What a line of text alone has in the fields that make a line more than that."""


class RelayReader:
    """One reader of a relay. `next_nowait()` or `frames()`; `close()` when done."""

    def __init__(self, relay: Relay, seq: int, text_seq: int, length: int, transport: str, pieces: bool) -> None:
        self.relay = relay
        self.transport = transport
        self.after = seq
        self.paused = False
        self._seq = seq  # everything up to here has been given
        self._text_seq = text_seq  # the text that it has is at least that of this number ...
        self._length = length  # ... with so many characters
        # Whoever waits for more; set and taken back by `wait()`.
        self._waiter: asyncio.Future[bool] | None = None
        self._closed = False
        self._pieces = pieces

    @property
    def seq(self) -> int:
        """The number of the newest frame given."""
        return self._seq

    @property
    def done(self) -> bool:
        """Whether the end has been given."""
        return self.relay.finished and self._seq >= self.relay.seq

    def wake(self, news: bool = True) -> None:
        """Whoever waits need not wait longer; `news`: there may be something new."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(news)

    def next_nowait(self) -> Frame | None:
        """The next frame, or None if there is nothing new. Plain texts in a row come as one, if it is not long."""
        relay = self.relay
        lost, length = relay.gap_after(self._seq)
        item = relay.next_after(self._seq)
        if lost and (item is None or item.seq > lost):
            gap = {"type": "gap", "lost": relay.lost}
            return self._piece(lost, length) or {**self._delta(lost, length), **gap}
        if item is None:
            seq, length = relay.text_seq, len(relay.text)
            if seq > self._seq:
                return self._piece(seq, length) or self._delta(seq, length)
            self._seq = relay.seq  # a number may hold nothing, if what it was given to could not be kept
            return None
        if item.has_text:
            return self._piece(item.seq, item.length) or {**self._delta(item.seq, item.length), **item.frame}
        if item.before > self._seq:
            return self._piece(item.before, item.length) or self._delta(item.before, item.length)
        self._seq = item.seq
        return {**item.frame, "seq": item.seq}

    def _piece(self, seq: int, length: int) -> Frame | None:
        """A part of what is missing up to the number `seq`, or None if a frame can hold it."""
        relay = self.relay
        have = relay.valid(self._length, self._text_seq)
        most = piece_of(len(relay.text))
        if not self._pieces or relay.valid(length, seq) - have <= most:
            return None
        mark = relay.mark_before(seq, self._seq, have + most)
        return self._delta(*mark) if mark is not None else None

    def _delta(self, seq: int, length: int) -> Frame:
        relay = self.relay
        end = relay.valid(length, seq)
        at = min(relay.valid(self._length, self._text_seq), end)
        self._seq = self._text_seq = seq
        self._length = end
        return {"type": "delta", "seq": seq, "at": relay.units(at), "text": relay.text[at:end]}

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until there may be something new, `timeout` seconds at most; whether there is. One waits at a time.

        A cancel always passes, and leaves the reader as it was.
        """
        if self.pending or self._closed:
            return True
        # A bare future: `asyncio.wait_for` swallows a cancel that comes together with the news, before Python 3.12.
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        timer = loop.call_later(timeout, self.wake, False) if timeout is not None else None
        try:
            return await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    @property
    def pending(self) -> bool:
        """Whether `next_nowait()` would give a frame."""
        return not self._closed and self._seq < self.relay.seq

    async def frames(self, beat: float | None = None) -> AsyncIterator[Frame]:
        """All frames up to and with the end. After `beat` seconds of silence comes {"type": "beat"}.

        A cancel takes no frame with it: who asks again goes on where it was. `close()` ends it.
        """
        while not self.done and not self._closed:
            frame = self.next_nowait()
            if frame is not None:
                yield frame
            elif not await self.wait(beat):
                yield {"type": "beat"}

    def pause(self, paused: bool) -> None:
        """Say that nothing will be read for a while (or that reading goes on)."""
        if self.paused != paused:
            self.paused = paused
            self.relay._readers_changed()

    def close(self) -> None:
        """Leave. Idempotent; `frames()` ends."""
        if not self._closed:
            self._closed = True
            self.wake()
            self.relay.readers.remove(self)
            self.relay._readers_changed()
