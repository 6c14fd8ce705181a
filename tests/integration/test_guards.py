"""The guards of backend/aio.py stand around chats and calls, and not on the path of a token."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.injection.raising import name_of, raising, traced
from tests.injection.scenarios import world
from tests.integration.fault_rows import ENVIRONMENT
from tests.support.host import Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer, words
from tests.support.mcp_server import McpServer
from tests.support.plugged import NODES, pulse_of, user_folder

GUARDS = ("spared", "spared_async", "before", "before_async")


@pytest.mark.parametrize("transport", ["post", "stream over websocket"])
async def test_no_guard_is_entered_for_a_token(transport: str) -> None:
    """Ten times the tokens, and as many guards: those that are more belong to the updates that the page gets."""
    entered: Counter[int] = Counter()
    async with world() as running:
        for tokens in (40, 400, 40, 400):
            running.plan = answer(tokens)
            entered[tokens] = 0

            def count(code: object, tokens: int = tokens) -> None:
                name = name_of(code)  # type: ignore[arg-type]
                entered[tokens] += name.startswith("aio.py:") and name.endswith(GUARDS)

            with traced(count):
                text = await running.ask(transport)
            assert len(text.split()) == tokens
    assert entered[40] > 0
    assert entered[400] - entered[40] < 90, "one guard for four tokens is a guard on their path"


@pytest.mark.parametrize(
    ("function", "missing", "attached"),
    [
        ("plugin.py:user_folder", "the settings of the dialog", True),
        ("store.py:EventStore.start", "the event store", True),
        ("fleet.py:Fleet.start", "the fleet", True),
        ("monitoring.py:Monitor.start", "events and figures", True),
        ("copilot/attach.py:Attachment.attach", "Copilot Pulse itself", False),
    ],
)
async def test_a_part_that_cannot_start_is_missing_and_told(
    function: str, missing: str, attached: bool, llm: FaultServer, mcp: McpServer, search_mcp: McpServer
) -> None:
    """ComfyUI starts, health says what is missing, the other parts are there, and Copilot answers."""
    llm.plan(answer())
    with user_folder(), raising(function) as injection:
        async with Host(NODES, llm=llm, mcp=(mcp.root, search_mcp.url), env=ENVIRONMENT) as host:
            health = await host.page.json("/api/health")
            text = (await host.chat()).text
            seams = pulse_of(host).seams.missing
    assert injection.hit
    assert missing in str(health["checks"]["pulse:faults"])
    assert (not seams) == attached
    assert text.strip() == words(40).strip()
