"""How events lie in a file: today's layout, and files that an older version wrote."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from backend.event_bus import Event
from backend.journal import rows as rows_module
from backend.journal.layout import SCHEMA, TABLES, Layout, Numbers, insert
from backend.journal.rows import RowMaker
from backend.journal.segments import list_segments
from backend.store import Filter
from tests.support.stores import event, everything, new_store, put, raw_bytes, redaction, running

OLD = Path(__file__).parent / "files" / "schema-1.db"  # as version 0.5.0 wrote it


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with a file of layout 1, as the program left it."""
    shutil.copy(OLD, tmp_path / "events-0-000000000001.db")
    return tmp_path


def test_file_of_the_first_layout_is_read_as_ever(old: Path) -> None:
    """By type, session, chat and time; stories and lists too."""
    store = new_store(old)

    assert [one.id for one in store.query().events] == list(range(1, 19))
    assert [one.data["outcome"] for one in everything(store, "chat.finished")] == ["completed", "failed", "cancelled"]
    assert [one.type for one in store.query(Filter(("chat.*",), chat="chat-1")).events] == [
        "chat.started", "chat.model", "chat.tool_called", "chat.finished",
    ]  # fmt: skip
    assert len(store.query(Filter(session="session-1")).events) == 5
    assert store.query(Filter(since=1_764_000_001.7)).events[0].type == "store.closed"
    nested = everything(store, "foreign.nested")[0]
    assert nested.data == {"values": {"a": [1, 2.5, None, True]}, "text_length": 2}
    story = store.story("chat-1")
    assert story is not None
    assert (story["outcome"], story["errors"][0]["message"]) == ("failed", "gone")
    assert [row["problem"] for row in store.check()] == [""]


async def test_writing_goes_on_in_a_file_of_todays_layout(old: Path) -> None:
    """The old file stays as it is, ids go on, and both are one history."""
    before = (old / "events-0-000000000001.db").read_bytes()
    async with running(old, keep_days=100_000) as store:
        put(store, 3, chat_id="chat-1")
        await store.flush()

        found = store.query(limit=100).events
        assert [one.id for one in found] == list(range(1, 23))
        assert [one.type for one in store.query(Filter(("chat.model",), chat="chat-1")).events] == ["chat.model"] * 4
        assert found[18].data["down_since"] == found[17].time
    files = list_segments(old)
    assert [one.first_id for one in files] == [1, 19]
    schemas = []
    for one in files:
        connection = sqlite3.connect(one.path)
        schemas.append(connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0])
        connection.close()
    assert schemas == [1, SCHEMA]
    after = sqlite3.connect(files[0].path)
    assert after.execute("SELECT count(*) FROM events").fetchone() == (18,)
    after.close()
    assert len(before) == files[0].path.stat().st_size


async def test_old_file_that_a_kill_left_with_a_wal_is_read_and_gone_on_from(old: Path) -> None:
    """An update of the program comes with a restart, and that may be a kill."""
    path = old / "events-0-000000000001.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("INSERT INTO events VALUES (19, 1764000002.0, 'chat.note', 'test', NULL, 1, '{\"n\":1}')")
    (old / "kept").mkdir()
    for side in ("", "-wal"):  # closing it would take the -wal away
        shutil.copy(f"{path}{side}", old / "kept")
    connection.close()
    for side in ("", "-wal"):
        shutil.copy(old / "kept" / f"{path.name}{side}", old)
    async with running(old, keep_days=100_000) as store:
        put(store, 1)
        await store.flush()

        assert [one.id for one in store.query(limit=100).events] == list(range(1, 22))
        assert everything(store, "chat.note")[0].data == {"n": 1}


async def test_session_is_forgotten_in_old_and_new_files(old: Path) -> None:
    """No byte of it, of its chats, or of what its values were called is left."""
    async with running(old, keep_days=100_000) as store:
        store.on_event(event("chat.model", "session-1", chat_id="chat-9", harbour_name=1))
        store.on_event(event("error", None, chat_id="chat-9", message="lantern"))
        store.on_event(event("plugin.said", None, words={"chat_id": "chat-9"}, message="quiet"))
        await store.flush()
        gone = await store.forget("session-1")
        put(store, 2, chat_id="chat-0")
        await store.flush()

        assert gone == {
            "chat.started": 1, "chat.model": 2, "chat.tool_called": 1, "chat.finished": 1, "error": 2,
        }  # fmt: skip
        assert [one.data for one in everything(store, "chat.model")[-2:]] == [
            {"n": 0, "chat_id": "chat-0"}, {"n": 1, "chat_id": "chat-0"},
        ]  # fmt: skip
        raw = raw_bytes(old)
        for word in (b"session-1", b"chat-1", b"harbour", b"lantern"):
            assert word not in raw
        assert b"session-0" in raw


