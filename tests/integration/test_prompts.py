"""What the user writes stays out of errors, metrics and health when a server quotes it."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.fault_rows import ENVIRONMENT
from tests.support.host import Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Finish, Plan, ToolCall, Words, answer, handoff, status, words
from tests.support.plugged import NODES, metrics_of, pulse_of

PROMPT = "Draw Ada Byron at her brass engine"


async def test_a_prompt_that_the_server_quotes_is_not_recorded() -> None:
    """The 400 repeats the message; the chat still tells what the server dislikes."""
    events: list[Any] = []
    async with FaultServer() as llm, Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        pulse_of(host).bus.subscribe("*", lambda event: events.append((event.type, dict(event.data))))
        llm.plan(status(400, {"error": {"message": f"Invalid content: {PROMPT}"}}))
        chat = await host.chat(PROMPT)
        metrics = await metrics_of(host)
        health = await host.page.json("/api/health")

    assert "Invalid content" in chat.text
    recorded = [row for row in events if row[0] == "error"]
    assert recorded
    for shown in (recorded, metrics, health):
        assert "Byron" not in json.dumps(shown)


async def test_a_prompt_in_the_place_of_a_finish_reason_is_not_recorded() -> None:
    """It is taken out before anything is cut, so that no piece of it stays that is too short to be known."""
    events: list[Any] = []
    async with FaultServer() as llm, Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        pulse_of(host).bus.subscribe("*", lambda event: events.append((event.type, dict(event.data))))
        llm.plan(Plan(Words(2), Finish(f"odd, with 30 signs before: {PROMPT}")))
        await host.chat(PROMPT)
        metrics = await metrics_of(host)

    assert [data["finish"] for type_, data in events if type_ == "chat.model_ended"] == [""]
    assert "odd, with 30 signs before: [prompt]" in json.dumps(metrics)
    for shown in ([row for row in events if row[0] != "chat.finished"], metrics):
        assert "Draw" not in json.dumps(shown)


async def test_a_prompt_in_the_place_of_a_calls_id_is_not_recorded() -> None:
    """What belongs together is still told by the same id."""
    told: list[Any] = []
    async with FaultServer() as llm, Host(NODES, llm=llm, env=ENVIRONMENT) as host:
        for type_ in ("chat.tool_called", "chat.tool_output"):
            pulse_of(host).bus.subscribe(type_, lambda event: told.append(event.data["call_id"]))
        llm.plan(Plan(handoff("a")), Plan(ToolCall("count_up", {"note": "a"}, id=PROMPT)), answer(2))
        chat = await host.chat(PROMPT)

    assert words(2).strip() in chat.text
    assert told[-1] == told[-2]
    assert not [one for one in told if "Draw" in one]
