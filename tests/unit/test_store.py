"""The event store: what goes in is on disk, whatever goes wrong, and can be asked for."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from backend import store as store_module
from backend.event_bus import EventBus
from backend.journal import retention as retention_module
from backend.journal import segments as segments_module
from backend.journal import waiting as waiting_module
from backend.journal import writer as writer_module
from backend.journal.faults import Fault
from backend.journal.rows import Shape
from backend.journal.segments import ActiveFile, list_segments
from backend.store import Cursor, EventStore, Filter, NotStored, Page, Redaction, Stored
from tests.injection.raising import raising
from tests.support.clock import FakeClock
from tests.support.net import PATIENCE, until
from tests.support.stores import event, everything, new_store, put, raw_bytes, redaction, running

KEY = "sk-proj-A1b2C3d4E5f6G7h8I9j0"


def numbers(store: EventStore, *types: str) -> list[Any]:
    return [one.data.get("n") for one in everything(store, *types)]


# What goes in


async def test_events_are_there_after_a_restart_with_ids_that_go_on(tmp_path: Path) -> None:
    """The point of it all."""
    async with running(tmp_path) as store:
        put(store, 700)
        await store.flush()
        assert len(everything(store)) == 700
    async with running(tmp_path) as store:
        put(store, 5)
    found = new_store(tmp_path).query(limit=2_000).events

    assert [one.id for one in found] == list(range(1, len(found) + 1))
    assert [one.type for one in found if one.source == "store"] == [
        "store.opened", "store.closed", "store.opened", "store.closed",
    ]  # fmt: skip
    assert found[702].data["down_since"] == found[701].time


async def test_bus_feeds_the_store_and_deltas_stay_out(tmp_path: Path) -> None:
    """Text by the thousand pieces is nothing to keep."""
    bus = EventBus()
    async with running(tmp_path) as store:
        bus.subscribe("*", store.on_event)
        bus.publish_nowait(event("chat.delta", text="hello"))
        bus.publish_nowait(event("anything.at_all", n=1))
        await store.flush()

        assert [one.type for one in everything(store)] == ["anything.at_all"]
    await bus.aclose()


@pytest.mark.parametrize("type_", ["error", "chat.finished"])
async def test_errors_and_ends_are_committed_at_once(tmp_path: Path, type_: str) -> None:
    """They are what somebody looks for after a crash; the rest may wait for its company."""
    async with running(tmp_path, flush_seconds=3600.0) as store:
        put(store, 3)
        put(store, 1, type_)

        await until(lambda: store.statistics()["stored"] == 4)


async def test_what_is_urgent_goes_at_once_on_every_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on one whose timers are of a class of its own, as uvloop's are."""
    loop = asyncio.get_running_loop()
    plain = loop.call_later

    class Timer:
        def __init__(self, *arguments: Any, **more: Any) -> None:
            self.cancel = plain(*arguments, **more).cancel

    monkeypatch.setattr(loop, "call_later", Timer)
    async with running(tmp_path, flush_seconds=3600.0) as store:
        put(store, 3)
        put(store, 1, "error")

        await until(lambda: store.statistics()["stored"] == 4)


async def test_list_goes_to_the_thread_when_it_is_long_or_old(tmp_path: Path) -> None:
    """256 events, or the time of the setting."""
    async with running(tmp_path, flush_seconds=3600.0) as store:
        put(store, 256)
        await until(lambda: store.statistics()["stored"] == 256)
    async with running(tmp_path, flush_seconds=0.01) as store:
        put(store, 1)
        await until(lambda: store.statistics()["stored"] == 1)


async def test_sqlite_is_never_called_on_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to write, not to read: a slow disk must not hold a chat."""
    callers = set()
    real = sqlite3.connect

    def connect(*args: Any, **more: Any) -> Any:
        callers.add(threading.current_thread())
        return real(*args, **more)

    monkeypatch.setattr(sqlite3, "connect", connect)
    async with running(tmp_path) as store:
        put(store, 300)
        await store.flush()
        await store.ask(store.query)
        await store.ask(store.story, "7")
        await store.forget("s")
        following = store.follow(after=Cursor())
        assert (await anext(following)).events
        await following.aclose()

    assert callers
    assert threading.main_thread() not in callers


async def test_slow_disk_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a commit hangs, events go on to be taken; they are stored when it goes on."""
    go_on = threading.Event()
    real = ActiveFile.insert

    def insert(self: ActiveFile, rows: list[Any]) -> None:
        go_on.wait(30)
        real(self, rows)

    monkeypatch.setattr(ActiveFile, "insert", insert)
    async with running(tmp_path) as store:
        put(store, 1000)
        assert store.statistics()["stored"] == 0
        go_on.set()
        await store.flush()

        assert numbers(store) == list(range(1000))


