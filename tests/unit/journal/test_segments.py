"""Files of the store: slots, names, limits, and what SQLite's errors mean."""

from __future__ import annotations

import errno
import sqlite3
import stat
from pathlib import Path

import pytest

from backend.journal import segments
from backend.journal.faults import Fault, fault_of
from backend.journal.rows import Row, Shape
from backend.journal.segments import ActiveFile, SlotLock, free_slots, list_segments, set_aside, take_slot


def make(folder: Path, slot: int = 0, first: int = 1, rows: int = 3) -> ActiveFile:
    """A segment with some rows, open."""
    active = ActiveFile(folder / f"events-{slot}-{first:012}.db", slot, first, full_sync=False)
    active.insert([row(first + n, 1000.0 + n) for n in range(rows)])
    return active


SHAPE = Shape("x", "test", 1, ("n",))


def row(id_: int, time: float = 1.0) -> Row:
    """A row that says its number."""
    return (id_, time, SHAPE, "s", f"[{id_}]")


def test_slot_belongs_to_one_holder_at_a_time(tmp_path: Path) -> None:
    """The second one gets the next slot, and the first is free again after its release."""
    first, lock = take_slot(tmp_path)
    second, other = take_slot(tmp_path)
    lock.release()
    third, again = take_slot(tmp_path)

    assert (first, second, third) == (0, 1, 0)
    other.release()
    again.release()


def test_all_slots_taken_is_an_error_with_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be waited for."""
    monkeypatch.setattr(segments, "SLOTS", 1)
    _, lock = take_slot(tmp_path)

    with pytest.raises(OSError, match="in use by other processes"):
        take_slot(tmp_path)
    lock.release()


def test_lock_notices_that_its_file_was_removed(tmp_path: Path) -> None:
    """A lock on a file that nobody finds any more keeps nobody out."""
    _, lock = take_slot(tmp_path)
    assert lock.is_still_there()
    (tmp_path / "slot-0.lock").unlink()

    assert not lock.is_still_there()
    lock.release()


def test_only_free_slots_may_be_changed(tmp_path: Path) -> None:
    """Files of a slot whose process lives are not ours to remove; those of a dead one are."""
    for slot in (0, 1, 2):
        make(tmp_path, slot).close()
    theirs = SlotLock.take(tmp_path, 1)
    assert theirs is not None

    with free_slots(tmp_path, 0) as mine:
        assert mine == {0, 2}
        assert SlotLock.take(tmp_path, 2) is None
    theirs.release()


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """History tells who asked which model when."""
    active = make(tmp_path)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    active.close()
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3


def test_sealed_file_is_one_plain_file_with_its_span(tmp_path: Path) -> None:
    """So that it can be copied, and skipped by a search for another time."""
    active = make(tmp_path)
    active.seal()

    assert [path.name for path in tmp_path.iterdir()] == ["events-0-000000000001.db"]
    connection = sqlite3.connect(active.path)
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    assert connection.execute("SELECT value FROM meta WHERE key = 'span'").fetchone()[0] == "[1000.0,1002.0]"
    connection.close()


def test_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    """A row that is refused takes the whole batch back, to be tried again."""
    active = make(tmp_path, rows=1)

    with pytest.raises(sqlite3.Error):
        active.insert([row(2), row(2)])
    active.insert([row(2)])
    active.close()

    connection = sqlite3.connect(active.path)
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (2,)
    connection.close()


def test_set_aside_takes_the_wal_along(tmp_path: Path) -> None:
    """What was committed last stands there."""
    active = make(tmp_path)
    set_aside(active.path, 7)
    active.close()

    names = {path.name for path in tmp_path.iterdir()}
    assert "events-0-000000000001.db.corrupt-7" in names
    assert "events-0-000000000001.db.corrupt-7-wal" in names
    assert [(one.first_id, one.damaged) for one in list_segments(tmp_path)] == [(1, True)]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (sqlite3.OperationalError("database or disk is full"), Fault.FULL),
        (OSError(errno.ENOSPC, "No space left on device"), Fault.FULL),
        (sqlite3.OperationalError("disk I/O error"), Fault.IO),
        (sqlite3.OperationalError("attempt to write a readonly database"), Fault.UNWRITABLE),
        (sqlite3.OperationalError("unable to open database file"), Fault.UNWRITABLE),
        (PermissionError(errno.EACCES, "Permission denied"), Fault.UNWRITABLE),
        (sqlite3.OperationalError("database is locked"), Fault.LOCKED),
        (sqlite3.DatabaseError("file is not a database"), Fault.CORRUPT),
        (sqlite3.DatabaseError("database disk image is malformed"), Fault.CORRUPT),
        (sqlite3.IntegrityError("UNIQUE constraint failed"), Fault.OTHER),
        (ValueError("something"), Fault.OTHER),
    ],
)
def test_errors_are_known_by_their_words(error: Exception, fault: Fault) -> None:
    """Python 3.10 has no codes."""
    assert fault_of(error) is fault
