"""The state of a chat: what is shown of Copilot's text, and how a chat is stopped."""

from __future__ import annotations

import asyncio
import time

import pytest

from backend.chats import FRESH, RETRY, AnswerText, Chat, ChatRegistry, Handshake, Span
from backend.copilot.pump import cost, interval


def test_cut_spans_are_not_shown() -> None:
    """What broken attempts wrote is left out, wherever it stands and however much has come so far."""
    chat = Chat(session="s")
    chat.text.raw = "keep-DEAD-keep-GONE-end"
    chat.text.cut(Span(5, 10))
    chat.text.cut(Span(15, 20))

    assert "keep-keep-end" == chat.text.visible()
    assert "keep-" == chat.text.visible("keep-DEA")
    assert "keep-keep-" == chat.text.visible("keep-DEAD-keep-GO")


def test_an_ended_chat_stays_as_it_ended() -> None:
    """The first end counts: a late cancel does not turn a finished chat into a cancelled one."""
    chat = Chat(session=None)
    chat.end("done")

    chat.end("cancelled")
    chat.set_state("streaming")

    assert "done" == chat.state


def test_a_quick_answer_has_one_speed() -> None:
    """The list divides by the row's time, the tile by the event's: milliseconds must not make two speeds of it."""
    chat = Chat(session=None)
    chat.figures.stream_seconds = 0.002387

    assert chat.snapshot()["stream_seconds"] == pytest.approx(0.002387)


async def test_stop_waits_for_the_pump_even_if_the_caller_is_cancelled() -> None:
    """Stopping goes on by itself when the one who asked for it is cancelled; nothing keeps running."""
    chat = Chat(session="s")
    cleaned = asyncio.Event()
    may_clean = asyncio.Event()

    async def pump() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await may_clean.wait()
            cleaned.set()

    chat.pump_task = asyncio.create_task(pump())
    await asyncio.sleep(0)
    stopper = asyncio.create_task(chat.stop())
    await asyncio.sleep(0)
    stopper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopper
    may_clean.set()

    await chat.stop()

    assert cleaned.is_set()
    assert chat.pump_task.cancelled()
    assert "cancelled" == chat.state


async def test_stoppers_end_before_the_pump_is_cancelled() -> None:
    """What runs below is ended first, in its order; the pump is cancelled only if it does not end by that."""
    chat = Chat(session="s")
    run_ended = asyncio.Event()
    order: list[str] = []

    async def pump() -> None:
        await run_ended.wait()
        order.append("pump ended by itself")

    async def stop_run() -> None:
        order.append("run stopped")
        run_ended.set()

    chat.pump_task = asyncio.create_task(pump())
    chat.stoppers.append(stop_run)
    await chat.stop()

    assert ["run stopped", "pump ended by itself"] == order
    assert not chat.pump_task.cancelled()


