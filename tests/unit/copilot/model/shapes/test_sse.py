"""Bodies become events, whatever parts them and wherever they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.copilot.model.shapes.sse import EventReader, ServerEvent

A, B = {"choices": [1]}, {"choices": [2]}
JA, JB = json.dumps(A).encode(), json.dumps(B).encode()
BOTH = [("", A), ("", B)]


def through(*pieces: bytes) -> list[Any]:
    """The events of a body that arrives in these pieces; words as text."""
    reader = EventReader()
    events: list[ServerEvent] = [found for data in pieces for found in reader.feed(data)]
    events += reader.rest()
    return [(one.name, "DONE" if one.text and one.done else one.data) for one in events]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: %s\n\ndata: %s\n\n" % (JA, JB), BOTH),
        (b"data:%s\r\n\r\ndata:%s\r\n\r\n" % (JA, JB), BOTH),
        (b"data: %s\r\rdata: %s\r\r" % (JA, JB), BOTH),
        (b"data: %s\ndata: %s\n" % (JA, JB), BOTH),
        (b"data: %s\n\ndata: %s" % (JA, JB), BOTH),
        (b"\xef\xbb\xbfdata: %s\n\n" % JA, BOTH[:1]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: %s\n\n\xef\xbb\xbfdata: %s\n\n" % (JA, JB), BOTH),
        (b"\n\n: hello\n\nid: 1\nretry: 5\ndata: %s\n\n" % JA, BOTH[:1]),
        (b"data: %s%s\n\n" % (JA, JB), BOTH),
        (b"data: %s data: %s\n\n" % (JA, JB), BOTH),
        (b" data: %s\n\nData: %s\n\n" % (JA, JB), BOTH),
        (b"data: data: %s\n\ndata: data: [DONE]\n\n" % JA, [*BOTH[:1], ("", "DONE")]),
        (b"data: %s\n\n" % json.dumps(JA.decode()).encode(), BOTH[:1]),
        (JA + b"\n" + JB + b"\n", BOTH),
        (JA, BOTH[:1]),
        (b"\xef\xbb\xbf" + json.dumps(A, indent=1).encode(), BOTH[:1]),
        (b"[%s,\n%s]" % (JA, JB), BOTH),
        (b"".join(b"data: %s\n" % line for line in json.dumps(A, indent=1).encode().split(b"\n")) + b"\n", BOTH[:1]),
        (b"data: [DONE]\n\n", [("", "DONE")]),
        (b"data: [DONE]", [("", "DONE")]),
        (b"event: error\ndata: too\ndata: many\n\n", [("error", "too\nmany")]),
        (b"event: error\n\ndata: %s\n\n" % JA, BOTH[:1]),
        (b'error: {"code":500}\n\ndata: %s\n\n' % JA, [("error", {"code": 500}), BOTH[0]]),
        (b"data: %s\n\ndata: %s\n\n" % (json.dumps(A, indent=2).encode(), JB), BOTH),
        (b"data:\n\ndata: \n\nevent: ping\ndata: \n\n", []),
        (b"data: {no\n\ndata: %s\n\n" % JA, [("", "{no"), BOTH[0]]),
        (b"data: {no\ndata: %s\n" % JA, [("", "{no"), BOTH[0]]),
        (b"data: null\n\ndata: []\n\n", [("", None), ("", [])]),
        # Judged as bodies of their own, by what they are.
        (b'{"error": "no"}', []),
        (b'{"message": "no"}', []),
        (b"<html>\ndata", []),
        (b"", []),
        (b"\xef\xbb", []),
    ],
)
def test_a_body_becomes_the_same_events_wherever_it_is_cut(body: bytes, events: list[Any]) -> None:
    """In one piece, byte by byte, and cut once at each place."""
    assert events == through(body)
    assert events == through(*(body[at : at + 1] for at in range(len(body))))
    for at in range(len(body)):
        assert events == through(body[:at], body[at:])


def test_an_event_waits_for_no_blank_line() -> None:
    """It is known to be whole as soon as its line is."""
    assert [A] == [one.data for one in EventReader().feed(b"data: %s\n" % JA)]


def test_bytes_that_are_no_text_are_no_event() -> None:
    """They come as words that are no JSON, and are judged as such."""
    ((_, words),) = through(b'data: {"a": "\xff\xfe"}\n\n')

    assert words.startswith("{")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("body", [b"data: {\n" + b"data: }\n" * 200_000, b"data: " + b"{}" * 400_000 + b"x\n\n"])
def test_an_event_without_end_is_read_in_no_more_than_its_length(body: bytes) -> None:
    """All of it anew with each line, or with each object on one, would take hours."""
    through(*(body[at : at + 65_536] for at in range(0, len(body), 65_536)))
