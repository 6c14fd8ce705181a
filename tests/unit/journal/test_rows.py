"""What of an event is written, and how."""

from __future__ import annotations

import json
import math
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.error_handling import Redactor, secret_name
from backend.event_bus import Event
from backend.journal.redaction import MAX_TEXT, Redaction
from backend.journal.rows import RowMaker, dumps
from tests.support.stores import read_row

from .test_redaction import KEY, NAMES, PLAIN


def maker(**options: Any) -> RowMaker:
    return RowMaker(Redaction(Redactor().redact, secret_name), **options)


def stored(type_: str, data: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The data of an event after it has been written and read."""
    return read_row(maker(**options).make(0.0, [Event(type_, data, "test")])[0]).data


LATER = "quiet harbour lantern"  # a secret that looks like none
EVENT_DATA = st.dictionaries(
    st.sampled_from([*NAMES, LATER]) | st.text(max_size=5),
    PLAIN | st.sampled_from([LATER, f"it is {LATER}", "half a pair \ud83d", "},{", 'quoted "\\\n', "中文"]),
    max_size=5,
)


@settings(deadline=None)
@given(st.lists(EVENT_DATA, max_size=6))
def test_rows_are_those_of_the_full_redaction_whatever_was_remembered(datas: list[dict[str, Any]]) -> None:
    """What a maker remembers of names, strings and shapes changes no row, also after a secret was learned."""
    redactor = Redactor()
    rows = RowMaker(Redaction(redactor.redact, secret_name, lambda: redactor.version))
    for secret in (None, None, LATER):
        redactor.add(secret)
        rows.refresh()
        made = rows.make(0.0, [Event("plugin.said", data, LATER, LATER) for data in datas])
        assert len(made) == len(datas)
        for data, row in zip(datas, made, strict=True):
            assert row[4].encode()
            assert read_row(row).data == redactor.redact_value(data)
            assert row[2].source == row[3] == redactor.redact(LATER)


WORDS = st.sampled_from(
    [KEY, "AKIA0123456789abcdef", "hidden-harbour-lantern", "hidden-h", "hidden-harb", "HIDDEN-HARBOUR-LANTERN", "sk-"]
    + ["api_key", "token", "Bearer", "eyJ", "qwen3-30b-a3b", "0123456789abcdef0123456789abcdef.0123456789abcdef"]
) | st.text("abcXYZ019_.-", min_size=1, max_size=64)


@settings(deadline=None)
@given(st.lists(WORDS, max_size=8))
def test_words_that_are_clean_together_are_clean_each(words: list[str]) -> None:
    """What `Redaction` asks of the real redactor, with a secret that looks like none among the words."""
    redactor = Redactor()
    redactor.add("hidden-harbour-lantern")
    together = "\n".join(words)

    if redactor.redact(together) == together:
        assert [redactor.redact(word) for word in words] == words


def test_batch_that_fails_leaves_no_word_unseen() -> None:
    """A number that JSON has no word for ends the run before the words in front of it were looked at."""
    rows = maker()
    rows.make(0.0, [Event("x", {"a": KEY}, "test"), Event("x", {"a": math.nan}, "test")])

    made = rows.make(0.0, [Event("x", {"a": KEY}, "test")])
    assert read_row(made[0]).data == {"a": "[redacted]"}


class Outcome(str, Enum):
    DONE = "done"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"token": 7}, {"token": KEY[:9]}),
        ({"model": "a"}, {"model": {"token": "abc"}}),
        ({"model": "a"}, {"model": [("authorization", "abc")]}),
        ({"x": 1.0}, {"x": math.nan}),
        ({"x": "done"}, {"x": Outcome.DONE}),
        ({"x": True}, {"x": 1}),
        ({"1": "a"}, {1: "a"}),
    ],
)
def test_shape_that_was_seen_says_nothing_of_one_that_is_only_alike(
    first: dict[Any, Any], then: dict[Any, Any]
) -> None:
    """The same names with other kinds of values, and names that are equal but not the same."""
    rows = maker()
    rows.make(0.0, [Event("x", first, "test")])[0]

    read = [read_row(rows.make(0.0, [Event("x", then, "test")])[0]).data for _ in range(2)]

    assert read == [stored("x", then)] * 2
    assert "abc" not in str(read)
    assert KEY[:9] not in str(read)
    assert "Outcome" not in str(read)


@pytest.mark.parametrize("type_", ["chat.finished", "chat.note", "plugin.said"])
def test_text_of_a_chat_is_its_length_only(type_: str) -> None:
    """Neither our own events nor those of a type that we don't know bring the user's words to the disk."""
    data = stored(type_, {"chat_id": "7", "text": "my secret plan", "notice": "be careful"})

    assert data == {"chat_id": "7", "text_length": 14, "notice_length": 10}


def test_text_is_kept_where_the_user_wants_it() -> None:
    """COPILOT_PULSE_STORE_TEXT=on; keys are taken out all the same."""
    data = stored("chat.finished", {"text": f"use {KEY}"}, with_text=True)

    assert data == {"text": "use [redacted]"}


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (math.nan, None),
        (math.inf, None),
        ([1.5, -math.inf], [1.5, None]),
        (2**70, 2**70),
        ("half a pair \ud83d", "half a pair \ud83d"),
        ("whole 😀 中文", "whole 😀 中文"),
        (b"bytes \xff", "bytes \ufffd"),
        ({1}, [1]),
        ((1, 2, 3), [1, 2, 3]),
        ({1: "a"}, {"1": "a"}),
        (True, True),
        ("nul \x00 in it", "nul \x00 in it"),
    ],
)
def test_values_that_json_or_sqlite_have_no_word_for(value: Any, read: Any) -> None:
    """Each is written as the nearest thing that is legal, and nothing is raised."""
    row = maker().make(0.0, [Event("x", {"value": value}, "test")])[0]

    json.loads(row[4], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert all(part.encode() for part in row if isinstance(part, str))
    assert read_row(row).data == {"value": read}


def test_long_text_is_cut_behind_the_redaction() -> None:
    """A key that stands across the cut must not leave its first half behind."""
    for before in range(MAX_TEXT - len(KEY), MAX_TEXT + 1):
        data = stored("x", {"message": "a" * (before - 1) + " " + KEY + " " + "b" * 10_000})

        assert KEY[:12] not in data["message"]
        assert len(data["message"]) < MAX_TEXT + 40


@pytest.mark.parametrize(
    "data",
    [
        {"chat_id": "7", "big": 10**5000},
        {"chat_id": "7", "many": list(range(10_000))},
        {"chat_id": "7", "wide": {str(n): "x" * 1000 for n in range(200)}},
    ],
)
def test_what_cannot_be_written_is_a_row_that_says_so(data: dict[str, Any]) -> None:
    """The batch goes on, and the history shows that something was there."""
    read = stored("x", data)

    assert read["chat_id"] == "7"
    assert read["unstorable"]
    assert len(dumps(read)) < 300


def test_data_that_breaks_while_it_is_read_is_told_without_its_words() -> None:
    """A foreign object's error may quote what it holds."""

    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError(f"cannot read {KEY}")

    read = stored("error", Broken(message="x"))

    assert read == {"unstorable": "RuntimeError"}


def test_circle_ends() -> None:
    """Data that holds itself is cut off, not followed for ever."""
    circle: dict[str, Any] = {"name": "a"}
    circle["self"] = circle

    assert stored("x", circle)["self"]["self"]["name"] == "a"


def test_what_is_no_event_at_all_is_still_a_row() -> None:
    """A plugin may publish anything that has a type."""

    class Thing:
        type = "thing"

    row = maker().make(5.0, [Thing()])[0]

    assert row[2].type == "thing"
    assert row[1] > 5.0
