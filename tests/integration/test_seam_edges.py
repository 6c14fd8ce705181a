"""Edges of the seams: seams that are missing, runs inside tools, cancels at bad moments, what ended chats keep."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backend.aio import wait_set
from backend.chats import Chat
from backend.copilot.model.seam import recovering_model
from backend.copilot.model.watch import StreamWatch
from backend.copilot.notices import strip
from backend.copilot.pump import ChatPump
from backend.event_bus import EventBus
from backend.pulse import Pulse
from backend.settings import LiveSettings, Settings
from tests.integration.fault_rows import ENVIRONMENT
from tests.support.host import PLUGIN, STANDIN, Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Eof, Plan, ToolCall, answer, reset_at, status, words
from tests.support.net import until
from tests.support.plugged import NODES, metrics_of, module_of, plugin_of, pulse_of, warm


@pytest.fixture
async def host(llm: FaultServer) -> AsyncIterator[Host]:
    """The plugin and the stand-in, with both MCP servers dead and told about."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as running:
        await warm(running, llm, "a")
        yield running


def pulse_with(**settings: Any) -> Pulse:
    """A plugin's parts, without a host."""
    return Pulse(LiveSettings(Settings(**settings)), EventBus())


async def test_without_the_run_seam_no_text_comes_twice(host: Host, llm: FaultServer) -> None:
    """Where nobody can take the broken text back, the call is not made again: the part, and why."""
    seam = next(seam for seam in plugin_of(host).attachment.seams if seam.name == "run")
    seam.detach()
    llm.plan(reset_at(20), answer())

    chat = await host.chat(session="a")

    assert words(20).strip() == strip(chat.text)
    assert "incomplete" in chat.text
    assert 1 == len(llm.chats)


async def test_half_an_emoji_does_not_keep_a_question_from_the_model(host: Host, llm: FaultServer) -> None:
    """A page may cut a text inside of one, and UTF-8 has no bytes for a half: a sign stands in its place."""
    llm.plan(answer(2))

    chat = await host.chat("draw \ud83d a cat \ud83d\ude00", session="a", model="fake\u202e-model\ud83d")

    assert words(2) == chat.text
    assert "draw \ufffd a cat \U0001f600" in json.dumps(llm.chats[-1].body, ensure_ascii=False)
    assert not {"\u202e", "\ud83d"} & set(json.dumps(await metrics_of(host), ensure_ascii=False))


async def test_a_run_inside_a_tool_leaves_the_chat_alone(host: Host, llm: FaultServer) -> None:
    """A fork's tool may run an agent of its own; its text is not the chat's, and cuts stay exact."""
    from agents import Runner

    factory = host.copilot("backend.agent_factory")
    config = host.copilot("backend.utils.request_context").get_config
    tool = host.copilot("backend.service.workflow_rewrite_tools").count_up

    async def invoke(context: Any, arguments: str) -> str:
        run = Runner.run_streamed(
            factory.create_agent(name="Nested", instructions="n", config=config()), input="NESTED please"
        )
        async for _ in run.stream_events():
            pass
        return str(run.final_output)

    plain, tool.on_invoke_tool = tool.on_invoke_tool, invoke
    try:
        llm.plan_for("NESTED", answer(2))
        llm.plan(Plan(ToolCall("count_up", {"note": "a"})), reset_at(20), answer())
        chat = await host.chat(session="a")
    finally:
        tool.on_invoke_tool = plain

    assert words(40) == chat.text


