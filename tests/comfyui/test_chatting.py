"""Chats through a real ComfyUI with the stand-in Copilot, both of whose MCP servers are dead."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest

from backend.copilot.notices import strip
from tests.comfyui.conftest import Boot, metrics_of, plugin, standin
from tests.comfyui.harness import ComfyUI
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Plan, Text, answer, reset_at, stall_at, status, words
from tests.support.page import API_KEY, COPILOT_KEY, Chat, CopilotPage

ROUTES = [
    "/metrics",
    "/health",
    "/copilot-pulse/metrics",
    "/copilot-pulse/health",
    "/copilot-pulse/settings",
    "/copilot-pulse/diagnostics",
    "/copilot-pulse/history?range=1h",
]
SEAMS = {"model", "run", "chat", "mcp", "http", "memory", "log"}


async def one_chat(comfy: ComfyUI, llm: FaultServer, prompt: str = "hello", **options: Any) -> Chat:
    """One message and its whole answer."""
    async with CopilotPage(comfy.url, llm.base_url) as page:
        return await page.chat(prompt, **options)


@pytest.fixture(scope="module")
def comfy(boot: Boot) -> ComfyUI:
    """ComfyUI with our plugin loaded before the stand-in."""
    return boot(plugin(), standin())


async def test_chat_gives_the_whole_text(comfy: ComfyUI) -> None:
    """With both MCP servers dead the user gets the whole answer, and is told once what is missing."""
    async with FaultServer() as llm:
        llm.plan(answer(40))
        first = await one_chat(comfy, llm, session="told-once")
        second = await one_chat(comfy, llm, session="told-once")

    assert strip(first.text) == words(40).rstrip()
    assert "2 tool servers are down" in first.text
    assert second.text == words(40)
    assert first.finished
    assert len(llm.requests) == 2


async def test_chat_with_a_broken_stream_gives_the_whole_text(comfy: ComfyUI) -> None:
    """A connection that breaks in mid-answer costs a moment, not a word."""
    async with FaultServer() as llm:
        llm.plan(reset_at(20), answer(40))
        got = await one_chat(comfy, llm)

    assert strip(got.text).rstrip() == words(40).rstrip()
    assert len(llm.requests) == 2


async def test_two_thousand_tokens(comfy: ComfyUI, report: Callable[[str], None]) -> None:
    """A long answer arrives whole, and what goes over the wire does not grow with its square."""
    async with FaultServer() as llm:
        llm.plan(answer(2000))
        got = await one_chat(comfy, llm, "a long answer, please")
    report(f"2,000 tokens: {got.size / 1000:.0f} KB in {len(got.lines)} lines, {got.seconds:.2f} s in all")

    assert strip(got.text).rstrip() == words(2000).rstrip()
    assert got.size < 1_000_000


async def test_many_chats_at_once_never_mix(comfy: ComfyUI) -> None:
    """Twenty users at once each get their own answer."""
    async with FaultServer() as llm:
        for number in range(20):
            llm.plan_for(f"[{number:02}]", answer(10 + number, 0.002))
        async with CopilotPage(comfy.url, llm.base_url) as page:
            answers = await asyncio.gather(
                *(page.chat(f"[{number:02}] hello", session=f"session-{number}") for number in range(20))
            )

    # A session that has not been told yet learns that tools are missing.
    expected = [words(10 + number).rstrip() for number in range(20)]
    assert [strip(got.text).rstrip() for got in answers] == expected


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_route_answers(comfy: ComfyUI, prefix: str, route: str) -> None:
    """Every route of ours answers JSON on both of its paths."""
    got = await asyncio.to_thread(comfy.get, prefix + route)

    assert got.status == 200
    assert "json" in str(got.headers["Content-Type"])
    assert isinstance(got.json(), dict)


async def test_metrics_show_what_happened(comfy: ComfyUI) -> None:
    """/api/metrics counts the chat that just ran, and says that all seams are attached."""
    before = await metrics_of(comfy)
    async with FaultServer() as llm:
        llm.plan(answer(10))
        await one_chat(comfy, llm, "count me")
    after = await metrics_of(comfy)

    assert after["chat"]["completed"] - before["chat"]["completed"] == 1
    assert after["events"]["published_total"] > before["events"]["published_total"]
    attached = {seam["name"] for seam in after["seams"] if seam["attached"]}
    assert attached >= SEAMS


async def test_tokens_are_the_servers_own(comfy: ComfyUI) -> None:
    """To the token where the server tells them; where it refuses to be asked, within 15 % and marked."""
    text = (
        "Sure! Here is how you can use a ControlNet in ComfyUI. First, load the model with the Load ControlNet Model "
        "node, then connect it to Apply ControlNet. Set strength to about 0.8."
    )
    refused = status(400, {"error": {"message": "Unrecognized request argument supplied: stream_options"}})
    async with FaultServer() as llm:
        llm.plan(reset_at(3), answer(40), refused, Plan(Text(text)))
        await one_chat(comfy, llm, session="counted")
        told = (await metrics_of(comfy))["chat"]["current"][0]
        await one_chat(comfy, llm, session="counted")
        guessed = (await metrics_of(comfy))["chat"]["current"][0]

    assert (10, 40, 40, False) == tuple(
        told[n] for n in ("input_tokens", "output_tokens", "tokens", "tokens_estimated")
    )
    assert (None, True) == (guessed["output_tokens"], guessed["tokens_estimated"])
    assert 46 * 0.85 <= guessed["tokens"] <= 46 * 1.15  # 46 by the tokenizers of Qwen 2.5 and Llama 3


async def test_prometheus_text_on_request(comfy: ComfyUI) -> None:
    """A scraper that asks for Prometheus' text gets it from /metrics."""
    got = await asyncio.to_thread(comfy.get, "/metrics", {"Accept": "text/plain;version=0.0.4"})

    assert got.status == 200
    assert re.search(r"^copilot_pulse_\w+", got.text, re.MULTILINE)


