"""What can be wrong with a file of the store, by what SQLite or the system says about it."""

from __future__ import annotations

import enum
import errno
import sqlite3
from typing import Final


class Fault(enum.Enum):
    """Why something could not be written or read; the value is the word for it in figures and gap rows."""

    FULL = "disk full"
    UNWRITABLE = "not writable"
    CORRUPT = "damaged"
    LOCKED = "locked"
    IO = "I/O error"
    OTHER = "failed"


class NotStored(Exception):
    """Raised when what was asked to be on disk is not; the text says why."""


# Python 3.10 tells no error code: the words of SQLite have been the same for many years.
_WORDS: Final = (
    ("disk is full", Fault.FULL),
    ("disk i/o error", Fault.IO),
    ("malformed", Fault.CORRUPT),
    ("not a database", Fault.CORRUPT),
    ("unsupported file format", Fault.CORRUPT),
    ("no such table", Fault.CORRUPT),
    ("no such column", Fault.CORRUPT),
    ("locked", Fault.LOCKED),
    ("busy", Fault.LOCKED),
    ("readonly", Fault.UNWRITABLE),
    ("unable to open", Fault.UNWRITABLE),
    ("permission", Fault.UNWRITABLE),
)
_FULL_NUMBERS: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


def fault_of(error: BaseException) -> Fault:
    """The kind of an error."""
    if isinstance(error, sqlite3.Error):
        text = str(error).lower()
        return next((fault for words, fault in _WORDS if words in text), Fault.OTHER)
    if isinstance(error, OSError):
        return Fault.FULL if error.errno in _FULL_NUMBERS else Fault.UNWRITABLE
    return Fault.OTHER
