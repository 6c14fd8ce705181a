"""The relay: what each reader gets, whatever it missed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from backend.streams import relay as relay_module
from backend.streams.relay import MAX_ITEM_CHARS, MAX_ITEMS, PIECE, Relay, RelayEnded, RelayReader, piece_of
from backend.streams.wire import LineWriter
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


WRITTEN: list[tuple[str, list[dict[str, Any]]]] = [
    ("an error between", [line("a"), {"error": "x"}, line("ab"), line("abc", finished=True)]),
    ("text that is null", [line("a"), {**line("a"), "text": None}, line("ab")]),
    ("the first has no text", [{"status": "begin"}, line("a"), line("ab")]),
    ("two in a row", [line("a"), {"error": "x"}, {"error": "x"}, line("ab")]),
    ("a large last one", [line("a"), line("ab", finished=True, ext=[{"data": "y" * (MAX_ITEM_CHARS + 1)}])]),
    ("a long text", [line("a"), line("word " * 200_000, ext=[1]), line("word " * 400_000)]),
]


@pytest.mark.parametrize("written", [row[1] for row in WRITTEN], ids=[row[0] for row in WRITTEN])
def test_who_keeps_up_reads_what_was_written(written: list[dict[str, Any]]) -> None:
    """Each line comes out with the fields that it had, with text or without."""
    relay = Relay()
    reader, writer = relay.read(pieces=False), LineWriter()
    relay.head(200, {})
    read = []
    for one in written:
        relay.line(one)
        while (frame := reader.next_nowait()) is not None:
            read += [json.loads(data) for data in writer.encode(frame).splitlines()]

    assert written == read


def taken(reader: RelayReader) -> list[dict[str, Any]]:
    """All frames that `reader` can have now."""
    frames = []
    while (frame := reader.next_nowait()) is not None:
        frames.append(frame)
    return frames


def test_the_newest_item_is_never_lost() -> None:
    """The last line with its data reaches also who comes after the end, however large it is."""
    relay = Relay()
    relay.head(200, {})
    relay.line(line("a"))
    relay.line(line("ab", finished=True, ext=["y" * (MAX_ITEM_CHARS + 1)]))
    relay.end("completed")

    frames = drained(relay)

    assert ["head", "gap", "item", "end"] == [frame["type"] for frame in frames]
    assert frames[2]["line"]["finished"]


def test_what_a_reader_waits_for_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is busy with one large item gets the next ones, too; one that takes nothing is not waited for."""
    monkeypatch.setattr(relay_module, "MAX_ITEM_CHARS", 10_000)
    relay = Relay()
    reader = relay.read()
    for number in range(4):
        relay.line(line("a", ext=["y" * 8_000, number]))

    assert [0, 1, 2, 3] == [frame["line"]["ext"][1] for frame in taken(reader)]

    for number in range(100):
        relay.line(line("a", ext=["y" * 8_000, number]))
    assert ["gap", 96, 97, 98, 99] == [
        frame["line"]["ext"][1] if frame["type"] == "item" else frame["type"] for frame in taken(reader)
    ]
    assert relay.size < 2 * 4 * 10_000 + 20_000


@pytest.mark.parametrize("size", [3 * PIECE, 200_000, 4_000_000])
def test_a_long_text_comes_in_pieces(size: int) -> None:
    """Written at once, it is read in frames of bounded size, and each break after one of them keeps that progress."""
    relay = Relay()
    relay.line(line("start "))
    text = "start " + "x" * size
    relay.line(line(text))
    relay.line(line(text + "end", ext=[1]))
    page, frames = Page(), 0
    while page.seq < relay.seq:
        before = page.seq
        reader = relay.read(page.seq)
        frame = reader.next_nowait() or {}
        reader.close()
        page.take(frame)
        frames += 1
        assert page.seq > before
        assert len(frame["text"]) <= 2 * piece_of(size)

    assert text + "end" == page.text
    assert [1] == page.lines[-1]["ext"]
    assert frames <= 40


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


async def test_a_cancel_that_comes_with_the_news_is_a_cancel() -> None:
    """Both in one turn of the loop: whoever is cancelled ends, instead of reading on."""
    relay = Relay()
    reader = relay.read()
    task = asyncio.ensure_future(reader.wait(60.0))
    await asyncio.sleep(0)

    relay.line(line("a"))
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
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


async def test_a_number_that_holds_nothing_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """If something cannot be kept, its readers wait for what comes next; they do not look for it again and again."""
    relay = Relay()
    relay.line(line("one "))
    frames = relay.read(0).frames()
    assert "one " == (await anext(frames))["text"]

    with monkeypatch.context() as broken:
        broken.setattr(relay_module, "held_bytes", lambda value: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            relay.line(line("one two ", ext=[{"type": "card"}]))
    waiting = asyncio.ensure_future(anext(frames))
    await asyncio.sleep(0)
    assert not waiting.done()
    relay.line(line("one two three"))

    assert "three" in (await waiting)["text"]
    relay.end("completed")
    assert ["end"] == [frame["type"] async for frame in frames]
