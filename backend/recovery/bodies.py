"""What to make of an answer that is no event stream although its status is good."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from .addresses import host_of
from .errors import HtmlBody, PulseError, UnexpectedBody
from .lazy import LazyPattern

_HTML: Final = LazyPattern(
    r"(?:\s|\ufeff|<!--[^>]{0,500}-->|<\?xml[^>]{0,200}>){0,40}<(?:!doctype\s{0,8}html|html|head|body)\b",
    re.IGNORECASE,
)
_TITLE: Final = LazyPattern(r"<title[^>]{0,200}>([^<]{1,200})", re.IGNORECASE)
_STREAM: Final = LazyPattern(r"[\s\ufeff]{0,20}(?:data|event|id|retry)?:", re.IGNORECASE)
# A field of an event at the beginning of any line.
_FIELD: Final = LazyPattern(r"^[ \t\ufeff]{0,8}(?:data|event|id|retry|error)?:", re.IGNORECASE | re.MULTILINE)
# A body that is compressed although nobody asked for that is full of these.
_BINARY: Final = LazyPattern("[\ufffd\x00-\x08\x0e-\x1f]")
_LENGTH: Final = 4_000


def wrong_body(
    content_type: str | None,
    body: bytes | str,
    *,
    url: str,
    status: int = 200,
    redirected_to: str | None = None,
) -> PulseError | None:
    """The error that an answer's first bytes (some thousand will do) amount to; None if they are an event stream.

    A client library reads such an answer as an empty stream and reports nothing. `url` is what was asked and
    `redirected_to` the final address if it is another. Any thread; never raises.
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    text = (body.decode("utf-8", "replace") if isinstance(body, bytes) else body)[: _LENGTH * 4]
    page = is_html(text)
    if not page and (_STREAM.match(text) or (kind == "text/event-stream" and _may_be_stream(text))):
        return None
    host = host_of(url) or "the server"
    if page or kind in ("text/html", "application/xhtml+xml"):
        return HtmlBody(host, url, redirected_to, status=status, title=html_title(text))
    parsed: Any = None if _BINARY.search(text[:_LENGTH]) else text[:_LENGTH]
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):  # cut off, no JSON, or nested beyond reason: judged by its words
        pass
    return UnexpectedBody(host, url, parsed, status=status, content_type=kind)


def _may_be_stream(text: str) -> bool:
    """Whether what is called a stream can be one: it is empty, or a piece of JSON, or holds a field of an event."""
    begin = text.lstrip()[:1]
    return not _is_json(text) and (begin in ("", "{") or _FIELD.search(text) is not None)


def _is_json(text: str) -> bool:
    """Whether a body's first line is a whole object of JSON: no stream then, whatever the server calls it."""
    first = text.lstrip("\ufeff \t\r\n").partition("\n")[0]
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def is_html(text: str) -> bool:
    """True if the text begins like a web page."""
    return _HTML.match(text[:_LENGTH]) is not None


def html_title(text: str) -> str:
    """The page's title, else ""."""
    found = _TITLE.search(text[: _LENGTH * 4])
    return " ".join(found[1].split())[:100] if found else ""
