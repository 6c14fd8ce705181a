"""The event store beside its peers: `python -m tests.bench.bench_store [--write]`.

Peers (pyeventsourcing, aiosqlite) are in tests/bench/requirements.txt; a row whose peer is missing is left out. All
that is compared runs in turn, for some rounds; a ratio is taken within each round, and the median is shown. `--write`
puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from backend.event_bus import Event, EventBus
from backend.journal.replay import replay
from backend.journal.rows import RowMaker
from backend.journal.segments import ActiveFile, list_segments
from backend.store import EventStore, Filter
from tests.bench.page import write_section
from tests.support.stores import new_store, redaction

try:
    import aiosqlite
except ImportError:
    aiosqlite = None
try:
    from eventsourcing.persistence import StoredEvent
    from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
except ImportError:
    StoredEvent = None

BATCH = 256
BEST_OF = 5
NAMES = {"model": "qwen3-30b-a3b", "host": "127.0.0.1:1234", "kind": "chat", "outcome": "completed"}


def event(n: int, type_: str = "chat.finished") -> Event:
    """An event of about 175 bytes of JSON, as a chat's end is."""
    data = {
        "chat_id": f"7-{n // 10:06}",
        **NAMES,
        "seconds": 2.25,
        "first_token": 0.4,
        "tokens": n % 500,
        "length": 1840,
    }
    return Event(type_, data, "copilot", f"session-{n // 100}")


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


class Folders:
    """Fresh folders, all gone at the end."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._number = 0

    def new(self) -> Path:
        """An empty one."""
        self._number += 1
        folder = self._root / str(self._number)
        folder.mkdir()
        return folder


# Loop


async def loop_cpu(kind: str, folder: Path, number: int) -> float:
    """Microseconds of the loop's own processor time an event, published and handled as `kind` says."""
    bus = EventBus()
    store: EventStore | None = None
    if kind == "store":
        store = new_store(folder)
        store.start()
        bus.subscribe("*", store.on_event)
        await store.flush()
    elif kind == "SQLite in the loop":
        connection = sqlite3.connect(folder / "loop.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, time REAL, type TEXT, data TEXT)")
        bus.subscribe(
            "*",
            lambda one: connection.execute(
                "INSERT INTO events (time, type, data) VALUES (?, ?, ?)", (one.time, one.type, json.dumps(one.data))
            ),
        )
    events = [event(n, "chat.model") for n in range(number)]
    began = time.thread_time()
    for n, one in enumerate(events):
        bus.publish_nowait(one)
        if n % 64 == 0:
            await asyncio.sleep(0)
    spent = time.thread_time() - began
    if store is not None:
        await store.aclose()
    elif kind == "SQLite in the loop":
        connection.close()
    await bus.aclose()
    return 1e6 * spent / number


async def lag(folder: Path | None, seconds: float) -> float:
    """p99 in ms of how late a timer of 1 ms comes, the loop a third busy, beside 2,500 events a second."""
    bus = EventBus()
    store = None
    if folder is not None:
        store = new_store(folder)
        store.start()
        bus.subscribe("*", store.on_event)
        await store.flush()
    late: list[float] = []
    end = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < end:
        due = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        late.append(time.perf_counter() - due)
        busy = time.perf_counter() + 0.0005
        for _ in range(4):
            bus.publish_nowait(event(number, "chat.model"))
            number += 1
        while time.perf_counter() < busy:
            pass
    if store is not None:
        await store.aclose()
    await bus.aclose()
    return 1e3 * sorted(late)[int(0.99 * len(late))]


# Appends


