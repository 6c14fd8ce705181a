"""Keeps the history short: a summary and the newest messages."""

from __future__ import annotations

from typing import Any

from ..dao.session_message_table import get_session_message, save_session_message, update_summary
from ..utils.logger import log
from .summary_agent import generate_summary

COMPRESSION_THRESHOLD = 8
KEEP_RECENT_MESSAGES = 4


def message_memory_optimize(session_id: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages to send; above 8 that are not yet summarised, all but 4 are summarised, synchronously."""
    try:
        known = get_session_message(session_id)
        if known is None:
            save_session_message(session_id, messages)
            return messages
        index, summary = known["index"], known["summary"]
        save_session_message(session_id, messages, index, summary)
        if len(messages) - index > COMPRESSION_THRESHOLD:
            end = len(messages) - KEEP_RECENT_MESSAGES
            summary = generate_summary(messages=messages[index:end], previous_summary=summary)
            update_summary(session_id=session_id, summary=summary, index=end)
            index = end
        rest = messages[index:]
        if summary and rest:
            return [{"role": "user", "content": f"[Earlier in this conversation]: {summary}"}, *rest]
        return rest
    except Exception as error:
        log.error(f"memory left as it is: {error}")
        return messages