@pytest.mark.parametrize(
    "plans",
    [
        (Plan(ToolCall("make_coffee", {})), Plan(ToolCall("count_up", {"note": "a"})), answer(3)),
        (Plan(ToolCall("count_up", {"note": "a"}), Eof()), Plan(ToolCall("count_up", {"note": "a"})), answer(3)),
    ],
    ids=["unknown tool", "truncated"],
)
async def test_copilot_sees_one_call_for_each_output(host: Host, llm: FaultServer, plans: tuple[Plan, ...]) -> None:
    """Calls of answers that were not accepted are never seen: Copilot pairs calls and outputs by their order."""
    seen: list[tuple[str, str]] = []
    bus = pulse_of(host).bus
    ids = [
        (type_, bus.subscribe(type_, lambda event: seen.append((event.type, event.data["tool"]))))
        for type_ in ("chat.tool_called", "chat.tool_output")
    ]
    llm.plan(*plans)
    await host.chat(session="a")
    for type_, sub_id in ids:
        bus.unsubscribe(type_, sub_id)

    assert [("chat.tool_called", "count_up"), ("chat.tool_output", "count_up")] == seen


async def test_ended_chats_let_go_of_what_was_said(host: Host, llm: FaultServer) -> None:
    """Of a chat that has ended its figures stay; history, pictures, clients and text go."""
    picture = "data:image/png;base64," + "A" * 100_000
    await host.chat("hi", session="a", history=[{"role": "user", "content": picture}])
    pulse = pulse_of(host)
    row = pulse.chats.snapshot()[0]
    ended = pulse.chats.get(row["chat_id"])

    assert (len(words(40)), 40) == (row["length"], row["tokens"])
    assert ([], "", []) == (ended.stoppers, ended.text.raw, ended.clients)


