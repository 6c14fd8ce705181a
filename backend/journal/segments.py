"""The files of the store: their names, their locks, their bounds. When a new one begins and which ones go is
decided by the thread that writes, in writer.py.

A store is a folder of segments, `events-<slot>-<id of the first event>.db`, each a SQLite file of bounded size.
The last segment of a slot is written to (WAL); the ones before it are sealed. A slot belongs to one process, by
a lock that the system drops with the process: a second ComfyUI takes the next slot. What is too old or too much
goes as whole files: no SQL can make room on a full disk, and deleting rows is slow and shrinks nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple
from urllib.parse import quote

from .layout import TABLES, Layout, Numbers, insert, schema_of
from .rows import Row

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl

SLOTS: Final = 16
PAGE: Final = 4096
LOCK_SECONDS: Final = 2.0
_NAME: Final = re.compile(r"events-(\d{1,3})-(\d{12,19})\.db(\.corrupt-\d+)?")
_SIDES: Final = ("-wal", "-shm", "-journal")


class Segment(NamedTuple):
    """One file. `damaged`: it was set aside because SQLite found it broken; it is read row by row."""

    path: Path
    slot: int
    first_id: int
    damaged: bool

    @property
    def bytes(self) -> int:
        """What it takes on the disk, with its side files."""
        return sum(_size(Path(f"{self.path}{side}")) for side in ("", *_SIDES))


def list_segments(folder: Path) -> list[Segment]:
    """All segments of a folder by slot and first id; [] if there is no such folder."""
    found = []
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        match = _NAME.fullmatch(name)
        if match:
            found.append(Segment(folder / name, int(match[1]), int(match[2]), match[3] is not None))
    return sorted(found, key=lambda one: (one.slot, one.first_id, one.damaged, one.path.name))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def remove(segment: Segment) -> bool:
    """Unlink a segment; False if the system refuses (Windows, while somebody reads it)."""
    try:
        segment.path.unlink(missing_ok=True)
    except OSError:
        return False
    for side in _SIDES:
        with contextlib.suppress(OSError):
            Path(f"{segment.path}{side}").unlink()
    return True


def open_readonly(path: Path, timeout: float = LOCK_SECONDS) -> sqlite3.Connection:
    """A connection that can only read. Raises sqlite3.Error."""
    mode = "mode=ro"
    if not os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids) and not _size(
        Path(f"{path}-wal")
    ):
        mode += "&immutable=1"  # SQLite would want to make files beside it, and nobody can write to it here
    return sqlite3.connect(
        f"file:{quote(str(path))}?{mode}", uri=True, isolation_level=None, timeout=timeout, check_same_thread=False
    )


def roll_back(segments: list[Segment]) -> None:
    """Take back what a kill left half done in files of ours (while one was sealed, or forgot a session).

    Who only reads cannot do that, and cannot read them before. Raises sqlite3.Error.
    """
    for segment in segments:
        if _size(Path(f"{segment.path}-journal")):
            connection = sqlite3.connect(str(segment.path), isolation_level=None, timeout=LOCK_SECONDS)
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            finally:
                connection.close()


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


def free_bytes(folder: Path) -> int:
    """What is free on the folder's disk; very much if the system cannot tell."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 1 << 60


