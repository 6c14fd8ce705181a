"""What real OpenAI-compatible servers were seen to send, and what the user must then read. One row a behaviour.

Read by test_wire.py, which asserts it, and by `python -m tests.bench.wire`, which prints the table. The server is
tests/support/raw_server.py, and every byte that it sends stands here; the client is the standalone host with the real
agent library and default settings.
"""

# ruff: noqa: E501  (what servers send is quoted as it comes)

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.raw_server import RESET, Chosen, Reply

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
DONE = b"data: [DONE]\n\n"
WORDS = [f"w{n:02d} " for n in range(24)]
FULL = "".join(WORDS)
HALF = "".join(WORDS[:12])
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


def ended(name: str, word: str, *says: str, text: bool = True, **options: Any) -> Row:
    """Half an answer, or none, and then this finish reason."""
    first = stream(*texts(*(WORDS[:12] if text else ()), finish=word))
    return told("A", name, first, says=says, text=HALF if text else "", **options)


def routed(finish: str, own: str) -> dict[str, Any]:
    """The last chunk of a router, with the finish reason of the provider behind it."""
    return choice({"content": ""}, finish, native_finish_reason=own)


A = (
    ended("recitation in mid-answer", "RECITATION", "filter"),
    ended("refusal in mid-answer", "refusal", "filter"),
    ended("spii without text", "SPII", "filter", text=False),
    ended("refusal without text", "refusal", "filter", text=False),
    ended("blocklist", "BLOCKLIST", "filter"),
    ended("prohibited content", "PROHIBITED_CONTENT", "filter", text=False),
    ended("image safety", "IMAGE_SAFETY", "filter"),
    ended("guardrail intervened", "guardrail_intervened", "filter"),
    ended("another word for the limit", "MAX_OUTPUT_TOKENS", "limit"),
    ended("truncated", "truncated", "limit"),
    ended("a word that nobody knows", "OTHER", "may be missing"),
    ended("language", "LANGUAGE", "filter"),
    *(
        whole("A", f"good end {word}", stream(*texts(*WORDS, finish=word)))
        for word in ("eos", "end_turn", "STOP", "stop_sequence", "completed", "FINISH_REASON_STOP", "eos_token")
    ),
    *(
        whole(
            "A", f"a router's stop, and the provider's {own}", stream(*texts(*WORDS, finish=None), routed("stop", own))
        )
        for own in ("end_turn", "STOP", "something new")
    ),
    whole("A", "a router's stop, and the provider's failure once", stream(routed("stop", "network_error")), answer()),
    whole(
        "A",
        "the same after half an answer",
        stream(*texts(*WORDS[:12], finish=None), routed("stop", "network_error")),
        answer(),
    ),
    told(
        "A",
        "the same for ever",
        stream(routed("stop", "network_error")),
        says=("failed",),
        never=("chat template", "without writing"),
        requests=4,
    ),
    told("A", "a router's stop, and the provider's refusal", stream(routed("stop", "refusal")), says=("filter",)),
    told(
        "A",
        "a router's stop, and the provider's filter in mid-answer",
        stream(*texts(*WORDS[:12], finish=None), routed("stop", "content_filter")),
        says=("filter",),
        text=HALF,
    ),
    whole("A", "an object that says stop", stream(*texts(*WORDS, finish={"type": "stop", "matched": 151645}))),
    whole(
        "A",
        "an object that says abort, once",
        stream(*texts("w", finish={"type": "abort", "status_code": 503})),
        answer(),
    ),
    told(
        "A",
        "an object that says length",
        stream(*texts(*WORDS[:12], finish={"type": "length", "length": 12})),
        says=("limit",),
        text=HALF,
    ),
    *(
        whole("A", f"a call that its server cannot read: {word}", stream(choice({"content": ""}, word)), answer())
        for word in ("function_call_filter: MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL")
    ),
    told(
        "A",
        "a call that its server can never read",
        stream(choice({"content": ""}, "function_call_filter: MALFORMED_FUNCTION_CALL")),
        says=("tool calls", "another model"),
        never=("filter refused", "damages"),
        requests=4,
    ),
)

