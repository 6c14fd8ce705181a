"""How a model server is named: what of its base URL may be counted, published and shown.

What a user has pasted as the base URL may be anything: an address with a password in it, or the API key itself.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from ...error_handling import host_of

NO_HOST: Final = "invalid URL"
# A scheme, or what is left of a mistyped one, and a name or number that is a host's.
_ADDRESS: Final = re.compile(
    r"(?:[a-z]{2,8}:?/{1,3}|https?:)?"
    r"(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\]|(?:[a-z0-9-]+\.)+[a-z]{2,})(?::\d+)?(?:/|$)",
    re.IGNORECASE,
)
# A run of so many characters may be a key.
_RUN: Final = re.compile(r"\S{12}")


class Endpoint(NamedTuple):
    """A base URL by its names. Neither holds credentials, a query or a fragment.

    `host` is host and port, for events and metrics, where every user reads it, or `NO_HOST`. `shown` is for the
    notice to the user who has set it; empty if it is no address and may be a key.
    """

    host: str
    shown: str

    @classmethod
    def of(cls, base_url: Any) -> Endpoint:
        """The names of a client's base URL, given as text or as the client's own object."""
        text = str(base_url).strip()
        host = host_of(text)
        scheme, sep, _ = text.lower().partition("://")
        if not host or not sep or scheme not in ("http", "https"):
            return cls(NO_HOST, _harmless(text))
        return cls(host, f"{scheme}://{host}{unquote(urlsplit(text).path)}")

    @property
    def known(self) -> str | None:
        """The host, or None if there is none."""
        return None if self.host == NO_HOST else self.host


def _harmless(text: str) -> str:
    """What may be shown of a base URL that is none: it looks like an address, or like a few short words."""
    text = unquote(text).partition("?")[0].partition("#")[0].rpartition("@")[2]
    return text if _ADDRESS.match(text) or not _RUN.search(text) else ""