class ActiveFile:
    """The segment that is written to: one connection, which also checkpoints. For the writer's thread.

    `first_time` and `last_id` are None and 0 while it is empty; `size` is as of the last `insert()`.
    """

    def __init__(self, path: Path, slot: int, first_id: int, *, full_sync: bool) -> None:
        """Open or make it. Raises sqlite3.Error and OSError; nothing is left open then."""
        self.path = path
        self.slot = slot
        self.first_id = first_id
        self.size = 0
        fresh = not path.exists()
        if fresh:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        self._connection = sqlite3.connect(
            str(path), isolation_level=None, timeout=LOCK_SECONDS, check_same_thread=False
        )
        try:
            self._prepare(full_sync)
            self.identity = self._look()
        except BaseException:
            self._connection.close()
            if fresh:
                remove(Segment(path, slot, first_id, False))
            raise

    def _prepare(self, full_sync: bool) -> None:
        run = self._connection.execute
        self.wal = run("PRAGMA journal_mode=WAL").fetchone()[0] == "wal"
        if not self.wal:  # a network folder: WAL needs memory that processes share
            run("PRAGMA journal_mode=TRUNCATE")
        run(f"PRAGMA synchronous={'FULL' if full_sync else 'NORMAL'}")
        run("PRAGMA journal_size_limit=0")
        run("PRAGMA wal_autocheckpoint=1000")
        self._connection.executescript(f"BEGIN IMMEDIATE;{TABLES}COMMIT;")
        self.schema = schema_of(self._connection)
        self._numbers = Numbers(self._connection)
        row = run("SELECT id FROM events ORDER BY id DESC LIMIT 1").fetchone()
        self.last_id: int = row[0] if row else 0
        row = run("SELECT time FROM events ORDER BY id LIMIT 1").fetchone()
        self.first_time: float | None = row[0] if row else None

    def damage(self) -> str | None:
        """What `quick_check` finds, or None. Reads the whole file; 20 ms for 8 MB."""
        found: str = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        return None if found == "ok" else found

    def insert(self, rows: list[Row]) -> None:
        """Commit rows, in one transaction. Raises sqlite3.Error; nothing of it is in the file then.

        The first row has its id. The ids of the others follow it, given or None.
        """
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            insert(connection, rows, self._numbers)
            connection.execute("COMMIT")
        except BaseException:
            self._numbers.clear()
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        first = rows[0][0]
        assert first is not None
        self.last_id = first + len(rows) - 1
        if self.first_time is None:
            self.first_time = rows[0][1]

    def _look(self) -> tuple[Any, ...] | None:
        """Which files these are; also notes the size. None if the file is gone.

        The -wal counts too: who removes that removes what was committed last, and SQLite says nothing.
        """
        try:
            main = os.stat(self.path)
        except FileNotFoundError:
            return None
        try:
            wal = os.stat(f"{self.path}-wal")
        except FileNotFoundError:
            self.size = main.st_size
            return (main.st_dev, main.st_ino, None)
        self.size = main.st_size + wal.st_size
        return (main.st_dev, main.st_ino, wal.st_ino)

    def is_still_there(self) -> bool:
        """Whether the files are those that were opened: one that was deleted takes rows into nothing."""
        return self._look() == self.identity

    def chats_of(self, session: str) -> set[str]:
        """The session's chats here. Raises sqlite3.Error."""
        return Layout(self._connection).chats_of(session)

    def erase(self, session: str, chats: set[str]) -> dict[str, int]:
        """As that of the layout."""
        self._numbers.clear()
        return Layout(self._connection).erase(session, chats)

    def seal(self) -> None:
        """Make it one plain file: nothing is written to it any more. What fails is left as it is."""
        _seal(self._connection)
        self.close()

    def close(self) -> None:
        """Close the connection. Twice is fine."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


def _seal(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        # So that a search by time need not open what cannot hold it. Clocks jump: the ends are not enough.
        connection.execute("INSERT OR REPLACE INTO meta SELECT 'span', json_array(min(time), max(time)) FROM events")
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # Refused while somebody reads; the file is as good in WAL mode, only with more files beside it.
        connection.execute("PRAGMA busy_timeout=100")
        connection.execute("PRAGMA journal_mode=DELETE")


def seal_file(path: Path) -> None:
    """Make one plain file of what an older version wrote to. What fails is left as it is."""
    with contextlib.suppress(sqlite3.Error):
        connection = sqlite3.connect(str(path), isolation_level=None, timeout=LOCK_SECONDS)
        try:
            _seal(connection)
        finally:
            connection.close()


def set_aside(path: Path, number: int) -> Path | None:
    """Rename a broken segment, side files first, so that it is not written to again. None if that fails."""
    target = path.with_name(f"{path.name}.corrupt-{number}")
    for side in (*_SIDES, ""):
        try:
            os.replace(f"{path}{side}", f"{target}{side}")
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return target
