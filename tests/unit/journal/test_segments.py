"""Files of the store: slots, names, limits, and what SQLite's errors mean."""

from __future__ import annotations

import errno
import sqlite3
import stat
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pytest

from backend.journal.faults import FileFault, fault_of
from backend.journal.segments import list_segments, open_readonly, set_aside, uri_of
from tests.support.stores import numbered, segment


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """History tells who asked which model when."""
    active = segment(tmp_path)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    active.close()
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3


def test_sealed_file_is_one_plain_file_with_its_span(tmp_path: Path) -> None:
    """So that it can be copied, and skipped by a search for another time."""
    active = segment(tmp_path)
    active.seal()

    assert [path.name for path in tmp_path.iterdir()] == ["events-0-000000000001.db"]
    connection = sqlite3.connect(active.path)
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    assert connection.execute("SELECT value FROM meta WHERE key = 'span'").fetchone()[0] == "[1000.0,1002.0]"
    connection.close()


def test_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    """A row that is refused takes the whole batch back, to be tried again."""
    active = segment(tmp_path, rows=1)

    with pytest.raises(sqlite3.Error):
        active.insert([numbered(2), numbered(2)])
    active.insert([numbered(2)])
    active.close()

    connection = sqlite3.connect(active.path)
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (2,)
    connection.close()


def test_set_aside_takes_the_wal_along(tmp_path: Path) -> None:
    """What was committed last stands there."""
    active = segment(tmp_path)
    set_aside(active.path, 7)
    active.close()

    names = {path.name for path in tmp_path.iterdir()}
    assert "events-0-000000000001.db.corrupt-7" in names
    assert "events-0-000000000001.db.corrupt-7-wal" in names
    assert [(one.first_id, one.damaged) for one in list_segments(tmp_path)] == [(1, True)]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (sqlite3.OperationalError("database or disk is full"), FileFault.FULL),
        (OSError(errno.ENOSPC, "No space left on device"), FileFault.FULL),
        (sqlite3.OperationalError("disk I/O error"), FileFault.IO),
        (sqlite3.OperationalError("attempt to write a readonly database"), FileFault.UNWRITABLE),
        (sqlite3.OperationalError("unable to open database file"), FileFault.UNWRITABLE),
        (PermissionError(errno.EACCES, "Permission denied"), FileFault.UNWRITABLE),
        (sqlite3.OperationalError("database is locked"), FileFault.LOCKED),
        (sqlite3.DatabaseError("file is not a database"), FileFault.CORRUPT),
        (sqlite3.DatabaseError("database disk image is malformed"), FileFault.CORRUPT),
        (sqlite3.IntegrityError("UNIQUE constraint failed"), FileFault.OTHER),
        (ValueError("something"), FileFault.OTHER),
    ],
)
def test_errors_are_known_by_their_words(error: Exception, fault: FileFault) -> None:
    """Python 3.10 has no codes."""
    assert fault_of(error) is fault


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        (PurePosixPath("/home/me/a b#?%/x.db"), "file:///home/me/a%20b%23%3F%25/x.db"),
        (PureWindowsPath(r"C:\Users\me\x.db"), "file:///C:/Users/me/x.db"),
        (PureWindowsPath(r"\\server\share\x.db"), "file:////server/share/x.db"),
    ],
)
def test_paths_are_uris_that_sqlite_takes(path: PurePath, uri: str) -> None:
    """A drive with a slash before it; of two slashes SQLite would take the server for another machine's name."""
    assert uri_of(path) == uri


def test_file_with_any_name_can_be_read(tmp_path: Path) -> None:
    """A user's folder may be called anything."""
    folder = tmp_path / "a b#?% 中"
    folder.mkdir()
    active = segment(folder)
    active.seal()

    connection = open_readonly(active.path)
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (3,)
    connection.close()
