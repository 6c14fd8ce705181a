"""Cross-site WebSocket hijacking fails in the real ComfyUI, with its default options and with those that open it."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

import pytest

from tests.comfyui.conftest import Boot, plugin, standin
from tests.comfyui.harness import ComfyUI

OPTIONS = {"default": [], "listen": ["--listen", "0.0.0.0"], "cors": ["--enable-cors-header"]}
OPEN = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "copilot-pulse.v1",
}


@pytest.fixture(scope="module", params=list(OPTIONS))
def comfy(request: pytest.FixtureRequest, boot: Boot) -> ComfyUI:
    """ComfyUI with one set of options."""
    return boot(plugin(), standin(), arguments=OPTIONS[request.param])


def status_of(comfy: ComfyUI, path: str, headers: Mapping[str, str]) -> int:
    """The status of a GET with exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", comfy.port, timeout=60)
    try:
        host = headers.get("Host", f"127.0.0.1:{comfy.port}")
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**headers, "Host": host}.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/ws/chat/s", "/api/ws/chat/s"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1:{port}"}, 101),
        ({}, 101),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://127.0.0.1:9"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://evil.example:{port}", "Host": "evil.example:{port}"}, 403),
    ],
    ids=["page", "program", "another site", "another port", "sandbox", "no origin", "rebinding"],
)
def test_who_gets_a_socket(comfy: ComfyUI, path: str, headers: dict[str, str], status: int) -> None:
    """Only ComfyUI's own page and programs that are no browser open a socket to the chats."""
    filled = {name: value.format(port=comfy.port) for name, value in headers.items()}

    assert status == status_of(comfy, path, {**OPEN, **filled})


def test_other_sites_read_no_stream(comfy: ComfyUI) -> None:
    """A page of another origin gets 403 from the HTTP route too, where ComfyUI's CORS option would let it read."""
    path = f"/copilot-pulse/streams/{'A' * 22}?session=s"

    assert 403 == status_of(comfy, path, {"Origin": "https://evil.example"})
    assert 404 == status_of(comfy, path, {"Origin": f"http://127.0.0.1:{comfy.port}"})
