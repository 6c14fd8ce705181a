"""The standalone host's garbage collections: rare, and not through what was imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from backend.standalone.cli import YOUNG_OBJECTS, spare_collector


@pytest.fixture
def _collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.usefixtures("_collector")
def test_imports_are_left_out_of_collections_and_garbage_is_not_kept() -> None:
    """What was there before is not looked at again; a cycle made before or after is freed."""

    class Cycle:
        freed = 0

        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            Cycle.freed += 1

    Cycle()

    spare_collector()

    assert Cycle.freed == 1
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] == YOUNG_OBJECTS
    Cycle()
    gc.collect()
    assert Cycle.freed == 2
