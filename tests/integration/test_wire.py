"""What real servers send, byte for byte, through the real agent library: the right value of every row."""

from __future__ import annotations

import pytest

from tests.integration.wire_rows import ROWS
from tests.support.wire import play, wrong
from tests.support.wire_shapes import FULL, HALF, WORDS, Row, choice, stream, texts, told, whole


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
async def test_row(row: Row) -> None:
    """The whole answer, or what happened in words that are right; no request and no tool too many."""
    assert "" == wrong(row, await play(row))


async def test_a_silence_is_shown_while_it_lasts() -> None:
    """Patience has a sign: since when the model is silent, until when that is allowed, and what is done then."""
    halves = *texts(*WORDS[:12], finish=None), 3.0, *texts(*WORDS[12:])
    row = whole("E", "75 s", stream(choice({"role": "assistant", "content": ""}), 75.0, *halves))

    played = await play(row)

    shown = [text for text in played.shown if "silent since" in text]
    assert shown, played.shown
    assert "asked again" in shown[0]
    assert "silent" not in played.shown[-1]
    # The words that follow are seen at once, although they are fewer than the notice had.
    assert HALF.strip() in [text.strip() for text in played.shown]
    assert [len(one) for one in played.raw[:-1]] == sorted({len(one) for one in played.raw[:-1]})
    silent = [event.data for event in played.events if event.type == "chat.silent"]
    assert silent[0]["seconds"] >= 10 > silent[0]["seconds"] - 10
    assert "retry" == silent[0]["then"]
    assert 280 < silent[0]["seconds"] + silent[0]["left"] < 320
    (heard,) = (event.data for event in played.events if event.type == "chat.heard")
    assert heard["seconds"] >= 10
    assert FULL.strip() == played.text


async def test_a_retry_after_a_stall_is_less_patient() -> None:
    """Whoever has waited once in vain does not wait as long again, and at the end the user is told."""
    row = told("E", "for ever", stream(choice({"role": "assistant", "content": ""}), 100_000.0), says=("silent",))

    played = await play(row)

    limits: list[float] = []
    for event in played.events:
        if event.type == "chat.model":
            limits.append(0.0)
        elif event.type == "chat.silent":
            limits[-1] = event.data["seconds"] + event.data["left"]
    assert 4 == len(limits)
    assert 280 < limits[0] < 320
    assert max(limits[1:]) < 90
    assert "did not go on" in played.notice or "silent" in played.notice
