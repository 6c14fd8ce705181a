"""Who may open a WebSocket when ComfyUI listens on the network: a name that anybody can register is not ours."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict

from backend.origin import Refused, check_socket, is_loopback


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


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("192.168.0.1", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("::ffff:127.0.0.1", True),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    """Names that only look like this machine's are not taken for it."""
    assert is_loopback(host) is expected
