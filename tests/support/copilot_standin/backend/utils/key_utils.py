"""The workflow agents may use another endpoint than the chat."""

from __future__ import annotations

from typing import Any


def workflow_config_adapt(config: dict[str, Any] | None) -> dict[str, Any]:
    """A copy of `config` in which the workflow endpoint, key and model stand in the chat's places."""
    adapted = dict(config or {})
    for own, chat in (
        ("workflow_llm_api_key", "openai_api_key"),
        ("workflow_llm_base_url", "openai_base_url"),
    ):
        adapted[chat] = adapted.pop(own, None) or adapted.get(chat)
    adapted["model_select"] = adapted.pop("workflow_llm_model", None)
    return adapted
