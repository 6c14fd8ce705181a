"""A server that ignores `stream: true` sends the whole answer as one JSON object: as events, it is as good."""

from __future__ import annotations

import json
from typing import Any, Final

BOM: Final = b"\xef\xbb\xbf"
# A longer body is no answer of a model, in bytes.
LIMIT: Final = 32 * 1024 * 1024


class BodyStart:
    """Looks at the first bytes of a body: are they those of a stream, or of one JSON object?

    `feed()` gives the bytes that may pass on, and holds a JSON object back for `rest()`. A byte order mark goes:
    the client's reader would take it for a part of the first line, and lose that event.
    """

    def __init__(self) -> None:
        self.stream = False
        self._held = bytearray()

    def feed(self, data: bytes) -> bytes:
        """What may pass on of a piece of the body. Not to be asked again once `stream` is true."""
        held = self._held
        if len(held) < LIMIT:
            held += data
        if held[:1] == b"{" or BOM.startswith(held):
            return b""
        start = bytes(held.removeprefix(BOM)).lstrip()
        held[:] = start
        if start[:1] in (b"{", b""):
            return b""
        self.stream = True
        return start

    def rest(self) -> bytes:
        """The body's end has come: the JSON object as events, or as it is if it is no answer."""
        body = bytes(self._held)
        return b"" if self.stream else (events_of(body) or body)


def events_of(body: bytes) -> bytes | None:
    """The server-sent events that a stream of this completion would have held; None if it is no completion."""
    try:
        whole = json.loads(body)
        choice = whole["choices"][0]
        delta: dict[str, Any] = {k: v for k, v in choice["message"].items() if v is not None}
        calls = delta.get("tool_calls") or ()
        if calls:
            delta["tool_calls"] = [{**call, "index": index} for index, call in enumerate(calls)]
        head = {key: whole.get(key) for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
        reason = choice.get("finish_reason") or "stop"
        usage = whole.get("usage")
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
    ]
    if usage:
        chunks.append({**head, "choices": [], "usage": usage})
    events = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    return b"".join([*events, b"data: [DONE]\n\n"])