class Timer:
    """Adds up wall time and this thread's processor time of what runs inside it, in seconds."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.cpu = 0.0

    def __enter__(self) -> None:
        self._began, self._burnt = time.perf_counter(), time.thread_time()

    def __exit__(self, *_: object) -> None:
        self.cpu += time.thread_time() - self._burnt
        self.wall += time.perf_counter() - self._began


def best(timers: list[Timer]) -> Timer:
    """The least of each: whatever else runs on the machine only adds to it."""
    least = Timer()
    least.wall, least.cpu = min(timer.wall for timer in timers), min(timer.cpu for timer in timers)
    return least


# The events of a batch are made right before it, outside of the time, on both sides: so they come to a writer.


def ours(folder: Path, number: int, *, full: bool = False, batch: int = BATCH) -> tuple[Timer, int]:
    """(time, bytes) of that many events: redacted, as JSON, with the index."""
    active = ActiveFile(folder / "events-0-000000000001.db", 0, 1, full_sync=full)
    rows, timer = RowMaker(redaction()), Timer()
    for start in range(0, number, batch):
        events = [event(n) for n in range(start, min(start + batch, number))]
        with timer:
            rows.refresh()
            part = rows.make(0.0, events)
            part[0] = (start + 1, *part[0][1:])  # as the writer does
            active.insert(part)
    active.seal()
    return timer, active.path.stat().st_size


def stored_event(n: int) -> Any:
    """The same for pyeventsourcing: ready bytes, a session is an aggregate."""
    one = event(n)
    state = json.dumps({"time": one.time, "source": one.source, "session": one.session, **one.data})
    return StoredEvent(uuid.UUID(int=n // 100), n % 100, one.type, state.encode())


def theirs(folder: Path, number: int, *, full: bool, batch: int = BATCH) -> tuple[Timer, int, Any]:
    """(time, bytes, recorder) of pyeventsourcing's recorder, which gets ready bytes."""
    datastore = SQLiteDatastore(str(folder / "theirs.db"))
    recorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    if not full:
        with datastore.get_connection(commit=True) as connection:
            connection._sqlite_conn.execute("PRAGMA synchronous=NORMAL")
    timer = Timer()
    for start in range(0, number, batch):
        events = [stored_event(n) for n in range(start, min(start + batch, number))]
        with timer:
            recorder.insert_events(events)
    with datastore.get_connection(commit=True) as connection:
        connection._sqlite_conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return timer, (folder / "theirs.db").stat().st_size, recorder


async def aiosqlite_one_by_one(folder: Path, number: int) -> float:
    """Seconds of that many events, each with its commit."""
    async with aiosqlite.connect(folder / "aio.db") as connection:
        await connection.execute("PRAGMA journal_mode=WAL")
        await connection.execute("PRAGMA synchronous=NORMAL")
        await connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, time REAL, type TEXT, data TEXT)")
        began = time.perf_counter()
        for n in range(number):
            one = event(n)
            await connection.execute(
                "INSERT INTO events (time, type, data) VALUES (?, ?, ?)", (one.time, one.type, json.dumps(one.data))
            )
            await connection.commit()
        return time.perf_counter() - began


# Reading


class Sum:
    """A projection that does next to nothing."""

    def __init__(self) -> None:
        self.tokens = 0

    def apply(self, one: Any) -> None:
        """Count."""
        self.tokens += one.data["tokens"]


def replay_ours(folder: Path) -> float:
    """Seconds of processor time."""
    store, total = new_store(folder), Sum()
    began = time.process_time()
    replay(store._reader.scan(Filter()), total, rest=lambda seconds: None)
    return time.process_time() - began


def replay_theirs(recorder: Any) -> float:
    """The same through pages of 1,000 notifications."""
    tokens, start = 0, 1
    began = time.process_time()
    while page := recorder.select_notifications(start=start, limit=1_000):
        for one in page:
            tokens += json.loads(one.state)["tokens"]
        start = page[-1].id + 1
    return time.process_time() - began


def fill(folder: Path, number: int) -> tuple[float, float]:
    """A million events of a day in files of 8 MB and more, one in 700 an error; (start, end) of one hour of it."""
    per_file = number // 8
    rows = RowMaker(redaction())
    types = ("chat.model", "chat.first_token", "chat.tool_called", "chat.finished", "http.request", "queue.zone")
    step = 86_400.0 / number
    at = 0
    while at < number:
        active = ActiveFile(folder / f"events-0-{at + 1:012}.db", 0, at + 1, full_sync=False)
        for start in range(at, min(at + per_file, number), 1_000):
            numbers = range(start, min(start + 1_000, at + per_file, number))
            events = [event(n, "error" if n % 700 == 0 else types[n % 6]) for n in numbers]
            made = rows.make(0.0, events)
            active.insert([(n + 1, n * step, *row[2:]) for n, row in zip(numbers, made, strict=True)])
        active.seal()
        at += per_file
    return 12 * 3600.0, 13 * 3600.0


