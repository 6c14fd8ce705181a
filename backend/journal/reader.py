"""Reading the store: by any thread and any process, page by page, with no transaction left open in between.

Connections are read-only and live as long as a page does: a file can be sealed, let go or replaced meanwhile.
"""

from __future__ import annotations

import heapq
import math
import re
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from .faults import FileFault, fault_of
from .layout import SCHEMA, Layout, Search, layout_of, schema_of
from .rows import Stored, dumps
from .segments import Segment, list_segments, newest_of, open_readonly
from .slots import mend

PAGE_ROWS: Final = 500
MAX_PAGE: Final = 2_000
QUERY_SECONDS: Final = 5.0
FOLLOW_SECONDS: Final = 60.0
"""Of who follows nobody waits for the answer."""
_SALVAGED: Final = 20  # ids asked for at once in a damaged file
_STEPS: Final = 20_000  # of SQLite's machine between two looks at the clock


Span = tuple[float, float]
"""The earliest and the latest time in a file."""


class Cursor(NamedTuple):
    """How far a reader has come: the last id it has seen in each slot. Empty: the beginning."""

    places: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """From the text that `str()` gives: `0-17` or `0-17.1-5`; empty is the beginning. Raises ValueError."""
        places: dict[int, int] = {}
        for part in text.split(".") if text else ():
            slot, dash, id_ = part.partition("-")
            if not (dash and slot.isdecimal() and id_.isdecimal() and len(part) < 30):
                raise ValueError("a cursor looks like 0-17, or 0-17.1-5 where several programs write")
            places[int(slot)] = int(id_)
        return cls(tuple(sorted(places.items())))

    def moved(self, slot: int, id_: int) -> Cursor:
        """The cursor behind that event."""
        return Cursor(tuple(sorted({**dict(self.places), slot: id_}.items())))

    def __str__(self) -> str:
        return ".".join(f"{slot}-{id_}" for slot, id_ in self.places)


class Filter(NamedTuple):
    """Which events: all that is given has to fit. `types` may end with `.*`; times are seconds since 1970,
    `since` included and `until` not. `chat`, `model` and `outcome` are what the data says under those names."""

    types: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    session: str | None = None
    chat: str | None = None
    model: str | None = None
    outcome: str | None = None

    def data_fields(self) -> dict[str, str]:
        """The conditions on the data."""
        wanted = {"chat_id": self.chat, "model": self.model, "outcome": self.outcome}
        return {name: value for name, value in wanted.items() if value is not None}

    def search(self) -> Search:
        """The part of it that SQL decides; what it says of the data is narrowed only, not decided."""
        words = tuple(map(dumps, self.data_fields().values()))
        return Search(self.types, self.since, self.until, self.session, words)

    def misses(self, span: Span | None) -> bool:
        """Whether no event of that time can be one of these."""
        if span is None:
            return False
        return (self.since is not None and span[1] < self.since) or (self.until is not None and span[0] >= self.until)

    def fits(self, event: Stored) -> bool:
        """Whether an event is one of these."""
        return (
            (not self.types or any(_type_fits(pattern, event.type) for pattern in self.types))
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time < self.until)
            and (self.session is None or event.session == self.session)
            and all(event.data.get(name) == value for name, value in self.data_fields().items())
        )


class Page(NamedTuple):
    """A part of an answer. `cursor` is where to go on, `more` whether there is more to come at once.

    `damaged` names what could not be read, such as "events-0-000000000001.db: 40 events from 300 to 339".
    """

    events: list[Stored]
    cursor: Cursor
    more: bool
    damaged: list[str]


class TooSlow(Exception):
    """Raised when an answer takes longer than its limit; fewer days or types are quicker."""


Upcast = Callable[[Stored], Stored]


def _type_fits(pattern: str, type_: str) -> bool:
    return pattern in ("*", type_) or (pattern.endswith(".*") and type_.startswith(pattern[:-1]))