_NO_ERRORS: list[Any] = [None, {}, False, "", []]
_ODD_USAGE: list[Any] = [None, {}, [], "x", {"prompt_tokens": "3"}]
B = (
    whole(
        "B",
        "the index counts the tokens",
        stream(*(choice({"content": w}, index=n) for n, w in enumerate(WORDS)), choice({}, "stop", index=24)),
    ),
    whole(
        "B",
        "no index",
        stream(*(chunk({"delta": {"content": w}}) for w in WORDS), chunk({"delta": {}, "finish_reason": "stop"})),
    ),
    whole("B", "null index", stream(*texts(*WORDS, index=None))),
    whole(
        "B",
        "message in place of delta",
        stream(
            *(chunk({"index": 0, "message": {"role": "assistant", "content": w}}) for w in WORDS), choice({}, "stop")
        ),
    ),
    whole(
        "B",
        "a null delta beside message",
        stream(*(chunk({"index": 0, "delta": None, "message": {"content": w}}) for w in WORDS), choice({}, "stop")),
    ),
    whole("B", "text in place of delta", stream(*(chunk({"index": 0, "text": w}) for w in WORDS), choice({}, "stop"))),
    whole(
        "B",
        "a list of parts, thinking first",
        stream(
            choice(
                {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}
            ),
            choice({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}]}),
            *(choice({"content": [{"type": "text", "text": w}]}) for w in WORDS),
            choice({"content": []}, "stop"),
        ),
    ),
    whole("B", "a list of plain strings", stream(*(choice({"content": [w]}) for w in WORDS), choice({}, "stop"))),
    whole(
        "B",
        "thinking and text in one list, then strings",
        stream(
            choice({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": WORDS[0]}]}),
            *texts(*WORDS[1:]),
        ),
    ),
    whole(
        "B",
        "a content part as an object",
        stream(*(choice({"content": {"type": "text", "text": w}}) for w in WORDS), choice({}, "stop")),
    ),
    whole("B", "the last delta repeats the text", stream(*texts(*WORDS, FULL))),
    whole(
        "B",
        "the chunk with the finish reason repeats the text",
        stream(*texts(*WORDS, finish=None), choice({"content": FULL}, "stop")),
    ),
    whole(
        "B",
        "the last chunk has the whole message beside its delta",
        stream(*texts(*WORDS, finish=None), choice({}, "stop", message={"role": "assistant", "content": FULL})),
    ),
    whole(
        "B", "each delta holds all of the text so far", stream(*texts(*("".join(WORDS[: n + 1]) for n in range(24))))
    ),
    whole("B", "a text that says itself twice", stream(*texts("ha", "ha")), text="haha"),
    told(
        "B",
        "thoughts in tags and nothing behind",
        stream(*texts("<think>", "hm ", "so", "</think>")),
        says=("only thought",),
        requests=2,
    ),
    told(
        "B",
        "thoughts in tags that never end",
        stream(*texts("<think>\n", "hm ", "so")),
        says=("only thought",),
        requests=2,
    ),
    told(
        "B",
        "the end of thoughts and nothing behind",
        stream(*texts("hm ", "so", "</think>", "\n")),
        says=("only thought",),
        text="hm so</think>",
        requests=2,
    ),
    whole(
        "B",
        "choices as an object",
        stream(
            *({"choices": {"delta": {"content": w}}} for w in WORDS),
            choice({}, "stop"),
        ),
    ),
    *(
        told(
            "B",
            f"{name} answers",
            Reply(HEAD, *parts),
            says=("no valid answer", "OpenAI-compatible"),
            never=("chat template", "damages"),
            requests=4,
        )
        for name, parts in (
            ("Gemini's interface", [event({"candidates": [{"content": {"parts": [{"text": w}]}}]}) for w in WORDS]),
            (
                "Anthropic's interface",
                [
                    event({"type": "message_start", "message": {"role": "assistant", "content": []}}, "message_start"),
                    *(
                        event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": w}}, "delta")
                        for w in WORDS
                    ),
                    event(
                        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
                    ),
                ],
            ),
            ("Ollama's older interface", [json.dumps({"response": w, "done": False}).encode() + b"\n" for w in WORDS]),
            ("the interface of responses", [event({"type": "response.output_text.delta", "delta": w}) for w in WORDS]),
            ("Qianfan's first interface", [event({"result": w, "sentence_id": 1, "is_end": False}) for w in WORDS]),
        )
    ),
    whole("B", "a completion inside of data", stream(*({"code": 0, "data": one} for one in texts(*WORDS)))),
    whole("B", "lines of JSON without data", Reply(HEAD, *(json.dumps(one).encode() + b"\n" for one in texts(*WORDS)))),
    whole(
        "B",
        "usage without figures, and in a choice",
        stream(
            *texts(*WORDS, finish=None),
            choice({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": None}),
            chunk(usage={}),
        ),
    ),
    whole("B", "no mark of the end", stream(*texts(*WORDS), done=False)),
    whole(
        "B",
        "the words so far as a message beside each delta",
        stream(
            *(
                choice({"content": w}, "stop" if n == 23 else None, message={"content": "".join(WORDS[: n + 1])})
                for n, w in enumerate(WORDS)
            )
        ),
    ),
    whole(
        "B",
        "the last event is a whole completion",
        stream(*texts(*WORDS, finish=None), chunk({"message": {"content": FULL}, "finish_reason": "stop"})),
    ),
    whole(
        "B",
        "the only event is a whole completion",
        stream(chunk({"index": 0, "message": {"content": FULL, "tool_calls": []}, "finish_reason": "stop"})),
    ),
    whole(
        "B",
        "thoughts that each hold all so far, and fields of its own",
        stream(
            *(
                choice({"role": "", "name": "m", "audio_content": "", "reasoning_details": [{"text": "hm so"[:n]}]})
                for n in range(1, 6)
            ),
            *texts(*WORDS),
            chunk(input_sensitive=False, base_resp={"status_code": 0, "status_msg": ""}, usage={"total_tokens": 0}),
        ),
    ),
    whole(
        "B",
        "errors that are none",
        stream(*({**one, "error": error} for one, error in zip(texts(*WORDS), _NO_ERRORS * 5, strict=True))),
    ),
    whole(
        "B",
        "usage of odd kinds",
        stream(*({**one, "usage": u} for one, u in zip(texts(*WORDS), _ODD_USAGE * 5, strict=True))),
    ),
    whole(
        "B",
        "ids and times of odd kinds",
        stream(*({**one, "id": None, "created": "now", "model": None} for one in texts(*WORDS))),
    ),
    whole(
        "B",
        "empty events at the end",
        Reply(HEAD, *map(event, texts(*WORDS)), b'data: {"done":true}\n\ndata: {}\n\ndata: ""\n\ndata:\n\n', DONE),
    ),
    whole(
        "B",
        "line separators that are letters",
        stream(*texts("a\u2028b", "\x85c", "\u2029d")),
        text="a\u2028b\x85c\u2029d",
    ),
    whole(
        "B",
        "events with a name, an id and a time",
        Reply(
            HEAD, *(b"id: 1\nevent: chat.completion.chunk\nretry: 3000\n" + event(one) for one in texts(*WORDS)), DONE
        ),
    ),
    whole(
        "B",
        "JSON over several lines",
        Reply(
            HEAD,
            *(b"data: " + json.dumps(one, indent=1).encode() + b"\n\n" for one in texts(*WORDS[:12], finish=None)),
            *(
                b"data: " + json.dumps(one, indent=1).replace("\n", "\ndata: ").encode() + b"\n\n"
                for one in texts(*WORDS[12:])
            ),
            DONE,
        ),
    ),
    whole(
        "B",
        "the finish reason in the delta",
        stream(*texts(*WORDS, finish=None), chunk({"index": 0, "delta": {"finish_reason": "stop"}})),
    ),
)

CATEGORY = '{"category": "latent"}'
LOADERS = '{"category": "loaders"}'
_NAMED = call("list_nodes", CATEGORY, index=0, id="a")
C = (
    tool(
        "C",
        "two calls in two chunks, index 0 and no id",
        calls(call("list_nodes", CATEGORY, index=0, id=""), call("now", "{}", index=0, id="")),
        ("list_nodes", "now"),
    ),
    tool(
        "C",
        "the same tool twice, index 0 and no id",
        calls(call("list_nodes", CATEGORY, index=0, id=""), call("list_nodes", LOADERS, index=0, id="")),
        ("list_nodes", "list_nodes"),
    ),
    tool(
        "C",
        "two calls in one array without index and id",
        calls([call("list_nodes", CATEGORY), call("now", "{}")]),
        ("list_nodes", "now"),
    ),
    tool(
        "C",
        "two calls in two chunks without index and id",
        calls(call("list_nodes", CATEGORY), call("now", "{}")),
        ("list_nodes", "now"),
    ),
    tool(
        "C",
        "the same call again",
        calls(call("list_nodes", CATEGORY, index=0, id=""), call("list_nodes", CATEGORY, index=0, id="")),
    ),
    tool(
        "C",
        "the whole call repeated at the end",
        calls(
            call("list_nodes", "", index=0, id="a"),
            call(arguments='{"category":', index=0),
            call(arguments='"latent"}', index=0),
            call("list_nodes", '{"category":"latent"}', index=0, id="a"),
        ),
    ),
    tool(
        "C",
        "two objects glued",
        calls(call("list_nodes", CATEGORY + LOADERS, index=0, id="a")),
        ("list_nodes", "list_nodes"),
    ),
    tool(
        "C",
        "each piece has an index of its own",
        calls(
            call("list_nodes", "", index=0, id="a"),
            call(arguments='{"category": ', index=1),
            call(arguments='"latent"}', index=2),
        ),
        outputs=("latent",),
    ),
    tool(
        "C",
        "each piece holds all of the arguments so far",
        calls(
            call("list_nodes", '{"cat', index=0, id="a"),
            call(arguments='{"category": "la', index=0),
            call(arguments=CATEGORY, index=0),
        ),
        outputs=("latent",),
    ),
    tool(
        "C",
        "a placeholder for the arguments",
        calls(
            call("list_nodes", "{}", index=0, id="a"),
            call(arguments='{"category": ', index=0),
            call(arguments='"latent"}', index=0),
        ),
        outputs=("latent",),
    ),
    tool(
        "C",
        "the name in two pieces",
        calls(call("list_", index=0, id="a"), call("nodes", index=0), call(arguments=CATEGORY, index=0)),
    ),
    tool(
        "C",
        "the name in three pieces with the arguments",
        calls(call("li", "", index=0, id="a"), call("st_no", "", index=0), call("des", CATEGORY, index=0)),
    ),
    tool(
        "C",
        "the name in every piece",
        calls(
            call("list_nodes", "", index=0, id="a"),
            call("list_nodes", '{"category": ', index=0, id="a"),
            call("list_nodes", '"latent"}', index=0, id="a"),
        ),
        outputs=("latent",),
    ),
    tool("C", "the name with a channel", calls(call("list_nodes<|channel|>commentary", CATEGORY, index=0, id="a"))),
    tool("C", "the name with a namespace", calls(call("functions.list_nodes:0", CATEGORY, index=0, id="a"))),
    tool("C", "the name in other letters", calls(call("List-Nodes", CATEGORY, index=0, id="a"))),
    tool(
        "C",
        "arguments as an object",
        calls(call("list_nodes", {"category": "latent"}, index=0, id="a")),
        outputs=("latent",),
    ),
    tool("C", "one call without a list", stream(choice({"tool_call": _NAMED}), choice({}, "tool_calls"))),
    tool(
        "C",
        "arguments in Python",
        calls(call("list_nodes", "{'category': 'latent'}", index=0, id="a")),
        outputs=("latent",),
    ),
    tool(
        "C",
        "arguments with a comma too many",
        calls(call("list_nodes", '{"category": "latent",}', index=0, id="a")),
        outputs=("latent",),
    ),
    tool(
        "C",
        "a name and its arguments between marks in the text",
        stream(*texts('[TOOL_CALLS]list_nodes[CALL_ID]a1b2c3d4e[ARGS]{"category": "latent"}')),
        outputs=("latent",),
    ),
    tool("C", "arguments null", calls(call("list_nodes", None, index=0, id="a"))),
    tool("C", "arguments empty", calls(call("list_nodes", "", index=0, id="a"))),
    tool(
        "C",
        "arguments as JSON in JSON",
        calls(call("list_nodes", json.dumps(CATEGORY), index=0, id="a")),
        outputs=("latent",),
    ),
    tool(
        "C",
        "a call of the older interface",
        stream(
            choice({"function_call": {"name": "list_nodes", "arguments": ""}}),
            choice({"function_call": {"arguments": CATEGORY}}),
            choice({}, "function_call"),
        ),
    ),
    tool("C", "calls and finish reason stop", calls(_NAMED, finish="stop")),
    tool("C", "a whole call, the mark of the end and no finish reason", stream(choice({"tool_calls": [_NAMED]}))),
    tool(
        "C",
        "the name at the top of the call",
        calls({"index": 0, "id": "a", "name": "list_nodes", "arguments": {"category": "latent"}}),
        outputs=("latent",),
    ),
    tool(
        "C",
        "the arguments first, and the name later",
        calls(call(arguments=CATEGORY, index=0, id="a"), call("list_nodes", "", index=0)),
        outputs=("latent",),
    ),
    tool(
        "C",
        "thoughts between the pieces of a call",
        stream(
            choice({"tool_calls": [call("list_nodes", "", index=0, id="a")]}),
            choice({"reasoning_content": "hm"}),
            choice({"tool_calls": [call(arguments=CATEGORY, index=0)]}),
            choice({}, "tool_calls"),
        ),
        outputs=("latent",),
    ),
    *(
        tool("C", f"the call's {key} is {value!r}"[:60], calls({**_NAMED, key: value}))
        for key, value in (("index", "0"), ("index", 1), ("index", -1), ("id", 12345), ("id", "x" * 300), ("type", ""))
    ),
    tool("C", "calls after the finish reason", stream(choice({}, "tool_calls"), choice({"tool_calls": [_NAMED]}))),
    tool(
        "C",
        "the end of the arguments with the finish reason",
        stream(
            choice({"tool_calls": [call("list_nodes", '{"category": "latent"', index=0, id="a")]}),
            choice({"tool_calls": [call(arguments="}", index=0)]}, "tool_calls", stop_reason=154829),
        ),
        outputs=("latent",),
    ),
    tool(
        "C",
        "an object instead of a list, and null names",
        stream(
            choice({"tool_calls": call("list_nodes", "", index=0, id="")}),
            *(choice({"tool_calls": call(None, piece, index=0, id="")}) for piece in ('{"cate', 'gory": "latent"}')),
            choice({}, "stop"),
        ),
        outputs=("latent",),
    ),
    tool(
        "C",
        "a null function first, then nulls around",
        calls(
            {"index": 0, "id": "a", "type": "function", "function": None},
            {"index": 0, "id": None, "type": None, "function": {"name": "list_nodes", "arguments": None}},
            {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": CATEGORY}},
        ),
        outputs=("latent",),
    ),
    tool(
        "C",
        "the index moves on within a call",
        calls(
            call("list_nodes", "", index=0, id="a"),
            call(arguments='{"category": ', index=1),
            call(arguments='"latent"}', index=1),
        ),
        outputs=("latent",),
    ),
    tool(
        "C",
        "all of the call once more in a message",
        stream(
            choice({"tool_calls": [_NAMED]}),
            choice({}, "tool_calls", message={"content": None, "tool_calls": [_NAMED]}),
        ),
    ),
    *(
        told(
            "C",
            f"cut in mid-call by {finish}",
            calls(call("list_nodes", '{"categ', index=0, id="a"), finish=finish),
            says=(says,),
        )
        for finish, says in (("length", "limit"), ("content_filter", "filter"))
    ),
    Row(
        "C",
        "a failure in mid-call",
        (
            stream(
                choice({"tool_calls": [call("list_nodes", '{"cat', index=0, id="a")]}),
                chunk({"delta": {}, "finish_reason": "error"}, error={"code": 502, "message": "Provider disconnected"}),
            ),
            calls(_NAMED),
            answer(),
        ),
        requests=3,
        tools=("list_nodes",),
    ),
    tool(
        "C",
        "interleaved pieces without index",
        calls(
            call("list_nodes", "", id="a"),
            call("now", "", id="b"),
            call(arguments=CATEGORY, id="a"),
            call(arguments="{}", id="b"),
        ),
        ("list_nodes", "now"),
    ),
    *(
        tool(
            "C", f"in the text: {name}", stream(*texts(*pieces)), text="I look. " * (name == "a tag of its own") + FULL
        )
        for name, pieces in {
            "tool_call": (
                "<tool_call>",
                '\n{"name": "list_nodes", "arguments": {"category": "latent"}}',
                "\n</tool_call>",
            ),
            "cut anywhere": tuple('<tool_call>{"name": "list_nodes", "arguments": {}}</tool_call>'),
            "function=": ("<function=list_nodes>\n<parameter=category>\nlatent\n</parameter>\n</function>",),
            "TOOL_CALLS": ('[TOOL_CALLS][{"name": "list_nodes", "arguments": {"category": "latent"}}]',),
            "TOOL_CALLS with a name": ('[TOOL_CALLS]list_nodes{"category": "latent"}',),
            "python_tag": ('<|python_tag|>{"name": "list_nodes", "parameters": {"category": "latent"}}',),
            "plain JSON": ('{"name": "list_nodes", ', '"parameters": {"category": "latent"}}'),
            "a fence": ('```json\n{"name": "list_nodes", "arguments": {"category": "latent"}}\n```',),
            "sections": (
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.list_nodes:0<|tool_call_argument_begin|>",
                '{"category": "latent"}<|tool_call_end|><|tool_calls_section_end|>',
            ),
            "a provider's own tag": (
                '<minimax:tool_call>\n<invoke name="list_nodes">\n<parameter name="category">latent</parameter>\n'
                "</invoke>\n</minimax:tool_call>",
            ),
            "full-width marks and the bare arguments": (
                '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>list_nodes<｜tool▁sep｜>{"category": "latent"}<｜tool▁call▁end｜>',
            ),
            "full-width marks": (
                '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>list_nodes\n```json\n{"category": "latent"}\n```<｜tool▁call▁end｜>',
            ),
            "arg_key": (
                "<tool_call>list_nodes\n<arg_key>category</arg_key>\n<arg_value>latent</arg_value>\n</tool_call>",
            ),
            "invoke": ('<invoke name="list_nodes">\n<parameter name="category">latent</parameter>\n</invoke>',),
            "two calls": (
                '<tool_call>{"name": "list_nodes", "arguments": {}}</tool_call>\n<tool_call>{"name": "list_nodes", "arguments": {}}</tool_call>',
            ),
            "a brace too few": ('<tool_call>{"name": "list_nodes", "arguments": {"category": "latent"}</tool_call>',),
            "never closed": ('<tool_call>{"name": "list_nodes", "arguments": {"category": "latent"}}',),
            "single quotes": ("<tool_call>{'name': 'list_nodes', 'arguments': {'category': 'latent'}}</tool_call>",),
            "Python": ('[list_nodes(category="latent")]',),
            "Python after a mark": ('<|python_start|>[list_nodes(category="latent")]<|python_end|>',),
            "a fence of tool_code": ('```tool_code\nprint(default_api.list_nodes(category="latent"))\n```',),
            "a tag of its own": ("I look. <list_nodes>", "<category>latent</category>", "</list_nodes>"),
            "a channel": (
                '<|channel|>commentary to=functions.list_nodes <|constrain|>json<|message|>{"category": "latent"}<|call|>',
            ),
        }.items()
    ),
    tool(
        "C",
        "text, then a call in the text",
        stream(*texts("Let me see. ", "<tool_call>", '{"name": "now", "arguments": {}}', "</tool_call>")),
        ("now",),
        text="Let me see. " + FULL,
    ),
    told(
        "C",
        "a call in the text that cannot be read",
        stream(*texts("<tool_call>", '{"name": "list_nodes", "argu', "</tool_call>")),
        says=("plain text",),
        text='<tool_call>{"name": "list_nodes", "argu</tool_call>',
    ),
    whole(
        "C",
        "text with a smaller-than sign",
        stream(*texts("a <", " b and <b>c</b> [T] {", "}")),
        text="a < b and <b>c</b> [T] {}",
    ),
    whole(
        "C",
        "an answer in JSON",
        stream(*texts('{"name": "a picture", ', '"size": 3}')),
        text='{"name": "a picture", "size": 3}',
    ),
)

THOUGHT = "I should look. "
_THINKING = stream(
    choice({"role": "assistant", "content": None, "reasoning_content": THOUGHT}),
    choice({"tool_calls": [_NAMED]}),
    choice({}, "tool_calls"),
)


def sends(reply: Reply, otherwise: Reply, *, key: str = "reasoning_content") -> Chosen:
    """`reply` if what the assistant is said to have sent holds `key`, else `otherwise`."""

    def choose(_: float, body: dict[str, Any]) -> Reply:
        history = [one for one in body["messages"] if one["role"] == "assistant"]
        return reply if f'"{key}"' in json.dumps(history) else otherwise

    return choose


def parses(reply: Reply, otherwise: Reply) -> Chosen:
    """`reply` if the arguments of all calls in the history are objects in JSON, else `otherwise`."""

    def choose(_: float, body: dict[str, Any]) -> Reply:
        sent = [call_["function"]["arguments"] for one in body["messages"] for call_ in one.get("tool_calls") or ()]
        try:
            return reply if all(isinstance(json.loads(one), dict) for one in sent) else otherwise
        except ValueError:
            return otherwise

    return choose


_MISSING = refusal(
    400,
    "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
    type="invalid_request_error",
)
_EXTRA = refusal(400, "Extra inputs are not permitted: messages[2].reasoning_content", type="invalid_request_error")
D = (
    Row("D", "the thoughts must go back", (_THINKING, sends(answer(), _MISSING)), requests=2, tools=("list_nodes",)),
    Row(
        "D",
        "the thoughts must go back, where there were none",
        (calls(_NAMED), sends(answer(), _MISSING)),
        requests=3,
        tools=("list_nodes",),
    ),
    Row(
        "D",
        "thoughts under another name must go back",
        (
            stream(choice({"reasoning": THOUGHT}), choice({"tool_calls": [_NAMED]}), choice({}, "tool_calls")),
            sends(answer(), _MISSING, key="reasoning"),
        ),
        requests=2,
        tools=("list_nodes",),
    ),
    Row("D", "no thoughts are accepted", (_THINKING, sends(_EXTRA, answer())), requests=3, tools=("list_nodes",)),
    Row(
        "D",
        "a signature must go back",
        (
            calls({**_NAMED, "extra_content": {"google": {"thought_signature": "s"}}}),
            sends(answer(), refusal(400, "Function call is missing a thought_signature"), key="thought_signature"),
        ),
        requests=2,
        tools=("list_nodes",),
    ),
    Row(
        "D",
        "arguments that are no JSON",
        (
            calls(call("list_nodes", '{"category": latent}', index=0, id="a")),
            parses(answer(), refusal(400, "Failed to parse tool call arguments as JSON")),
        ),
        requests=2,
        tools=("list_nodes",),
    ),
    Row(
        "D",
        "no arguments in a strict history",
        (
            calls(call("list_nodes", "", index=0, id="a")),
            parses(answer(), refusal(400, "function.arguments must be valid JSON")),
        ),
        requests=2,
        tools=("list_nodes",),
    ),
)


def loading(seconds: float, _: dict[str, Any]) -> Reply:
    """A server that loads its model for 12 s."""
    return answer() if seconds >= 12 else refusal(503, "Loading model", type="unavailable_error", code=503)


_ROLE = choice({"role": "assistant", "content": ""})
E = (
    whole("E", "75 s without a byte after the role", stream(_ROLE, 75.0, *texts(*WORDS))),
    whole("E", "100 s before the headers", Reply(100.0, *answer().parts)),
    Row(
        "E",
        "45 s while a tool call is held back",
        (
            stream(*texts("I look. ", finish=None), 45.0, choice({"tool_calls": [_NAMED]}), choice({}, "tool_calls")),
            answer(),
        ),
        text="I look. " + FULL,
        requests=2,
        tools=("list_nodes",),
    ),
    whole("E", "503 while the model is loaded for 12 s", *([loading] * 1), requests=0),
)

F = (
    told(
        "F",
        "an error in the choice",
        stream(choice({}, "error", error={"code": 402, "message": "Insufficient credits. Add more at the provider."})),
        says=("credit",),
    ),
    told(
        "F",
        "a failed balance and no choices",
        stream(
            {"id": "c", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
            done=False,
        ),
        says=("balance",),
    ),
    Row(
        "F",
        "an event of error with plain text, once",
        (Reply(HEAD, event("Too many requests, please slow down", "error")), answer()),
        requests=2,
    ),
    told(
        "F",
        "an event of error with plain text, for ever",
        Reply(HEAD, event("Too many requests, please slow down", "error")),
        says=("rate limit",),
        requests=4,
    ),
    Row(
        "F",
        "a failure as the text, once",
        (
            stream(*texts('{"message":"Too many tokens, please wait before trying again."}', finish="error_finish")),
            answer(),
        ),
        requests=2,
    ),
    told(
        "F",
        "a failure as the text, for ever",
        stream(*texts('{"message":"Too many tokens, please wait before trying again."}', finish="error_finish")),
        says=("limit",),
        requests=4,
    ),
    whole(
        "F",
        "events parted by single newlines",
        Reply(HEAD, *(event(one)[:-1] for one in texts(*WORDS)), b"data: [DONE]\n"),
    ),
    told(
        "F",
        "the encoding told twice",
        Reply(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            *(b"%x\r\n%s\r\n" % (len(one), one) for one in (*map(event, texts(*WORDS)), DONE)),
            b"0\r\n\r\n",
        ),
        says=("answer",),
        never=("firewall", "connection to"),
        requests=-1,
        or_whole=True,
    ),
    told(
        "F",
        "an error in the delta",
        stream(choice({"error": {"message": "Insufficient credits", "code": 402}})),
        says=("credit",),
    ),
    whole(
        "F",
        "the field of data twice",
        Reply(HEAD, *(b"data: " + event(one) for one in texts(*WORDS)), b"data: data: [DONE]\n\n"),
    ),
    told("F", "an error as plain words", stream({"error": "Insufficient credits", "code": 402}), says=("credit",)),
    told(
        "F",
        "a detail without choices",
        stream({"detail": "Insufficient balance", "status_code": 402}),
        says=("balance",),
    ),
    told(
        "F",
        "a code and a message without choices",
        stream({"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "r"}),
        says=("key",),
    ),
    told(
        "F",
        "an event of error with JSON",
        Reply(
            HEAD,
            event(
                {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}, "error"
            ),
        ),
        says=("key",),
    ),
    told(
        "F",
        "an error inside of data after text",
        stream(
            *texts(*WORDS[:12], finish=None),
            {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
            done=False,
        ),
        text=HALF,
        says=("quota",),
    ),
    whole(
        "F",
        "signs of life that are no JSON",
        Reply(
            HEAD,
            event("ping", "ping"),
            b": hi\n\n",
            event("keep-alive"),
            *(event(one) for one in texts(*WORDS)),
            event({"type": "ping"}, "ping"),
            DONE,
        ),
    ),
    told(
        "F",
        "a failure in plain words and an error at the end",
        stream(*texts("Error: ", "insufficient balance", finish="error")),
        text="Error: insufficient balance",
        says=("balance",),
    ),
    told(
        "F",
        "errors as a list",
        stream({"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}),
        says=("key",),
    ),
    told(
        "F",
        "an error as JSON in a string",
        stream({"error": '{"code": 402, "message": "Insufficient credits"}'}),
        says=("credit",),
    ),
    told(
        "F",
        "an error code and error_msg",
        stream({"error_code": 18, "error_msg": "Open api qps request limit reached"}),
        says=("limit",),
        requests=4,
    ),
    whole(
        "F",
        "a status of success beside the answer",
        stream(*({**one, "base_resp": {"status_code": 0, "status_msg": ""}} for one in texts(*WORDS))),
    ),
    told(
        "F",
        "a field of error",
        Reply(
            HEAD,
            b'error: {"code":400,"message":"the request exceeds the available context size. try increasing it"}\n\n',
        ),
        says=("longer than",),
    ),
    told(
        "F",
        "a status inside a stream",
        stream(chunk(error={"code": 400, "message": "prompt is too long: 1284668 tokens > 1000000 maximum"})),
        says=("longer than",),
    ),
    told(
        "F",
        "a number of the filter's",
        stream(
            {
                "choices": None,
                "input_sensitive": True,
                "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"},
            }
        ),
        says=("filter",),
    ),
    told(
        "F",
        "an error in the provider's own object",
        stream(*texts(*WORDS[:12], finish=None), {**choice({}), "x_groq": {"id": "r", "error": "over capacity"}}),
        says=("overloaded",),
        text=HALF,
        requests=4,
    ),
    told(
        "F",
        "an error in another interface's event",
        stream(
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "It had an error"}}}
        ),
        says=("It had an error",),
        requests=4,
    ),
    told(
        "F",
        "a line of JSON without its field",
        Reply(
            HEAD,
            *map(event, texts(*WORDS[:12], finish=None)),
            b'{"error":{"message":"Insufficient credits","code":402}}\n',
        ),
        says=("credit",),
        text=HALF,
    ),
    whole(
        "F",
        "a web page in mid-answer, once",
        Reply(
            HEAD,
            *map(event, texts(*WORDS[:12], finish=None)),
            b"<html><head><title>502 Bad Gateway</title></head></html>\n",
        ),
        answer(),
    ),
    told(
        "F",
        "a text of JSON in an event of error",
        Reply(HEAD, event('"Insufficient balance"', "error")),
        says=("balance",),
    ),
    told(
        "F",
        "plain words with a good status",
        Reply(HEAD.replace(b"text/event-stream", b"text/plain") + b"Rate limit exceeded, retry in 2 seconds"),
        says=("rate limit",),
        requests=4,
    ),
    Row("F", "plain words instead of JSON, once", (Reply(HEAD, event("Internal Server Error")), answer()), requests=2),
)

G = (
    told(
        "G",
        "prompt_tokens against max_seq_len",
        refusal(400, "length of prompt_tokens (68957) must be less than max_seq_len (65536)"),
        says=("longer than",),
    ),
    told(
        "G",
        "inputs tokens and max_new_tokens",
        status(
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
                "error_type": "validation",
            },
        ),
        says=("longer than",),
    ),
    told(
        "G",
        "the same inside of a stream",
        stream(
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
                "error_type": "validation",
            },
            done=False,
        ),
        says=("longer than",),
    ),
)
H = (
    told(
        "H",
        "code 2013 with words",
        status(
            400,
            {
                "error": {
                    "message": "invalid params, function name or parameters is empty (2013)",
                    "type": "bad_request_error",
                    "code": "2013",
                }
            },
        ),
        says=("function name or parameters is empty",),
        never=("longer than",),
    ),
)
LIMITS = (
    told(
        "I",
        "reset at a date",
        refusal(429, "Usage limit reached for 5 hour. Your limit will reset at 2026-12-25 07:41:44", code="1308"),
        says=("limit",),
        never=("wait a minute",),
    ),
    told(
        "I",
        "resets in seconds",
        status(
            429,
            {
                "error": {
                    "type": "usage_limit_reached",
                    "message": "The usage limit has been reached",
                    "resets_in_seconds": 529498,
                }
            },
        ),
        says=("days",),
    ),
    Row(
        "I",
        "too many tokens, twice",
        (
            refusal(429, "Too many tokens, please wait before trying again."),
            refusal(429, "Too many tokens, please wait before trying again."),
            answer(),
        ),
        requests=3,
    ),
    told(
        "I",
        "access again on a date",
        refusal(
            400,
            "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
            type="invalid_request_error",
        ),
        says=("quota",),
    ),
    Row(
        "I",
        "a reset in a header",
        (refusal(429, "Rate limit reached", headers={"x-ratelimit-reset-requests": "6s"}), answer()),
        requests=2,
    ),
    Row(
        "I",
        "the minute is used up, and the day is not",
        (
            refusal(
                429,
                "Tokens per minute limit exceeded - too many tokens processed.",
                code="token_quota_exceeded",
                headers={
                    "x-ratelimit-limit-requests-day": "14400",
                    "x-ratelimit-remaining-requests-day": "14391",
                    "x-ratelimit-reset-requests-day": "33011.38",
                    "x-ratelimit-limit-tokens-minute": "60000",
                    "x-ratelimit-remaining-tokens-minute": "120",
                    "x-ratelimit-reset-tokens-minute": "11.38",
                },
            ),
            answer(),
        ),
        requests=2,
    ),
    told(
        "I",
        "a wait of hours in seconds",
        refusal(429, "Rate limit of 50 per 86400s exceeded. Please wait 42345 seconds"),
        says=("12 h",),
    ),
)
J = (
    told(
        "J",
        "a model that is not activated",
        refusal(
            404,
            "Your account 2100 has not activated the model m. Please activate the model service in the Ark Console.",
            code="ModelNotOpen",
        ),
        says=("activate",),
        never=("base URL",),
    ),
    told(
        "J",
        "no endpoint for images",
        refusal(404, "No endpoints found that support image input", code=404),
        says=("image",),
    ),
    told(
        "J",
        "no endpoint for the data policy",
        refusal(404, "No endpoints found matching your data policy (Free model publication).", code=404),
        says=("data policy",),
    ),
)
# The frame of a content network's page is the same whatever has happened.
GATEWAY = "<!DOCTYPE html><head><title>api.example.com | {}</title></head><body><div id='cf-error-details'></div></body></html>"
_CRASHED = refusal(400, "The model has crashed without additional information. (Exit code: 18446744072635812000)")
K = (
    Row("K", "a crash, once", (_CRASHED, answer()), requests=2),
    told("K", "a crash, for ever", _CRASHED, says=("crashed",), requests=-1),
    told(
        "K",
        "no images without mmproj",
        refusal(
            500,
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            type="server_error",
        ),
        says=("image",),
    ),
)
L = (
    Row("L", "498 once", (refusal(498, "capacity exceeded", code="capacity_exceeded"), answer()), requests=2),
    told(
        "L",
        "a region that is not served",
        refusal(400, "User location is not supported for the API use.", status="FAILED_PRECONDITION"),
        says=("region",),
    ),
    told(
        "L",
        "a protection page",
        status(
            403,
            '<!DOCTYPE html><html lang="en-US"><head><title>Just a moment...</title></head><body>cloudflare</body></html>',
            Server="cloudflare",
        ),
        says=("protection",),
    ),
    told(
        "L",
        "a gateway's page for ever",
        status(502, GATEWAY.format("502: Bad gateway")),
        says=("failed",),
        never=("robot",),
        requests=4,
    ),
    Row("L", "a gateway's page, once", (status(520, GATEWAY.format("520: Unknown error")), answer()), requests=2),
    Row(
        "L",
        "424 once",
        (status(424, {"error": "Request failed during generation", "error_type": "generation"}), answer()),
        requests=2,
    ),
    Row("L", "499 once", (refusal(499, "context canceled"), answer()), requests=2),
    Row(
        "L",
        "a call that its server cannot read, once",
        (refusal(500, "error parsing tool call: raw='{]'"), answer()),
        requests=2,
    ),
    told(
        "L",
        "a server that wants no second try",
        refusal(500, "Broken", headers={"x-should-retry": "false"}),
        says=("Broken",),
    ),
    told("L", "a proxy that wants a login", status(407, ""), says=("proxy", "login"), never=("may lack",)),
)

BODY = b"".join(map(event, texts(*WORDS))) + DONE


def head(*lines: str, status_line: str = "HTTP/1.1 200 OK", kind: str = "text/event-stream") -> bytes:
    """The head of an answer with these lines beside its type."""
    return "\r\n".join((status_line, f"Content-Type: {kind}", *lines, "Connection: close", "", "")).encode()


_DEFLATE = zlib.compressobj(wbits=-15)
HTTP = (
    whole("O", "gzip", Reply(head("Content-Encoding: gzip") + gzip.compress(BODY))),
    whole("O", "raw deflate", Reply(head("Content-Encoding: deflate") + _DEFLATE.compress(BODY) + _DEFLATE.flush())),
    whole("O", "an encoding that is none", Reply(head("Content-Encoding: utf-8") + BODY)),
    *(
        told(
            "O",
            f"{name} that nobody can unpack",
            Reply(head(f"Content-Encoding: {name}") + body),
            says=("no valid answer",),
            never=("chat template",),
            requests=4,
        )
        for name, body in (("br", bytes(range(128, 256)) * 4), ("gzip", BODY))
    ),
    *(
        whole("O", f"the type {kind}", Reply(head(kind=kind) + BODY))
        for kind in (
            "text/plain",
            "application/octet-stream",
            "text/html",
            "application/json",
            "Text/Event-Stream;charset=GBK",
        )
    ),
    whole("O", "a head before the head", Reply(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + head() + BODY)),
    whole("O", "lines of the head without CR", Reply(head().replace(b"\r", b"") + BODY)),
    whole("O", "no reason phrase", Reply(head(status_line="HTTP/1.1 200") + BODY)),
    whole("O", "another good status", Reply(head(status_line="HTTP/1.1 246 Checked") + BODY)),
    whole(
        "O",
        "a long and a strange header",
        Reply(head("Set-Cookie: a=" + "x" * 20_000, "X_Under:", "X-Name: caf\xe9") + BODY),
    ),
    whole("O", "a length that is too long", Reply(head(f"Content-Length: {len(BODY) + 50}") + BODY)),
    told(
        "O",
        "a length that is too short",
        Reply(head("Content-Length: 50") + BODY),
        says=("rules of HTTP",),
        never=("(HTTP 400)",),
    ),
    whole(
        "O",
        "chunks with words of their own",
        Reply(head("Transfer-Encoding: Chunked") + b"%x;a=b\r\n%s\r\n0\r\nX-T: 1\r\n\r\n" % (len(BODY), BODY)),
    ),
    whole(
        "O", "chunks without an end", Reply(head("Transfer-Encoding: chunked") + b"%x\r\n%s\r\n" % (len(BODY), BODY))
    ),
    whole(
        "O",
        "a chunk that is cut, once",
        Reply(head("Transfer-Encoding: chunked") + b"%x\r\n%s" % (len(BODY), BODY[:600])),
        answer(),
    ),
    told(
        "O",
        "204",
        Reply(b"HTTP/1.1 204 No Content\r\n\r\n"),
        says=("no valid answer", "base URL"),
        never=("chat template",),
        requests=4,
    ),
    whole(
        "O",
        "events after the mark of the end",
        Reply(HEAD, BODY, *map(event, texts("more")), event({"error": {"code": 500}}), b"garbage"),
    ),
    *(
        whole("O", f"{name} the field of data", Reply(HEAD, *(BODY.replace(b"data: ", instead),)))
        for name, instead in (("a tab after", b"data:\t"), ("capitals for", b"DATA: "), ("a blank before", b" data: "))
    ),
)
M = (
    told(
        "M",
        "a redirect to another origin",
        status(307, "", Location="{other}/chat/completions"),
        says=("led",),
        requests=1,
        other=refusal(401, "Missing API key"),
    ),
    told(
        "M",
        "a redirect on the same host that changes the method",
        status(301, "", Location="/api/v1/chat/completions"),
        status(405, {"detail": "Method Not Allowed"}),
        says=("led on", "/api/v1"),
        requests=2,
    ),
    whole("M", "a redirect that keeps the method", status(308, "", Location="/v1/chat/completions/"), answer()),
)

ROWS: tuple[Row, ...] = (*A, *B, *C, *D, *E, *F, *G, *H, *LIMITS, *J, *K, *L, *M, *HTTP)
