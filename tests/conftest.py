"""Fixtures that any test may use: servers that misbehave, a stand-in Copilot, a clock moved by hand."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
from collections.abc import AsyncIterator

import hypothesis
import pytest

from backend import store
from tests.support.clock import FakeClock
from tests.support.host import Host
from tests.support.llm_server import FaultServer
from tests.support.mcp_server import McpServer, Tool
from tests.support.net import PATIENCE
from tests.support.spared import spare

# How long an example takes says how busy the machine is. CI tries the same examples each time, so that it fails for a
# reason; whoever runs the tests by hand tries others.
hypothesis.settings.register_profile(
    "plain",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
hypothesis.settings.load_profile("plain")


def pytest_configure(config: pytest.Config) -> None:
    """See `spare`; and Ctrl-C, which tests send, works even if a script runs us in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    spare()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Take what is imported by now out of the garbage collector's sight: leak checks collect again and again.

    The agent library is two thirds of what a process of whole chats holds.
    """
    if any("integration" in item.path.parts for item in session.items):
        for name in ("agents.mcp", "openai.resources.chat"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer has set in the shell must not decide a test, nor send traces or use a proxy."""
    for name in list(os.environ):
        upper = name.upper()
        if upper.startswith(("COPILOT_PULSE", "COPILOT_STANDIN", "OPENAI_", "CC_OPENAI_", "WORKFLOW_")) or upper in (
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
        ):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _patient_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is closed has written all of its events, however slow the disk is: what comes next reads them."""
    monkeypatch.setattr(store, "CLOSING_SECONDS", PATIENCE)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until the test advances it."""
    return FakeClock()


@pytest.fixture
async def llm() -> AsyncIterator[FaultServer]:
    """A model server; healthy until it is given plans."""
    async with FaultServer() as server:
        yield server


@pytest.fixture
async def mcp() -> AsyncIterator[McpServer]:
    """The MCP server with Copilot's tools; healthy until told otherwise."""
    async with McpServer() as server:
        yield server


@pytest.fixture
async def search_mcp() -> AsyncIterator[McpServer]:
    """The second MCP server, with a search tool."""
    async with McpServer(tools={"bing_search": Tool("found on the web")}) as server:
        yield server


@pytest.fixture
async def standin(llm: FaultServer, mcp: McpServer, search_mcp: McpServer) -> AsyncIterator[Host]:
    """The unpatched stand-in with both MCP servers up, on `llm`."""
    async with Host(llm=llm, mcp=(mcp.root, search_mcp.url)) as host:
        yield host