async def test_health_warns_of_the_dead_servers(comfy: ComfyUI) -> None:
    """The chats go on, so health is a warning (200), and it names the server that is away."""
    async with FaultServer() as llm:
        await one_chat(comfy, llm)
    got = await asyncio.to_thread(comfy.get, "/api/health")

    assert got.status == 200
    assert got.json()["status"] == "warn"
    assert "127.0.0.1:9" in got.text


async def test_panel_and_its_words_are_served(comfy: ComfyUI) -> None:
    """The front end finds our extension, and the strings of both languages."""
    extensions = (await asyncio.to_thread(comfy.get, "/extensions")).json()
    ours = [path for path in extensions if path.endswith("/copilot-pulse.js")]
    script = await asyncio.to_thread(comfy.get, ours[0])
    strings = (await asyncio.to_thread(comfy.get, "/i18n")).json()

    assert len(ours) == 1
    assert script.status == 200
    assert strings["en"]["copilotPulse"].keys() == strings["zh"]["copilotPulse"].keys()


async def test_hang_up_stops_the_model(comfy: ComfyUI) -> None:
    """When the user leaves in mid-answer, also in a stall, the model is asked to stop."""
    async with FaultServer() as llm:
        llm.plan(stall_at(3))
        async with CopilotPage(comfy.url, llm.base_url) as page:
            chat = await page.begin()
            await chat.until_text(words(3).strip())
            await chat.hang_up()
            await llm.until_idle()

    assert llm.requests[0].aborted_at is not None


async def test_another_origin_may_not_change_settings(comfy: ComfyUI) -> None:
    """A page from elsewhere that the user happens to visit cannot turn our knobs."""
    got = await asyncio.to_thread(
        comfy.post, "/copilot-pulse/settings", {"max_retries": 0}, {"Origin": "http://evil.example"}
    )

    assert got.status == 403


async def test_keys_stay_secret(comfy: ComfyUI) -> None:
    """The user's key stands in no log line and in no answer of ours, although Copilot writes it down."""
    async with FaultServer() as llm:
        llm.plan(answer(3))
        await one_chat(comfy, llm)
    shown = [(await asyncio.to_thread(comfy.get, route)).text for route in ROUTES]

    for key in (API_KEY, COPILOT_KEY, COPILOT_KEY[:12]):
        assert key not in comfy.log
        assert not any(key in text for text in shown)


async def test_settings_are_taken_over_at_once(comfy: ComfyUI) -> None:
    """A setting posted by the panel is validated and then in force."""
    good = await asyncio.to_thread(comfy.post, "/copilot-pulse/settings", {"max_retries": 2})
    bad = await asyncio.to_thread(comfy.post, "/copilot-pulse/settings", {"max_retries": "many"})
    now = await asyncio.to_thread(comfy.get, "/copilot-pulse/settings")

    assert good.status == 200
    assert bad.status == 400
    assert "max_retries" in bad.text
    assert re.search(r'"max_retries"', json.dumps(now.json()))


async def test_stops_cleanly_during_a_chat(boot: Boot) -> None:
    """Ctrl-C in mid-answer ends ComfyUI: no hang, no traceback of ours, no task left behind."""
    comfy = await asyncio.to_thread(boot, plugin(), standin())
    async with FaultServer() as llm:
        llm.plan(stall_at(3))
        async with CopilotPage(comfy.url, llm.base_url) as page:
            chat = await page.begin()
            await chat.until_text(words(3).strip())
            code = await asyncio.to_thread(comfy.stop, signal.SIGINT)
            await chat.done()

    assert code == 0
    assert "Task was destroyed" not in comfy.log
    assert "copilot-pulse/backend" not in comfy.log