async def test_flood_beyond_the_bound_is_refused_counted_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory has an end; then the newest are refused, and the history says how many of which type."""
    go_on = threading.Event()
    real = ActiveFile.insert

    def insert(self: ActiveFile, rows: list[Any]) -> None:
        go_on.wait(30)
        real(self, rows)

    monkeypatch.setattr(ActiveFile, "insert", insert)
    async with running(tmp_path) as store:
        put(store, 20_480 + 512)
        put(store, 256, "late.one")
        lost = store.statistics()["lost"]["too many waiting"]
        go_on.set()
        await store.flush()
        put(store, 1, "after")
        await store.flush()

        gap = everything(store, "store.gap")[0]
        assert gap.data["lost"] == lost > 0
        assert gap.data["by_type"]["late.one"] == 256
        assert sum(gap.data["by_type"].values()) == lost
        assert len(numbers(store)) == 20_480 + 512 + 256 + 1 - lost
        assert store.statistics()["waiting"] == 0
        problem = store.problem()
        assert problem is not None
        assert problem.code == "lost"


async def test_rows_that_are_too_much_to_wait_are_refused_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few thousand large ones are as much as many small ones."""
    monkeypatch.setattr(waiting_module, "MAX_WAITING_BYTES", 100_000)
    monkeypatch.setattr(ActiveFile, "insert", locked)
    async with running(tmp_path) as store:
        for _ in range(20):
            put(store, 20, text_like="x" * 1000)
            with pytest.raises(NotStored, match="locked"):
                await store.flush()

        assert store.statistics()["lost"]["locked"] > 200
        monkeypatch.undo()
        await store.flush()
        assert 80 < len(everything(store)) < 120


def locked(self: ActiveFile, rows: list[Any]) -> None:
    """Stands for another program that holds the file."""
    raise sqlite3.OperationalError("database is locked")


# Privacy


async def test_no_text_and_no_secret_is_in_any_byte_of_any_file(tmp_path: Path) -> None:
    """Planted in every field of every kind; the -wal counts as well."""
    text = "the user's very private words"
    named: dict[str, Any] = {f"name {KEY}": 1}
    async with running(tmp_path) as store:
        for type_ in ("chat.finished", "chat.delta", "error", "custom.type", f"type.{KEY}"):
            store.on_event(
                event(type_, session=f"session {KEY}", chat_id=KEY, text=text, notice=text, nested={"a": [KEY]})
            )
            store.on_event(event(type_, api_key="hunter2-hunter2", **named))
            store.on_event(event(type_, headers=[("Authorization", "hunter2-hunter2")], url=f"https://me:{KEY}@h/"))
        await store.flush()
        written = raw_bytes(tmp_path)
        exported = "".join(store.export("ndjson")) + "".join(store.export("csv"))

    for planted in (KEY, KEY[8:20], text, "hunter2"):
        assert planted.encode() not in written
        assert planted.encode() not in raw_bytes(tmp_path)
        assert planted not in exported


async def test_export_takes_out_what_became_known_as_a_secret_later(tmp_path: Path) -> None:
    """The key came with a request after the event was written."""
    from backend.error_handling import Redactor, secret_name

    redactor = Redactor()
    told = Redaction(redactor.redact, secret_name)
    async with running(tmp_path, redaction=told) as store:
        store.on_event(event("x", host="my-odd-password"))
        await store.flush()
        redactor.add("my-odd-password")

        assert "my-odd-password" not in "".join(store.export())
        assert "my-odd-password" not in json.dumps(store.plain(everything(store)))


