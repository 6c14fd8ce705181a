"""The event store against the real thing: processes that are killed, disks that are full, folders without rights."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.journal.segments import list_segments
from backend.store import Filter, NotStored
from tests.support.stores import everything, new_store, put, running

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("STORE_KILLS", "30"))


def start_writer(folder: Path, first: int) -> subprocess.Popen[str]:
    """The program that writes until it is killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.store_writer", str(folder), str(first)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


@pytest.mark.timeout(max(300, 20 * KILLS))
def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Again and again on one folder, rotations included: ids contiguous, every file sound."""
    first, opened = 0, []
    for _ in range(KILLS):
        writer = start_writer(tmp_path, first)
        assert writer.stdout is not None
        line = writer.stdout.readline()
        assert line.startswith("opened"), line
        opened.append(float(line.split()[1]))
        time.sleep(random.random() * 0.25)
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().split("\n")
        writer.wait()
        writer.stdout.close()
        acknowledged = max((int(one.split()[1]) for one in said[:-1] if one.startswith("stored")), default=first)
        store = new_store(tmp_path)
        found = [one.data["n"] for one in store._reader.scan(Filter(("chat.model",)))]
        assert found[:acknowledged] == list(range(acknowledged))
        assert found == list(range(len(found)))
        first = len(found)
    store = new_store(tmp_path)
    ids = [one.id for one in store._reader.scan(Filter())]
    assert ids == list(range(1, len(ids) + 1))
    assert [row for row in store.check() if row["problem"] or row["missing"]] == []
    assert len(list_segments(tmp_path)) > 3
    opened.sort()
    sys.stderr.write(
        f"\n{KILLS} kills, {first} events, {len(list_segments(tmp_path))} files; "
        f"open {opened[len(opened) // 2] * 1000:.0f} ms median, {opened[-1] * 1000:.0f} ms at most\n"
    )


def test_two_processes_write_side_by_side(tmp_path: Path) -> None:
    """Each has its slot; a reader sees both, and whose lock goes with its process gives its slot back."""
    writers = [start_writer(tmp_path, 0) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        for _ in range(5):
            assert writer.stdout.readline()
    for writer in writers:
        writer.kill()
        writer.wait()
        assert writer.stdout is not None
        writer.stdout.close()
    found = new_store(tmp_path).query(limit=100_000).events
    for slot in (0, 1):
        ids = [one.id for one in found if one.slot == slot]
        assert ids == list(range(1, len(ids) + 1))
        assert len(ids) > 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_disk_of_2_mb_keeps_the_newest_and_loses_none(small_disk: Path) -> None:
    """A limit of 64 MB means nothing there: the store takes what it can have, and lets its oldest files go."""
    async with running(small_disk / "events") as store:
        for _ in range(400):
            put(store, 50, pad="x" * 100)
            await store.flush()

        assert store.statistics()["lost"] == {}
        found = store.query(Filter(("chat.model",)), newest_first=True, limit=50).events
        assert [one.data["n"] for one in found] == list(range(49, -1, -1))
        assert store.problem() is None


def fill(path: Path) -> None:
    """Take what is left of a disk, to the last byte."""
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
    except OSError:
        return


async def test_disk_that_others_fill_is_survived_and_gone_on_with(small_disk: Path) -> None:
    """Somebody else takes the last byte. Old files make room as long as there are any; then events wait."""
    async with running(small_disk / "events") as store:
        put(store, 2_000, pad="x" * 100)
        await store.flush()
        fill(small_disk / "other")
        for _ in range(60):
            put(store, 250, pad="x" * 100)
            try:
                await store.flush()
            except NotStored:
                break
        problem = store.problem()
        stored_before = store.statistics()["stored"]
        (small_disk / "other").unlink()
        put(store, 1, "after")
        await store.flush()

        assert problem is None or problem.code == "disk full"
        assert store.statistics()["stored"] > stored_before or problem is None
        assert store.statistics()["lost"] == {}
        assert everything(store, "after")
        assert store.problem() is None
        found = [one.id for one in store.query(limit=100_000).events]
        assert found == list(range(found[0], found[-1] + 1))


@pytest.mark.skipif(os.name == "nt", reason="rights are another thing there")
def test_folder_without_rights_is_told_and_read(tmp_path: Path) -> None:
    """Another user's history, or a read-only disk: reading works, writing is off with a sentence."""
    folder = tmp_path / "events"
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from tests.support.stores import new_store, put, everything\n"
        "folder = Path(sys.argv[1])\n"
        "async def go():\n"
        "    async def session(n):\n"
        "        store = new_store(folder); store.start(); put(store, n)\n"
        "        try:\n"
        "            await store.flush()\n"
        "        except Exception as error: print(type(error).__name__, store.problem().code)\n"
        "        found = len(everything(store)); await store.aclose(); return found\n"
        "    print(await session(5))\n"
        "    os.chmod(folder, 0o555)\n"
        "    for path in folder.iterdir(): os.chmod(path, 0o444)\n"
        "    if os.geteuid() == 0: os.chown(folder, 65534, 65534)\n"
        "    if os.geteuid() == 0:\n"
        "        for path in folder.iterdir(): os.chown(path, 65534, 65534)\n"
        "        os.seteuid(65534)\n"
        "    print(await session(5))\n"
        "asyncio.run(go())\n"
    )
    for parent in (tmp_path, *tmp_path.parents):
        if os.access(parent, os.W_OK) and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    ran = subprocess.run(
        [sys.executable, "-c", program, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ran.stdout.split("\n")[:3] == ["5", "NotStored not writable", "5"], ran.stderr
