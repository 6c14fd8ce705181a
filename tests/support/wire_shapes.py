"""The pieces of what OpenAI-compatible servers send, and how a row of tests/integration/wire_rows.py is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .raw_server import RESET, Chosen, Reply

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
DONE = b"data: [DONE]\n\n"
WORDS = [f"w{n:02d} " for n in range(24)]
FULL = "".join(WORDS)
HALF = "".join(WORDS[:12])
CATEGORY = '{"category": "latent"}'
"""Arguments of the tool `list_nodes`."""
_UNSET: Any = object()


@dataclass(frozen=True)
class Row:
    """One behaviour. `replies` answer the requests in order, the last one for ever.

    The answer must be `text` exactly, and nothing else told; or, if `says` is given, `text` and then a notice that
    contains each of `says`, in any case of letters, and none of `never`. `tools` are those that run, in order;
    `requests` is how often the model is asked. With `or_whole` the whole answer and no word is right as well.
    """

    group: str
    name: str
    replies: tuple[Reply | Chosen, ...]
    text: str = FULL
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    requests: int = 1
    tools: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    other: Reply | None = None
    or_whole: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The name of its test."""
        return f"{self.group}-{self.name}".replace(" ", "-")


# -- what servers send -----------------------------------------------------------------------------------------


def choice(delta: Any = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    """A chunk with one choice; a key that is given replaces that of the choice."""
    return chunk({"index": 0, "delta": delta if delta is not None else {}, "finish_reason": finish, **more})


def chunk(*choices: Any, **more: Any) -> dict[str, Any]:
    """A chunk with these choices."""
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": list(choices), **more}


def event(data: Any, name: str = "") -> bytes:
    """One event; text is sent as it is."""
    raw = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + b"data: " + raw.encode() + b"\n\n"


def stream(*chunks: Any, done: bool = True) -> Reply:
    """A stream of these chunks; bytes and pauses are sent as they are."""
    parts = [one if isinstance(one, (bytes, float, int)) or one is RESET else event(one) for one in chunks]
    return Reply(HEAD, *parts, DONE if done else b"")


def texts(*pieces: str, finish: Any = "stop", **more: Any) -> list[dict[str, Any]]:
    """Chunks with these pieces of text, then the finish reason."""
    end = [] if finish is None else [choice({}, finish)]
    return [choice({"content": piece}, **more) for piece in pieces] + end


def answer(*pieces: str) -> Reply:
    """A healthy answer."""
    return stream(choice({"role": "assistant", "content": ""}), *texts(*(pieces or WORDS)))


def calls(*pieces: Any, finish: Any = "tool_calls") -> Reply:
    """A stream whose deltas hold these lists of pieces of tool calls."""
    return stream(
        *(choice({"tool_calls": one if isinstance(one, list) else [one]}) for one in pieces), choice({}, finish)
    )


def call(name: Any = _UNSET, arguments: Any = _UNSET, **more: Any) -> dict[str, Any]:
    """A piece of a tool call."""
    function = {k: v for k, v in (("name", name), ("arguments", arguments)) if v is not _UNSET}
    return {**more, "type": "function", "function": function}


def status(code: int, body: Any, /, **headers: str) -> Reply:
    """A refusal; a header's name is given with underscores."""
    raw = body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()
    kind = "text/html" if raw[:1] == b"<" else "application/json"
    named = {"Content-Type": kind, "Content-Length": str(len(raw)), "Connection": "close"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return Reply(f"HTTP/1.1 {code} Status\r\n{lines}\r\n".encode() + raw)


def refusal(code: int, message: str, /, *, headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
    """A refusal whose body is an error object of the usual shape."""
    return status(code, {"error": {"message": message, **more}}, **(headers or {}))


# -- the rows --------------------------------------------------------------------------------------------------


def whole(group: str, name: str, *replies: Any, **options: Any) -> Row:
    """The answer must be whole, and nothing told."""
    return Row(group, name, replies, requests=options.pop("requests", len(replies)), **options)


def told(group: str, name: str, *replies: Any, says: tuple[str, ...], text: str = "", **options: Any) -> Row:
    """The user must be told."""
    return Row(group, name, replies, text=text, says=says, **options)


def tool(group: str, name: str, first: Reply, tools: tuple[str, ...] = ("list_nodes",), **options: Any) -> Row:
    """The tool runs, once for each call, and the answer follows."""
    return Row(group, name, (first, answer()), requests=2, tools=tools, **options)
