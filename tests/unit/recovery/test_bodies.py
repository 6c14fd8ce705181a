"""Answers that are no event stream, and error bodies of every shape that JSON allows."""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

from typing import Any

import pytest

from backend.recovery.advice import explain
from backend.recovery.bodies import wrong_body
from backend.recovery.classify import Classification, Classifier
from backend.recovery.errors import HtmlBody, UnexpectedBody
from backend.recovery.kinds import KINDS

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

URL = "http://127.0.0.1:1234/v1/chat/completions"
BARE = "http://127.0.0.1:1234/chat/completions"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in\n to go on</title></head></html>"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/event-stream", b""), ("text/event-stream; charset=utf-8", b"data: {}\n\n"), ("text/plain", b"data: {}\n\n"),
        ("application/octet-stream", b": ping\n\n"), ("", b"\n\nevent: x\ndata: 1\n\n"), (None, b"data:1\n"),
        ("application/json", b"data: {}\n\n"), ("text/event-stream", b'{"half": '),
    ],
)  # fmt: skip
def test_stream_is_left_alone(content_type: str | None, body: bytes) -> None:
    """By its type, or by its first line: many servers get the type wrong."""
    assert wrong_body(content_type, body, url=URL) is None


@pytest.mark.parametrize(
    ("content_type", "body", "url", "status", "kind"),
    [
        ("text/html", PAGE, URL, 200, "html_body"),
        ("text/event-stream", PAGE, URL, 200, "html_body"),
        ("", b"\xef\xbb\xbf  <!-- hi --> <HTML>", URL, 200, "html_body"),
        ("text/html", b"", URL, 200, "html_body"),
        ("text/html", PAGE, BARE, 404, "missing_v1"),
        ("application/json", b'{"error":"Unexpected endpoint or method. (POST /chat/completions)"}', BARE, 200, "missing_v1"),
        ("application/json", b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}', URL, 200, "rate_limited"),
        ("application/json", b'{"code":30001,"message":"balance is insufficient"}', URL, 200, "quota"),
        ("application/json", b'[{"error":{"code":503,"message":"overloaded"}}]', URL, 200, "overloaded"),
        ("application/json", b'{"choices":[{"message":{"content":"hi"}}]}', URL, 200, "malformed"),
        ("application/json", b'{"cut": "of', URL, 200, "malformed"),
        ("application/json", b"", URL, 200, "malformed"),
        ("text/plain", b"invalid api key", URL, 200, "auth"),
        ("text/event-stream", b"upstream connect error: no healthy upstream", URL, 200, "overloaded"),
        ("text/event-stream", b"\x1f\x8b\x08\x00rate limit", URL, 200, "malformed"),
        ("text/plain", b"\xff\xfe\x00", URL, 200, "malformed"),
    ],
)  # fmt: skip
def test_what_is_no_stream_is_judged_by_what_it_says(
    content_type: str, body: bytes, url: str, status: int, kind: str
) -> None:
    """A page, an error object, a whole answer, scraps: never an empty stream without a word."""
    error = wrong_body(content_type, body, url=url, status=status)
    assert error is not None

    assert kind == Classifier().classify(error).kind


def test_page_tells_its_title_and_where_it_came_from() -> None:
    """The advice names the login page."""
    error = wrong_body("text/html", PAGE, url=URL, redirected_to="https://login.example/sso")

    assert isinstance(error, HtmlBody)
    assert ("127.0.0.1:1234", "Sign in to go on", 200) == (error.host, error.title, error.status_code)
    assert "https://login.example/sso" == Classifier().classify(error).redirected_to


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "detail", "msg", "status", "metadata", "raw"])
            | st.text(max_size=6),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(json_values, st.none() | st.integers(100, 599), st.none() | st.text(max_size=20), st.booleans())
def test_any_body_is_judged_and_explained(body: Any, status: int | None, url: str | None, chinese: bool) -> None:
    """Whatever a server sends as its error: a known kind, sound fields, one paragraph."""
    cause = Classifier().classify(UnexpectedBody("host", url or URL, body, status=status))
    text = explain(cause, host=url, model=url, base_url=url, language="zh" if chinese else "en")

    assert isinstance(cause, Classification)
    assert cause.kind in KINDS
    assert "unreadable" not in cause.message
    assert len(cause.message) <= 500
    assert text
    assert "\n" not in text


@given(st.text(max_size=300), st.sampled_from(["", "text/html", "application/json", "text/event-stream"]))
def test_any_text_is_judged(text: str, content_type: str) -> None:
    """Random bytes never raise."""
    error = wrong_body(content_type, text.encode("utf-8", "surrogatepass"), url=URL)

    assert error is None or Classifier().classify(error).kind in KINDS


@pytest.mark.parametrize(
    "text",
    ["model " * 100_000, "no " * 200_000, "api key " * 80_000, "模型" * 200_000, "retry 1" * 80_000, "<!--" * 100_000,
     "\n" * 300_000, "exceed context " * 30_000, "tool not " * 50_000, "try again in " + "1h" * 100_000],
)  # fmt: skip
def test_huge_bodies_are_judged_in_time(text: str) -> None:
    """Half a megabyte of what a pattern begins with; a quadratic one would run into the suite's time limit."""
    error = wrong_body("text/plain", text, url=URL) or UnexpectedBody("h", URL, text, status=400)

    assert Classifier().classify(error).kind in KINDS
    assert Classifier().classify(RuntimeError(text)).kind == "unknown"
