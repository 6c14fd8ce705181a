"""What is put right in a model's stream: its bytes, its tool calls, its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from backend.copilot.model import watch as stream_watch
from backend.copilot.model.client import WatchedStream
from backend.copilot.model.finish_reasons import Finish, finish_of
from backend.copilot.model.tool_deltas import ToolDeltas, call_ids
from backend.copilot.model.watch import StreamWatch
from backend.copilot.model.whole_body import BodyStart, events_of


def through(*pieces: bytes) -> bytes:
    """What a body becomes that arrives in these pieces."""
    start = BodyStart()
    passed = [data if start.stream else start.feed(data) for data in pieces]
    return b"".join([*passed, start.rest()])


@pytest.mark.parametrize(
    ("body", "out"),
    [
        (b"data: {}\n\n", b"data: {}\n\n"),
        (b"\xef\xbb\xbfdata: {}\n\n", b"data: {}\n\n"),
        (b"\n\n: hello\n\ndata: {}\n\n", b": hello\n\ndata: {}\n\n"),
        (b'{"error": "no"}', b'{"error": "no"}'),
        (b'\xef\xbb\xbf {"error"', b'{"error"'),
        (b"<html>", b"<html>"),
        (b"", b""),
        (b"\xef\xbb", b"\xef\xbb"),
    ],
)
def test_a_body_passes_whole_or_byte_by_byte(body: bytes, out: bytes) -> None:
    """A stream passes as it is, without its byte order mark; JSON that is no answer passes too, to be judged."""
    assert out == through(body)
    assert out == through(*(body[at : at + 1] for at in range(len(body))))


def test_a_stream_is_not_held_back() -> None:
    """The first event passes with the bytes that bring it."""
    start = BodyStart()

    assert b"data: 1" == start.feed(b"data: 1")
    assert start.stream


def test_a_whole_completion_becomes_events() -> None:
    """Text, tool calls with their index, finish reason and usage are those of the one JSON object."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "hi", "refusal": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    body = {"id": "x", "model": "m", "created": 1, "choices": [choice], "usage": {"total_tokens": 3}}
    lines = (events_of(json.dumps(body).encode()) or b"").decode().split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]

    delta = chunks[0]["choices"][0]["delta"]
    assert {"role": "assistant", "content": "hi", "tool_calls": [{**call, "index": 0}]} == delta
    assert "tool_calls" == chunks[1]["choices"][0]["finish_reason"]
    assert {"total_tokens": 3} == chunks[2]["usage"]
    assert "data: [DONE]" == lines[-2]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b'{"choices": [{"message": 1}]}']
)
def test_what_is_no_completion_is_none(body: bytes) -> None:
    """It is judged as what it is."""
    assert events_of(body) is None


def piece(index: int | None, id_: str | None = None, name: str | None = None, arguments: Any = None) -> Any:
    """A piece of a tool call, as the client gives it."""
    return SimpleNamespace(index=index, id=id_, function=SimpleNamespace(name=name, arguments=arguments))


def mended(*pieces: Any, taken: tuple[str, ...] = ()) -> list[tuple[int, str | None]]:
    """Index and id of each piece afterwards."""
    tools = ToolDeltas(taken)
    for one in pieces:
        tools.mend([one])
    return [(one.index, one.id) for one in pieces]


def test_good_tool_calls_stay_as_they_are() -> None:
    """Ids of the server's own, repeated or not in later pieces, and pieces that interleave."""
    pieces = piece(0, "a", "f"), piece(1, "b", "g"), piece(0, None, None, "{"), piece(1, "b", None, "{"), piece(0, "a")

    assert [(0, "a"), (1, "b"), (0, None), (1, "b"), (0, "a")] == mended(*pieces)


def test_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    """Else the arguments of both would run into one."""
    pieces = piece(0, "a", "f"), piece(0, None, None, "{}"), piece(0, "b", "f"), piece(0, None, None, "{}")

    assert [(0, "a"), (0, None), (1, "b"), (1, None)] == mended(*pieces)


