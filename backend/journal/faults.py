"""What can be wrong with a file of the store, by what SQLite or the system says about it."""

from __future__ import annotations

import enum
import errno
import sqlite3
from typing import Final


class FileFault(enum.Enum):
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
    ("disk is full", FileFault.FULL),
    ("disk i/o error", FileFault.IO),
    ("malformed", FileFault.CORRUPT),
    ("not a database", FileFault.CORRUPT),
    ("unsupported file format", FileFault.CORRUPT),
    ("no such table", FileFault.CORRUPT),
    ("no such column", FileFault.CORRUPT),
    ("locked", FileFault.LOCKED),
    ("busy", FileFault.LOCKED),
    ("readonly", FileFault.UNWRITABLE),
    ("unable to open", FileFault.UNWRITABLE),
    ("permission", FileFault.UNWRITABLE),
)
_FULL_NUMBERS: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


def fault_of(error: BaseException) -> FileFault:
    """The kind of an error."""
    if isinstance(error, sqlite3.Error):
        text = str(error).lower()
        return next((fault for words, fault in _WORDS if words in text), FileFault.OTHER)
    if isinstance(error, OSError):
        return FileFault.FULL if error.errno in _FULL_NUMBERS else FileFault.UNWRITABLE
    return FileFault.OTHER
