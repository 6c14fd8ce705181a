"""Summarises old messages with a synchronous call of the model."""

from __future__ import annotations

from typing import Any

from openai import OpenAI
from pydantic import BaseModel

from ..utils.globals import WORKFLOW_MODEL_NAME, endpoint_of, get_comfyui_copilot_api_key
from ..utils.logger import log
from ..utils.request_context import get_config


class Summary(BaseModel):
    """The form that the answer must have."""

    summary: str


def generate_summary(messages: list[dict[str, Any]], previous_summary: str | None = None) -> str:
    """Ask the model for a summary and wait for it, on whatever thread this is."""
    lines = [f"{m.get('role')}: {m.get('content')}" for m in messages if isinstance(m.get("content"), str)]
    ask = "\n".join([f"So far: {previous_summary}"] * bool(previous_summary) + lines)
    config = get_config() or {}
    try:
        client = OpenAI(
            base_url=endpoint_of(config),
            api_key=config.get("openai_api_key") or get_comfyui_copilot_api_key() or "",
        )
        reply = client.chat.completions.parse(
            model=config.get("model_select") or WORKFLOW_MODEL_NAME,
            messages=[
                {"role": "system", "content": "Summarise this conversation in a few sentences."},
                {"role": "user", "content": ask},
            ],
            response_format=Summary,
        )
        parsed = reply.choices[0].message.parsed
        return parsed.summary if parsed else ""
    except Exception as error:
        log.error(f"no summary: {error}")
        return " | ".join(filter(None, [previous_summary, f"{len(messages)} earlier messages"]))
