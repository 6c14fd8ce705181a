"""How events lie in a file: the tables, and every statement that names their columns.

What many events have in common (type, source, version, the names of their values) is stored once, as a shape; a row
has the shape's number and the values alone. Files of layout 1, where each row had all of it, are read, searched and
forgotten from as they are; only files of today's layout are written to.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from .rows import Row, Shape, Stored, dumps

SCHEMA: Final = 2
TABLES: Final = """
CREATE TABLE IF NOT EXISTS shapes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, source TEXT NOT NULL, v INTEGER NOT NULL, names TEXT);
CREATE INDEX IF NOT EXISTS shapes_words ON shapes (type, source, v, names);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, shape INTEGER NOT NULL, session TEXT, data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_shape_time ON events (shape, time);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('schema', 2);
"""

_COLUMNS: Final = 5
# Many rows in one statement: a third quicker than one by one. Old SQLite takes 999 parameters.
_INSERTS: Final = tuple(
    (rows * _COLUMNS, "INSERT INTO events VALUES (?, ?, ?, ?, ?)" + ", (?, ?, ?, ?, ?)" * (rows - 1))
    for rows in (128, 16, 1)
)
_MOST_NUMBERS: Final = 4_096


def schema_of(connection: sqlite3.Connection) -> int:
    """The number of a file's layout; 0 if it says none. Raises sqlite3.Error."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    return int(row[0]) if row else 0


# Writing


