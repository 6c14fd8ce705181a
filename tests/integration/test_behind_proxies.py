"""Our own routes behind the real nginx: what ComfyUI lets through works, and another site still changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.host import Host
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import Plan, Words, words
from tests.support.nginx import CONFIGURATIONS, Nginx
from tests.support.stream_client import StreamClient

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
MARK = {"X-Copilot-Pulse": "1"}
# A page of loopback or https says whether it asks its own server; one of plain http in a network does not.
MODERN = {"Sec-Fetch-Site": "same-origin"}
PLAIN_HTTP: dict[str, str] = {}


@pytest.fixture(params=list(CONFIGURATIONS))
def lines(request: pytest.FixtureRequest) -> str:
    """The lines of one of the configurations."""
    return CONFIGURATIONS[request.param]


@pytest.fixture
def proxy(host: Host, lines: str) -> Iterator[Nginx]:
    """nginx before the host."""
    with Nginx(host.port, lines=lines) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


def from_page(name: str, more: dict[str, str]) -> dict[str, str]:
    """What a browser says that has our page open at `http://{name}`."""
    return {"Host": name, "Origin": f"http://{name}", **JSON, **MARK, **more}


@pytest.mark.parametrize("browser", [MODERN, PLAIN_HTTP], ids=["modern", "plain-http"])
async def test_our_page_works(host: Host, proxy: Nginx, http: aiohttp.ClientSession, browser: dict[str, str]) -> None:
    """The panel opens, a setting is taken over, a stream is stopped, whatever the proxy makes of `Host`."""
    headers = from_page(f"gpu.lan:{proxy.port}", browser)

    async def post(path: str, body: Any) -> int:
        async with http.post(f"{proxy.url}/api/copilot-pulse/{path}", json=body, headers=headers) as response:
            assert response.content_type == "application/json"
            return response.status

    assert await post("panel", {"client_id": "c", "open": True}) == 200
    assert await post("settings", {"queue_size": 500}) == 200
    assert await post(f"streams/{'A' * 22}/cancel", {"session": "s"}) == 404
    assert await post("chats/nobody/stop", {}) == 404


async def test_another_site_changes_nothing(host: Host, proxy: Nginx, http: aiohttp.ClientSession) -> None:
    """A page of another site knows the proxy's address; it cannot mark its requests without asking first."""
    for origin in ("http://evil.example", "null", f"http://gpu.lan:{proxy.port + 1}", "http://comfyui.evil.example"):
        for site in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
            for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
                headers = {"Host": f"gpu.lan:{proxy.port}", "Origin": origin, "Content-Type": kind, **site}
                async with http.post(
                    f"{proxy.url}/copilot-pulse/settings", data=b'{"queue_size": 77}', headers=headers
                ) as response:
                    assert response.status in (403, 415)
    async with http.options(
        f"{proxy.url}/copilot-pulse/settings",
        headers={
            "Origin": "http://evil.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-copilot-pulse",
        },
    ) as preflight:
        assert "x-copilot-pulse" not in preflight.headers.get("Access-Control-Allow-Headers", "").lower()
        assert "Access-Control-Allow-Origin" not in preflight.headers

    settings = await host.page.json("/copilot-pulse/settings")
    assert next(row["value"] for row in settings["settings"] if row["name"] == "queue_size") != 77


async def test_a_chat_comes_whole(proxy: Nginx, llm: FaultServer) -> None:
    """Over HTTP through each of them, in frames."""
    llm.plan(Plan(Words(50)))
    async with StreamClient(proxy.url, llm.base_url) as client:
        page = await client.chat_http()

    assert page.text.startswith(words(50).strip())
    assert page.outcome == "completed"


@pytest.mark.parametrize(("name", "machine"), [("host kept", "127.0.0.1"), ("host forwarded", "gpu.example")])
async def test_a_socket_opens(host: Host, http: aiohttp.ClientSession, name: str, machine: str) -> None:
    """Where the proxy tells the name that the browser asked for, chats go over the WebSocket."""
    with Nginx(host.port, lines=CONFIGURATIONS[name]) as proxy:
        page = f"{machine}:{proxy.port}"
        async with http.ws_connect(
            f"{proxy.url}/ws/chat/s",
            protocols=("copilot-pulse.v1",),
            headers={"Host": page, "Origin": f"http://{page}"},
        ) as socket:
            hello = await socket.receive_json()

    assert hello["type"] == "hello"


async def test_a_socket_of_another_site_does_not(host: Host, proxy: Nginx, http: aiohttp.ClientSession) -> None:
    """Through none of them: 403, and the answer says why in JSON."""
    for origin in ("http://evil.example", "null", f"http://gpu.lan:{proxy.port + 1}"):
        headers = {
            "Host": f"gpu.lan:{proxy.port}",
            "Origin": origin,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Protocol": "copilot-pulse.v1",
        }
        async with http.get(f"{proxy.url}/ws/chat/s", headers=headers) as response:
            assert (response.status, "origin" in (await response.json())["error"]) == (403, True)


async def test_below_a_path(host: Host, http: aiohttp.ClientSession) -> None:
    """A proxy that gives ComfyUI a folder of its own."""
    with Nginx(host.port, path="/comfy/") as proxy:
        headers = from_page(f"gpu.lan:{proxy.port}", PLAIN_HTTP)
        async with http.post(
            f"{proxy.url}/api/copilot-pulse/panel", json={"client_id": "c", "open": True}, headers=headers
        ) as response:
            assert response.status == 200
