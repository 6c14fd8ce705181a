"""What a scripted model does with one request: steps, and the plan that holds them.

Every word a script sends is known beforehand, so a test can say what the exact answer must be
(`Plan.text`, `words`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from time import time
from typing import Any

from .net import Gate


def word(index: int) -> str:
    """The delta number `index` of a numbered answer: "w0000 ", "w0001 ", ..."""
    return f"w{index:04d} "


def words(count: int, start: int = 0) -> str:
    """The whole text that `Words(count, start=start)` streams."""
    return "".join(word(i) for i in range(start, start + count))


class Step:
    """One thing that the server does; the classes below are all there are."""

    text = ""
    """What this step adds to the visible answer."""


@dataclass(frozen=True)
class Text(Step):
    """One delta with this text, however huge."""

    text: str


@dataclass(frozen=True)
class Words(Step):
    """`count` numbered words, one a delta, `pace` seconds apart (0: as fast as the socket takes them)."""

    count: int
    pace: float = 0.0
    start: int = 0

    @property
    def text(self) -> str:  # type: ignore[override]
        """The words as one string."""
        return words(self.count, self.start)


@dataclass(frozen=True)
class Reasoning(Step):
    """Reasoning deltas, one a word, in the field that the provider calls `key` (`reasoning` at some)."""

    content: str
    pace: float = 0.0
    key: str = "reasoning_content"


@dataclass(frozen=True)
class ToolCall(Step):
    """One tool call; its arguments come in `parts` pieces. Several steps in a row are parallel calls."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    parts: int = 1
    id: str | None = None

    @property
    def json(self) -> str:
        """The arguments as they go over the wire; a string is sent as it is, valid or not."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(dict(self.arguments))


def handoff(intent: str, tool: str = "transfer_to_workflow_rewrite_agent") -> ToolCall:
    """The hand-off call to the stand-in's rewrite agent."""
    return ToolCall(tool, {"latest_rewrite_intent": intent})


@dataclass(frozen=True)
class SplitText(Step):
    """One delta whose bytes are cut into pieces of `size`, each in a chunk and a TCP write of its own.

    With `ensure_ascii` off (as real servers do it) the cuts fall inside UTF-8 characters.
    """

    text: str
    size: int = 1
    pace: float = 0.0


@dataclass(frozen=True)
class Pause(Step):
    """Nothing for `seconds`; with `heartbeat`, an SSE comment that often."""

    seconds: float
    heartbeat: float | None = None


@dataclass(frozen=True)
class Stall(Step):
    """Nothing for ever (until the client leaves); with `heartbeat`, an SSE comment that often."""

    heartbeat: float | None = None


@dataclass(frozen=True)
class Wait(Step):
    """Hold here until the test opens the gate."""

    gate: Gate


@dataclass(frozen=True)
class Raw(Step):
    """These bytes in the body, as they are: garbage, broken JSON, half a line."""

    data: bytes


@dataclass(frozen=True)
class Delta(Step):
    """One chunk with this delta, as it is; what it says is in `text`."""

    delta: Mapping[str, Any]
    text: str = ""


@dataclass(frozen=True)
class ErrorObject(Step):
    """An error object inside the stream; the stream ends after it, without a finish reason."""

    message: str = "The server had an error while processing your request"
    code: str | int | None = "server_error"
    type: str = "server_error"


@dataclass(frozen=True)
class Finish(Step):
    """The finish reason; a plan that sends text or tool calls ends with the right one by itself."""

    reason: str = "stop"


@dataclass(frozen=True)
class Reset(Step):
    """A TCP reset, after everything written before it has arrived."""


@dataclass(frozen=True)
class Eof(Step):
    """The body ends cleanly here: no finish reason, no [DONE] unless `done`."""

    done: bool = False


@dataclass(frozen=True)
class Cut(Step):
    """The connection is closed in the middle of the chunked body."""


