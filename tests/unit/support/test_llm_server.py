"""The model server breaks as told, to the byte, and sees what the client did."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import openai
import pytest

from tests.support import llm_bodies as bodies
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import (
    Eof,
    Finish,
    Pause,
    Plan,
    Reasoning,
    SplitText,
    Text,
    ToolCall,
    Wait,
    Words,
    answer,
    cut_at,
    empty_answer,
    empty_body,
    eof_at,
    error_at,
    garbage_at,
    html,
    reasoning_only,
    redirect,
    reset_at,
    reset_before_headers,
    reset_first,
    stall_at,
    stall_headers,
    status,
    undecodable_at,
    words,
)
from tests.support.net import Gate, closed_port, dns_failure_url, in_thread, refused_url, tls_to_plain, until


class Reply:
    """What a client of openai's library got."""

    def __init__(self) -> None:
        self.text = ""
        self.finish: str | None = None
        self.chunks: list[Any] = []
        self.error: Exception | None = None


async def ask(url: str, text: str = "hi", model: str = "m", reply: Reply | None = None) -> Reply:
    """One streamed completion without the library's own retries."""
    reply = reply or Reply()
    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        try:
            stream = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], stream=True
            )
            async for chunk in stream:
                reply.chunks.append(chunk)
                if chunk.choices:
                    reply.text += chunk.choices[0].delta.content or ""
                    reply.finish = chunk.choices[0].finish_reason or reply.finish
        except Exception as error:  # which one it is differs between versions of the library
            reply.error = error
    return reply


async def test_healthy_answer(llm: FaultServer) -> None:
    """Without a plan the model streams forty numbered words and ends with a finish reason."""
    reply = await ask(llm.base_url)

    assert words(40) == reply.text
    assert "stop" == reply.finish
    assert reply.error is None


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (reset_before_headers(), ""),
        (reset_first(), ""),
        (reset_at(20), words(20)),
        (cut_at(20), words(20)),
        (error_at(20), words(20)),
        (garbage_at(20), words(20)),
        (undecodable_at(20), words(20)),
        (status(401, bodies.OPENAI_401), ""),
        (status(503, bodies.NGINX_502, headers={"Content-Type": "text/html"}), ""),
        (html(404), ""),
    ],
)
async def test_faults_that_raise(llm: FaultServer, plan: Plan, text: str) -> None:
    """Every delta sent before a break arrives, then the client's library raises."""
    llm.plan(plan)

    reply = await ask(llm.base_url)

    assert text == reply.text
    assert reply.error is not None


@pytest.mark.parametrize(
    ("plan", "text", "finish"),
    [
        (eof_at(20), words(20), None),
        (empty_answer(), "", "stop"),
        (reasoning_only(), "", "stop"),
        (empty_body(), "", None),
        (html(200), "", None),
        (redirect(), "", None),
        (Plan(Words(3), Finish("length")), words(3), "length"),
        (Plan(Words(3), Eof(done=True)), words(3), None),
    ],
)
async def test_faults_that_pass_silently(llm: FaultServer, plan: Plan, text: str, finish: str | None) -> None:
    """These faults raise nothing in the client's library, which is why users see blanks."""
    llm.plan(plan)

    reply = await ask(llm.base_url)

    assert text == reply.text
    assert finish == reply.finish
    assert reply.error is None


async def test_huge_delta(llm: FaultServer) -> None:
    """A delta of a million characters arrives whole."""
    llm.plan(Plan(Text("x" * 1_000_000)))

    assert 1_000_000 == len((await ask(llm.base_url)).text)


async def test_split_characters(llm: FaultServer) -> None:
    """A delta cut at every byte, so inside each emoji, is put together again."""
    llm.plan(Plan(SplitText("héllo 🎉 世界"), Text("!")))

    assert "héllo 🎉 世界!" == (await ask(llm.base_url)).text


async def test_reasoning_deltas(llm: FaultServer) -> None:
    """Reasoning comes in its own field, beside an empty answer."""
    llm.plan(Plan(Reasoning("first this then that"), Words(2)))

    reply = await ask(llm.base_url)
    extra = [chunk.choices[0].delta.model_extra or {} for chunk in reply.chunks if chunk.choices]

    assert "first this then that " == "".join(e.get("reasoning_content", "") for e in extra)
    assert words(2) == reply.text


async def test_parallel_tool_calls(llm: FaultServer) -> None:
    """Two calls have indices of their own and their arguments come in pieces."""
    llm.plan(Plan(ToolCall("a", {"x": "yes"}, parts=4), ToolCall("b", "{broken")))

    reply = await ask(llm.base_url)
    calls: dict[int, str] = {}
    for chunk in reply.chunks:
        for call in chunk.choices[0].delta.tool_calls or []:
            calls[call.index] = calls.get(call.index, "") + (call.function.arguments or "")

    assert {0: '{"x": "yes"}', 1: "{broken"} == calls
    assert "tool_calls" == reply.finish


async def test_plans_in_order(llm: FaultServer) -> None:
    """Each request takes the next plan and the last one repeats."""
    llm.plan(answer(1), answer(2), answer(3))

    got = [(await ask(llm.base_url)).text for _ in range(4)]

    assert [words(1), words(2), words(3), words(3)] == got


async def test_plans_by_key(llm: FaultServer) -> None:
    """The longest key in the last user message wins, then the model, then the default."""
    llm.plan(answer(1))
    llm.plan_for("chat-1", answer(2))
    llm.plan_for("chat-12", answer(3))
    llm.plan_for("special", answer(4))

    assert words(3) == (await ask(llm.base_url, "this is chat-12")).text
    assert words(2) == (await ask(llm.base_url, "this is chat-1", model="special")).text
    assert words(4) == (await ask(llm.base_url, "no key", model="special")).text
    assert words(1) == (await ask(llm.base_url)).text
    assert 1 == len(llm.requests_for("chat-12"))


