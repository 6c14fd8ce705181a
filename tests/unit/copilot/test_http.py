"""The middleware on a real aiohttp server: hang-ups, bodies, keys, and routes that block."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from backend.aio import faults
from backend.copilot.http import HttpSeam, RequestInfo, current_request
from backend.copilot.llm_routes import BLOCKING, BlockingRoutes
from backend.copilot.seam import CopilotModules
from backend.error_handling import Redactor
from tests.support.leaks import no_leaks
from tests.support.net import until

CHAT = "/api/chat/invoke"
BODY: dict[str, Any] = {"session_id": "s1", "messages": [{"role": "user", "content": "hi"}], "ext": []}
ROOT = "custom_nodes_x_http_test"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Chats:
    """Notes which requests were closed, and can be slow or broken at it."""

    def __init__(self) -> None:
        self.closed: list[Any] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.cancelled = 0
        self.error: Exception | None = None

    async def close_request(self, request: object) -> None:
        """What the registry does when a request has ended."""
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.closed.append(request)
        if self.error is not None:
            raise self.error


class World:
    """A server with the middleware and handlers of the test's choice."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.chats = Chats()
        self.redactor = Redactor()
        self.infos: list[RequestInfo | None] = []
        self.pulse = SimpleNamespace(
            publish=self.publish,
            recovery=SimpleNamespace(redactor=self.redactor),
            streams=None,
            chats=self.chats,
        )
        self.seam = HttpSeam(cast(Any, self.pulse))
        self.runner: web.AppRunner | None = None
        self.client: aiohttp.ClientSession | None = None
        self.port = 0

    def publish(self, type_: str, data: dict[str, Any]) -> None:
        """The bus."""
        assert "http.request" == type_
        self.events.append(data)

    @property
    def statuses(self) -> list[int]:
        """The status of each http.request."""
        return [event["status"] for event in self.events]

    async def start(
        self, *routes: tuple[str, str, Handler], after: Callable[[web.Application], None] | None = None
    ) -> World:
        """Listen, with (method, path, handler) each at its path and under /api, as ComfyUI does it."""
        app = web.Application()
        self.seam.install(app)
        if after is not None:
            after(app)
        for method, path, handler in routes:
            app.router.add_route(method, path, handler)
            app.router.add_route(method, f"/api{path}", handler)
        self.runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.port = self.runner.addresses[0][1]
        self.client = aiohttp.ClientSession(f"http://127.0.0.1:{self.port}")
        return self

    async def stop(self) -> None:
        """Stop the client and the server."""
        if self.client is not None:
            await self.client.close()
        if self.runner is not None:
            await self.runner.cleanup()
        await self.seam.aclose()

    async def post(self, path: str = CHAT, body: Any = BODY, **how: Any) -> tuple[int, str]:
        """Status and text of a POST; a body of bytes is sent as it is."""
        assert self.client is not None
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.client.post(path, data=data, **how) as response:
            return response.status, await response.text()

    async def get(self, path: str, **how: Any) -> tuple[int, str]:
        """Status and text of a GET."""
        assert self.client is not None
        async with self.client.get(path, **how) as response:
            return response.status, await response.text()

    async def raw(self) -> asyncio.StreamWriter:
        """A connection of our own with a chat request sent, for rude goodbyes."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        data = json.dumps(BODY).encode()
        writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        return writer


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A world that is stopped after the test."""
    world = World()
    yield world
    await world.stop()


class Staller:
    """A chat handler that begins to stream and then waits for ever."""

    def __init__(self, before: bytes = b'{"text": "a"}\n') -> None:
        self.before = before
        self.started = asyncio.Event()
        self.cancels = 0
        self.ends = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if self.before:
            await response.write(self.before)
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancels += 1
            raise
        finally:
            self.ends += 1
        return response


async def answer(request: web.Request) -> web.Response:
    """A handler that answers."""
    return web.json_response({"info": getattr(current_request.get(), "language", None)})


def leave(writer: asyncio.StreamWriter, how: str) -> None:
    """Hang up."""
    sock = cast(socket.socket, writer.get_extra_info("socket"))
    if how == "reset":
        writer.transport.abort()
    elif how == "half-close":
        sock.shutdown(socket.SHUT_WR)
    else:
        writer.close()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
