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
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .layout import FORM, FleetEvent, Keys, checked, decode, dumps, parse_fields, parse_id
from .outbox import matches
from .redis_link import Link, LinkError
from .registry import Registry
from .writer import STREAM_LIFE, Writer

log = logging.getLogger("copilot_pulse.fleet")

BLOCK: Final = 1.0
COUNT: Final = 4
SWEEP: Final = 15.0
SWEPT: Final = 64
DELIVERIES: Final = 5
"""After so many the events that still fail are given up."""
DEAD_LETTERS: Final = 1_000
DEAD_LIFE: Final = 30 * 86_400.0
FORGOTTEN: Final = 600.0
AGAIN: Final = 0.5

Handler = Callable[[FleetEvent], Any]


class Group:
    """One group as this instance takes part in it."""

    def __init__(self, name: str, pattern: str, handler: Handler) -> None:
        self.name = name
        self.pattern = pattern
        self.handler = handler
        self.made: set[str] = set()  # the streams of which Redis knows the group
        self.in_hand = 0
        self.handled = self.failed = self.redelivered = self.dead = self.lost = 0

    def figures(self) -> dict[str, int]:
        """For metrics."""
        return {
            "pending": self.in_hand, "handled": self.handled, "failed": self.failed,
            "redelivered": self.redelivered, "dead": self.dead, "lost": self.lost,
        }  # fmt: skip


