"""The unpatched stand-in fails as the unpatched original does.

Whatever is claimed about "unpatched" elsewhere rests on these tests: a stand-in that failed less than the
original would make the plugin look worse than it is, one that failed more would flatter it.
"""

from __future__ import annotations

import asyncio
import json
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support import llm_bodies as bodies
from tests.support.host import Host, standin_host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import (
    Plan,
    Text,
    ToolCall,
    Wait,
    Words,
    answer,
    empty_answer,
    eof_at,
    error_at,
    handoff,
    reset_at,
    reset_first,
    stall_at,
    status,
    words,
)
from tests.support.mcp_server import McpServer, Tool, workflow_result
from tests.support.net import Gate, in_thread, until
from tests.support.page import API_KEY, COPILOT_KEY

OLD_AGENTS = version("openai-agents").startswith("0.3.")


async def test_plain_chat(standin: Host, llm: FaultServer) -> None:
    """A healthy chat shows the whole answer, growing word by word, and each line holds all of it so far."""
    chat = await standin.chat("hello", session="s-1")

    assert words(40) == chat.text
    assert [words(n) for n in range(1, 41)] + [words(40)] == chat.shown
    assert {"session_id": "s-1", "finished": True, "type": "message", "format": "markdown", "ext": None} == {
        key: value for key, value in chat.lines[-1].items() if key != "text"
    }
    assert f"Bearer {API_KEY}" == llm.requests[0].headers["authorization"]
    assert "s-1" == llm.requests[0].headers["x-session-id"]
    assert {"search_node", "bing_search", "get_current_workflow"} <= set(llm.requests[0].tools)


@pytest.mark.parametrize(
    ("plan", "most"),
    [(reset_first(), 0), (reset_at(20), 5), (reset_at(38), 5), (error_at(20), 5), (empty_answer(), 0)],
)
async def test_broken_stream_leaves_blank_or_crumbs(standin: Host, llm: FaultServer, plan: Plan, most: int) -> None:
    """A broken stream ends as a finished answer of no or a few words; the rest that had arrived is lost."""
    llm.plan(plan, answer(40))

    chat = await standin.chat()

    assert chat.finished
    assert words(40).startswith(chat.text)
    assert len(chat.text) <= len(words(most))
    assert 1 == len(llm.requests)


async def test_truncation_is_silent(standin: Host, llm: FaultServer) -> None:
    """A stream without a finish reason is shown as if it were complete."""
    llm.plan(eof_at(20))

    chat = await standin.chat()

    assert words(20) == chat.text
    assert chat.finished


@pytest.mark.parametrize("code", [400, 401, 404])
async def test_refusals_are_blank(standin: Host, llm: FaultServer, code: int) -> None:
    """The endpoint's refusal is not shown at all."""
    llm.plan(status(code))

    chat = await standin.chat()

    assert "" == chat.text
    assert chat.finished
    assert 1 == len(llm.requests)


async def test_rate_limit_shows_raw_text(standin: Host, llm: FaultServer) -> None:
    """A lasting 429 replaces the answer by the provider's own words, after the client library's retries."""
    llm.plan(status(429, bodies.OPENAI_429_RATE, retry_after=0))

    chat = await standin.chat()

    assert bodies.OPENAI_429_RATE["error"]["message"] == chat.text
    assert 3 == len(llm.requests)


async def test_unknown_tool_is_blank(standin: Host, llm: FaultServer) -> None:
    """A call of a tool that is not there ends the run, after three pointless waits on the dead run."""
    llm.plan(Plan(ToolCall("no_such_tool")), answer(5))

    chat = await standin.chat()

    assert "" == chat.text
    assert 1 == len(llm.requests)


async def test_failure_after_a_tool_call(standin: Host, llm: FaultServer) -> None:
    """The tool has run once when the next model call breaks, and the answer is lost."""
    llm.plan(Plan(ToolCall("count_up", {"note": "x"})), reset_at(20), answer(40))

    chat = await standin.chat(session="t")

    assert len(chat.text) <= len(words(5))
    assert {"count_up": 1} == standin.tool_counts("t")
    assert 2 == len(llm.requests)


