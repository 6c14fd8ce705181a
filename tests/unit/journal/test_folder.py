"""What kind of folder the store is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.journal import segments
from backend.journal.folder import on_network
from backend.journal.segments import list_segments
from backend.store import Filter
from tests.support.stores import everything, put, raw_bytes, running

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
server:/export /home/me nfs4 rw 0 0
//nas/comfy /mnt/a\\040share cifs rw 0 0
me@host: /mnt/ssh fuse.sshfs rw 0 0
portal /run/user/1000/doc fuse.portal rw 0 0
tmpfs /home/me/.cache tmpfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("folder", "network"),
    [
        ("/home/me/ComfyUI/user", True),
        ("/home/me/.cache/x", False),
        ("/home/meow", False),
        ("/mnt/a share/events", True),
        ("/mnt/ssh", True),
        ("/run/user/1000/doc/x", False),
        ("/srv", False),
    ],
)
def test_disk_of_another_machine_is_known(tmp_path: Path, folder: str, network: bool) -> None:
    """By the deepest place that is mounted."""
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)

    assert on_network(Path(folder), mounts) is network
    assert on_network(Path(folder), tmp_path / "missing") is False


async def test_store_on_a_network_needs_no_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes, is read beside that, goes on after a restart, and forgets, without a -wal or a -shm."""
    monkeypatch.setattr(segments, "on_network", lambda folder: True)
    async with running(tmp_path, keep_bytes=600_000) as store:
        for _ in range(10):
            put(store, 200, pad="x" * 60)
            await store.flush()
            assert len(everything(store)) % 200 == 0
        assert store.statistics()["journal_mode"] == "truncate"
        assert len(list_segments(tmp_path)) > 1
    async with running(tmp_path, keep_bytes=600_000) as store:
        put(store, 1, "chat.note", session="quiet-harbour")
        await store.flush()
        assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(("-wal", "-shm"))]
        assert store.query(Filter(("chat.note",))).events
        assert await store.forget("quiet-harbour") == {"chat.note": 1}
        assert b"quiet-harbour" not in raw_bytes(tmp_path)
        assert store.problem() is None
