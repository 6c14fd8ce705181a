"""How much is kept: a share of the disk, of the bytes and of the days that are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.journal import retention
from backend.journal.retention import Limits


def test_limit_leaves_a_part_of_the_disk_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MB on a disk of 2 MB would fill it."""
    monkeypatch.setattr(retention, "free_bytes", lambda folder: 2_000_000)

    assert Limits(7, 64_000_000).room(tmp_path, 0) == 1_600_000
    assert Limits(7, 64_000_000).room(tmp_path, 1_000_000) == 2_600_000
    assert Limits(7, 1_000_000).room(tmp_path, 0) == 1_000_000
