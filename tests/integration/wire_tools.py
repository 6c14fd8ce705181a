"""Tool calls, and histories that a server refuses: rows of wire_rows.py."""

# ruff: noqa: E501  (what servers send is quoted as it comes)

from __future__ import annotations

import json
from typing import Any

from tests.support.raw_server import Chosen, Reply
from tests.support.wire_shapes import (
    CATEGORY,
    FULL,
    Row,
    answer,
    call,
    calls,
    choice,
    chunk,
    refusal,
    stream,
    texts,
    told,
    tool,
    whole,
)

LOADERS = '{"category": "loaders"}'
_NAMED = call("list_nodes", CATEGORY, index=0, id="a")
TOOL_CALLS = (
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
HISTORIES = (
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
