"""The relay: what each reader gets, whatever it missed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backend.relay import MAX_ITEMS, Relay, RelayEnded
from tests.support.stream_reading import Page


def line(text: str, *, finished: bool = False, ext: Any = None) -> dict[str, Any]:
    """A line as Copilot writes it."""
    return {"session_id": "s", "text": text, "finished": finished, "type": "message", "ext": ext}


def drained(relay: Relay, after: int = 0) -> list[dict[str, Any]]:
    """All frames that a reader gets now."""
    reader = relay.read(after)
    frames = []
    while (frame := reader.next_nowait()) is not None:
        frames.append(frame)
    reader.close()
    return frames


def test_texts_in_a_row_come_as_one() -> None:
    """A reader that is late gets one delta, with the number of the newest text."""
    relay = Relay()
    relay.head(200, {})
    for text in ("a", "ab", "abc", "abcd"):
        relay.line(line(text))

    frames = drained(relay)

    assert ["head", "item", "delta"] == [f["type"] for f in frames]
    assert 5 == frames[-1]["seq"]
    assert "abcd" == "".join(f.get("text", "") for f in frames)


def test_a_reader_that_comes_back_gets_only_what_is_new() -> None:
    """After the number of a frame, only later text comes, at the right place."""
    relay = Relay()
    relay.line(line("x" * 1000))
    known = relay.seq
    relay.line(line("x" * 1000 + "new"))

    (frame,) = drained(relay, known)

    assert {"type": "delta", "seq": 2, "at": 1000, "text": "new"} == frame


def test_an_item_with_data_keeps_its_place() -> None:
    """Data is delivered whole, between the text before it and the text after it."""
    relay = Relay()
    relay.line(line("a"))
    relay.line(line("ab", ext=[{"type": "workflow_update"}]))
    relay.line(line("abc"))
    relay.line(line("abc", finished=True))
    relay.end("completed")

    page = Page()
    for frame in drained(relay):
        page.take(frame)

    assert ["a", "ab", "abc"] == [shown["text"] for shown in page.lines]
    assert [None, [{"type": "workflow_update"}], None] == [shown["ext"] for shown in page.lines]
    assert "completed" == page.outcome


def test_text_that_is_taken_back() -> None:
    """A retry cuts what was shown: readers get the place from which on the text is new."""
    relay = Relay()
    relay.line(line("good bad"))
    reader = relay.read()
    page = Page()
    page.take(reader.next_nowait() or {})
    relay.line(line("good better"))
    page.take(reader.next_nowait() or {})

    assert "good better" == page.text
    assert 2 == page.seq


def test_offsets_count_as_javascript_does() -> None:
    """A character beyond the basic plane is two units."""
    relay = Relay()
    relay.line(line("😀a"))
    known = relay.seq
    reader = relay.read()
    reader.next_nowait()
    relay.line(line("😀ab"))

    assert 3 == (reader.next_nowait() or {})["at"]
    assert known == 1


def test_items_beyond_the_bound_are_a_gap() -> None:
    """What the log cannot keep is said to be lost, and the text is whole all the same."""
    relay = Relay()
    relay.head(200, {})
    for number in range(MAX_ITEMS + 50):
        relay.line(line("t" * number, ext=[number]))
    relay.end("completed")

    frames = drained(relay)
    page = Page()
    for frame in frames:
        page.take(frame)

    assert ["head", "gap"] == [frame["type"] for frame in frames[:2]]
    assert frames[1]["lost"] == 52
    assert "t" * (MAX_ITEMS + 49) == page.text
    assert page.in_order


def test_memory_is_bounded_whatever_is_written() -> None:
    """Ten thousand updates of a long text cost the text once, and an index of bounded size."""
    relay = Relay()
    for number in range(10_000):
        relay.line(line("word " * number if number % 100 == 0 else "word " * (number - number % 100)))

    assert relay.size < len(relay.text) * 2 + 60_000
    assert len(relay._index_seqs) <= 512


def test_nothing_is_written_after_the_end() -> None:
    """The first end counts, and a late writer is told."""
    relay = Relay()
    relay.end("cancelled")
    relay.end("completed")

    assert "cancelled" == relay.outcome
    with pytest.raises(RelayEnded):
        relay.line(line("late"))


async def test_a_reader_waits_for_what_is_new() -> None:
    """`frames()` ends with the end; silence gives beats."""
    relay = Relay()
    reader = relay.read()
    frames = reader.frames(beat=0.001)
    assert {"type": "beat"} == await anext(frames)
    relay.line(line("a"))
    while (frame := await anext(frames))["type"] == "beat":
        pass
    assert "a" == frame["text"]
    relay.end("completed")

    rest = [frame async for frame in frames if frame["type"] != "beat"]

    assert ["end"] == [frame["type"] for frame in rest]


async def test_cancel_while_waiting_leaves_the_reader_as_it_was() -> None:
    """A cancelled wait loses nothing: the next call gives the frame."""
    relay = Relay()
    reader = relay.read()
    task = asyncio.ensure_future(reader.wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    relay.line(line("a"))

    assert await reader.wait()
    assert "a" == (reader.next_nowait() or {})["text"]


async def test_close_ends_who_waits() -> None:
    """A reader that is closed while it waits ends, without a frame."""
    relay = Relay()
    reader = relay.read()
    task = asyncio.ensure_future(_all(reader))
    await asyncio.sleep(0)
    reader.close()
    reader.close()

    assert [] == await task
    assert [] == relay.readers


async def _all(reader: Any) -> list[Any]:
    return [frame async for frame in reader.frames()]