async def test_forgetting_a_session_leaves_no_byte_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several files, the -wal included, with its chats' errors that name no session; others stay."""
    monkeypatch.setattr(retention_module, "LEAST_SEGMENT", 30_000)
    async with running(tmp_path, keep_bytes=400_000) as store:
        for n in range(900):
            store.on_event(event("chat.model", f"session-{n % 3}", n=n, chat_id=f"chat-{n % 3}", mark=f"mark-{n % 3}"))
            if n % 90 == 0:
                store.on_event(event("error", None, chat_id=f"chat-{n % 3}", message=f"mark-{n % 3}"))
        await store.flush()
        assert len(list_segments(tmp_path)) > 2
        before = len(everything(store))

        gone = await store.forget("session-0")

        assert gone == {"chat.model": 300, "error": 10}
        assert b"mark-0" not in raw_bytes(tmp_path)
        assert b"session-0" not in raw_bytes(tmp_path)
        assert len(everything(store)) == before - 310
        assert everything(store, "store.gap")[-1].data["reason"] == "forgotten"


async def test_forgetting_everything_begins_anew_with_higher_ids(tmp_path: Path) -> None:
    """A page that follows must never meet an id for the second time."""
    async with running(tmp_path) as store:
        put(store, 50)
        await store.flush()
        last = store.statistics()["last_id"]
        gone = await store.forget()
        put(store, 1)
        await store.flush()

        assert gone["chat.model"] == 50
        assert numbers(store) == [0]
        assert all(one.id > last for one in store.query().events)
    async with running(tmp_path) as store:
        assert store.query().events[0].id > last


# Reading


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


# Following


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


# Its life


async def test_cancelled_flush_and_close_leave_the_thread_to_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancel of who waits takes nothing back."""
    go_on = threading.Event()
    real = ActiveFile.insert

    def insert(self: ActiveFile, rows: list[Any]) -> None:
        go_on.wait(30)
        real(self, rows)

    monkeypatch.setattr(ActiveFile, "insert", insert)
    store = new_store(tmp_path)
    store.start()
    thread = store._thread
    assert thread is not None
    put(store, 3)
    for call in (store.flush, store.aclose):
        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    go_on.set()
    await until(lambda: not thread.is_alive())

    assert numbers(store) == [0, 1, 2]


async def test_starting_and_closing_twice_is_fine_and_no_thread_stays(tmp_path: Path) -> None:
    """Also again after a close."""
    store = new_store(tmp_path)
    for _ in range(2):
        store.start()
        store.start()
        put(store, 2)
        await store.ask(store.query)
        await store.aclose()
        await store.aclose()

    assert numbers(store) == [0, 1, 0, 1]
    await until(lambda: not [one for one in threading.enumerate() if "copilot-pulse" in one.name])


async def test_store_that_was_not_started_only_reads(tmp_path: Path) -> None:
    """The command line does so beside a running ComfyUI; an empty or missing folder is no error."""
    store = new_store(tmp_path / "nothing")

    assert store.query().events == []
    assert store.end() == Cursor()
    assert store.check() == []
    assert store.story("7") is None
    assert store.problem() is None
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(NotStored, match="does not run"):
        await store.flush()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_thread_that_dies_before_it_can_tell_is_noticed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks the store meanwhile is told at once, and waits for nothing."""
    monkeypatch.setattr(store_module, "REVIVE_AFTER", 0.0)
    with raising("store.py:EventStore._body") as injection:
        store = new_store(tmp_path)
        store.start()
        thread = store._thread
        assert thread is not None
        await until(lambda: not thread.is_alive())
    assert injection.hit
    put(store, 3)
    await asyncio.wait_for(store.flush(), PATIENCE)
    assert numbers(store) == [0, 1, 2]
    await store.aclose()


