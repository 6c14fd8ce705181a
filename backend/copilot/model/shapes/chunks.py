"""Makes the client library's chunks. Its own way through validation costs many times as much for each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..tokens import MOST_TOKENS

_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")


class ChunkMaker:
    """Chunks of one stream: one choice, its index 0."""

    def __init__(self) -> None:
        from openai.types.chat import ChatCompletionChunk
        from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta

        # The client's own classes override it, and validate each part.
        plain: Any = next(base for base in ChatCompletionChunk.__mro__ if base.__module__.startswith("pydantic."))
        make = plain.model_construct.__func__
        self._chunk_type = ChatCompletionChunk
        self._make_chunk = make.__get__(ChatCompletionChunk)
        self._make_choice = make.__get__(Choice)
        self._make_delta = make.__get__(ChoiceDelta)
        self._head: dict[str, Any] = {}
        self.head({})

    def head(self, data: Mapping[str, Any]) -> None:
        """The first event of the stream: who answers."""
        self._head = {
            "id": str(data.get("id") or ""),
            "created": data.get("created") if isinstance(data.get("created"), int) else 0,
            "model": str(data.get("model") or ""),
            "object": "chat.completion.chunk",
        }

    def text(self, text: str) -> Any:
        """A chunk with a piece of the answer."""
        delta = self._make_delta(content=text)
        return self._make_chunk(choices=[self._make_choice(index=0, delta=delta)], **self._head)

    def delta(self, **fields: Any) -> Any:
        """A chunk whose delta has these fields, those of other providers among them."""
        delta = self._make_delta(**fields)
        return self._make_chunk(choices=[self._make_choice(index=0, delta=delta)], **self._head)

    def last(self, calls: list[dict[str, Any]], finish: str | None, usage: Mapping[str, Any] | None) -> Any:
        """The last chunk, with complete tool calls, the finish reason and the usage."""
        delta = {"tool_calls": calls} if calls else {}
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return self._chunk_type.construct(**self._head, choices=[choice], usage=_usage_of(usage))


def _usage_of(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The figures of usage as the library reads them; None if they are none."""
    if usage is None:
        return None
    aliases = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
    counts: dict[str, int] = {}
    for name in _COUNTS:
        value = usage.get(name, usage.get(aliases.get(name, name)))
        counts[name] = int(value) if isinstance(value, (int, float)) and 0 <= value < MOST_TOKENS else 0
    if not any(counts.values()):
        return None
    counts["total_tokens"] = counts["total_tokens"] or counts["prompt_tokens"] + counts["completion_tokens"]
    details = {key: value for key, value in usage.items() if key.endswith("_details") and isinstance(value, dict)}
    return {**counts, **details}
