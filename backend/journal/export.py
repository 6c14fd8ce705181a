"""Events as lines of text: NDJSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from typing import Any, Final

from .rows import Stored, dumps

COLUMNS: Final = ("id", "time", "type", "source", "session", "chat_id", "model", "outcome", "data")
FORMATS: Final = {"ndjson": "application/x-ndjson", "csv": "text/csv"}
# Some programs take these for the end of a line, and JSON lets them stand.
_LINE_ENDS: Final = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\x85\u2028\u2029"}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

Clean = Callable[[dict[str, Any]], dict[str, Any]]


def iso(time: float) -> str:
    """Seconds since 1970 as `2026-11-25T23:41:07.123Z`; as a number if no calendar has it."""
    try:
        return datetime.fromtimestamp(time, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(time)


def lines(events: Iterable[Stored], fmt: str, clean: Clean) -> Iterator[str]:
    """The export, a line at a time with its end. `clean` takes secrets out once more. ValueError for a format."""
    if fmt == "ndjson":
        return (dumps(clean(event.as_dict())).translate(_LINE_ENDS) + "\n" for event in events)
    if fmt == "csv":
        return _csv(events, clean)
    raise ValueError(f"the format has to be one of {', '.join(FORMATS)}")


def _csv(events: Iterable[Stored], clean: Clean) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)

    def line(cells: Iterable[Any]) -> str:
        writer.writerow(cells)
        text = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return text

    yield line(COLUMNS)
    for event in events:
        row = clean(event.as_dict())
        data = row["data"] if isinstance(row["data"], dict) else {}
        cells = [row["id"], iso(event.time), row["type"], row["source"], row["session"]]
        cells += [data.get(name) for name in ("chat_id", "model", "outcome")]
        yield line([*(_plain(cell) for cell in cells), dumps(row["data"])])


def _plain(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, and that is UTF-8."""
    if not isinstance(cell, str):
        return cell
    cell = cell.encode("utf-8", "backslashreplace").decode()
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
