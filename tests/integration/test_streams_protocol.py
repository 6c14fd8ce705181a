"""The protocol under abuse: each wrong thing closes with its code and a reason, and nothing else breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from backend.streams import registry
from backend.streams import socket as stream_socket
from tests.integration.test_streams import ENV
from tests.support.host import Host
from tests.support.leaks import no_leaks
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Plan, Wait, Words, words
from tests.support.net import PATIENCE, Gate, until
from tests.support.plugged import NODES, module_of, pulse_of
from tests.support.stream_client import PROTOCOL, StreamClient, chat_body, new_id


@pytest.fixture
async def host(llm: FaultServer) -> AsyncIterator[Host]:
    """The plugin and the stand-in."""
    async with Host(NODES, llm=llm, env=ENV) as running:
        await running.chat(session="session-1")
        llm.reset_counts()
        yield running


@pytest.fixture
async def client(host: Host, llm: FaultServer) -> AsyncIterator[StreamClient]:
    """A page, with nothing wrong about it."""
    async with StreamClient(host.url, llm.base_url) as page:
        yield page


GOOD = "A" * 22


def frame(kind: str, **fields: Any) -> str:
    """A frame as text."""
    return json.dumps({"type": kind, "stream": GOOD, **fields})


MALFORMED: list[tuple[str, Any, int, str]] = [
    ("no JSON", "{", 4400, "JSON"),
    ("no object", "[1]", 4400, "object"),
    ("no type", "{}", 4400, "type"),
    ("a type that is no text", '{"type": 1}', 4400, "type"),
    ("an unknown type", frame("fly"), 4400, "fly"),
    ("no stream", '{"type": "read"}', 4400, "stream"),
    ("after is no number", frame("read", after="1"), 4400, "after"),
    ("after is negative", frame("read", after=-1), 4400, "after"),
    ("after is true", frame("read", after=True), 4400, "after"),
    ("deep nesting", "[" * 3000, 4400, "JSON"),
    ("a body that is no object", frame("invoke", body=1), 4400, "body"),
    ("headers that are no texts", frame("invoke", body={"session_id": "session-1"}, headers={"a": 1}), 4400, "headers"),
    ("another path", frame("invoke", body={"session_id": "session-1"}, path="/prompt"), 4400, "path"),
    ("a stream id that can be guessed", frame("invoke", stream="1", body={"session_id": "session-1"}), 4400, "128"),
    ("another session", frame("invoke", body=chat_body("session-2")), 4403, "session"),
    ("no session", frame("invoke", body={}), 4403, "session"),
    ("pause before read", frame("pause"), 4409, "pause"),
    ("resume before read", frame("resume"), 4409, "resume"),
    ("leave before read", frame("leave"), 4409, "leave"),
    ("a type in another script", json.dumps({"type": "飞" * 40}), 4400, "unknown type"),
    ("a path that is a list", frame("invoke", body={"session_id": "session-1"}, path=["a"]), 4400, "path"),
    ("a path that is an object", frame("invoke", body={"session_id": "session-1"}, path={}), 4400, "path"),
    ("a large frame that is no JSON", "[" * 5000, 1009, "at most"),
    ("a large frame that says too late what it is", frame("read", t="x" * 5000) + '{"type":"invoke"}', 1009, "at most"),
    ("a large small frame", frame("ping", t="x" * 5000), 1009, "at most"),
    ("binary", b"\x00\x01", 1003, "text"),
]


@pytest.mark.parametrize(("wrong", "code", "reason"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
async def test_what_closes(client: StreamClient, wrong: Any, code: int, reason: str) -> None:
    """Each mistake has its code, and a reason that says what was wrong."""
    async with client.socket() as socket:
        await (socket.ws.send_bytes(wrong) if isinstance(wrong, bytes) else socket.ws.send_str(wrong))
        found, why = await socket.until_closed()

    assert code == found
    assert reason in why


async def test_abuse_disturbs_nobody_else(host: Host, llm: FaultServer, client: StreamClient) -> None:
    """While others misbehave, a chat over another socket goes on to its end, and nothing is left of them."""
    gate = Gate()
    llm.plan(Plan(Words(20), Wait(gate), Words(20, start=20)))
    async with client.socket() as good, no_leaks(sockets=4):
        await good.invoke()
        while words(20).strip() not in client.page.text:
            await good.next()
        for _, wrong, _, _ in MALFORMED:
            async with StreamClient(host.url, llm.base_url) as bad, bad.socket() as socket:
                await (socket.ws.send_bytes(wrong) if isinstance(wrong, bytes) else socket.ws.send_str(wrong))
                await socket.until_closed()
        gate.open()
        await good.read_to_end()

    assert words(40) == client.page.text
    assert 1 == len(llm.chats)


@pytest.mark.parametrize("protocols", [(), ("copilot-pulse.v9",), ("graphql-ws",)])
async def test_wrong_version(client: StreamClient, protocols: tuple[str, ...]) -> None:
    """Who does not speak our version is told which one it would be."""
    async with client.socket(protocols=protocols) as socket:
        found, why = await socket.until_closed()

    assert 4426 == found
    assert "copilot-pulse.v1" in why


async def test_too_large(host: Host, client: StreamClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame beyond the limit is not read to its end."""
    monkeypatch.setattr(module_of(host, "backend.streams.socket"), "MAX_FRAME", 10_000)
    async with client.socket() as socket:
        await socket.ws.send_str(frame("invoke", body={"x": "y" * 11_000}))
        assert 1009 == (await socket.until_closed())[0]
    async with client.socket() as socket:
        await socket.ws.send_str(frame("invoke", body={"x": "y" * 100_000}))
        assert 1009 == (await socket.until_closed())[0]


