"""What the routes refuse, and how they say it: other sites, other methods, bodies that are none, words when private."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backend.api.routes import add_routes
from backend.origin import MAX_BODY
from backend.settings import Secret, Settings
from tests.support.api_client import READING, Client, Parts


async def test_a_client_that_leaves_before_its_body_changes_nothing(client: Client) -> None:
    """Half a request and a closed socket: the handler ends, and nothing was taken over."""
    host, port = client.base.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /copilot-pulse/settings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 30\r\n\r\n{"
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await client.get("/copilot-pulse/settings"))[0] == 200
    assert client.parts.settings.current == Settings()


async def test_a_secret_is_in_no_answer(client: Client) -> None:
    """The settings page and the bug report say that there is a Redis URL, and not which."""
    client.parts.settings.current = replace(client.parts.settings.current, redis_url=Secret("redis://:hush@host"))
    for path in ("/copilot-pulse/settings", "/copilot-pulse/diagnostics"):
        _, _, answer = await client.get(path)
        assert "hush" not in answer
        assert "…" in answer


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/copilot-pulse/health", "GET, HEAD"), ("DELETE", "/api/copilot-pulse/settings", "GET, HEAD, POST"),
     ("GET", "/copilot-pulse/panel", "POST"), ("PUT", "/copilot-pulse/chats/7-abc/stop", "POST"),
     ("POST", "/metrics", "GET, HEAD"), ("DELETE", "/api/health", "GET, HEAD")],
)  # fmt: skip
async def test_another_method_is_told_which_there_are(client: Client, method: str, path: str, allowed: str) -> None:
    """405 with `Allow`, and in JSON as every refusal of ours."""
    async with client.session.request(method, client.base + path, json={}) as response:
        assert (response.status, response.headers["Allow"]) == (405, allowed)
        assert allowed in (await response.json())["error"]


async def test_a_path_that_is_none_is_told_in_json(client: Client) -> None:
    """Below our name only; what else there is not belongs to somebody else."""
    for path in ("/copilot-pulse/metric", "/api/copilot-pulse/events/none/at/all", "/copilot-pulse/"):
        for method in ("GET", "POST"):
            async with client.session.request(method, client.base + path) as response:
                assert (response.status, await response.json()) == (404, {"error": "there is no such path"})
    assert (await client.get("/none"))[0::2] == (404, "404: Not Found")


async def test_what_breaks_is_told_in_json(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that asks for JSON gets JSON, and none of the exception's words."""
    monkeypatch.setattr(client.parts.monitor, "health", lambda: 1 / 0)

    status, kind, body = await client.get("/copilot-pulse/health")

    assert (status, kind) == (500, "application/json; charset=utf-8")
    assert json.loads(body) == {"error": "internal error"}


async def test_a_body_that_another_plugin_has_read_counts() -> None:
    """A login or a log of another plugin reads the body first, in a middleware."""
    parts = Parts()

    @web.middleware
    async def reads(request: web.Request, handler: Any) -> web.StreamResponse:
        await request.read()
        response: web.StreamResponse = await handler(request)
        return response

    app = web.Application(middlewares=[reads])
    report = add_routes(app, parts, parts.send)
    async with TestClient(TestServer(app)) as http:
        answer = await http.post("/copilot-pulse/settings", json={"queue_size": 50})
        large = await http.post("/copilot-pulse/settings", json={"queue_size": " " * MAX_BODY})

    assert (answer.status, parts.settings.current.queue_size, large.status) == (200, 50, 413)
    await report.aclose()


CHANGING = [
    "/copilot-pulse/settings", "/copilot-pulse/panel", "/copilot-pulse/chats/7-abc/stop",
    "/copilot-pulse/breakers/probe", "/copilot-pulse/mcp/probe", "/copilot-pulse/mcp/dismiss",
    "/copilot-pulse/webhook/test",
]  # fmt: skip


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Origin": "http://127.0.0.1:1"}, {"Origin": "http://[::1"}],
)  # fmt: skip
async def test_another_site_changes_nothing(client: Client, path: str, headers: dict[str, str]) -> None:
    """A page that the user happens to visit can neither stop a chat nor change a setting."""
    status, _ = await client.post(path, {"client_id": "c", "open": True, "queue_size": 50}, **headers)

    assert status == 403
    assert client.parts.settings.current == Settings()
    assert client.parts.stopped == []
    assert len(client.report.feed) == 0