async def test_a_bug_in_our_bookkeeping_is_not_told_as_a_failure(
    host: Host, llm: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user reads the whole answer and nothing else when we fail to understand one of its events."""

    def broken(*args: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(module_of(host, "backend.copilot.run").RunReader, "_saw_agent", broken)

    assert words(40) == (await host.chat(session="a")).text


async def test_a_pump_that_cannot_start_does_not_run_the_chat_twice(
    host: Host, llm: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copilot's generator is then used as it is, once."""
    pump = module_of(host, "backend.copilot.pump").ChatPump

    def broken(self: object, messages: object = None) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(pump, "start", broken)
    chat = await host.chat(session="a")
    await llm.until_idle()

    assert words(40) == chat.text
    assert 1 == len(llm.chats)
    assert 0 == len(pulse_of(host).chats)


async def test_no_key_in_our_own_log(
    host: Host, llm: FaultServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of ours is logged without the provider's error behind it, which echoes the key."""

    def broken(type_: str, data: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(pulse_of(host).recovery, "_publish_event", broken)
    llm.plan(status(401, {"error": {"message": f"Incorrect API key provided: {host.page.api_key}"}}))
    with caplog.at_level(logging.DEBUG, "copilot_pulse"):
        await host.chat(session="a")
    logged = "\n".join(
        logging.Formatter().format(record) for record in caplog.records if record.name.startswith("copilot_pulse")
    )

    assert "ZeroDivisionError" in logged
    assert host.page.api_key not in logged


async def test_a_start_without_our_routes_costs_the_routes_only(llm: FaultServer) -> None:
    """When they cannot be added, chats are repaired all the same; only the panel and its figures are missing."""
    llm.plan(reset_at(5), answer())

    class Breaking(Host):
        def _load(self, path: Path) -> None:
            super()._load(path)
            module = sys.modules.get(f"{self.loaded[path].__name__}.backend.plugin")
            if module is not None:

                def broken(*args: object, **kwargs: object) -> None:
                    raise RuntimeError("a path twice")

                module.add_routes = broken  # type: ignore[attr-defined]

    async with Breaking(NODES, llm=llm, env=ENVIRONMENT) as host:
        chat = await host.chat()
        async with host.page.session.get(f"{host.url}/api/metrics") as response:
            missing = response.status

    assert words(40).strip() == strip(chat.text)
    assert missing == 404


async def test_two_copilots_each_have_their_own_history(llm: FaultServer, tmp_path: Path) -> None:
    """With two Copilots installed, a chat's history is prepared by the one that it belongs to."""
    second = tmp_path / "second-copilot"
    shutil.copytree(STANDIN, second)
    async with Host([PLUGIN, STANDIN, second], llm=llm, env=ENVIRONMENT) as host:
        plugin = plugin_of(host)
        asked: list[str] = []

        async def precompute(messages: object, session: object, copilot: Any) -> None:
            asked.append(copilot.root)

        plugin.attachment.memory.precompute = precompute
        await host.chat(session="a")
        roots = plugin.pulse.seams.copilots

    assert 2 == len(roots)
    assert [roots[0]] == asked


async def test_a_full_queue_does_not_hold_an_ended_chat(llm: FaultServer) -> None:
    """A reader that leaves when the last words wait for room leaves no task and no chat behind."""
    pulse = pulse_with(queue_size=10)

    async def source() -> AsyncIterator[Any]:
        for number in range(11):
            yield "x" * (number + 1), {"data": [{"type": "workflow_update", "n": number}], "finished": False}
        yield "x" * 12, {"data": [], "finished": True}

    chat = Chat(session="s")
    pump = ChatPump(pulse, chat, source)
    pulse.chats.add(chat)
    pump.start()
    updates = pump.updates()
    await updates.__anext__()
    await until(lambda: not chat.active or len(pump._queue) == 10, what="the queue is full")
    pump.release()

    await until(lambda: chat.pump_task is not None and chat.pump_task.done(), what="the pump has ended")
    assert 0 == len(pulse.chats)


@pytest.mark.parametrize("turns", range(5))
async def test_a_cancel_in_the_same_turn_as_the_event_passes(turns: int) -> None:
    """Whenever it comes, a cancel of a wait is not swallowed."""
    event = asyncio.Event()
    task = asyncio.create_task(wait_set(event, 30))
    await asyncio.sleep(0)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    was_done = task.done()
    task.cancel()
    await asyncio.wait({task})

    assert was_done or task.cancelled()


async def test_a_cancel_while_closing_leaves_no_watch() -> None:
    """Cancelled while the model's connection closes, a call leaves no timer that holds on to it."""
    closing = asyncio.Event()

    class Client:
        base_url = "http://host/v1"
        chat = type("chat", (), {"completions": None})

    class Model:
        def __init__(self) -> None:
            self._client = Client()
            self.model = "m"

        async def stream_response(self, input: Any = None) -> AsyncIterator[Any]:
            try:
                yield type("Event", (), {"type": "response.other"})()
            finally:
                closing.set()
                await asyncio.Event().wait()

        async def get_response(self, input: Any = None) -> None:
            """Not used here."""

    events = recovering_model(pulse_with(), Model)().stream_response()
    await events.__anext__()
    task = asyncio.create_task(events.aclose())
    await closing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert [] == [timer for timer in timers if not timer.cancelled() and "StreamWatch" in repr(timer)]


async def test_silence_is_noticed_on_a_loop_that_is_always_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy loop excuses one late look, not every one."""
    loop = asyncio.get_running_loop()
    now = [1000.0]
    monkeypatch.setattr(loop, "time", lambda: now[0])
    looks: list[Any] = []

    def call_at(when: float, look: Any) -> asyncio.Handle:
        looks.append(look)
        return asyncio.Handle(look, (), loop)

    monkeypatch.setattr(loop, "call_at", call_at)
    watch = StreamWatch(base_url="x", first_limit=0.3, stall_limit=0.3)
    watch._waiting = True
    watch._task = asyncio.create_task(asyncio.Event().wait())

    for _ in range(3):
        now[0] += 1.0
        looks[-1]()
        if watch._fired:
            break
    monkeypatch.undo()
    await asyncio.wait({watch._task})

    assert watch._fired
    assert 2 <= len(looks)


async def test_what_only_chats_need_is_there_before_the_first_chat(llm: FaultServer) -> None:
    """The rooms of a model call are imported after the start, in a thread: no chat holds ComfyUI's loop for them."""
    async with Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        package = type(plugin_of(host)).__module__.removesuffix(".plugin")

        await until(lambda: f"{package}.copilot.model.call" in sys.modules, what="imported without a chat")
