"""Slots: one process each, on every system."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backend.journal import slots
from backend.journal.slots import SlotLock, free_slots, take_slot
from tests.support.stores import segment


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
    monkeypatch.setattr(slots, "SLOTS", 1)
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
        segment(tmp_path, slot).close()
    theirs = SlotLock.take(tmp_path, 1)
    assert theirs is not None

    with free_slots(tmp_path, 0) as mine:
        assert mine == {0, 2}
        assert SlotLock.take(tmp_path, 2) is None
    theirs.release()


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as Windows loads it, with locks that belong to open files as there."""
    held: dict[Any, int] = {}

    def locking(number: int, mode: int, size: int) -> None:
        assert (mode, size) == (2, 1)
        place = (os.fstat(number).st_dev, os.fstat(number).st_ino)
        with_it = held.get(place)
        if with_it is not None and with_it != number:
            try:
                os.fstat(with_it)
            except OSError:
                pass  # it was closed: the system has dropped its lock
            else:
                raise PermissionError(13, "Permission denied")
        held[place] = number

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
    spec = importlib.util.spec_from_file_location("backend.journal.slots_on_windows", slots.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_slots_of_windows_belong_to_one_holder_at_a_time(tmp_path: Path, on_windows: ModuleType) -> None:
    """Its locks are of another kind, and a refusal is another error."""
    first, lock = on_windows.take_slot(tmp_path)
    second, other = on_windows.take_slot(tmp_path)
    assert on_windows.SlotLock.take(tmp_path, 0) is None
    assert lock.is_still_there()
    lock.release()
    third, again = on_windows.take_slot(tmp_path)

    assert (first, second, third) == (0, 1, 0)
    other.release()
    again.release()
