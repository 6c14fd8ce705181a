"""A relay that is fed with another's frames gives every reader the same answer, wherever it read before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.streams.relay import Relay
from tests.support.stream_reading import Page

LINE = {"session_id": "s", "type": "message", "ext": None, "finished": False}
PIECES = st.sampled_from(["a", "word ", "中文", "🎨", "x" * 300, "y" * 5_000, "z" * 9_000])


def write(relay: Relay, text: str, step: tuple[str, Any]) -> str:
    kind, value = step
    if kind == "text":
        text += value
        relay.line({**LINE, "text": text})
    elif kind == "cut":
        text = text[: len(text) * value // 10]
        relay.line({**LINE, "text": text})
    elif kind == "item":
        relay.line({**LINE, "text": text, "ext": [value]})
    elif kind == "bare":
        relay.line({"session_id": "s", "note": value})
    elif kind == "raw":
        relay.raw(f"raw {value}")
    return text


STEPS = st.one_of(
    st.tuples(st.just("text"), PIECES),
    st.tuples(st.just("cut"), st.integers(0, 10)),
    st.tuples(st.sampled_from(["item", "bare", "raw"]), st.integers(0, 9)),
    st.tuples(st.just("mirror"), st.just(0)),
    st.tuples(st.just("read"), st.integers(1, 3)),
)


def mirror(observer: Any, copy: Relay) -> None:
    while (frame := observer.next_nowait()) is not None:
        copy.apply(frame)


def take(reader: Any, page: Page, most: int = 1_000_000) -> None:
    while most and (frame := reader.next_nowait()) is not None:
        page.take(frame)
        most -= 1


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=40), st.integers(0, 40))
def test_a_page_that_changes_over_to_the_copy_has_the_same_answer(steps: list[tuple[str, Any]], change: int) -> None:
    """It reads the origin now and then, at some point the copy, from the number that it had; text and items agree."""
    origin, copy = Relay(), Relay()
    origin.head(200, {"Content-Type": "application/json"})
    observer = origin.observe()
    page = Page()
    reader: Any = origin.read(0)
    text = ""
    for number, (kind, value) in enumerate(steps):
        if number == change:
            mirror(observer, copy)
            reader.close()
            reader = copy.read(page.seq)
        if kind == "mirror":
            mirror(observer, copy)
        elif kind == "read":
            take(reader, page, value)
        else:
            text = write(origin, text, (kind, value))
    origin.end("completed")
    mirror(observer, copy)
    if reader.relay is origin:
        reader.close()
        reader = copy.read(page.seq)
    take(reader, page)
    whole = Page()
    take(copy.read(0), whole)

    for one in (page, whole):
        assert (one.text, one.outcome, one.in_order) == (text, "completed", True)
    assert copy.seq == origin.seq
    assert [line for line in whole.lines if line.get("ext") or "note" in line] == [
        line for line in lines_of(origin) if line.get("ext") or "note" in line
    ]


def lines_of(relay: Relay) -> list[dict[str, Any]]:
    page = Page()
    take(relay.read(0), page)
    return page.lines


def test_what_was_cut_and_has_grown_back_is_sent_again() -> None:
    """The copy saw the text before and after; a page that read in between had less of it."""
    origin, copy, page = Relay(), Relay(), Page()
    observer = origin.observe()
    text = "y" * 5_000
    origin.line({**LINE, "text": text})
    mirror(observer, copy)
    origin.line({**LINE, "text": ""})
    origin.line({**LINE, "text": text})
    take(origin.read(0), page, 2)
    assert len(page.text) < len(text)
    origin.end("completed")
    mirror(observer, copy)
    take(copy.read(page.seq), page)

    assert (page.text, page.outcome) == (text, "completed")


def test_a_frame_again_changes_nothing() -> None:
    """A copy that is written anew may bring frames that were there already."""
    origin, copy = Relay(), Relay()
    origin.line({**LINE, "text": "one"})
    for observer in (origin.observe(), origin.observe()):
        mirror(observer, copy)
    origin.line({**LINE, "text": "one two"})
    mirror(origin.observe(), copy)

    assert (copy.text, copy.seq) == ("one two", origin.seq)


def test_an_abandoned_copy_ends_in_a_sentence() -> None:
    """The text so far, then why there is no more, in a last line that says finished."""
    origin, copy = Relay(), Relay()
    origin.line({**LINE, "text": "half an ans"})
    mirror(origin.observe(), copy)
    copy.abandon(" gone.")
    copy.abandon(" twice.")

    (*_, last) = lines_of(copy)
    assert (last["text"], last["finished"], copy.outcome) == ("half an ans gone.", True, "failed")


def test_an_abandoned_copy_without_text_gets_a_line_unless_it_has_no_lines() -> None:
    """One that had only begun is a stream of lines; the body of an error is none."""
    begun, body = Relay(), Relay()
    begun.head(200, {})
    body.head(400, {})
    body.body("no such model")
    for copy in (begun, body):
        copy.abandon("gone.", LINE)

    assert [(line["text"], line["finished"]) for line in lines_of(begun)] == [("gone.", True)]
    assert lines_of(body) == []
    assert begun.outcome == body.outcome == "failed"


@pytest.mark.parametrize("more", [1, 2, 3, 50])
def test_a_page_that_has_more_than_the_abandoned_copy_loses_nothing(more: int) -> None:
    """Its numbers were given by who is gone, for text that is not known here: it gets all, under higher numbers."""
    origin, copy, page = Relay(), Relay(), Page()
    origin.line({**LINE, "text": "x" * 600})
    mirror(origin.observe(), copy)
    for number in range(more):
        origin.line({**LINE, "text": f"another text {number}"})
    take(origin.read(0), page)
    copy.abandon(" gone.")
    take(copy.read(page.seq), page)

    assert (page.text, page.outcome) == ("x" * 600 + " gone.", "failed")
    assert page.in_order


def test_an_observer_counts_as_no_reader() -> None:
    """Neither the grace period nor the limit of readers knows of it."""
    relay = Relay()
    relay.observe()

    assert relay.readers == []