def one_hour(folder: Path, since: float, until: float) -> tuple[float, float, int]:
    """(seconds of our query, seconds of a scan of all files, rows) for the errors of an hour."""
    store = new_store(folder)
    began = time.perf_counter()
    found = store.query(Filter(("error",), since, until), limit=10_000).events
    asked = time.perf_counter() - began
    began = time.perf_counter()
    scanned = 0
    for segment in list_segments(folder):
        connection = sqlite3.connect(segment.path)
        scanned += len(
            connection.execute(
                "SELECT * FROM events NOT INDEXED WHERE shape IN (SELECT id FROM shapes WHERE type = 'error') "
                "AND time >= ? AND time < ?",
                (since, until),
            ).fetchall()
        )
        connection.close()
    assert scanned == len(found)
    return asked, time.perf_counter() - began, scanned


def fill_chats(folder: Path, number: int) -> None:
    """That many chats of six events each."""
    rows = RowMaker(redaction())
    active = ActiveFile(folder / "events-0-000000000001.db", 0, 1, full_sync=False)
    for first in range(0, number, 40):
        events = []
        for chat in range(first, min(first + 40, number)):
            call = {"chat_id": f"chat-{chat:08}", "model": NAMES["model"], "host": NAMES["host"]}
            ended = {**call, "outcome": "completed", "seconds": 2.25, "first_token": 0.4}
            for type_, data in (
                ("chat.started", {"chat_id": call["chat_id"], "kind": "chat", "messages": 1}),
                ("chat.agent_changed", {"chat_id": call["chat_id"], "agent": "Pulse"}),
                ("chat.model", {**call, "attempt": 1, "turn": 1}),
                ("chat.first_token", {**call, "seconds": 0.4}),
                ("chat.model_ended", {**ended, "attempt": 1, "turn": 1, "finish": "stop", "output_tokens": 84}),
                ("chat.finished", {**ended, "kind": "chat", "tokens": 84, "retries": 0, "length": 1_840}),
            ):
                events.append(Event(type_, data, "copilot", f"session-{chat // 20}"))
        made = rows.make(time.time() - time.monotonic(), events)
        active.insert([(active.last_id + 1, *made[0][1:]), *made[1:]])
    active.seal()


def search(folder: Path) -> float:
    """Seconds of a search through all chats that finds none."""
    store = new_store(folder)
    began = time.perf_counter()
    assert store.chats(model="qwen3-30b-a3b", outcome="failed") == []
    return time.perf_counter() - began


# All of it


