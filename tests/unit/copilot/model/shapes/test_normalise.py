"""Whatever a server's stream looks like, what comes out is the one answer that it means."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.copilot.model.shapes.finish_reasons import Finish
from backend.copilot.model.shapes.normalise import Normaliser, OtherInterface, ToldFailure
from backend.copilot.model.shapes.sse import EventReader, ServerEvent
from backend.copilot.model.shapes.tool_calls import ToolCalls
from tests.support.wire_shapes import choice, chunk, texts

KNOWN = frozenset({"list_nodes", "now"})
TEXT = "Once upon a time, <b>a {node}</b> had two [inputs] and `none` of them — 你好 🎉 — was used.\n\nThe end."
CALLS = [
    ("list_nodes", {"category": "latent", "note": 'a {b} "c"'}),
    ("now", {}),
    ("list_nodes", {"category": "image"}),
]
USAGE = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}


class Seen:
    """What the watch is told."""

    def __init__(self) -> None:
        self.text = self.tools = False
        self.reasoning = 0
        self.meaning: Finish | None = None

    def saw(self, *, text: bool, reasoning: int, tools: bool, finish: str, meaning: Finish | None) -> None:
        self.text, self.tools = self.text or text, self.tools or tools
        self.reasoning += reasoning
        self.meaning = self.meaning or meaning


class Answer(NamedTuple):
    """What the library would read."""

    text: str
    calls: list[tuple[str, Any]]
    finish: str | None
    usage: tuple[int, int, int] | None
    ids: set[str]


def read(*pieces: bytes) -> Answer:
    """The answer of a body that arrives in these pieces."""
    reader, normaliser = EventReader(), Normaliser(ToolCalls(KNOWN), KNOWN, Seen())
    done = False
    chunks: list[Any] = []
    for event in [found for data in pieces for found in reader.feed(data)] + list(reader.rest()):
        if event.text and event.done:
            done = True
            break
        chunks += normaliser.feed(event)
    chunks += normaliser.close(done=done)
    assert all(len(one.choices) == 1 and one.choices[0].index == 0 for one in chunks)
    deltas = [one.choices[0].delta for one in chunks]
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    usage = chunks[-1].usage
    return Answer(
        "".join(delta.content or "" for delta in deltas),
        [(call.function.name, json.loads(call.function.arguments)) for call in calls],
        chunks[-1].choices[0].finish_reason,
        usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens),
        {call.id for call in calls},
    )


class Varied(NamedTuple):
    """A body that says the reference answer, in some server's way."""

    pieces: list[bytes]
    calls: bool
    usage: bool


def cut(draw: st.DrawFn, data: Any, most: int) -> list[Any]:
    """`data` in pieces, cut at places that are drawn."""
    places = sorted(set(draw(st.lists(st.integers(1, max(1, len(data) - 1)), max_size=most))))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if data[a:b]]


