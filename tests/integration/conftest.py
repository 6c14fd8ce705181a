"""The running host that most files here chat with; a file that needs another one overrides the fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.fault_rows import ENVIRONMENT
from tests.support.host import Host
from tests.support.llm_server import FaultServer
from tests.support.loop_time import LoopTime, stalls_skipped
from tests.support.plugged import NODES


@pytest.fixture
async def loop_time(llm: FaultServer) -> AsyncIterator[LoopTime]:
    """The loop's clock: it runs ahead while the model only stalls, and when the test skips."""
    async with stalls_skipped(llm) as time:
        yield time


@pytest.fixture(autouse=True)
def _no_time_for_stalls(request: pytest.FixtureRequest) -> None:
    """Whoever chats with the model server of the fixture waits for none of its stalls."""
    if "llm" in request.fixturenames:
        request.getfixturevalue("loop_time")


@pytest.fixture
async def host(llm: FaultServer) -> AsyncIterator[Host]:
    """The plugin and the stand-in on `llm`, with both MCP servers dead."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as running:
        assert not running.failed
        yield running
