"""The scripted model over real sockets: its answers and its faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from backend.standalone.scripted_model import CHAT_HEADER, MODEL, ScriptedModel

Client = aiohttp.ClientSession


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    scripted = ScriptedModel(pace=0)
    await scripted.start()
    yield scripted
    await scripted.close()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def post(
    client: Client, model: ScriptedModel, text: str, *, chat: str = "a", key: str | None = None, **more: Any
) -> Any:
    return client.post(
        f"{model.base_url}/chat/completions",
        json={"model": MODEL, "messages": [{"role": "user", "content": text}], "stream": True, **more},
        headers={"Authorization": f"Bearer {model.api_key if key is None else key}", CHAT_HEADER: chat},
    )


def events(body: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]


def spoken(body: str, field: str = "content") -> str:
    return "".join(e["choices"][0]["delta"].get(field) or "" for e in events(body) if e["choices"])


async def test_an_answer_streams_and_ends_properly(model: ScriptedModel, client: Client) -> None:
    """An answer has its text, a finish reason, its usage and the end mark, as OpenAI's has."""
    async with post(client, model, "hi") as response:
        body = await response.text()

    assert "scripted model" in spoken(body)
    assert events(body)[-2]["choices"][0]["finish_reason"] == "stop"
    assert events(body)[-1]["usage"]["completion_tokens"] > 50
    assert body.endswith("data: [DONE]\n\n")


async def test_drop_is_a_real_reset_and_only_once(model: ScriptedModel, client: Client) -> None:
    """The connection breaks in mid-answer; asked again, the same chat gets the whole."""
    async with post(client, model, "/drop") as response:
        with pytest.raises((aiohttp.ClientPayloadError, ConnectionResetError)):
            await response.text()
    async with post(client, model, "/drop") as response:
        body = await response.text()

    assert "data: [DONE]" in body
    assert "dropped connection" in spoken(body)


async def test_chats_misbehave_each_for_itself(model: ScriptedModel, client: Client) -> None:
    """One chat's fault is not used up by another's, and a new chat starts from the beginning."""
    statuses = []
    for chat in ("a", "b", "a", "b", "a"):
        async with post(client, model, "/429", chat=chat) as response:
            statuses.append(response.status)

    assert statuses == [429, 429, 200, 200, 429]


async def test_429_says_when_to_come_back(model: ScriptedModel, client: Client) -> None:
    """A refusal has a provider's body and a Retry-After."""
    async with post(client, model, "/429") as response:
        assert response.headers["Retry-After"] == "2"
        assert (await response.json())["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("command", ["/stall", "/silent"])
async def test_silence_ends_when_the_client_leaves(model: ScriptedModel, client: Client, command: str) -> None:
    """A stalled answer is dropped as soon as the client hangs up: nothing is left running."""

    async def listen() -> None:
        async with post(client, model, command) as response:
            await response.text()

    task = asyncio.create_task(listen())
    while not model.active:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while model.active:  # the suite's own time limit ends a test that hangs here
        await asyncio.sleep(0.001)


async def test_truncated_answers_lack_the_finish_reason(model: ScriptedModel, client: Client) -> None:
    """A truncation ends cleanly on the wire: only the missing reason tells."""
    async with post(client, model, "/truncate") as response:
        body = await response.text()

    assert all(e["choices"][0]["finish_reason"] is None for e in events(body))
    assert "[DONE]" not in body


async def test_garbage_is_not_json(model: ScriptedModel, client: Client) -> None:
    """A line in the middle cannot be parsed."""
    async with post(client, model, "/garbage") as response:
        body = await response.text()

    assert "{this is no JSON" in body


async def test_html_and_wrong_key(model: ScriptedModel, client: Client) -> None:
    """A web page instead of JSON, and 401 for a key that is not ours, without echoing it."""
    async with post(client, model, "/html") as response:
        assert response.content_type == "text/html"
    async with post(client, model, "hi", key="sk-somebody-elses") as response:
        assert response.status == 401
        assert "somebody" not in await response.text()


async def test_reasoning_comes_before_the_text(model: ScriptedModel, client: Client) -> None:
    """Thoughts stand in reasoning_content, and none of them in the text."""
    async with post(client, model, "/reasoning") as response:
        body = await response.text()

    assert "I should think" in spoken(body, "reasoning_content")
    assert "I should think" not in spoken(body)


async def test_tools_are_called_with_ids(model: ScriptedModel, client: Client) -> None:
    """Tool calls have distinct ids and indices, and the finish reason says so."""
    tools = [{"type": "function", "function": {"name": name}} for name in ("now", "list_nodes")]
    async with post(client, model, "/tool", tools=tools) as response:
        body = await response.text()

    calls = [call for e in events(body) if e["choices"] for call in e["choices"][0]["delta"].get("tool_calls", ())]
    assert [call["function"]["name"] for call in calls] == ["list_nodes", "now"]
    assert len({call["id"] for call in calls}) == 2
    assert '"finish_reason": "tool_calls"' in body


async def test_without_streaming_one_object(model: ScriptedModel, client: Client) -> None:
    """A client that does not stream gets the same answer as one JSON object."""
    async with post(client, model, "/help", stream=False) as response:
        message = (await response.json())["choices"][0]["message"]

    assert "`/drop`" in message["content"]


@pytest.mark.parametrize("body", ["[", "[]", "{}", '{"messages": 3}'])
async def test_a_bad_body_is_refused(model: ScriptedModel, client: Client, body: str) -> None:
    """What is no chat request gets a 400, never a 500."""
    async with client.post(
        f"{model.base_url}/chat/completions", data=body, headers={"Authorization": f"Bearer {model.api_key}"}
    ) as response:
        assert response.status == 400


async def test_close_is_idempotent_and_cuts_what_runs(client: Client) -> None:
    """Closing in the middle of a stall does not wait for it; closing twice is fine."""
    model = ScriptedModel(pace=0)
    await model.start()
    await model.start()
    task = asyncio.create_task(post(client, model, "/silent").__aenter__())
    while not model.active:
        await asyncio.sleep(0)
    await model.close()
    await model.close()

    with pytest.raises(aiohttp.ClientError):
        await task
    assert model.active == 0
