"""Whole chats through the plugin and the stand-in Copilot: sessions, readers, hang-ups, fail-open, detach."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from backend.copilot.notices import strip
from tests.integration.fault_rows import ENVIRONMENT, FULL
from tests.support.host import PLUGIN, STANDIN, Host
from tests.support.leaks import no_leaks
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import (
    Plan,
    Stall,
    Text,
    ToolCall,
    Words,
    answer,
    eof_at,
    reset_at,
    stall_at,
    stall_headers,
    status,
    words,
)
from tests.support.mcp_server import McpServer, Tool, workflow_result
from tests.support.net import until
from tests.support.plugged import NODES, metrics_of, plugin_of, pulse_of, warm

# -- what a chat brings ------------------------------------------------------------------------------


async def test_a_chat_is_complete_although_both_tool_servers_are_dead(host: Host, llm: FaultServer) -> None:
    """The whole answer, and one short notice; neither the next answer nor the next conversation has one."""
    first = await host.chat(session="a")
    second = await host.chat(session="a")
    third = await host.chat(session="b")

    assert FULL.strip() == strip(first.text)
    assert "2 tool servers are down" in first.text[len(FULL) - 1 :]
    assert (FULL, FULL) == (second.text, third.text)
    assert first.finished


async def test_metrics_show_the_chat(host: Host, llm: FaultServer) -> None:
    """What happened stands in /api/metrics: chats, model, host, tokens, bytes, the MCP servers, the seams."""
    await host.chat(session="a")
    await host.chat(session="a")

    metrics = await metrics_of(host)

    assert 2 == metrics["chat"]["completed"]
    assert ["fake-model"] == [row["model"] for row in metrics["chat"]["models"]]
    assert 80 == metrics["chat"]["models"][0]["tokens"]
    assert 2 == metrics["chat"]["first_token_seconds"]["count"]
    assert metrics["chat"]["bytes_saved_total"] > 0
    assert {"down"} == {row["state"] for row in metrics["mcp"]}
    assert all(row["attached"] for row in metrics["seams"]), metrics["seams"]
    assert 80 == metrics["events"]["by_type"]["chat.delta"]


async def test_the_bytes_sent_stay_small(host: Host, llm: FaultServer) -> None:
    """2,000 tokens at full speed are at most 400 KB on the wire; unpatched they are 12 MB."""
    llm.plan(answer(2000))

    chat = await host.chat(session="a")

    assert words(2000).strip() == strip(chat.text)
    assert chat.size <= 400_000


async def test_updates_only_grow(host: Host, llm: FaultServer) -> None:
    """The page sees the answer grow, line by line, also over a retry, and the last line is the exact text."""
    await warm(host, llm, "a")
    llm.plan(Plan(Words(20, pace=0.01), *reset_at(0).steps[1:]), Plan(Words(40, pace=0.01)))

    chat = await host.chat(session="a")

    lengths = [len(text) for text in chat.shown]
    assert sorted(lengths) == lengths
    assert len(lengths) > 3
    assert FULL == chat.text


async def test_fifty_chats_at_once_never_mix(host: Host, llm: FaultServer) -> None:
    """Each of fifty sessions gets its own words, whatever fault it meets on the way."""
    for n in range(50):
        text = f"answer for session {n} " * 5
        broken = [(), (reset_at(3),), (status(503),), (eof_at(2),), (stall_at(2),)][n % 5]
        llm.plan_for(f"[chat {n:03}]", *broken, Plan(Text(text)))

    chats = await asyncio.gather(*(host.chat(f"[chat {n:03}]", session=f"session-{n}") for n in range(50)))

    for n, chat in enumerate(chats):
        assert (f"answer for session {n} " * 5).strip() == strip(chat.text).strip()
        assert {f"session-{n}"} == {line["session_id"] for line in chat.lines}


async def test_a_slow_reader_gets_the_whole_text_and_holds_no_memory(host: Host, llm: FaultServer) -> None:
    """A page that reads slowly does not slow the model down, and the queue in between stays at its bound."""
    await warm(host, llm, "a")
    llm.plan(answer(3000))

    chat = await host.begin(session="a", read_pace=0.05)
    await until(lambda: llm.chats and not llm.active, what="the model has finished")
    await chat.done()

    assert words(3000) == chat.text


async def test_a_notice_is_not_fed_back_to_the_model(host: Host, llm: FaultServer) -> None:
    """The page sends earlier answers as history; what we told the user is not among them."""
    llm.plan(reset_at(5))
    broken = await host.chat("one", session="a")
    llm.plan(answer(3))
    llm.reset_counts()

    history = [{"role": "user", "content": "one"}, {"role": "assistant", "content": broken.text}]
    await host.chat("two", session="a", history=history)

    sent = [m["content"] for m in llm.chats[0].body["messages"] if m["role"] == "assistant"]
    assert [words(5).strip()] == [str(text).strip() for text in sent]


# -- hang-ups and stops ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "when"),
    [
        (stall_headers(), "the model has not answered"),
        (stall_at(0), "no token has come"),
        (Plan(Words(5), Stall()), "the model is silent in mid-answer"),
        (Plan(Words(100_000, pace=0.005)), "the answer streams"),
        (Plan(ToolCall("take_time", {"seconds": 30})), "a tool runs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_hang_up_stops_everything(llm: FaultServer, plan: Plan, when: str) -> None:
    """When the page leaves, the model's request ends within a second, and no task or socket is left."""
    patient = {**ENVIRONMENT, "COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "60", "COPILOT_PULSE_STALL_TIMEOUT": "60"}
    async with Host(NODES, llm=llm, env=patient) as host:
        await warm(host, llm, "a")
        llm.plan(plan)
        async with no_leaks():
            chat = await host.begin(session="a")
            await llm.until_requests(1)
            if plan.text:
                await chat.until_text("w0002")
            elif "tool" in when:
                await until(lambda: host.tool_counts("a").get("take_time"), what="the tool runs")
            await chat.hang_up()
            await until(lambda: llm.active == 0, what="the model's request has ended")

        metrics = await metrics_of(host)

    assert 1 == metrics["chat"]["cancelled"]
    assert 0 == metrics["chat"]["active"]


async def test_a_hang_up_while_waiting_for_a_retry_ends_it(llm: FaultServer) -> None:
    """A page that leaves during the back-off does not cause another request."""
    slow = {**ENVIRONMENT, "COPILOT_PULSE_RETRY_BASE": "30", "COPILOT_PULSE_RETRY_MAX": "30",
            "COPILOT_PULSE_RETRY_BUDGET": "60"}  # fmt: skip
    async with Host(NODES, llm=llm, env=slow) as host:
        await warm(host, llm, "a")
        llm.plan(status(503, retry_after=20), answer())
        async with no_leaks():
            chat = await host.begin(session="a")
            pulse = pulse_of(host)
            await until(lambda: any(c.state == "retrying" for c in pulse.chats), what="the chat waits")
            await chat.hang_up()
            await until(lambda: not len(pulse.chats), what="the chat has ended")

        assert 1 == len(llm.chats)


async def test_the_stop_button_ends_the_answer_where_it_is(host: Host, llm: FaultServer) -> None:
    """Stopped from the panel, the page keeps what it has, and the model's request ends."""
    await warm(host, llm, "a")
    llm.plan(Plan(Words(100_000, pace=0.005)))
    chat = await host.begin(session="a")
    await chat.until_text("w0002")
    pulse = pulse_of(host)
    running = next(iter(pulse.chats))

    async with host.page.session.post(f"{host.url}/copilot-pulse/chats/{running.id}/stop", json={}) as response:
        assert 200 == response.status
    await chat.done()

    await until(lambda: llm.active == 0, what="the model's request has ended")
    assert chat.finished
    assert chat.text.startswith("w0000 w0001 w0002")


@pytest.mark.parametrize("seed", range(6))
async def test_a_cancel_at_any_moment_leaves_nothing(host: Host, llm: FaultServer, seed: int) -> None:
    """Chats with faults, each stopped after a random number of the loop's turns: no task, no socket stays."""
    chance = random.Random(seed)
    plans = [
        reset_at(5), stall_at(3), status(503), eof_at(4), answer(30),
        Plan(ToolCall("count_up", {"note": "x"})), Plan(ToolCall("make_coffee", {})),
    ]  # fmt: skip
    await warm(host, llm, "a")
    pulse = pulse_of(host)
    async with no_leaks():
        for _ in range(8):
            llm.plan(*chance.choices(plans, k=3), answer(5))
            chat = await host.begin(session="a")
            for _ in range(chance.randrange(400)):
                await asyncio.sleep(0)
            await asyncio.gather(*(running.stop() for running in pulse.chats))
            await chat.done()

    assert 0 == len(pulse.chats)


# -- attach and detach -------------------------------------------------------------------------------


def _targets(host: Host) -> dict[str, Any]:
    conversation = host.copilot("backend.controller.conversation_api")
    client = host.copilot("backend.service.mcp_client")
    return {
        "invoke": conversation.comfyui_agent_invoke,
        "debug": conversation.debug_workflow_errors,
        "model": host.copilot("backend.agent_factory").OpenAIChatCompletionsModel,
        "mcp": client.MCPServerSse,
        "memory": client.message_memory_optimize,
        "run": vars(sys.modules["agents.run"].Runner)["run_streamed"],
    }


async def test_detach_restores_the_very_same_objects(llm: FaultServer) -> None:
    """After detach every replaced name is the object that Copilot had, and attaching twice wraps once."""
    async with Host([STANDIN], llm=llm) as plain:
        unpatched = {name: getattr(value, "__qualname__", None) for name, value in _targets(plain).items()}
    runner = vars(sys.modules["agents.run"].Runner)["run_streamed"]
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        attached = _targets(host)
        plugin = plugin_of(host)
        plugin.attachment.attach()
        again = _targets(host)
        plugin.attachment.detach()
        restored = _targets(host)

        assert attached == again
        assert restored["run"] is runner
        for name, value in restored.items():
            assert value is not attached[name], name
            original = getattr(attached[name], "__copilot_pulse_wraps__", None)
            if name != "run":
                assert value is original, name
            assert unpatched[name] == getattr(value, "__qualname__", None)

        chat = await host.chat(session="a")

    assert "apologize" in chat.text, "unpatched again: Copilot gives up because its tool servers are dead"


@pytest.mark.parametrize("order", [[PLUGIN, STANDIN], [STANDIN, PLUGIN]], ids=["before", "after"])
@pytest.mark.parametrize("name", ["ComfyUI Copilot (fork) v2.1", "副驾驶-copilot"])
async def test_copilot_is_found_in_any_order_under_any_name(llm: FaultServer, order: list[Any], name: str) -> None:
    """Neither the load order nor the name of Copilot's folder, or ours, matters."""
    names: dict[Path | str, str] = {STANDIN: name, PLUGIN: "my pulse.plugin-1"}
    async with Host(order, llm=llm, env=ENVIRONMENT, names=names) as host:
        assert not host.failed
        chat = await host.chat(session="a")

    assert FULL.strip() == strip(chat.text)


async def test_without_copilot_the_routes_answer_and_say_what_to_install() -> None:
    """Copilot absent: metrics and health are served, and health warns with a sentence that helps."""
    async with Host([PLUGIN], env=ENVIRONMENT) as host:
        metrics = await metrics_of(host)
        health = await host.page.json("/api/health")

    assert 0 == metrics["chat"]["active"]
    assert "warn" == health["status"]
    told = " ".join(health["notes"])
    assert "ComfyUI-Copilot" in told
    assert "nstall" in told


async def test_switched_off_nothing_is_attached(llm: FaultServer) -> None:
    """`COPILOT_PULSE=off`: no route, no wrapper, Copilot as it is."""
    async with Host(NODES, llm=llm, env={**ENVIRONMENT, "COPILOT_PULSE": "off"}) as host:
        targets = _targets(host)
        async with host.page.session.get(f"{host.url}/copilot-pulse/metrics") as response:
            status_code = response.status

    assert 404 == status_code
    assert not any("__copilot_pulse_wraps__" in getattr(value, "__dict__", ()) for value in targets.values())


BREAKS: Mapping[str, tuple[str, str]] = {
    "chat": ("backend.copilot.pump", "ChatPump.start"),
    "memory": ("backend.copilot.memory", "MemorySeam.precompute"),
    "mcp": ("backend.copilot.mcp.server", "ServerGuard"),
    "run": ("backend.copilot.run", "read_run"),
    "model": ("backend.copilot.model.call", "ModelCall"),
    "notice": ("backend.copilot.mcp.seam", "McpSeam.notice"),
}


@pytest.mark.parametrize("seam", sorted(BREAKS))
async def test_an_exception_of_ours_leaves_the_answer_as_it_is(
    llm: FaultServer, seam: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in any seam costs what the seam does, never the answer."""
    async with McpServer() as tools, McpServer(tools={}) as search:
        servers = (tools.root, search.url)
        async with Host(NODES, llm=llm, env=ENVIRONMENT, mcp=servers) as host:
            plugin = plugin_of(host)
            package = type(plugin).__module__.removesuffix(".backend.plugin")
            module_name, path = BREAKS[seam]
            owner: Any = importlib.import_module(f"{package}.{module_name}")
            *parents, attribute = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)

            def broken(*args: object, **kwargs: object) -> None:
                raise ZeroDivisionError("a bug of ours")

            monkeypatch.setattr(owner, attribute, broken)
            with caplog.at_level(logging.CRITICAL):
                chat = await host.chat(session="a")

    assert FULL.strip() == strip(chat.text).strip()
    assert chat.finished


async def test_another_plugin_reaches_the_bus_without_our_folders_name(host: Host, llm: FaultServer) -> None:
    """`from copilot_pulse import get_event_bus` gives the bus on which this process's chats are told."""
    bus = sys.modules["copilot_pulse"].get_event_bus()
    seen: list[str] = []
    sub_id = bus.subscribe("chat.*", lambda event: seen.append(event.type))
    try:
        await host.chat(session="a")
    finally:
        bus.unsubscribe("chat.*", sub_id)

    assert "chat.started" == seen[0]
    assert "chat.finished" == seen[-1]
    assert 40 == seen.count("chat.delta")


async def test_no_key_is_logged(llm: FaultServer, tmp_path: Path) -> None:
    """Copilot logs its whole configuration; what it writes to its file has no key in it."""
    log = tmp_path / "copilot.log"
    async with Host(NODES, llm=llm, env={**ENVIRONMENT, "COPILOT_STANDIN_LOG": str(log)}) as host:
        llm.plan(status(401, {"error": {"message": f"Incorrect API key provided: {host.page.api_key}"}}))
        chat = await host.chat(session="a")
        key = host.page.api_key

    written = log.read_text("utf-8")
    assert "config" in written, "the stand-in has logged its configuration"
    assert key not in written
    assert key not in chat.text


@pytest.mark.parametrize("name", ["my pulse", "副驾驶", "plain-name"])
async def test_the_panel_is_served_under_any_folder_name(name: str) -> None:
    """Every script that ComfyUI lists for us can be fetched by a browser, and nothing outside our web folder."""
    names: dict[Path | str, str] = {PLUGIN: name}
    async with Host([PLUGIN], env=ENVIRONMENT, names=names) as host:
        listed = [path for path in await host.page.json("/extensions") if name in path]
        statuses = []
        for path in [*listed, f"/extensions/{name}/../__init__.py", f"/extensions/{name}/%2e%2e/pyproject.toml"]:
            async with host.page.session.get(host.url + path) as response:
                statuses.append(response.status)

    assert listed
    assert {200} == set(statuses[:-2])
    assert 200 not in statuses[-2:]


async def test_a_tool_servers_names_are_told_short_and_without_a_key(llm: FaultServer) -> None:
    """The names of its tools are a server's words, and so are the ids of a model's calls."""
    key = "Zk9Qm2-local+word/key=77"
    names = [f"find {key}", "\u202egnp\x1b[31m", "n" * 5_000]
    told: list[Any] = []
    async with (
        McpServer(tools={name: Tool("found") for name in names}) as tools,
        McpServer(tools={}) as search,
        Host(NODES, llm=llm, env=ENVIRONMENT, mcp=(tools.root, search.url)) as host,
    ):
        for type_ in ("chat.tool_called", "chat.tool_output"):
            pulse_of(host).bus.subscribe(type_, lambda event: told.append(dict(event.data)))
        llm.plan(Plan(*(ToolCall(name, {}, id=f"{key}-{n}") for n, name in enumerate(names))), answer(2))
        chat = await host.chat(headers={"Openai-Api-Key": key, "Workflow-LLM-Api-Key": key})
        shown = json.dumps([told, await metrics_of(host)], ensure_ascii=False)

    assert words(2) == chat.text
    assert 6 == len(told)
    assert not [piece for piece in (key, "\u202e", "\\u001b", "n" * 201) if piece in shown]


async def test_the_data_of_a_tool_server_reaches_the_page(llm: FaultServer) -> None:
    """What an MCP tool returns (workflow cards) is in the last line, with either version of the agent library."""
    data = [{"id": 0, "name": "a workflow"}]
    tool = Tool(workflow_result("a workflow"))
    async with (
        McpServer(tools={"gen_workflow": tool}) as tools,
        McpServer(tools={}) as search,
        Host(NODES, llm=llm, env=ENVIRONMENT, mcp=(tools.root, search.url)) as host,
    ):
        llm.plan(Plan(ToolCall("gen_workflow", {})), answer(3))
        chat = await host.chat(session="a")

    assert words(3) == chat.text
    assert [{"type": "workflow", "data": data}] == chat.ext


@pytest.mark.parametrize("number", [0, 2])
async def test_a_tool_may_return_nothing_or_several_pieces(llm: FaultServer, number: int) -> None:
    """The model is asked again, and its answer is whole."""
    content = [{"type": "text", "text": f"found {n}"} for n in range(number)]

    async def call(_params: Any) -> dict[str, Any]:
        return {"content": content}

    async with McpServer(tools={"find": Tool()}) as tools, McpServer(tools={}) as search:
        tools.call = call  # type: ignore[assignment]
        async with Host(NODES, llm=llm, env=ENVIRONMENT, mcp=(tools.root, search.url)) as host:
            llm.plan(Plan(ToolCall("find", {})), answer(3))
            chat = await host.chat()

    assert (words(3), 2) == (chat.text, len(llm.chats))


async def test_it_can_be_switched_off_and_on_while_it_runs(host: Host, llm: FaultServer) -> None:
    """The setting in ComfyUI's dialog puts Copilot back as it was, and attaches again; health says so."""
    wrapped = _targets(host)
    url = f"{host.url}/copilot-pulse/settings"
    async with host.page.session.post(url, json={"enabled": False}) as response:
        assert 200 == response.status, await response.text()
    plain = _targets(host)
    chat = await host.chat(session="a")
    health = await host.page.json("/api/health")
    async with host.page.session.post(url, json={"enabled": True}) as response:
        assert 200 == response.status
    again = await host.chat(session="b")

    assert not any(plain[name] is wrapped[name] for name in wrapped)
    assert "apologize" in chat.text
    assert "switched off" in " ".join(health["notes"])
    assert FULL.strip() == strip(again.text)


async def failures_told(host: Host, pages: int) -> list[tuple[Any, str | None]]:
    """What the pages are told of failed chats, once each has been told of one; it is forgotten then."""

    def told() -> list[tuple[Any, str | None]]:
        return [(data, client) for name, data, client in host.server.sent if name == "copilot-pulse.failed"]

    await until(lambda: len(told()) >= pages, what="the message")
    try:
        return told()
    finally:
        host.server.sent.clear()


async def test_every_page_hears_of_a_chat_that_failed_and_one_says_so(host: Host, llm: FaultServer) -> None:
    """Its kind, model and server, and no word of the chat; the chat's own page says it aloud, or the newest where that
    one is gone or not known. Nothing of a chat that went well."""
    await host.chat(session="well")
    async with contextlib.AsyncExitStack() as stack:
        for name in ("first", "asks", "newest"):
            page = host.page.session.ws_connect(f"{host.url}/ws?clientId={name}")
            # ComfyUI greets a page that it knows.
            assert (await (await stack.enter_async_context(page)).receive_json())["type"] == "status"
        aloud = []
        for name in ("asks", "gone", ""):
            llm.plan(status(401))
            await host.chat(session="refused", headers={"X-Copilot-Pulse-Page": name})
            told = await failures_told(host, 3)
            assert [client for _, client in told] == ["first", "asks", "newest"]
            aloud += [client for data, client in told if data["here"]]
            assert all(data["kind"] == "auth" for data, _ in told)
            assert all(set(data) == {"kind", "type", "time", "model", "host", "here"} for data, _ in told)

    assert aloud == ["asks", "newest", "newest"]


async def test_a_second_copy_does_nothing_and_is_told(llm: FaultServer, tmp_path: Path) -> None:
    """Installed from git and by the Manager: chats go once through one copy, and health says which is too many."""
    copy = tmp_path / "comfyui-copilot-pulse-git"
    copy.symlink_to(PLUGIN, target_is_directory=True)
    async with Host([PLUGIN, copy, STANDIN], llm=llm, env=ENVIRONMENT) as host:
        assert not host.failed
        listed = await host.page.json("/extensions")
        chat = await host.chat(session="a")
        health = await host.page.json("/health")

    assert FULL.strip() == strip(chat.text).strip()
    assert 1 == len(llm.chats)
    assert not any(copy.name in path for path in listed)
    (told,) = health["checks"]["plugin:copies"]
    assert ("warn", 2) == (told["status"], told["observedValue"])
    assert copy.name in told["output"] + json.dumps(told)


async def test_libraries_that_do_not_fit_are_told_in_the_chat(
    llm: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user reads which two versions, and the command that cures it, instead of pydantic's words."""
    import agents.usage

    class Usage:
        def __init__(self, *args: object, **kwargs: object) -> None:
            raise ValueError("1 validation error for InputTokensDetails: cache_write_tokens Field required")

    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        monkeypatch.setattr(agents.usage, "Usage", Usage)
        plugin_of(host).attachment.attach()
        chat = await host.chat(session="a", language="zh")
        debug = await host.debug(session="a")
        health = await host.page.json("/health")

    assert "pip install -U openai-agents openai" in chat.text
    assert "不兼容" in chat.text
    assert "does not work with openai" in debug.text
    assert "InputTokensDetails" not in chat.text + debug.text
    assert [] == llm.chats
    assert "fail" == health["checks"]["copilot:libraries"][0]["status"]