async def test_too_many_frames(client: StreamClient) -> None:
    """A flood of frames is closed, and pings before it are answered."""
    async with client.socket() as socket:
        for _ in range(stream_socket.BURST + 30):
            await socket.ws.send_str('{"type": "ping"}')
        code, why = await socket.until_closed()

    assert (4429, True) == (code, "frames a second" in why)


async def test_too_many_streams_of_a_session(host: Host, llm: FaultServer, client: StreamClient) -> None:
    """A session runs so many answers at once and no more."""
    llm.plan(Plan(Words(2), Wait(Gate()), Words(2)))
    async with client.socket() as socket:
        for _ in range(registry.MAX_PER_SESSION):
            client.id = new_id()
            await socket.invoke()
        await until(lambda: pulse_of(host).streams.snapshot()["running"] == registry.MAX_PER_SESSION)
        async with client.socket() as second:
            client.id = new_id()
            await second.invoke()
            code, _ = await second.until_closed()

    assert 4429 == code
    assert pulse_of(host).streams.snapshot()["running"] <= registry.MAX_PER_SESSION


async def test_too_many_readers(host: Host, llm: FaultServer, client: StreamClient) -> None:
    """A stream has so many readers and no more: the oldest over HTTP makes room, and the others go on."""
    gate = Gate()
    llm.plan(Plan(Words(20), Wait(gate), Words(20, start=20)))
    url = f"{host.url}/copilot-pulse/streams/{client.id}?session={client.session_id}"
    async with client.socket() as socket:
        await socket.invoke()
        while not client.page.text:
            await socket.next()
        responses = [await client.http.get(url) for _ in range(registry.MAX_READERS)]
        assert [200] * registry.MAX_READERS == [response.status for response in responses]
        assert b'"end"' not in await asyncio.wait_for(responses[0].read(), PATIENCE)
        assert registry.MAX_READERS == sum(pulse_of(host).streams.snapshot()["readers"].values())
        for response in responses:
            response.close()
        gate.open()
        await socket.read_to_end()

    assert words(40) == client.page.text


