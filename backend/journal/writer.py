"""The thread that writes: it alone touches the files of its slot, and nothing waits for it unless it asks to.

What cannot be written is kept and tried again; the file is healed or replaced where that helps. What cannot be
kept either is counted, and a `store.gap` row says so in the history itself, where it happened.
"""

from __future__ import annotations

import logging
import os
import queue
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple, TypeVar

from .faults import Fault, NotStored, fault_of
from .folder import free_bytes
from .forgetting import chats_in, erase_session, remove_all
from .layout import SCHEMA, chat_of, schema_of
from .retention import Limits, Retention, last_time
from .rows import Redaction, Row, RowMaker, Shape, dumps
from .segments import (
    ActiveFile,
    Segment,
    list_segments,
    open_readonly,
    remove,
    roll_back,
    seal_file,
    set_aside,
)
from .slots import SlotLock, free_slots, take_slot

T = TypeVar("T")

log = logging.getLogger("copilot_pulse.store")

OWN: Final = "store"  # the source of the store's own rows
_OVERHEAD: Final = 100  # bytes of a waiting row beside its data
CHUNK: Final = 256  # rows of one transaction
MAX_WAITING: Final = 20_000
MAX_WAITING_BYTES: Final = 16_000_000
RETRY: Final = {
    Fault.FULL: 30.0,
    Fault.UNWRITABLE: 60.0,
    Fault.LOCKED: 1.0,
    Fault.CORRUPT: 30.0,
    Fault.IO: 30.0,
    Fault.OTHER: 30.0,
}
_FULL_BELOW: Final = 512 * 1024  # bytes free on a disk that counts as full
_HEALED_AT_ONCE: Final = 64  # files that one commit may drop or set aside
_GIVE_UP_AFTER: Final = 3  # tries of a folder that has never been writable, before what waits is let go


class Loss(NamedTuple):
    """What was lost: told in a `store.gap` row. `by_type` may say less than `lost` where types are unknown."""

    reason: str
    lost: int
    by_type: dict[str, int]
    since: float
    until: float


class Batch(NamedTuple):
    """Events on their way to the disk, and what was refused before them."""

    events: list[Any]
    loss: Loss | None = None


class Command(NamedTuple):
    """Something that the thread is to do between two batches. `done(result, error)` is called in the thread."""

    run: Callable[[], Any]
    done: Callable[[Any, BaseException | None], None]


class Stop(NamedTuple):
    """The end of the thread."""


class Config(NamedTuple):
    """How the thread writes."""

    limits: Limits
    full_sync: bool


class Figures:
    """What the thread has done. It writes them, others only read."""

    def __init__(self) -> None:
        self.stored = 0
        self.taken = 0  # events that came in and are stored or lost by now
        self.lost: Counter[str] = Counter()  # by reason
        self.commits = 0
        self.commit_seconds = 0.0
        self.slowest_commit = 0.0
        self.bytes = 0
        self.segments = 0
        self.dropped_segments = 0  # because the disk was full
        self.fault: Fault | None = None
        self.fault_text = ""
        self.set_aside = ""  # the name of the last file that was found broken
        self.slot: int | None = None
        self.last_id = 0
        self.journal_mode = ""


