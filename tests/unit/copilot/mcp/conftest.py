"""What the tests of the tool servers share."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from backend.copilot.seam import CopilotModules
from tests.support.mcp_world import MODULE, ROOT, McpWorld


@pytest.fixture
async def make_world() -> AsyncIterator[Callable[..., McpWorld]]:
    """Makes attached worlds; detaches and closes them afterwards."""
    worlds: list[McpWorld] = []

    def make(**settings: Any) -> McpWorld:
        world = McpWorld(**{"mcp_timeout": 30.0, "mcp_retry": 0.1, **settings})
        worlds.append(world)
        sys.modules[MODULE] = world.module
        world.seam.attach(CopilotModules(ROOT))
        return world

    yield make
    for world in worlds:
        world.seam.detach()
        await world.seam.aclose()
    sys.modules.pop(MODULE, None)


@pytest.fixture
async def world(make_world: Callable[..., McpWorld]) -> McpWorld:
    """An attached world with short times."""
    return make_world()
