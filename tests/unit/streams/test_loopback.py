"""The request that the server makes to itself: which headers it bears, where it goes, and what if it fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from backend.streams.loopback import Loopback, NotAsked, headers_for, not_carried
from backend.streams.registry import Stream, StreamRegistry
from tests.support.page import CopilotPage
from tests.support.stream_client import chat_body

CAPTURE = Path(__file__).parents[2] / "support" / "copilot_page.json"
ID = "A" * 22
ASKS = (b'{"session_id": "s"}', {"session_id": "s"})
HANDSHAKE = {"Host": "gpu:8188", "Origin": "http://gpu:8188", "Cookie": "login=1", "Sec-WebSocket-Key": "k"}


def test_the_page_cannot_say_who_it_is() -> None:
    """Of what a page asks for only harmless headers pass; who it is comes from the handshake."""
    asked = {
        "Openai-Api-Key": "sk", "Authorization": "Bearer x", "Accept-Language": "zh", "trace-id": "t",
        "host": "evil", "ORIGIN": "http://evil", "Cookie": "login=2", "Content-Length": "1", "Content-Type": "a/b",
        "Transfer-Encoding": "chunked", "X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1",
        "Sec-Fetch-Site": "same-origin", "X-Copilot-Pulse-Stream": "other", "Proxy-Authorization": "p",
    }  # fmt: skip

    assert {
        "Openai-Api-Key": "sk", "Authorization": "Bearer x", "Accept-Language": "zh", "trace-id": "t",
        "Host": "gpu:8188", "Origin": "http://gpu:8188", "Cookie": "login=1", "Content-Type": "application/json",
    } == headers_for(HANDSHAKE, asked)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["Cookie: admin=1; x", "Remote-User", "X-Auth-Request-User", "X-Remote-User", "Host", "X", "", "Openai-\u00e9"],
)
def test_a_header_that_copilot_does_not_send_is_not_carried(name: str) -> None:
    """A page that has another one is told, and the header is not on the request either way."""
    asked = {"Openai-Api-Key": "sk", name: "v"}

    assert name == not_carried(asked)
    assert name not in headers_for(HANDSHAKE, asked).keys() - HANDSHAKE.keys()
    assert "v" not in headers_for(HANDSHAKE, asked).values()


def test_what_copilot_sends_is_carried() -> None:
    """Every header of its page, in any case of letters, and ours."""
    names = [
        "accept", "Accept-Language", "Authorization", "content-type", "trace-id", "Openai-Api-Key", "openai-base-url",
        "Encrypted-Openai-Api-Key", "Workflow-LLM-Api-Key", "Workflow-LLM-Base-Url", "Workflow-LLM-Model",
        "X-Copilot-Pulse-Page",
    ]  # fmt: skip

    assert not_carried(dict.fromkeys(names, "v")) is None


@pytest.mark.parametrize("kind", ["chat", "debug"])
def test_a_capture_of_copilot_s_page_is_carried(kind: str) -> None:
    """What the real page sends goes over a WebSocket, and the tests' page sends nothing else, in that order."""
    capture = json.loads(CAPTURE.read_text("utf-8"))[kind]
    names = [name.lstrip("?") for name in capture["headers"]]
    page = CopilotPage.__new__(CopilotPage)
    page.llm, page.model, page.api_key = "http://127.0.0.1:1234/v1", "m", ""

    assert not_carried(dict.fromkeys(names, "v")) is None
    assert set(page.headers()) == set(names)
    if kind == "chat":
        assert list(page.headers()) == names
        assert list(chat_body("s")) == capture["body"]


def test_the_browser_s_password_goes_on() -> None:
    """A server that asks for a password gets it from the handshake, unless the page has said one itself."""
    handshake = {**HANDSHAKE, "Authorization": "Basic eA=="}

    assert "Basic eA==" == headers_for(handshake, {})["Authorization"]
    assert ["Bearer x"] == [
        value for name, value in headers_for(handshake, {"authorization": "Bearer x"}).items()
        if name.lower() == "authorization"
    ]  # fmt: skip


def request_to(name: Any, context: object | None = None) -> Any:
    """A request as far as the loopback looks at it."""
    extra = {"sockname": name, "sslcontext": context}
    return SimpleNamespace(transport=SimpleNamespace(get_extra_info=extra.get), headers=HANDSHAKE)


@pytest.mark.parametrize("name", [None, "", ()])
async def test_no_address(name: Any) -> None:
    """A connection that does not tell where it came in cannot be followed."""
    with pytest.raises(NotAsked):
        Loopback(request_to(name))