@pytest.mark.parametrize("fault", ["refused", "500", "html", "drop"])
async def test_one_dead_mcp_server_ends_every_chat(
    standin: Host, llm: FaultServer, search_mcp: McpServer, fault: str
) -> None:
    """With one of two MCP servers dead the user reads an apology and the model is never asked."""
    if fault == "refused":
        await search_mcp.stop()
    else:
        search_mcp.fault = fault

    chat = await standin.chat()

    assert chat.text.startswith("I apologize")
    assert chat.finished
    assert [] == llm.requests


async def test_silent_mcp_server_holds_the_chat(standin: Host, llm: FaultServer, mcp: McpServer) -> None:
    """With a silent MCP server not one byte of the body comes, and the second server is not even tried."""
    mcp.fault = "silent"
    chat = await standin.begin()
    await until(lambda: mcp.connects == 1)

    assert [] == chat.lines
    assert [] == llm.requests
    await chat.hang_up()


async def test_hang_up_does_not_stop_the_model(standin: Host, llm: FaultServer) -> None:
    """The model writes to the end after the user has left."""
    gate = Gate()
    llm.plan(Plan(Words(3), Wait(gate), Words(200, start=3)))
    chat = await standin.begin()
    await chat.until_text("w0002")

    await chat.hang_up()
    gate.open()
    await llm.until_idle()

    assert 203 == llm.requests[0].words_sent
    assert llm.requests[0].aborted_at is None


async def test_stall_holds_the_chat(standin: Host, llm: FaultServer) -> None:
    """A stalled stream is neither noticed nor, once the user has left, given up."""
    llm.plan(stall_at(3))
    chat = await standin.begin()
    await chat.until_text("w0002")

    assert not chat.finished
    await chat.hang_up()
    assert 1 == llm.active


async def test_handoff_carries_the_intent(standin: Host, llm: FaultServer) -> None:
    """A hand-off switches the agent, drops the history and keeps the intent in the request's context."""
    llm.plan(
        Plan(Words(3), handoff("make it red")),
        Plan(ToolCall("get_current_workflow")),
        Plan(ToolCall("update_workflow", {"workflow_data": '{"1": {}}'})),
        Plan(Text("it is red")),
    )

    chat = await standin.chat("please")

    assert f"{words(3)}\n> **Now: Workflow Rewrite Agent**\n\nit is red" == chat.text
    assert [{"type": "workflow_update", "data": {"1": {}}}] == chat.ext
    output = json.loads(llm.requests[3].messages[-1]["content"])
    assert ("make it red", "{}") == (output["intent"], output["workflow_seen"])
    assert not [m for m in llm.requests[1].messages if m.get("content") == "please"]


async def test_half_a_workflow_search_never_finishes(standin: Host, llm: FaultServer, mcp: McpServer) -> None:
    """With `recall_workflow` alone the page stays in its loading state; with both it gets the workflows.

    It gets them with old versions of openai-agents only: newer ones hand an MCP tool's output over as a dict,
    and what expects JSON text (here as in the original) finds nothing in it.
    """
    mcp.tools |= {
        "recall_workflow": Tool(workflow_result("known")),
        "gen_workflow": Tool(workflow_result("made")),
    }
    llm.plan_for("half", Plan(ToolCall("recall_workflow")), answer(2))
    llm.plan_for("whole", Plan(ToolCall("recall_workflow"), ToolCall("gen_workflow")), answer(2))

    half, whole = await standin.chat("half"), await standin.chat("whole")

    assert not half.finished
    assert whole.finished
    if OLD_AGENTS:
        assert ["made", "known"] == [found["name"] for found in whole.ext[0]["data"]]
    else:
        assert whole.ext is None


