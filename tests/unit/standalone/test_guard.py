"""Who may talk to the standalone host: its page and programs, but no other web page."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from backend.origin import Refused, serve
from backend.standalone.guard import add_headers, check, guard

JSON = {"Content-Type": "application/json"}


def status(method: str, headers: dict[str, str], *, loopback_only: bool = True) -> int:
    try:
        check(make_mocked_request(method, "/x", headers=headers), loopback_only=loopback_only)
    except Refused as refused:
        return refused.status
    return 200


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Host": "127.0.0.1:8188"}, 200),  # curl
        ({"Host": "127.0.0.1:8188", "Origin": "http://127.0.0.1:8188"}, 200),
        ({"Host": "localhost:8188", "Origin": "http://localhost:8188"}, 200),
        ({"Host": "[::1]:8188", "Origin": "http://[::1]:8188"}, 200),
        ({"Host": "localhost", "Origin": "http://localhost:80"}, 200),
        ({"Host": "127.0.0.1:8188", "Origin": "http://127.0.0.1:9999"}, 403),
        ({"Host": "127.0.0.1:8188", "Origin": "http://localhost:8188"}, 403),
        ({"Host": "127.0.0.1:8188", "Origin": "https://evil.example"}, 403),
        ({"Host": "127.0.0.1:8188", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1:8188", "Origin": "file://"}, 403),
        ({"Host": "127.0.0.1:8188", "Origin": "http://127.0.0.1:x"}, 403),
        ({"Host": "127.0.0.1:8188", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "127.0.0.1:8188", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "127.0.0.1:8188", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "evil.example:8188", "Origin": "http://evil.example:8188"}, 403),  # DNS rebinding
        ({"Host": "127.0.0.1:x"}, 403),
        ({}, 403),
    ],
)
def test_who_may_change_something(headers: dict[str, str], expected: int) -> None:
    """A POST comes from our own page or from a program, and never from another origin."""
    assert status("POST", {**JSON, **headers}) == expected


@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:8188", "https://evil.example"])
def test_a_websocket_is_checked_like_a_post(origin: str | None) -> None:
    """Browsers let any page open a WebSocket; the handshake is refused unless the page is ours."""
    headers = {"Host": "127.0.0.1:8188", "Upgrade": "websocket", "Connection": "Upgrade"}
    if origin:
        headers["Origin"] = origin

    assert status("GET", headers) == (403 if origin == "https://evil.example" else 200)


def test_reading_needs_only_the_right_name() -> None:
    """A GET may come from anywhere under a name of this machine, and from nowhere under another's."""
    assert status("GET", {"Host": "127.0.0.1:8188", "Origin": "https://evil.example"}) == 200
    assert status("GET", {"Host": "evil.example"}) == 403
    assert status("GET", {"Host": "gpu-box:8188"}, loopback_only=False) == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_only_json_changes_something(kind: str) -> None:
    """The types that a form can send across origins without asking are refused."""
    assert status("POST", {"Host": "127.0.0.1:8188", "Content-Type": kind}) == 415


@given(st.sampled_from(["GET", "POST"]), st.text(), st.text())
def test_no_header_breaks_the_check(method: str, host: str, origin: str) -> None:
    """Whatever stands in the headers, the answer is yes or no."""
    assert status(method, {**JSON, "Host": host, "Origin": origin}) in (200, 403)


async def test_the_middleware_refuses_with_a_reason(aiohttp_client) -> None:  # type: ignore[no-untyped-def]
    """A refused request does not reach its handler and is told why; every answer carries the headers."""
    app = web.Application(middlewares=[guard(loopback_only=True)])
    app.on_response_prepare.append(add_headers)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="reached")

    app.router.add_post("/x", handler)
    client = await aiohttp_client(app)

    refused = await client.post("/x", json={}, headers={"Origin": "https://evil.example"})
    reached = await client.post("/x", json={})

    assert refused.status == 403
    assert "origin" in (await refused.json())["error"]
    assert await reached.text() == "reached"
    assert "frame-ancestors 'none'" in reached.headers["Content-Security-Policy"]


async def test_a_wrong_method_is_told_before_a_wrong_body(aiohttp_client) -> None:  # type: ignore[no-untyped-def]
    """Whoever posts to a path that is read is told what it takes; errors are JSON, also those of aiohttp itself."""
    app = web.Application(middlewares=[guard(loopback_only=True)])

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"body": await request.text()})

    serve(app.router, "/ours", {"GET": handler})
    app.router.add_post("/chat", handler)
    client = await aiohttp_client(app)

    for method, path, status_, allow in (
        ("POST", "/ours", 405, "GET, HEAD"), ("DELETE", "/chat", 405, "POST"), ("PUT", "/nothing", 404, None),
        ("GET", "/nothing", 404, None), ("POST", "/chat", 415, None),
    ):  # fmt: skip
        answer = await client.request(method, path, data="x")
        assert (answer.status, answer.headers.get("Allow")) == (status_, allow), path
        assert (await answer.json())["error"]
