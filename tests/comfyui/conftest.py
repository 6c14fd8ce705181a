"""Fixtures of the suite that boots the real ComfyUI. Where there is none, every test fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.comfyui.harness import ROOT, ComfyUI, Node
from tests.support.net import fresh_metrics

STANDIN = ROOT / "tests" / "support" / "copilot_standin"
DEAD_URL = "http://127.0.0.1:9"
# Both of Copilot's MCP servers refuse, as the hosted ones do since they were suspended.
DEAD_MCP = {"BACKEND_BASE_URL": DEAD_URL, "COPILOT_STANDIN_SEARCH_URL": f"{DEAD_URL}/search/sse"}

Boot = Callable[..., ComfyUI]


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """A boot counts as a part of the first test that needs it, so give these tests time."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.comfyui)
            item.add_marker(pytest.mark.timeout(600))


def plugin(name: str = "copilot-pulse") -> Node:
    """Our plugin as a git clone with this folder name would be."""
    return Node(ROOT, name)


def standin(name: str = "ComfyUI-Copilot") -> Node:
    """The stand-in Copilot."""
    return Node(STANDIN, name)


async def metrics_of(comfy: ComfyUI) -> Any:
    """What /api/metrics says now."""

    async def read() -> Any:
        return (await asyncio.to_thread(comfy.get, "/api/metrics")).json()

    return await fresh_metrics(read)


running: list[ComfyUI] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the ComfyUI that it used had to say."""
    outcome = yield
    if outcome.failed and running:
        outcome.sections.append(("end of ComfyUI's log", running[-1].tail()))
    return outcome


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boot]:
    """Boots a ComfyUI with the given custom nodes and environment; all are stopped after the module."""

    def make(*nodes: Node, environment: dict[str, str | None] | None = None, **more: Any) -> ComfyUI:
        folder = tmp_path_factory.mktemp("comfyui") / "run"
        comfy = ComfyUI(folder, nodes, {**DEAD_MCP, **(environment or {})}, **more)
        running.append(comfy)
        return comfy.start()

    yield make
    while running:
        running.pop().stop()


figures: list[str] = []


@pytest.fixture(scope="session")
def report() -> Callable[[str], None]:
    """Takes a measured figure, to be printed after the tests: measured, never asserted."""
    return figures.append


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what was measured."""
    if figures:
        terminalreporter.section("measured in ComfyUI")
        for line in figures:
            terminalreporter.write_line(line)
