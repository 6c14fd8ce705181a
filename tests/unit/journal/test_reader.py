"""What is asked of the event store: pages, filters, projections, old shapes, and followers."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from backend import store as store_module
from backend.journal import segments as segments_module
from backend.journal.rows import Shape
from backend.journal.segments import ActiveFile, list_segments
from backend.store import Cursor, EventStore, Filter, NotStored, Page, Stored
from tests.support.net import PATIENCE, until
from tests.support.stores import event, everything, new_store, put, running


async def test_filters_fit_together(tmp_path: Path) -> None:
    """Type, prefix, time, session, and what the data says."""
    async with running(tmp_path) as store:
        store.on_event(event("chat.started", "a", chat_id="1"))
        store.on_event(event("chat.finished", "a", chat_id="1", model="m1", outcome="failed"))
        store.on_event(event("chat.finished", "b", chat_id="2", model="m2", outcome="completed"))
        store.on_event(event("chatter", "b", chat_id="2", other={"model": "m1"}))
        await store.flush()
        first = store.query(Filter(("chat.started",))).events[0].time

        def ask(**which: Any) -> list[str]:
            return [one.type for one in store.query(Filter(**which)).events if one.source != "store"]

        assert ask(types=("chat.*",)) == ["chat.started", "chat.finished", "chat.finished"]
        assert ask(types=("chat.started", "chatter")) == ["chat.started", "chatter"]
        assert ask(session="b") == ["chat.finished", "chatter"]
        assert ask(chat="1") == ["chat.started", "chat.finished"]
        assert ask(model="m1") == ["chat.finished"]
        assert ask(outcome="completed", types=("chat.*",)) == ["chat.finished"]
        assert len(ask(since=first)) == 4
        assert ask(until=first) == []


async def test_pages_lead_through_everything_in_both_directions(tmp_path: Path) -> None:
    """Over files, without one twice or left out."""
    async with running(tmp_path, keep_bytes=600_000) as store:
        put(store, 2_000, pad="x" * 50)
        await store.flush()
        assert len(list_segments(tmp_path)) > 1

        for newest_first in (False, True):
            found: list[int] = []
            page = store.query(limit=70, newest_first=newest_first)
            found += [one.id for one in page.events]
            while page.more:
                page = store.query(limit=70, newest_first=newest_first, after=page.cursor)
                found += [one.id for one in page.events]
            assert sorted(found) == list(range(found[-1] if newest_first else found[0], len(found) + 1))
            assert found == sorted(found, reverse=newest_first)


async def test_cursor_passes_over_what_does_not_fit(tmp_path: Path) -> None:
    """Who follows a rare type must not go through the whole day each time."""
    async with running(tmp_path) as store:
        put(store, 100)
        await store.flush()
        page = store.query(Filter(("error",)))

        assert page.events == []
        assert page.cursor == store.end() == Cursor(((0, 101),))


async def test_two_stores_share_a_folder_and_are_read_as_one(tmp_path: Path) -> None:
    """A second ComfyUI takes the next slot; ids are unique by slot, time merges them."""
    async with running(tmp_path) as one, running(tmp_path) as two:
        for n in range(20):
            store = (one, two)[n % 2]
            store.on_event(event("x", n=n))
            await store.flush()

        assert [one.data["n"] for one in everything(two)] == list(range(20))
        assert {found.slot for found in everything(one)} == {0, 1}
        page = one.query(Filter(("x",)), limit=7)
        rest = one.query(Filter(("x",)), after=Cursor.parse(str(page.cursor)))
        assert [found.data["n"] for found in page.events + rest.events] == list(range(20))
        with pytest.raises(NotStored, match="another program"):
            await one.forget()


@pytest.mark.parametrize("text", ["x", "0", "0-", "-1", "0-1.", "0-1,1-2", "0-" + "9" * 40])
def test_cursor_that_is_none_is_refused(text: str) -> None:
    """It comes from a header that anybody may send."""
    with pytest.raises(ValueError, match="cursor"):
        Cursor.parse(text)


async def test_projection_goes_on_where_it_was(tmp_path: Path) -> None:
    """The first half, then the rest behind its cursor, is the whole."""

    class Sum:
        def __init__(self) -> None:
            self.value = 0

        def apply(self, one: Stored) -> None:
            self.value += one.data.get("n", 0)

    async with running(tmp_path) as store:
        put(store, 100)
        await store.flush()
        whole, parts = Sum(), Sum()
        store.replay(parts)
        middle = store.end()
        put(store, 100)
        await store.flush()
        store.replay(parts, after=middle)
        store.replay(whole)

        assert whole.value == parts.value == 2 * sum(range(100))


async def test_old_data_is_read_in_todays_shape(tmp_path: Path) -> None:
    """The bytes stay as they were written."""
    async with running(tmp_path) as store:
        put(store, 1, "chat.model")
    old = new_store(tmp_path, upcasters={("chat.model", 1): lambda data: {"number": data["n"]}})

    found = old.query(Filter(("chat.model",))).events[0]
    assert (found.v, found.data) == (2, {"number": 0})
    assert new_store(tmp_path).query(Filter(("chat.model",))).events[0].data == {"n": 0}


async def test_chats_without_an_end_are_found_by_what_they_did(tmp_path: Path) -> None:
    """One that a restart cut off and one that runs have their model, host, retries and last failure; the one that was
    cut off is so on every page of the list."""
    async with running(tmp_path) as store:
        store.on_event(event("chat.started", "s", chat_id="cut", kind="chat"))
        store.on_event(event("chat.model", "s", chat_id="other", model="c", host="h"))
        store.on_event(event("chat.model", "s", chat_id="cut", model="a", host="first"))
        store.on_event(event("chat.first_token", "s", chat_id="cut", seconds=0.1))
        store.on_event(event("error", "s", chat_id="cut", kind="connection", type="APIConnectionError"))
        store.on_event(event("chat.retrying", "s", chat_id="cut", attempt=1))
        store.on_event(event("chat.model", "s", chat_id="cut", model="a", host="second"))
    between = time.time()
    async with running(tmp_path) as store:
        store.on_event(event("chat.started", "s", chat_id="now", kind="chat"))
        store.on_event(event("chat.model", "s", chat_id="now", model="b", host="h"))
        await store.flush()
        (now,) = store.chats(model="b")
        (cut,) = store.chats(model="a", retried=True, outcome="interrupted")
        later = store.chats(until=between)

    assert (now["chat_id"], now["outcome"], now["seconds"], now["retries"]) == ("now", None, None, 0)
    assert (cut["chat_id"], cut["host"], cut["retries"]) == ("cut", "second", 1)
    assert (cut["error_kind"], cut["error_type"]) == ("connection", "APIConnectionError")
    assert 0 <= cut["first_token"] <= 60
    assert cut["seconds"] is None
    assert later == [cut]


async def test_a_chat_of_a_program_that_is_gone_does_not_run(tmp_path: Path) -> None:
    """Who reads after a crash, before anything is started again, or beside another program, is told of no running
    chat where nothing runs."""
    async with running(tmp_path) as one:
        async with running(tmp_path) as two:
            for store, chat in ((one, "first"), (two, "second")):
                store.on_event(event("chat.started", "s", chat_id=chat, kind="chat"))
                store.on_event(event("chat.model", "s", chat_id=chat, model="m", host="h"))
                await store.flush()
            both = {row["chat_id"]: row["outcome"] for row in new_store(tmp_path).chats()}
        left = {row["chat_id"]: row["outcome"] for row in one.chats()}
        stories = [(one.story(chat) or {})["outcome"] for chat in ("first", "second")]
    none = [row["outcome"] for row in new_store(tmp_path).chats()]

    assert both == {"first": None, "second": None}
    assert left == {"first": None, "second": "interrupted"}
    assert stories == [None, "interrupted"]
    assert none == ["interrupted", "interrupted"]


async def test_csv_is_no_formula_and_keeps_its_cells(tmp_path: Path) -> None:
    """A model's name is somebody else's text, and spreadsheets run what begins with =."""
    import csv

    async with running(tmp_path) as store:
        store.on_event(event("x", model="=HYPERLINK(1)", note='a "quoted", line\nand another'))
        await store.flush()
        with (tmp_path / "out.csv").open("w", encoding="utf-8", newline="") as file:
            assert store.export_to(file, "csv", Filter(("x",))) == 2
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        header, row = list(csv.reader(file))

    assert row[header.index("model")] == "'=HYPERLINK(1)"
    assert json.loads(row[header.index("data")])["note"] == 'a "quoted", line\nand another'


async def test_each_event_is_one_line(tmp_path: Path) -> None:
    """Also for programs that end a line at more signs than JSON escapes."""
    async with running(tmp_path) as store:
        store.on_event(event("x", note="a\x85b\u2028c\u2029d"))
        await store.flush()
        exported = "".join(store.export("ndjson", Filter(("x",))))

    assert ["a\x85b\u2028c\u2029d"] == [json.loads(line)["data"]["note"] for line in exported.splitlines()]


async def collect(store: EventStore, seen: list[Stored], after: Cursor | None, enough: int) -> Cursor:
    """Follow until `enough` events have been seen; the store's own are left out."""
    cursor = after or Cursor()
    async for page in store.follow(after=after):
        seen += [one for one in page.events if one.source != "store"]
        cursor = page.cursor
        if len(seen) >= enough:
            break
    return cursor


