"""Who may ask: our page and programs, behind any proxy; no page of another site, whatever a browser sends for it."""

from __future__ import annotations

import itertools
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from backend.origin import MARK, Refused, answer_refusals, check_origin, check_socket, same_origin


def request(came_to: Any, host: str, **more: str) -> Any:
    """A handshake as far as it is looked at, from a page of `host`."""
    headers = CIMultiDict({"Host": host, "Origin": f"http://{host}"})
    headers.update({name.replace("_", "-"): value for name, value in more.items()})
    return SimpleNamespace(headers=headers, transport=SimpleNamespace(get_extra_info={"sockname": came_to}.get))


def refusal(asked: Any) -> str:
    """Why a handshake is refused, or nothing."""
    try:
        check_socket(asked)
    except Refused as refused:
        return refused.reason
    return ""


@pytest.mark.parametrize(
    "host",
    ["192.0.2.2:8188", "[2001:db8::2]:8188", "gpu:8188", "GPU.local", "gpu.lan", "gpu.home.arpa.", "gpu.internal",
     "localhost:8188", f"{socket.gethostname()}:8188"],
)  # fmt: skip
def test_names_of_the_network(host: str) -> None:
    """An address, this machine, or a name that cannot be had in public."""
    assert refusal(request(("192.0.2.2", 8188), host)) == ""


@pytest.mark.parametrize("host", ["evil.example:8188", "gpu.local.evil.example", "192.0.2.2.evil.example", "1.2.evil"])
def test_rebinding_to_an_address_of_the_network(host: str) -> None:
    """A page whose own name was made to lead to us is of the same origin, and gets no socket."""
    assert "own network" in refusal(request(("192.0.2.2", 8188), host))


def test_a_public_name_behind_a_proxy() -> None:
    """A proxy says that it handed the request on, which no page can put into a handshake."""
    assert refusal(request(("192.0.2.2", 8188), "gpu.example", X_Forwarded_For="203.0.113.9")) == ""


def test_a_unix_socket_is_a_proxy_s() -> None:
    """What comes in by a file has no address, and no browser leads there."""
    assert refusal(request("/run/comfyui.sock", "localhost")) == ""


FOREIGN = [
    "http://evil.example",
    "https://gpu.example.evil",
    "null",
    "file://",
    "http://127.0.0.1:1",
    "http://gpu.lan:1",
]
SITES = [None, "cross-site", "same-site"]
TARGETS = ["127.0.0.1:8188", "gpu.lan:8188", "gpu.example", "comfyui", "10.0.0.7:8188"]
PROXIES: list[dict[str, str]] = [
    {}, {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-Host": "gpu.example"}, {"Forwarded": "host=gpu.example"},
]  # fmt: skip


def test_nothing_that_a_browser_sends_across_sites_passes() -> None:
    """Every origin, what the browser says of it, and what proxies make of the target.

    Also with ComfyUI's CORS option, which lets a foreign page send JSON, but no header that is not on its list.
    """
    tried = []
    for origin, site, target, proxied in itertools.product(FOREIGN, SITES, TARGETS, PROXIES):
        headers = {**proxied, "Origin": origin, **({} if site is None else {"Sec-Fetch-Site": site})}
        asked = request(("192.0.2.2", 8188), target)
        asked.headers.update(headers)
        for check in (check_origin, check_socket):
            with pytest.raises(Refused) as refused:
                check(asked)
            tried.append(refused.value.status)

    assert (len(tried), set(tried)) == (2 * 360, {403})


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("target", TARGETS)
def test_no_foreign_page_opens_a_socket(origin: str, target: str) -> None:
    """Browsers send the handshake of any page, without asking, and with no header of the page's own."""
    assert "origin" in refusal(request(("192.0.2.2", 8188), target, Origin=origin, Sec_Fetch_Site="cross-site"))
    assert "origin" in refusal(request(("192.0.2.2", 8188), target, Origin=origin))


@pytest.mark.parametrize(
    "more",
    [
        {"Sec-Fetch-Site": "same-origin"},  # https, or loopback: the browser says it
        {MARK: "1"},  # plain http in a network
        {MARK: "1", "Sec-Fetch-Site": "same-origin"},
        {"X-Forwarded-Host": "gpu.example"},
        {"X-Forwarded-Host": "gpu.example, inner"},
    ],
)
@pytest.mark.parametrize("host", ["comfyui", "100.64.1.2:60123", "gpu.example:443"])
def test_our_page_behind_a_proxy(host: str, more: dict[str, str]) -> None:
    """The name in `Host` is the proxy's, or another: what only our page can say counts."""
    check_origin(make_mocked_request("POST", "/x", headers={"Host": host, "Origin": "https://gpu.example", **more}))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example", MARK: "1", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://gpu.lan:8188"},
    ],
)
def test_the_browser_s_word_counts_most(headers: dict[str, str]) -> None:
    """Whatever else is said, a browser that says another site is believed."""
    with pytest.raises(Refused):
        check_origin(make_mocked_request("POST", "/x", headers={"Host": "gpu.lan:8188", **headers}))


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:8188", "localhost:8188", True),
        ("https://comfy.example", "comfy.example", True),
        ("https://comfy.example", "comfy.example:443", True),
        ("http://comfy.example:80", "comfy.example", True),
        ("http://[::1]:8188", "[::1]:8188", True),
        ("HTTP://LOCALHOST:8188", "localhost:8188", True),
        ("http://localhost:8188", "localhost:8189", False),
        ("http://localhost.evil:8188", "localhost:8188", False),
        ("file://", "localhost", False),
        ("null", "localhost", False),
        ("http://localhost:99999", "localhost", False),
        ("", "", False),
    ],
)
def test_same_origin(origin: str, host: str, same: bool) -> None:
    """Scheme's default port, case and IPv6 included."""
    assert same is same_origin(origin, host)


@pytest.mark.parametrize("gone", [True, False])
async def test_a_client_that_left_in_mid_body_fills_no_log(gone: bool) -> None:
    """What a stranger breaks off is no error of the server's; a connection that broke elsewhere is."""

    async def handler(_request: Any) -> Any:
        raise ConnectionResetError("the connection was lost")

    closing: Any = SimpleNamespace(is_closing=lambda: gone, get_extra_info=lambda *_: None)
    asked: Any = make_mocked_request("POST", "/x", transport=closing)
    if gone:
        assert 499 == (await answer_refusals(handler)(asked)).status
    else:
        with pytest.raises(ConnectionResetError):
            await answer_refusals(handler)(asked)
