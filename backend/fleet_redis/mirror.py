"""Answers written here, copied to Redis so that they can be read on from every instance.

The mirror is one more reader of each relay: a few times a second it takes the frames that are new. A slow Redis costs
an answer nothing, for frames that were not taken are conflated in the relay. Neither the name of an answer nor its
session is in Redis, but a hash of both: whoever knows them can find it.

After a reconnect each answer's copy is asked for what it has, and goes on from there. What somebody else has put into
it, or has taken from it, makes it be written anew. How much is written at once follows what the way to Redis carries.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

from ..aio import wait_set
from .layout import UNREADABLE, Keys, Tally, parse_id, weigh
from .redis_link import SURELY_TAKEN, Command, LinkError
from .writer import Writer

log = logging.getLogger("copilot_pulse.fleet")

MIRROR_PACE: Final = 0.1
REFRESH: Final = 5.0
MOST_BYTES: Final = 2_000_000
"""An answer larger than that, written anew as one text, can be read where it is written only."""
LEASE_SECONDS: Final = 25.0
"""Seconds for which a reader at another instance counts as one here."""
ENTRY_BYTES: Final = 256_000
TURN_BYTES: Final = 512_000
LEAST_BYTES: Final = 8_000
"""Bytes that are written at once: so many at first, and over the slowest way to Redis."""
MOST_TRIES: Final = 4
"""An entry that cannot be written in time so often in a row, in ever smaller parts, never will be."""
_dumps: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


class Reader(Protocol):
    """What `Relay.observe()` gives: a reader that nobody waits for."""

    @property
    def done(self) -> bool: ...
    def next_nowait(self) -> Mapping[str, Any] | None: ...


class Relay(Protocol):
    """The log of an answer, as far as the mirror needs it."""

    @property
    def seq(self) -> int: ...
    def observe(self, after: int = 0, *, pieces: bool = False) -> Reader: ...


class Stream(Protocol):
    """An answer that is written here."""

    @property
    def id(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def relay(self) -> Relay: ...
    @property
    def forgotten(self) -> bool: ...
    def cancel(self) -> None: ...
    def lease(self, seconds: float) -> None: ...


def name_of(stream_id: str, session: str) -> str:
    """What an answer is called in Redis."""
    digest = hashlib.sha256(json.dumps([stream_id, 0, session]).encode()).digest()
    return base64.urlsafe_b64encode(digest)[:22].decode()


def _encode(frames: list[Mapping[str, Any]]) -> bytes:
    return _dumps(frames).encode("utf-8", "surrogatepass")


class Mirrored:
    """One answer on its way to Redis."""

    def __init__(self, stream: Stream, now: float) -> None:
        self.stream = stream
        self.name = name_of(stream.id, stream.session)
        self.discarded = False
        self.refreshed = now
        self.oldest: float | None = None  # since when something waits
        self.tries = 0
        self.leases: dict[bytes, float] = {}
        self.restart()

    def restart(self) -> None:
        """Write all of it again, as one text: Redis may have lost it, or it has become too many pieces."""
        self.claimed = False  # whether Redis says that this start writes it, and what it has of it
        self.acked: str | None = None  # the newest entry that Redis has acknowledged
        self.waiting: tuple[str, bytes] | None = None  # an entry that it has not
        self.doubted: tuple[str, bytes] | None = None  # one of which nobody knows whether it has it
        self.probes = 0
        self.size = 0
        self.least: int | None = None  # its size when all that there was had been written anew
        self._read_on()

    def resume(self) -> None:
        """Redis was away, or too slow: it says first what it has."""
        if self.acked is None:
            self.restart()
        else:
            self.claimed = False
            self.doubted, self.waiting = self.waiting or self.doubted, None
            self._read_on()

    def _read_on(self) -> None:
        after = parse_id(self.acked)[0] if self.acked is not None else 0
        self.reader = self.stream.relay.observe(after, pieces=True)

    def probe(self, key: str) -> list[Command]:
        """What Redis refuses if it has all that it acknowledged; and then if it has the entry in doubt, too.

        Otherwise it puts an entry without a frame there.
        """
        if self.acked is None:
            return []
        last, count = parse_id(self.acked)
        self.probes += 1  # the one before may be there although its reply was lost
        ids = [self.acked] + [f"{last}-{count + self.probes}"] * (self.doubted is not None)
        return [("XADD", key, "NOMKSTREAM", id_, "f", b"[]") for id_ in ids]

    def settle_probe(self, replies: list[Any]) -> None:
        """Take in what it said to that: go on from what it has, or write all of it again."""
        if not all(isinstance(reply, LinkError) and reply.is_old_id for reply in replies[:1]):
            self.restart()  # it has lost it, or some of it
            return
        doubted, self.doubted = self.doubted, None
        there = doubted is not None and isinstance(replies[-1], LinkError) and replies[-1].is_old_id
        if doubted is not None and there:
            self.acknowledge(doubted)
        self._read_on()
        if there:  # or an entry of somebody else is, as this one will tell, which has no frame either
            last, count = parse_id(self.acked or "0-0")
            self.waiting = f"{last}-{count + 1}", b"[]"

    def acknowledge(self, entry: tuple[str, bytes]) -> None:
        """Redis has it."""
        self.acked, self.probes, self.tries = entry[0], 0, 0
        self.waiting, self.oldest = None, None
        self.size += len(entry[1])

    async def fill(self, most: int) -> int:
        """Put the frames that are new into an entry, unless one waits or it is not claimed; returns its bytes."""
        if self.claimed and self.waiting is None:
            reader = self.reader
            try:
                entry = await self._next_entry(reader, most)
            except BaseException:
                self._read_on()  # what was taken from the reader is in no entry yet
                raise
            if self.reader is reader:  # else it is read again
                self.waiting = entry
        return len(self.waiting[1]) if self.waiting is not None else 0

    async def _next_entry(self, reader: Reader, most: int) -> tuple[str, bytes] | None:
        frames: list[Mapping[str, Any]] = []
        size = 0
        while size < most:
            frame = reader.next_nowait()
            if frame is None:
                if self.least is None:
                    self.least = self.size + size
                break
            frames.append(frame)
            size += weigh(frame, 6)
        if not frames:
            return None
        # What is large is encoded in a thread: the loop would stand still meanwhile.
        encoded = await asyncio.to_thread(_encode, frames) if size > ENTRY_BYTES else _encode(frames)
        return f"{frames[-1]['seq']}-{len(frames)}", encoded


class Mirror:
    """One task, `run()`. For the loop's thread. `keep()` is how long a finished answer stays readable, `grace()` how
    long a running one lives without a reader; both in seconds."""

    def __init__(
        self,
        writer: Writer,
        keys: Keys,
        boot: str,
        *,
        keep: Callable[[], float],
        grace: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.answers: dict[str, Mirrored] = {}
        self._writer = writer
        self._keys = keys
        self._boot = boot
        self._keep = keep
        self._grace = grace
        self._clock = clock
        self.cut: Counter[str] = Counter({"large": 0, "slow": 0})  # answers that are not read on elsewhere, and why
        self.last_cut: float | None = None
        self.foreign = Tally(clock)  # entries in copies of answers that are not ours
        self._most = LEAST_BYTES
        self._entry = ENTRY_BYTES  # the largest entry that Redis takes, as far as is known
        self._sent: list[Mirrored] = []  # of which an entry is on its way
        self._over: list[Command] = []
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()
        writer.on_connected.append(self.renew)

    def begin(self, stream: Stream) -> None:
        """An answer is about to be written here."""
        one = Mirrored(stream, self._clock())
        self.answers[one.name] = one
        self._news.set()

    def finish(self, stream: Stream) -> None:
        """It has ended: the rest is written at once."""
        self._news.set()

    def discard(self, stream: Stream) -> None:
        """Nothing was done for it: its name is free again."""
        one = self.answers.get(name_of(stream.id, stream.session))
        if one is None:
            return
        if one.claimed:
            del self.answers[one.name]
            self._over.append(("DEL", self._keys.answer(one.name), self._keys.owner(one.name)))
        one.discarded = True  # if it is not claimed, Redis has to say first whose it is
        self._news.set()

    def renew(self) -> None:
        """Redis was away, or has lost what it had. What can no longer be read here is not written any more."""
        for one in list(self.answers.values()):
            if one.stream.forgotten:
                del self.answers[one.name]
            else:
                one.resume()

    def on_inbox(self, kind: bytes, fields: Mapping[str, bytes]) -> None:
        """Another instance's reader wants an answer of ours to stop, or to live on."""
        one = self.answers.get(fields.get("n", b"").decode("ascii", "replace"))
        if one is None:
            return
        if kind == b"cancel":
            one.stream.cancel()
        else:
            now = self._clock()
            one.leases = {boot: seen for boot, seen in one.leases.items() if now - seen < LEASE_SECONDS}
            one.leases[fields.get("f", b"")] = now
            one.stream.lease(LEASE_SECONDS)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            if not self.answers and not self._over:
                await self._news.wait()
            self._news.clear()
            try:
                await self.write()
            except LinkError as error:
                self._failed(error)
                self.renew()
            await wait_set(self._news, MIRROR_PACE)

    async def write_last(self) -> None:
        """Write what is left, at the end of this process; as far as Redis is there."""
        try:
            await self.write()
        except LinkError:
            return

    async def write(self) -> None:
        """Write all that is new. Raises LinkError if Redis is away: what was written has to be written again then."""
        async with self._writing:  # at the end of this process it is called beside `run()`
            while await self._write_some():
                pass

    async def _write_some(self) -> bool:
        """One round; returns whether there was anything to write."""
        size = 0
        for one in list(self.answers.values()):
            size += await one.fill(min(self._most, self._entry))
            if size > self._most:
                break
        chosen, commands = [], list(self._over)
        over = len(commands)
        for one in self.answers.values():
            entry = one.waiting
            if entry is not None and one.oldest is None:
                one.oldest = self._clock()
            due = self._clock() - one.refreshed > REFRESH
            if entry is not None or due or not one.claimed:
                due = due or one.acked is None or one.reader.done
                some = self._commands(one, entry, due)
                chosen.append((one, entry, due, slice(len(commands), len(commands) + len(some))))
                commands += some
        if not commands:
            return False
        self._sent = [one for one, entry, _, _ in chosen if entry is not None]
        began = self._clock()
        try:
            replies = await self._writer.errand(*commands)
        except asyncio.CancelledError:
            self.renew()  # it is done all the same: whoever writes the rest has to ask what there is
            raise
        self._sent = []
        self._pace_by(size, self._clock() - began)
        del self._over[:over]  # what came meanwhile is not written yet
        refused = [self._settle(one, entry, due, replies[part]) for one, entry, due, part in chosen]
        for error in refused:
            if error is not None:
                raise error
        return True

    def _commands(self, one: Mirrored, entry: tuple[str, bytes] | None, due: bool) -> list[Command]:
        key, owner = self._keys.answer(one.name), self._keys.owner(one.name)
        seconds = self._keep() if one.reader.done else max(3 * REFRESH, self._keep() + self._grace())
        life = max(1000, int(1000 * seconds))
        if not one.claimed:
            return [("SET", owner, self._boot, "NX", "PX", life), ("GET", owner), *one.probe(key)]
        commands: list[Command] = []
        if entry is not None and one.acked is None:
            commands = [("DEL", key), ("XADD", key, entry[0], "f", entry[1])]
        elif entry is not None:
            commands = [("XADD", key, "NOMKSTREAM", entry[0], "f", entry[1])]
        return [*commands, ("PEXPIRE", key, life), ("PEXPIRE", owner, life)] if due else commands

    def _pace_by(self, size: int, seconds: float) -> None:
        """Write more at once if so many bytes went quickly, and less if they took long."""
        limit = self._writer.link.timeout
        if seconds > limit / 2:
            self._most = max(LEAST_BYTES, self._most // 2)
        elif seconds < limit / 4 and size >= self._most:
            self._most = min(TURN_BYTES, 2 * self._most)

    def _failed(self, error: LinkError) -> None:
        """What was on its way may be there or not. If it was too much, it is less the next time, or never."""
        sent, self._sent = self._sent, []
        slow = error.kind == "timeout" and not error.ours
        if slow and sent:
            self._most = max(LEAST_BYTES, self._most // 8)
        for one in sent:
            one.tries += slow
            if error.too_large and one.waiting is not None and len(one.waiting[1]) > SURELY_TAKEN:
                self._give_up(one, "large")  # Redis hangs up at what is as large as this
            elif one.tries >= MOST_TRIES:
                self._give_up(one, "slow")

    def _settle(
        self, one: Mirrored, entry: tuple[str, bytes] | None, due: bool, replies: list[Any]
    ) -> LinkError | None:
        """Take in what Redis said of one answer; returns why it could not be written, if that may pass."""
        refused = next((reply for reply in replies if isinstance(reply, LinkError) and not reply.is_old_id), None)
        if refused is not None and refused.kind == "keys" and one.acked is not None:  # it was a copy of ours
            self.foreign.note()
            one.restart()
        elif refused is not None and refused.permanent:  # a right is missing: the link tells of it
            self.answers.pop(one.name, None)
        elif refused is not None and refused.too_large and entry is not None and parse_id(entry[0])[1] > 1:
            self._entry = max(LEAST_BYTES, len(entry[1]) // 2)  # of several frames: fewer may be taken
            one.resume()
        elif refused is not None and refused.too_large:
            self._give_up(one, "large")
        elif refused is not None:
            one.resume()
            return refused
        elif not one.claimed:
            self._settle_claim(one, replies)
        else:
            self._settle_entry(one, entry, due, replies)
        return None

    def _settle_claim(self, one: Mirrored, replies: list[Any]) -> None:
        one.claimed, probes = replies[1] == self._boot.encode(), replies[2:]
        if self.answers.get(one.name) is not one:
            return
        if not one.claimed:  # its request came to two instances at once: the first of them is read everywhere
            del self.answers[one.name]
        elif one.discarded:
            self.discard(one.stream)
        elif probes:
            one.settle_probe(probes)

    def _settle_entry(self, one: Mirrored, entry: tuple[str, bytes] | None, due: bool, replies: list[Any]) -> None:
        if due:
            one.refreshed = self._clock()
        if entry is not None:
            reply = replies[one.acked is None]
            if isinstance(reply, LinkError):  # its id is not new: somebody else has put an entry there
                self.foreign.note()
                log.warning("fleet: somebody else has written into the copy of an answer; it is written anew")
            if reply is None or isinstance(reply, LinkError):  # or has taken it away
                one.restart()
                return
            one.acknowledge(entry)
        if due and replies[-1] == 0:  # the claim is gone, and the copy with it
            one.resume()
        elif one.size > MOST_BYTES:
            if one.least is not None and one.least < 0.9 * MOST_BYTES:
                one.restart()  # as one text it is small enough
            else:
                self._give_up(one, "large")
        elif one.reader.done and one.acked is not None:
            self.answers.pop(one.name, None)
        elif entry is not None and one.name in self.answers:  # the others first
            self.answers[one.name] = self.answers.pop(one.name)

    def _give_up(self, one: Mirrored, why: Literal["large", "slow"]) -> None:
        """It cannot be copied: who reads it elsewhere gets what there is of it and has to know, and its name stays
        taken."""
        self.answers.pop(one.name, None)
        self.cut[why] += 1
        self.last_cut = self._clock()
        log.warning(
            "fleet: an answer cannot be read on at other machines: %s",
            "it is too large" if why == "large" else "the way to Redis is too slow",
        )
        key, owner = self._keys.answer(one.name), self._keys.owner(one.name)
        life = int(1000 * max(3 * REFRESH, self._keep() + self._grace()))
        end = ("XADD", key, f"{one.stream.relay.seq + 1}-0", UNREADABLE, why)
        self._over += [*([("DEL", key)] if one.acked is None else []), end]
        self._over += [("PEXPIRE", key, life), ("PEXPIRE", owner, life)]

    def figures(self) -> dict[str, Any]:
        """For metrics."""
        now = self._clock()
        waiting = [now - one.oldest for one in self.answers.values() if one.oldest is not None]
        return {
            "mirrored": len(self.answers),
            "behind": max(waiting, default=0.0),
            "cut": dict(self.cut),
            "cut_seconds": None if self.last_cut is None else now - self.last_cut,
            "remote_readers": sum(
                now - seen < LEASE_SECONDS for one in self.answers.values() for seen in one.leases.values()
            ),
        }
