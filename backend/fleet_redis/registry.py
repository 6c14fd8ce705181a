"""Who is there: every instance tells by a heartbeat that it lives, and reads those of the others.

A heartbeat is a key with a time to live, which is Redis' own, so the clocks of the machines do not matter. It holds
figures, no text of a chat. Who comes or goes also tells the others' inboxes, so that they need not wait for the beat.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from ..aio import wait_set
from .layout import FORM, Keys, dumps, is_boot, loads, new_boot
from .outbox import Outbox
from .reader import Reader
from .redis_link import LinkError
from .writer import STREAM_LIFE, Writer

BEAT: Final = 3.0
ALIVE: Final = 10.0
"""A heartbeat lives so long: whoever vanishes is noticed within ALIVE + BEAT seconds."""
HURRY: Final = 0.2
"""Seconds at least between two looks, however many come at once."""
READ_ON: Final = 60.0
"""Seconds for which the stream of an instance that has gone is still read."""
EXCUSED: Final = 2 * BEAT
"""Seconds for which nobody is missed after Redis has lost its data or took no heartbeat of ours: the next ones of the
others are still to come."""
REMEMBERED: Final = 3600.0
MOST_MEMBERS: Final = 500
MAX_BEAT: Final = 64_000
INBOX_LENGTH: Final = 100
_PROCESS: Final = new_boot()

State = Literal["up", "gone", "left"]
Changed = Callable[[str, State], Awaitable[None]]


class Instance:
    """One process start of the fleet, as its heartbeat tells it."""

    def __init__(self, boot: str, name: str) -> None:
        self.boot = boot
        self.name = name
        self.state: State = "up"
        self.since = 0.0  # of the state, monotonic
        self.version = ""
        self.started = 0.0
        self.place = ""
        self.status: Mapping[str, Any] = {}

    def take(self, beat: Mapping[str, Any]) -> None:
        """What a heartbeat says."""
        status = beat.get("status")
        self.status = status if isinstance(status, dict) else {}
        self.version = str(beat.get("version", ""))[:40]
        started = beat.get("started")
        self.started = started if isinstance(started, float) else 0.0
        self.place = str(beat.get("place", ""))[:40]


def this_place() -> str:
    """Where this process runs: the machine and the folder of this code, hashed. A restart runs in the same place."""
    place = f"{socket.gethostname()}\n{Path(__file__).resolve().parent}"
    return hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def runs(pid: int, process: object) -> bool:
    """Whether a process of this machine runs, as far as can be told, by its number and its name as in a heartbeat."""
    if pid == os.getpid():  # the first process of a container has the same number each time, but another name
        return process == _PROCESS
    if sys.platform == "win32":  # on Windows asking that would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


class Registry:
    """One task, `run()`. For the loop's thread.

    `status()` is asked at each beat for what the others may know of this instance, as plain data without text of
    chats. `changed(name, state)` is awaited when another one comes, vanishes or leaves.
    """

    def __init__(
        self,
        keys: Keys,
        boot: str,
        label: str,
        version: str,
        *,
        writer: Writer,
        reader: Reader,
        outbox: Outbox,
        status: Callable[[], Mapping[str, Any]],
        changed: Changed,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.boot = boot
        self.label = label
        self.version = version
        self.started = wall()
        self.instances: dict[str, Instance] = {}  # the others
        self.last_gone: float | None = None
        self._read: dict[str, tuple[int, int]] = {}  # how far those were read that are read no longer
        self._keys = keys
        self._writer = writer
        self._reader = reader
        self._outbox = outbox
        self.status = status
        self._changed = changed
        self._clock = clock
        self._wall = wall
        self._hurry = asyncio.Event()
        self._looked = False
        self._beaten: float | None = None  # when Redis last took our heartbeat
        self._excused = float("-inf")  # when those of the others may have been missing through no fault of theirs
        self._greeted = False
        self._succeeded = False
        self._place = this_place()
        writer.on_connected.append(self._hurry.set)

    async def run(self) -> None:
        """Beat and look until cancelled; and see that what waits stays small."""
        while True:
            try:
                await self._succeed()
                await self._beat()
                await self._look()
            except LinkError:
                pass  # the link tells of it, and says when Redis is back
            await self._outbox.keep_small()
            began = self._clock()
            if await wait_set(self._hurry, BEAT * (0.9 + 0.2 * random.random())):
                await asyncio.sleep(max(0.0, HURRY - (self._clock() - began)))
                self._hurry.clear()

    def look_soon(self) -> None:
        """Somebody came, or may have: look again at once."""
        self._hurry.set()

    def alive(self, boot: str) -> bool:
        """Whether this start lives, as far as is known here."""
        found = self.instances.get(boot)
        return boot == self.boot or (found is not None and found.state == "up")

    async def leave(self) -> None:
        """Tell the others that this instance stops in good order."""
        try:
            await self._writer.errand(*self._farewell(self.boot), *self._to_others("bye"))
        except LinkError:
            return  # the others notice that the heartbeat is missing

    def _farewell(self, boot: str) -> tuple[tuple[Any, ...], ...]:
        """The commands by which a start has left in good order."""
        return (
            ("SET", self._keys.beat(boot), dumps({"left": True}), "PX", int(STREAM_LIFE * 1000)),
            ("DEL", self._keys.inbox(boot)),
            ("PEXPIRE", self._keys.events(boot), int(STREAM_LIFE * 1000)),
        )

    def tell(self, boot: str, kind: str, **more: Any) -> tuple[tuple[Any, ...], ...]:
        """The commands that put a message into an instance's inbox."""
        inbox = self._keys.inbox(boot)
        fields = [part for item in more.items() for part in item]
        return (
            ("XADD", inbox, "MAXLEN", "~", INBOX_LENGTH, "*", "k", kind, "f", self.boot, *fields),
            ("PEXPIRE", inbox, int(STREAM_LIFE * 1000)),
        )

    def _to_others(self, kind: str) -> list[tuple[Any, ...]]:
        return [one for boot in self.instances if self.alive(boot) for one in self.tell(boot, kind)]

    # -- the beat --------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        beat = {
            "v": FORM, "label": self.label, "version": self.version, "started": self.started,
            "place": self._place, "pid": os.getpid(), "process": _PROCESS,
            "n": self._writer.settled, "d": self._outbox.unsent, "status": self.status(),
        }  # fmt: skip
        stream = self._keys.events(self.boot)
        began = self._clock()
        life = int(STREAM_LIFE * 1000)
        _, told, kept, _, _, moment = await self._writer.errand(
            ("SADD", self._keys.members, self.boot),
            ("SET", self._keys.beat(self.boot), dumps(beat), "PX", int(ALIVE * 1000), "GET"),
            ("PEXPIRE", stream, life),
            ("PEXPIRE", self._keys.inbox(self.boot), life),
            ("PEXPIRE", self._keys.members, life),
            ("TIME",),
        )
        refused, now = isinstance(told, LinkError), self._clock()
        # Ours is gone, as after a wipe or a jump of Redis' clock, or was kept away for long.
        if refused or self._may_have_run_out() or (self._beaten is not None and told is None):
            self._excused = now
        if refused:
            self._writer.link.complain(told)
            return
        self._writer.link.proved()
        self._beaten = now
        if kept == 0 and self._writer.acked:
            self._writer.heal()
        self._set_clock(moment, self._clock() - began)

    def _may_have_run_out(self) -> bool:
        """Whether our last heartbeat is so old, as after a sleep of the machine, that those of the others are too."""
        return self._beaten is not None and self._clock() - self._beaten > ALIVE - 2 * BEAT

    def _set_clock(self, moment: Any, took: float) -> None:
        """Note how far Redis' clock is from ours, so that the `wall` of all instances can be compared."""
        if isinstance(moment, LinkError) or took > 0.1:
            return
        offset = int(moment[0]) + int(moment[1]) / 1e6 - (self._wall() - took / 2)
        if abs(offset - self._outbox.wall_offset) > 0.1:
            self._outbox.wall_offset = self._reader.wall_offset = offset

    async def _members(self) -> tuple[list[str], list[Any]]:
        """The other members, and the heartbeat of each as it lies in Redis, or None."""
        (members,) = await self._writer.errand(("SMEMBERS", self._keys.members))
        if isinstance(members, LinkError):
            raise members
        names = {bytes(raw).decode("ascii", "replace") for raw in members}
        # Of a host that starts again and again there are very many: those that live come first, then those unknown.
        boots = [name for name in names if is_boot(name) and name != self.boot]
        boots = sorted(boots, key=lambda boot: (not self.alive(boot), boot in self.instances, boot))[:MOST_MEMBERS]
        beats = await self._beats(boots)
        (there,) = await self._writer.errand(("EXISTS", self._keys.beat(self.boot)))
        if there == 0 and self._beaten is not None:  # Redis has lost its data since our beat, a moment ago
            self._excused = self._clock()
        return boots, beats

    async def _beats(self, boots: list[str]) -> list[Any]:
        """The heartbeats, in parts if they are too large at once; None for one that is by itself."""
        if not boots:
            return []
        (beats,) = await self._writer.errand(("MGET", *(self._keys.beat(boot) for boot in boots)))
        if not isinstance(beats, LinkError):
            return list(beats)
        if not beats.too_large:
            raise beats
        half = len(boots) // 2
        return [*await self._beats(boots[:half]), *await self._beats(boots[half:])] if half else [None]

    async def _succeed(self) -> None:
        """Once, before the first beat: if this is a restart, the start before it may not have told that it left.

        So its name is free at once, and nobody waits for it until its heartbeat has run out.
        """
        if self._succeeded:
            return
        for boot, raw in zip(*await self._members(), strict=True):
            beat = loads(raw, MAX_BEAT)
            if not isinstance(beat, dict) or (beat.get("label"), beat.get("place")) != (self.label, self._place):
                continue
            pid = _natural(beat.get("pid"))
            if pid and not runs(pid, beat.get("process")):
                await self._writer.errand(*self._farewell(boot))
        self._succeeded = True

    async def _look(self) -> None:
        boots, beats = await self._members()
        found = {
            boot: beat for boot, raw in zip(boots, beats, strict=True) if isinstance(beat := loads(raw, MAX_BEAT), dict)
        }
        left = {boot for boot, beat in found.items() if beat.get("left") is True}
        # The machine may have slept since our beat.
        all_may_be_missing = self._clock() - self._excused < EXCUSED or self._may_have_run_out()
        for boot in [boot for boot in self.instances if boot in left or not (boot in found or all_may_be_missing)]:
            await self._is_missing(boot, left=boot in left)
        for boot, beat in found.items():  # they come after those that have gone, whose names are free
            if boot not in left:
                await self._is_up(boot, beat)
            elif boot not in self.instances:
                self._remember(boot)
        await self._sweep([boot for boot in boots if boot not in found])
        self._looked = True
        if not self._greeted:
            self._greeted = True
            await self._writer.errand(*(self._to_others("look") or [("TIME",)]))

    async def _is_up(self, boot: str, beat: Mapping[str, Any]) -> None:
        number, unsent = _natural(beat.get("n")), _natural(beat.get("d"))
        known = self.instances.get(boot)
        begin, news = (number, unsent), known is None or known.state != "up"
        if known is None:
            known = self.instances[boot] = Instance(boot, self._name_for(beat, boot))
            if self._looked:
                begin = (0, 0)
        known.take(beat)
        if news:
            known.state, known.since = "up", self._clock()
            self._replace(known)
        if boot not in self._reader.sources:
            # What lies there from before we came is not news to us; who came later is read from its beginning, and
            # who was away for long from where that was.
            last, gone = self._read.pop(boot, begin)
            self._reader.add(boot, known.name, last=last, unsent=gone)
        self._reader.promise(boot, number, unsent)
        if news:
            await self._changed(known.name, "up")

    def _replace(self, newcomer: Instance) -> None:
        """Whoever vanished from the same place under the same name is not missed any more."""
        for one in self.instances.values():
            if one.state == "gone" and (one.place, one.name) == (newcomer.place, newcomer.name):
                one.state = "left"
        if not any(one.state == "gone" for one in self.instances.values()):
            self.last_gone = None

    def _remember(self, boot: str) -> None:
        """One that left before we came: its stream may hold shared work that nobody has finished."""
        known = self.instances[boot] = Instance(boot, boot)
        known.state, known.since = "left", self._clock() - REMEMBERED / 2

    def _name_for(self, beat: Mapping[str, Any], boot: str) -> str:
        """Its label, made different from those that are in use: three servers on one machine share its name.

        It stands in logs and in health, so it has nothing in it that cannot be seen, as our own has not.
        """
        label = "".join(sign for sign in str(beat.get("label", ""))[:64] if sign.isprintable()) or boot
        used = {one.name for one in self.instances.values() if one.state == "up"} | {self.label}
        return f"{label} ({boot[:4]})" if label in used else label

    async def _is_missing(self, boot: str, *, left: bool) -> None:
        known = self.instances[boot]
        now = self._clock()
        if known.state == "up":
            known.state, known.since = ("left" if left else "gone"), now
            if not left:
                self.last_gone = now
            await self._changed(known.name, known.state)
        elif now - known.since > READ_ON and boot in self._reader.sources:
            self._read[boot] = await self._reader.remove(boot)
            while len(self._read) > MOST_MEMBERS:
                del self._read[next(iter(self._read))]
        if now - known.since > REMEMBERED:
            del self.instances[boot]

    async def _sweep(self, missing: list[str]) -> None:
        """Take from the set whoever has neither a heartbeat nor a stream; it adds itself again if it lives."""
        if not missing:
            return
        there = await self._writer.errand(*(("EXISTS", self._keys.events(boot)) for boot in missing))
        over = [boot for boot, exists in zip(missing, there, strict=True) if exists == 0]
        if over:
            await self._writer.errand(("SREM", self._keys.members, *over))


def _natural(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else 0