async def test_a_hang_up_in_a_stall_cancels_the_handler_once(
    world: World, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """The page goes away while the model is silent: the handler ends, its chats are closed, in silence."""
    staller = Staller()
    await world.start(("POST", CHAT, staller))
    async with no_leaks():
        writer = await world.raw()
        await staller.started.wait()
        leave(writer, how)
        await until(lambda: world.events, what="the request's end")
        writer.close()

    assert (1, 1) == (staller.cancels, staller.ends)
    assert [499] == world.statuses
    assert 1 == len(world.chats.closed)
    assert [] == [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_a_hang_up_before_the_first_byte(world: World) -> None:
    """The same if nothing was written yet."""
    started = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        started.set()
        await asyncio.Event().wait()
        return web.Response()

    await world.start(("POST", CHAT, handler))
    async with no_leaks():
        writer = await world.raw()
        await started.wait()
        writer.close()
        await until(lambda: world.events)

    assert [499] == world.statuses


async def test_a_handler_that_swallows_the_cancel_ends_in_peace(world: World) -> None:
    """A handler that answers in spite of the cancel is not cancelled again, and no cancel is left behind."""
    cancelling: list[int] = []
    started = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        started.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        for _ in range(3):
            await asyncio.sleep(0)
        return web.Response()

    def after(app: web.Application) -> None:
        @web.middleware
        async def look(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            finally:
                task = cast(Any, asyncio.current_task())
                cancelling.append(task.cancelling() if hasattr(task, "cancelling") else 0)

        app.middlewares.insert(0, look)

    await world.start(("POST", CHAT, handler), after=after)
    writer = await world.raw()
    await started.wait()
    writer.close()
    await until(lambda: cancelling)

    assert [0] == cancelling
    assert [200] == world.statuses


async def test_writing_to_a_client_that_is_gone_is_no_traceback(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that finds out by a failed write ends without noise."""
    left = asyncio.Event()
    started = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        started.set()
        await left.wait()
        for _ in range(3):
            await asyncio.sleep(0)
        while True:
            await response.write(b"x" * 1000)

    await world.start(("POST", CHAT, handler))
    writer = await world.raw()
    await started.wait()
    writer.transport.abort()
    connections = cast(web.AppRunner, world.runner).server
    assert connections is not None
    await until(lambda: not connections.connections)
    left.set()
    await until(lambda: world.events)

    assert [499] == world.statuses
    assert [] == [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_a_connection_error_of_the_handlers_own_is_not_hidden(world: World) -> None:
    """The client is there, the handler's database is not: that is a 500 as ever."""

    async def handler(request: web.Request) -> web.StreamResponse:
        raise ConnectionResetError("database")

    await world.start(("POST", CHAT, handler))

    assert 500 == (await world.post())[0]
    assert [500] == world.statuses
    assert 1 == len(world.chats.closed)


async def test_a_foreign_cancel_stays_one(world: World) -> None:
    """The server shuts down during a chat: the handler's cancel goes through, the chats are closed."""
    staller = Staller()
    await world.start(("POST", CHAT, staller))
    writer = await world.raw()
    await staller.started.wait()
    assert world.runner is not None
    await world.runner.cleanup()
    world.runner = None

    assert 1 == staller.cancels
    assert 1 == len(world.chats.closed)
    writer.close()


async def test_closing_the_chats_is_not_cancelled_with_the_handler(world: World) -> None:
    """A cancel that comes while the chats are closed does not become a second cancel of the run."""
    world.chats.hold.clear()
    await world.start(("POST", CHAT, answer))
    writer = await world.raw()
    closing = world.seam._closing
    await until(lambda: len(closing) == 1)
    assert world.runner is not None
    cleanup = asyncio.create_task(world.runner.cleanup())
    await cleanup
    world.runner = None
    world.chats.hold.set()
    await world.seam.aclose()

    assert 0 == world.chats.cancelled
    assert 1 == len(world.chats.closed)
    writer.close()


async def test_a_chat_passes_unchanged(world: World) -> None:
    """Status, headers and body of a chat are the handler's; the chat may know language and session."""

    async def handler(request: web.Request) -> web.StreamResponse:
        world.infos.append(current_request.get())
        response = web.StreamResponse(headers={"X-Own": "1"})
        await response.prepare(request)
        await response.write(b"one\n" * 100)
        assert BODY == await request.json()
        return response

    await world.start(("POST", CHAT, handler))
    result = await world.post(headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    (info,) = world.infos

    assert (200, "one\n" * 100) == result
    assert info is not None
    assert ("zh", "s1", "chat") == (info.language, info.session, info.kind)
    assert [info] == world.chats.closed
    (event,) = world.events
    assert {"method": "POST", "route": CHAT, "status": 200} == {k: event[k] for k in event if k != "seconds"}
    assert event["seconds"] >= 0


async def test_requests_on_one_connection_do_not_see_each_other(world: World) -> None:
    """Two chats over one kept-alive connection have two infos, and other requests have none."""

    async def chat(request: web.Request) -> web.Response:
        world.infos.append(current_request.get())
        return web.Response()

    async def other(request: web.Request) -> web.Response:
        world.infos.append(current_request.get())
        return web.Response()

    await world.start(("POST", CHAT, chat), ("GET", "/other", other))
    await world.post()
    await world.get("/other")
    await world.post(f"/api{CHAT}")

    first, between, second = world.infos
    assert between is None
    assert first is not second
    assert [CHAT, CHAT] == [event["route"] for event in world.events]


async def test_other_routes_pass_untouched(world: World) -> None:
    """A request that is not Copilot's is no event and its body is not read; another method neither."""

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    await world.start(("POST", "/prompt", echo), ("GET", CHAT, answer))

    assert (200, "not json") == await world.post("/prompt", b"not json")
    assert 200 == (await world.get(CHAT))[0]
    assert ([], []) == (world.events, world.chats.closed)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (CHAT, b"{broken", "JSON"),
        (CHAT, b"", "JSON"),
        (CHAT, b"\xff\xfe\x00", "JSON"),
        (CHAT, b"[" * 100_000, "JSON"),
        (CHAT, [], "object"),
        (CHAT, {"session_id": 1.5, "ext": []}, "session_id"),
        ("/api/debug-agent", {"session_id": ["s"]}, "session_id"),
        ("/api/debug-agent", {"session_id": "s" * 501}, "500 characters"),
        (CHAT, {"session_id": "s" * 500_000, "ext": []}, "500 characters"),
        (CHAT, {"session_id": "half an emoji \ud83d", "ext": []}, "session_id"),
        (CHAT, {"session_id": "会话", "ext": []}, "session_id"),
        (CHAT, {"session_id": "s\r\nX-Key: 1", "ext": []}, "session_id"),
        ("/api/debug-agent", {"session_id": "s\x7f"}, "session_id"),
        ("/api/debug-agent", {"session_id": "blank "}, "session_id"),
        (CHAT, {"session_id": "s"}, "ext"),
        (CHAT, {"ext": None}, "ext"),
        (CHAT, {"ext": {"type": "x"}}, "ext"),
        (CHAT, {"ext": ["x"]}, "ext"),
        (CHAT, {"ext": [{"data": []}]}, "ext"),
        (CHAT, {"ext": [{"type": "model_select", "data": {"a": 1}}]}, "model_select"),
        (CHAT, {"ext": [], "messages": None}, "messages"),
        (CHAT, {"ext": [], "messages": ["x"]}, "messages"),
        (f"/api{CHAT}", b"x", "JSON"),
        ("/api/debug-agent", b"x", "JSON"),
        ("/api/debug-agent", {"workflow_data": [1]}, "workflow_data"),
    ],
)
async def test_a_bad_body_gets_a_sentence(world: World, path: str, body: Any, words: str) -> None:
    """What would cut the connection or end in a bare 500 is refused with JSON that says what is wrong."""
    handler = Staller()
    await world.start(("POST", CHAT, handler), ("POST", "/api/debug-agent", handler))
    status, text = await world.post(path, body)

    assert 400 == status
    assert words in json.loads(text)["error"]
    assert not handler.started.is_set()
    assert [400] == world.statuses


@pytest.mark.parametrize(
    ("charset", "words"),
    [("nope", "as its headers say"), ("base64", "as its headers say"), ("utf-16", "JSON"), ("utf-7", "session_id")],
)
async def test_a_body_is_read_as_its_charset_says(world: World, charset: str, words: str) -> None:
    """The handler reads it so; what that cannot read, or reads as something else, is seen before."""
    asked: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request)
        return web.json_response(await request.json())

    await world.start(("POST", CHAT, handler))
    body = b'{"session_id":"+AOk-","ext":[] }'
    status, text = await world.post(CHAT, body, headers={"Content-Type": f"application/json; charset={charset}"})

    assert 400 == status
    assert words in json.loads(text)["error"]
    assert not asked


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"ext": []}),
        (CHAT, {"session_id": "", "ext": []}),
        (CHAT, {"session_id": "my session #1", "ext": []}),
        (CHAT, {"ext": [{"type": "model_select", "data": ["m"]}, {"type": "model_select"}, {"type": 3}]}),
        ("/api/debug-agent", {}),
        ("/api/debug-agent", {"workflow_data": {"1": {}}}),
    ],
)
async def test_what_copilot_takes_is_let_through(world: World, path: str, body: Any) -> None:
    """The check refuses nothing that works without it."""
    await world.start(("POST", CHAT, answer), ("POST", "/api/debug-agent", answer))

    assert 200 == (await world.post(path, body))[0]


