"""Answers that other instances write, read here from their copies in Redis."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from .layout import UNREADABLE, Keys, is_boot, parse_id
from .mirror import name_of
from .reader import Reader
from .redis_link import Command, LinkError
from .registry import Registry
from .writer import Writer

log = logging.getLogger("copilot_pulse.fleet")

FIND_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 0.3
LATER: Final = 1
"""Seconds after which whoever looks for an answer may ask again, while the way to Redis is not there."""
AWAITED: Final = 30.0
"""Seconds for which it is waited for; then what is not known here counts as unknown."""
CLAIMED: Final = 0.25
LEASE_EVERY: Final = 10.0
LOOK: Final = 1.0
SILENT: Final = 10.0
"""An answer whose instance shows no sign of life is given up when nothing has come for so many seconds."""
MAX_ENTRY: Final = 4_000_000
LARGE: Final = "This answer is too large to be read at another machine than the one that writes it."
SLOW: Final = (
    "This answer cannot be read on at another machine than the one that writes it: its way to Redis is too slow."
)
_KINDS: Final = ("head", "item", "delta", "raw", "body", "gap", "end")


class Relay(Protocol):
    """Where the frames go."""

    @property
    def finished(self) -> bool: ...
    def apply(self, frame: Mapping[str, Any]) -> None: ...


class Answer:
    """One answer that another instance writes: follow it, cancel it, leave it."""

    def __init__(self, replica: Replica, name: str, owner: str) -> None:
        self.owner = owner
        self.name = name
        self.cursor = "0-0"  # the newest entry of its instance's
        self.astray = False  # whether somebody else's has been read behind that
        self._replica = replica
        self._relay: Relay | None = None
        self.lost: Callable[..., None] = lambda *sentences: None
        self.heard = replica.clock()
        self.leased = float("-inf")

    def follow(self, relay: Relay, lost: Callable[..., None]) -> None:
        """Give `relay` all frames that there are and will be.

        `lost()` is called if its instance has died; `lost(sentence, early)` if there is another reason why no more
        comes: `early` is for an answer without text so far.
        """
        self._relay, self.lost = relay, lost
        self._replica.add(self)

    def take(self, id_: bytes, fields: dict[str, bytes]) -> None:
        """One entry of the copy."""
        self.heard = self._replica.clock()
        payload = fields.get("f", b"")
        try:
            frames = json.loads(payload) if len(payload) <= MAX_ENTRY else None
        except (ValueError, RecursionError):
            frames = None
        relay = self._relay
        if UNREADABLE.decode() in fields:
            sentence = SLOW if fields[UNREADABLE.decode()] == b"slow" else LARGE
            self.lost(f"\n\n---\n{sentence}", sentence)
            return
        if relay is None:
            return
        if frames == []:  # its instance has asked what is there, or somebody else has
            self.astray = True
            return
        # An entry of its instance's is named after its last frame. Behind one of somebody else its own may come under
        # smaller names: they are looked for from where they ended.
        number, rows = parse_id(id_)[0], frames if isinstance(frames, list) else []
        ours = bool(rows) and isinstance(rows[-1], dict) and rows[-1].get("seq") == number
        for frame in rows if ours else ():
            try:
                if _is_frame(frame):
                    relay.apply(frame)
                    continue
            except (ValueError, RecursionError):
                log.debug("fleet: a frame cannot be taken")
            ours = False
        if ours:
            self.cursor, self.astray = id_.decode(), False
        else:
            self.astray = True
            self._replica.bad()

    def cancel(self) -> None:
        """Ask its instance to stop it, without waiting."""
        self._replica.tell(self, "cancel")

    def leave(self) -> None:
        """Nobody reads it here any more."""
        self._replica.remove(self)

    @property
    def finished(self) -> bool:
        """Whether its end has come."""
        return self._relay is not None and self._relay.finished


def _is_frame(frame: Any) -> bool:
    """Whether a frame has the shape that `Relay.apply` takes: anybody may have written it."""
    if not isinstance(frame, dict) or frame.get("type") not in _KINDS:
        return False
    seq, text, at = frame.get("seq"), frame.get("text"), frame.get("at")
    if not _is_number(seq):
        return False
    if "text" in frame and not (isinstance(text, str) and _is_number(at)):
        return False
    kind = frame["type"]
    return (
        (kind != "delta" or text is not None)
        and (kind != "gap" or (text is not None and _is_number(frame.get("lost"))))
        and (kind != "item" or isinstance(frame.get("line"), dict))
        and (kind != "head" or (_is_number(frame.get("status")) and isinstance(frame.get("headers"), dict)))
        and (kind not in ("raw", "body") or isinstance(frame.get("data"), str))
        and (kind != "end" or frame.get("outcome") in ("completed", "failed", "cancelled"))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


class Replica:
    """All answers that are followed here. One task, `run()`. For the loop's thread."""

    def __init__(
        self, writer: Writer, reader: Reader, registry: Registry, keys: Keys, *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.followed: set[Answer] = set()
        self.clock = clock
        self._writer = writer
        self._reader = reader
        self._registry = registry
        self._keys = keys
        self._some = asyncio.Event()
        self._telling: set[asyncio.Task[Any]] = set()

    async def find(self, stream_id: str, session: str) -> Answer | int | None:
        """The answer of this name and session at another instance, or None. If Redis does not say within a second:
        the seconds after which to ask again, or None if it has been away for long."""
        name = name_of(stream_id, session)
        for last in (False, True):
            # Only whether it is there: it may be large, and the reader takes it in parts, beside all else.
            commands = ("GET", self._keys.owner(name)), ("EXISTS", self._keys.answer(name))
            replies = await self._ask(FIND_SECONDS, *commands)
            if not replies:
                return self._later() if replies is None else None
            owner = bytes(replies[0]).decode("ascii", "replace") if replies[0] else ""
            if not is_boot(owner) or owner == self._registry.boot:
                return None
            if replies[1] or last:
                return Answer(self, name, owner)
            await asyncio.sleep(AGAIN_SECONDS)  # its owner has only just been asked
        return None

    async def claimed(self, stream_id: str, session: str) -> bool:
        """Whether another instance writes this answer, as far as Redis says so within 0.25 s."""
        replies = await self._ask(CLAIMED, ("GET", self._keys.owner(name_of(stream_id, session))))
        return bool(replies and replies[0] and bytes(replies[0]).decode("ascii", "replace") != self._registry.boot)

    async def _ask(self, seconds: float, *commands: Command) -> list[Any] | None:
        """The replies; None if Redis is away or takes longer, none at all if it refuses."""
        asking = asyncio.ensure_future(self._writer.errand(*commands))
        try:
            await asyncio.wait({asking}, timeout=seconds)
            replies = asking.result() if asking.done() else None
        except LinkError:
            return None
        finally:
            asking.cancel()
        return [] if replies and any(isinstance(reply, LinkError) for reply in replies) else replies

    def _later(self) -> int | None:
        """The seconds after which to ask again, unless nobody expects Redis to be back by then."""
        problem, since = self._writer.link.problem, self._writer.link.down_since
        if problem is not None and problem.permanent:
            return None
        return LATER if since is None or self.clock() - since < AWAITED else None

    def add(self, answer: Answer) -> None:
        """Read it from its beginning."""
        self.followed.add(answer)
        self._watch(answer)
        self._some.set()

    def _watch(self, answer: Answer) -> None:
        self._reader.watch(self._keys.answer(answer.name), answer.cursor, answer.take)

    def bad(self) -> None:
        """Somebody else has put an entry into the copy of an answer."""
        self._reader.bad.note()

    def remove(self, answer: Answer) -> None:
        """Stop reading it."""
        self.followed.discard(answer)
        if not any(other.name == answer.name for other in self.followed):
            self._reader.unwatch(self._keys.answer(answer.name))

    def tell(self, answer: Answer, kind: str) -> None:
        """Put a word into its instance's inbox, without waiting."""
        task = asyncio.ensure_future(self._tell(answer, kind))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, answer: Answer, kind: str) -> None:
        try:
            await self._writer.errand(*self._registry.tell(answer.owner, kind, n=answer.name))
        except LinkError:
            return

    async def run(self) -> None:
        """Renew the leases, and notice instances that have died, until cancelled."""
        try:
            while True:
                if not self.followed:
                    self._some.clear()
                    await self._some.wait()
                for answer in list(self.followed):
                    self._look_after(answer)
                await asyncio.sleep(LOOK)
        finally:
            for task in self._telling:
                task.cancel()

    def _look_after(self, answer: Answer) -> None:
        now = self.clock()
        if answer.astray and not answer.finished:
            answer.astray = False
            self._watch(answer)
        if answer.finished:
            self.remove(answer)
        elif self._registry.alive(answer.owner):
            if now - answer.leased > LEASE_EVERY:
                answer.leased = now
                self.tell(answer, "lease")
        elif now - answer.heard > SILENT and self._reader.link.up:
            self.remove(answer)
            answer.lost()