class Groups:
    """One task, `run()`. For the loop's thread. `given_up(data)` is awaited with the data of `fleet.dead`."""

    def __init__(
        self,
        link: Link,
        writer: Writer,
        registry: Registry,
        keys: Keys,
        *,
        claim_idle: float,
        given_up: Callable[[dict[str, Any]], Awaitable[None]],
        sweep: float = SWEEP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.groups: list[Group] = []
        self.link = link
        self._writer = writer
        self._registry = registry
        self._keys = keys
        self._claim_idle = claim_idle
        self._given_up = given_up
        self._sweep_every = sweep
        self._clock = clock
        self._next_sweep = 0.0
        self._some = asyncio.Event()

    def add(self, group: Group) -> None:
        """Take part in a group."""
        self.groups.append(group)
        self._some.set()

    def remove(self, group: Group) -> None:
        """Take part no longer; what is in hand is finished."""
        if group in self.groups:
            self.groups.remove(group)

    async def run(self) -> None:
        """Work until cancelled; what is in hand then stays pending, and another instance claims it."""
        await self._some.wait()
        await self.link.keep(self._serve)

    # -- the task --------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        for group in self.groups:
            group.made.clear()
        own_first = set(self.groups)  # what was given to us and whose reply was lost is pending, not new
        while True:
            if not self.groups:
                self._some.clear()
                await self._some.wait()
            for group in list(self.groups):
                try:
                    await self._make(group)
                    if group in own_first:
                        await self._finish_own(group)
                        own_first.discard(group)
                    await self._read(group)
                    await self._sweep_if_due(group)
                except LinkError as error:
                    if error.detail not in ("NOGROUP", "UNBLOCKED"):
                        raise
                    group.made.clear()  # Redis was wiped, and our own stream with it
                    self._writer.heal()
                    await asyncio.sleep(AGAIN)
            if self._clock() >= self._next_sweep:
                self._next_sweep = self._clock() + self._sweep_every * random.uniform(0.8, 1.2)

    def _streams(self) -> list[str]:
        """Those of all instances that may have events, this one's too."""
        return [self._keys.events(boot) for boot in (self._registry.boot, *self._registry.instances)]

    async def _make(self, group: Group) -> None:
        """Let Redis know the group, from each stream's beginning."""
        missing = [stream for stream in self._streams() if stream not in group.made]
        if not missing:
            return
        life = int(STREAM_LIFE * 1000)
        replies = await self.link.call(
            *(("XGROUP", "CREATE", stream, group.name, "0", "MKSTREAM") for stream in missing),
            *(("PEXPIRE", stream, life) for stream in missing),
        )
        for stream, reply in zip(missing, replies, strict=False):
            if isinstance(reply, LinkError) and reply.detail != "BUSYGROUP":
                raise reply
            group.made.add(stream)

    async def _finish_own(self, group: Group) -> None:
        """First what was given to this instance before the connection was lost."""
        streams = sorted(group.made)
        cursors = dict.fromkeys(streams, "0")
        while cursors:
            found = await self._ask(group, list(cursors), list(cursors.values()), block=None)
            for stream in list(cursors):
                entries = found.get(stream) or []
                if not entries:
                    del cursors[stream]
                    continue
                cursors[stream] = entries[-1][0].decode()
                await self._handle_all(group, stream, entries, last=False)

    async def _read(self, group: Group) -> None:
        streams = sorted(group.made)
        block = max(1, int(BLOCK * 1000 / len(self.groups)))
        found = await self._ask(group, streams, [">"] * len(streams), block=block)
        self.link.proved()
        for stream, entries in found.items():
            await self._handle_all(group, stream, entries, last=False)

    async def _ask(self, group: Group, streams: list[str], ids: list[str], block: int | None) -> dict[str, list[Any]]:
        waiting = ("BLOCK", block) if block is not None else ()
        reply = await self.link.ask(
            "XREADGROUP", "GROUP", group.name, self._registry.boot, "COUNT", COUNT, *waiting, "STREAMS", *streams, *ids,
            wait=(block or 0) / 1000,
        )  # fmt: skip
        return {bytes(name).decode(): entries for name, entries in reply or ()}

    # -- handling --------------------------------------------------------------------------------------

    async def _handle_all(self, group: Group, stream: str, entries: list[Any], *, last: bool) -> None:
        for id_, raw in entries:
            if raw is None:  # trimmed before it was handled
                await self._lose(group, stream, id_)
                continue
            group.in_hand += 1
            renewing = asyncio.ensure_future(self._renew(group, stream, id_))
            try:
                failed = await self._handle(group, stream, id_, parse_fields(raw))
            finally:
                renewing.cancel()
                group.in_hand -= 1
            if failed and last:
                await self._bury(group, failed)
            if not failed or last:
                await self._writer.errand(("XACK", stream, group.name, id_))

    async def _handle(self, group: Group, stream: str, id_: bytes, fields: dict[str, bytes]) -> list[FleetEvent]:
        """Give all events of an entry that match to the handler; returns those on which it raised."""
        failed: list[FleetEvent] = []
        for event in self._events(stream, id_, fields):
            if not matches(group.pattern, event.type):
                continue
            try:
                waiting = group.handler(event)
                if inspect.isawaitable(waiting):
                    await waiting
                group.handled += 1
            except Exception as error:
                group.failed += 1
                failed.append(event)
                # The text of an error may hold what the event holds.
                log.warning("fleet: the handler of group %s raised %s", group.name, type(error).__name__)
        return failed

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

    async def _renew(self, group: Group, stream: str, id_: bytes) -> None:
        """While a handler works, nobody else takes its entry."""
        while True:
            await asyncio.sleep(self._claim_idle / 3)
            try:
                await self._writer.errand(("XCLAIM", stream, group.name, self._registry.boot, 0, id_, "JUSTID"))
            except LinkError:
                continue

    # -- what others did not finish ----------------------------------------------------------------------

    async def _sweep_if_due(self, group: Group) -> None:
        if self._clock() < self._next_sweep:
            return
        for stream in sorted(group.made):
            pending = await self.link.ask("XPENDING", stream, group.name, "-", "+", SWEPT)
            for id_, consumer, idle, deliveries in pending:
                name = bytes(consumer).decode("ascii", "replace")
                seconds = int(idle) / 1000
                orphaned = not self._registry.alive(name) and seconds > min(5.0, self._claim_idle)
                if orphaned or seconds > self._claim_idle:
                    await self._take_over(group, stream, id_, int(idle), int(deliveries))
            await self._forget_consumers(group, stream)

    async def _take_over(self, group: Group, stream: str, id_: bytes, idle: int, deliveries: int) -> None:
        # With the idle time that we saw: whoever comes second gets nothing.
        entries = await self.link.ask("XCLAIM", stream, group.name, self._registry.boot, idle, id_)
        if entries and entries[0] is not None:
            group.redelivered += parse_id(id_)[1]
            await self._handle_all(group, stream, entries, last=deliveries + 1 >= DELIVERIES)
        elif not await self.link.ask("XRANGE", stream, id_, id_):
            await self._lose(group, stream, id_)

    async def _lose(self, group: Group, stream: str, id_: bytes) -> None:
        """Redis has trimmed it before anybody had handled it."""
        group.lost += parse_id(id_)[1]
        await self._writer.errand(("XACK", stream, group.name, id_))

    async def _bury(self, group: Group, events: list[FleetEvent]) -> None:
        dead = self._keys.dead(group.name)
        for event in events:
            letter = dumps([event.key, event.type, event.wall, event.source, event.session, dict(event.data)])
            await self._writer.errand(
                ("XADD", dead, "MAXLEN", "~", DEAD_LETTERS, "*", "b", letter),
                ("PEXPIRE", dead, int(DEAD_LIFE * 1000)),
            )
            group.dead += 1
            await self._given_up({"group": group.name, "key": event.key, "type": event.type, "deliveries": DELIVERIES})

    async def _forget_consumers(self, group: Group, stream: str) -> None:
        """Redis keeps the names of consumers for ever; those that have long gone and owe nothing are deleted."""
        now = self._clock()
        for boot, one in self._registry.instances.items():
            if one.state == "up" or now - one.since < FORGOTTEN:
                continue
            if not await self.link.ask("XPENDING", stream, group.name, "-", "+", 1, boot):
                await self.link.ask("XGROUP", "DELCONSUMER", stream, group.name, boot)