class Numbers(dict[Shape, int]):
    """The numbers of shapes in one file; one that is new gets its number, in the transaction that is open.

    Empty it when a transaction was rolled back, and when shapes were removed.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection

    def __missing__(self, shape: Shape) -> int:
        names = None if shape.names is None else dumps(shape.names)
        words = (shape.type, shape.source, shape.v, names)
        run = self._connection.execute
        row = run("SELECT id FROM shapes WHERE type = ? AND source = ? AND v = ? AND names IS ?", words).fetchone()
        number = row[0] if row else run("INSERT INTO shapes VALUES (NULL, ?, ?, ?, ?)", words).lastrowid
        assert number is not None
        if len(self) >= _MOST_NUMBERS:
            self.clear()
        self[shape] = number
        return number


def insert(connection: sqlite3.Connection, rows: Sequence[Row], numbers: Numbers) -> None:
    """Insert rows, in the transaction that is open. The first has its id, the ids of the others follow it."""
    values: list[Any] = list(chain.from_iterable(rows))
    values[2::_COLUMNS] = map(numbers.__getitem__, values[2::_COLUMNS])
    start = 0
    for step, sql in _INSERTS:
        while start + step <= len(values):
            connection.execute(sql, values[start : start + step])
            start += step


# Reading


class Search(NamedTuple):
    """What SQL can decide of a search: patterns of types (see `Filter`), the rest as there; `words` are JSON strings
    that the data has to hold."""

    types: tuple[str, ...]
    since: float | None
    until: float | None
    session: str | None
    words: tuple[str, ...]


# Without looking for spaces around it: `dumps` writes none.
_scan: Final = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_new: Final = tuple.__new__
_UNREADABLE: Final[dict[str, Any]] = {"unreadable": "the data of this event is damaged"}


class Layout:
    """Today's layout, for reading; one for each connection."""

    columns = "id, time, shape, session, data"
    _types = "SELECT (SELECT type FROM shapes WHERE shapes.id = shape) AS type, count(*) FROM events{where} GROUP BY 1"
    _of_type = "shape IN (SELECT id FROM shapes WHERE {})"
    # Where among the values the id of the chat stands; the data of events without a common shape is an object.
    _chat = (
        "json_extract(data, (SELECT coalesce('$[' || (SELECT key FROM json_each(names) WHERE value = 'chat_id') || ']',"
        " '$.chat_id') FROM shapes WHERE shapes.id = shape))"
    )

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._shapes: dict[int, tuple[str, str, int, list[str] | None]] = {}

    def read(self, slot: int, rows: Sequence[Any]) -> list[Stored]:
        """The events of rows, as they were written. Damaged data is told as such. Raises sqlite3.Error."""
        events = []
        shapes = self._shapes
        for (id_, time, number, session, _), data in zip(rows, _all_parsed([row[-1] for row in rows]), strict=True):
            if number not in shapes:
                self._load(number)
            type_, source, version, names = shapes[number]
            # Twice as quick as calling the class, which does the same.
            events.append(_new(Stored, (slot, id_, time, type_, source, session, version, _named(names, data))))
        return events

    def _load(self, number: int) -> None:
        try:
            rows = self._connection.execute("SELECT id, type, source, v, names FROM shapes NOT INDEXED").fetchall()
        except sqlite3.DatabaseError:  # the index holds all of it once more, on other pages
            rows = self._connection.execute(
                "SELECT id, type, source, v, names FROM shapes INDEXED BY shapes_words ORDER BY type, source, v, names"
            ).fetchall()
        for id_, type_, source, version, names in rows:
            self._shapes[id_] = (type_, source, version, None if names is None else _parsed(names))
        self._shapes.setdefault(number, ("unreadable", "", 1, None))

    def conditions(self, search: Search) -> tuple[str, list[Any]]:
        """The part behind WHERE, empty if there is none, and its values."""
        parts: list[str] = []
        values: list[Any] = []
        types = [pattern for pattern in search.types if pattern != "*"]
        if types and len(types) == len(search.types):
            each = []
            for pattern in types:
                if pattern.endswith(".*"):
                    each.append("type >= ? AND type < ?")  # so that the index serves it
                    values += [pattern[:-1], pattern[:-2] + "/"]  # '/' follows '.'
                else:
                    each.append("type = ?")
                    values.append(pattern)
            parts.append(self._of_type.format(" OR ".join(each)))
        for condition, value in (
            ("time >= ?", search.since),
            ("time < ?", search.until),
            ("session = ?", search.session),
            *(("instr(data, ?)", word) for word in search.words),
        ):
            if value is not None:
                parts.append(condition)
                values.append(value)
        return " AND ".join(parts), values

    def types(self) -> dict[str, int]:
        """How many events of which type there are. Raises sqlite3.Error."""
        return dict(self._connection.execute(self._types.format(where="")).fetchall())

    # Forgetting

    def chats_of(self, session: str) -> set[str]:
        """The ids of a session's chats. Raises sqlite3.Error."""
        sql = f"SELECT DISTINCT {self._chat} FROM events WHERE session = ? AND json_valid(data)"  # noqa: S608
        return {chat for (chat,) in self._connection.execute(sql, (session,)) if isinstance(chat, str) and chat}

    def erase(self, session: str, chats: set[str]) -> dict[str, int]:
        """Take a session's events, and those that name one of these chats, out of the file; how many by type.

        No byte of them is left in it. The caller owns the file. Raises sqlite3.Error.
        """
        run = self._connection.execute
        where = f" WHERE session = ? OR (json_valid(data) AND {self._chat} IN (SELECT value FROM json_each(?)))"  # noqa: S608
        values = (session, json.dumps(sorted(chats)))
        run("PRAGMA secure_delete=ON")
        run("BEGIN IMMEDIATE")
        try:
            counts: dict[str, int] = dict(run(self._types.format(where=where), values).fetchall())
            if counts:
                run(f"DELETE FROM events{where}", values)  # noqa: S608
                self._erase_shapes()
            run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise
        # The -wal still holds what was deleted.
        if run("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise sqlite3.OperationalError("database is locked by a reader")
        return counts

    def _erase_shapes(self) -> None:
        """Names of values may be a user's words, too."""
        self._connection.execute(
            "DELETE FROM shapes WHERE NOT EXISTS (SELECT 1 FROM events WHERE events.shape = shapes.id)"
        )


class FirstLayout(Layout):
    """Layout 1: type, source and version in each row, the data always an object."""

    columns = "id, time, type, source, session, v, data"
    _types = "SELECT type, count(*) FROM events{where} GROUP BY type"
    _of_type = "({})"
    _chat = "json_extract(data, '$.chat_id')"

    def read(self, slot: int, rows: Sequence[Any]) -> list[Stored]:
        """As in today's."""
        datas = _all_parsed([row[-1] for row in rows])
        return [_new(Stored, (slot, *row[:-1], _named(None, data))) for row, data in zip(rows, datas, strict=True)]

    def _erase_shapes(self) -> None:
        """There are none."""


def _parsed(text: Any) -> Any:
    """What a row says; None if that is no JSON any more."""
    try:
        data, end = _scan(text, 0)
    except (ValueError, TypeError, RecursionError, StopIteration):
        return None
    return data if end == len(text) else None


def chat_of(row: Row) -> str | None:
    """The chat that a row's event belongs to."""
    chat = _named(row[2].names, _parsed(row[4])).get("chat_id")
    return chat if isinstance(chat, str) else None


def _all_parsed(texts: list[Any]) -> list[Any]:
    """What rows say, parsed in one go; one by one if there is damage among them."""
    try:
        found = _parsed(f"[{','.join(texts)}]")
    except TypeError:  # no text
        found = None
    if type(found) is list and len(found) == len(texts):
        return found
    return list(map(_parsed, texts))


def _named(names: Sequence[str] | None, data: Any) -> dict[str, Any]:
    """An event's data from what its row says; `names` are those of its shape."""
    if names is None:
        return data if type(data) is dict else dict(_UNREADABLE)
    if type(data) is list and len(data) == len(names):
        return dict(zip(names, data, strict=True))
    return dict(_UNREADABLE)


def layout_of(connection: sqlite3.Connection) -> Layout | None:
    """The layout of a file, or None if it has just been made and holds no table yet. Raises sqlite3.Error."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "events" not in tables:
        return None
    return Layout(connection) if "shapes" in tables else FirstLayout(connection)
