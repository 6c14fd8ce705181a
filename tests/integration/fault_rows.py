"""The fault table: what goes wrong, and what the user must then see. One row a fault.

Read by test_faults.py, which asserts it, and by `python -m tests.bench.faults --write`, which makes docs/faults.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support import llm_bodies as bodies
from tests.support import net
from tests.support.llm_server import FaultServer
from tests.support.llm_steps import (
    Delta,
    Eof,
    ErrorObject,
    Finish,
    Pause,
    Plan,
    Raw,
    Reasoning,
    Reset,
    SplitText,
    Stall,
    Text,
    ToolCall,
    Words,
    answer,
    cut_at,
    empty_answer,
    empty_body,
    eof_at,
    error_at,
    garbage_at,
    handoff,
    html,
    json_instead_of_stream,
    reasoning_only,
    redirect,
    reset_at,
    reset_before_headers,
    reset_first,
    stall_at,
    stall_headers,
    status,
    undecodable_at,
    words,
)

FULL = words(40)
# What the debug agent writes before the model has said anything.
DEBUG_HEAD = "> **Now: ComfyUI-Debug-Coordinator**"
# What the stand-in writes when the rewrite agent takes over.
HANDOFF_HEAD = "> **Now: Workflow Rewrite Agent**"

# Limits on silence that a busy machine does not reach: what stalls is skipped, see tests/support/loop_time.py. Waits
# before a retry are short; the breaker has tests of its own.
ENVIRONMENT: Mapping[str, str] = {
    "COPILOT_PULSE_FIRST_TOKEN_TIMEOUT": "30",
    "COPILOT_PULSE_FIRST_TOKEN_PER_1000_CHARS": "0",
    "COPILOT_PULSE_STALL_TIMEOUT": "30",
    "COPILOT_PULSE_RETRY_BASE": "0.02",
    "COPILOT_PULSE_RETRY_MAX": "0.05",
    "COPILOT_PULSE_RETRY_BUDGET": "5",
    "COPILOT_PULSE_BREAKER_MIN_CALLS": "1000",
    "COPILOT_PULSE_MCP_TIMEOUT": "30",
    "COPILOT_PULSE_LOOP_STALL": "60",  # that the machine is busy need not be told
}


@dataclass(frozen=True)
class Row:
    """One fault.

    The answer must be `text` exactly, or that of the undisturbed plans `like`; or else, if `says` is given, the
    text `partial` and one notice that contains each of `says`. `requests` is how often the model is asked,
    `tools` how often each tool runs.
    """

    name: str
    plans: tuple[Plan, ...]
    text: str | None = None
    like: tuple[Plan, ...] = ()
    partial: str = ""
    says: tuple[str, ...] = ()
    requests: int = 1
    tools: Mapping[str, int] = field(default_factory=dict)
    url: Callable[[FaultServer], str] | None = None
    kind: Literal["chat", "debug"] = "chat"
    language: str = "en"

    @property
    def id(self) -> str:
        """The name as a test id."""
        return self.name.replace(" ", "-")


def ok(name: str, *plans: Plan, requests: int | None = None, **options: object) -> Row:
    """A fault that must end in the whole answer of forty words; each plan is one request."""
    return Row(name, plans, text=FULL, requests=requests or len(plans), **options)  # type: ignore[arg-type]


def told(name: str, *plans: Plan, says: tuple[str, ...], **options: object) -> Row:
    """A fault that must end in a notice."""
    return Row(name, plans, says=says, **options)  # type: ignore[arg-type]


_TOOL = Plan(ToolCall("count_up", {"note": "a"}))
_BROKEN_TOOL = Plan(Words(3), ToolCall("count_up", {"note": "a"}), Reset())
_NO_ARGUMENTS = Plan(ToolCall("count_up", ""), Eof())
_TEXT_AND_TOOL = Plan(Text("First. "), ToolCall("count_up", {"note": "a"}))
_TWO_TOOLS = Plan(ToolCall("count_up", {"note": "a"}, id="a"), ToolCall("get_current_workflow", {}, id="b"))
_HANDOFF = Plan(handoff("add a LoRA"))
_UNKNOWN = Plan(ToolCall("make_coffee", {"sugar": 2}))


def _events(*bodies: Any, before: bytes = b"") -> Plan:
    """A stream of these events and nothing else, byte for byte."""
    events = b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)
    return Plan(body=before + events + b"data: [DONE]\n\n", headers={"Content-Type": "text/event-stream"})


def _chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def _whole(**message: Any) -> Plan:
    """The whole answer as one JSON object, from a server that ignores `stream: true`."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return json_instead_of_stream({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]})


