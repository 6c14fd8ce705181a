"""One HTTP client for all chats: nothing of one reaches another, and errors are what httpx calls them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from backend.copilot.client import NO_KEY, sharing_client
from backend.copilot.seam import SeamMissing, is_wrapper
from backend.copilot.shared_http import Kind, SharedHttp
from backend.recovery.classify import Classifier
from tests.support.leaks import no_leaks, open_sockets
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import answer, cut_at, redirect, reset_at, reset_before_headers, stall_at, words
from tests.support.net import INVALID_HOST, closed_port, refused_url, until

ROOT = Path(__file__).resolve().parents[3]
ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


@pytest.fixture(params=["aiohttp", "httpx"])
async def http(request: pytest.FixtureRequest) -> AsyncIterator[SharedHttp]:
    """A shared client of either kind."""
    shared = SharedHttp(request.param)
    await shared.prepare()
    yield shared
    await shared.aclose()


@pytest.fixture
def client_of(http: SharedHttp) -> Callable[..., Any]:
    """Makes openai clients that share it, without retries of their own."""
    kind = sharing_client(openai.AsyncOpenAI, http)
    return lambda url, key="k", **more: kind(base_url=url, api_key=key, max_retries=0, **more)


async def read(client: Any) -> str:
    """The text of one streamed answer."""
    stream = await client.chat.completions.create(**ASK)
    parts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    return "".join(parts)


@contextlib.asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[str]:
    """A server whose `/v1/models` is `handler`; yields its base URL."""
    app = web.Application()
    app.router.add_get("/v1/models", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


async def test_chats_share_one_client_and_no_key(client_of: Callable[..., Any]) -> None:
    """Thirty chats at once, each with its own key: one HTTP client, and every request has its own chat's key."""
    async with FaultServer() as llm:
        llm.plan(answer(3))
        clients = [client_of(llm.base_url, f"key-{number}") for number in range(30)]
        texts = await asyncio.gather(*map(read, clients))

        assert {words(3)} == set(texts)
        assert 1 == len({id(client._client) for client in clients})
        sent = sorted(request.headers["authorization"] for request in llm.chats)
        assert sorted(f"Bearer key-{number}" for number in range(30)) == sent
        for client in clients:
            await client.close()


async def test_a_cookie_of_one_chat_is_not_sent_by_another(client_of: Callable[..., Any]) -> None:
    """A server (or the proxy before it) that sets a cookie gets it back from nobody."""
    cookies: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.json_response({"data": [], "object": "list"}, headers={"Set-Cookie": "session=of-the-first; Path=/"})

    async with serving(handler) as url:
        for _ in range(2):
            client = client_of(url)
            await client.models.list()
            await client.close()

    assert [None, None] == cookies


async def test_closing_one_chat_leaves_the_others_alone(client_of: Callable[..., Any]) -> None:
    """One chat ends while another streams: that one is whole. After the last, no connection is left."""
    async with FaultServer() as llm, no_leaks():
        llm.plan_for("slow", stall_at(2), answer(4))
        llm.plan(answer(4))
        slow, quick = client_of(llm.base_url), client_of(llm.base_url)
        stream = await slow.chat.completions.create(**{**ASK, "model": "slow"})
        chunks = aiter(stream)
        await anext(chunks)
        assert words(4) == await read(quick)
        await quick.close()

        assert not slow.is_closed()
        assert (await anext(chunks)).choices
        await stream.close()
        await until(lambda: 0 == llm.active)
        await slow.close()


async def test_a_cancel_closes_the_connection(client_of: Callable[..., Any]) -> None:
    """The model's request ends when the task that reads it is cancelled, and the client is good for more."""
    async with FaultServer() as llm:
        llm.plan(stall_at(2), answer(2))
        client = client_of(llm.base_url)

        async def read_and_close() -> None:
            stream = await client.chat.completions.create(**ASK)
            try:
                async for _ in stream:
                    pass
            finally:
                await stream.close()

        task = asyncio.create_task(read_and_close())
        await until(lambda: bool(llm.requests) and llm.requests[0].words_sent == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: 0 == llm.active)

        assert words(2) == await read(client)
        await client.close()


@pytest.mark.parametrize(
    ("plan", "kind", "below"),
    [
        (reset_before_headers(), openai.APIConnectionError, ("RemoteProtocolError", "ReadError")),
        (reset_at(1), Exception, ("ReadError", "RemoteProtocolError")),
        (cut_at(1), Exception, ("RemoteProtocolError",)),
    ],
    ids=["reset before headers", "reset", "cut"],
)
async def test_errors_have_httpxs_names(
    client_of: Callable[..., Any], plan: Any, kind: type[Exception], below: tuple[str, ...]
) -> None:
    """Whoever handles httpx's errors meets the same ones, whatever carries the bytes."""
    async with FaultServer() as llm:
        llm.plan(plan)
        client = client_of(llm.base_url)
        with pytest.raises(kind) as caught:
            await read(client)
        await client.close()

    names = {type(error).__name__ for error in (caught.value, caught.value.__cause__) if error is not None}
    assert names & set(below)


