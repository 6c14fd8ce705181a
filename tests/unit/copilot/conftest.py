"""What the tests of the middleware, and of the routes that it takes off the loop, share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.http_world import HttpWorld


@pytest.fixture
async def world() -> AsyncIterator[HttpWorld]:
    """A world that is stopped after the test."""
    world = HttpWorld()
    yield world
    await world.stop()
