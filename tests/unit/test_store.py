"""The event store: what goes in is on disk, whatever goes wrong, and can be asked for."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from backend import store as store_module
from backend.event_bus import EventBus
from backend.journal import retention as retention_module
from backend.journal import waiting as waiting_module
from backend.journal import writer as writer_module
from backend.journal.faults import FileFault
from backend.journal.segments import ActiveFile, list_segments
from backend.store import Cursor, Filter, NotStored, Redaction
from tests.injection.raising import raising
from tests.support.clock import FakeClock
from tests.support.net import PATIENCE, until
from tests.support.stores import event, everything, new_store, numbers, put, raw_bytes, redaction, running

KEY = "sk-proj-A1b2C3d4E5f6G7h8I9j0"


@pytest.fixture
def go_on(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The disk hangs in every commit until this is set."""
    released = threading.Event()
    real = ActiveFile.insert

    def insert(self: ActiveFile, rows: list[Any]) -> None:
        released.wait(PATIENCE)
        real(self, rows)

    monkeypatch.setattr(ActiveFile, "insert", insert)
    return released


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


async def test_slow_disk_holds_nobody(tmp_path: Path, go_on: threading.Event) -> None:
    """While a commit hangs, events go on to be taken; they are stored when it goes on."""
    async with running(tmp_path) as store:
        put(store, 1000)
        assert store.statistics()["stored"] == 0
        go_on.set()
        await store.flush()

        assert numbers(store) == list(range(1000))


async def test_flood_beyond_the_bound_is_refused_counted_and_told(tmp_path: Path, go_on: threading.Event) -> None:
    """Memory has an end; then the newest are refused, and the history says how many of which type."""
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


# Its life


async def test_cancelled_flush_and_close_leave_the_thread_to_its_work(tmp_path: Path, go_on: threading.Event) -> None:
    """A cancel of who waits takes nothing back."""
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

    assert {fault.value for fault in FileFault} - set(_PROBLEMS) == {"I/O error"}
    for text, advice in _PROBLEMS.values():
        assert text.endswith(".")
        assert advice.endswith(".")


def test_redaction_of_the_helper_is_the_real_one() -> None:
    """The planted keys above would prove nothing otherwise."""
    assert redaction().text(KEY) == "[redacted]"