class Reader:
    """Answers from the files of a folder. From any thread; every call is on its own.

    `upcast` makes today's shape of what an older version wrote.
    """

    def __init__(self, folder: Path, upcast: Upcast | None = None) -> None:
        self._folder = folder
        self._upcast = upcast
        # The time that a sealed file covers, once it has been asked: it need not be opened again to be passed over.
        self._spans: dict[Path, Span] = {}

    def query(
        self,
        which: Filter,
        *,
        after: Cursor = Cursor(),  # noqa: B008
        limit: int = PAGE_ROWS,
        newest_first: bool = False,
        seconds: float = QUERY_SECONDS,
    ) -> Page:
        """At most `limit` events behind `after`, in the order of their ids within a slot, slots merged by time.

        Raises TooSlow after `seconds`, sqlite3.Error for what is no damage, such as a lock that does not go.
        """
        deadline = time.monotonic() + seconds
        damaged: list[str] = []
        found: list[Stored] = []
        places = dict(after.places)
        # What is not one of these has been seen, too: who asks again need not go through it once more.
        end = {} if newest_first else dict(self.end().places)
        streams = [
            self._slot(segments, which, places.get(slot), newest_first, limit + 1, deadline, damaged)
            for slot, segments in self._by_slot(newest_first).items()
        ]
        more = False
        try:
            for event in _merged(streams, newest_first):
                if len(found) >= limit:
                    more = True
                    break
                found.append(event)
                places[event.slot] = event.id
        finally:
            for stream in streams:
                stream.close()
        if not more:
            places |= {slot: max(id_, places.get(slot, 0)) for slot, id_ in end.items()}
        return Page(found, Cursor(tuple(sorted(places.items()))), more, damaged)

    def catch_up(self, which: Filter, after: Cursor, *, limit: int = PAGE_ROWS) -> Page:
        """The next page of who follows: as `query()`, but what it has missed for good is told first, by an event
        `store.gap` that is in no file."""
        places = dict(after.places)
        missed: list[Stored] = []
        end = dict(self.end().places)
        for slot, first in self.first_ids().items():
            seen = places.get(slot, 0 if places else first - 1)
            if first > seen + 1:
                missed.append(_gap(slot, first - 1, first - 1 - seen, "no longer kept"))
            elif seen > end.get(slot, first - 1):
                missed.append(_gap(slot, end.get(slot, first - 1), 0, "the store was replaced by an older one"))
        for gap in missed:
            places[gap.slot] = gap.id
        after = Cursor(tuple(sorted(places.items())))
        page = self.query(which, after=after, limit=limit, seconds=FOLLOW_SECONDS)
        return page._replace(events=missed + page.events) if missed else page

    def scan(
        self,
        which: Filter,
        *,
        after: Cursor = Cursor(),  # noqa: B008
        page: int = 2_000,
        newest_first: bool = False,
    ) -> Iterator[Stored]:
        """All events behind `after`, oldest first, however long it takes. Close it, or run it to its end."""
        seen = dict(after.places)
        streams = [
            self._slot(segments, which, seen.get(slot), newest_first, page, None, [])
            for slot, segments in self._by_slot(newest_first).items()
        ]
        try:
            yield from _merged(streams, newest_first)
        finally:
            for stream in streams:
                stream.close()

    def end(self) -> Cursor:
        """Behind the newest event there is."""
        places = {}
        for slot, segments in self._by_slot(True).items():
            for segment in segments:
                newest = newest_of(segment)
                if newest is not None:
                    places[slot], _ = newest
                    break
        return Cursor(tuple(sorted(places.items())))

    def first_ids(self) -> dict[int, int]:
        """The oldest id that may still be there, by slot."""
        return {slot: segments[0].first_id for slot, segments in self._by_slot(False).items()}

    def check(self) -> list[dict[str, Any]]:
        """One row a file: `file`, `slot`, `bytes`, `events`, `first`, `last`, `since`, `until`, `missing` (ids that
        are not there), `problem` (empty, or a sentence). Reads everything: 2 s for a million events."""
        return [self._checked(segment) for segment in list_segments(self._folder)]

    # One file after the other

    def _by_slot(self, newest_first: bool) -> dict[int, list[Segment]]:
        slots: dict[int, list[Segment]] = {}
        for segment in list_segments(self._folder):
            slots.setdefault(segment.slot, []).append(segment)
        if newest_first:
            for segments in slots.values():
                segments.reverse()
        return slots

    def _slot(
        self,
        segments: Sequence[Segment],
        which: Filter,
        seen: int | None,
        newest_first: bool,
        page: int,
        deadline: float | None,
        damaged: list[str],
    ) -> Generator[Stored, None, None]:
        for number, segment in enumerate(segments):
            if seen is not None:
                if newest_first:
                    if segment.first_id >= seen:
                        continue
                elif number + 1 < len(segments) and segments[number + 1].first_id <= seen + 1:
                    continue
            if which.misses(self._spans.get(segment.path)):
                continue
            one = _OneFile(
                segment, which, self._upcast, newest_first, min(page, MAX_PAGE), deadline, damaged, self._spans
            )
            yield from one.events(seen)

    def _checked(self, segment: Segment) -> dict[str, Any]:
        row: dict[str, Any] = {"file": segment.path.name, "slot": segment.slot, "bytes": segment.bytes, "problem": ""}
        row |= {"events": 0, "first": None, "last": None, "since": None, "until": None, "missing": 0}
        try:
            connection = open_readonly(segment.path)
            try:
                if layout_of(connection) is None:  # the program was killed between making the file and its first row
                    return row
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                row["problem"] = "" if answer == "ok" else f"damaged: {answer}"
                if schema_of(connection) > SCHEMA:
                    row["problem"] = "written by a newer version"
                row["events"], row["since"], row["until"] = connection.execute(
                    "SELECT count(*), min(time), max(time) FROM events"
                ).fetchone()
                for name, order in (("first", "ASC"), ("last", "DESC")):
                    found = connection.execute(f"SELECT id FROM events ORDER BY id {order} LIMIT 1").fetchone()  # noqa: S608
                    row[name] = found[0] if found else None
                if row["events"]:
                    row["missing"] = row["last"] - row["first"] + 1 - row["events"]
            finally:
                connection.close()
        except sqlite3.Error as error:
            row["problem"] = row["problem"] or f"cannot be read: {error}"
        return row


