"""What the tests of a fleet share: a real Redis, and the network before it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.proxy import FaultProxy
from tests.support.redis_server import RedisServer


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """A server without persistence."""
    async with RedisServer() as server:
        yield server


@pytest.fixture
async def proxy(redis: RedisServer) -> AsyncIterator[FaultProxy]:
    """The network before it."""
    async with FaultProxy(redis.port) as between:
        yield between
