"""Answers as rows: what is written of them, and what comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backend.error_handling import Redactor, secret_name
from backend.journal import answers
from backend.journal.answers import RESTARTED, RESTARTED_EARLY, StoredAnswer
from backend.store import EventStore, Filter, Redaction
from backend.streams.registry import Stream
from backend.streams.relay import Relay
from tests.support.stores import event, new_store, raw_bytes, running
from tests.support.stream_reading import Page

LINE = {"text": "", "finished": False, "ext": None, "session_id": "s1"}
KEY = "sk-planted-0123456789abcdef"
NAME = "a" * 22


@pytest.fixture(autouse=True)
def _looks_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is new is looked for when a test says so: a disk may take longer than the time between two looks."""
    monkeypatch.setattr(answers, "WRITE_PACE", 3600.0)


def new_stream(chat_id: str = "c1") -> Stream:
    """An answer of a chat, of which nothing is written yet."""
    stream = Stream(NAME, "s1", "chat")
    stream.chat_id = chat_id
    return stream


def write(store: EventStore, stream: Stream, *texts: str) -> None:
    """Each text, so far, as the store finds it at one look."""
    for text in texts:
        stream.relay.line({**LINE, "text": text})
        store.answers._look()


async def come_back(store: EventStore, session: str = "s1") -> Any:
    """What another run of the program knows of the answer."""
    await store.flush()
    return await new_store(store.folder, with_text=True).answers.find(NAME, session)


def shown(answer: StoredAnswer, page: Page | None = None) -> Page:
    """What a page shows of it, one that has some of it already or a new one."""
    relay, page = Relay(), page or Page()
    answer.follow(relay, lambda told, early: relay.abandon(told if relay.text else early, LINE))
    reader = relay.read(page.seq)
    while (frame := reader.next_nowait()) is not None:
        page.take(frame)
    return page


def have(stream: Stream) -> Page:
    """A page that has all of the answer so far."""
    page, reader = Page(), stream.relay.read(0)
    while (frame := reader.next_nowait()) is not None:
        page.take(frame)
    return page


async def test_answer_that_ended_comes_back_as_it_was(tmp_path: Path) -> None:
    """Its lines with data, what was taken back, characters of two units, and its end."""
    async with running(tmp_path, with_text=True) as store:
        stream = new_stream()
        store.answers.begin(stream)
        write(store, stream, "one", "one 😀 two", "one", "one 三 four " + "long " * 3_000)
        stream.relay.line({**LINE, "text": stream.relay.text, "ext": [{"data": "w" * 90_000}], "finished": True})
        stream.relay.end("completed")
        store.answers.finish(stream)
        page = shown(await come_back(store))

        assert (page.text, page.outcome) == (stream.relay.text, "completed")
        assert page.lines[-1]["ext"] == [{"data": "w" * 90_000}]


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_answer_that_was_cut_off_says_so(tmp_path: Path, language: str) -> None:
    """In the page's language, to a page that has more of it than the disk as well."""
    async with running(tmp_path, with_text=True) as store:
        stream = new_stream()
        stream.language = language
        store.answers.begin(stream)
        write(store, stream, "So much of it is on the disk and so ")
        stream.relay.line({**LINE, "text": "So much of it is on the disk and so much is not"})
        page = shown(await come_back(store), have(stream))

        assert page.text == "So much of it is on the disk " + RESTARTED[language]
        assert (page.outcome, page.in_order) == ("failed", True)


@pytest.mark.parametrize("lines", [(), ({"ext": None, "session_id": "s1"},), ({**LINE, "text": "One"},)])
async def test_answer_of_which_no_text_was_kept_says_so(tmp_path: Path, lines: tuple[dict[str, Any], ...]) -> None:
    """It had begun, and perhaps had lines without text, or a first word that waited for the next one."""
    async with running(tmp_path, with_text=True) as store:
        stream = new_stream()
        store.answers.begin(stream)
        stream.relay.head(200, {"Content-Type": "application/json"})
        for line in lines:
            stream.relay.line(line)
        store.answers._look()
        page = shown(await come_back(store), have(stream))

        assert page.text == RESTARTED_EARLY["en"]
        assert (page.outcome, page.lines[-1]["finished"], page.in_order) == ("failed", True, True)


