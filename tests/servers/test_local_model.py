"""Whole chats with a real local model server, without a key, and with a model so small that it writes nonsense."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backend.copilot.notices import strip
from tests.integration.fault_rows import ENVIRONMENT
from tests.servers.conftest import LocalModel
from tests.support.host import Host
from tests.support.plugged import NODES, metrics_of

# The first chat loads the model, on a slow machine for a while.
PATIENT = {**ENVIRONMENT, "COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "240", "COPILOT_PULSE_STALL_TIMEOUT": "240"}


@pytest.fixture
async def host(local_model: LocalModel) -> AsyncIterator[Host]:
    """A user of the local server, who has no key."""
    async with Host(NODES, llm=local_model.base_url, env=PATIENT) as running:
        running.page.api_key = ""
        running.page.model = local_model.name
        yield running


async def test_an_answer_arrives_without_a_key(host: Host) -> None:
    """What the model writes is what the user reads: the same nonsense each time, and no error."""
    first = await host.chat(session="a", timeout=240)
    second = await host.chat(session="b", timeout=240)

    assert strip(first.text).strip()
    assert strip(first.text).strip() == strip(second.text).strip()
    metrics = await metrics_of(host)
    assert 2 == metrics["chat"]["completed"]
    assert 0 == metrics["chat"]["failed"]


async def test_an_unknown_model_is_told(host: Host) -> None:
    """The server has no such model: its name is told, and no key is blamed."""
    chat = await host.chat(session="a", model="no-such/model", timeout=240)

    assert "no-such/model" in chat.text
    assert strip(chat.text) != chat.text
    assert "API key" not in chat.text


async def test_an_address_without_v1_is_told(host: Host, local_model: LocalModel) -> None:
    """The mistake that most people make with a local server: the sentence names what is missing."""
    chat = await host.chat(session="a", llm=local_model.base_url.removesuffix("/v1"), timeout=240)

    assert "/v1" in chat.text
