"""Reads the streams of all other instances, this one's inbox, and whatever else a room wants read, over one connection.

Each stream has a cursor of ours, an id: never Redis' own idea of "new", which forgets what comes between two reads.
Events are given to the fleet bus with `await`, so a slow handler slows the reading down and Redis holds what waits;
when that is too little, the numbers in the ids say how much was lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..event_bus import DONE, EventBus
from .layout import FORM, UNREADABLE, FleetEvent, Keys, Seconds, Tally, checked, decode, parse_fields, parse_id
from .redis_link import PERMANENT_WAIT, Link, LinkError

log = logging.getLogger("copilot_pulse.fleet")

BLOCK: Final = 5.0
MOST_ENTRIES: Final = 64
"""Entries of one reply, over all streams; of one stream at most COUNT."""
COUNT: Final = 8
SLICE: Final = 0.001
"""Seconds for which the loop is held at most, however many entries a reply has."""
PACE_PER_PEER: Final = 0.005
LEAP: Final = 10_000_000
"""Events that an instance does not make between two heartbeats: a number that is so far ahead is somebody else's."""
NEWEST: Final = 2**64 - 1
LARGE: Final = 100_000
"""Bytes of an entry from which on its events are remembered for the panel as far as they are shown."""

OnEntry = Callable[[bytes, dict[str, bytes]], Awaitable[None] | None]


class Source:
    """The stream of one other instance, and how far it has been read."""

    __slots__ = ("boot", "cursor", "instance", "known", "known_unsent", "last", "unsent")

    def __init__(self, boot: str, instance: str, last: int, unsent: int) -> None:
        self.boot = boot
        self.instance = instance
        self.last = last  # the number of the newest event read, or told as lost
        self.unsent = unsent
        self.cursor = f"{last}-{NEWEST}" if last else "0-0"
        self.known = last  # the number that its heartbeat says Redis has
        self.known_unsent = unsent

    @property
    def lag(self) -> int:
        """Events that lie in Redis and have not been read."""
        return max(0, self.known - self.last)