async def test_reading_twice_over_one_socket(llm: FaultServer, client: StreamClient) -> None:
    """A socket reads a stream once."""
    llm.plan(Plan(Words(2), Wait(Gate())))
    async with client.socket() as socket:
        await socket.invoke()
        await socket.send("read", after=0)
        code, _ = await socket.until_closed()

    assert 4409 == code


async def test_ping_and_states(client: StreamClient) -> None:
    """A ping comes back with what it held; an unknown stream is an answer, not an error."""
    async with client.socket() as socket:
        await socket.send("ping", t=7)
        await socket.send("read", after=0)
        while len(socket.others) < 3:
            await socket.next()

    assert ["hello", "pong", "state"] == [other["type"] for other in socket.others]
    assert 7 == socket.others[1]["t"]
    assert "unknown" == socket.others[2]["state"]


async def test_another_session_s_stream_is_unknown(host: Host, llm: FaultServer, client: StreamClient) -> None:
    """Who knows the id but not the session learns nothing, and can stop nothing."""
    gate = Gate()
    llm.plan(Plan(Words(20), Wait(gate), Words(20, start=20)))
    async with client.socket() as socket, StreamClient(host.url, llm.base_url, session="thief") as thief:
        await socket.invoke()
        while words(20).strip() not in client.page.text:
            await socket.next()
        thief.id = client.id
        assert 404 == await thief.resume_http()
        assert 404 == await thief.cancel_http()
        async with thief.socket() as other:
            await other.send("read", after=0)
            await other.send("cancel")
            while len(other.others) < 3:
                await other.next()
        gate.open()
        await socket.read_to_end()

    assert ["unknown", "unknown"] == [o["state"] for o in other.others[1:]]
    assert "" == thief.page.text
    assert words(40) == client.page.text


async def test_a_cut_handshake_frame(client: StreamClient) -> None:
    """A peer that breaks WebSocket's own rules is closed, and the next one is served."""
    async with client.socket() as socket:
        transport: Any = socket.ws._response.connection.transport
        transport.write(b"\xff\xff\xff\xff\xff")
        code, _ = await socket.until_closed()
    assert code in (1002, 1007, 1006, None)

    page = await client.chat_ws()
    assert words(40) == page.text


async def test_a_reader_that_reads_nothing_costs_nothing(host: Host, llm: FaultServer, client: StreamClient) -> None:
    """A page that opens a stream and takes no byte neither slows the others nor makes the server's memory grow."""
    llm.plan(Plan(Words(3000)))
    url = f"{host.url}/copilot-pulse/streams/{client.id}?session={client.session_id}"
    stuck: aiohttp.ClientResponse | None = None
    async with client.socket() as socket:
        await socket.invoke()
        while not client.page.text:
            await socket.next()
        stuck = await client.http.get(url)
        await asyncio.wait_for(socket.read_to_end(), PATIENCE)
        stuck.close()

    assert words(3000) == client.page.text
    await until(lambda: pulse_of(host).streams.snapshot()["readers"] == {"http": 0, "websocket": 0})


async def test_the_server_says_that_it_stops(llm: FaultServer) -> None:
    """When ComfyUI stops, sockets and readers are told and nothing holds it up; the model's request ends."""
    llm.plan(Plan(Words(5), Wait(Gate()), Words(5)))
    async with Host(NODES, llm=llm, env=ENV) as host, StreamClient(host.url, llm.base_url) as client:
        socket = await client.http.ws_connect(f"{host.url}/ws/chat/{client.session_id}", protocols=(PROTOCOL,))
        await socket.send_json(
            {"type": "invoke", "stream": client.id, "headers": client.headers, "body": chat_body(client.session_id)}
        )
        await until(lambda: llm.active == 1)
        query = {"session": client.session_id}
        reading = await client.http.get(f"{host.url}/copilot-pulse/streams/{client.id}", params=query)
        stopping = asyncio.create_task(host.server.app.shutdown())
        while (message := await socket.receive(PATIENCE)).type is aiohttp.WSMsgType.TEXT:
            pass
        await asyncio.wait_for(stopping, PATIENCE)
        reading.close()

    assert (aiohttp.WSMsgType.CLOSE, 1001) == (message.type, message.data)
    await until(lambda: llm.active == 0)