async def test_a_body_is_read_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler gets what we have read, and an object of its own when it reads again."""
    read: list[Any] = []
    bodies: list[Any] = []

    def counted(*args: Any, **options: Any) -> Any:
        read.append(args)
        return loads(*args, **options)

    loads = json.loads

    async def handler(request: web.Request) -> web.Response:
        bodies.extend([await request.json(), await request.json(), await request.json(loads=loads)])
        return web.Response(text="{}")

    await world.start(("POST", CHAT, handler))
    monkeypatch.setattr("backend.streams.wire.json.loads", counted)
    assert 200 == (await world.post())[0]
    assert [BODY, BODY, BODY] == bodies
    assert bodies[0] is not bodies[1]
    assert 1 == len(read)


async def test_a_body_that_is_not_what_its_headers_say_gets_a_sentence(world: World) -> None:
    """It is no fault of ours, and no guard has anything to do."""
    await world.start(("POST", CHAT, answer))
    before = faults()
    status, text = await world.post(body=b"no gzip", headers={"Content-Encoding": "gzip"})

    assert 400 == status
    assert "headers" in json.loads(text)["error"]
    assert before == faults()


async def test_a_body_that_is_too_large_is_aiohttps_own_answer(world: World) -> None:
    """The limit of the application still gives its 413."""
    await world.start(("POST", CHAT, answer))

    assert world.client is not None
    async with world.client.post(CHAT, data=io.BytesIO(b"x" * 2**21)) as response:
        assert 413 == response.status


async def test_a_client_that_leaves_while_it_sends(world: World) -> None:
    """Half a body and gone: the handler is not called and nothing is left."""
    staller = Staller()
    await world.start(("POST", CHAT, staller))
    async with no_leaks():
        _, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode() + b'{"ext"')
        await writer.drain()
        connections = cast(web.AppRunner, world.runner).server
        assert connections is not None
        await until(lambda: connections.connections)
        writer.transport.abort()
        await until(lambda: not connections.connections)

    assert not staller.started.is_set()


async def test_the_keys_of_a_request_are_known_before_anything_is_logged(world: World) -> None:
    """Whatever the handler logs first, the redactor already knows the keys in the headers."""
    logged: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        logged.append(world.redactor.redact("config: " + " ".join(request.headers.values())))
        return web.Response()

    headers = {
        "Openai-Api-Key": "zz-first-0001-value",
        "Workflow-LLM-Api-Key": "zz-second-002-value",
        "Authorization": "Bearer zz-third-0003-value",
    }
    await world.start(("POST", CHAT, handler))
    await world.post(headers=headers)

    assert "config" in logged[0]
    assert not any(word in logged[0] for word in ("zz-first", "zz-second", "zz-third"))


async def test_failures_of_ours_do_not_reach_the_answer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A bus, a redactor and a registry that raise cost a line in the log and nothing else."""

    def broken(*_: Any) -> None:
        raise RuntimeError("ours")

    world.chats.error = RuntimeError("ours")
    world.pulse.publish = broken
    world.pulse.recovery.redactor = SimpleNamespace(add=broken)
    await world.start(("POST", CHAT, answer))

    assert 200 == (await world.post(headers={"Authorization": "Bearer x-1234567"}))[0]
    for words in ("keys of a request", "could not be closed", "figures of requests"):
        assert words in caplog.text


