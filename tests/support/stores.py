"""Event stores for tests: on a loop, or read by hand."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from backend.error_handling import Redactor, secret_name
from backend.event_bus import Event
from backend.journal.layout import TABLES, Layout, Numbers, insert
from backend.journal.rows import Row, Shape
from backend.journal.segments import ActiveFile
from backend.store import EventStore, Filter, Redaction, Stored
from tests.support.net import PATIENCE


def redaction() -> Redaction:
    """What a running plugin tells its store."""
    redactor = Redactor()
    return Redaction(redactor.redact, secret_name)


def new_store(folder: Path, **options: Any) -> EventStore:
    """A store that has not been started. It reads for as long as a machine may take that stands still meanwhile."""
    store = EventStore(folder, **{"redaction": redaction(), **options})
    store._reader.query = partial(store._reader.query, seconds=PATIENCE)  # type: ignore[method-assign]
    return store


@contextlib.asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[EventStore]:
    """A store that runs, and is closed at the end."""
    store = new_store(folder, **options)
    store.start()
    try:
        yield store
    finally:
        await store.aclose()


def event(type_: str = "chat.model", session: str | None = None, **data: Any) -> Event:
    """An event as the bus carries it."""
    return Event(type_, data, "test", session)


def put(store: EventStore, number: int, type_: str = "chat.model", **data: Any) -> None:
    """Give the store `number` events, numbered from 0 under `n`."""
    for n in range(number):
        store.on_event(event(type_, n=n, **data))


def everything(store: EventStore, *types: str) -> list[Stored]:
    """All that can be read, the store's own rows left out unless their type is asked for."""
    found = []
    page = store.query(Filter(types))
    found += page.events
    while page.more:
        page = store.query(Filter(types), after=page.cursor)
        found += page.events
    return [one for one in found if types or one.source != "store"]


def raw_bytes(folder: Path) -> bytes:
    """The bytes of all files of a folder, side files included."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


def numbers(store: EventStore, *types: str) -> list[Any]:
    """The `n` of all events of these types, or of all, the oldest first."""
    return [one.data.get("n") for one in everything(store, *types)]


def read_row(row: Row) -> Stored:
    """The event that is read where a row was written."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(TABLES)
    insert(connection, [row], Numbers(connection))
    layout = Layout(connection)
    (event,) = layout.read(0, connection.execute(f"SELECT {layout.columns} FROM events").fetchall())
    connection.close()
    return event


SHAPE = Shape("x", "test", 1, ("n",))


def segment(folder: Path, slot: int = 0, first: int = 1, rows: int = 3) -> ActiveFile:
    """A file of the store with some rows, open."""
    active = ActiveFile(folder / f"events-{slot}-{first:012}.db", slot, first, full_sync=False)
    active.insert([numbered(first + n, 1000.0 + n) for n in range(rows)])
    return active


def numbered(id_: int, time: float = 1.0) -> Row:
    """A row that says its number."""
    return (id_, time, SHAPE, "s", f"[{id_}]")
