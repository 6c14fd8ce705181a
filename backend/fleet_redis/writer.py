"""Writes what the outbox holds to this start's stream, and what the other rooms want done, over one connection.

One write is under way at a time. A batch whose reply was lost is written again: its id makes that harmless. One that
Redis finds too large is written in halves, until an event that is too large by itself is left out, and told as lost.
After every reconnect the writer asks what Redis still has, and sends again what Redis has lost of the newest batches.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from .layout import Batch, Keys, Row, Seconds, Tally, parse_id
from .outbox import LARGEST, MOST_EVENTS, Outbox
from .redis_link import Command, Link, LinkError

IN_THREAD: Final = 256_000
"""Bytes from which on a batch is encoded beside the loop."""
ONE_SLICE: Final = 16_000
"""Bytes up to which a batch is taken and encoded in one turn of the loop."""
HEAL_BYTES: Final = 256_000
ENTRY_OVERHEAD: Final = 64
STREAM_LIFE: Final = 3600.0
"""Seconds for which a stream outlives its writer: shared work may still be in it."""
MOST_ERRANDS: Final = 64


class _Errand:
    __slots__ = ("commands", "done")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()


class Writer:
    """One task, `run()`. For the loop's thread. `acked` is the number of the newest event that Redis has taken."""

    def __init__(
        self,
        outbox: Outbox,
        link: Link,
        keys: Keys,
        boot: str,
        *,
        pace: float,
        keep_bytes: int,
        tail_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outbox = outbox
        self.link = link
        self.acked = 0
        self.sent_events = self.sent_batches = self.healed = 0
        self.write_seconds = Seconds()
        self.foreign = Tally(clock)  # entries in our stream that are not ours
        self._stream = keys.events(boot)
        self._pace = pace
        self._keep_bytes = keep_bytes
        self._tail_bytes = tail_bytes
        self._clock = clock
        self._wake = asyncio.Event()
        self._errands: deque[_Errand] = deque()
        self._running: list[_Errand] = []
        self._in_hand: Batch | None = None
        self._rows: list[Row] = []  # of which the batch in hand was made
        self._taking = False  # whether events have left the outbox and are not yet a batch
        self._next_write = 0.0
        self._kept: deque[tuple[int, int]] = deque()  # (last, bytes) of what the stream has to keep
        self._kept_bytes = 0
        self._tail: deque[Batch] = deque()  # acknowledged, to be sent again
        self._tail_size = 0
        self._wiped = self._serving = self._mortal = False
        self._foreign = False  # whether somebody else has put an entry into the stream
        self._is_new = False  # whether the batch in hand was never sent before
        # Called when Redis can be written to again, and when it has lost what it had.
        self.on_connected: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        outbox.wake = self._wake_when_due

    async def run(self) -> None:
        """Write until cancelled. Events that wait then stay in the outbox."""
        try:
            await self.link.keep(self._serve, self._fail_errands)
        finally:
            self._fail_errands(LinkError("lost", str(self.link.target)))

    async def errand(self, *commands: Command) -> list[Any]:
        """Have commands done in one go; returns their replies, a LinkError in place of one that was refused.

        Raises LinkError at once while Redis is away, or if it goes meanwhile: the commands may have been done then.
        A cancel leaves them to be done.
        """
        if self.link.problem is not None and not self._serving:
            raise self.link.problem.with_traceback(None)
        errand = _Errand(commands)
        self._errands.append(errand)
        self._wake.set()
        return await errand.done

    def heal(self) -> None:
        """The stream is gone although nothing was disconnected: send again what is at hand."""
        self._wiped = True
        self._wake.set()

    @property
    def settled(self) -> int:
        """The number up to which every event is in Redis or will never be."""
        return self.outbox.last if self.empty else self.acked

    @property
    def empty(self) -> bool:
        """Whether everything offered has been written."""
        return not self.outbox and self._in_hand is None and not self._taking

    # -- the task --------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            await self._send_lost()
            self._serving = True
            self._tell_connected()
            while True:
                if self._wiped:
                    await self._send_lost()
                    self._tell_connected()
                if not await self._turn():
                    await self._sleep()
        finally:
            self._serving = False

    def _tell_connected(self) -> None:
        for listener in self.on_connected:
            listener()

    async def _turn(self) -> bool:
        """Write a batch if one is due, and do errands. Returns whether there was anything."""
        batch = self._in_hand
        self._is_new = batch is None
        if batch is None and self.outbox and (self._due() or len(self.outbox) >= MOST_EVENTS):
            batch = await self._next_batch()
        running = self._running = [self._errands.popleft() for _ in range(min(len(self._errands), MOST_ERRANDS))]
        commands: list[Command] = []
        if batch is not None:
            commands.append(self._add(batch))
            if not self._mortal:
                commands.append(self._let_die())
        for errand in running:
            commands += errand.commands
        if not commands:
            return False
        began = self._clock()
        replies = await self.link.call(*commands)
        if batch is not None:
            self.write_seconds.record(self._clock() - began)
            self._settle(batch, replies.pop(0))
            if not self._mortal:
                self._mortal = not isinstance(replies.pop(0), LinkError)
        for errand in running:
            number = len(errand.commands)
            if not errand.done.done():
                errand.done.set_result(replies[:number])
            del replies[:number]
        self._running = []
        return True

    def _due(self) -> bool:
        return self._clock() >= self._next_write

    async def _sleep(self) -> None:
        """Until there is something to do: an errand, or an event once the pace allows the next write."""
        if self._errands or self._wiped:
            return
        if self.outbox:
            self._wake_when_due()
        else:
            self.outbox.asleep = True
        try:
            await self._wake.wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._wake.clear()
            self.outbox.asleep = False

    def _wake_when_due(self) -> None:
        """An event waits. It is for the next write, and so are those that come until then: they wake nobody."""
        rest = self._next_write - self._clock()
        if rest <= 0:
            self._wake.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(rest, self._wake.set)

    async def _next_batch(self) -> Batch | None:
        rows, weight = self.outbox.take()
        if not rows:
            return None
        encode = self.outbox.encode
        self._taking = True
        try:
            if weight > IN_THREAD:
                payload = await asyncio.to_thread(encode, rows)
            else:
                if weight > ONE_SLICE:
                    await asyncio.sleep(0)
                payload = encode(rows)
        finally:
            self._taking = False
        if len(payload) > LARGEST:  # in bytes it may be several times what it was taken for
            self.outbox.halve(rows)
            return None
        self._in_hand, self._rows = self.outbox.batch(rows, payload), rows
        self._next_write = self._clock() + self._pace
        return self._in_hand

    def _add(self, batch: Batch) -> Command:
        size = len(batch.payload) + ENTRY_OVERHEAD
        if not self._kept or batch.last > self._kept[-1][0]:
            self._kept.append((batch.last, size))
            self._kept_bytes += size
            while self._kept_bytes > self._keep_bytes and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popleft()[1]
        return ("XADD", self._stream, "MINID", "~", f"{self._kept[0][0]}-0", batch.id, *batch.fields())

    def _forget_size(self, batch: Batch) -> None:
        """It is not in the stream."""
        if self._kept and self._kept[-1][0] == batch.last:
            self._kept_bytes -= self._kept.pop()[1]

    def _let_die(self) -> Command:
        """A new stream must not stay for ever if this process ends before its next heartbeat."""
        return ("PEXPIRE", self._stream, int(STREAM_LIFE * 1000))

    def _settle(self, batch: Batch, reply: Any) -> None:
        """The batch has been taken, or goes back in halves, or the error is raised and it stays in hand."""
        if isinstance(reply, LinkError) and reply.too_large:
            self.link.errors[reply.kind] += 1
            self._forget_size(batch)
            self.outbox.refuse(self._rows)
            self._in_hand, self._rows = None, []
            return
        if isinstance(reply, LinkError) and reply.is_old_id and self._is_new:
            self.foreign.note()
            self._foreign = self._wiped = True
            return
        # The id is an old one: the batch was written before, and its reply was lost.
        if isinstance(reply, LinkError) and not reply.is_old_id:
            raise reply
        self.link.proved()
        self._in_hand, self._rows = None, []
        self.acked = batch.last
        self.sent_batches += 1
        self.sent_events += batch.events
        self._tail.append(batch)
        self._tail_size += len(batch.payload)
        while self._tail and self._tail_size > self._tail_bytes:
            self._tail_size -= len(self._tail.popleft().payload)

    async def _send_lost(self) -> None:
        """After a reconnect: whatever Redis has lost of what it had taken is sent again, in order."""
        self._wiped = self._mortal = False
        if self._foreign:  # nobody else writes to this stream, and behind a larger id nothing can be written
            await self.link.ask("DEL", self._stream)
            self._foreign = False
        top = 0
        try:
            newest = await self.link.ask("XREVRANGE", self._stream, "+", "-", "COUNT", 1, bulky=True)
            top = parse_id(newest[0][0])[0] if newest else 0
        except LinkError as error:
            if not error.too_large:  # else all of the tail is sent, and refused as far as it is there
                raise
            await self.link.again()
        if top > self.outbox.last:  # none of our events has this number
            self.foreign.note()
            await self.link.ask("DEL", self._stream)
            top = 0
        lost = [batch for batch in self._tail if batch.last > top]
        while lost:
            size, some = 0, []
            while lost and size < HEAL_BYTES:
                some.append(lost.pop(0))
                size += len(some[-1].payload)
            for batch, reply in zip(some, await self.link.call(*map(self._add, some)), strict=True):
                if isinstance(reply, LinkError) and reply.too_large:  # it was not when it was written first
                    self._forget_in_tail(batch)
                    continue
                if isinstance(reply, LinkError) and not reply.is_old_id:
                    raise reply
                self.healed += 0 if isinstance(reply, LinkError) else batch.events
            self.link.proved()
            await self.link.call(self._let_die())

    def _forget_in_tail(self, batch: Batch) -> None:
        """It cannot be sent again: readers see by the numbers that it is missing."""
        self._tail.remove(batch)
        self._tail_size -= len(batch.payload)
        self.outbox.dropped += batch.events

    def _fail_errands(self, error: LinkError) -> bool:
        """Whoever waits learns that Redis is away; the writer goes on trying."""
        for errand in (*self._running, *self._errands):
            if not errand.done.done():
                errand.done.set_exception(error)
                errand.done.exception()  # a task that was cancelled does not fetch it
        self._running = []
        self._errands.clear()
        return True
