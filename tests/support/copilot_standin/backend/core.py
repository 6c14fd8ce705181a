"""Process-wide choices that are made at import."""

from __future__ import annotations

from agents import set_default_openai_api, set_tracing_disabled

set_default_openai_api("chat_completions")
set_tracing_disabled(True)
