"""Taking what is to be forgotten out of files, so that no byte of it is left. For the writer's thread."""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from pathlib import Path

from .faults import FileFault, NotStored, fault_of
from .layout import layout_of
from .segments import LOCK_SECONDS, ActiveFile, Segment, open_readonly, remove

log = logging.getLogger("copilot_pulse.store")


def remove_all(segments: list[Segment]) -> Counter[str]:
    """Unlink files; how many events went, by type. Raises NotStored if one could not be removed."""
    gone: Counter[str] = Counter()
    stuck = []
    for one in segments:
        gone.update(_types_in(one.path))
        if not remove(one):
            stuck.append(one.path.name)
    if stuck:
        raise NotStored(f"somebody reads {', '.join(stuck)}: try again")
    return gone


def chats_in(segments: list[Segment], active: ActiveFile | None, session: str) -> set[str]:
    """The ids of a session's chats in these files. `active` is the one of them that is written to."""
    chats: set[str] = set()
    for one in segments:
        try:
            if active is not None and one.path == active.path:
                chats |= active.chats_of(session)
                continue
            connection = open_readonly(one.path)
            try:
                layout = layout_of(connection)
                chats |= layout.chats_of(session) if layout is not None else set()
            finally:
                connection.close()
        except Exception as error:
            log.debug("%s cannot be searched: %s", one.path.name, error)
    return chats


def erase_session(segments: list[Segment], active: ActiveFile | None, session: str, chats: set[str]) -> Counter[str]:
    """Take a session and its chats out of these files; how many events went, by type.

    Raises NotStored or sqlite3.Error for a file that could not be changed.
    """
    gone: Counter[str] = Counter()
    for one in segments:
        if active is not None and one.path == active.path:
            gone.update(active.erase(session, chats))
        else:
            gone.update(_erase_sealed(one, session, chats))
    return gone


def _types_in(path: Path) -> dict[str, int]:
    try:
        connection = open_readonly(path)
        try:
            layout = layout_of(connection)
            return layout.types() if layout is not None else {}
        finally:
            connection.close()
    except Exception:
        return {}


def _erase_sealed(segment: Segment, session: str, chats: set[str]) -> dict[str, int]:
    try:
        connection = sqlite3.connect(str(segment.path), isolation_level=None, timeout=LOCK_SECONDS)
        try:
            layout = layout_of(connection)
            return layout.erase(session, chats) if layout is not None else {}
        finally:
            connection.close()
    except sqlite3.Error as error:
        if fault_of(error) is not FileFault.CORRUPT:
            raise NotStored(f"{segment.path.name} could not be changed: {error}") from error
        remove(segment)  # nobody can say what is in there
        return {}