def database() -> sqlite3.Connection:
    """A file of today's layout, in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(TABLES)
    return connection


@pytest.mark.parametrize("text", ['{"a":', "[1,2]", '{"a":1}', "[1]]", "nonsense"])
def test_damaged_data_is_read_as_such(text: str) -> None:
    """A broken row must not break the page that it is on."""
    connection = database()
    rows = RowMaker(redaction()).make(0.0, [event("x", n=1), event("x", n=2)])
    insert(connection, [(1, *rows[0][1:]), rows[1]], Numbers(connection))
    connection.execute("UPDATE events SET data = ? WHERE id = 1", (text,))
    layout = Layout(connection)

    read = layout.read(0, connection.execute(f"SELECT {layout.columns} FROM events").fetchall())

    assert "damaged" in read[0].data["unreadable"]
    assert read[1].data == {"n": 2}
    connection.close()


def test_names_are_stored_once(tmp_path: Path) -> None:
    """Whatever the kinds of their values, and also where the file is gone on with."""
    connection = database()
    made = RowMaker(redaction())
    events = [event("x", n=1, m="a"), event("x", n=None, m=2.5), event("x", m="a", n=1), event("x", n=[1], m="a")]
    rows = made.make(0.0, events)
    insert(connection, [(1, *rows[0][1:]), *rows[1:]], Numbers(connection))
    again = RowMaker(redaction()).make(0.0, events)
    insert(connection, [(5, *again[0][1:]), *again[1:]], Numbers(connection))

    names = [name for (name,) in connection.execute("SELECT names FROM shapes ORDER BY id")]
    layout = Layout(connection)
    read = layout.read(0, connection.execute(f"SELECT {layout.columns} FROM events").fetchall())
    assert names == ['["n","m"]', '["m","n"]', None]
    assert [one.data for one in read] == [one.data for one in events] * 2
    connection.close()


def test_who_publishes_ever_new_names_gets_no_shapes_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that uses ids as names must not fill the table that every search reads."""
    monkeypatch.setattr(rows_module, "_SHAPES", 3)
    connection = database()
    rows = RowMaker(redaction()).make(0.0, [Event("x", {f"id-{n}": n}, "test") for n in range(10)])
    insert(connection, [(1, *rows[0][1:]), *rows[1:]], Numbers(connection))
    layout = Layout(connection)
    read = layout.read(0, connection.execute(f"SELECT {layout.columns} FROM events").fetchall())

    assert connection.execute("SELECT count(*) FROM shapes").fetchone() == (4,)
    assert [one.data for one in read] == [{f"id-{n}": n} for n in range(10)]
    connection.close()


def test_batch_that_was_rolled_back_leaves_no_number_behind() -> None:
    """The shape's row went with it."""
    connection = database()
    numbers = Numbers(connection)
    rows = RowMaker(redaction()).make(0.0, [event("x", n=1), event("y", n=2)])
    connection.execute("BEGIN")
    insert(connection, [(1, *rows[0][1:])], numbers)
    connection.execute("ROLLBACK")
    numbers.clear()
    insert(connection, [(1, *rows[1][1:]), rows[0]], numbers)
    layout = Layout(connection)

    read = layout.read(0, connection.execute(f"SELECT {layout.columns} FROM events").fetchall())
    assert [(one.type, one.data["n"]) for one in read] == [("y", 2), ("x", 1)]
    connection.close()


async def test_smashed_table_of_shapes_is_read_from_its_index(tmp_path: Path) -> None:
    """One bad page must not take the types and names of a whole file."""
    async with running(tmp_path) as store:
        put(store, 300, pad="x" * 50)
    path = list_segments(tmp_path)[0].path
    connection = sqlite3.connect(path)
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'shapes'").fetchone()[0]
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)

    found = everything(new_store(tmp_path), "chat.model")
    assert [one.data["n"] for one in found] == list(range(300))


async def test_file_of_a_layout_that_nobody_knows_yet_is_named(tmp_path: Path) -> None:
    """Who goes back a version is told why a part is missing; nothing is called damaged, and the rest is read."""
    async with running(tmp_path) as store:
        put(store, 3)
    path = list_segments(tmp_path)[0].path
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    connection.execute("ALTER TABLE events RENAME COLUMN data TO packed")
    connection.close()
    async with running(tmp_path) as store:
        put(store, 2)
        await store.flush()

        page = store.query(limit=100)
        assert [one.data["n"] for one in page.events if one.source != "store"] == [0, 1]
        assert page.damaged == [f"{path.name}: it was written by a newer version of Copilot Pulse"]
        assert store.problem() is None