async def test_thread_that_dies_is_started_again_and_at_the_third_time_it_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours must cost little, be counted, be told, and not go on for ever."""
    clock = FakeClock()
    real = writer_module.Writer._numbered

    def bug(self: Any, *args: Any) -> Any:
        raise ZeroDivisionError

    async with running(tmp_path, clock=clock) as store:
        for death in (1, 2):
            monkeypatch.setattr(writer_module.Writer, "_numbered", bug)
            put(store, 10)
            with pytest.raises(NotStored, match="ZeroDivisionError"):
                await store.flush()
            monkeypatch.setattr(writer_module.Writer, "_numbered", real)
            assert store._deaths == death
            with pytest.raises(NotStored):
                await store.flush()  # too early
            clock.advance(61)
            put(store, 5)
            await store.flush()
            assert len(everything(store)) == 15 * death
        monkeypatch.setattr(writer_module.Writer, "_numbered", bug)
        put(store, 1)
        with pytest.raises(NotStored):
            await store.flush()
        clock.advance(1000)
        put(store, 300)
        problem = store.problem()

        assert problem is not None
        assert problem.code == "stopped"
        assert store.statistics()["lost"]["writer stopped"] >= 256


# Faults of files


async def test_file_removed_underneath_is_noticed_at_the_next_commit(tmp_path: Path) -> None:
    """Without that, SQLite writes into nothing and says nothing."""
    async with running(tmp_path) as store:
        put(store, 10)
        await store.flush()
        for segment in list_segments(tmp_path):
            segment.path.unlink()
        put(store, 5)
        await store.flush()

        gap = everything(store, "store.gap")[0]
        assert gap.data["reason"] == "file removed"
        assert gap.data["lost"] == 11
        assert numbers(store) == [0, 1, 2, 3, 4]


async def test_whole_folder_removed_is_made_again(tmp_path: Path) -> None:
    """Its lock is gone, too: it has to be taken anew, so that nobody else has the slot."""
    folder = tmp_path / "events"
    async with running(folder) as store:
        put(store, 10)
        await store.flush()
        shutil.rmtree(folder)
        put(store, 5)
        await store.flush()
        async with running(folder) as other:
            put(other, 1)
            await other.flush()

            assert (store.statistics()["slot"], other.statistics()["slot"]) == (0, 1)
        assert len(numbers(store)) == 6


async def test_wal_removed_underneath_is_noticed(tmp_path: Path) -> None:
    """It holds what was committed last."""
    async with running(tmp_path) as store:
        put(store, 10)
        await store.flush()
        Path(f"{list_segments(tmp_path)[0].path}-wal").unlink()
        put(store, 5)
        await store.flush()

        assert everything(store, "store.gap")[0].data["reason"] == "file removed"
        assert numbers(store)[-5:] == [0, 1, 2, 3, 4]


async def test_smashed_header_is_set_aside_at_the_start(tmp_path: Path) -> None:
    """Recording goes on in a new file, with ids above all that the old one may have had."""
    async with running(tmp_path) as store:
        put(store, 100)
    path = list_segments(tmp_path)[0].path
    path.write_bytes(b"\x00" * 4096 + path.read_bytes()[4096:])
    async with running(tmp_path) as store:
        put(store, 3)
        await store.flush()
        page = store.query()
        problem = store.problem()

        assert numbers(store) == [0, 1, 2]
        assert page.events[0].id > 102
        assert "cannot be read" in page.damaged[0] or "not a database" in page.damaged[0]
        assert problem is not None
        assert problem.code == "set aside"
        assert problem.values["file"].startswith("events-0-000000000001.db.corrupt-")


async def test_smashed_page_in_the_middle_is_found_at_the_start_and_the_rest_is_read(tmp_path: Path) -> None:
    """Opening and inserting would go well; only a check finds it. What can be read still is."""
    async with running(tmp_path) as store:
        put(store, 3_000, pad="x" * 30)
    path = list_segments(tmp_path)[0].path
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2 // 4096 * 4096
    raw[middle : middle + 4096] = os.urandom(4096)
    path.write_bytes(raw)
    async with running(tmp_path) as store:
        put(store, 3, "after")
        await store.flush()

        assert numbers(store, "after") == [0, 1, 2]
        found = [one.data["n"] for one in everything(store, "chat.model")]
        page = store.query(limit=5_000)
        assert 2_800 <= len(found) < 3_000
        assert found == sorted(set(found))
        assert any("cannot be read" in words for words in page.damaged)
        newest = store.query(Filter(("chat.model",)), newest_first=True, limit=10)
        assert [one.data["n"] for one in newest.events] == list(range(2_999, 2_989, -1))


async def test_smashed_wal_costs_its_own_rows_at_most(tmp_path: Path) -> None:
    """The file goes on with what it has; ids are not given a second time to what can be read."""
    crashed = tmp_path / "crashed"
    async with running(tmp_path / "live") as store:
        put(store, 300)
        await store.flush()
        put(store, 300)
        await store.flush()
        shutil.copytree(tmp_path / "live", crashed)  # as kill -9 leaves it
    wal = Path(f"{list_segments(crashed)[0].path}-wal")
    raw = bytearray(wal.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 200] = os.urandom(200)
    wal.write_bytes(raw)
    async with running(crashed) as store:
        put(store, 5, "after")
        await store.flush()

        ids = [one.id for one in store.query(limit=2_000).events]
        assert ids == sorted(set(ids))
        assert numbers(store, "after") == [0, 1, 2, 3, 4]
        assert store.problem() is None


async def test_file_that_a_kill_left_empty_is_sound_and_gone_on_with(tmp_path: Path) -> None:
    """It had been made, and nothing written to it yet."""
    async with running(tmp_path) as store:
        put(store, 3)
    (tmp_path / "events-0-000000000006.db").touch()
    store = new_store(tmp_path)
    assert [row["problem"] for row in store.check()] == ["", ""]
    assert numbers(store) == [0, 1, 2]
    async with running(tmp_path) as store:
        put(store, 2)
        await store.flush()

        assert [one.id for one in store.query().events] == list(range(1, 9))


async def test_newer_schema_is_read_and_not_written_to(tmp_path: Path) -> None:
    """A user who goes back one version keeps both histories."""
    async with running(tmp_path) as store:
        put(store, 10)
    path = list_segments(tmp_path)[0].path
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    connection.execute("ALTER TABLE events ADD COLUMN more TEXT")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    async with running(tmp_path) as store:
        put(store, 3, "after")
        await store.flush()

        assert numbers(store, "after") == [0, 1, 2]
        assert len(numbers(store)) == 13
        assert len(list_segments(tmp_path)) == 2
        ids = [one.id for one in store.query().events]
        assert ids == list(range(1, len(ids) + 1))
    assert path.read_bytes() == before


async def test_locked_by_another_program_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that holds the file for a while."""
    monkeypatch.setattr("backend.journal.segments.LOCK_SECONDS", 0.05)
    async with running(tmp_path) as store:
        await store.flush()
        backup = sqlite3.connect(list_segments(tmp_path)[0].path, isolation_level=None)
        backup.execute("BEGIN IMMEDIATE")
        put(store, 300)
        with pytest.raises(NotStored, match="locked"):
            await store.flush()
        problem = store.problem()
        assert problem is not None
        assert problem.code == "locked"
        backup.execute("ROLLBACK")
        backup.close()
        await store.flush()

        assert numbers(store) == list(range(300))
        assert store.problem() is None