class Reader:
    """One task, `run()`. For the loop's thread. Events go to `bus`; `seen(event)` sees each first."""

    def __init__(
        self,
        bus: EventBus,
        link: Link,
        keys: Keys,
        boot: str,
        *,
        pace: float,
        poke: Callable[[], Awaitable[Any]],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.link = link
        self.sources: dict[str, Source] = {}
        self.received = 0
        self.bad = Tally(clock)  # entries that are none of ours
        self.gaps: Counter[str] = Counter()
        self.last_gap: float | None = None
        self.seen: Callable[[FleetEvent], None] = lambda event: None  # may keep what it is given
        self.on_inbox: Callable[[dict[str, bytes]], None] = lambda fields: None
        self.delivery_seconds = Seconds()
        self.wall_offset = 0.0  # of Redis' clock against ours
        self._bus = bus
        self._keys = keys
        self._inbox = keys.inbox(boot).encode()
        self._inbox_cursor = "0-0"
        self._pace = pace
        self._poke = poke
        self._clock = clock
        self._wall = wall
        self._others: dict[bytes, tuple[str, OnEntry]] = {}
        self._names: dict[bytes, Source] = {}
        self._avoided: dict[bytes, float] = {}  # what is no stream -> until when it is not asked for again
        self._asked: set[str] = set()
        self._pokes: set[asyncio.Task[Any]] = set()
        self._since = 0.0  # when the loop was last given to others

    async def run(self) -> None:
        """Read until cancelled. A cancel loses nothing but what a handler was being given."""
        try:
            await self.link.keep(self._serve)
        finally:
            for task in self._pokes:
                task.cancel()

    # -- what is read ----------------------------------------------------------------------------------

    def add(self, boot: str, instance: str, *, last: int = 0, unsent: int = 0) -> Source:
        """Read an instance's events after number `last`, from now on."""
        source = self.sources.get(boot)
        if source is None:
            source = self.sources[boot] = Source(boot, instance, last, unsent)
            self._names[self._keys.events(boot).encode()] = source
            self._poke_soon()
        return source

    async def remove(self, boot: str) -> tuple[int, int]:
        """Read an instance's events no longer; what its heartbeat promised and never came is told as lost.

        Returns what `add()` needs to read on from there: `last` and `unsent`.
        """
        source = self.sources.pop(boot)
        self._names.pop(self._keys.events(boot).encode(), None)
        await self._tell_missing(source, "gone")
        return source.last, source.unsent

    def watch(self, stream: str, cursor: str, on_entry: OnEntry) -> None:
        """Read another stream too: `on_entry(id, fields)` for each entry after `cursor`."""
        self._others[stream.encode()] = (cursor, on_entry)
        self._avoided.pop(stream.encode(), None)
        self._poke_soon()

    def unwatch(self, stream: str) -> None:
        """Stop that."""
        self._others.pop(stream.encode(), None)

    def promise(self, boot: str, last: int, unsent: int) -> None:
        """An instance's heartbeat says that Redis has its events up to number `last`, but for `unsent` ones."""
        source = self.sources.get(boot)
        if source is not None and source.last > last + LEAP:  # somebody else has told us of a number that never was
            self.bad.note()
            source.last, source.known, source.cursor = last, last, f"{last}-{NEWEST}"
            source.unsent = source.known_unsent = unsent
        if source is not None:
            source.known = max(source.known, last)
            source.known_unsent = max(source.known_unsent, unsent)
            if source.lag:
                self._asked.add(boot)
                if parse_id(source.cursor)[0] > source.last:  # an entry of somebody else has moved the number too far
                    source.cursor = f"{source.last}-{NEWEST}"

    def _poke_soon(self) -> None:
        """Let a read that blocks end, by an entry in the inbox: it does not know of the new stream."""
        if self.link.up:
            task = asyncio.ensure_future(self._try_poke())
            self._pokes.add(task)
            task.add_done_callback(self._pokes.discard)

    async def _try_poke(self) -> None:
        try:
            await self._poke()
        except LinkError:
            return  # it reads again within BLOCK seconds anyway

    # -- the task --------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        await self._find_inbox()
        while True:
            began = self._clock()
            some, full = await self._read()
            if some and not full:
                pace = min(self._pace, PACE_PER_PEER * (len(self._names) - 1))
                rest = pace - (self._clock() - began)
                if rest > 0:
                    await asyncio.sleep(rest)

    async def _find_inbox(self) -> None:
        """The inbox' ids are Redis' own: after a restart with the clock behind, ours may lie in the future."""
        try:
            newest = await self.link.ask("XREVRANGE", self._inbox, "+", "-", "COUNT", 1, bulky=True)
        except LinkError as error:
            if not error.too_large and error.kind != "keys":
                raise
            await self.link.again()
            return  # somebody has put there what cannot be read; it is passed over when its turn comes
        top = newest[0][0] if newest else b"0-0"
        if parse_id(top)[0] == NEWEST:
            await self._empty_inbox()
            return
        if self._inbox_cursor == "0-0" or parse_id(top) < parse_id(self._inbox_cursor):
            self._inbox_cursor = top.decode()

    async def _empty_inbox(self) -> None:
        """Somebody else has given an entry there the last id that there is: nobody can tell us anything behind it."""
        self.bad.note()
        log.warning("fleet: somebody else has written into this machine's inbox in Redis; it is emptied")
        await self.link.ask("DEL", self._inbox)
        self._inbox_cursor = "0-0"

    async def _read(self) -> tuple[bool, bool]:
        """One XREAD. Returns whether anything came, and whether more may be there already."""
        names, wanted = dict(self._names), {self._inbox: self._inbox_cursor}
        wanted.update((name, source.cursor) for name, source in names.items())
        wanted.update((name, cursor) for name, (cursor, _) in self._others.items())
        for name in [name for name, until in self._avoided.items() if until < self._clock()]:
            del self._avoided[name]
        streams = [name for name in wanted if name not in self._avoided]
        if not streams:
            await asyncio.sleep(BLOCK)
            return False, False
        cursors = [wanted[name] for name in streams]
        count = max(1, min(COUNT, MOST_ENTRIES // len(streams)))
        asked, self._asked = self._asked, set()
        # Whoever owes us something is not waited for: one look tells whether it is there. Nor is the first entry after
        # a reconnect: until then nobody knows that reading works, and no poke would come.
        block = 1 if asked or not self.link.up else int(BLOCK * 1000)
        reply = await self._ask(streams, cursors, count, block)
        self.link.proved()
        self._since = self._clock()
        found: dict[bytes, list[Any]] = {bytes(name): entries for name, entries in reply}
        for boot in asked:
            source = self.sources.get(boot)
            if source is not None and self._keys.events(boot).encode() not in found:
                await self._tell_missing(source, "lost")
        for name, entries in found.items():
            source = names.get(name)
            for id_, fields in entries:
                if source is not None:
                    await self._take(source, id_, fields or ())
                else:
                    await self._take_other(name, id_, parse_fields(fields or ()))
        return bool(found), any(len(entries) >= count for entries in found.values())

    async def _ask(self, streams: list[bytes], cursors: list[str], count: int, block: int) -> list[Any]:
        """What XREAD finds; in parts, if that is more at once than a plan or the server's buffers allow."""

        async def ask(some: list[bytes], ids: list[str], most: int) -> list[Any]:
            wait = block if len(some) == len(streams) else 1
            words = ("XREAD", "COUNT", most, "BLOCK", wait, "STREAMS", *some, *ids)
            return await self.link.ask(*words, wait=wait / 1000, bulky=True) or []

        return await self.link.in_parts(ask, self._unreadable, streams, cursors, count)

    async def _unreadable(self, stream: bytes, cursor: str, why: LinkError) -> list[Any]:
        """The entry behind `cursor`, which cannot be read: its id, and that it is too large.

        The id is found by asking up to where there is nothing, which costs some 20 commands. A stream that is none is
        left alone for a while.
        """
        if why.kind == "keys":
            self._avoided[stream] = self._clock() + PERMANENT_WAIT
            return [[cursor.encode(), [UNREADABLE, b"1"]]] if stream in self._others else []

        async def reaches(end: str) -> bool:
            try:
                return bool(await self.link.ask("XRANGE", stream, f"({cursor}", end, "COUNT", 1, bulky=True))
            except LinkError as error:
                if not error.too_large:
                    raise
            await self.link.again()
            return True

        begin, _ = parse_id(cursor)
        first = await _least(begin, lambda number: reaches(f"{number}-{NEWEST}"))
        second = await _least(0, lambda number: reaches(f"{first}-{number}"))
        if first is None or second is None:
            return []  # the entry is gone
        log.warning("fleet: an entry of a stream in Redis is too large to be read; it is passed over")
        return [[f"{first}-{second}".encode(), [UNREADABLE, b"1"]]]

    async def _take_other(self, name: bytes, id_: bytes, fields: dict[str, bytes]) -> None:
        if name == self._inbox:
            self._inbox_cursor = id_.decode()
            self.on_inbox(fields)
            if parse_id(id_)[0] == NEWEST:
                await self._empty_inbox()
        elif name in self._others:
            on_entry = self._others[name][1]
            self._others[name] = (id_.decode(), on_entry)
            try:
                waiting = on_entry(id_, fields)
                if waiting is not None:
                    await waiting
            except Exception:  # whoever wrote it must not end the reading of all the rest
                self.bad.note()
                log.warning("fleet: an entry could not be taken", exc_info=True)

    async def _take(self, source: Source, id_: bytes, raw: Any) -> None:
        """One entry of an instance: first what is missing before it, then its events, one after the other."""
        if source.boot not in self.sources:
            return
        try:
            last, count = parse_id(id_)
            fields = parse_fields(raw)
            unsent = int(fields.get("d", b"0"))
        except (ValueError, TypeError, IndexError):
            self.bad.note()
            return
        before = source.last
        source.cursor = id_.decode()
        theirs = "v" not in fields and UNREADABLE.decode() not in fields
        if theirs or last > max(before, source.known) + LEAP:  # somebody else's, whose number says nothing
            self.bad.note()
            return
        if last <= before:
            return
        source.last = last
        lost = last - before - count
        if lost > 0:
            never = min(lost, max(0, unsent - source.unsent))
            await self._tell_gaps(source, {"unsent": never, "trimmed": lost - never})
        source.unsent = max(source.unsent, unsent)
        rows = self._rows(fields)
        expected = min(count, last - before)
        good = [row for row in rows if checked(row, before, last)][:expected]
        if len(good) < expected:
            self.bad.note()
            await self._tell_gaps(source, {"unreadable": expected - len(good)})
        await self._publish(source, good, len(fields.get("b", b"")) > LARGE)

    def _rows(self, fields: dict[str, bytes]) -> list[Any]:
        if fields.get("v") != str(FORM).encode():
            return []
        try:
            return decode(fields.get("b", b""))
        except ValueError:
            return []

    async def _publish(self, source: Source, rows: list[Any], large: bool) -> None:
        bus, boot, instance, seen = self._bus, source.boot, source.instance, self.seen
        shift = self.wall_offset
        self.received += len(rows)
        if rows:
            self.delivery_seconds.record(max(0.0, self._wall() - (rows[-1][2] / 1000 - shift)))
        for number, type_, wall, origin, session, data in rows:
            event = FleetEvent(
                type_, data, origin, session, instance=instance, key=f"{boot}-{number}", wall=wall / 1000 - shift
            )
            seen(event.cut() if large else event)
            waiting = bus.publish(event)
            if waiting is not DONE:
                await waiting
                self._since = self._clock()
            elif self._clock() - self._since > SLICE:
                await asyncio.sleep(0)
                self._since = self._clock()

    async def _tell_missing(self, source: Source, reason: str) -> None:
        """Tell as lost what the heartbeat promised and Redis does not have; it counts as read then."""
        lost = source.lag
        if lost:
            never = min(lost, max(0, source.known_unsent - source.unsent))
            source.last, source.unsent = source.known, source.unsent + never
            source.cursor = f"{source.last}-{NEWEST}"
            await self._tell_gaps(source, {"unsent": never, reason: lost - never})

    async def _tell_gaps(self, source: Source, lost: dict[str, int]) -> None:
        """Tell how many events are missing, by reason."""
        for reason, number in lost.items():
            if number:
                self.gaps[reason] += number
                self.last_gap = self._clock()
                data = {"instance": source.instance, "lost": number, "reason": reason}
                event = FleetEvent("fleet.gap", data, "copilot-pulse", instance=source.instance, wall=self._wall())
                self.seen(event)
                await self._bus.publish(event)


async def _least(low: int, holds: Callable[[int], Awaitable[bool]]) -> int | None:
    """The least number from `low` on for which `holds()`, as it does for all above it; None if there is none."""
    step = 1
    while not await holds(min(low + step - 1, NEWEST)):
        if low + step > NEWEST:
            return None
        low, step = low + step, 2 * step
    high = min(low + step - 1, NEWEST)
    while low < high:
        middle = (low + high) // 2
        if await holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
