"""What a finish reason means, by its kind rather than by a list of all words."""

from __future__ import annotations

from typing import Any

import pytest

from backend.copilot.model.shapes.finish_reasons import Finish, finish_of

WORDS: dict[Finish | None, tuple[Any, ...]] = {
    None: (None, "", "null", "None", 0, "FINISH_REASON_UNSPECIFIED"),
    Finish.DONE: (
        "stop", "STOP", "eos", "eos_token", "end_turn", "endTurn", "tool_calls", "toolUse", "tool_use", "function_call",
        "stop_sequence", "complete", "completed", "FINISH_REASON_STOP", "FinishReason.STOP", "<|im_end|>", "finished",
        "<|endoftext|>", {"type": "stop"}, "done", "success", 1, True, "stop_token", "end_of_text",
    ),
    Finish.LENGTH: (
        "length", "MAX_TOKENS", "max_output_tokens", "model_length", "model_context_window_exceeded", "token_limit",
        "context_length_exceeded", "truncated", "max_length", "FINISH_REASON_MAX_TOKENS", "token_limit_reached",
    ),
    Finish.FILTERED: (
        "content_filter", "contentFilter", "SAFETY", "RECITATION", "SPII", "BLOCKLIST", "PROHIBITED_CONTENT", "refusal",
        "sensitive", "IMAGE_SAFETY", "LANGUAGE", "guardrail_intervened", "moderation", "policy_violation", "refused",
        "model_armor_blocked", "censored",
    ),
    Finish.CUT_OFF: (
        "error", "abort", "aborted", "cancelled", "canceled", "interrupted", "incomplete", "timeout", "network_error",
        "error_finish", "engine_error", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "internal_error", "failed",
        "server_error", "timed_out", "connection_reset", "function_call_filter: MALFORMED_FUNCTION_CALL",
    ),
    Finish.OVERLOADED: ("insufficient_system_resource", "overloaded", "unavailable", "rate_limit", "capacity_exceeded"),
    Finish.OTHER: ("OTHER", "repetition", "strange", 7),
}  # fmt: skip


@pytest.mark.parametrize(("word", "meaning"), [(word, meaning) for meaning, words in WORDS.items() for word in words])
def test_finish_reasons_have_a_meaning(word: Any, meaning: Finish | None) -> None:
    """Good ends are few; a word that nobody knows is none of them."""
    assert meaning is finish_of(word)
