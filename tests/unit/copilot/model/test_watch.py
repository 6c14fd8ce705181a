"""When a watched stream has ended, and how long it streamed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from backend.copilot.model import watch as stream_watch
from backend.copilot.model.client import WatchedStream
from backend.copilot.model.shapes.finish_reasons import Finish
from backend.copilot.model.shapes.normalise import Normaliser
from backend.copilot.model.shapes.tool_calls import ToolCalls
from backend.copilot.model.watch import StreamWatch
from backend.error_handling import errors
from tests.support.wire_shapes import choice, event


class Source:
    """A client's stream that sends these events and then waits for ever."""

    def __init__(self, *events: bytes) -> None:
        self._events = events
        self.waiting = asyncio.Event()
        self.closed = 0
        self.response = SimpleNamespace(aiter_bytes=self.aiter_bytes, url="http://x/v1", headers={}, request=None)

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        for one in self._events:
            yield one
        self.waiting.set()
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed += 1


def text(content: str | None, finish: str | None = None) -> bytes:
    """One event with a piece of text."""
    return event(choice({"content": content}, finish))


async def read(source: Source) -> list[str]:
    """All text of the stream, under a watch without limits of its own."""
    watch = StreamWatch(base_url="x", first_limit=0, stall_limit=0)
    stream = WatchedStream(source, watch, Normaliser(ToolCalls(), frozenset(), watch))
    texts: list[str] = []
    try:
        while True:
            chunk: Any = await watch.next(stream)
            texts.append(chunk.choices[0].delta.content)
    except StopAsyncIteration:
        return texts
    finally:
        watch.stop()
        await stream.close()


@pytest.mark.parametrize(
    ("events", "limit"),
    [((text("a"), text(None, "stop")), "AFTER_FINISH"), ((text("a"), b"data: [DONE]\n\n"), "AFTER_DONE")],
)
async def test_an_answer_that_is_done_needs_no_end(
    events: tuple[bytes, ...], limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the finish reason, or the mark of the end, nobody waits for a server that never closes, even with all
    limits switched off."""
    monkeypatch.setattr(stream_watch, limit, 0.05)
    source = Source(*events)

    texts = await read(source)

    assert "a" == "".join(one for one in texts if one)
    assert 1 == source.closed


async def test_the_stretch_is_from_the_first_piece_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thoughts are written, too."""
    now = [100.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    watch = StreamWatch(base_url="x", first_limit=0, stall_limit=0)
    assert 0.0 == watch.stretch()
    for seconds, has_text, reasoning in ((1, False, 2), (2, True, 0), (5, True, 0), (9, False, 0)):
        now[0] = 100.0 + seconds
        watch.saw(text=has_text, reasoning=reasoning, tools=False, finish="", meaning=None)
    watch.stop()
    monkeypatch.undo()

    assert 4.0 == watch.stretch()


async def test_a_finish_reason_with_every_chunk_ends_nothing() -> None:
    """An answer that goes on after its finish reason is done when the stream ends."""
    watch = StreamWatch(base_url="x", first_limit=0, stall_limit=0)
    for _ in range(2):
        watch.saw(text=True, reasoning=0, tools=False, finish="stop", meaning=Finish.DONE)
    watch.stop()

    assert not watch.finished


async def test_a_cancel_after_the_finish_reason_passes() -> None:
    """Only the watch's own cancel ends the stream; the user's ends the call, and the connection is closed."""
    source = Source(text("a"), text(None, "stop"))
    task = asyncio.create_task(read(source))
    await source.waiting.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert 1 == source.closed


class Listener:
    """Notes what it is told of silence."""

    def __init__(self) -> None:
        self.told: list[float | None] = []
        self.ends = 0
        self.once = asyncio.Event()

    def silent(self, seconds: float, left: float | None) -> None:
        assert seconds > 0
        self.told.append(left)
        self.once.set()

    def heard(self) -> None:
        self.ends += 1


@pytest.mark.parametrize(("limit", "lasts"), [(1000.0, True), (0.0, False)])
async def test_a_silence_is_told_and_its_end(limit: float, lasts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the time that is left, if there is a limit; a word ends it, and it is told once that it has ended."""
    monkeypatch.setattr(stream_watch, "TOLD_AFTER", 0.01)
    listener = Listener()
    watch = StreamWatch(base_url="x", first_limit=limit, stall_limit=limit, listener=listener)

    async def source() -> AsyncIterator[str]:
        await listener.once.wait()
        watch.saw(text=True, reasoning=0, tools=False, finish="", meaning=None)
        yield "word"

    assert "word" == await watch.next(source())
    watch.stop()

    assert all(left is not None and 900 < left <= 1000 if lasts else left is None for left in listener.told)
    assert 1 == listener.ends


async def test_a_consumer_that_works_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody waits for the model it is not to blame."""
    monkeypatch.setattr(stream_watch, "TOLD_AFTER", 0.001)
    listener = Listener()
    watch = StreamWatch(base_url="x", first_limit=1000, stall_limit=1000, listener=listener)
    checks = 0
    check = watch._check

    def counted() -> None:
        nonlocal checks
        checks += 1
        check()

    monkeypatch.setattr(watch, "_check", counted)
    watch._arm_again()
    while checks < 3:
        await asyncio.sleep(0)
    watch.stop()

    assert [] == listener.told


class Jumps:
    """A clock that jumps by an hour, as it does on some systems while a computer sleeps, or a program is stopped."""

    def __init__(self, watch: StreamWatch, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        self._checks = 0
        self._check = watch._check
        loop = asyncio.get_running_loop()
        time = loop.time
        monkeypatch.setattr(loop, "time", lambda: time() + self._ahead)
        monkeypatch.setattr(watch, "_check", self._counted)
        watch._arm_again()

    def _counted(self) -> None:
        self._checks += 1
        self._check()

    async def jump(self) -> None:
        """An hour goes by at once, and the watch has looked."""
        before = self._checks
        self._ahead += 3600.0
        while self._checks == before:
            await asyncio.sleep(0)


async def test_time_in_which_everything_stood_still_is_no_silence_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer that wakes up, or a program that is let go on, does not lose the chats that run."""
    watch = StreamWatch(base_url="x", first_limit=60, stall_limit=60, listener=Listener())
    clock = Jumps(watch, monkeypatch)

    async def source() -> AsyncIterator[str]:
        for _ in range(3):
            await clock.jump()
        yield "word"

    assert "word" == await watch.next(source())
    watch.stop()


async def test_a_loop_that_is_late_for_ever_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has waited itself adds up."""
    watch = StreamWatch(base_url="x", first_limit=60, stall_limit=60, listener=Listener())
    clock = Jumps(watch, monkeypatch)

    async def source() -> AsyncIterator[str]:
        for _ in itertools.repeat(None):
            await clock.jump()
        yield ""

    with pytest.raises(errors.StreamStalled):
        await watch.next(source())
    watch.stop()


async def test_an_event_that_has_come_is_not_lost_while_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the silence in that very turn finds nobody who waits for the model."""
    monkeypatch.setattr(stream_watch, "TURN", -1.0)
    loop = asyncio.get_running_loop()
    watch = StreamWatch(base_url="x", first_limit=60, stall_limit=60)

    async def source() -> AsyncIterator[str]:
        watch._alive = watch._progress = loop.time() - 100.0
        watch._due = loop.time()
        loop.call_soon(watch._check)
        yield "word"

    assert "word" == await watch.next(source())
    watch.stop()
