"""What is read of an address."""

from __future__ import annotations

import pytest

from backend.recovery.addresses import host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://user:pw@mcp.example/x?k=1", "mcp.example"),
        ("http://127.0.0.1:80/x", "127.0.0.1:80"),
        ("http://[::1]:11434/v1", "[::1]:11434"),
        ("HTTPS://API.Example.org", "api.example.org"),
        ("http://user:12/w@h.org/v1", ""),
        ("http://user%3APassw0rd%40h.org/v1", ""),
        ("http://[fe80::1%25eth0]:1234/v1", "[fe80::1%25eth0]:1234"),
        ("not a url", ""),
        ("http://[broken", ""),
        ("http://h:99999/", ""),
        ("http://h:half-a-password/", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_host_and_port_of_an_address(url: str | None, host: str) -> None:
    """One way to name a server for chats, metrics and tool servers; half a password never passes for a port."""
    assert host == host_of(url)