@pytest.mark.parametrize("ended", [True, False])
async def test_key_in_an_answer_is_on_no_disk_even_in_halves(tmp_path: Path, ended: bool) -> None:
    """It came in pieces, over several looks; a page that has it gets the rest in its place all the same."""
    async with running(tmp_path, with_text=True) as store:
        stream = new_stream()
        store.answers.begin(stream)
        texts = [f"Your key is {KEY[:n]}" for n in range(0, len(KEY), 5)]
        write(store, stream, *texts, f"Your key is {KEY} and here is the rest of it.")
        page = have(stream)
        if ended:
            stream.relay.end("completed")
            store.answers.finish(stream)
        answer = await come_back(store)
        assert not any(KEY[:8] in str(frame) for frame in answer._frames)
        shown(answer, page)

        assert page.text == "Your key is [redacted] and here is the rest " + ("of it." if ended else RESTARTED["en"])
        assert page.in_order


async def test_key_that_looks_like_a_word_is_on_no_disk(tmp_path: Path) -> None:
    """Only in the request's own context is it known as a key; the thread that writes has none."""
    redactor = Redactor()
    redaction = Redaction(redactor.redact, secret_name, lambda: redactor.version)
    async with running(tmp_path, with_text=True, redaction=redaction) as store:
        stream = new_stream()

        async def request() -> None:
            redactor.learn_headers({"Openai-Api-Key": "hunter2"})
            store.answers.begin(stream)

        await asyncio.create_task(request())
        write(store, stream, "The key is hunter2, as ", "The key is hunter2, as everybody knows.")
        stream.relay.end("completed")
        store.answers.finish(stream)
        page = shown(await come_back(store))

        assert page.text == "The key is [redacted], as everybody knows."


async def test_without_leave_only_the_name_is_stored(tmp_path: Path) -> None:
    """One row, with neither text nor the stream's name or session in it."""
    async with running(tmp_path) as store:
        stream = new_stream()
        store.answers.begin(stream)
        write(store, stream, "word after", "word after word")
        stream.relay.end("completed")
        store.answers.finish(stream)
        assert isinstance(await come_back(store), str)
        assert await come_back(store, "s2") is None
        (row,) = store.query(Filter(("store.answer",))).events

        assert set(row.data) == {"chat_id", "run", "language", "batch"}
        assert not any(word in raw_bytes(tmp_path) for word in (b"word after", NAME.encode()))


async def test_forget_takes_answers_too(tmp_path: Path) -> None:
    """By the chat, which the session's other events name."""
    async with running(tmp_path, with_text=True) as store:
        stream = new_stream()
        store.on_event(event("chat.started", "s1", chat_id="c1"))
        store.answers.begin(stream)
        write(store, stream, "some text of it")
        stream.relay.end("completed")
        store.answers.finish(stream)
        await store.flush()

        assert (await store.forget("s1"))["store.answer"] >= 1
        assert await come_back(store) is None


async def test_hole_in_the_rows_ends_the_answer_before_it(tmp_path: Path) -> None:
    """What was lost on the way is not bridged with text of later."""
    async with running(tmp_path, with_text=True) as store:
        stream = new_stream()
        store.answers.begin(stream)
        write(store, stream, "one two three four ")
        taken, store.answers._take = store.answers._take, lambda row: None
        write(store, stream, "one two three four five six seven eight ")
        store.answers._take = taken
        write(store, stream, "one two three four five six seven eight nine ten eleven ")
        page = shown(await come_back(store))

        assert page.text == "one two " + RESTARTED["en"]


async def test_cancelled_search_leaves_nothing(tmp_path: Path) -> None:
    """The page hangs up while it is looked for."""
    async with running(tmp_path, with_text=True) as store:
        store.answers._ask = lambda *args: asyncio.Event().wait()
        task = asyncio.create_task(store.answers.find(NAME, "s1"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()


async def test_exports_leave_the_text_behind(tmp_path: Path) -> None:
    """A secret that is learned later could not be found in packed text."""
    async with running(tmp_path, with_text=True) as store:
        stream = new_stream()
        store.answers.begin(stream)
        write(store, stream, "some text of an answer ")
        await store.flush()
        events = store.query(Filter(("store.answer",))).events

        assert events
        assert all("frames" not in row["data"] for row in store.plain(events))
        assert "frames" not in "".join(store.export("ndjson", Filter(("store.answer",))))
