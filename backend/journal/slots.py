"""Whose files they are: a slot belongs to one process, by a lock that the system drops with the process."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from .segments import Segment, list_segments, roll_back

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl

SLOTS: Final = 16


class SlotLock:
    """The lock of a slot, held until `release()` or the end of the process."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path

    @classmethod
    def take(cls, folder: Path, slot: int) -> SlotLock | None:
        """Take it, or None if another process (or another store of this one) has it. Raises OSError."""
        path = folder / f"slot-{slot}.lock"
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        try:
            if _lock(file):
                return cls(file, path)
        except BaseException:
            file.close()
            raise
        file.close()
        return None

    def is_still_there(self) -> bool:
        """Whether others that ask for the slot would meet this lock."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except OSError:
            return False

    def release(self) -> None:
        """Let it go. The file stays: removing it would let two processes hold a lock of the same name."""
        self._file.close()


def _lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":  # pragma: no cover
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def take_slot(folder: Path) -> tuple[int, SlotLock]:
    """The first slot that is free, and its lock. Raises OSError."""
    for slot in range(SLOTS):
        lock = SlotLock.take(folder, slot)
        if lock is not None:
            return slot, lock
    raise OSError(f"all {SLOTS} slots of {folder} are in use by other processes")


@contextlib.contextmanager
def free_slots(folder: Path, own: int | None) -> Iterator[set[int]]:
    """Our slot and all that no process holds, locked meanwhile: files that may be changed or removed."""
    locks: list[SlotLock] = []
    slots = set() if own is None else {own}
    try:
        for slot in {segment.slot for segment in list_segments(folder)} - slots:
            lock = SlotLock.take(folder, slot)
            if lock is not None:
                locks.append(lock)
                slots.add(slot)
        yield slots
    finally:
        for lock in locks:
            lock.release()


def mend(segment: Segment) -> bool:
    """Roll a file back whose program was killed, before it is read; whether that was possible. Never raises.

    Not while a program has the slot: it is at work there, or has rolled back at its start.
    """
    try:
        lock = SlotLock.take(segment.path.parent, segment.slot)
        if lock is None:
            return False
        try:
            roll_back([segment])
        finally:
            lock.release()
    except (OSError, sqlite3.Error):
        return False
    return True