async def test_a_refused_connection_and_a_limit(client_of: Callable[..., Any]) -> None:
    """A server that is not there is a connection error, one that is silent a time-out."""
    client = client_of(refused_url())
    with pytest.raises(openai.APIConnectionError) as caught:
        await read(client)
    await client.close()
    assert "ConnectError" == type(caught.value.__cause__).__name__

    async with FaultServer() as llm:
        llm.plan(stall_at(0))
        client = client_of(llm.base_url, timeout=0.2)
        with pytest.raises(Exception) as late:
            await read(client)
        await client.close()
    assert "Timeout" in type(late.value).__name__ + type(late.value.__cause__).__name__


@pytest.mark.parametrize(
    "url", ["http://a\\b.example/v1", "http://h:99999999/v1", "http://a..b/v1", f"http://{'a' * 300}/v1"]
)
async def test_an_address_that_is_one_for_httpx_only(client_of: Callable[..., Any], http: SharedHttp, url: str) -> None:
    """What cannot be asked is told as such, and as no fault of a program; httpx's own carrier looks its name up."""
    client = client_of(url)
    with pytest.raises(openai.APIConnectionError) as caught:
        await read(client)
    await client.close()

    assert {"aiohttp": "bad_url", "httpx": "dns"}[http.kind] == Classifier().classify(caught.value).kind


@pytest.mark.parametrize("kind", ["aiohttp", "httpx"])
@pytest.mark.parametrize("proxy", ["http", "https", "socks5"])
@pytest.mark.parametrize("host", ["127.0.0.1", INVALID_HOST])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there_is_the_proxys_fault(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, scheme: str, host: str, proxy: str
) -> None:
    """The base URL is right; it is not said of its host that it refuses, or that its name is unknown."""
    port = closed_port()
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"{proxy}://me:secret@{host}:{port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    shared = SharedHttp(kind)
    await shared.prepare()
    base = f"{scheme}://good.invalid/v1"
    client = sharing_client(openai.AsyncOpenAI, shared)(base_url=base, api_key="k", max_retries=0)
    with pytest.raises(openai.APIConnectionError) as caught:
        await read(client)
    await shared.aclose()

    cause = Classifier().classify(caught.value)
    assert "connection" == cause.kind
    assert f"{host}:{port}" in cause.message
    assert "secret" not in cause.message


