"""Folder names, load orders and neighbours, as users have them, each in a ComfyUI of its own."""

from __future__ import annotations

import asyncio

import pytest

from backend.copilot.notices import strip
from tests.comfyui.conftest import Boot, metrics_of, plugin, standin
from tests.comfyui.harness import NODES, ComfyUI, Node
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer, words
from tests.support.page import CopilotPage


def attached(comfy: ComfyUI) -> set[str]:
    """The names of the seams that say they are attached."""
    return {seam["name"] for seam in comfy.get("/api/metrics").json()["seams"] if seam["attached"]}


async def assert_whole_answer(comfy: ComfyUI) -> None:
    """A chat gives all of the text, which it cannot without our seams: the MCP servers are dead."""
    async with FaultServer() as llm:
        llm.plan(answer(40))
        async with CopilotPage(comfy.url, llm.base_url) as page:
            got = await page.chat()

    assert strip(got.text) == words(40).rstrip()


@pytest.mark.parametrize(
    ("ours", "copilot", "first"),
    [
        ("Copilot Pulse", "ComfyUI-Copilot", "copilot"),
        ("copilot.pulse-0.1.0", "ComfyUI Copilot v2.1 (fork)", "ours"),
        ("智能助手脉搏", "智能助手", "copilot"),
    ],
    ids=["spaces", "dots", "chinese"],
)
async def test_folder_names_and_load_orders(boot: Boot, ours: str, copilot: str, first: str) -> None:
    """Whatever the folders are called, and whichever is loaded first, the chat is ours."""
    nodes = [plugin(ours), standin(copilot)] if first == "ours" else [standin(copilot), plugin(ours)]
    comfy = await asyncio.to_thread(boot, *nodes)

    assert {"model", "run", "chat", "mcp", "http"} <= await asyncio.to_thread(attached, comfy)
    await assert_whole_answer(comfy)
    assert await asyncio.to_thread(comfy.stop) == 0


async def test_without_copilot(boot: Boot) -> None:
    """Without Copilot our routes answer, and health warns in a sentence that says what to install."""
    comfy = await asyncio.to_thread(boot, plugin())
    health = await asyncio.to_thread(comfy.get, "/api/health")
    metrics = await asyncio.to_thread(comfy.get, "/api/metrics")

    assert health.status == 200
    assert health.json()["status"] == "warn"
    assert "ComfyUI-Copilot" in health.text
    assert "install" in health.text.lower()
    assert metrics.status == 200
    assert not await asyncio.to_thread(attached, comfy)
    assert await asyncio.to_thread(comfy.stop) == 0


async def test_switched_off(boot: Boot) -> None:
    """COPILOT_PULSE=off attaches nothing: Copilot is as it was, down to its blank answers."""
    comfy = await asyncio.to_thread(boot, plugin(), standin(), environment={"COPILOT_PULSE": "off"})
    async with FaultServer() as llm:
        llm.plan(answer(40))
        async with CopilotPage(comfy.url, llm.base_url) as page:
            got = await page.chat()

    extensions = (await asyncio.to_thread(comfy.get, "/extensions")).json()

    # The dead MCP servers end the chat before the model is asked, as without us.
    assert got.text != words(40)
    assert llm.requests == []
    assert not any("copilot-pulse" in path for path in extensions)
    assert await asyncio.to_thread(comfy.stop) == 0


async def test_rivals_for_the_generic_routes(boot: Boot) -> None:
    """Others own /health and /metrics, one loaded before us and one after: ours are under our own name."""
    early, late = (Node(NODES / "rival", f"rival-{name}") for name in ("health", "metrics"))
    comfy = await asyncio.to_thread(boot, early, plugin(), late, standin())
    theirs = [(await asyncio.to_thread(comfy.get, path)).json()["owner"] for path in ("/health", "/metrics")]
    health = await asyncio.to_thread(comfy.get, "/copilot-pulse/health")
    metrics = await asyncio.to_thread(comfy.get, "/copilot-pulse/metrics")

    assert theirs == ["rival", "rival"]
    assert health.status == 200
    assert "/health" in health.text
    assert "/metrics" in health.text
    assert "chat" in metrics.json()
    await assert_whole_answer(comfy)


async def test_two_copies_of_us(boot: Boot) -> None:
    """Somebody has installed us twice: ComfyUI starts, the answer is right and is not counted twice."""
    comfy = await asyncio.to_thread(boot, plugin("copilot-pulse"), standin(), plugin("copilot-pulse-main"))
    before = (await metrics_of(comfy))["chat"]["completed"]
    await assert_whole_answer(comfy)
    after = (await metrics_of(comfy))["chat"]["completed"]

    assert after - before == 1