class Writer:
    """The state of the thread. `run()` is the thread's body; all else is called in it, except where it says so.

    It survives the thread: a new one goes on with what the old one had in its hands.
    """

    def __init__(
        self,
        folder: Path,
        redaction: Redaction,
        config: Config,
        *,
        with_text: bool,
        clock: Callable[[], float],
        wall: Callable[[], float],
        opened: dict[str, Any],
    ) -> None:
        self.inbox: queue.SimpleQueue[Batch | Command | Stop] = queue.SimpleQueue()
        self.figures = Figures()
        self.config = config
        self.committed: Callable[[], None] | None = None  # called in the thread after each commit
        self._folder = folder
        self._rows = RowMaker(redaction, with_text=with_text)
        self._clock = clock
        self._wall = wall
        self._opened = opened
        self._lock: SlotLock | None = None
        self._slot = 0
        self._active: ActiveFile | None = None
        self._next_id = 0  # 0: not known yet
        self._fresh = False  # the next file to write to is a new one
        self._started = False  # store.opened has been written
        self._ever = False  # something was stored in this process
        # Rows and losses that wait, in order: the ids are given when they are written.
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._retry_at = 0.0
        self._tries = 0
        self._retention = Retention(folder, config.limits, clock=clock, wall=wall)
        self._in_hand: Batch | None = None

    # The thread

    def run(self) -> None:
        """Take batches and commands until `Stop`, then close the files. An exception ends it: it was a bug."""
        if self._in_hand is not None:  # the thread before ended while it had it
            batch, self._in_hand = self._in_hand, None
            self._count_lost("writer stopped", batch.events)
        try:
            self._settle()
            while self._step():
                pass
        finally:
            if self._active is not None:
                self._active.close()
                self._active = None
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def _step(self) -> bool:
        try:
            item = self.inbox.get(timeout=self._pause())
        except queue.Empty:
            self._settle()
            return True
        batches: list[Batch] = []
        number = 0
        while True:
            if isinstance(item, Batch):
                batches.append(item)
                number += len(item.events)
            if not isinstance(item, Batch) or number >= 4 * CHUNK:
                break
            try:
                item = self.inbox.get_nowait()
            except queue.Empty:
                break
        for batch in batches:
            self._take(batch)
        self._settle(force=isinstance(item, (Command, Stop)))
        if isinstance(item, Stop):
            self._close()
            return False
        if isinstance(item, Command):
            self._obey(item)
        return True

    def _pause(self) -> float:
        now = self._clock()
        due = self._retention.due
        if self._waiting:
            due = min(due, self._retry_at)
        # Short enough for an hour to be noticed after the machine slept, whose clock may have stood still.
        return min(max(due - now, 0.0), 300.0)

    def _obey(self, command: Command) -> None:
        try:
            result = command.run()
        except Exception as error:
            command.done(None, error)
        else:
            command.done(result, None)

    # What waits

    def _take(self, batch: Batch) -> None:
        """Make rows of a batch. Their ids come later: what is lost meanwhile must leave no hole."""
        self._in_hand = batch
        self._rows.refresh()
        offset = self._wall() - self._clock()
        refused: list[Any] = []
        rows: list[Row] = []
        room = MAX_WAITING - len(self._waiting)
        size, make = self._waiting_bytes, self._rows.make
        for start in range(0, len(batch.events), CHUNK):
            part = batch.events[start : start + CHUNK]
            for event, row in zip(part, make(offset, part), strict=True):
                if len(rows) >= room or size >= MAX_WAITING_BYTES:
                    refused.append(event)
                else:
                    size += len(row[4]) + _OVERHEAD
                    rows.append(row)
        if batch.loss is not None:
            self._lose(batch.loss)
        self._waiting += rows
        self._waiting_bytes = size
        self._in_hand = None
        if refused:
            self._count_lost(self._reason(), refused)

    def _reason(self) -> str:
        fault = self.figures.fault
        return "too many waiting" if fault is None else fault.value

    def _count_lost(self, reason: str, events: list[Any]) -> None:
        now = self._wall()
        self.figures.taken += len(events)
        self._lose(Loss(reason, len(events), dict(Counter(str(event.type) for event in events)), now, now))

    def _lose(self, loss: Loss) -> None:
        """Count a loss and let a row tell of it, right here in the order of things."""
        self.figures.lost[loss.reason] += loss.lost
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, Loss) and last.reason == loss.reason:
            by_type = dict(Counter(last.by_type) + Counter(loss.by_type))
            self._waiting[-1] = Loss(loss.reason, last.lost + loss.lost, by_type, last.since, loss.until)
        else:
            self._waiting.append(loss)

    def _own_row(self, type_: str, time: float, data: dict[str, Any]) -> Row:
        return (None, time, Shape(type_, OWN, 1), None, dumps(data))

    # Writing

    def _settle(self, *, force: bool = False) -> None:
        """Write what waits, if it is not too early to try again; then let go what is too old."""
        now = self._clock()
        if self.figures.fault is not None and now < self._retry_at and not force:
            return
        fault: Fault | None = None
        try:
            self._healed(self._open_if_needed)
            while self._waiting:
                self._write()
        except Exception as error:
            fault = self._note(error)
        if fault is None:
            self._well()
            self._keep_house()

    def _well(self) -> None:
        if self.figures.fault is not None:
            log.info("the event store writes again")
        self.figures.fault, self.figures.fault_text, self._tries = None, "", 0

    def _note(self, error: Exception) -> Fault:
        if not isinstance(error, (sqlite3.Error, OSError)):
            raise error
        fault = self._fault_of(error)
        if self.figures.fault is not fault:
            log.warning("the event store cannot write (%s): %s", fault.value, error)
        self.figures.fault, self.figures.fault_text = fault, str(error)
        self._retry_at = self._clock() + RETRY[fault]
        self._tries += 1
        if fault is Fault.UNWRITABLE and not self._ever and self._tries >= _GIVE_UP_AFTER:
            self._let_go(fault.value)
        return fault

    def _let_go(self, reason: str) -> None:
        rows = [one for one in self._waiting if not isinstance(one, Loss)]
        losses = [one for one in self._waiting if isinstance(one, Loss)]
        self._waiting = list(losses)
        self._waiting_bytes = 0
        if rows:
            by_type = dict(Counter(row[2].type for row in rows))
            self.figures.taken += len(rows)
            self._lose(Loss(reason, len(rows), by_type, rows[0][1], rows[-1][1]))

    def _healed(self, attempt: Callable[[], T]) -> T:
        """What `attempt` gives, after healing what can be healed. Raises what cannot."""
        for _ in range(_HEALED_AT_ONCE):
            try:
                return attempt()
            except Exception as error:
                if not self._heal(error):
                    raise
        raise OSError(f"{self._folder} cannot be written to")

    def _commit(self) -> tuple[ActiveFile, list[_Waiting]]:
        active = self._open_if_needed()
        part = self._waiting[:CHUNK]
        rows = self._numbered(part, active)
        began = perf_counter()
        active.insert(rows)
        self._count_commit(perf_counter() - began)
        if not active.is_still_there():
            raise FileNotFoundError(f"{active.path} is gone")
        return active, part

    def _write(self) -> None:
        """Commit the first of what waits and take it off. Raises what could not be healed."""
        active, part = self._healed(self._commit)
        del self._waiting[: len(part)]
        self._ever = True
        self._next_id = active.last_id + 1
        self._waiting_bytes -= sum(len(one[4]) + _OVERHEAD for one in part if not isinstance(one, Loss))
        events = sum(not isinstance(one, Loss) and one[2].source != OWN for one in part)
        figures = self.figures
        figures.stored += events
        figures.taken += events
        figures.last_id = active.last_id
        self._keep_house()
        if self.committed is not None:
            self.committed()

    def _numbered(self, part: list[_Waiting], active: ActiveFile) -> list[Row]:
        """The rows of what waits, the first with its id: SQLite counts on from there."""
        rows = [self._gap_row(one) if isinstance(one, Loss) else one for one in part]
        rows[0] = (max(self._next_id, active.last_id + 1), *rows[0][1:])
        return rows

    def _gap_row(self, loss: Loss) -> Row:
        data = {"reason": loss.reason, "lost": loss.lost, "by_type": loss.by_type}
        return self._own_row("store.gap", loss.until, {**data, "since": loss.since, "until": loss.until})

    def _count_commit(self, seconds: float) -> None:
        figures = self.figures
        figures.commits += 1
        figures.commit_seconds += seconds
        figures.slowest_commit = max(figures.slowest_commit, seconds)

    def _fault_of(self, error: BaseException) -> Fault:
        fault = fault_of(error)
        if fault is Fault.IO:  # also what a file says that could not grow; but a broken disk is not a full one
            return Fault.FULL if free_bytes(self._folder) < _FULL_BELOW else Fault.OTHER
        return fault

    def _heal(self, error: Exception) -> bool:
        """Do what may help against an error; False if nothing can be done now."""
        if self._active is not None and not self._active.is_still_there():
            self._vanished(self._active)  # SQLite says "readonly" of it, or nothing at all
            return True
        fault = self._fault_of(error)
        if fault is Fault.FULL:
            return self._make_room()
        if fault is Fault.CORRUPT:
            return self._set_aside(str(error))
        if fault is not Fault.LOCKED and self._active is not None:
            self._active.close()
            self._active = None
        return False

    def _make_room(self) -> bool:
        """On a full disk only whole files help: our oldest one goes and a new one begins. The newest events count.

        If the file in use is the only one, a new one is tried, and the old one goes next.
        """
        active, self._active = self._active, None
        if active is not None:
            active.close()
        own = [one for one in list_segments(self._folder) if one.slot == self._slot]
        if active is not None:
            spare = [one for one in own if one.path != active.path]
        else:
            spare = own if self._fresh else own[:-1]
        can_begin = active is not None and active.last_id > 0
        self._fresh = self._fresh or can_begin
        dropped = bool(spare) and remove(spare[0])
        if dropped:
            self.figures.dropped_segments += 1
            log.warning("the disk is full: the event store let go its oldest file, %s", spare[0].path.name)
        return dropped or can_begin

    def _set_aside(self, why: str) -> bool:
        """The file to write to is broken: keep it for reading, and begin a new one."""
        active, self._active = self._active, None
        if active is not None:
            active.close()
            path = active.path
        else:
            own = [one for one in list_segments(self._folder) if one.slot == self._slot and not one.damaged]
            if not own:
                return False
            path = own[-1].path
        # Ids are never used twice: what the file held can no more be asked for certain.
        self._next_id = max(self._next_id, _bound(path))
        target = set_aside(path, int(self._wall()))
        if target is None:
            return False
        self.figures.set_aside = target.name
        log.warning("a file of the event store is damaged (%s): kept as %s, a new one begins", why, target.name)
        self._fresh = True
        now = self._wall()
        self._waiting.insert(0, Loss(f"file damaged: {target.name}", 0, {}, now, now))
        return True

    def _vanished(self, active: ActiveFile) -> None:
        """Somebody took the file away or put another one there: what it held is gone, and a new one begins."""
        active.close()
        self._active, self._fresh = None, True
        lost = max(self._next_id - active.first_id, 0)
        self._next_id = max(self._next_id, active.last_id + 1)
        if self._lock is not None and not self._lock.is_still_there():  # the whole folder went
            self._lock.release()
            self._lock = None
        log.warning("%s was removed or replaced while the event store wrote to it; a new file begins", active.path)
        since = active.first_time if active.first_time is not None else self._wall()
        self.figures.lost["file removed"] += lost
        self._waiting.insert(0, Loss("file removed", lost, {}, since, self._wall()))

    # Files

    def _open_if_needed(self) -> ActiveFile:
        if self._active is not None:
            return self._active
        if self._lock is None:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            slot, self._lock = take_slot(self._folder)
            if slot != self._slot:
                self._next_id, self._slot = 0, slot
            self.figures.slot = slot
            with free_slots(self._folder, slot) as slots:
                roll_back([one for one in list_segments(self._folder) if one.slot in slots and not one.damaged])
        active = self._open()
        self._active = active
        self.figures.last_id = active.last_id
        self.figures.journal_mode = active.journal_mode
        self._measure()
        if not self._started:
            self._started = True
            own = [one for one in list_segments(self._folder) if one.slot == self._slot]
            before = next((told for one in reversed(own) if (told := last_time(one)) is not None), None)
            self._waiting.insert(0, self._own_row("store.opened", self._wall(), {**self._opened, "down_since": before}))
        return active

    def _open(self) -> ActiveFile:
        """The last segment of our slot, or a new one if there is none, or none that can be gone on with."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        full_sync = self.config.full_sync
        own = [one for one in list_segments(self._folder) if one.slot == self._slot]
        if own and not own[-1].damaged and not self._fresh:
            last = own[-1]
            schema, newest = self._newest(last)
            if schema == SCHEMA:
                active = ActiveFile(last.path, self._slot, last.first_id, full_sync=full_sync)
                damage = None if self._next_id else active.damage()
                if damage is None:
                    self._next_id = max(self._next_id, active.last_id + 1, last.first_id)
                    return active
                active.close()
                raise sqlite3.DatabaseError(f"database disk image is malformed: {damage}")
            if schema < SCHEMA:
                seal_file(last.path)
            else:
                log.warning("%s is of a newer version: it is read, and a new file begins", last.path.name)
            self._next_id = max(self._next_id, newest + 1)
        if not self._next_id:
            self._next_id = max((_bound(one.path) for one in own), default=1)
        if own:  # names sort by first id, so the new one must come behind
            self._next_id = max(self._next_id, own[-1].first_id + 1)
        path = self._folder / f"events-{self._slot}-{self._next_id:012}.db"
        active = ActiveFile(path, self._slot, self._next_id, full_sync=full_sync)
        self._fresh = False
        return active

    def _newest(self, segment: Segment) -> tuple[int, int]:
        """(schema, newest id) of a file, before anything is changed in it."""
        if not segment.path.stat().st_size:
            return SCHEMA, segment.first_id - 1
        connection = open_readonly(segment.path)
        try:
            has_meta = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone()
            schema = schema_of(connection) if has_meta else SCHEMA
            if schema == SCHEMA:
                return schema, 0
            try:
                row = connection.execute("SELECT id FROM events ORDER BY id DESC LIMIT 1").fetchone()
            except Exception:
                return schema, _bound(segment.path)
            return schema, row[0] if row else segment.first_id
        finally:
            connection.close()

    def _measure(self) -> None:
        self._retention.measure(self._active)
        self._show_sizes()

    def _show_sizes(self) -> None:
        self.figures.bytes, self.figures.segments = self._retention.bytes, self._retention.segments

    def _keep_house(self) -> None:
        """Seal the file that is large or old enough, and let go what is too much or too old."""
        active, retention = self._active, self._retention
        retention.grown(active)
        ended = active is not None and retention.ends(active)
        if ended and active is not None:
            self._active, self._fresh = None, True
            active.seal()
        if ended or self._clock() >= retention.due:
            retention.let_go(self._slot if self._lock is not None else None, self._active)
        self._show_sizes()

    # What is asked for

    def check_stored(self) -> None:
        """Raise NotStored if anything waits that could not be written."""
        if self._waiting or self.figures.fault is not None:
            raise NotStored(f"the event store cannot write ({self._reason()}): {self.figures.fault_text}")

    def forget(self, session: str | None) -> dict[str, int]:
        """Take everything, or a session and its chats, from all files that are ours to change.

        Returns how many events went, by type. Raises NotStored if a file could not be changed, or belongs to
        another process.
        """
        with free_slots(self._folder, self._slot if self._lock is not None else None) as slots:
            segments = list_segments(self._folder)
            others = sum(one.slot not in slots for one in segments)
            mine = [one for one in segments if one.slot in slots]
            gone = self._forget_all(mine) if session is None else self._forget_session(mine, session)
        now = self._wall()
        if gone:
            self._waiting.append(Loss("forgotten", sum(gone.values()), gone if session is None else {}, now, now))
        self._settle(force=True)
        self._measure()
        if others:
            raise NotStored(f"{others} files belong to another ComfyUI that runs: ask there as well")
        return dict(gone)

    def _forget_all(self, segments: list[Segment]) -> Counter[str]:
        rows = [one for one in self._waiting if not isinstance(one, Loss)]
        self.figures.taken += len(rows)
        self._waiting, self._waiting_bytes = [], 0
        if self._active is not None:
            self._active.close()
            self._active = None
        self._fresh = True
        return remove_all(segments) + Counter(row[2].type for row in rows)

    def _forget_session(self, segments: list[Segment], session: str) -> Counter[str]:
        chats = chats_in(segments, self._active, session)
        gone = erase_session(segments, self._active, session, chats)
        kept: list[_Waiting] = []
        for one in self._waiting:
            if isinstance(one, Loss) or (one[3] != session and chat_of(one) not in chats):
                kept.append(one)
            else:
                gone[one[2].type] += 1
        self.figures.taken += len(self._waiting) - len(kept)
        self._waiting = kept
        self._waiting_bytes = sum(len(one[4]) + _OVERHEAD for one in kept if not isinstance(one, Loss))
        return gone

    def _close(self) -> None:
        if self._active is not None and self.figures.fault is None:
            try:
                self._waiting.append(self._own_row("store.closed", self._wall(), {}))
                self._settle(force=True)
            except Exception as error:
                log.debug("the end was not written: %s", error)
        if self._waiting:
            lost = sum(not isinstance(one, Loss) for one in self._waiting)
            log.warning("%d events were not stored (%s)", lost, self._reason())


_Waiting = Row | Loss


def _bound(path: Path) -> int:
    """An id above all that a file may hold: asked for, or else by its size. No row takes less than 32 bytes."""
    match = path.name.split("-")
    first = int(match[2].split(".")[0])
    try:
        connection = open_readonly(path)
        try:
            row = connection.execute("SELECT id FROM events ORDER BY id DESC LIMIT 1").fetchone()
            return max(first, row[0] + 1 if row else first)
        finally:
            connection.close()
    except Exception:
        size = sum(os.path.getsize(f"{path}{side}") if os.path.exists(f"{path}{side}") else 0 for side in ("", "-wal"))
        return first + size // 32 + 1