async def test_follower_gets_each_event_once_over_rotations_and_a_reconnect(tmp_path: Path) -> None:
    """History first, then what comes, across files."""
    async with running(tmp_path, keep_bytes=600_000) as store:
        put(store, 500, pad="x" * 100)
        await store.flush()
        seen: list[Stored] = []
        task = asyncio.create_task(collect(store, seen, Cursor(), 1_500))
        for _ in range(10):
            put(store, 100, pad="x" * 100)
            await asyncio.sleep(0.005)
        cursor = await task
        put(store, 100, pad="x" * 100)
        await collect(store, seen, Cursor.parse(str(cursor)), 1_600)

        assert len(list_segments(tmp_path)) > 1
        ids = [one.id for one in seen]
        assert len(ids) == len(set(ids)) == 1_600
        assert ids == sorted(ids)


async def test_follower_from_now_on_is_woken_by_the_commit(tmp_path: Path) -> None:
    """It does not get what was there before."""
    async with running(tmp_path) as store:
        put(store, 3)
        await store.flush()
        following = store.follow()
        waiting = asyncio.ensure_future(anext(following))
        while not waiting.done():  # where "now" is, is found out in a thread
            put(store, 1, "error")
            await asyncio.sleep(0.02)

        page = await waiting
        assert {one.type for one in page.events} == {"error"}
        await following.aclose()


