"""The thread that writes: it alone touches the files of its slot, and nothing waits for it unless it asks to.

What cannot be written is kept and tried again; the file is healed or replaced where that helps. What cannot be
kept either is counted, and a `store.gap` row says so in the history itself, where it happened.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple, TypeVar

from .faults import FileFault, NotStored
from .figures import Figures
from .files import OwnFiles
from .forgetting import chats_in, erase_session, remove_all
from .redaction import Redaction
from .retention import Limits, Retention
from .rows import Row, RowMaker
from .segments import ActiveFile, Segment, list_segments
from .slots import free_slots
from .waiting import Loss, Waiting, own_row

T = TypeVar("T")

log = logging.getLogger("copilot_pulse.store")

CHUNK: Final = 256  # rows of one transaction
RETRY_SECONDS: Final = {
    FileFault.FULL: 30.0,
    FileFault.UNWRITABLE: 60.0,
    FileFault.LOCKED: 1.0,
    FileFault.CORRUPT: 30.0,
    FileFault.IO: 30.0,
    FileFault.OTHER: 30.0,
}
_HEALED_AT_ONCE: Final = 64  # files that one commit may drop or set aside
_GIVE_UP_AFTER: Final = 3  # tries of a folder that has never been writable, before what waits is let go


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
        self.committed: Callable[[], None] | None = None  # called in the thread after each commit
        self._folder = folder
        self._rows = RowMaker(redaction, with_text=with_text)
        self._clock = clock
        self._wall = wall
        self._opened = opened
        self._waiting = Waiting()
        tell = self._waiting.put_first
        self._files = OwnFiles(folder, self.figures, full_sync=config.full_sync, wall=wall, tell=tell)
        self._retention = Retention(folder, config.limits, clock=clock, wall=wall)
        self._started = False  # store.opened has been written
        self._ever = False  # something was stored in this process
        self._retry_at = 0.0
        self._tries = 0
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
            self._files.release()

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
        """Make rows of a batch, as far as there is room for them."""
        self._in_hand = batch
        self._rows.refresh()
        offset = self._wall() - self._clock()
        if batch.loss is not None:
            self._lose(batch.loss)
        refused: list[Any] = []
        for start in range(0, len(batch.events), CHUNK):
            part = batch.events[start : start + CHUNK]
            taken = self._waiting.add(self._rows.make(offset, part))
            refused += part[taken:]
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
        self.figures.lost[loss.reason] += loss.lost
        self._waiting.lose(loss)

    # Writing

    def _settle(self, *, force: bool = False) -> None:
        """Write what waits, if it is not too early to try again; then let go what is too old."""
        now = self._clock()
        if self.figures.fault is not None and now < self._retry_at and not force:
            return
        fault: FileFault | None = None
        try:
            self._healed(self._open)
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

    def _note(self, error: Exception) -> FileFault:
        if not isinstance(error, (sqlite3.Error, OSError)):
            raise error
        fault = self._files.fault_of(error)
        if self.figures.fault is not fault:
            log.warning("the event store cannot write (%s): %s", fault.value, error)
        self.figures.fault, self.figures.fault_text = fault, str(error)
        self._retry_at = self._clock() + RETRY_SECONDS[fault]
        self._tries += 1
        if fault is FileFault.UNWRITABLE and not self._ever and self._tries >= _GIVE_UP_AFTER:
            self._let_go(fault.value)
        return fault

    def _let_go(self, reason: str) -> None:
        rows = self._waiting.take_out()
        if rows:
            self.figures.taken += len(rows)
            self._lose(Loss(reason, len(rows), _by_type(rows), rows[0][1], rows[-1][1]))

    def _healed(self, attempt: Callable[[], T]) -> T:
        """What `attempt` gives, after healing what can be healed. Raises what cannot."""
        for _ in range(_HEALED_AT_ONCE):
            try:
                return attempt()
            except Exception as error:
                if not self._files.heal(error):
                    raise
        raise OSError(f"{self._folder} cannot be written to")

    def _open(self) -> ActiveFile:
        """The file to write to, measured when it is opened; the first time, a row says so."""
        was_open = self._files.active is not None
        active = self._files.open()
        if not was_open:
            self._measure()
        if not self._started:
            self._started = True
            opened = {**self._opened, "down_since": self._files.last_time()}
            self._waiting.put_first(own_row("store.opened", self._wall(), opened))
        return active

    def _commit(self) -> int:
        active = self._open()
        rows = self._numbered(self._waiting.first(CHUNK), active)
        began = perf_counter()
        active.insert(rows)
        self.figures.count_commit(perf_counter() - began)
        if not active.is_still_there():
            raise FileNotFoundError(f"{active.path} is gone")
        self.figures.last_id = active.last_id
        return len(rows)

    def _write(self) -> None:
        """Commit the first of what waits and take it off. Raises what could not be healed."""
        events = self._waiting.written(self._healed(self._commit))
        self._ever = True
        figures = self.figures
        self._files.first_id = figures.last_id + 1
        figures.stored += events
        figures.taken += events
        self._keep_house()
        if self.committed is not None:
            self.committed()

    def _numbered(self, rows: list[Row], active: ActiveFile) -> list[Row]:
        """The first row gets its id: SQLite counts on from there."""
        rows[0] = (max(self._files.first_id, active.last_id + 1), *rows[0][1:])
        return rows

    def _measure(self) -> None:
        self._retention.measure(self._files.active)
        self._show_sizes()

    def _show_sizes(self) -> None:
        self.figures.bytes, self.figures.segments = self._retention.bytes, self._retention.segments

    def _keep_house(self) -> None:
        """Seal the file that is large or old enough, and let go what is too much or too old."""
        files, retention = self._files, self._retention
        retention.grown(files.active)
        ended = files.active is not None and retention.ends(files.active)
        if ended:
            files.begin_anew(sealed=True)
        if ended or self._clock() >= retention.due:
            retention.let_go(files.slot, files.active)
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
        with free_slots(self._folder, self._files.slot) as slots:
            segments = list_segments(self._folder)
            others = sum(one.slot not in slots for one in segments)
            mine = [one for one in segments if one.slot in slots]
            gone = self._forget_all(mine) if session is None else self._forget_session(mine, session)
        now = self._wall()
        if gone:
            self._waiting.lose(Loss("forgotten", sum(gone.values()), gone if session is None else {}, now, now))
        self._settle(force=True)
        self._measure()
        if others:
            raise NotStored(f"{others} files belong to another program that runs: ask there as well")
        return dict(gone)

    def _forget_all(self, segments: list[Segment]) -> Counter[str]:
        rows = self._waiting.clear()
        self.figures.taken += len(rows)
        self._files.begin_anew()
        return remove_all(segments) + _by_type(rows)

    def _forget_session(self, segments: list[Segment], session: str) -> Counter[str]:
        active = self._files.active
        chats = chats_in(segments, active, session)
        gone = erase_session(segments, active, session, chats)
        rows = self._waiting.forget(session, chats)
        self.figures.taken += len(rows)
        return gone + _by_type(rows)

    def _close(self) -> None:
        if self._files.active is not None and self.figures.fault is None:
            try:
                self._waiting.add_own(own_row("store.closed", self._wall(), {}))
                self._settle(force=True)
            except Exception as error:
                log.debug("the end was not written: %s", error)
        if self._waiting:
            log.warning("%d events were not stored (%s)", self._waiting.rows(), self._reason())


def _by_type(rows: list[Row]) -> Counter[str]:
    return Counter(row[2].type for row in rows)