@pytest.mark.parametrize("taken", [(), ("a",)])
def test_ids_that_are_missing_or_taken_are_replaced(taken: tuple[str, ...]) -> None:
    """Each call gets one id of its own, in all its pieces."""
    first = ("" if not taken else "a", "f")
    (_, one), (_, late), (_, two) = mended(
        piece(0, *first), piece(0, "late" if not taken else "a"), piece(1, None, "f"), taken=taken
    )

    assert one == late != two
    assert one not in ("", "a", "late", None)
    assert two


def test_arguments_that_are_an_object_become_text() -> None:
    """The runner joins them as text."""
    one = piece(0, "a", "f", {"x": 1})
    ToolDeltas().mend([one])

    assert '{"x": 1}' == one.function.arguments


def test_the_ids_of_earlier_turns_are_read_from_the_input() -> None:
    """Of whatever shape it is."""
    assert {"a"} == call_ids([{"type": "function_call", "call_id": "a"}, {"role": "user"}, object()])
    assert set() == call_ids("text")


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        (None, None), ("", None), ("null", None), ("stop", Finish.DONE), ("eos", Finish.DONE),
        ("MAX_TOKENS", Finish.LENGTH), ("sensitive", Finish.FILTERED), ("abort", Finish.CUT_OFF),
        ("insufficient_system_resource", Finish.OVERLOADED),
    ],
)  # fmt: skip
def test_finish_reasons_have_a_meaning(reason: str | None, meaning: Finish | None) -> None:
    """A word that nobody knows means that the answer is done."""
    assert meaning is finish_of(reason)


def chunk(text: str | None, finish: str | None = None) -> Any:
    """One chunk as the client gives it."""
    delta = SimpleNamespace(content=text, tool_calls=None)
    return SimpleNamespace(choices=[SimpleNamespace(delta=delta, finish_reason=finish)])


class Source:
    """A stream that sends these chunks and then waits for ever."""

    def __init__(self, *chunks: Any) -> None:
        self._chunks = chunks
        self.waiting = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Any]:
        for one in self._chunks:
            yield one
        self.waiting.set()
        await asyncio.Event().wait()


async def read(source: Source) -> list[str]:
    """All text of the stream, under a watch without limits of its own."""
    watch = StreamWatch(base_url="x", first_limit=0, stall_limit=0)
    stream = WatchedStream(source, watch, ToolDeltas())
    texts: list[str] = []
    try:
        while True:
            texts.append((await watch.next(stream)).choices[0].delta.content)
    except StopAsyncIteration:
        return texts
    finally:
        watch.stop()


async def test_an_answer_that_is_done_needs_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the finish reason nobody waits for a server that never closes, even with all limits switched off."""
    monkeypatch.setattr(stream_watch, "AFTER_FINISH", 0.05)

    assert ["a", None] == await read(Source(chunk("a"), chunk(None, "stop")))


async def test_the_stretch_is_from_the_first_piece_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """With reasoning where the model's own count holds it, of the text alone where only that was counted."""
    now = [100.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    watch = StreamWatch(base_url="x", first_limit=0, stall_limit=0)
    assert 0.0 == watch.stretch(text=True)
    for seconds, delta in ((1, {"reasoning_content": "hm"}), (2, {"content": "a"}), (5, {"content": "b"}), (9, {})):
        now[0] = 100.0 + seconds
        pieces = SimpleNamespace(**{"content": None, **delta})
        watch.saw_chunk(SimpleNamespace(choices=[SimpleNamespace(delta=pieces, finish_reason=None)]))
    watch.stop()
    monkeypatch.undo()

    assert (3.0, 4.0) == (watch.stretch(text=True), watch.stretch(text=False))


async def test_a_cancel_after_the_finish_reason_passes() -> None:
    """Only the watch's own cancel ends the stream; the user's ends the call."""
    source = Source(chunk("a"), chunk(None, "stop"))
    task = asyncio.create_task(read(source))
    await source.waiting.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