async def test_follower_that_missed_files_is_told(tmp_path: Path) -> None:
    """A page that slept for a week must not take the hole for silence."""
    async with running(tmp_path) as store:
        put(store, 10)
        await store.flush()
        await store.forget()
        put(store, 1)
        await store.flush()

        page = await store.ask(store.catch_up, Filter(), Cursor(((0, 3),)))
        assert page.events[0].type == "store.gap"
        assert page.events[0].data == {**page.events[0].data, "reason": "no longer kept", "lost": 8}
        assert numbers_of(page) == [0]


def numbers_of(page: Page) -> list[Any]:
    return [one.data["n"] for one in page.events if one.source != "store"]


async def test_cancelled_follower_leaves_nothing(tmp_path: Path) -> None:
    """At its wait for news."""
    async with running(tmp_path) as store:
        task = asyncio.create_task(collect(store, [], None, 1))
        await until(lambda: store._followers)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert not store._followers


async def test_followers_end_with_the_store(tmp_path: Path) -> None:
    """Nobody waits for a store that is closed."""
    store = new_store(tmp_path)
    store.start()
    task = asyncio.create_task(collect(store, [], None, 1))
    await until(lambda: store._followers)
    await store.aclose()

    await asyncio.wait_for(task, PATIENCE)


async def test_follower_survives_a_file_that_is_locked_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup takes its time, and so does a writer that closes its file on a slow disk."""
    monkeypatch.setattr(segments_module.open_readonly, "__defaults__", (0.01,))
    monkeypatch.setattr(store_module, "POLL", 0.01)
    async with running(tmp_path) as store:
        put(store, 3)
        await store.flush()
        active = ActiveFile(tmp_path / "events-1-000000000001.db", 1, 1, full_sync=False)
        active.insert([(1, 0.0, Shape("chat.model", "test", 1, ("n",)), None, "[7]")])
        active.seal()
        backup = sqlite3.connect(active.path, isolation_level=None)
        backup.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            await store.ask(store.query)
        seen: list[Stored] = []
        refused: list[Exception] = []
        real = store.catch_up

        def catch_up(*args: Any) -> Page:
            try:
                return real(*args)
            except Exception as error:
                refused.append(error)
                raise

        monkeypatch.setattr(store, "catch_up", catch_up)
        task = asyncio.create_task(collect(store, seen, Cursor(), 4))
        await until(lambda: refused)
        backup.execute("ROLLBACK")
        backup.close()
        await task

    assert sorted(one.data["n"] for one in seen) == [0, 1, 2, 7]
