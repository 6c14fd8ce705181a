"""Builds and reads the agent library's objects where the model seam has to stand in for the model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def prompt_texts(*parts: Any) -> Iterator[str]:
    """The texts of a prompt: strings anywhere in lists and dicts, pictures left out."""
    stack = list(parts)
    while stack:
        part = stack.pop()
        if isinstance(part, str):
            if not part.startswith("data:"):
                yield part
        elif isinstance(part, Mapping):
            stack.extend(part.values())
        elif isinstance(part, (list, tuple)):
            stack.extend(part)


def completed_event(text: str) -> Any:
    """A `response.completed` event whose answer is `text`: it ends a model call normally."""
    from openai.types.responses import (
        Response,
        ResponseCompletedEvent,
        ResponseOutputMessage,
        ResponseOutputText,
    )

    # The runner takes an empty list of items for "look at the items seen so far", and those may be a
    # broken attempt's: so there is always one message.
    message = ResponseOutputMessage(
        id="copilot_pulse",
        type="message",
        role="assistant",
        status="completed",
        content=[ResponseOutputText(text=text, type="output_text", annotations=[])],
    )
    response = Response(
        id="copilot_pulse",
        created_at=time.time(),
        model="copilot-pulse",
        object="response",
        output=[message],
        tool_choice="auto",
        tools=[],
        parallel_tool_calls=False,
    )
    return ResponseCompletedEvent(response=response, type="response.completed", sequence_number=0)


def text_event(text: str) -> Any:
    """A text delta of ours, for a caller that no chat seam serves."""
    from openai.types.responses import ResponseTextDeltaEvent

    return ResponseTextDeltaEvent.model_construct(
        type="response.output_text.delta",
        delta=text,
        content_index=0,
        output_index=0,
        item_id="copilot_pulse",
        sequence_number=0,
        logprobs=[],
    )


def function_calls(response: Any) -> list[Any]:
    """The function calls of a completed response."""
    return [item for item in response.output if getattr(item, "type", None) == "function_call"]


def answer_text(response: Any) -> str:
    """All text of a completed response. A refusal is none: the library makes one up where a filter left nothing."""
    parts: list[str] = []
    for item in response.output:
        if getattr(item, "type", None) == "message":
            for content in item.content:
                parts.append(getattr(content, "text", None) or "")
    return "".join(parts)


def names_of(tools: Iterable[Any], handoffs: Iterable[Any]) -> set[str]:
    """The names that the model may call: the tools and the hand-offs of this turn."""
    names = {name for tool in tools if (name := getattr(tool, "name", None))}
    names.update(name for handoff in handoffs if (name := getattr(handoff, "tool_name", None)))
    return names


def with_unknown_calls_answered(messages: Any, response: Any, known: set[str]) -> list[Any]:
    """The input for the next try: what was asked, the model's calls, and for each "there is no such tool"."""
    items: list[Any] = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    offered = ", ".join(sorted(known)) or "none"
    text = answer_text(response)
    if text:
        items.append({"role": "assistant", "content": text})
    for call in function_calls(response):
        items.append({"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments})
    for call in function_calls(response):
        items.append(
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": f"There is no tool named {call.name}. Available tools: {offered}. "
                "Use one of these, or answer without a tool.",
            }
        )
    return items
