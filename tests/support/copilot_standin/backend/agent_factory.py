"""Makes agents; the model class is looked up by name at each call, which is where the model seam sits."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    set_default_openai_api,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

from .utils.globals import endpoint_of, get_comfyui_copilot_api_key

DEFAULT_MODEL = "standin-default"

CLIENTS: WeakSet[AsyncOpenAI] = WeakSet()
"""The clients made so far. Nothing here closes them (a flaw); a test host does when the test is over."""

set_default_openai_api("chat_completions")
set_tracing_disabled(False)


def create_agent(**kwargs: Any) -> Agent[Any]:
    """An agent whose client is made from `config`: a new AsyncOpenAI each, with the library's retries."""
    config: dict[str, Any] = kwargs.pop("config", None) or {}
    wanted = kwargs.pop("model", None)
    session = config.get("session_id")
    client = AsyncOpenAI(
        base_url=endpoint_of(config),
        api_key=config.get("openai_api_key") or get_comfyui_copilot_api_key() or "",
        default_headers={"X-Session-ID": session} if session else {},
    )
    CLIENTS.add(client)
    model = OpenAIChatCompletionsModel(config.get("model_select") or wanted or DEFAULT_MODEL, openai_client=client)
    limit = config.get("max_tokens")
    if limit:
        kwargs["model_settings"] = ModelSettings(max_tokens=limit)
    kwargs["model"] = model
    return Agent(**kwargs)