def _gap(slot: int, id_: int, lost: int, reason: str) -> Stored:
    now = time.time()
    data = {"reason": reason, "lost": lost, "by_type": {}, "since": now, "until": now}
    return Stored(slot, id_, now, "store.gap", "store", None, 1, data)


def _merged(streams: list[Generator[Stored, None, None]], newest_first: bool) -> Iterable[Stored]:
    return streams[0] if len(streams) == 1 else heapq.merge(*streams, key=_by_time, reverse=newest_first)


def _by_time(event: Stored) -> float:
    return event.time


class _OneFile:
    """The events of one segment, in pages. Each page is a statement of its own."""

    def __init__(
        self,
        segment: Segment,
        which: Filter,
        upcast: Upcast | None,
        newest_first: bool,
        page: int,
        deadline: float | None,
        damaged: list[str],
        spans: dict[Path, Span],
    ) -> None:
        self._segment = segment
        self._which = which
        self._upcast = upcast
        self._newest_first = newest_first
        self._page = max(page, 1)
        self._deadline = deadline
        self._damaged = damaged
        self._spans = spans

    def events(self, seen: int | None) -> Iterator[Stored]:
        """Behind `seen`, in order. What is damaged is left out and told."""
        connection: sqlite3.Connection | None = None
        try:
            if Path(f"{self._segment.path}-journal").exists():
                mend(self._segment)
            connection = open_readonly(self._segment.path)
            if self._deadline is not None:
                connection.set_progress_handler(self._too_late, _STEPS)
            layout = layout_of(connection)
            if layout is None or self._is_of_another_time(connection):
                return
            if self._segment.damaged:
                yield from self._salvage(connection, layout, seen)
                return
            last = seen
            try:
                for event in self._pages(connection, layout, seen):
                    last = event.id
                    yield event
            except sqlite3.DatabaseError as error:
                self._raise_if_late(error)
                if fault_of(error) is not FileFault.CORRUPT or _is_newer(connection):
                    raise
                yield from self._salvage(connection, layout, last)
        except sqlite3.DatabaseError as error:
            self._raise_if_late(error)
            if not self._segment.path.exists():
                return  # retention took the file while we looked
            if fault_of(error) is FileFault.LOCKED:
                raise
            self._damaged.append(f"{self._segment.path.name}: {self._words(error, connection)}")
        finally:
            if connection is not None:
                connection.close()

    def _words(self, error: sqlite3.Error, connection: sqlite3.Connection | None) -> str:
        """Why a file cannot be read."""
        if fault_of(error) is FileFault.UNWRITABLE and Path(f"{self._segment.path}-journal").exists():
            return "the program was killed while it changed this file; its next start mends it"
        if connection is not None and _is_newer(connection):
            return "it was written by a newer version of Copilot Pulse"
        return str(error)

    def _too_late(self) -> int:
        return int(self._deadline is not None and time.monotonic() > self._deadline)

    def _raise_if_late(self, error: sqlite3.Error) -> None:
        if "interrupted" in str(error):
            raise TooSlow("the answer takes too long: ask for less time, or for fewer types") from None

    def _is_of_another_time(self, connection: sqlite3.Connection) -> bool:
        """Whether a file says that it has nothing of the time that is asked for."""
        if self._which.since is None and self._which.until is None:
            return False
        row = connection.execute(
            "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM meta WHERE key = 'span'"
        ).fetchone()
        if row is None or row[0] is None:
            return False
        self._spans[self._segment.path] = span = (row[0], row[1])
        return self._which.misses(span)

    def _pages(self, connection: sqlite3.Connection, layout: Layout, seen: int | None) -> Iterator[Stored]:
        where, values = layout.conditions(self._which.search())
        order, sign = ("DESC", "<") if self._newest_first else ("ASC", ">")
        select, end = f"SELECT {layout.columns} FROM events", f" ORDER BY id {order} LIMIT ?"  # noqa: S608
        beyond = "" if seen is None else f"id {sign} ?"
        both = " AND ".join(filter(None, (where, beyond)))
        rows = self._page_of(connection, f"{select}{' WHERE ' if both else ''}{both}{end}", values, seen)
        # What fills a page is not rare: to go on row by row is quicker than to sort all that the index has.
        later = f"{select} NOT INDEXED WHERE {where}{' AND ' if where else ''}id {sign} ?{end}"
        while True:
            yield from self._events(layout, rows)
            if len(rows) < self._page:
                return
            rows = self._page_of(connection, later, values, rows[-1][0])

    def _page_of(self, connection: sqlite3.Connection, sql: str, values: list[Any], seen: int | None) -> list[Any]:
        if self._too_late():
            raise TooSlow("the answer takes too long: ask for less time, or for fewer types")
        return connection.execute(sql, (*values, *(() if seen is None else (seen,)), self._page)).fetchall()

    def _events(self, layout: Layout, rows: list[Any]) -> Iterable[Stored]:
        """Those of the rows that fit, in today's shape."""
        events: Iterable[Stored] = layout.read(self._segment.slot, rows)
        if self._upcast is not None:
            events = map(self._upcast, events)
        return filter(self._which.fits, events) if self._which.data_fields() else events

    def _salvage(self, connection: sqlite3.Connection, layout: Layout, seen: int | None) -> Iterator[Stored]:
        """What can still be read of a damaged file, a few ids at a time."""
        low, high = self._range(connection)
        if self._newest_first:
            high = high if seen is None else min(high, seen - 1)
        else:
            low = low if seen is None else max(low, seen + 1)
        lost: list[int] = []
        starts = range(low, high + 1, _SALVAGED)
        for start in reversed(starts) if self._newest_first else starts:
            if self._too_late():
                raise TooSlow("a damaged file takes too long to read: ask for less time")
            rows = self._window(connection, layout, start, min(start + _SALVAGED - 1, high), lost)
            events = self._events(layout, list(reversed(rows)) if self._newest_first else rows)
            yield from filter(self._which.fits, events)
        name = self._segment.path.name
        if lost:
            self._damaged.append(f"{name}: {len(lost)} events from {min(lost)} to {max(lost)} cannot be read")
        elif low > high and seen is None:
            self._damaged.append(f"{name}: nothing of it can be read")

    def _range(self, connection: sqlite3.Connection) -> tuple[int, int]:
        ends = []
        for order in ("ASC", "DESC"):
            try:
                row = connection.execute(f"SELECT id FROM events ORDER BY id {order} LIMIT 1").fetchone()  # noqa: S608
            except sqlite3.DatabaseError as error:
                self._raise_if_late(error)
                row = None
            ends.append(row[0] if row else None)
        low = self._segment.first_id if ends[0] is None else ends[0]
        if ends[1] is not None:
            return low, ends[1]
        return low, low + self._segment.bytes // 100  # no event takes less

    def _window(
        self, connection: sqlite3.Connection, layout: Layout, low: int, high: int, lost: list[int]
    ) -> list[Any]:
        sql = f"SELECT {layout.columns} FROM events NOT INDEXED WHERE id BETWEEN ? AND ? ORDER BY id"  # noqa: S608
        try:
            return connection.execute(sql, (low, high)).fetchall()
        except sqlite3.DatabaseError as error:
            self._raise_if_late(error)
            if low == high:
                lost.append(low)
                return []
        rows = []
        for id_ in range(low, high + 1):
            rows += self._window(connection, layout, id_, id_, lost)
        return rows


