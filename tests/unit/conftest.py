"""What the tests of the event bus, its door and its wing, share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from backend.event_bus import EventBus
from tests.support.manual_time import turns


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """The test closes its bus, and no task of it is left."""
    yield
    await turns()
    assert {asyncio.current_task()} == asyncio.all_tasks()


@pytest.fixture
async def bus() -> AsyncIterator[EventBus]:
    """An open bus, closed after the test, with no task left."""
    bus = EventBus()
    yield bus
    await bus.aclose(drain=False)
    assert {asyncio.current_task()} == asyncio.all_tasks()
