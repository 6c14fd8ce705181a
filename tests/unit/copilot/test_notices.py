"""Notices are shown to the user and never fed back to the model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.copilot.notices import mark, strip, strip_messages, with_notices

plain = st.text(alphabet=st.characters(exclude_characters="\u2063", exclude_categories=["Cs"]))


@given(text=plain, notices=st.lists(plain.filter(str.strip), min_size=1, max_size=3))
def test_what_is_added_can_be_taken_out_again(text: str, notices: list[str]) -> None:
    """Whatever the answer and the notices say, stripping gives the answer back, but for blanks at its end."""
    shown = with_notices(text, notices)

    assert text.rstrip() == strip(shown).rstrip()


def test_a_notice_is_shown_once_as_a_quoted_paragraph() -> None:
    """The same notice twice is one paragraph, quoted line by line, below the answer."""
    shown = with_notices("An answer.", ["First.\nSecond.", "First.\nSecond."])

    assert "An answer.\n\n> \u2063\u2063First.\n> Second.\u2063\u2063\u2063" == shown


def test_a_notice_survives_copilots_rstrip() -> None:
    """Copilot strips trailing white space of history; the closing mark must not be lost by it."""
    assert "" == strip(mark("Something went wrong. ").rstrip())


def test_an_answer_without_notices_is_untouched() -> None:
    """Text that needs nothing is returned as it is, trailing blanks included."""
    assert "An answer. \n" == with_notices("An answer. \n", [])


def test_history_loses_notices_and_answers_that_were_nothing_else() -> None:
    """Only the assistant's own words go back to the model."""
    notice = mark("The model could not be reached.")
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": notice},
        {"role": "user", "content": "again"},
        {"role": "assistant", "content": f"Half an ans\n\n{notice}"},
        {"role": "assistant", "content": [{"type": "text", "text": f"Part\n\n{notice}"}, {"type": "image"}]},
        {"role": "user", "content": "go on"},
    ]

    clean = strip_messages(messages)

    assert [
        {"role": "user", "content": "hello"},
        {"role": "user", "content": "again"},
        {"role": "assistant", "content": "Half an ans"},
        {"role": "assistant", "content": [{"type": "text", "text": "Part"}, {"type": "image"}]},
        {"role": "user", "content": "go on"},
    ] == clean


def test_history_without_notices_is_the_same_object() -> None:
    """Copilot gets exactly what its page sent if there is nothing to take out."""
    messages = [
        {"role": "user", "content": mark("quoted by the user")},
        {"role": "assistant", "content": None},
    ]

    assert strip_messages(messages) is messages


def test_what_fills_up_for_a_notice_never_reaches_the_model() -> None:
    """A page that was stopped may keep it."""
    assert "an answer" == strip("an answer" + "\u2063" * 40)
