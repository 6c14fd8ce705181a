"""Messages of each session, in memory."""

from __future__ import annotations

from typing import Any

_sessions: dict[str, dict[str, Any]] = {}


def get_session_message(session_id: str) -> dict[str, Any] | None:
    """The session's record: messages, the index up to which they are summarised, the summary."""
    return _sessions.get(session_id)


def save_session_message(
    session_id: str, messages: list[dict[str, Any]], index: int = 0, summary: str | None = None
) -> None:
    """Replace the session's record."""
    _sessions[session_id] = {"messages": messages, "index": index, "summary": summary}


def update_summary(session_id: str, summary: str, index: int) -> None:
    """Note a new summary, which covers the messages before `index`."""
    _sessions[session_id].update(summary=summary, index=index)