async def test_a_handlers_http_error_is_its_status(world: World) -> None:
    """A handler that raises an HTTP error answers with it."""

    async def handler(request: web.Request) -> web.Response:
        raise web.HTTPConflict(text="busy")

    await world.start(("POST", CHAT, handler), ("GET", "/api/model-paths", handler))

    assert (409, "busy") == await world.post()
    assert (409, "busy") == await world.get("/api/model-paths")
    assert [409, 409] == world.statuses


async def test_install_twice_and_detach(world: World) -> None:
    """The middleware stands once in the list; detached it is out, or lets everything pass."""
    app = web.Application()
    world.seam.install(app)
    world.seam.install(app)
    assert 1 == len(app.middlewares)
    world.seam.detach()
    assert 0 == len(app.middlewares)

    world.seam.attach(CopilotModules(ROOT))
    await world.start(("POST", CHAT, answer))
    world.seam.detach()
    assert 200 == (await world.post(body=b"anything"))[0]
    assert [] == world.events


# -- routes that block ---------------------------------------------------------------------------


def copilots(handler: Any, module: str = "backend.controller.llm_api") -> Any:
    """`handler` as if it stood in Copilot."""
    handler.__module__ = f"{ROOT}.{module}"
    return handler


class Blocker:
    """Makes handlers that block their thread until the gate opens."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.threads: list[threading.Thread] = []

    def handler(self) -> Any:
        """A new handler of Copilot's."""

        async def list_models(request: web.Request) -> web.Response:
            self.threads.append(threading.current_thread())
            self.gate.wait(10)
            key = request.headers.get("Openai-Api-Key")
            return web.json_response({"key": key, "q": request.query_string})

        return copilots(list_models)