async def test_a_reader_that_is_cancelled_leaves_nothing(host: Host, llm: FaultServer, client: StreamClient) -> None:
    """A page that stops reading over HTTP in mid-answer is gone from the stream at once."""
    gate = Gate()
    llm.plan(Plan(Words(5), Wait(gate), Words(5, start=5)))
    streams = pulse_of(host).streams
    async with client.socket() as socket:
        await socket.invoke()
        while words(5).strip() not in client.page.text:
            await socket.next()
        async with StreamClient(host.url, llm.base_url) as other:
            other.id = client.id
            reading = asyncio.create_task(other.resume_http())
            await until(lambda: streams.snapshot()["readers"]["http"] == 1)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        gate.open()
        await socket.read_to_end()
        await until(lambda: streams.snapshot()["readers"] == {"http": 0, "websocket": 0})

    assert words(10) == client.page.text


# -- who may open a socket ---------------------------------------------------------------------------


ORIGINS: list[tuple[str, dict[str, str], bool]] = [
    ("a program", {}, True),
    ("the page itself", {"Origin": "http://{host}"}, True),
    ("another site", {"Origin": "https://evil.example"}, False),
    ("another port", {"Origin": "http://127.0.0.1:1"}, False),
    ("a sandboxed frame", {"Origin": "null"}, False),
    ("a file", {"Origin": "file://"}, False),
    ("an extension", {"Origin": "chrome-extension://abc"}, False),
    ("the host as user name", {"Origin": "http://{host}@evil.example"}, False),
    ("the host as a prefix", {"Origin": "http://{host}.evil.example"}, False),
    ("a browser without origin", {"Sec-Fetch-Site": "cross-site"}, False),
    ("rebinding", {"Origin": "http://evil.example:{port}", "Host": "evil.example:{port}"}, False),
    ("rebinding without origin", {"Host": "evil.example:{port}"}, False),
    ("localhost by name", {"Origin": "http://localhost:{port}", "Host": "localhost:{port}"}, True),
    ("two origins", {"Origin": "http://{host}, https://evil.example"}, False),
    ("rebinding by a name of the network", {"Host": "gpu.local:{port}"}, False),
    ("a host that is none", {"Host": "[::1"}, False),
    (
        "a proxy on this machine",
        {"Origin": "https://gpu.example", "Host": "gpu.example", "X-Forwarded-For": "10.0.0.9"},
        True,
    ),
]


@pytest.mark.parametrize(("headers", "allowed"), [row[1:] for row in ORIGINS], ids=[row[0] for row in ORIGINS])
async def test_handshake(host: Host, client: StreamClient, headers: dict[str, str], allowed: bool) -> None:
    """Pages of other sites get no socket, whatever they call themselves."""
    filled = {name: value.format(host=f"127.0.0.1:{host.port}", port=host.port) for name, value in headers.items()}
    try:
        async with client.socket(headers=filled) as socket:
            assert "hello" == (await socket.next() or {})["type"]
            opened = True
    except aiohttp.WSServerHandshakeError:
        opened = False

    assert allowed == opened


@pytest.mark.parametrize("method", ["read", "cancel"])
async def test_other_sites_cannot_use_the_routes(host: Host, client: StreamClient, method: str) -> None:
    """A page of another origin reads no stream and stops none."""
    await client.chat_http()
    url = f"{host.url}/copilot-pulse/streams/{client.id}"
    headers = {"Origin": "https://evil.example"}
    if method == "read":
        async with client.http.get(url, params={"session": client.session_id}, headers=headers) as response:
            assert 403 == response.status
    else:
        async with client.http.post(f"{url}/cancel", json={"session": client.session_id}, headers=headers) as response:
            assert 403 == response.status
        async with client.http.post(f"{url}/cancel", data="session=x") as response:
            assert 415 == response.status
