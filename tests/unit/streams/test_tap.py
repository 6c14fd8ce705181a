"""The tap between a handler and the network, on a real server: what the handler may do, and what breaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from backend.copilot.http import HttpSeam
from backend.pulse import Pulse
from backend.streams import routes, tap, wire
from backend.streams.registry import Stream
from backend.streams.routes import Streams
from tests.support.net import PATIENCE, until

PATH = "/api/chat/invoke"
ID = "B" * 22
BODY: dict[str, Any] = {"session_id": "s", "messages": [], "ext": []}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def hang(cancelled: asyncio.Event) -> None:
    """What a handler does that goes on until it is cancelled, and then says so."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled.set()
        raise


class World:
    """A server whose chat handler is the test's."""

    def __init__(self, handler: Handler) -> None:
        self.pulse = Pulse.create({"COPILOT_PULSE_RESUME_GRACE": "0.05"})
        self.seam = HttpSeam(self.pulse)
        self.app = web.Application()
        self.app.router.add_post(PATH, handler)
        self.seam.install(self.app)
        self.streams = Streams(self.pulse.streams)
        self.streams.add_routes(self.app.router)
        self.app.on_shutdown.append(lambda app: self.streams.aclose())
        self.url = self.base = ""

    async def __aenter__(self) -> World:
        self.runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = self.runner.addresses[0][1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.url = self.base + PATH
        return self

    @contextlib.asynccontextmanager
    async def stalled(self, request: str, body: bytes = b"") -> AsyncIterator[asyncio.StreamReader]:
        """A connection that sends a request and takes next to nothing, until it is read."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        head = f"{request} HTTP/1.1\r\nHost: x\r\nX-Copilot-Pulse-Stream: {ID}\r\nX-Copilot-Pulse-Mode: frames\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        try:
            yield reader
        finally:
            writer.close()

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()
        await self.seam.aclose()
        await self.pulse.aclose()

    def stream(self) -> Stream:
        """The stream of the test."""
        return self.pulse.streams.find(ID, "s")

    def frames(self) -> list[dict[str, Any]]:
        """All its frames."""
        reader = self.stream().relay.read()
        found = []
        while (frame := reader.next_nowait()) is not None:
            found.append(frame)
        reader.close()
        return found


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


def named(mode: str = "frames") -> dict[str, str]:
    """The headers of a page that can come back."""
    return {"X-Copilot-Pulse-Stream": ID, "X-Copilot-Pulse-Mode": mode}


def row(text: str, **more: Any) -> bytes:
    """A line as Copilot writes it."""
    return json.dumps({"text": text, "finished": False, "ext": None, **more}).encode() + b"\n"


async def test_lines_in_pieces_and_what_is_no_line(http: aiohttp.ClientSession) -> None:
    """A handler may write as it likes: half lines, several at once, no JSON, nothing at the end."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"User-Api-Key": "given"})
        await response.prepare(request)
        whole = row("a") + row("ab") + b"what?\n" + row("abc")[:-1]
        for start in range(0, len(whole), 7):
            await response.write(whole[start : start + 7])
        await response.write_eof()
        return response

    async with World(handler) as world:
        async with http.post(world.url, json=BODY, headers=named("lines")) as response:
            lines = (await response.read()).splitlines()
            assert "given" == response.headers["User-Api-Key"]
        frames = world.frames()

    assert ["a", "ab", "abc"][-1] == json.loads(lines[-1])["text"]
    assert b"what?" in lines
    assert "given" == frames[0]["headers"]["User-Api-Key"]
    assert "completed" == frames[-1]["outcome"]


async def test_a_handler_that_raises(http: aiohttp.ClientSession) -> None:
    """What was written stays readable, and the end says that it failed."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(row("half"))
        raise RuntimeError("broke")

    async with World(handler) as world:
        with pytest.raises(aiohttp.ClientError):
            async with http.post(world.url, json=BODY, headers=named()) as response:
                await response.read()
        await until(lambda: world.stream().relay.finished)
        frames = world.frames()

    assert "half" == frames[1]["text"]
    assert "failed" == frames[-1]["outcome"]


async def test_a_handler_that_raises_before_it_answers(http: aiohttp.ClientSession) -> None:
    """Nothing was said: the name is free again."""
    calls = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("broke")
        return web.json_response({})

    async with World(handler) as world:
        async with http.post(world.url, json=BODY, headers=named()) as response:
            assert 500 == response.status
        async with http.post(world.url, json=BODY, headers=named()) as response:
            assert 200 == response.status


async def test_a_plain_answer_is_kept_and_sent_as_it_is(http: aiohttp.ClientSession) -> None:
    """An error page reaches both the one who asks and the one who comes back."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "no"}, status=418)

    async with World(handler) as world:
        async with http.post(world.url, json=BODY, headers=named()) as response:
            assert (418, {"error": "no"}) == (response.status, await response.json())
        frames = world.frames()

    assert [418, '{"error": "no"}', "failed"] == [frames[0]["status"], frames[1]["data"], frames[2]["outcome"]]


async def test_the_handler_outlives_the_connection_for_its_grace(http: aiohttp.ClientSession) -> None:
    """A write after the hang-up is no error; when the grace is over the handler is cancelled, once."""
    left, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(row("a"))
        await left.wait()
        await response.write(row("ab"))
        await hang(cancelled)
        return response

    async with World(handler) as world:
        async with http.post(world.url, json=BODY, headers=named()) as response:
            await response.content.readline()
            response.close()
        left.set()
        await asyncio.wait_for(cancelled.wait(), PATIENCE)
        await until(lambda: world.stream().relay.finished)
        frames = world.frames()

    assert "ab" == "".join(frame.get("text", "") for frame in frames)
    assert "cancelled" == frames[-1]["outcome"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"X-Copilot-Pulse-Stream": "1"}, 400), ({"X-Copilot-Pulse-Stream": ID, "X-Copilot-Pulse-Mode": "x"}, 400)],
)
async def test_bad_names_and_modes(http: aiohttp.ClientSession, headers: dict[str, str], status: int) -> None:
    """The handler is not asked, and the answer says what is wrong."""

    async def handler(request: web.Request) -> web.StreamResponse:
        raise AssertionError("not to be asked")

    async with World(handler) as world, http.post(world.url, json=BODY, headers=headers) as response:
        assert status == response.status
        assert (await response.json())["error"]


