"""How much is kept: a share of the disk, of the bytes and of the days that are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.journal import retention
from backend.journal.retention import Limits, Retention
from backend.journal.segments import list_segments
from tests.support.stores import segment


def test_limit_leaves_a_part_of_the_disk_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MB on a disk of 2 MB would fill it."""
    monkeypatch.setattr(retention, "free_bytes", lambda folder: 2_000_000)

    assert Limits(7, 64_000_000).room(tmp_path, 0) == 1_600_000
    assert Limits(7, 64_000_000).room(tmp_path, 1_000_000) == 2_600_000
    assert Limits(7, 1_000_000).room(tmp_path, 0) == 1_000_000


def test_clock_that_was_set_for_a_while_costs_no_history(tmp_path: Path) -> None:
    """A machine that wakes up in 2040 and is put right must have its week of events; one that stays there, not."""
    for first in (1, 4, 7):
        segment(tmp_path, first=first).seal()
    now = 0.0
    shift = 1_000.0
    retention = Retention(tmp_path, Limits(7, 10**9), clock=lambda: now, wall=lambda: now + shift)
    files = list_segments(tmp_path)

    shift += 10 * 365 * 86_400
    retention.let_go(0, None)
    assert list_segments(tmp_path) == files
    now += 80_000
    retention.let_go(0, None)
    assert list_segments(tmp_path) == files
    now += 10_000
    retention.let_go(0, None)
    assert list_segments(tmp_path) == []


def test_file_that_the_system_will_not_remove_is_tried_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses while somebody reads it; the others go all the same."""
    for first in (1, 4, 7):
        segment(tmp_path, first=first).seal()
    in_use = list_segments(tmp_path)[0]
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == in_use.path:
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    retention = Retention(tmp_path, Limits(7, 10**9), clock=lambda: 100.0, wall=lambda: 10.0**9)
    retention.let_go(0, None)
    assert list_segments(tmp_path) == [in_use]
    assert retention.due == 160.0

    monkeypatch.undo()
    retention.let_go(0, None)
    assert list_segments(tmp_path) == []
    assert retention.due == 3_700.0
