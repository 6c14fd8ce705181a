"""What of a base URL may be counted, published and shown."""

from __future__ import annotations

import pytest

from backend.copilot.model.endpoint import NO_HOST, Endpoint
from backend.recovery.addresses import clean_url

KEY = "fireworkskey-plain-0042"


@pytest.mark.parametrize(
    ("url", "host", "shown"),
    [
        ("http://127.0.0.1:1234/v1/", "127.0.0.1:1234", "http://127.0.0.1:1234/v1/"),
        ("https://user:pw@api.example.org/v1", "api.example.org", "https://api.example.org/v1"),
        ("https://user:p%2Fw%3F%23@api.example.org/v1", "api.example.org", "https://api.example.org/v1"),
        ("https://api.example.org/v1?key=SECRET#x", "api.example.org", "https://api.example.org/v1"),
        ("http://[::1]:11434/v1", "[::1]:11434", "http://[::1]:11434/v1"),
        ("http://localhost/a%20b", "localhost", "http://localhost/a b"),
        # No scheme, so no host: these may only be shown, and only to whom they belong.
        ("user:s3cretpw@127.0.0.1/v1", NO_HOST, "127.0.0.1/v1"),
        ("api.example.org/v1?foo=SECRET", NO_HOST, "api.example.org/v1"),
        ("localhost:1234/v1", NO_HOST, "localhost:1234/v1"),
        ("htps://api.example.org/v1", NO_HOST, "htps://api.example.org/v1"),
        ("not a url", NO_HOST, "not a url"),
        (KEY, NO_HOST, ""),
        (f"Bearer {KEY}", NO_HOST, ""),
        ("http://", NO_HOST, "http://"),
        ("http://user:12/s3cret-w@h.org/v1", NO_HOST, "h.org/v1"),
        ("http://user%3As3cretpw%40h.org/v1", NO_HOST, "h.org/v1"),
    ],
)
def test_a_base_url_is_named_without_its_secrets(url: str, host: str, shown: str) -> None:
    """A key in the base URL's place, a password or a query reaches neither a label nor a notice."""
    assert (host, shown) == Endpoint.of(url)


@pytest.mark.parametrize("url", ["http://user:p?w@h.org/v1", "http://user:p#w@h.org/v1", "http://user:12/w@h.org/v1"])
def test_half_a_password_is_not_shown(url: str) -> None:
    """A password that was not encoded looks like a host and a port, and is no address that helps anybody."""
    assert "" == clean_url(url)


def test_only_an_address_has_a_known_host() -> None:
    """A notice names the server, or speaks of "the model server"."""
    assert ("h:1", None) == (Endpoint.of("http://h:1/v1").known, Endpoint.of(KEY).known)
