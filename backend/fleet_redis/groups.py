"""Shared work: each event is handled by one instance of a group, at least once.

A group reads the very same streams, those of this instance too. The unit is the entry: when all its events that match
have been handled it is acknowledged, and until then it is pending for whoever read it. What nobody finishes is claimed
by another instance; what fails again and again goes to a stream of dead letters. A handler may so see an event twice,
with the same `key`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .layout import FORM, FleetEvent, Keys, checked, decode, dumps, parse_fields, parse_id
from .outbox import MOST_EVENTS, matches
from .redis_link import PERMANENT_WAIT, Link, LinkError
from .registry import Registry
from .writer import STREAM_LIFE, Writer

log = logging.getLogger("copilot_pulse.fleet")

BLOCK: Final = 1.0
COUNT: Final = 4
NEW: Final = ">"
SWEEP: Final = 15.0
SWEPT: Final = 64
DELIVERIES: Final = 5
"""After so many the events that still fail are given up, and those that nobody has lived to tell of."""
DEAD_LETTERS: Final = 1_000
DEAD_LIFE: Final = 30 * 86_400.0
FORGOTTEN: Final = 600.0
AGAIN_SECONDS: Final = 0.5
MOST_HALF_DONE: Final = 1_000

FleetHandler = Callable[[FleetEvent], Any]


class Share:
    """A pattern, and who handles its events. One is not another, even with the same handler."""

    __slots__ = ("handler", "pattern")

    def __init__(self, pattern: str, handler: FleetHandler) -> None:
        self.pattern = pattern
        self.handler = handler


class Groups:
    """The groups that this instance takes part in. For the loop's thread.

    Each has a connection and a task of its own, which `start(run, name)` begins, so that none waits for the
    handler of another. `given_up(data)` is awaited with the data of `fleet.dead`.
    """

    def __init__(
        self,
        new_link: Callable[[], Link],
        writer: Writer,
        registry: Registry,
        keys: Keys,
        *,
        start: Callable[[Callable[[], Awaitable[None]], str], object],
        claim_idle: float,
        given_up: Callable[[dict[str, Any]], Awaitable[None]],
        sweep: float = SWEEP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.groups: dict[str, Group] = {}
        self.writer = writer
        self.registry = registry
        self.keys = keys
        self.claim_idle = claim_idle
        self.given_up = given_up
        self.sweep = sweep
        self.clock = clock
        self._new_link = new_link
        self._start = start

    def add(self, name: str, pattern: str, handler: FleetHandler) -> Callable[[], None]:
        """Take part in a group, for the events of a pattern; returns what ends it.

        All patterns of a group in one process belong together: an event is done when each that matches has handled
        it. After the end the handler is called no more, but for what it is doing.
        """
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(name, self._new_link(), self)
            self._start(group.run, f"group {name}")
        share = Share(pattern, handler)
        group.shares.append(share)

        def end() -> None:
            group.shares[:] = [one for one in group.shares if one is not share]

        return end


class Group:
    """One group as this instance takes part in it. One task, `run()`."""

    def __init__(self, name: str, link: Link, groups: Groups) -> None:
        self.name = name
        self.link = link
        self.shares: list[Share] = []
        self.in_hand = 0
        self.handled = self.failed = self.redelivered = self.dead = self.lost = 0
        self._groups = groups
        self._writer, self._registry, self._keys = groups.writer, groups.registry, groups.keys
        self._made: set[str] = set()  # the streams of which Redis knows the group
        self._avoided: dict[str, float] = {}  # what is no stream -> until when it is not asked for again
        self._next_sweep = 0.0
        self._own_first = True
        self._read_at = 0.0  # when the entries in hand were given to us
        # An entry comes again because of one of its events: what was done of the others here is not done again.
        self._done: OrderedDict[tuple[str, bytes], set[tuple[str, Share]]] = OrderedDict()
        self._told: set[str] = set()

    def figures(self) -> dict[str, int]:
        """For metrics."""
        return {
            "pending": self.in_hand, "handled": self.handled, "failed": self.failed,
            "redelivered": self.redelivered, "dead": self.dead, "lost": self.lost,
        }  # fmt: skip

    async def run(self) -> None:
        """Work until nobody shares any more, or a cancel; what is in hand then stays pending and another claims it."""
        await self.link.keep(self._serve, lambda error: bool(self.shares))
        self._groups.groups.pop(self.name, None)

    # -- the task --------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        self._made.clear()
        self._own_first = True  # what was given to us and whose reply was lost is pending, not new
        while self.shares:
            try:
                await self._make()
                if self._own_first:
                    self._own_first = False
                    await self._finish_own()
                await self._read()
                await self._sweep_if_due()
            except LinkError as error:
                if error.detail not in ("NOGROUP", "UNBLOCKED"):
                    raise
                self._made.clear()  # Redis was wiped, and our own stream with it
                self._own_first = True
                self._writer.heal()
                await asyncio.sleep(AGAIN_SECONDS)

    def _streams(self) -> list[str]:
        """Those of all instances that may have events, this one's too."""
        return [self._keys.events(boot) for boot in (self._registry.boot, *self._registry.instances)]

    async def _make(self) -> None:
        """Let Redis know the group, from each stream's beginning."""
        for stream in [stream for stream, until in self._avoided.items() if until < self._groups.clock()]:
            del self._avoided[stream]
        missing = [one for one in self._streams() if one not in self._made and one not in self._avoided]
        if not missing:
            return
        life = int(STREAM_LIFE * 1000)
        replies = await self.link.call(
            *(("XGROUP", "CREATE", stream, self.name, "0", "MKSTREAM") for stream in missing),
            *(("PEXPIRE", stream, life) for stream in missing),
        )
        for stream, reply in zip(missing, replies, strict=False):
            if isinstance(reply, LinkError) and reply.kind == "keys":
                self._avoid(stream)
                continue
            if isinstance(reply, LinkError) and reply.detail != "BUSYGROUP":
                raise reply
            self._made.add(stream)

    def _avoid(self, stream: str) -> None:
        """It is a key of somebody else: the others' work goes on without it."""
        self._made.discard(stream)
        self._avoided[stream] = self._groups.clock() + PERMANENT_WAIT

    async def _finish_own(self) -> None:
        """First what was given to this instance before the connection was lost."""
        streams = sorted(self._made)
        cursors = dict.fromkeys(streams, "0")
        while cursors:
            found = await self._ask(list(cursors), list(cursors.values()), block=None)
            for stream in list(cursors):
                entries = found.get(stream) or []
                if not entries:
                    del cursors[stream]
                    continue
                cursors[stream] = entries[-1][0].decode()
                await self._handle_all(stream, entries, last=False)

    async def _read(self) -> None:
        streams = sorted(self._made)
        if not streams:
            await asyncio.sleep(BLOCK)
            return
        found = await self._ask(streams, [NEW] * len(streams), block=int(BLOCK * 1000))
        self.link.proved()
        for stream, entries in found.items():
            await self._handle_all(stream, entries, last=False)

    async def _ask(self, streams: list[str], ids: list[str], block: int | None) -> dict[str, list[Any]]:
        async def ask(some: list[str], cursors: list[str], most: int) -> list[Any]:
            wait = (block or 0) if len(some) == len(streams) else 0
            waiting = ("BLOCK", wait) if wait else ()
            words = ("XREADGROUP", "GROUP", self.name, self._registry.boot, "COUNT", most, *waiting, "STREAMS")
            try:
                return await self.link.ask(*words, *some, *cursors, wait=wait / 1000, bulky=True) or []
            except LinkError as error:
                # What is new may be ours now although we have not seen it.
                self._own_first = self._own_first or (error.too_large and cursors[0] == NEW)
                raise

        reply = await self.link.in_parts(ask, self._unreadable, streams, ids, COUNT)
        self._read_at = self._groups.clock()
        found: dict[str, list[Any]] = {}
        for name, entries in reply:
            found.setdefault(name if isinstance(name, str) else bytes(name).decode(), []).extend(entries)
        return found

    async def _unreadable(self, stream: str, cursor: str, why: LinkError) -> list[Any]:
        """The entry behind `cursor` among our own, which is too large to be read: its id alone."""
        if why.kind == "keys":
            self._avoid(stream)
            return []
        if cursor == NEW:
            return []  # it is ours now, and is found among the pending ones
        rows = await self.link.ask(
            "XPENDING", stream, self.name, f"({cursor}" if cursor != "0" else "-", "+", 1, self._registry.boot
        )
        return [[rows[0][0], None]] if rows else []

    # -- handling --------------------------------------------------------------------------------------

    async def _handle_all(self, stream: str, entries: list[Any], *, last: bool) -> None:
        for id_, raw in entries:
            if not self.shares:
                return  # they stay pending, for another instance
            if raw is None:  # trimmed before it was handled, or too large to be read
                await self._lose(stream, id_)
                continue
            if not await self._is_ours(stream, id_):
                continue
            self.in_hand += 1
            renewing = asyncio.ensure_future(self._renew(stream, id_))
            try:
                failed = await self._handle(stream, id_, parse_fields(raw))
            finally:
                renewing.cancel()
                self.in_hand -= 1
            if failed and last:
                await self._bury(failed)
            if not failed or last:
                await self._finish(stream, id_)

    async def _finish(self, stream: str, id_: bytes) -> None:
        await self._writer.errand(("XACK", stream, self.name, id_))
        self._done.pop((stream, id_), None)  # not earlier: an entry that Redis was not told of comes again

    async def _is_ours(self, stream: str, id_: bytes) -> bool:
        """Whether nobody has taken over an entry that had to wait for those before it."""
        if self._groups.clock() - self._read_at < self._groups.claim_idle / 3:
            return True
        return bool(await self.link.ask("XPENDING", stream, self.name, id_, id_, 1, self._registry.boot))

    async def _handle(self, stream: str, id_: bytes, fields: dict[str, bytes]) -> list[FleetEvent]:
        """Give all events of an entry that match to the handlers; returns those on which one failed."""
        failed: list[FleetEvent] = []
        done = self._done.setdefault((stream, id_), set())
        for event in self._events(stream, id_, fields):
            errors = []
            for share in list(self.shares):
                step = event.key, share
                if step in done or not matches(share.pattern, event.type):
                    continue
                error = await _call(share.handler, event)
                if error is None:
                    self.handled += 1
                    done.add(step)
                else:
                    self.failed += 1
                    errors.append(error)
            if errors:
                failed.append(event)
                self._tell(type(errors[0]).__name__)
        while len(self._done) > MOST_HALF_DONE:
            self._done.popitem(last=False)
        return failed

    def _tell(self, error: str) -> None:
        """Log what a handler raises, each kind once. The text of an error may hold what the event holds."""
        if error not in self._told:
            self._told.add(error)
            log.warning("fleet: a handler of group %s raised %s; the event comes again", self.name, error)

    def _events(self, stream: str, id_: bytes, fields: dict[str, bytes]) -> list[FleetEvent]:
        boot = stream.rpartition(":")[2]
        known = self._registry.instances.get(boot)
        instance = "" if boot == self._registry.boot else known.name if known is not None else boot
        try:
            last, _ = parse_id(id_)
            rows = decode(fields.get("b", b"")) if fields.get("v") == str(FORM).encode() else []
        except ValueError:
            return []
        return [
            FleetEvent(type_, data, source, session, instance=instance, key=f"{boot}-{number}", wall=wall / 1000)
            for number, type_, wall, source, session, data in (row for row in rows if checked(row, 0, last))
        ]

    def _wants(self, event: FleetEvent) -> bool:
        return any(matches(share.pattern, event.type) for share in self.shares)

    async def _renew(self, stream: str, id_: bytes) -> None:
        """While a handler works, nobody else takes its entry."""
        began, told = self._groups.clock(), False
        while True:
            await asyncio.sleep(self._groups.claim_idle / 3)
            took = self._groups.clock() - began
            if took > self._groups.claim_idle and not told:
                told = True
                log.warning("fleet: a handler of group %s works on the same event since %.0f s", self.name, took)
            try:
                await self._writer.errand(("XCLAIM", stream, self.name, self._registry.boot, 0, id_, "JUSTID"))
            except LinkError:
                continue

    # -- what others did not finish ----------------------------------------------------------------------

    async def _sweep_if_due(self) -> None:
        if self._groups.clock() < self._next_sweep:
            return
        for stream in sorted(self._made):
            pending = await self.link.ask("XPENDING", stream, self.name, "-", "+", SWEPT)
            for id_, consumer, idle, _ in pending:
                name = bytes(consumer).decode("ascii", "replace")
                seconds = int(idle) / 1000
                orphaned = not self._registry.alive(name) and seconds > min(5.0, self._groups.claim_idle)
                if orphaned or seconds > self._groups.claim_idle:
                    await self._take_over(stream, id_, int(idle))
            await self._forget_consumers(stream)
        self._next_sweep = self._groups.clock() + self._groups.sweep * random.uniform(0.8, 1.2)

    async def _take_over(self, stream: str, id_: bytes, idle: int) -> None:
        # The claim names the idle time that we saw, so that the second instance to claim it gets nothing.
        claim = ("XCLAIM", stream, self.name, self._registry.boot, idle, id_)
        try:
            entries = await self.link.ask(*claim, bulky=True)
        except LinkError as error:
            if not error.too_large:
                raise
            await self.link.again()
            await self._lose(stream, id_)
            return
        if entries and entries[0] is not None:
            self._read_at = self._groups.clock()
            # Others may have tried it since we looked: only now the number cannot change.
            rows = await self.link.ask("XPENDING", stream, self.name, id_, id_, 1, self._registry.boot)
            if not rows:
                return
            deliveries = int(rows[0][3])
            self.redelivered += _events_in(id_)
            if deliveries <= DELIVERIES:
                await self._handle_all(stream, entries, last=deliveries == DELIVERIES)
            elif self.shares:  # one of its events may be what ended all the machines that had it
                events = self._events(stream, id_, parse_fields(entries[0][1]))
                await self._bury([event for event in events if self._wants(event)])
                await self._finish(stream, id_)
        elif await self._is_gone(stream, id_):
            await self._lose(stream, id_)

    async def _is_gone(self, stream: str, id_: bytes) -> bool:
        try:
            return not await self.link.ask("XRANGE", stream, id_, id_, bulky=True)
        except LinkError as error:
            if not error.too_large:
                raise
        await self.link.again()
        return False

    async def _lose(self, stream: str, id_: bytes) -> None:
        """Nobody can handle it any more: Redis has trimmed it, or it is too large to be read."""
        self.lost += _events_in(id_)
        if "lost" not in self._told:
            self._told.add("lost")
            log.warning(
                "fleet: events of group %s are lost: Redis keeps too few of them, or they are too large", self.name
            )
        await self._writer.errand(("XACK", stream, self.name, id_))

    async def _bury(self, events: list[FleetEvent]) -> None:
        dead = self._keys.dead(self.name)
        for event in events:
            letter = dumps([event.key, event.type, event.wall, event.source, event.session, dict(event.data)])
            await self._writer.errand(
                ("XADD", dead, "MAXLEN", "~", DEAD_LETTERS, "*", "b", letter),
                ("PEXPIRE", dead, int(DEAD_LIFE * 1000)),
            )
            self.dead += 1
            told = {"group": self.name, "key": event.key, "type": event.type, "deliveries": DELIVERIES}
            await self._groups.given_up(told)

    async def _forget_consumers(self, stream: str) -> None:
        """Redis keeps the names of consumers for ever; those that have long gone and owe nothing are deleted."""
        now = self._groups.clock()
        for boot, one in self._registry.instances.items():
            if one.state == "up" or now - one.since < FORGOTTEN:
                continue
            if not await self.link.ask("XPENDING", stream, self.name, "-", "+", 1, boot):
                await self.link.ask("XGROUP", "DELCONSUMER", stream, self.name, boot)


def _events_in(id_: bytes) -> int:
    """How many events an entry has. Somebody else's may have any id."""
    return min(parse_id(id_)[1], MOST_EVENTS)


async def _call(handler: FleetHandler, event: FleetEvent) -> BaseException | None:
    """Have an event handled; returns what the handler raised. A cancel that it ran into by itself is such an error."""
    try:
        waiting = handler(event)
    except (Exception, asyncio.CancelledError) as error:  # it did not wait, so nobody has cancelled us
        return error
    if not inspect.isawaitable(waiting):
        return None
    work = asyncio.ensure_future(waiting)
    try:
        await asyncio.wait({work})
    finally:
        work.cancel()
    return asyncio.CancelledError() if work.cancelled() else work.exception()
