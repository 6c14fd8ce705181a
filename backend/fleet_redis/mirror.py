"""Answers written here, copied to Redis so that they can be read on from every instance.

The mirror is one more reader of each relay: a few times a second it takes the frames that are new. A slow Redis costs
an answer nothing, for frames that were not taken are conflated in the relay. Neither the name of an answer nor its
session is in Redis, but a hash of both: whoever knows them can find it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from ..aio import wait_set
from .layout import UNREADABLE, Keys, weigh
from .redis_link import SURELY_TAKEN, Command, LinkError
from .writer import Writer

MIRROR_PACE: Final = 0.1
REFRESH: Final = 5.0
MOST_BYTES: Final = 2_000_000
"""An answer larger than that, written anew as one text, can be read where it is written only."""
LEASE_SECONDS: Final = 25.0
"""Seconds for which a reader at another instance counts as one here."""
ENTRY_BYTES: Final = 256_000
TURN_BYTES: Final = 512_000
_dumps: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


class Reader(Protocol):
    """What `Relay.observe()` gives: a reader that nobody waits for."""

    @property
    def seq(self) -> int: ...
    @property
    def done(self) -> bool: ...
    def next_nowait(self) -> Mapping[str, Any] | None: ...


class Relay(Protocol):
    """The log of an answer, as far as the mirror needs it."""

    def observe(self) -> Reader: ...


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
        self.reader = stream.relay.observe()
        self.claimed = False  # whether Redis says that this start writes it
        self.discarded = False
        self.waiting: tuple[str, bytes] | None = None  # an entry that Redis has not acknowledged
        self.anew = True
        self.size = 0
        self.least: int | None = None  # its size when all that there was had been written anew
        self.refreshed = now
        self.oldest: float | None = None  # since when something waits
        self.leases: dict[bytes, float] = {}

    def restart(self) -> None:
        """Write all of it again, as one text: Redis may have lost it, or it has become too many pieces."""
        self.reader = self.stream.relay.observe()
        self.claimed, self.waiting, self.anew, self.size, self.least = False, None, True, 0, None

    async def fill(self) -> int:
        """Put the frames that are new into an entry, unless one waits or it is not claimed; returns its bytes."""
        if self.claimed and self.waiting is None:
            frames: list[Mapping[str, Any]] = []
            size = 0
            while size < ENTRY_BYTES and (frame := self.reader.next_nowait()) is not None:
                frames.append(frame)
                size += weigh(frame, 6)
            if size < ENTRY_BYTES and self.least is None:
                self.least = self.size + size
            if frames:
                id_ = f"{self.reader.seq}-{len(frames)}"
                if size > ENTRY_BYTES:  # in a thread: the loop would stand still meanwhile
                    await self._fill_beside(id_, frames)
                else:
                    self.waiting = id_, _encode(frames)
        return len(self.waiting[1]) if self.waiting is not None else 0

    async def _fill_beside(self, id_: str, frames: list[Mapping[str, Any]]) -> None:
        reader = self.reader
        try:
            payload = await asyncio.to_thread(_encode, frames)
        except BaseException:
            self.restart()  # what was taken from the reader is in no entry yet
            raise
        if self.reader is reader:  # else all of it is written again
            self.waiting = id_, payload


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
                one.restart()

    def on_inbox(self, kind: bytes, fields: Mapping[str, bytes]) -> None:
        """Another instance's reader wants an answer of ours to stop, or to live on."""
        one = self.answers.get(fields.get("n", b"").decode("ascii", "replace"))
        if one is None:
            return
        if kind == b"cancel":
            one.stream.cancel()
        else:
            one.leases[fields.get("f", b"")] = self._clock()
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
                if error.too_large:
                    self._give_up_large()
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
            size += await one.fill()
            if size > TURN_BYTES:
                break
        chosen, commands = [], list(self._over)
        over = len(commands)
        for one in self.answers.values():
            entry = one.waiting
            if entry is not None and one.oldest is None:
                one.oldest = self._clock()
            due = one.anew or one.reader.done or self._clock() - one.refreshed > REFRESH
            if entry is not None or due:
                some = self._commands(one, entry, due)
                chosen.append((one, entry, due, slice(len(commands), len(commands) + len(some))))
                commands += some
        if not commands:
            return False
        replies = await self._writer.errand(*commands)
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
            return [("SET", owner, self._boot, "NX", "PX", life), ("GET", owner)]
        commands: list[Command] = [("DEL", key)] if one.anew else []
        if entry is not None:
            commands.append(("XADD", key, entry[0], "f", entry[1]))
        return [*commands, ("PEXPIRE", key, life), ("PEXPIRE", owner, life)] if due else commands

    def _settle(
        self, one: Mirrored, entry: tuple[str, bytes] | None, due: bool, replies: list[Any]
    ) -> LinkError | None:
        """Take in what Redis said of one answer; returns why it could not be written, if that may pass."""
        refused = next((reply for reply in replies if isinstance(reply, LinkError) and not reply.is_old_id), None)
        # The key is somebody else's, or a right is missing: the link tells of it.
        if refused is not None and refused.permanent:
            self.answers.pop(one.name, None)
            return None
        if refused is not None and refused.too_large:
            self._give_up(one)
            return None
        if refused is not None:
            one.restart()
            return refused
        if not one.claimed:
            self._settle_claim(one, replies[1])
        elif due and replies[-1] == 0:  # the claim is gone, and the copy with it
            one.restart()
        else:
            self._settle_entry(one, entry, due)
        return None

    def _settle_claim(self, one: Mirrored, owner: Any) -> None:
        one.claimed = owner == self._boot.encode()
        if self.answers.get(one.name) is one:
            if not one.claimed:  # its request came to two instances at once: the first of them is read everywhere
                del self.answers[one.name]
            elif one.discarded:
                self.discard(one.stream)

    def _settle_entry(self, one: Mirrored, entry: tuple[str, bytes] | None, due: bool) -> None:
        if due:
            one.anew, one.refreshed = False, self._clock()
        if entry is None:
            return
        one.waiting, one.oldest = None, None
        one.size += len(entry[1])
        if one.size > MOST_BYTES:
            if one.least is not None and one.least < 0.9 * MOST_BYTES:
                one.restart()  # as one text it is small enough
            else:
                self._give_up(one)
        elif one.reader.done:
            self.answers.pop(one.name, None)

    def _give_up(self, one: Mirrored) -> None:
        """It is too large: who reads it elsewhere has to know, and its name stays taken."""
        self.answers.pop(one.name, None)
        key, owner = self._keys.answer(one.name), self._keys.owner(one.name)
        life = int(1000 * max(3 * REFRESH, self._keep() + self._grace()))
        self._over += [
            ("DEL", key), ("XADD", key, f"{one.reader.seq + 1}-0", UNREADABLE, 1), ("PEXPIRE", key, life),
            ("PEXPIRE", owner, life),
        ]  # fmt: skip

    def _give_up_large(self) -> None:
        """Redis hangs up at what is as large as this."""
        for one in list(self.answers.values()):
            if one.waiting is not None and len(one.waiting[1]) > SURELY_TAKEN:
                self._give_up(one)

    def figures(self) -> dict[str, Any]:
        """For metrics."""
        now = self._clock()
        waiting = [now - one.oldest for one in self.answers.values() if one.oldest is not None]
        return {
            "mirrored": len(self.answers),
            "behind": max(waiting, default=0.0),
            "remote_readers": sum(
                now - seen < LEASE_SECONDS for one in self.answers.values() for seen in one.leases.values()
            ),
        }
