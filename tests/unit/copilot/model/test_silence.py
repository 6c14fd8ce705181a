"""What the chat shows while a model is silent."""

from __future__ import annotations

import time

import pytest

from backend.copilot.model.silence import silence_notice

NOON = time.mktime((2026, 3, 4, 12, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("language", "left", "then", "words"),
    [
        ("en", 290.0, "retry", ("m has been silent since 11:59:50", "by 12:04:50, it is asked again", "Stop")),
        ("en", 20.0, "give_up", ("by 12:00:20, the answer ends",)),
        ("zh", 290.0, "retry", ("m 自 11:59:50 起", "到 12:04:50", "停止")),
    ],
)
def test_it_says_since_when_until_when_and_what_then(
    language: str, left: float, then: str, words: tuple[str, ...]
) -> None:
    """In times of day: a count would stand still on a page that shows only longer texts."""
    notice = silence_notice("m", 10.0, left, then, language, wall=lambda: NOON)  # type: ignore[arg-type]

    assert [] == [one for one in words if one not in notice]


def test_without_a_limit_it_says_no_end() -> None:
    """The user alone ends it; a model without a name is called one."""
    notice = silence_notice("", 10.0, None, "retry", "en", wall=lambda: NOON)

    assert notice.startswith("The model has been silent")
    assert "If nothing" not in notice
