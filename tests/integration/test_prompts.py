"""What the user writes stays out of errors, metrics and health when a server quotes it."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.fault_rows import ENVIRONMENT
from tests.support.host import Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import status
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
