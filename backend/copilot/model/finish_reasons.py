"""What the finish reasons of the providers mean. Any word that is not known here means that the answer is done."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final


class Finish(Enum):
    """How a model's answer ended, by its own word."""

    DONE = "done"
    LENGTH = "at its limit of tokens"
    FILTERED = "by the provider's filter"
    CUT_OFF = "by a failure of the server"
    OVERLOADED = "for want of capacity"


_MEANINGS: Final[Mapping[str, Finish]] = {
    **dict.fromkeys(
        ("length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"), Finish.LENGTH
    ),
    **dict.fromkeys(("content_filter", "sensitive", "safety", "prohibited_content"), Finish.FILTERED),
    **dict.fromkeys(
        ("error", "abort", "aborted", "cancelled", "canceled", "interrupted", "incomplete", "timeout")
        + ("network_error", "engine_error", "malformed_response"),
        Finish.CUT_OFF,
    ),
    **dict.fromkeys(("insufficient_system_resource", "overloaded", "unavailable"), Finish.OVERLOADED),
}


def finish_of(reason: Any) -> Finish | None:
    """The meaning of a chunk's finish reason; None while there is none (some servers write "null")."""
    if not reason or reason == "null":
        return None
    return _MEANINGS.get(str(reason).lower(), Finish.DONE)