async def test_beats_before_the_first_word(http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that has begun to answer and is silent does not make the page believe that its connection died."""
    monkeypatch.setattr(tap, "BEAT_SECONDS", 0.01)
    go = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await go.wait()
        await response.write(row("a"))
        await response.write_eof()
        return response

    async with World(handler) as world, http.post(world.url, json=BODY, headers=named()) as response:
        lines = [await asyncio.wait_for(response.content.readline(), PATIENCE) for _ in range(3)]
        go.set()
        rest = await response.read()

    assert ["head", "beat", "beat"] == [json.loads(data)["type"] for data in lines]
    assert b'"outcome":"completed"' in rest


@pytest.mark.parametrize("mode", ["frames", "lines", "detached"])
async def test_a_handler_that_leaves_the_end_to_aiohttp(http: aiohttp.ClientSession, mode: str) -> None:
    """Without write_eof() the answer ends all the same, and whole."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(row("a") + row("ab")[:-1])
        return response

    async with World(handler) as world:
        async with http.post(world.url, json=BODY, headers=named(mode)) as response:
            data = await asyncio.wait_for(response.read(), PATIENCE)
        async with http.get(f"{world.base}/copilot-pulse/streams/{ID}?session=s") as again:
            whole = await asyncio.wait_for(again.read(), PATIENCE)
        relay = world.stream().relay

    end = b'"outcome":"completed","seq":4}\n'
    assert ("completed", "ab") == (relay.outcome, relay.text)
    assert whole.endswith(end)
    assert data.endswith({"frames": end, "lines": row("ab"), "detached": b""}[mode])


async def test_an_answer_that_is_not_taken_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that takes nothing holds up its handler no longer than it may; its connection is not used any more."""
    monkeypatch.setattr(wire, "WRITE_LIMIT", 0.1)
    monkeypatch.setattr(wire, "SLOWEST", 10**9)
    done = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(row("y" * 20_000_000))
        await response.write_eof()
        done.set()
        return response

    async with World(handler) as world, world.stalled(f"POST {PATH}", json.dumps(BODY).encode()) as reader:
        await asyncio.wait_for(done.wait(), PATIENCE)
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(reader.read(1 << 20), PATIENCE):
                data += piece
        relay = world.stream().relay

    assert data.startswith(b"HTTP/1.1 200 ")
    assert len(data) < 20_000_000
    assert not data.endswith(b"0\r\n\r\n")
    assert ("completed", []) == (relay.outcome, relay.readers)


async def test_readers_that_take_nothing_are_counted_and_go(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stalled reader of an answer that has ended is in the figures, holds a piece of it, and is given up."""
    monkeypatch.setattr(wire, "SLOWEST", 10**9)
    held: list[asyncio.Transport] = []
    monkeypatch.setattr(routes, "notice_silence", held.append)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(row("y" * 20_000_000))
        await response.write_eof()
        return response

    async with World(handler) as world:
        streams = world.pulse.streams
        async with http.post(world.url, json=BODY, headers=named()) as response:
            await response.read()
        monkeypatch.setattr(wire, "WRITE_LIMIT", 0.5)
        async with world.stalled(f"GET /copilot-pulse/streams/{ID}?session=s"):
            await until(lambda: any(transport.get_write_buffer_size() for transport in held))
            assert {"http": 1, "websocket": 0} == streams.snapshot()["readers"]
            assert held[0].get_write_buffer_size() < 2_000_000
            await until(lambda: streams.snapshot()["readers"]["http"] == 0)


async def test_a_response_that_cannot_be_made_is_broken_off_at_once(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails before the first line must not let the page wait for the end: it comes back and reads on."""
    door = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(row("a"))
        await door.wait()
        return response

    def broken() -> Any:
        raise ValueError("injected")

    monkeypatch.setattr(tap, "Shortener", broken)
    async with World(handler) as world:
        with pytest.raises(aiohttp.ClientError):
            async with http.post(world.url, json=BODY, headers=named()) as response:
                await asyncio.wait_for(response.read(), PATIENCE)
        async with http.get(f"{world.base}/copilot-pulse/streams/{ID}?session=s") as response:
            door.set()
            text = await response.text()

    assert '"a"' in text


async def test_a_detached_answer_is_not_for_ever(http: aiohttp.ClientSession) -> None:
    """Whoever asks for an answer that nobody reads gets it for the grace period, like everybody."""
    cancelled = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await hang(cancelled)
        return response

    async with World(handler) as world:
        async with http.post(world.url, json=BODY, headers=named("detached")) as response:
            response.close()
        await asyncio.wait_for(cancelled.wait(), PATIENCE)
        await until(lambda: world.stream().relay.finished)