async def test_folder_that_cannot_be_written_to_is_told_and_tried_again(tmp_path: Path) -> None:
    """What waits is let go after a while: nobody knows whether it will ever go. It heals by itself."""
    clock = FakeClock()
    (tmp_path / "events").write_text("a file where the folder should be")
    async with running(tmp_path / "events", clock=clock) as store:
        for _ in range(4):
            put(store, 10)
            with pytest.raises(NotStored, match="not writable"):
                await store.flush()
        problem = store.problem()
        assert problem is not None
        assert problem.code == "not writable"
        assert str(tmp_path / "events") in problem.text
        assert "COPILOT_PULSE_STORE_DIR" in problem.advice
        assert store.statistics()["lost"]["not writable"] >= 30
        (tmp_path / "events").unlink()
        put(store, 2)
        await store.flush()

        assert store.problem() is None or store.problem().code == "lost"  # type: ignore[union-attr]
        assert numbers(store)[-2:] == [0, 1]
        assert everything(store, "store.gap")[0].data["by_type"]["chat.model"] >= 30


async def test_full_file_makes_way_for_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLITE_FULL by `max_page_count`: the newest events are stored, none of them is lost."""
    real = ActiveFile._prepare

    def prepare(self: ActiveFile, full_sync: bool) -> None:
        real(self, full_sync)
        self._connection.execute("PRAGMA max_page_count=40")

    monkeypatch.setattr(ActiveFile, "_prepare", prepare)
    async with running(tmp_path) as store:
        for _ in range(20):
            put(store, 250, pad="x" * 100)
            await store.flush()

        assert store.statistics()["lost"] == {}
        assert store.statistics()["dropped_segments"] > 0
        assert numbers(store)[-250:] == list(range(250))
        ids = [one.id for one in store.query(limit=5_000).events]
        assert ids == list(range(ids[0], ids[-1] + 1))


async def test_full_disk_is_waited_for_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing of ours is left to go, events wait in memory and the rest of the plugin never notices."""

    def full(self: ActiveFile, rows: list[Any]) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with running(tmp_path) as store:
        await store.flush()
        monkeypatch.setattr(ActiveFile, "insert", full)
        put(store, 100)
        with pytest.raises(NotStored, match="disk full"):
            await store.flush()
        problem = store.problem()
        assert problem is not None
        assert problem.code == "disk full"
        monkeypatch.undo()
        await store.flush()

        assert numbers(store) == list(range(100))
        assert store.problem() is None


