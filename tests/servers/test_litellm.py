"""Whole chats through LiteLLM's proxy: what it makes of an answer, of a tool call, and of everything that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backend.copilot.notices import strip
from tests.integration.fault_rows import ENVIRONMENT, FULL
from tests.servers.conftest import PROXY_KEY, LiteLlm
from tests.support.host import Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Plan, ToolCall, answer, reset_at, status
from tests.support.plugged import NODES


@pytest.fixture
async def llm(litellm: LiteLlm) -> AsyncIterator[FaultServer]:
    """The model behind the proxy."""
    async with FaultServer(port=litellm.upstream) as upstream:
        yield upstream


@pytest.fixture
async def host(litellm: LiteLlm) -> AsyncIterator[Host]:
    """A user whose base URL is the proxy's."""
    async with Host(NODES, llm=litellm.base_url, env=ENVIRONMENT) as running:
        running.page.api_key = PROXY_KEY
        yield running


async def test_an_answer_passes_whole(host: Host, llm: FaultServer) -> None:
    """The text is the model's, to the letter, and the model is asked once."""
    chat = await host.chat(session="a")

    assert FULL.strip() == strip(chat.text).strip()
    assert 1 == len(llm.chats)


async def test_a_tool_call_passes(host: Host, llm: FaultServer) -> None:
    """The tool runs once, and its result goes back to the model."""
    llm.plan(Plan(ToolCall("count_up", {})), answer())
    chat = await host.chat(session="a")

    assert FULL.strip() == strip(chat.text).strip()
    assert 1 == host.tool_counts("a")["count_up"]
    assert 2 == len(llm.chats)


async def test_a_break_behind_the_proxy_is_repaired(host: Host, llm: FaultServer) -> None:
    """The proxy tells of the break inside of a 200; the answer comes again, and nothing in it twice."""
    llm.plan(reset_at(20), answer())
    chat = await host.chat(session="a")

    assert FULL.strip() == strip(chat.text).strip()
    assert 2 == len(llm.chats)


@pytest.mark.parametrize("key", ["wrong-0123456789abcdef", "sk-wrong-0123456789abcdef"])
async def test_a_wrong_key_is_told(host: Host, llm: FaultServer, key: str) -> None:
    """The proxy refuses the key, in one of two ways: that is what the user reads, and not the key itself."""
    host.page.api_key = key
    chat = await host.chat(session="a")

    assert "key" in chat.text
    assert key not in chat.text
    assert not llm.chats


async def test_an_unknown_model_is_told(host: Host, llm: FaultServer) -> None:
    """The proxy has no such model: its name is in the sentence."""
    chat = await host.chat(session="a", model="no-such-model")

    assert "no-such-model" in chat.text
    assert not llm.chats


async def test_the_proxy_s_own_limit_is_told(host: Host, llm: FaultServer) -> None:
    """The second question within a minute is over the limit that the proxy's owner has set."""
    chat = await host.chat(session="a", model="limited")
    answered = 0
    # The proxy counts by the minutes of the clock: one of them may begin between two questions.
    while chat.text.startswith("w0000") and answered < 3:
        answered += 1
        chat = await host.chat(session="a", model="limited")

    assert "limit" in chat.text or "Too many" in chat.text
    assert answered == len(llm.chats) >= 1


async def test_a_conversation_that_is_too_long_is_told(host: Host, llm: FaultServer) -> None:
    """The model's refusal comes in the proxy's words; the user reads what to do, after one request."""
    llm.plan(
        status(
            400,
            {
                "error": {
                    "message": "This model's maximum context length is 4096 tokens. However, your messages resulted "
                    "in 5000 tokens.",
                    "type": "invalid_request_error",
                    "code": "context_length_exceeded",
                }
            },
        )
    )
    chat = await host.chat(session="a")

    assert "too long" in chat.text or "longer than" in chat.text
    assert 1 == len(llm.chats)


async def test_a_model_that_is_gone_is_told(host: Host) -> None:
    """The proxy is there, its model server is not: tried again, then told as the server's fault."""
    chat = await host.chat(session="a", model="unreachable")

    assert strip(chat.text) != chat.text
    assert "API key" not in chat.text
