"""The look at a model server when the host starts: a doubt is told in a line, and is never a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from backend.pulse import Pulse
from backend.standalone.cli import _tell_doubts
from backend.standalone.endpoint_check import doubt
from backend.standalone.options import ModelServer
from backend.standalone.scripted_model import MODEL, ScriptedModel
from tests.support.net import closed_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_get("/v1/models", handler)
        server = TestServer(app)
        servers.append(server)
        await server.start_server()
        return str(server.make_url("/v1"))

    yield start
    for server in servers:
        await server.close()


def listing(*names: str) -> Handler:
    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name} for name in names]})

    return models


def answering(status: int, body: str, **headers: str) -> Handler:
    async def models(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers)

    return models


@pytest.mark.parametrize("listed", ["llama3", "llama3:latest", "models/llama3"])
async def test_a_model_that_is_listed_is_no_doubt(serve: Serve, listed: str) -> None:
    """The model itself, with Ollama's tag or with Google's prefix."""
    assert await doubt(ModelServer(await serve(listing("other", listed)), "llama3", "k")) is None


async def test_a_model_that_is_not_listed_is_told_with_what_is(serve: Serve) -> None:
    """The line names the model that was asked for and some that are there, not a hundred."""
    told = await doubt(ModelServer(await serve(listing(*(f"m{n}" for n in range(9)))), "gpt-9", "k"))

    assert told is not None
    assert "gpt-9" in told
    assert "m0, m1, m2, m3, m4, ..." in told


@pytest.mark.parametrize(
    "handler",
    [
        listing(),
        answering(404, "no such path"),
        answering(200, "<html>"),
        answering(200, "[]"),
        answering(200, '{"data": [1]}'),
        answering(500, "broken"),
        answering(302, "", Location="https://login.example/"),
    ],
)
async def test_what_tells_nothing_is_no_doubt(serve: Serve, handler: Handler) -> None:
    """Many servers have no list of models, or a strange one: then the first chat will tell."""
    assert await doubt(ModelServer(await serve(handler), "m", "k")) is None


async def test_a_refused_key_is_told_without_the_key() -> None:
    """A wrong key is told before the first chat, and the line does not repeat it."""

    async def models(request: web.Request) -> web.Response:
        return web.Response(status=401, text=request.headers["Authorization"])

    app = web.Application()
    app.router.add_get("/v1/models", models)
    async with TestServer(app) as server:
        told = await doubt(ModelServer(str(server.make_url("/v1")), "m", "sk-wrong-key"))

    assert told is not None
    assert "--api-key-env" in told
    assert "sk-wrong-key" not in told


async def test_nobody_there_is_told() -> None:
    """A local server that was not started yet."""
    told = await doubt(ModelServer(f"http://127.0.0.1:{closed_port()}/v1", "m", "k"))

    assert told is not None
    assert "nothing answers" in told


async def test_https_to_a_plain_port_is_told(serve: Serve) -> None:
    """The commonest slip with a local server: https for http."""
    url = (await serve(listing("m"))).replace("http://", "https://")

    assert "https" in str(await doubt(ModelServer(url, "m", "k")))


async def test_a_silent_server_is_not_waited_for(serve: Serve) -> None:
    """A server that says nothing costs the limit and raises no doubt; a cancel ends the wait."""
    reached = asyncio.Event()

    async def silent(request: web.Request) -> web.Response:
        reached.set()
        await asyncio.Event().wait()
        return web.Response()

    endpoint = ModelServer(await serve(silent), "m", "k")
    asking: asyncio.Task[Any] = asyncio.create_task(doubt(endpoint, limit=60))
    await reached.wait()
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await doubt(endpoint, limit=0.05) is None


async def test_the_scripted_model_passes_its_own_check() -> None:
    """The built-in model lists itself."""
    model = ScriptedModel()
    await model.start()
    try:
        assert await doubt(ModelServer(model.base_url, MODEL, model.api_key)) is None
    finally:
        await model.close()


async def test_a_key_in_the_servers_place_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--llm http://sk-...`: the line that says that nothing answers there does not say where."""
    key = "zx9kq93hfLmT7wPbN2vRc8sYd4gJ6aE"
    pulse = Pulse.create({})
    pulse.recovery.redactor.add_url(f"http://{key}")
    await _tell_doubts(ModelServer(f"http://{key}", "m", "k"), pulse.recovery.redactor.redact)
    told = capsys.readouterr().err
    assert key not in told