async def test_input_output_error_on_a_disk_with_room_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken disk is not a full one."""

    def broken(self: ActiveFile, rows: list[Any]) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with running(tmp_path, keep_bytes=600_000) as store:
        put(store, 2_000, pad="x" * 100)
        await store.flush()
        files = [one.path for one in list_segments(tmp_path)]
        monkeypatch.setattr(ActiveFile, "insert", broken)
        put(store, 1)
        with pytest.raises(NotStored, match="failed"):
            await store.flush()

        assert set(files) <= {one.path for one in list_segments(tmp_path)}
        monkeypatch.undo()
        await store.flush()
        assert store._writer.figures.fault is None


# Retention and clocks


async def test_bytes_are_kept_by_letting_whole_files_go(tmp_path: Path) -> None:
    """The oldest; what is left has no hole."""
    async with running(tmp_path, keep_bytes=1_000_000) as store:
        for _ in range(30):
            put(store, 250, pad="x" * 300)
            await store.flush()

        assert sum(one.bytes for one in list_segments(tmp_path)) < 1_150_000
        found = store.query(limit=10_000).events
        assert [one.id for one in found] == list(range(found[0].id, found[-1].id + 1))
        assert found[0].id > 1
        assert found[-1].data["n"] == 249
        assert store.statistics()["lost"] == {}


async def test_days_are_kept_by_letting_whole_files_go(tmp_path: Path) -> None:
    """By the events' own time, with a clock that the test moves."""
    clock, wall = FakeClock(), FakeClock(1_795_000_000.0)
    day = 86_400.0

    def new(n: int) -> Any:
        made = event("x", n=n)
        made.time = clock()
        return made

    async with running(tmp_path, keep_days=2.0, clock=clock, wall=wall) as store:
        for n in range(20):
            store.on_event(new(n))
            await store.flush()
            clock.advance(day / 4)
            wall.advance(day / 4)

        kept = numbers(store, "x")
        assert kept[-1] == 19
        assert 8 <= len(kept) <= 11


async def test_clock_that_jumps_back_changes_no_order_and_no_id(tmp_path: Path) -> None:
    """NTP, a suspended laptop, a wrong battery: ids tell what came first, times are what the clock said."""
    wall = FakeClock(1_795_000_000.0)
    async with running(tmp_path, wall=wall) as store:
        put(store, 2)
        await store.flush()
        wall.advance(-86_400.0)
        put(store, 2)
        await store.flush()

        found = everything(store)
        assert [one.data["n"] for one in found] == [0, 1, 0, 1]
        assert found[2].time < found[1].time
        assert len(store.query(Filter(("chat.model",), since=1_795_000_000.0 - 3_600)).events) == 2
        assert len(store.query(Filter(("chat.model",), until=1_795_000_000.0 - 3_600)).events) == 2


async def test_files_of_a_process_that_is_gone_are_let_go_too(tmp_path: Path) -> None:
    """Otherwise a second ComfyUI of last month would stay for ever."""
    wall = FakeClock(time.time())
    async with running(tmp_path) as first:
        await first.flush()
        async with running(tmp_path, wall=wall) as second:
            put(second, 10)
    assert len(list_segments(tmp_path)) == 2
    wall.advance(30 * 86_400.0)
    async with running(tmp_path, wall=wall, keep_days=7) as store:
        await store.flush()

        assert {one.slot for one in list_segments(tmp_path)} == {0}


def test_faults_have_words_for_the_user() -> None:
    """Each fault of the thread has a sentence and advice, or falls back to one that has."""
    from backend.store import _PROBLEMS

    assert {fault.value for fault in Fault} - set(_PROBLEMS) == {"I/O error"}
    for text, advice in _PROBLEMS.values():
        assert text.endswith(".")
        assert advice.endswith(".")


def test_redaction_of_the_helper_is_the_real_one() -> None:
    """The planted keys above would prove nothing otherwise."""
    assert redaction().text(KEY) == "[redacted]"
