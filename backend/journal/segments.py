"""The files of the store: their names, their locks, their bounds. When a new one begins and which ones go is
decided in retention.py, whose slot is whose in slots.py.

A store is a folder of segments, `events-<slot>-<id of the first event>.db`, each a SQLite file of bounded size.
The last segment of a slot is written to (WAL); the ones before it are sealed. What is too old or too much
goes as whole files: no SQL can make room on a full disk, and deleting rows is slow and shrinks nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path, PurePath
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from .folder import on_network
from .layout import TABLES, Layout, Numbers, insert, schema_of
from .rows import Row

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
        path = str(self.path)  # a Path for each would take longer than the look
        return sum(_size(path + side) for side in ("", *_SIDES))


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


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
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


def open_readonly(path: Path) -> sqlite3.Connection:
    """A connection that can only read. Raises sqlite3.Error."""
    mode = "mode=ro"
    if not os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids) and not _size(
        f"{path}-wal"
    ):
        mode += "&immutable=1"  # SQLite would want to make files beside it, and nobody can write to it here
    return sqlite3.connect(
        f"{uri_of(path.absolute())}?{mode}",
        uri=True,
        isolation_level=None,
        timeout=LOCK_SECONDS,
        check_same_thread=False,
    )


def newest_of(segment: Segment) -> tuple[int, float] | None:
    """Id and time of the newest event of a file; None if it has none or cannot be read."""
    try:
        connection = open_readonly(segment.path)
        try:
            row: tuple[int, float] | None = connection.execute(
                "SELECT id, time FROM events ORDER BY id DESC LIMIT 1"
            ).fetchone()
            return row
        finally:
            connection.close()
    except sqlite3.Error:
        return None


def uri_of(path: PurePath) -> str:
    """A path as SQLite takes it in a URI, on every system: a drive needs a slash before it, a server two more."""
    posix = path.as_posix()
    return "file://" + quote(posix if posix.startswith("/") else f"/{posix}", safe="/:")


def roll_back(segments: list[Segment]) -> None:
    """Take back what a kill left half done in files of ours (while one was sealed, or forgot a session).

    Who only reads cannot do that, and cannot read them before. Raises sqlite3.Error.
    """
    for segment in segments:
        if _size(f"{segment.path}-journal"):
            connection = sqlite3.connect(str(segment.path), isolation_level=None, timeout=LOCK_SECONDS)
            try:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            finally:
                connection.close()


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
        # WAL needs memory that all who read share, and that no network has.
        wanted = "TRUNCATE" if on_network(self.path.parent) else "WAL"
        if run(f"PRAGMA journal_mode={wanted}").fetchone()[0] not in ("wal", "truncate"):
            run("PRAGMA journal_mode=TRUNCATE")
        self.journal_mode: str = run("PRAGMA journal_mode").fetchone()[0]
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
