"""The files of our slot: the one that is written to, how it is found or begun, and what heals it."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .faults import FileFault, fault_of
from .figures import Figures
from .folder import free_bytes
from .layout import SCHEMA, schema_of
from .segments import (
    ActiveFile,
    Segment,
    list_segments,
    newest_of,
    open_readonly,
    remove,
    roll_back,
    seal_file,
    set_aside,
)
from .slots import SlotLock, free_slots, take_slot
from .waiting import Loss

log = logging.getLogger("copilot_pulse.store")

_FULL_BELOW: Final = 512 * 1024  # bytes free on a disk that counts as full


class OwnFiles:
    """The slot of this process and its files, the last of which is `active` while it is open.

    For the writer's thread. `tell` gets what was lost; `first_id` is the id that the next row has at least.
    """

    def __init__(
        self,
        folder: Path,
        figures: Figures,
        *,
        full_sync: bool,
        wall: Callable[[], float],
        tell: Callable[[Loss], None],
    ) -> None:
        self.active: ActiveFile | None = None
        self.first_id = 0  # 0: not known yet
        self._folder = folder
        self._figures = figures
        self._full_sync = full_sync
        self._wall = wall
        self._tell = tell
        self._lock: SlotLock | None = None
        self._slot = 0
        self._fresh = False  # the next file to write to is a new one

    @property
    def slot(self) -> int | None:
        """Our slot, while we hold it."""
        return self._slot if self._lock is not None else None

    def open(self) -> ActiveFile:
        """The file to write to. Raises sqlite3.Error and OSError."""
        if self.active is not None:
            return self.active
        if self._lock is None:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            slot, self._lock = take_slot(self._folder)
            if slot != self._slot:
                self.first_id, self._slot = 0, slot
            self._figures.slot = slot
            with free_slots(self._folder, slot) as slots:
                roll_back([one for one in list_segments(self._folder) if one.slot in slots and not one.damaged])
        active = self.active = self._open()
        self._figures.last_id = active.last_id
        self._figures.journal_mode = active.journal_mode
        return active

    def begin_anew(self, *, sealed: bool = False) -> None:
        """Write no more to the file in use; the next rows go to a new one."""
        active, self.active, self._fresh = self.active, None, True
        if active is not None:
            active.seal() if sealed else active.close()

    def close(self) -> None:
        """Close the file in use, to open it again."""
        active, self.active = self.active, None
        if active is not None:
            active.close()

    def release(self) -> None:
        """Close all, and let the slot go."""
        self.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def last_time(self) -> float | None:
        """When the newest event of our files was; None if there is none."""
        return next((newest[1] for one in reversed(self._own()) if (newest := newest_of(one)) is not None), None)

    def _own(self) -> list[Segment]:
        return [one for one in list_segments(self._folder) if one.slot == self._slot]

    def _open(self) -> ActiveFile:
        """The last segment of our slot, or a new one if there is none, or none that can be gone on with."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        own = self._own()
        if own and not own[-1].damaged and not self._fresh:
            last = own[-1]
            schema, newest = self._newest(last)
            if schema == SCHEMA:
                active = ActiveFile(last.path, self._slot, last.first_id, full_sync=self._full_sync)
                damage = None if self.first_id else active.damage()
                if damage is None:
                    self.first_id = max(self.first_id, active.last_id + 1, last.first_id)
                    return active
                active.close()
                raise sqlite3.DatabaseError(f"database disk image is malformed: {damage}")
            if schema < SCHEMA:
                seal_file(last.path)
            else:
                log.warning("%s is of a newer version: it is read, and a new file begins", last.path.name)
            self.first_id = max(self.first_id, newest + 1)
        if not self.first_id:
            self.first_id = max((_bound(one.path) for one in own), default=1)
        if own:  # names sort by first id, so the new one must come behind
            self.first_id = max(self.first_id, own[-1].first_id + 1)
        path = self._folder / f"events-{self._slot}-{self.first_id:012}.db"
        active = ActiveFile(path, self._slot, self.first_id, full_sync=self._full_sync)
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

    # Healing

    def fault_of(self, error: BaseException) -> FileFault:
        """The kind of an error, on this disk."""
        fault = fault_of(error)
        if fault is FileFault.IO:  # also what a file says that could not grow; but a broken disk is not a full one
            return FileFault.FULL if free_bytes(self._folder) < _FULL_BELOW else FileFault.OTHER
        return fault

    def heal(self, error: Exception) -> bool:
        """Do what may help against an error; False if nothing can be done now."""
        if self.active is not None and not self.active.is_still_there():
            self._vanished(self.active)  # SQLite says "readonly" of it, or nothing at all
            return True
        fault = self.fault_of(error)
        if fault is FileFault.FULL:
            return self._make_room()
        if fault is FileFault.CORRUPT:
            return self._set_aside(str(error))
        if fault is not FileFault.LOCKED:
            self.close()
        return False

    def _make_room(self) -> bool:
        """On a full disk only whole files help: our oldest one goes and a new one begins. The newest events count.

        If the file in use is the only one, a new one is tried, and the old one goes next.
        """
        active, self.active = self.active, None
        if active is not None:
            active.close()
        own = self._own()
        if active is not None:
            spare = [one for one in own if one.path != active.path]
        else:
            spare = own if self._fresh else own[:-1]
        can_begin = active is not None and active.last_id > 0
        self._fresh = self._fresh or can_begin
        dropped = bool(spare) and remove(spare[0])
        if dropped:
            self._figures.dropped_segments += 1
            log.warning("the disk is full: the event store let go its oldest file, %s", spare[0].path.name)
        return dropped or can_begin

    def _set_aside(self, why: str) -> bool:
        """The file to write to is broken: keep it for reading, and begin a new one."""
        active, self.active = self.active, None
        if active is not None:
            active.close()
            path = active.path
        else:
            own = [one for one in self._own() if not one.damaged]
            if not own:
                return False
            path = own[-1].path
        # Ids are never used twice: what the file held can no more be asked for certain.
        self.first_id = max(self.first_id, _bound(path))
        target = set_aside(path, int(self._wall()))
        if target is None:
            return False
        self._figures.set_aside = target.name
        log.warning("a file of the event store is damaged (%s): kept as %s, a new one begins", why, target.name)
        self._fresh = True
        now = self._wall()
        self._tell(Loss(f"file damaged: {target.name}", 0, {}, now, now))
        return True

    def _vanished(self, active: ActiveFile) -> None:
        """Somebody took the file away or put another one there: what it held is gone, and a new one begins."""
        active.close()
        self.active, self._fresh = None, True
        lost = max(self.first_id - active.first_id, 0)
        self.first_id = max(self.first_id, active.last_id + 1)
        if self._lock is not None and not self._lock.is_still_there():  # the whole folder went
            self._lock.release()
            self._lock = None
        log.warning("%s was removed or replaced while the event store wrote to it; a new file begins", active.path)
        since = active.first_time if active.first_time is not None else self._wall()
        self._figures.lost["file removed"] += lost
        self._tell(Loss("file removed", lost, {}, since, self._wall()))


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