@pytest.mark.parametrize("path", [*BLOCKING, *(f"/api{path}" for path in BLOCKING)])
async def test_a_blocking_route_leaves_the_loop_alone(world: World, path: str) -> None:
    """While Copilot waits for somebody's server, ComfyUI answers; the reply is the handler's."""
    blocker = Blocker()
    route = path if path in BLOCKING else path[4:]
    world.seam.attach(CopilotModules(ROOT))
    await world.start(("GET", route, blocker.handler()), ("GET", "/other", answer))
    waiting = asyncio.create_task(world.get(f"{path}?keyword=a", headers={"Openai-Api-Key": "k"}))
    await until(lambda: blocker.threads)

    assert 200 == (await world.get("/other"))[0]
    blocker.gate.set()
    assert (200, {"key": "k", "q": "keyword=a"}) == ((r := await waiting)[0], json.loads(r[1]))
    assert threading.main_thread() not in blocker.threads
    assert [(route, 200)] == [(e["route"], e["status"]) for e in world.events]


@pytest.mark.parametrize(("language", "words"), [("en", "did not answer within"), ("zh", "没有响应")])
async def test_a_server_that_never_answers_gets_a_sentence(world: World, language: str, words: str) -> None:
    """After the limit the page is told, in the shape that it reads; the thread is left to itself."""
    blocker = Blocker()
    world.seam.attach(CopilotModules(ROOT))
    world.seam._blocking.limit = 0.01
    await world.start(("GET", "/api/model_config", blocker.handler()), ("GET", "/verify_openai_key", blocker.handler()))
    models = await world.get("/api/model_config", headers={"Accept-Language": language})
    verdict = await world.get("/verify_openai_key", headers={"Accept-Language": language})
    blocker.gate.set()

    assert 504 == models[0]
    assert words in json.loads(models[1])["error"]
    assert 200 == verdict[0]
    assert json.loads(verdict[1])["success"] is False
    assert words in json.loads(verdict[1])["message"]