async def test_concurrent_chats_keep_their_scripts(llm: FaultServer) -> None:
    """Fifty requests at once each get the answer written for them."""
    for i in range(50):
        llm.plan_for(f"<{i}>", Plan(Words(20, start=i * 100)))

    url = f"{llm.base_url}/chat/completions"

    async def one(session: aiohttp.ClientSession, i: int) -> bytes:
        messages = [{"role": "user", "content": f"I am <{i}>"}]
        async with session.post(url, json={"stream": True, "messages": messages}) as response:
            return await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        replies = await asyncio.gather(*(one(session, i) for i in range(50)))

    for i, reply in enumerate(replies):
        sent = [json.loads(line[6:]) for line in reply.split(b"\n\n") if line.startswith(b"data: {")]
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in sent)
        assert words(20, start=i * 100) == text
    await llm.until_idle()


@pytest.mark.parametrize("plan", [stall_at(3), stall_at(3, heartbeat=0.01), stall_headers(), Plan(Words(3), Pause(99))])
async def test_hang_up_is_seen(llm: FaultServer, plan: Plan) -> None:
    """A client that leaves in a stall is noted with its time, and nothing goes on."""
    llm.plan(plan)
    task = asyncio.create_task(ask(llm.base_url))
    await until(lambda: llm.requests and (plan.before or llm.requests[0].words_sent == 3))

    left = time.monotonic()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await llm.until_idle()

    assert llm.requests[0].aborted_at is not None
    assert llm.requests[0].aborted_at >= left
    assert llm.requests[0].finished_at is None


async def test_gate_holds_the_stream(llm: FaultServer) -> None:
    """A script waits at a gate until the test opens it."""
    gate, reply = Gate(), Reply()
    llm.plan(Plan(Words(3), Wait(gate), Words(2, start=3)))
    task = asyncio.create_task(ask(llm.base_url, reply=reply))
    await until(lambda: gate.waiting == 1 and reply.text == words(3))

    gate.open()
    await task

    assert words(5) == reply.text


async def test_retry_after_headers(llm: FaultServer) -> None:
    """Retry-After comes as seconds, as a date, and in milliseconds."""
    llm.plan(status(429, retry_after=7), status(429, retry_at=30), status(429, retry_after_ms=250))
    got = []
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.post(f"{llm.base_url}/chat/completions", json={"stream": True}) as response:
                got.append(response.headers)

    assert "7" == got[0]["Retry-After"]
    assert 20 < parsedate_to_datetime(got[1]["Retry-After"]).timestamp() - time.time() <= 30
    assert "250" == got[2]["retry-after-ms"]


async def test_summary_requests_have_plans_of_their_own(llm: FaultServer) -> None:
    """A request without a stream does not use up the chat's plans."""
    llm.plan(answer(1), answer(2))
    llm.plan_plain(Plan(Text("shorter")))
    async with openai.AsyncOpenAI(base_url=llm.base_url, api_key="k") as client:
        reply = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])

    assert "shorter" == reply.choices[0].message.content
    assert words(1) == (await ask(llm.base_url)).text
    assert 1 == len(llm.chats)


@pytest.mark.parametrize("kind", ["lmstudio", "404", "html"])
async def test_base_url_without_v1(llm: FaultServer, kind: str) -> None:
    """A base URL that lacks /v1 gets what the wished kind of server says."""
    llm.missing_v1 = kind
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{llm.root_url}/chat/completions", json={}) as response,
    ):
        text = await response.text()

    assert {"lmstudio": 200, "404": 404, "html": 404}[kind] == response.status
    assert {"lmstudio": "Unexpected endpoint", "404": "Not Found", "html": "<html>"}[kind] in text


async def test_urls_that_do_not_answer(llm: FaultServer) -> None:
    """Refused port, unknown name and TLS to a plain port all fail before any request."""
    for url in (refused_url("/v1"), dns_failure_url("/v1"), tls_to_plain(llm.base_url)):
        assert (await ask(url)).error is not None

    assert [] == llm.requests
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", closed_port()), timeout=1)


async def test_models_and_login(llm: FaultServer) -> None:
    """The models are listed, and a redirect leads to a page."""
    llm.models = ("a", "b")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{llm.base_url}/models") as response:
            assert ["a", "b"] == [model["id"] for model in (await response.json())["data"]]
        llm.plan(redirect())
        async with session.post(f"{llm.base_url}/chat/completions", json={"stream": True}) as response:
            assert "/login" == response.url.path
            assert "Sign in" in await response.text()


async def test_restart_on_the_same_port() -> None:
    """A stopped server refuses, drops its clients, and comes back where it was."""
    server = FaultServer()
    await server.start()
    base = server.base_url
    server.plan(stall_at(2))
    task = asyncio.create_task(ask(base))
    await until(lambda: server.requests and server.requests[0].words_sent == 2)

    await server.stop()
    await server.stop()
    assert (await task).error is not None
    assert (await ask(base)).error is not None

    server.plan(answer(3))
    await server.start()
    try:
        assert words(3) == (await ask(base)).text
    finally:
        await server.stop()


async def test_runs_in_a_thread() -> None:
    """The server answers although the caller's loop is blocked."""
    async with in_thread(FaultServer()) as server:
        server.plan_plain(Plan(Text("from the thread")))
        with openai.OpenAI(base_url=server.base_url, api_key="k") as client:
            reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])

        assert "from the thread" == reply.choices[0].message.content
