"""The middleware on a real aiohttp server: hang-ups, bodies and keys."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from backend.aio import faults
from backend.copilot.http import current_request
from backend.copilot.seam import CopilotModules
from tests.support.http_world import BODY, CHAT, ROOT, HttpWorld, Staller, answer
from tests.support.leaks import no_leaks
from tests.support.net import until


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
    world: HttpWorld, caplog: pytest.LogCaptureFixture, how: str
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


async def test_a_hang_up_before_the_first_byte(world: HttpWorld) -> None:
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


async def test_a_handler_that_swallows_the_cancel_ends_in_peace(world: HttpWorld) -> None:
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


async def test_writing_to_a_client_that_is_gone_is_no_traceback(
    world: HttpWorld, caplog: pytest.LogCaptureFixture
) -> None:
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


async def test_a_connection_error_of_the_handlers_own_is_not_hidden(world: HttpWorld) -> None:
    """The client is there, the handler's database is not: that is a 500 as ever."""

    async def handler(request: web.Request) -> web.StreamResponse:
        raise ConnectionResetError("database")

    await world.start(("POST", CHAT, handler))

    assert 500 == (await world.post())[0]
    assert [500] == world.statuses
    assert 1 == len(world.chats.closed)


async def test_a_foreign_cancel_stays_one(world: HttpWorld) -> None:
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


async def test_closing_the_chats_is_not_cancelled_with_the_handler(world: HttpWorld) -> None:
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


async def test_a_chat_passes_unchanged(world: HttpWorld) -> None:
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


async def test_requests_on_one_connection_do_not_see_each_other(world: HttpWorld) -> None:
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


async def test_other_routes_pass_untouched(world: HttpWorld) -> None:
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
async def test_a_bad_body_gets_a_sentence(world: HttpWorld, path: str, body: Any, words: str) -> None:
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
async def test_a_body_is_read_as_its_charset_says(world: HttpWorld, charset: str, words: str) -> None:
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
async def test_what_copilot_takes_is_let_through(world: HttpWorld, path: str, body: Any) -> None:
    """The check refuses nothing that works without it."""
    await world.start(("POST", CHAT, answer), ("POST", "/api/debug-agent", answer))

    assert 200 == (await world.post(path, body))[0]


async def test_a_body_is_read_once(world: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_body_that_is_not_what_its_headers_say_gets_a_sentence(world: HttpWorld) -> None:
    """It is no fault of ours, and no guard has anything to do."""
    await world.start(("POST", CHAT, answer))
    before = faults()
    status, text = await world.post(body=b"no gzip", headers={"Content-Encoding": "gzip"})

    assert 400 == status
    assert "headers" in json.loads(text)["error"]
    assert before == faults()


async def test_a_body_that_is_too_large_is_aiohttps_own_answer(world: HttpWorld) -> None:
    """The limit of the application still gives its 413."""
    await world.start(("POST", CHAT, answer))

    assert world.client is not None
    async with world.client.post(CHAT, data=io.BytesIO(b"x" * 2**21)) as response:
        assert 413 == response.status


async def test_a_client_that_leaves_while_it_sends(world: HttpWorld) -> None:
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


async def test_the_keys_of_a_request_are_known_before_anything_is_logged(world: HttpWorld) -> None:
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


async def test_failures_of_ours_do_not_reach_the_answer(world: HttpWorld, caplog: pytest.LogCaptureFixture) -> None:
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


async def test_a_handlers_http_error_is_its_status(world: HttpWorld) -> None:
    """A handler that raises an HTTP error answers with it."""

    async def handler(request: web.Request) -> web.Response:
        raise web.HTTPConflict(text="busy")

    await world.start(("POST", CHAT, handler), ("GET", "/api/model-paths", handler))

    assert (409, "busy") == await world.post()
    assert (409, "busy") == await world.get("/api/model-paths")
    assert [409, 409] == world.statuses


async def test_install_twice_and_detach(world: HttpWorld) -> None:
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


@pytest.mark.parametrize("path", [CHAT, "/api/download-model"])
async def test_a_handler_that_returns_nothing_is_aiohttps_to_blame(
    world: HttpWorld, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """The author of the handler reads what he forgot, and no line of our file."""

    async def handler(request: web.Request) -> Any:
        return None

    await world.start(("POST", path, handler))
    status, _ = await world.post(path=path)

    assert 500 == status
    assert [500] == world.statuses
    assert "copilot/http.py" not in caplog.text