@dataclass(frozen=True)
class Plan:
    """What happens to one request: steps first to last, or a status with a body instead of a stream.

    `before` runs before the response's headers (a stall there looks like a model that still loads).
    A plan with neither status nor an ending step ends as a healthy server does: finish reason, usage, [DONE].
    """

    steps: tuple[Step, ...]
    status: int
    body: bytes | None
    headers: tuple[tuple[str, str], ...]
    before: tuple[Step, ...]

    def __init__(
        self,
        *steps: Step,
        status: int = 200,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        before: tuple[Step, ...] | Step = (),
    ) -> None:
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "status", status)
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "headers", tuple((headers or {}).items()))
        object.__setattr__(self, "before", (before,) if isinstance(before, Step) else before)

    def walk(self) -> Iterator[Step]:
        """All steps in order."""
        yield from self.before
        yield from self.steps

    @property
    def text(self) -> str:
        """The visible text that the plan sends before it ends or breaks."""
        return "".join(step.text for step in self.walk())


def answer(count: int = 40, pace: float = 0.0) -> Plan:
    """A healthy answer of numbered words."""
    return Plan(Words(count, pace))


def status(
    code: int,
    body: Any = None,
    *,
    retry_after: float | str | None = None,
    retry_after_ms: float | None = None,
    retry_at: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Plan:
    """A refusal with a JSON body (bytes are sent as they are).

    `retry_after` is sent as given (seconds, or any text); `retry_at` is seconds from now, as an HTTP date.
    """
    extra = {"Content-Type": "application/json", **(headers or {})}
    if retry_after is not None:
        extra["Retry-After"] = str(retry_after)
    if retry_at is not None:
        extra["Retry-After"] = formatdate(time() + retry_at, usegmt=True)
    if retry_after_ms is not None:
        extra["retry-after-ms"] = str(retry_after_ms)
    if body is None:
        body = {"error": {"message": f"status {code}", "type": "error", "param": None, "code": None}}
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return Plan(status=code, body=raw, headers=extra)


PAGE = b"<!doctype html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>"


def html(code: int = 200, body: bytes = PAGE) -> Plan:
    """A web page instead of an API, as a wrong base URL gives it."""
    return Plan(status=code, body=body, headers={"Content-Type": "text/html; charset=utf-8"})


def redirect(location: str = "/login", code: int = 302) -> Plan:
    """A redirect; the server shows a login page at /login."""
    return Plan(status=code, body=b"", headers={"Location": location, "Content-Type": "text/html"})


def empty_body(code: int = 200, content_type: str = "text/event-stream") -> Plan:
    """A success without a byte in the body."""
    return Plan(status=code, body=b"", headers={"Content-Type": content_type})


def json_instead_of_stream(body: Any) -> Plan:
    """A success with a JSON object where a stream was asked for, as LM Studio answers a wrong path."""
    return Plan(status=200, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})


# --- common faults, by name ---


def reset_first() -> Plan:
    """Headers arrive, then a reset before the first token."""
    return Plan(Reset())


def reset_at(k: int) -> Plan:
    """`k` words, then a reset."""
    return Plan(Words(k), Reset())


def reset_before_headers() -> Plan:
    """The connection is reset before any byte of the response."""
    return Plan(before=Reset())


def eof_at(k: int) -> Plan:
    """`k` words, then a clean end without a finish reason."""
    return Plan(Words(k), Eof())


def cut_at(k: int) -> Plan:
    """`k` words, then the connection ends inside the chunked body."""
    return Plan(Words(k), Cut())


def error_at(k: int, **error: Any) -> Plan:
    """`k` words, then an error object inside the stream."""
    return Plan(Words(k), ErrorObject(**error))


def garbage_at(k: int) -> Plan:
    """`k` words, then a data line that is not JSON."""
    return Plan(Words(k), Raw(b"data: {not json at all\n\n"), Words(20, start=k))


def undecodable_at(k: int) -> Plan:
    """`k` words, then bytes that are not UTF-8."""
    return Plan(Words(k), Raw(b'data: {"choices":[{"delta":{"content":"\xff\xfe\xc3"}}]}\n\n'), Eof())


def stall_at(k: int, heartbeat: float | None = None) -> Plan:
    """`k` words (0: none), then silence until the client leaves."""
    return Plan(*((Words(k),) if k else ()), Stall(heartbeat))


def stall_headers() -> Plan:
    """Not even the response's headers come."""
    return Plan(before=Stall())


def empty_answer() -> Plan:
    """A complete stream with a finish reason and not one character."""
    return Plan(Finish())


def reasoning_only(text: str = "let me think about that ") -> Plan:
    """Reasoning, then the end: no answer."""
    return Plan(Reasoning(text), Finish())