def _piece(name: str, note: str, **call: Any) -> Delta:
    """A tool call in one piece, with whatever index and id the server gives it."""
    return Delta({"tool_calls": [{**call, "function": {"name": name, "arguments": json.dumps({"note": note})}}]})


def _statuses() -> list[Row]:
    rows: list[Row] = []
    for code in (408, 409, 425, 429, 500, 502, 503, 504):
        rows.append(ok(f"status {code} once", status(code), answer()))
        rows.append(ok(f"status {code} twice", status(code), status(code), answer()))
        rows.append(told(f"status {code} for ever", status(code), says=("127.0.0.1", "fake-model"), requests=4))
    return rows


ROWS: tuple[Row, ...] = (
    ok("no fault", answer()),
    # -- the connection breaks ------------------------------------------------------------------
    ok("reset before the headers", reset_before_headers(), answer()),
    ok("reset before the first token", reset_first(), answer()),
    ok("reset after 1 word", reset_at(1), answer()),
    ok("reset after 20 words", reset_at(20), answer()),
    ok("reset after 38 words", reset_at(38), answer()),
    ok("reset twice, later the second time", reset_at(10), reset_at(30), answer()),
    ok("reset twice, earlier the second time", reset_at(30), reset_at(10), answer()),
    ok("three different failures", reset_at(20), status(503), eof_at(5), answer()),
    told("reset for ever", reset_at(20), partial=words(20), says=("fake-model", "127.0.0.1"), requests=4),
    told(
        "reset for ever, shorter each time",
        reset_at(20),
        reset_at(10),
        reset_at(5),
        reset_first(),
        partial=words(20),
        says=("fake-model",),
        requests=4,
    ),
    ok("connection cut inside a chunk", cut_at(20), answer()),
    # -- the stream is not whole ----------------------------------------------------------------
    ok("clean end without a finish reason", eof_at(20), answer()),
    told("clean end without a finish reason, for ever", eof_at(20), partial=words(20), says=("finish",), requests=2),
    ok("end right after the headers", empty_body(), answer()),
    told("empty body for ever", empty_body(), says=("fake-model",), requests=2),
    ok("empty answer once", empty_answer(), answer()),
    told(
        "a second truncation that brings less", eof_at(20), eof_at(3), partial=words(20), says=("finish",), requests=2
    ),
    told(
        "the provider's filter cuts the answer off",
        Plan(Words(5), Finish("content_filter")),
        partial=words(5),
        says=("filter",),
    ),
    told("the provider's filter leaves nothing", Plan(Finish("content_filter")), says=("filter",)),
    told("the model reaches its length limit", Plan(Words(5), Finish("length")), partial=words(5), says=("limit",)),
    told("reasoning uses up the length limit", Plan(Reasoning("hm " * 9), Finish("length")), says=("limit",)),
    told("empty answer for ever", empty_answer(), says=("fake-model",), requests=2),
    ok("reasoning before the answer", Plan(Reasoning("let me think "), Words(40))),
    told("reasoning and no answer, for ever", reasoning_only(), says=("reasoning",), requests=2),
    # -- the answer is done, and then the stream breaks --------------------------------------------
    ok("reset after the finish reason", Plan(Words(40), Finish(), Reset())),
    ok("error object after the finish reason", Plan(Words(40), Finish(), ErrorObject())),
    ok("silence after the finish reason", Plan(Words(40), Finish(), Stall())),
    ok("heartbeats for ever after the finish reason", Plan(Words(40), Finish(), Stall(heartbeat=0.1))),
    Row(
        "reset after a whole tool call",
        (Plan(ToolCall("count_up", {"note": "a"}), Finish("tool_calls"), Reset()), answer()),
        text=FULL,
        requests=2,
        tools={"count_up": 1},
    ),
    ok(
        "a finish reason with every chunk, then a reset",
        Plan(*(step for n in range(5) for step in (Words(1, start=n), Finish())), Words(5, start=5), Reset()),
        answer(),
    ),
    # -- the finish reason tells of a failure ------------------------------------------------------
    ok("finish reason insufficient_system_resource", Plan(Words(3), Finish("insufficient_system_resource")), answer()),
    told(
        "finish reason insufficient_system_resource, for ever",
        Plan(Words(3), Finish("insufficient_system_resource")),
        partial=words(3),
        says=("overloaded", "127.0.0.1"),
        requests=4,
    ),
    ok("finish reason error", Plan(Words(3), Finish("error")), answer()),
    ok("finish reason abort, without a word", Plan(Finish("abort")), answer()),
    told("a filter by another name", Plan(Words(5), Finish("sensitive")), partial=words(5), says=("filter",)),
    told("a length limit by another name", Plan(Words(5), Finish("max_tokens")), partial=words(5), says=("limit",)),
    ok("an unknown finish reason", Plan(Words(40), Finish("eos"))),
    # -- the stream holds something else ----------------------------------------------------------
    ok("error object in the stream", error_at(20), answer()),
    ok(
        "rate limit told inside the stream",
        Plan(Words(5), ErrorObject("Rate limit", code="rate_limit_exceeded", type="rate_limit_error")),
        answer(),
    ),
    told(
        "quota told inside the stream",
        Plan(ErrorObject("You exceeded your current quota", code="insufficient_quota", type="insufficient_quota")),
        says=("quota",),
    ),
    ok('a message without "error"', Plan(Words(5), Raw(b'data: {"message":"Model reloaded."}\n\n'), Eof()), answer()),
    told(
        'a message without "error", for ever',
        _events({"object": "error", "message": "Model unloaded."}),
        says=("Model unloaded.",),
        requests=4,
    ),
    told(
        'a detail without "error", for ever',
        _events({"detail": "the engine is dead"}),
        says=("engine is dead",),
        requests=4,
    ),
    ok("a byte order mark", _events(_chunk(FULL, "stop"), before=b"\xef\xbb\xbf")),
    ok("events without data", Plan(Words(20), Raw(b"data:\n\ndata: \n\nevent: ping\ndata: \n\n"), Words(20, start=20))),
    ok("an event that is null", Plan(Words(20), Raw(b"data: null\n\n"), Words(20, start=20))),
    ok("an event that is a list", Plan(Words(20), Raw(b"data: []\n\n"), Words(20, start=20)), answer()),
    ok("a whole answer instead of a stream", _whole(content=FULL)),
    Row(
        "a whole answer with a tool call",
        (
            _whole(
                tool_calls=[
                    {"id": "c1", "type": "function", "function": {"name": "count_up", "arguments": '{"note": "a"}'}}
                ]
            ),
            answer(),
        ),
        text=FULL,
        requests=2,
        tools={"count_up": 1},
    ),
    ok("a line that is no JSON", garbage_at(20), answer()),
    ok("bytes that are no UTF-8", undecodable_at(20), answer()),
    # -- silence ------------------------------------------------------------------------------------
    ok("silence instead of headers", stall_headers(), answer()),
    ok("silence before the first token", stall_at(0), answer()),
    ok("silence after 20 words", stall_at(20), answer()),
    told("silence after 20 words, for ever", stall_at(20), partial=words(20), says=("fake-model",), requests=4),
    ok("heartbeats longer than the limit", Plan(Words(20), Pause(0.9, heartbeat=0.1), Words(20, start=20))),
    ok(
        "reasoning longer than the limit",
        Plan(*(step for _ in range(6) for step in (Reasoning("hm "), Pause(0.2))), Words(40)),
    ),
    *_statuses(),
    # -- what the user must change --------------------------------------------------------------------
    told("wrong key (401)", status(401, bodies.OPENAI_401), says=("key", "127.0.0.1")),
    told("forbidden (403)", status(403), says=("127.0.0.1",)),
    told("no such model (404)", status(404, bodies.OPENAI_404_MODEL), says=("fake-model",)),
    told(
        "a hosted default model at the user's own endpoint",
        status(400, bodies.BEDROCK_400_MODEL),
        says=("fake-model", "model list"),
    ),
    told(
        "the same for the workflow's agent",
        _HANDOFF,
        status(400, bodies.BEDROCK_400_MODEL),
        says=("fake-model", "workflow LLM setting"),
        requests=2,
        partial=HANDOFF_HEAD,
    ),
    told("context too long (400)", status(400, bodies.OPENAI_400_CONTEXT), says=("long",)),
    told("model without tools (400)", status(400, bodies.OLLAMA_400_NO_TOOLS), says=("tool",)),
    told("bad request (400)", status(400), says=("fake-model",)),
    told("quota used up (429)", status(429, bodies.OPENAI_429_QUOTA), says=("quota",)),
    told("rate limit with a long wait", status(429, bodies.OPENAI_429_RATE, retry_after=90), says=("90",), requests=1),
    ok("rate limit with a short wait", status(429, bodies.OPENAI_429_RATE, retry_after_ms=50), answer()),
    ok("rate limit until a date", status(429, bodies.OPENAI_429_RATE, retry_at=0), answer()),
    told("a web page instead of an API", html(), says=("/v1",)),
    told("a web page with 404", html(404), says=("127.0.0.1",)),
    told("a redirect to a login page", redirect(), says=("/v1",)),
    told(
        "LM Studio without /v1",
        json_instead_of_stream({"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
        says=("/v1",),
    ),
    told("refused connection", answer(), says=("127.0.0.1",), requests=0, url=lambda _: net.refused_url("/v1")),
    told("unknown host", answer(), says=(net.INVALID_HOST,), requests=0, url=lambda _: net.dns_failure_url("/v1")),
    told("TLS to a plain port", answer(), says=("https",), requests=0, url=lambda s: net.tls_to_plain(s.base_url)),
    told("a base URL that is none", answer(), says=("not a url",), requests=0, url=lambda _: "not a url"),
    # -- odd but right ------------------------------------------------------------------------------
    Row("a huge single delta", (Plan(Text("x" * 200_000)),), text="x" * 200_000),
    Row(
        "emoji split across packets",
        (Plan(SplitText("héllo 👩‍👩‍👧 你好 🎉 done", size=1)),),
        text="héllo 👩‍👩‍👧 你好 🎉 done",
    ),
    Row("emoji split, then a reset", (Plan(SplitText("你好 🎉", size=1), Reset()), answer()), text=FULL, requests=2),
    # -- tools --------------------------------------------------------------------------------------
    Row(
        "reset in the turn after a tool", (_TOOL, reset_at(20), answer()), text=FULL, requests=3, tools={"count_up": 1}
    ),
    Row(
        "silence in the turn after a tool", (_TOOL, stall_at(5), answer()), text=FULL, requests=3, tools={"count_up": 1}
    ),
    Row(
        "status 503 in the turn after a tool",
        (_TOOL, status(503), answer()),
        text=FULL,
        requests=3,
        tools={"count_up": 1},
    ),
    Row(
        "reset between two tools",
        (_TOOL, reset_at(3), Plan(ToolCall("get_current_workflow", {})), answer()),
        text=FULL,
        requests=4,
        tools={"count_up": 1, "get_current_workflow": 1},
    ),
    Row(
        "reset while a tool call streams", (_BROKEN_TOOL, _TOOL, answer()), text=FULL, requests=3, tools={"count_up": 1}
    ),
    Row(
        "two tools at once, then a reset",
        (_TWO_TOOLS, reset_at(20), answer()),
        text=FULL,
        requests=3,
        tools={"count_up": 1, "get_current_workflow": 1},
    ),
    Row(
        "text, a tool, then a reset",
        (_TEXT_AND_TOOL, reset_at(5), answer()),
        text="First. " + FULL,
        requests=3,
        tools={"count_up": 1},
    ),
    Row(
        "text, a tool, then an empty answer",
        (_TEXT_AND_TOOL, empty_answer(), answer()),
        text="First. " + FULL,
        requests=3,
        tools={"count_up": 1},
    ),
    Row(
        "text, a tool, then nothing to add",
        (_TEXT_AND_TOOL, empty_answer()),
        text="First. ",
        requests=3,
        tools={"count_up": 1},
    ),
    told(
        "text, a tool, then reasoning and no answer",
        _TEXT_AND_TOOL,
        reasoning_only(),
        partial="First. ",
        says=("reasoning",),
        requests=3,
        tools={"count_up": 1},
    ),
    told(
        "text, a tool, then the filter",
        _TEXT_AND_TOOL,
        Plan(Finish("content_filter")),
        partial="First. ",
        says=("filter",),
        requests=2,
        tools={"count_up": 1},
    ),
    Row(
        "a slow tool is no silence",
        (Plan(ToolCall("take_time", {"seconds": 0.9})), answer()),
        text=FULL,
        requests=2,
        tools={"take_time": 1},
    ),
    Row(
        "a tool that raises",
        (Plan(ToolCall("raise_error", {"text": "no"})), answer()),
        text=FULL,
        requests=2,
        tools={"raise_error": 1},
    ),
    Row(
        "a tool call without an id",
        (Plan(_piece("count_up", "a", index=0)), answer()),
        text=FULL,
        requests=2,
        tools={"count_up": 1},
    ),
    Row(
        "two tool calls with one id",
        (Plan(_piece("count_up", "a", index=0, id="c"), _piece("count_up", "b", index=1, id="c")), answer()),
        text=FULL,
        requests=2,
        tools={"count_up": 2},
    ),
    Row(
        "two tool calls with one index",
        (Plan(_piece("count_up", "a", index=0, id="c"), _piece("count_up", "b", index=0, id="d")), answer()),
        text=FULL,
        requests=2,
        tools={"count_up": 2},
    ),
    Row(
        "a tool call with the id of an earlier one",
        (Plan(_piece("count_up", "a", index=0, id="c")), Plan(_piece("count_up", "b", index=0, id="c")), answer()),
        text=FULL,
        requests=3,
        tools={"count_up": 2},
    ),
    Row(
        "the model refuses in words",
        (Plan(Delta({"refusal": "I cannot "}), Delta({"refusal": "do it."})),),
        text="I cannot do it.",
    ),
    told(
        "a tool that ends the run",
        Plan(Words(5), ToolCall("crash_run", {"text": "boom"})),
        partial=words(5),
        says=(),
        tools={"crash_run": 1},
    ),
    Row("an unknown tool", (_UNKNOWN, answer()), text=FULL, requests=2),
    Row(
        "text, then an unknown tool",
        (Plan(Text("First. "), ToolCall("make_coffee", {})), answer()),
        text="First. " + FULL,
        requests=2,
    ),
    Row("an unknown tool, then a reset", (_UNKNOWN, reset_at(20), answer()), text=FULL, requests=3),
    Row("a tool call whose arguments never came", (_NO_ARGUMENTS, answer()), text=FULL, requests=2),
    told("a tool call whose arguments never come", _NO_ARGUMENTS, says=("finish",), requests=2),
    Row(
        "a tool's name cut off",
        (Plan(ToolCall("count_u", ""), Eof()), _TOOL, answer()),
        text=FULL,
        requests=3,
        tools={"count_up": 1},
    ),
    told("an unknown tool, for ever", _UNKNOWN, says=("make_coffee",), requests=3),
    # -- another agent ------------------------------------------------------------------------------
    Row("reset right after a hand-off", (_HANDOFF, reset_at(20), answer()), like=(_HANDOFF, answer()), requests=3),
    Row(
        "reset in the hand-off's second turn",
        (_HANDOFF, Plan(ToolCall("get_current_workflow", {})), reset_at(20), answer()),
        like=(_HANDOFF, Plan(ToolCall("get_current_workflow", {})), answer()),
        requests=4,
        tools={"get_current_workflow": 1},
    ),
    told(
        "empty answer for ever after a hand-off",
        _HANDOFF,
        empty_answer(),
        says=("fake-model",),
        requests=3,
        partial=HANDOFF_HEAD,
    ),
    Row(
        "hand-off broken off, then made",
        (Plan(Words(3), Reset()), _HANDOFF, answer()),
        like=(_HANDOFF, answer()),
        requests=3,
    ),
    # -- the debug agent ------------------------------------------------------------------------------
    Row("debug: no fault", (answer(),), like=(answer(),), kind="debug"),
    Row("debug: reset after 20 words", (reset_at(20), answer()), like=(answer(),), requests=2, kind="debug"),
    Row("debug: silence", (stall_at(10), answer()), like=(answer(),), requests=2, kind="debug"),
    Row("debug: clean end without a finish reason", (eof_at(20), answer()), like=(answer(),), requests=2, kind="debug"),
    told(
        "debug: empty answer for ever",
        empty_answer(),
        says=("fake-model",),
        requests=2,
        partial=DEBUG_HEAD,
        kind="debug",
    ),
    told("debug: wrong key", status(401, bodies.OPENAI_401), says=("key",), partial=DEBUG_HEAD, kind="debug"),
    Row(
        "debug: tool, then a reset",
        (Plan(ToolCall("count_up", {"note": "a"})), reset_at(20), answer()),
        like=(Plan(ToolCall("count_up", {"note": "a"})), answer()),
        requests=3,
        tools={"count_up": 1},
        kind="debug",
    ),
    # -- Chinese --------------------------------------------------------------------------------------
    told("wrong key, in Chinese", status(401, bodies.OPENAI_401), says=("密钥",), language="zh-CN"),
    told("reset for ever, in Chinese", reset_at(20), partial=words(20), says=("127.0.0.1",), requests=4, language="zh"),
)
