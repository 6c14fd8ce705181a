"""Copilot's modules are found among all that the process has imported."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from backend.copilot.seam import find_copilots


@pytest.fixture
def importing() -> Iterator[None]:
    """Something is imported at every garbage collection, and one comes with each few objects: as by a thread."""
    names: list[str] = []

    def collect(phase: str, info: object) -> None:
        names.append(f"imported_{len(names)}")
        sys.modules[names[-1]] = ModuleType(names[-1])

    before = gc.get_threshold()
    gc.callbacks.append(collect)
    gc.set_threshold(5)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(collect)
        for name in names:
            del sys.modules[name]


@pytest.mark.usefixtures("importing")
def test_another_thread_may_import_meanwhile() -> None:
    """The plugin looks for Copilot while a thread reads the agent library ahead."""
    assert list(find_copilots()) == []