def _is_newer(connection: sqlite3.Connection) -> bool:
    """Whether a file has a layout of which nothing is known here."""
    try:
        return schema_of(connection) > SCHEMA
    except sqlite3.Error:
        return False


_PATTERN: Final = re.compile(r"\*|[^*\s]{1,100}?(\.\*)?")
_AGO: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s?([smhdw])")
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_TEXTS: Final = ("session", "chat", "model", "outcome")


def parse_time(text: str, now: float) -> float:
    """Seconds since 1970 from such a number, an ISO time, or how long ago: `90s`, `15m`, `2h`, `3d`, `1w`.

    An ISO time without a zone is local. Raises ValueError.
    """
    text = text.strip()
    ago = _AGO.fullmatch(text)
    if ago:
        return now - float(ago[1]) * _UNITS[ago[2]]
    try:
        try:
            seconds = float(text)
        except ValueError:
            seconds = datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{text[:40]!r} is no time: use 2h, 3d, 2026-11-25, 2026-11-25T14:30 or seconds since 1970")
    return seconds


def parse_filter(words: Mapping[str, str | None], now: float) -> Filter:
    """A filter from what a user wrote: `type` (several with commas), `since`, `until`, `session`, `chat`, `model`,
    `outcome`. Empty words are as good as none. Raises ValueError with a sentence."""
    types = tuple(part.strip() for part in (words.get("type") or "").split(",") if part.strip())
    for pattern in types:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(f"{pattern[:40]!r} is no type: it may be chat.finished, chat.* or *")
    since, until = (parse_time(text, now) if (text := words.get(name)) else None for name in ("since", "until"))
    return Filter(types, since, until, *(words.get(name) or None for name in _TEXTS))