@pytest.mark.parametrize(
    "proxy", ["http://a..b:8080", "a..b:80", "http://me:secret@h:70000", "http://a\\b:1", f"http://{'a' * 300}:80"]
)
async def test_a_proxy_without_an_address_is_the_proxys_fault(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """The base URL is right; nobody is sent to look for a mistake in it."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    shared = SharedHttp("aiohttp")
    await shared.prepare()
    client = sharing_client(openai.AsyncOpenAI, shared)(base_url="http://good.invalid/v1", api_key="k", max_retries=0)
    with pytest.raises(openai.APIConnectionError) as caught:
        await read(client)
    await shared.aclose()

    cause = Classifier().classify(caught.value)
    assert "ProxyError" == type(caught.value.__cause__).__name__
    assert "connection" == cause.kind
    assert "HTTP_PROXY" in cause.message
    assert "secret" not in cause.message


async def test_redirects_are_followed(client_of: Callable[..., Any]) -> None:
    """As openai's own client does."""
    async with FaultServer() as llm, FaultServer() as other:
        other.plan(answer(2))
        llm.plan(redirect(f"{other.base_url}/chat/completions", 307))
        client = client_of(llm.base_url)

        assert words(2) == await read(client)
        await client.close()


async def test_a_redirect_carries_no_key_to_another_server(client_of: Callable[..., Any]) -> None:
    """Whatever header it is in, and whatever was in the base URL; on the same server it stays."""
    keys = {"api-key": "SECRET-1", "x-goog-api-key": "SECRET-2", "Cookie": "SECRET-3"}
    async with FaultServer() as llm, FaultServer() as other:
        for code in (301, 302, 303, 307, 308):
            other.plan(answer(2))
            llm.plan(redirect(f"{other.base_url}/chat/completions", code))
            url = llm.base_url.replace("://", "://user:SECRET-4@")
            client = client_of(url, key="SECRET-5", default_headers=keys, default_query={"key": "SECRET-6"})
            with contextlib.suppress(openai.APIError):  # after most of them it asks in another way
                await read(client)
            await client.close()
        llm.plan(redirect("/v1/chat/completions?again", 307), answer(2))
        client = client_of(llm.base_url, default_headers=keys)
        assert words(2) == await read(client)
        await client.close()

    told = [f"{asked.path} {sorted(asked.headers.items())}" for asked in other.requests]
    assert len(told) == 5
    assert [] == [one for one in told if "SECRET" in one or "Basic" in one]
    assert "SECRET-1" == llm.requests[-1].headers["api-key"]


async def test_proxies_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch, http: SharedHttp) -> None:
    """What HTTP_PROXY names gets the request, with its own credentials; NO_PROXY is left out."""
    seen: list[tuple[str, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.raw_path, request.headers.get("Proxy-Authorization")))
        return web.json_response({"data": [], "object": "list"})

    async with FaultServer() as llm, serving(handler) as url:
        llm.plan(answer(3))
        monkeypatch.setenv("HTTP_PROXY", url.replace("http://", "http://who:secret@").removesuffix("/v1"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        shared = SharedHttp(http.kind)
        await shared.prepare()
        kind = sharing_client(openai.AsyncOpenAI, shared)
        far, near = kind(base_url="http://far.invalid/v1", api_key="k"), kind(base_url=llm.base_url, api_key="k")

        await far.models.list()
        assert words(3) == await read(near)
        assert [("http://far.invalid/v1/models", "Basic d2hvOnNlY3JldA==")] == seen
        await shared.aclose()


async def test_a_user_in_the_address_is_not_sent_twice(client_of: Callable[..., Any]) -> None:
    """A base URL with a user in it works: httpx has made a header of it, which aiohttp would refuse beside it."""
    async with FaultServer() as llm:
        llm.plan(answer(2))
        client = client_of(llm.base_url.replace("http://", "http://me:pw@"))

        assert words(2) == await read(client)
        await client.close()


async def test_no_key_is_no_reason_to_refuse(client_of: Callable[..., Any]) -> None:
    """Ollama and llama.cpp want none, and openai makes no client without one."""
    async with FaultServer() as llm:
        llm.plan(answer(2))
        client = client_of(llm.base_url, "")

        assert words(2) == await read(client)
        assert f"Bearer {NO_KEY}" == llm.chats[0].headers["authorization"]
        await client.close()


async def test_a_client_of_its_own_stays_its_own(http: SharedHttp) -> None:
    """Who brings an HTTP client keeps it; so does everybody before `prepare()`, and on another loop."""
    kind = sharing_client(openai.AsyncOpenAI, http)
    mine = openai.DefaultAsyncHttpxClient()
    client = kind(base_url="http://x/v1", api_key="k", http_client=mine)
    await client.close()
    assert mine.is_closed

    early = sharing_client(openai.AsyncOpenAI, SharedHttp())(base_url="http://x/v1", api_key="k")
    assert early._client is not None
    await early.close()

    async def elsewhere() -> bool:
        other = kind(base_url="http://x/v1", api_key="k")
        shares = other._client is http.share(other)
        await other.close()
        return shares

    assert not await asyncio.to_thread(asyncio.run, elsewhere())


async def test_preparing_survives_a_cancel_and_closing_ends_all() -> None:
    """Who waits for the client may be cancelled; it is made for the next one. `aclose()` leaves nothing."""
    before = open_sockets()
    shared = SharedHttp()
    task = asyncio.create_task(shared.prepare())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await shared.prepare()
    assert shared.share(object) is not None
    await shared.aclose()
    await shared.aclose()
    gc.collect()

    assert shared.share(object) is None
    assert open_sockets() <= before


async def test_a_client_that_cannot_be_made_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another openai than we know: each chat makes its own client, as without us."""
    monkeypatch.delattr(openai, "DefaultAsyncHttpxClient")
    shared = SharedHttp()
    await shared.prepare()

    assert shared.share(object) is None


def test_only_what_looks_like_the_client_is_replaced() -> None:
    """A class that takes no HTTP client is left alone, and said to be missing."""
    with pytest.raises(SeamMissing):
        sharing_client(type("AsyncOpenAI", (), {}), SharedHttp())
    kinds: tuple[Kind, ...] = ("aiohttp", "httpx", "own")
    for kind in kinds:
        made = sharing_client(openai.AsyncOpenAI, SharedHttp(kind))
        assert issubclass(made, openai.AsyncOpenAI)
        assert is_wrapper(made)


async def test_what_the_first_request_imports_is_imported_in_a_thread_before_it() -> None:
    """In a fresh process, for here it is imported long since; the loop would stand still for it."""
    program = """
import asyncio, sys, threading
import openai
from backend.copilot.shared_http import SharedHttp

late = "openai.resources.chat.completions.completions"
threads = []

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == late:
            threads.append(threading.current_thread() is threading.main_thread())

async def main():
    sys.meta_path.insert(0, Watch())
    http = SharedHttp()
    await http.prepare()
    assert late in sys.modules
    await http.aclose()

asyncio.run(main())
print("on the loop" if any(threads) else "in a thread")
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=ROOT, stdout=subprocess.PIPE)
    told, _ = await process.communicate()

    assert b"in a thread" == told.strip()