def measure(folders: Folders, rounds: int, number: int, million: int) -> dict[str, list[float]]:
    """Every figure by name, one for each round."""
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for _ in range(rounds):
        none = asyncio.run(loop_cpu("none", folders.new(), number))
        with_store = asyncio.run(loop_cpu("store", folders.new(), number))
        in_loop = asyncio.run(loop_cpu("SQLite in the loop", folders.new(), number // 10))
        note("loop: added by the store, µs", with_store - none)
        note("loop: SQLite in the loop ÷ store", (in_loop - none) / max(with_store - none, 1e-3))
        own, foreign = [], []
        for _ in range(BEST_OF):
            own.append(ours(folders.new(), number))
            if StoredEvent is not None:
                foreign.append(theirs(folders.new(), number, full=False))
        mine, size = best([timer for timer, _ in own]), own[0][1]
        note("thread: CPU, µs", 1e6 * mine.cpu / number)
        note("append: events a second", number / mine.wall)
        note("bytes an event", size / number)
        if foreign:
            other, (_, other_size, recorder) = best([timer for timer, _, _ in foreign]), foreign[-1]
            note("append: ours ÷ pyeventsourcing, batches of 256, NORMAL", other.wall / mine.wall)
            note("append, CPU only: ours ÷ pyeventsourcing, batches of 256", other.cpu / mine.cpu)
            note("bytes: ours ÷ pyeventsourcing", size / other_size)
            alone = best([theirs(folders.new(), number // 20, full=True, batch=1)[0] for _ in range(BEST_OF)])
            note("append: ours ÷ pyeventsourcing as it comes", (alone.wall / (number // 20)) / (mine.wall / number))
            store_folder = folders.new()
            ours(store_folder, number)
            note("replay: ours ÷ pyeventsourcing, CPU", replay_ours(store_folder) / replay_theirs(recorder))
        if aiosqlite is not None:
            seconds = min(
                asyncio.run(aiosqlite_one_by_one(folders.new(), number // 20)) for _ in range(BEST_OF)
            )  # fmt: skip
            note("append: ours ÷ aiosqlite one by one", (seconds / (number // 20)) / (mine.wall / number))
        lags = [(asyncio.run(lag(None, 1.0)), asyncio.run(lag(folders.new(), 1.0))) for _ in range(3)]
        note("loop lag p99 added, ms", min(beside for _, beside in lags) - min(alone for alone, _ in lags))
    folder = folders.new()
    hour = fill(folder, million)
    for _ in range(max(rounds, 5)):
        asked, scan, _ = one_hour(folder, *hour)
        note("an hour of errors: scan ÷ query", scan / asked)
        note("an hour of errors: query, ms", 1e3 * asked)
    folder = folders.new()
    fill_chats(folder, 10_000)
    for _ in range(max(rounds, 5)):
        note("10,000 chats searched, ms", 1e3 * search(folder))
    return found


ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("loop: added by the store, µs", "≤ 1.0", "{:.2f}".format),
    ("loop: SQLite in the loop ÷ store", "≥ 15", "{:.0f}".format),
    ("append: ours ÷ pyeventsourcing, batches of 256, NORMAL", "≥ 1.2", "{:.2f}".format),
    ("append, CPU only: ours ÷ pyeventsourcing, batches of 256", "", "{:.2f}".format),
    ("append: ours ÷ pyeventsourcing as it comes", "≥ 20", "{:.0f}".format),
    ("append: ours ÷ aiosqlite one by one", "≥ 10", "{:.0f}".format),
    ("append: events a second", "", "{:,.0f}".format),
    ("thread: CPU, µs", "≤ 12", "{:.1f}".format),
    ("bytes an event", "", "{:.0f}".format),
    ("bytes: ours ÷ pyeventsourcing", "≤ 0.90", "{:.2f}".format),
    ("replay: ours ÷ pyeventsourcing, CPU", "≤ 0.5", "{:.2f}".format),
    ("an hour of errors: scan ÷ query", "≥ 40", "{:.0f}".format),
    ("an hour of errors: query, ms", "", "{:.1f}".format),
    ("10,000 chats searched, ms", "≤ 200", "{:.0f}".format),
    ("loop lag p99 added, ms", "≤ 1.5", "{:.2f}".format),
)


def table(found: dict[str, list[float]], command: str, million: int) -> str:
    """The section of docs/benchmarks.md."""
    lines = [
        "## Event store",
        "",
        f"`{command}`, {date.today()}, CPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}. Ours "
        "redacts, makes JSON and keeps an index; pyeventsourcing's recorder gets bytes that are made already. "
        f"An hour of one type is looked for in {million:,} events. In each round {BEST_OF} appends of each take turns "
        "and the best counts: whatever else runs on the machine only adds to it.",
        "",
        "| | asked | median | rounds, lowest to highest |",
        "| :-- | --: | --: | :-- |",
    ]
    for name, asked, form in ROWS:
        if name in found:
            values = sorted(found[name])
            lines.append(f"| {name} | {asked} | {form(median(values))} | {form(values[0])} – {form(values[-1])} |")
    lines += [
        "",
        "Of our processor time half makes rows (redaction, JSON), the rest is SQLite's. Ratios of wall time, to "
        "pyeventsourcing and to aiosqlite, move with what else the machine does, as their ranges show; the rows of "
        "processor time hardly do.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        found = measure(Folders(Path(root)), given.rounds, given.events, given.million)
    text = table(found, f"python -m tests.bench.bench_store --rounds {given.rounds}", given.million)
    sys.stdout.write(text + "\n")
    if given.write:
        write_section("event store", text)


if __name__ == "__main__":
    main()
