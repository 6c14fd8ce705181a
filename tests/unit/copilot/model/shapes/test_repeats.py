"""Text that comes twice is let through once; text that only looks like it is let through as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.copilot.model.shapes.repeats import RepeatFilter


def shown(pieces: list[str]) -> str:
    """All that is let through of the pieces, to the end."""
    repeats = RepeatFilter()
    text = "".join(map(repeats.feed, pieces)) + repeats.rest()
    assert text == repeats.text
    return text


@pytest.mark.parametrize(
    "pieces",
    [
        ["=", "==", "====", "== Title"],
        ["=", "==", "===", "\n", "The ", "end"],
        ["1", "10", "100", "0"],
        ["1", "0", "10"],
        ["ha", "haha", "haha!", " Very funny."],
        ["A", "AA", "AAA batteries", " and a charger"],
        ["no", "no no", "no no no no!", " Not that."],
        ["-" * 12, "-" * 12],
        ["哈", "哈哈", "哈哈哈哈", "，好"],
        ["The cat. ", "The cat. The dog. ", " and more"],
        ["a", "ab", "abc", "abcd", "e"],
    ],
)
def test_pieces_that_happen_to_begin_alike_lose_nothing(pieces: list[str]) -> None:
    """What comes later tells that they were pieces, or they are of signs that grow by themselves."""
    assert "".join(pieces) == shown(pieces)


@given(st.lists(st.text("=-01", min_size=1), max_size=14))
def test_rules_and_numbers_are_never_taken_for_repetitions(pieces: list[str]) -> None:
    """They say nothing that could tell a repetition from a long line."""
    assert "".join(pieces) == shown(pieces)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("Here is a picture of a cat.", 1),
        ("Here is a picture of a cat.", 7),
        ("这是一张可爱的猫的图片，背景是蓝色的天空。", 1),
        ("这是一张可爱的猫的图片，背景是蓝色的天空。", 5),
        ("-" * 40, 2),
    ],
)
def test_a_server_that_sends_all_of_its_text_each_time_is_understood(text: str, step: int) -> None:
    """Whatever the steps; what it holds is shown while it comes, and not at the end only."""
    pieces = [text[:end] for end in range(step, len(text), step)] + [text]
    repeats = RepeatFilter()
    parts = [repeats.feed(piece) for piece in pieces]

    assert text == "".join(parts) + repeats.rest()
    assert parts[-1]


def test_such_a_server_may_go_over_to_what_is_new() -> None:
    """A piece that does not hold the text so far is new text; an older state of it is none."""
    text = "The picture shows a cat on a mat."
    pieces = [text[:12], text[:16], text[:20], text[:17], text, " It sleeps", ", and dreams"]

    assert text + " It sleeps, and dreams" == shown(pieces)


@pytest.mark.parametrize(
    "first", [["=", "==", "==="], ["The picture", "The picture of a", "The picture of a cat", "The picture of a cat."]]
)
def test_time_grows_with_the_length_only(first: list[str]) -> None:
    """Pieces behind some that look like a repetition; a quadratic filter would run into the suite's time limit."""
    repeats = RepeatFilter()
    for piece in [*first, *(["word "] * 500_000)]:
        repeats.feed(piece)

    assert repeats.text.endswith("word word ")