async def test_too_many_of_them_are_refused(world: World) -> None:
    """When eight calls hang, the ninth is told so at once."""
    blocker = Blocker()
    world.seam.attach(CopilotModules(ROOT))
    await world.start(("GET", "/verify_openai_key", blocker.handler()))
    hanging = [asyncio.create_task(world.get("/verify_openai_key")) for _ in range(8)]
    await until(lambda: len(blocker.threads) == 8)
    status, text = await world.get("/verify_openai_key")
    blocker.gate.set()
    await asyncio.gather(*hanging)

    assert (200, False) == (status, json.loads(text)["success"])
    assert "still waiting" in json.loads(text)["message"]


async def test_a_handler_that_needs_the_real_loop_gets_it(world: World) -> None:
    """A fork's handler that fails in a thread runs on the loop, at once and from then on."""
    loop = asyncio.get_running_loop()
    tried: list[bool] = []

    async def list_models(request: web.Request) -> web.Response:
        tried.append(asyncio.get_running_loop() is loop)
        if not tried[-1]:
            raise RuntimeError("attached to a different loop")
        return web.json_response({})

    world.seam.attach(CopilotModules(ROOT))
    await world.start(("GET", "/api/model_config", copilots(list_models)))

    assert 200 == (await world.get("/api/model_config"))[0]
    assert 200 == (await world.get("/api/model_config"))[0]
    assert [False, True, True] == tried


async def test_an_http_error_in_a_thread_is_the_answer(world: World) -> None:
    """A redirect or a 404 that the handler raises is no reason to ask twice."""
    calls: list[int] = []

    async def list_models(request: web.Request) -> web.Response:
        calls.append(1)
        raise web.HTTPNotFound(text="nothing")

    world.seam.attach(CopilotModules(ROOT))
    await world.start(("GET", "/api/model_config", copilots(list_models)))

    assert (404, "nothing") == await world.get("/api/model_config")
    assert [1] == calls


@pytest.mark.parametrize("why", ["other plugin", "other copilot", "behind a middleware"])
async def test_only_copilots_own_handlers_leave_the_loop(world: World, why: str) -> None:
    """Another plugin's handler at such a path, or one behind another's middleware, stays where it is."""
    threads: list[threading.Thread] = []

    async def list_models(request: web.Request) -> web.Response:
        threads.append(threading.current_thread())
        return web.json_response({})

    @web.middleware
    async def foreign(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await handler(request)

    if why != "other plugin":
        copilots(list_models)
    world.seam.attach(CopilotModules("another_root" if why == "other copilot" else ROOT))
    await world.start(
        ("GET", "/api/model_config", list_models),
        after=(lambda app: app.middlewares.append(foreign)) if why == "behind a middleware" else None,
    )
    await world.get("/api/model_config")

    assert [threading.main_thread()] == threads
    assert [200] == world.statuses


async def test_a_cancelled_wait_leaves_the_thread() -> None:
    """A request that is cancelled while its handler blocks ends at once."""
    blocker = Blocker()
    handler = blocker.handler()
    routes = BlockingRoutes()
    routes.roots.add(ROOT)
    request = cast(Any, SimpleNamespace(match_info=SimpleNamespace(handler=handler), headers={}))
    task = asyncio.create_task(routes.run(request, handler, "/api/model_config"))
    await until(lambda: blocker.threads)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    blocker.gate.set()


@pytest.mark.parametrize("path", [CHAT, "/api/download-model"])
async def test_a_handler_that_returns_nothing_is_aiohttps_to_blame(
    world: World, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """The author of the handler reads what he forgot, and no line of our file."""

    async def handler(request: web.Request) -> Any:
        return None

    await world.start(("POST", path, handler))
    status, _ = await world.post(path=path)

    assert 500 == status
    assert [500] == world.statuses
    assert "copilot/http.py" not in caplog.text