@pytest.mark.parametrize(
    ("name", "secure", "url"),
    [
        (("127.0.0.1", 8188), False, "http://127.0.0.1:8188"),
        (("::1", 8188, 0, 0), True, "https://[::1]:8188"),
        (("fe80::1%eth0", 80, 0, 2), False, "http://[fe80::1]:80"),
    ],
)
async def test_where_it_goes(name: Any, secure: bool, url: str) -> None:
    """To the address at which the page's own connection came in, encrypted if that was."""
    loopback = Loopback(request_to(name, object() if secure else None))
    await loopback.aclose()

    assert url == loopback._base


def registry() -> StreamRegistry:
    """An empty registry."""
    limits: Any = SimpleNamespace(resume_grace=30.0, stream_keep=600.0, stream_keep_bytes=10**6)
    return StreamRegistry(settings=lambda: limits, publish=lambda type_, data: None, clock=lambda: 0.0)


async def test_a_server_that_does_not_answer() -> None:
    """Nothing was asked: that is said, and the stream is as it was."""
    streams = registry()
    stream = streams.reserve(ID, "s")
    loopback = Loopback(request_to(("127.0.0.1", 9)))
    with pytest.raises(NotAsked, match="could not reach itself"):
        await loopback.chat(streams, stream, "/api/chat/invoke", {}, ASKS)
    await loopback.aclose()

    assert (0, False) == (stream.relay.seq, stream.claimed)


@pytest.mark.parametrize("status", [302, 401, 403, 404, 502])
async def test_refused_because_of_who_asks(status: int) -> None:
    """What stands before Copilot's handler may let the page itself pass: the question was not asked."""
    await answered_by(lambda request: web.Response(status=status, headers={"Location": "/login"}), NotAsked)


async def asked(
    handler: Any,
    context: ssl.SSLContext | None = None,
    headers: dict[str, str] | None = None,
    raises: type[Exception] | None = None,
) -> Stream:
    """The stream of one question to a server with this handler; with `raises`, asking it fails so."""
    app = web.Application()
    app.router.add_post("/api/chat/invoke", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    streams = registry()
    stream = streams.reserve(ID, "s")
    loopback = Loopback(request_to(runner.addresses[0], context))
    try:
        with pytest.raises(raises) if raises else contextlib.nullcontext():
            await loopback.chat(streams, stream, "/api/chat/invoke", headers or {}, ASKS)
    finally:
        await loopback.aclose()
        await runner.cleanup()
    return stream


async def answered_by(answer: Any, raises: type[Exception]) -> None:
    """Ask a server that answers so."""

    async def handler(request: web.Request) -> Any:
        return answer(request)

    stream = await asked(handler, raises=raises)
    assert (0, False) == (stream.relay.seq, stream.claimed)


@pytest.mark.parametrize("over_tls", [False, True])
async def test_refused_by_somebody_else_s_middleware(over_tls: bool, tmp_path: Path) -> None:
    """What is wrong with the question is heard: the status and all the words; over TLS as well."""
    seen: list[dict[str, str]] = []

    async def refuse(request: web.Request) -> web.StreamResponse:
        seen.append(dict(request.headers))
        response = web.StreamResponse(status=413)
        await response.prepare(request)
        await response.write(b"too ")
        await asyncio.sleep(0)  # the words come in two pieces
        await response.write(b"large")
        return response

    context = server_context(tmp_path) if over_tls else None
    stream = await asked(refuse, context, {"Openai-Api-Key": "sk"})

    reader = stream.relay.read()
    head, body = reader.next_nowait(), reader.next_nowait()
    assert (413, "too large") == ((head or {})["status"], (body or {})["data"])
    assert ("login=1", "sk") == (seen[0]["Cookie"], seen[0]["Openai-Api-Key"])
    assert (ID, "detached") == (seen[0]["X-Copilot-Pulse-Stream"], seen[0]["X-Copilot-Pulse-Mode"])


def server_context(folder: Path) -> ssl.SSLContext:
    """A context with a certificate that nobody knows."""
    import subprocess

    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=gpu",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def test_an_answer_without_its_tap_goes_on_plain() -> None:
    """Copilot's own lines come where a function of ours has failed: they are the answer, in any pieces."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        lines = [
            {"text": "a", "finished": False},
            {"text": "a b", "finished": False},
            {"text": "a b c", "finished": True},
        ]
        raw = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n"
        for start in range(0, len(raw), 10):
            await response.write(raw[start : start + 10])
            await asyncio.sleep(0)
        return response

    stream = await asked(answer)

    assert ("a b c", "completed") == (stream.relay.text, stream.relay.outcome)