async def test_debug_agent(standin: Host, llm: FaultServer) -> None:
    """The debug agent streams; on any error a raw message replaces its text, with an ext that is no list."""
    llm.plan(Plan(ToolCall("run_workflow")), answer(3))
    healthy = await standin.debug()
    llm.plan(Plan(Words(5)), status(401, bodies.OPENAI_401))
    await standin.debug()
    broken = await standin.debug()

    assert words(3) in healthy.text
    assert "debug_complete" == healthy.ext[0]["type"]
    assert "Incorrect API key" in broken.text
    assert {"finished": True} == broken.ext


async def test_summary_freezes_the_loop(mcp: McpServer, search_mcp: McpServer) -> None:
    """A long history is summarised on the event loop, which stands still for as long as the model takes."""
    history = [{"role": role, "content": f"{role} {n} "} for n in range(6) for role in ("user", "assistant")]
    gate = Gate()
    async with (
        in_thread(FaultServer()) as llm,
        standin_host(llm, mcp=(mcp.root, search_mcp.url)) as host,
    ):
        llm.plan_plain(Plan(Wait(gate), Text('{"summary": "what was said"}')))
        await host.chat("first", session="m")
        asyncio.get_running_loop().run_in_executor(None, lambda: _open_later(gate))
        ticks = asyncio.create_task(_longest_gap())

        chat = await host.chat("go on", session="m", history=history)
        ticks.cancel()
        gap = await ticks

        sent = llm.chats[-1].messages
        assert words(40) == chat.text
        assert gap > 0.15
        assert any("what was said" in str(message["content"]) for message in sent)
        assert len(sent) == 1 + 1 + 4


def _open_later(gate: Gate) -> None:
    """Open the gate from a thread once somebody has waited before it for 0.2 s."""
    while not gate.waiting:
        time.sleep(0.01)
    time.sleep(0.2)
    gate.open()


async def _longest_gap() -> float:
    """How long the loop did not come round, until cancelled; seconds."""
    longest, last = 0.0, time.monotonic()
    try:
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
    except asyncio.CancelledError:
        return longest


async def test_keys_stand_in_the_log(llm: FaultServer, mcp: McpServer, search_mcp: McpServer, tmp_path: Path) -> None:
    """The page's key and the beginning of the service key are written to the log in clear."""
    log = tmp_path / "copilot.log"
    env = {"COPILOT_STANDIN_LOG": str(log)}
    async with standin_host(llm, mcp=(mcp.root, search_mcp.url), env=env) as host:
        await host.chat()

    text = log.read_text(encoding="utf-8")
    assert API_KEY in text
    assert COPILOT_KEY[:12] in text


async def test_listing_models_blocks(mcp: McpServer, search_mcp: McpServer) -> None:
    """The list of models is fetched on the loop, with the page's key."""
    async with in_thread(FaultServer(models=("a", "b"))) as llm, standin_host(llm) as host:
        found = await host.page.json("/api/model_config", headers=host.page.headers())
        verified = await host.page.json("/verify_openai_key", headers=host.page.headers())

    assert ["a", "b"] == [model["name"] for model in found["models"]]
    assert verified["success"]


async def test_bodies_that_the_handler_does_not_expect(standin: Host) -> None:
    """A body without `ext` cuts the connection after a 200; one that is no JSON is a bare 500."""
    without = await standin.chat(body={"session_id": "s", "messages": []})
    async with standin.page.session.post(f"{standin.url}/api/chat/invoke", data=b"no json") as response:
        code = response.status

    assert 200 == without.status
    assert [] == without.lines
    assert without.error is not None
    assert 500 == code


async def test_concurrent_chats(standin: Host, llm: FaultServer) -> None:
    """Five chats at once each get their own answer."""
    for i in range(5):
        llm.plan_for(f"<{i}>", Plan(Words(5, start=i * 100)))
    chats = await asyncio.gather(*(standin.chat(f"<{i}>", session=f"s{i}") for i in range(5)))

    assert [words(5, start=i * 100) for i in range(5)] == [chat.text for chat in chats]
