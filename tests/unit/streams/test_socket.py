"""One WebSocket of the streams, on a real server with a handler of the test's: limits, and what is not asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from backend.streams import routes
from backend.streams import socket as stream_socket
from tests.support.net import PATIENCE, until

from .test_tap import BODY, ID, World, named, row

PROTOCOL = "copilot-pulse.v1"


class Handler:
    """A chat's handler that speaks when it is told, and notes its end."""

    def __init__(self) -> None:
        self.go, self.ended = asyncio.Event(), asyncio.Event()
        self.asked: list[web.Request] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            await self.go.wait()
            await response.write(row("hi"))
            await response.write_eof()
        finally:
            self.ended.set()
        return response


@pytest.fixture
async def handler() -> Handler:
    """A chat."""
    return Handler()


@pytest.fixture
async def world(handler: Handler) -> AsyncIterator[World]:
    """A server."""
    async with World(handler) as made:
        yield made


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


def socket_of(world: World, http: aiohttp.ClientSession) -> Any:
    """An open socket of session s."""
    return http.ws_connect(f"{world.base}/ws/chat/s", protocols=(PROTOCOL,))


def invoke(**more: Any) -> str:
    """The frame that asks."""
    return json.dumps({"type": "invoke", "stream": ID, "body": BODY, **more})


async def closed(ws: Any) -> tuple[int, str]:
    """Read until the server closes: its code and reason."""
    while (message := await ws.receive(PATIENCE)).type is aiohttp.WSMsgType.TEXT:
        pass
    assert message.type is aiohttp.WSMsgType.CLOSE
    return message.data, message.extra


async def state(ws: Any) -> dict[str, Any]:
    """Read until a state comes."""
    while True:
        frame = json.loads((await ws.receive(PATIENCE)).data)
        if isinstance(frame, dict) and frame["type"] == "state":
            return frame


@pytest.mark.parametrize("pings", [False, True])
async def test_a_socket_that_reads_nothing_is_closed(
    world: World, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, pings: bool
) -> None:
    """Neither the heartbeat's pongs nor the client's pings keep it open; our code is what is counted."""
    # A pong has half of the heartbeat to come, on a slow machine, too; there are two of them before the limit.
    monkeypatch.setattr(routes, "HEARTBEAT", 60.0 if pings else 2.0)
    monkeypatch.setattr(stream_socket, "IDLE_LIMIT", 1.5 if pings else 5.0)
    monkeypatch.setattr(stream_socket, "BURST", 10**9)
    async with socket_of(world, http) as ws:
        if pings:
            sent = 0
            while not ws.closed and sent < 100_000:
                await ws.send_str(json.dumps({"type": "ping", "t": sent}))
                message = await ws.receive(PATIENCE)
                if message.type is aiohttp.WSMsgType.CLOSE:
                    break
                sent += 1
        else:
            message = await ws.receive(PATIENCE)
            assert "hello" == json.loads(message.data)["type"]
            message = await ws.receive(PATIENCE)

    assert (aiohttp.WSMsgType.CLOSE, 4408) == (message.type, message.data)
    await until(lambda: world.streams.closed == {"4408": 1})


