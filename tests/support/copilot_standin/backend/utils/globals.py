"""State of the whole process: the language and the hosted service's key, shared by all users (a flaw)."""

from __future__ import annotations

import os
from typing import Any

BACKEND_BASE_URL = os.getenv("BACKEND_BASE_URL", "http://127.0.0.1:9")
SEARCH_MCP_URL = os.getenv("COPILOT_STANDIN_SEARCH_URL", "http://127.0.0.1:9/search/sse")
LLM_DEFAULT_BASE_URL = os.getenv("COPILOT_STANDIN_LLM_URL", "http://127.0.0.1:9/v1")
WORKFLOW_MODEL_NAME = os.getenv("WORKFLOW_MODEL_NAME", "standin-workflow-model")

_state: dict[str, Any] = {"language": "en"}


def get_language() -> str:
    """The language of whoever asked last."""
    return str(_state.get("language") or "en")


def set_language(language: str) -> None:
    """Overwrite the language of everybody."""
    _state["language"] = language


def get_comfyui_copilot_api_key() -> str | None:
    """The key of whoever asked last."""
    return _state.get("copilot_key")


def set_comfyui_copilot_api_key(api_key: str | None) -> None:
    """Overwrite the key of everybody."""
    _state["copilot_key"] = api_key


def endpoint_of(config: dict[str, Any]) -> str:
    """The base URL to use: the request's, else the hosted service's."""
    return config.get("openai_base_url") or LLM_DEFAULT_BASE_URL


def apply_llm_env_defaults(config: dict[str, Any] | None = None) -> dict[str, Any]:
    """A copy of `config` with what the environment fills in."""
    filled = dict(config or {})
    for name, variable in (
        ("openai_api_key", "CC_OPENAI_API_KEY"),
        ("openai_base_url", "CC_OPENAI_BASE_URL"),
        ("workflow_llm_api_key", "WORKFLOW_LLM_API_KEY"),
        ("workflow_llm_base_url", "WORKFLOW_LLM_BASE_URL"),
        ("workflow_llm_model", "WORKFLOW_LLM_MODEL"),
    ):
        filled[name] = filled.get(name) or os.getenv(variable) or None
    filled["workflow_llm_model"] = filled["workflow_llm_model"] or WORKFLOW_MODEL_NAME
    return filled
