"""The running host that most files here chat with; a file that needs another one overrides the fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.fault_rows import ENVIRONMENT
from tests.support.host import Host
from tests.support.llm_server import FaultServer
from tests.support.plugged import NODES


@pytest.fixture
async def host(llm: FaultServer) -> AsyncIterator[Host]:
    """The plugin and the stand-in on `llm`, with both MCP servers dead."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as running:
        assert not running.failed
        yield running