async def test_a_socket_that_reads_is_not_idle(
    world: World, handler: Handler, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer may be silent for as long as it likes; the time counts from its end."""
    monkeypatch.setattr(stream_socket, "IDLE_LIMIT", 0.1)
    looks = 0
    look = stream_socket.Socket._look

    def counted(self: stream_socket.Socket) -> None:
        nonlocal looks
        looks += 1
        look(self)

    monkeypatch.setattr(stream_socket.Socket, "_look", counted)
    async with socket_of(world, http) as ws:
        await ws.send_str(invoke())
        await until(lambda: looks > 5)
        assert not ws.closed
        handler.go.set()
        assert 4408 == (await closed(ws))[0]

    assert "completed" == world.stream().relay.outcome


async def test_a_pause_is_limited_also_while_the_model_is_silent(
    world: World, handler: Handler, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever pauses and goes away does not pin the chat: the socket is closed, and the grace period begins."""
    monkeypatch.setattr(stream_socket, "PAUSE_LIMIT", 0.1)
    async with socket_of(world, http) as ws:
        await ws.send_str(invoke())
        await ws.send_str(json.dumps({"type": "pause", "stream": ID}))
        code, reason = await closed(ws)
        await asyncio.wait_for(handler.ended.wait(), PATIENCE)

    assert (4408, True) == (code, "paused" in reason)
    await until(lambda: world.streams.closed == {"4408": 1})


async def test_a_pause_that_ends_in_time_is_forgotten(
    world: World, handler: Handler, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a resume nothing closes the socket, and the answer is whole."""
    timers: list[asyncio.TimerHandle] = []
    pause = stream_socket.Reading.pause

    def noted(self: stream_socket.Reading, paused: bool) -> None:
        pause(self, paused)
        if self._limit is not None:
            timers.append(self._limit)

    monkeypatch.setattr(stream_socket.Reading, "pause", noted)
    async with socket_of(world, http) as ws:
        await ws.send_str(invoke())
        for kind in ("pause", "pause", "resume"):
            await ws.send_str(json.dumps({"type": kind, "stream": ID}))
        await until(lambda: timers and timers[-1].cancelled())
        assert timers[0] is timers[1]
        handler.go.set()
        while "outcome" not in (await ws.receive(PATIENCE)).data:
            pass

    assert "hi" == world.stream().relay.text


async def test_what_would_be_answered_otherwise_over_http_is_asked_there(
    http: aiohttp.ClientSession,
) -> None:
    """A door that knows the browser and not us: the page hears that nothing was asked, and the name is free."""
    chat = Handler()
    chat.go.set()
    world = World(chat)

    @web.middleware
    async def door(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method == "POST" and request.headers.get("X-Browser") != "1":
            return web.Response(status=401, text="log in first")
        response: web.StreamResponse = await handler(request)
        return response

    world.app.middlewares.insert(0, door)
    async with world:
        async with socket_of(world, http) as ws:
            await ws.send_str(invoke())
            told = await state(ws)
        async with http.post(world.url, json=BODY, headers={**named(), "X-Browser": "1"}) as response:
            data = await response.read()

    assert ("refused", ID) == (told["state"], told["stream"])
    assert "401" in told["reason"]
    assert b"completed" in data
    assert 1 == len(chat.asked)


async def test_a_header_that_is_not_carried(world: World, handler: Handler, http: aiohttp.ClientSession) -> None:
    """It is neither dropped without a word nor smuggled in: the page asks over HTTP."""
    async with socket_of(world, http) as ws:
        await ws.send_str(invoke(headers={"Cookie: admin=1; x": "y"}))
        told = await state(ws)

    assert ("refused", True) == (told["state"], "Cookie" in told["reason"])
    assert [] == handler.asked


@pytest.mark.parametrize("name", ["_begin", "_forward", "_ask"])
async def test_what_breaks_in_a_socket_leaves_no_page_waiting(
    world: World, handler: Handler, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The socket is closed, and over the next one the page asks or reads on under the same name."""

    def broken(self: Any, *args: Any) -> Any:
        monkeypatch.undo()
        raise KeyError(name)

    async def broken_later(self: Any, *args: Any) -> Any:
        broken(self)

    monkeypatch.setattr(stream_socket.Socket, name, broken if name == "_begin" else broken_later)
    handler.go.set()
    async with socket_of(world, http) as ws:
        await ws.send_str(invoke())
        assert 1011 == (await closed(ws))[0]
    async with socket_of(world, http) as ws:
        if name == "_forward":
            await ws.send_str(json.dumps({"type": "read", "stream": ID, "after": 0}))
        else:
            await ws.send_str(invoke())
        while "outcome" not in (await ws.receive(PATIENCE)).data:
            pass

    assert ("hi", 1) == (world.stream().relay.text, len(handler.asked))


async def test_a_frame_s_body_is_parsed_once(
    world: World, handler: Handler, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the frame; the request that this process makes to itself is known by its bytes. Another's is not."""
    parsed: list[Any] = []
    loads = json.loads

    def counted(data: Any, *args: Any, **options: Any) -> Any:
        parsed.append(data)
        return loads(data, *args, **options)

    handler.go.set()
    async with socket_of(world, http) as ws:
        await ws.receive(PATIENCE)
        monkeypatch.setattr("backend.streams.wire.json.loads", counted)
        await ws.send_str(invoke())
        while "outcome" not in (await ws.receive(PATIENCE)).data:
            pass
    assert "hi" == world.stream().relay.text
    assert [] == [data for data in parsed if "session_id" in str(data)]
    assert BODY == await handler.asked[0].json()
    assert world.pulse.streams.asked(ID, json.dumps(BODY).encode()) is None


async def test_a_body_goes_on_as_it_came(world: World, http: aiohttp.ClientSession, handler: Handler) -> None:
    """To the letter: to read megabytes and write them out again would hold everybody up for as long again."""
    body = '{ "session_id":"s",\t"messages":[], "ext":[],"x": "\\u0041\\ud83d\u00e9", "n":1.0e2 }'
    async with socket_of(world, http) as ws:
        await ws.send_str(f'{{"type":"invoke","stream":"{ID}","body" : {body} ,"headers":{{}}}}')
        await until(lambda: bool(handler.asked))

        assert body == await handler.asked[0].text()
        handler.go.set()
        await asyncio.wait_for(handler.ended.wait(), PATIENCE)


async def test_codes_that_a_page_makes_up_are_counted_as_one(world: World, http: aiohttp.ClientSession) -> None:
    """Each would stay for good otherwise, here and as a series of its own in Prometheus."""
    for code in (1000, 4400, 3000, 3001, 4999):
        async with socket_of(world, http) as ws:
            await ws.receive(PATIENCE)
            await ws.close(code=code)
    await until(lambda: sum(world.streams.closed.values()) == 5, what="the ends of all sockets")

    assert {"1000": 1, "4400": 1, "other": 3} == world.streams.snapshot()["sockets_closed"]