@st.composite
def bodies(draw: st.DrawFn) -> Varied:
    """Everything that must not matter, drawn anew."""
    with_calls = draw(st.booleans())
    key = draw(st.sampled_from(["delta", "delta", "message"]))
    index = draw(st.sampled_from(["zero", "zero", "missing", "null", "counts"]))
    deltas: list[dict[str, Any]] = [{"content": piece} for piece in cut(draw, TEXT, 12)]
    if draw(st.booleans()):
        deltas.insert(0, {"role": "assistant", "content": draw(st.sampled_from(["", None]))})
    if draw(st.booleans()):
        deltas = [{"role": "assistant", "refusal": None, "tool_calls": None, **one} for one in deltas]
    if with_calls:
        deltas += tool_deltas(draw)
    finish = draw(st.sampled_from(["tool_calls", "stop", "TOOL_CALL"] if with_calls else ["stop", "end_turn", "STOP"]))
    chunks = [made(one, key, index, number) for number, one in enumerate(deltas)]
    usage = draw(st.sampled_from(["none", "own", "own first", "with finish", "always"]))
    end = made({}, key, index, len(chunks), finish)
    own = [{**chunk(), "usage": USAGE, **({} if draw(st.booleans()) else {"choices": []})}]
    if usage == "with finish":
        end["usage"] = USAGE
    elif usage == "always":
        chunks = [{**one, "usage": USAGE} for one in chunks]
    tail = {"own": [end, *own], "own first": [*own, end]}.get(usage, [end])
    line = draw(st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n", b"\n\n\n"]))
    head = draw(st.sampled_from([b"data: ", b"data:"]))
    events = [head + json.dumps(one, ensure_ascii=draw(st.booleans())).encode() + line for one in [*chunks, *tail]]
    if draw(st.booleans()):
        events.insert(draw(st.integers(0, len(events))), b": ping" + line)
    if draw(st.booleans()):
        events.append(head + b"[DONE]" + line)
    return Varied(cut(draw, b"".join(events), 30), with_calls, usage != "none")


def made(delta: dict[str, Any], key: str, index: str, number: int, finish: str | None = None) -> dict[str, Any]:
    """A chunk; its keys and index as drawn."""
    one: dict[str, Any] = {key: delta, "finish_reason": finish}
    if index != "missing":
        one["index"] = {"zero": 0, "null": None, "counts": number}[index]
    return chunk(one)


def tool_deltas(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The reference calls in pieces, with the indexes and ids that some server gives them."""
    indexes = draw(st.sampled_from(["right", "right", "zero", "missing", "null"]))
    ids = draw(st.sampled_from(["right", "first", "missing", "empty"]))
    at_once = draw(st.booleans())
    deltas: list[dict[str, Any]] = []
    for number, (name, arguments) in enumerate(CALLS):
        raw = json.dumps(arguments)
        parts = [raw] if draw(st.booleans()) else cut(draw, raw, 4)
        for position, part in enumerate(parts):
            function = {"arguments": part} | ({"name": name} if position == 0 else {})
            piece: dict[str, Any] = {"function": function}
            if indexes != "missing":
                piece["index"] = {"right": number, "zero": 0, "null": None}[indexes]
            if ids == "right" or (ids == "first" and position == 0):
                piece["id"] = f"call_{number}"
            elif ids == "empty":
                piece["id"] = ""
            deltas.append({"tool_calls": [piece]})
    if at_once:
        deltas = [{"tool_calls": [piece for one in deltas for piece in one["tool_calls"]]}]
    return deltas


@given(bodies())
def test_what_must_not_matter_does_not(body: Varied) -> None:
    """Where chunks are cut, line ends, ids, indexes, missing keys, the order of usage and finish."""
    answer = read(*body.pieces)

    assert TEXT == answer.text
    assert (CALLS if body.calls else []) == answer.calls
    assert len(answer.calls) == len(answer.ids)
    assert ("tool_calls" if body.calls else "stop") == answer.finish
    assert ((7, 9, 16) if body.usage else None) == answer.usage


@pytest.mark.parametrize(
    ("value", "message", "code"),
    [
        ({"error": {"message": "m", "code": 402}}, "m", 402),
        ({"error": "m", "code": 402}, "m", 402),
        ({"error": {"code": 402}, "message": "m"}, "m", 402),
        ({"errors": [{"message": "m", "code": 10000}], "success": False}, "m", 10000),
        ({"choices": None, "base_resp": {"status_code": 1008, "status_msg": "m"}}, "m", 1008),
        ({"choices": [], "base_resp": {"status_code": 1008, "status_msg": "m"}}, "m", 1008),
        ({"detail": [{"msg": "m", "loc": []}]}, "m", None),
        ({"code": "Throttling", "message": "m", "request_id": "r"}, "m", "Throttling"),
        ({"error_code": 336503, "error_msg": "m"}, "m", 336503),
        ({"object": "error", "message": "m", "code": 400}, "m", 400),
        ({"status": 429, "title": "m"}, "m", 429),
        ({"code": 500, "msg": "m", "data": None}, "m", 500),
        (choice({}, "error", error={"message": "m", "code": 402}), "m", 402),
    ],
)
def test_a_failure_is_read_wherever_it_stands(value: Any, message: str, code: Any) -> None:
    """Its words and its code are those of the server."""
    normaliser = Normaliser(ToolCalls(), frozenset(), Seen())

    with pytest.raises(ToldFailure) as told:
        normaliser.feed(ServerEvent("", value))

    assert (message, code) == (told.value.body["message"], told.value.body.get("code"))


@pytest.mark.parametrize(
    "value",
    [
        {"type": "ping"}, {"id": "x", "choices": [], "prompt_filter_results": []}, {"choices": [], "usage": USAGE},
        {"code": 0, "msg": "success", "data": {}}, {"base_resp": {"status_code": 0, "status_msg": ""}, "choices": []},
        {"error": None, "choices": []}, {"error": {}, "choices": []}, {"info": "searching the web"}, {}, None,
        {"type": "status", "message": "queued"}, {"code": "200", "message": "OK"},
    ],
)  # fmt: skip
def test_what_is_no_failure_is_none(value: Any) -> None:
    """Signs of life, figures and words of success."""
    Normaliser(ToolCalls(), frozenset(), Seen()).feed(ServerEvent("", value))


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["one ", "two ", "three"] + ["one two three"], "one two three"),
        (["one ", "two ", "three"] + ["one two three\n"], "one two three\n"),
        ([" one ", "two "] + ["one two"], " one two "),
        (["a", "ab", "abc", "abcd"], "abcd"),
        (["a", "ab", "b"], "aabb"),
        (["ha", "ha"], "haha"),
        (["ha", "ha", "ha"], "hahaha"),
        (["a long enough text"] * 2, "a long enough text"),
        (["one ", "two ", "one two three ", "four"], "one two one two three four"),
    ],
)
def test_what_comes_twice_is_shown_once(pieces: list[str], text: str) -> None:
    """And what only looks like it is shown as it is."""
    body = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in texts(*pieces))

    assert text == read(body).text


def test_thoughts_go_where_the_library_reads_them() -> None:
    """Of any name and shape, and never into the text."""
    seen = Seen()
    normaliser = Normaliser(ToolCalls(), frozenset(), seen)
    deltas: list[dict[str, Any]] = [
        {"reasoning_content": "a"}, {"thinking": "b"}, {"reasoning": {"text": "c"}},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "d"}]}]}, {"thought": ["e", "f"]},
    ]  # fmt: skip
    chunks = [one for delta in deltas for one in normaliser.feed(ServerEvent("", choice(delta)))]
    made = [one.choices[0].delta for one in chunks]

    words = [getattr(one, "reasoning_content", None) or getattr(one, "reasoning", None) for one in made]
    assert ["a", "b", "c", "d", "ef"] == words
    assert not any(one.content for one in made)
    assert 6 == seen.reasoning
    assert not seen.text


EVERYTHING: list[dict[str, Any]] = [
    {
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": "f",
        "type": "t",
        "choices": [{
            "index": 0, "finish_reason": "stop", "stop_reason": "s", "message": {"content": "x"}, "text": "t",
            "delta": {
                "role": "assistant", "refusal": "no", "reasoning_details": [{"text": "x"}], "annotations": [{}],
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "d"}]}, {"type": "text", "text": "e"},
                ],
                "reasoning": {"text": "c"}, "thinking_blocks": [{"thinking": "x"}], "reasoning_content": "r",
                "tool_calls": [{
                    "index": 0, "id": "i", "type": "function", "extra_content": {"a": 1},
                    "function": {"name": "now", "arguments": "{}"},
                }],
                "function_call": {"name": "now", "arguments": "{}"},
            },
        }],
        "usage": {**USAGE, "prompt_tokens_details": {"cached_tokens": 1}}, "x_groq": {"usage": USAGE, "error": "e"},
    },
    {"error": {"message": "m", "code": 1, "type": "t", "param": "p", "details": [{"reason": "r"}]}, "code": 1},
    {"errors": [{"message": "m", "code": 1}], "success": False, "messages": []},
    {"detail": [{"msg": "m", "loc": ["a"], "type": "t"}], "status": 1, "title": "t"},
    {"base_resp": {"status_code": 1008, "status_msg": "m"}, "choices": None, "error_code": 1, "error_msg": "m"},
    {"data": {"choices": [{"delta": {"content": "x"}}]}, "result": {"response": "x"}, "response": {"error": "e"}},
    {"message": {"role": "assistant", "content": "x", "tool_calls": [{"function": {"name": "now", "arguments": {}}}]},
     "done": True, "done_reason": "stop", "prompt_eval_count": 1},
]  # fmt: skip
ODD: list[Any] = [
    None,
    True,
    0,
    1e999,
    -(10**400),
    "",
    "x",
    "\ud83d",
    [],
    {},
    [[]],
    [{}],
    [None],
    {"type": []},
    {"": {}},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each value in a value."""
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in places(one, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """A copy of the value with another at a path."""
    if not path:
        return by
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


@pytest.mark.parametrize("whole", EVERYTHING, ids=lambda whole: next(iter(whole)))
def test_any_value_in_any_place_is_an_answer_or_a_failure_of_the_server(whole: dict[str, Any]) -> None:
    """No value of JSON, wherever it stands, raises anything but what the server is told to be at fault for."""
    for path in places(whole):
        for odd in ODD:
            normaliser = Normaliser(ToolCalls(KNOWN), KNOWN, Seen())
            try:
                normaliser.feed(ServerEvent("", replaced(whole, path, odd)))
                normaliser.close(done=True)
            except (ToldFailure, OtherInterface, json.JSONDecodeError):
                continue
            except Exception as error:
                pytest.fail(f"{odd!r} at {path}: {error!r}")


@pytest.mark.parametrize("name", ["content", "reasoning_content"])
def test_a_chunk_that_is_nested_without_end_is_a_malformed_one(name: str) -> None:
    """And no failure of this program: that would stop the chat for good."""
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    data = {"choices": [{"index": 0, "delta": {name: deep}}]}
    normaliser = Normaliser(ToolCalls(KNOWN), KNOWN, Seen())

    with pytest.raises(json.JSONDecodeError):
        normaliser.feed(ServerEvent("", data))