@pytest.mark.parametrize("path", ["/metrics", "/api/metrics", *(f"/copilot-pulse/{n}" for n in READING[2:])])
async def test_another_site_reads_no_ids(client: Client, path: str) -> None:
    """Even where ComfyUI lets other origins in, their scripts learn no chat's id; links and scrapers pass."""
    assert (await client.get(path, Origin="http://evil.example"))[0] == 403
    assert (await client.get(path, Origin=client.base))[0] == 200
    assert (await client.get(path, **{"Sec-Fetch-Site": "cross-site"}))[0] == 200


@pytest.mark.parametrize("path", CHANGING)
async def test_only_json_changes_anything(client: Client, path: str) -> None:
    """A form, which a browser sends across sites without asking, is refused."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        async with client.session.post(
            client.base + path, data=b'{"queue_size": 50}', headers={"Content-Type": kind}
        ) as response:
            assert response.status == 415

    assert client.parts.settings.current == Settings()


async def test_our_own_page_may_change_things(client: Client) -> None:
    """The same origin passes, as does a program that is no browser."""
    status, _ = await client.post(
        "/copilot-pulse/settings", {"queue_size": 50}, Origin=client.base, **{"Sec-Fetch-Site": "same-origin"}
    )

    assert status == 200


@pytest.mark.parametrize("body", [b"{", b"[1]", b"7", b'{"a": ' + b"[" * 30_000])
async def test_a_body_that_is_no_object_is_400(client: Client, body: bytes) -> None:
    """Broken, another type, or nested to break the parser."""
    async with client.session.post(
        client.base + "/copilot-pulse/settings", data=body, headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 400
        assert "error" in await response.json()


@pytest.mark.parametrize("value", [None, 1, 1.5, [], [1], {}, {"a": 1}, True, "", "\ud83d"])
async def test_fields_of_wrong_kinds_are_no_fault_of_ours(client: Client, value: Any) -> None:
    """Whatever stands in a field of a request that changes something: it is done or refused, in words."""
    fields = ("client_id", "open", "server", "dismissed", "session", "name", "queue_size")
    for path in ("settings", "panel", "breakers/probe", "mcp/probe", "mcp/dismiss", "chats/x/stop", "events/forget"):
        status, body = await client.post(f"/copilot-pulse/{path}", dict.fromkeys(fields, value))
        assert (path, status) in [(path, fine) for fine in (200, 400, 404)], body


async def test_a_body_that_is_not_what_its_headers_say_is_400(client: Client) -> None:
    """A body that is said to be compressed and is not, or not whole."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Connection": "close"}
    for body in (b"{}", gzip.compress(b"{}" * 99)[:-9]):
        url = client.base + "/copilot-pulse/settings"
        async with client.session.post(url, data=body, headers=headers) as response:
            assert response.status == 400
            assert "the body" in (await response.json())["error"]


async def test_a_huge_body_is_413(client: Client) -> None:
    """With a length or streamed, the server reads no more than it needs to refuse."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 4096

    for body in (b" " * (MAX_BODY + 1), endless()):
        async with client.session.post(
            client.base + "/copilot-pulse/settings", data=body, headers={"Content-Type": "application/json"}
        ) as response:
            assert response.status == 413


async def test_private_leaves_figures_only(client: Client) -> None:
    """With COPILOT_PULSE_PRIVATE nobody reads names or words, nor stops a chat; the figures stay."""
    monitor = client.parts.monitor
    monitor.add_source("chats", lambda: [{"chat_id": "7-abc", "session_id": "s-1", "state": "done", "model": "gpt-x"}])
    monitor.tick()
    client.parts.settings.current = replace(client.parts.settings.current, private=True)
    status, _, body = await client.get("/copilot-pulse/metrics")
    assert 200 == status
    assert json.loads(body)["chat"]["active"] == 0
    assert json.loads(body)["private"] is True
    assert not {word for word in ("7-abc", "s-1", "gpt-x") if word in body}
    assert {"status"} == set(json.loads((await client.get("/copilot-pulse/health"))[2]))
    for path in ("metrics?format=prometheus", "diagnostics", "settings", "fleet"):
        assert 403 == (await client.get(f"/copilot-pulse/{path}"))[0]
    for path in ("chats/7-abc/stop", "panel", "settings", "mcp/probe"):
        assert 403 == (await client.post(f"/copilot-pulse/{path}"))[0]
    assert [] == client.parts.stopped