async def test_the_model_waits_until_its_text_has_been_read() -> None:
    """Until every delta has gone through; a reader that leaves lets it go, and a cancel passes."""
    handshake = Handshake()
    handshake.wrote()
    assert await handshake.read_up(0), "nobody reads: there is nothing to wait for"

    handshake.begin()
    handshake.wrote()
    assert not await handshake.read_up(0)
    waiting = asyncio.create_task(handshake.read_up(60))
    await asyncio.sleep(0)
    handshake.delta_read()
    assert await waiting

    handshake.wrote()
    waiting = asyncio.create_task(handshake.read_up(60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    waiting = asyncio.create_task(handshake.read_up(60))
    await asyncio.sleep(0)
    handshake.end()
    assert await waiting


def test_a_label_is_found_by_the_very_event() -> None:
    """Labels of events that never came by are dropped, and one is told once."""
    handshake = Handshake()
    lost, seen = object(), object()
    handshake.mark(lost, FRESH)
    handshake.begin()
    handshake.mark(lost, FRESH)
    handshake.mark(seen, RETRY)

    assert handshake.label_of(object()) is None
    assert RETRY == handshake.label_of(seen)
    assert handshake.label_of(seen) is None
    assert handshake.label_of(lost) is None


async def test_the_registry_keeps_the_last_fifty_and_stops_by_request() -> None:
    """Ended chats are bounded, and a request's end stops its own chats only."""
    registry = ChatRegistry()
    request = object()
    for _ in range(60):
        chat = Chat(session="s")
        registry.add(chat)
        chat.end("done")
        registry.remove(chat)
    mine, other = Chat(session="mine"), Chat(session="other")
    registry.add(mine, request)
    registry.add(other, object())

    await registry.close_request(request)

    assert "cancelled" == mine.state
    assert "waiting" == other.state
    assert 50 + 2 == len(registry.snapshot())


def test_chats_of_one_model_can_be_told_apart_by_their_time() -> None:
    """Each row says when its chat began, as a wall time, so that a reader finds the one that is meant."""
    before = time.time()
    row = Chat(session=None).snapshot()

    assert before - 0.001 <= row["started"] <= time.time() + 0.001


def test_ids_cannot_be_guessed() -> None:
    """The id opens the stream of a chat: it holds 128 random bits."""
    ids = {Chat(session=None).id.partition("-")[2] for _ in range(100)}

    assert 100 == len(ids)
    assert all(len(part) >= 22 for part in ids)


def test_updates_come_slower_as_the_text_grows() -> None:
    """Thirty a second for a short text, and never more bytes a second than allowed."""
    assert 1 / 30 == interval(100, 30, 64_000)
    assert 0.5 == interval(32_000, 30, 64_000)


def test_cost_counts_escapes() -> None:
    """Copilot's JSON writes six bytes for each Chinese character."""
    assert 3 + 2 * 6 == cost("abc你好")


def broken(*attempts: str, before: str = "") -> AnswerText:
    """An answer's text after attempts of which all but the last one broke."""
    text = AnswerText()
    text.raw = before
    for number, attempt in enumerate(attempts):
        start = len(text.raw)
        text.raw += attempt
        if number < len(attempts) - 1:
            text.cut(Span(start, len(text.raw)))
    return text


@pytest.mark.parametrize(
    ("attempts", "standing"),
    [
        (("one two", ""), "one two"),
        (("one two", "one"), "one two"),
        (("one two", "one", ""), "one two"),
        (("one two", "one two three"), "one two three"),
        (("one two", "one more"), "one more"),
        (("one",), "one"),
    ],
)
def test_what_a_broken_attempt_wrote_stands_until_the_next_has_come_as_far(
    attempts: tuple[str, ...], standing: str
) -> None:
    """A page that only grows is given nothing shorter."""
    text = broken(*attempts, before="0123")

    assert text.standing(text.raw) == "0123" + standing


def test_an_item_of_before_shows_what_stood_then() -> None:
    """One with data waits in the queue while a later attempt has said something else already."""
    text = broken("one two", "else", before="0123")

    assert text.standing("0123one t") == "0123one t"
    assert text.standing("0123one two") == "0123one two"
    assert text.standing(text.raw) == "0123else"


def test_what_a_call_that_was_given_up_leaves_out_stands_no_more() -> None:
    """Of two attempts the longer is kept; the other, though nothing took its place, is not shown behind it."""
    text = AnswerText()
    text.raw = "one two three" + "one two"
    text.cut(Span(13, 20))
    text.settled = 1

    assert text.standing(text.raw) == "one two three"


@pytest.mark.parametrize(
    ("attempts", "seams"),
    [
        (("one two", "one two three"), [11]),
        (("one two", "one three"), [9]),
        (("one", "one tw", "one two"), [7, 10]),
        (("one two", "one two"), [11]),
        (("one two", "one"), []),
        (("one two", ""), []),
        (("", "one"), []),
        (("one",), []),
    ],
)
def test_a_seam_stands_where_a_broken_attempt_ended(attempts: tuple[str, ...], seams: list[int]) -> None:
    """Where the next attempt goes on, or tells something else; none while it has not come as far."""
    text = broken(*attempts, before="0123")

    assert text.seams() == seams
    assert text.mending is (
        len(attempts) > 1 and attempts[-2] != attempts[-1] and attempts[-2].startswith(attempts[-1])
    )
    text.free()
    assert text.seams() == seams
    assert not text.mending


def test_a_repair_lasts_until_what_was_lost_is_there_again() -> None:
    """It begins with the break and not with the first new word; a chat that has ended repairs nothing."""
    chat = Chat(session="s")
    chat.repairing = "connection"
    assert chat.repair == "connection"  # it waits
    chat.text = broken("one two", "one")
    chat.set_state("streaming")
    assert chat.repair == "connection"
    chat.text.raw += " two three"
    assert chat.repair == ""
    chat.set_state("retrying")
    assert chat.repair == "connection"
    chat.end("failed")
    assert chat.repair == ""


async def test_a_stopper_that_breaks_leaves_nothing_running() -> None:
    """The runs after it and the pump are ended all the same."""
    chat = Chat(session="s")
    stopped: list[str] = []

    async def broken() -> None:
        raise RuntimeError("the library has changed")

    async def fine() -> None:
        stopped.append("run")

    chat.pump_task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    chat.stoppers += [broken, fine]

    await chat.stop()

    assert ["run"] == stopped
    assert chat.pump_task.cancelled()
