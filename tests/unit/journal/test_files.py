"""Files of the store that are removed, smashed, locked, full or newer: nothing is lost without a word."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from backend.journal.segments import ActiveFile, list_segments
from backend.store import Filter, NotStored
from tests.support.clock import FakeClock
from tests.support.stores import everything, new_store, numbers, put, running


async def test_file_removed_underneath_is_noticed_at_the_next_commit(tmp_path: Path) -> None:
    """Without that, SQLite writes into nothing and says nothing."""
    async with running(tmp_path) as store:
        put(store, 10)
        await store.flush()
        for segment in list_segments(tmp_path):
            segment.path.unlink()
        put(store, 5)
        await store.flush()

        gap = everything(store, "store.gap")[0]
        assert gap.data["reason"] == "file removed"
        assert gap.data["lost"] == 11
        assert numbers(store) == [0, 1, 2, 3, 4]


async def test_whole_folder_removed_is_made_again(tmp_path: Path) -> None:
    """Its lock is gone, too: it has to be taken anew, so that nobody else has the slot."""
    folder = tmp_path / "events"
    async with running(folder) as store:
        put(store, 10)
        await store.flush()
        shutil.rmtree(folder)
        put(store, 5)
        await store.flush()
        async with running(folder) as other:
            put(other, 1)
            await other.flush()

            assert (store.statistics()["slot"], other.statistics()["slot"]) == (0, 1)
        assert len(numbers(store)) == 6


async def test_wal_removed_underneath_is_noticed(tmp_path: Path) -> None:
    """It holds what was committed last."""
    async with running(tmp_path) as store:
        put(store, 10)
        await store.flush()
        Path(f"{list_segments(tmp_path)[0].path}-wal").unlink()
        put(store, 5)
        await store.flush()

        assert everything(store, "store.gap")[0].data["reason"] == "file removed"
        assert numbers(store)[-5:] == [0, 1, 2, 3, 4]


async def test_smashed_header_is_set_aside_at_the_start(tmp_path: Path) -> None:
    """Recording goes on in a new file, with ids above all that the old one may have had."""
    async with running(tmp_path) as store:
        put(store, 100)
    path = list_segments(tmp_path)[0].path
    path.write_bytes(b"\x00" * 4096 + path.read_bytes()[4096:])
    async with running(tmp_path) as store:
        put(store, 3)
        await store.flush()
        page = store.query()
        problem = store.problem()

        assert numbers(store) == [0, 1, 2]
        assert page.events[0].id > 102
        assert "cannot be read" in page.damaged[0] or "not a database" in page.damaged[0]
        assert problem is not None
        assert problem.code == "set aside"
        assert problem.values["file"].startswith("events-0-000000000001.db.corrupt-")


async def test_smashed_page_in_the_middle_is_found_at_the_start_and_the_rest_is_read(tmp_path: Path) -> None:
    """Opening and inserting would go well; only a check finds it. What can be read still is."""
    async with running(tmp_path) as store:
        put(store, 3_000, pad="x" * 30)
    path = list_segments(tmp_path)[0].path
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2 // 4096 * 4096
    raw[middle : middle + 4096] = os.urandom(4096)
    path.write_bytes(raw)
    async with running(tmp_path) as store:
        put(store, 3, "after")
        await store.flush()

        assert numbers(store, "after") == [0, 1, 2]
        found = [one.data["n"] for one in everything(store, "chat.model")]
        page = store.query(limit=5_000)
        assert 2_800 <= len(found) < 3_000
        assert found == sorted(set(found))
        assert any("cannot be read" in words for words in page.damaged)
        newest = store.query(Filter(("chat.model",)), newest_first=True, limit=10)
        assert [one.data["n"] for one in newest.events] == list(range(2_999, 2_989, -1))


async def test_smashed_wal_costs_its_own_rows_at_most(tmp_path: Path) -> None:
    """The file goes on with what it has; ids are not given a second time to what can be read."""
    crashed = tmp_path / "crashed"
    async with running(tmp_path / "live") as store:
        put(store, 300)
        await store.flush()
        put(store, 300)
        await store.flush()
        shutil.copytree(tmp_path / "live", crashed)  # as kill -9 leaves it
    wal = Path(f"{list_segments(crashed)[0].path}-wal")
    raw = bytearray(wal.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 200] = os.urandom(200)
    wal.write_bytes(raw)
    async with running(crashed) as store:
        put(store, 5, "after")
        await store.flush()

        ids = [one.id for one in store.query(limit=2_000).events]
        assert ids == sorted(set(ids))
        assert numbers(store, "after") == [0, 1, 2, 3, 4]
        assert store.problem() is None


async def test_file_that_a_kill_left_empty_is_sound_and_gone_on_with(tmp_path: Path) -> None:
    """It had been made, and nothing written to it yet."""
    async with running(tmp_path) as store:
        put(store, 3)
    (tmp_path / "events-0-000000000006.db").touch()
    store = new_store(tmp_path)
    assert [row["problem"] for row in store.check()] == ["", ""]
    assert numbers(store) == [0, 1, 2]
    async with running(tmp_path) as store:
        put(store, 2)
        await store.flush()

        assert [one.id for one in store.query().events] == list(range(1, 9))


async def test_newer_schema_is_read_and_not_written_to(tmp_path: Path) -> None:
    """A user who goes back one version keeps both histories."""
    async with running(tmp_path) as store:
        put(store, 10)
    path = list_segments(tmp_path)[0].path
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    connection.execute("ALTER TABLE events ADD COLUMN more TEXT")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    async with running(tmp_path) as store:
        put(store, 3, "after")
        await store.flush()

        assert numbers(store, "after") == [0, 1, 2]
        assert len(numbers(store)) == 13
        assert len(list_segments(tmp_path)) == 2
        ids = [one.id for one in store.query().events]
        assert ids == list(range(1, len(ids) + 1))
    assert path.read_bytes() == before


async def test_locked_by_another_program_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that holds the file for a while."""
    monkeypatch.setattr("backend.journal.segments.LOCK_SECONDS", 0.05)
    async with running(tmp_path) as store:
        await store.flush()
        backup = sqlite3.connect(list_segments(tmp_path)[0].path, isolation_level=None)
        backup.execute("BEGIN IMMEDIATE")
        put(store, 300)
        with pytest.raises(NotStored, match="locked"):
            await store.flush()
        problem = store.problem()
        assert problem is not None
        assert problem.code == "locked"
        backup.execute("ROLLBACK")
        backup.close()
        await store.flush()

        assert numbers(store) == list(range(300))
        assert store.problem() is None


