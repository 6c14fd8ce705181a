"""The event table: its docs are current, and no text of a chat leaves the process by accident."""

from __future__ import annotations

import pytest

from backend.events import EVENTS, TEXT_KEYS, without_text


@pytest.mark.parametrize("type_", [name for name, spec in EVENTS.items() if spec.text])
def test_text_is_replaced_by_its_length(type_: str) -> None:
    """An event with text may leave the process with the text's length only."""
    assert {"chat_id": "c", "text_length": 6, "notice_length": 3} == without_text(
        type_, {"chat_id": "c", "text": "secret", "notice": "why"}
    )


def test_an_unknown_event_is_treated_as_one_with_text() -> None:
    """Another plugin's event type is not trusted to hold no text."""
    assert {"text_length": 6} == without_text("other.plugin", {"text": "secret"})


def test_every_event_with_text_keys_says_so() -> None:
    """A type whose data has a key for text is marked as one with text."""
    unmarked = [name for name, spec in EVENTS.items() if TEXT_KEYS & set(spec.data.__annotations__) and not spec.text]

    assert [] == unmarked