async def test_folder_that_cannot_be_written_to_is_told_and_tried_again(tmp_path: Path) -> None:
    """What waits is let go after a while: nobody knows whether it will ever go. It heals by itself."""
    clock = FakeClock()
    (tmp_path / "events").write_text("a file where the folder should be")
    async with running(tmp_path / "events", clock=clock) as store:
        for _ in range(4):
            put(store, 10)
            with pytest.raises(NotStored, match="not writable"):
                await store.flush()
        problem = store.problem()
        assert problem is not None
        assert problem.code == "not writable"
        assert str(tmp_path / "events") in problem.text
        assert "COPILOT_PULSE_STORE_DIR" in problem.advice
        assert store.statistics()["lost"]["not writable"] >= 30
        (tmp_path / "events").unlink()
        put(store, 2)
        await store.flush()

        assert store.problem() is None or store.problem().code == "lost"  # type: ignore[union-attr]
        assert numbers(store)[-2:] == [0, 1]
        assert everything(store, "store.gap")[0].data["by_type"]["chat.model"] >= 30


async def test_full_file_makes_way_for_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLITE_FULL by `max_page_count`: the newest events are stored, none of them is lost."""
    real = ActiveFile._prepare

    def prepare(self: ActiveFile, full_sync: bool) -> None:
        real(self, full_sync)
        self._connection.execute("PRAGMA max_page_count=40")

    monkeypatch.setattr(ActiveFile, "_prepare", prepare)
    async with running(tmp_path) as store:
        for _ in range(20):
            put(store, 250, pad="x" * 100)
            await store.flush()

        assert store.statistics()["lost"] == {}
        assert store.statistics()["dropped_segments"] > 0
        assert numbers(store)[-250:] == list(range(250))
        ids = [one.id for one in store.query(limit=5_000).events]
        assert ids == list(range(ids[0], ids[-1] + 1))


async def test_full_disk_is_waited_for_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing of ours is left to go, events wait in memory and the rest of the plugin never notices."""

    def full(self: ActiveFile, rows: list[Any]) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with running(tmp_path) as store:
        await store.flush()
        monkeypatch.setattr(ActiveFile, "insert", full)
        put(store, 100)
        with pytest.raises(NotStored, match="disk full"):
            await store.flush()
        problem = store.problem()
        assert problem is not None
        assert problem.code == "disk full"
        monkeypatch.undo()
        await store.flush()

        assert numbers(store) == list(range(100))
        assert store.problem() is None


async def test_input_output_error_on_a_disk_with_room_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken disk is not a full one."""

    def broken(self: ActiveFile, rows: list[Any]) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with running(tmp_path, keep_bytes=600_000) as store:
        put(store, 2_000, pad="x" * 100)
        await store.flush()
        files = [one.path for one in list_segments(tmp_path)]
        monkeypatch.setattr(ActiveFile, "insert", broken)
        put(store, 1)
        with pytest.raises(NotStored, match="failed"):
            await store.flush()

        assert set(files) <= {one.path for one in list_segments(tmp_path)}
        monkeypatch.undo()
        await store.flush()
        assert store._writer.figures.fault is None
