"""Tool calls are put together from their pieces, and are given ids of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.copilot.model.shapes.text_filter import TextFilter
from backend.copilot.model.shapes.tool_calls import ToolCalls, call_ids, meant_name
from backend.copilot.model.shapes.tool_markup import calls_in
from tests.support.wire_shapes import call

KNOWN = frozenset({"f", "g", "list_nodes"})


def made(*pieces: Any, taken: tuple[str, ...] = (), whole: bool = True) -> list[tuple[str, str, str]]:
    """Id, name and arguments of the calls that these pieces make."""
    tools = ToolCalls(KNOWN, taken)
    for one in pieces:
        tools.feed([one])
    calls = tools.finished(whole=whole)
    assert list(range(len(calls))) == [one["index"] for one in calls]
    return [(one["id"], one["function"]["name"], one["function"]["arguments"]) for one in calls]


def test_good_tool_calls_stay_as_they_are() -> None:
    """Ids of the server's own, repeated or not in later pieces, and pieces that interleave."""
    pieces = (
        call("f", "", index=0, id="a"),
        call("g", "", index=1, id="b"),
        call(arguments='{"x":', index=0),
        call(arguments="{}", index=1, id="b"),
        call(arguments="1}", index=0, id="a"),
    )

    assert [("a", "f", '{"x":1}'), ("b", "g", "{}")] == made(*pieces)


def test_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    """Else the arguments of both would run into one."""
    pieces = (
        call("f", "", index=0, id="a"),
        call(arguments="{}", index=0),
        call("f", "", index=0, id="b"),
        call(arguments="{}", index=0),
    )

    assert [("a", "f", "{}"), ("b", "f", "{}")] == made(*pieces)


@pytest.mark.parametrize("taken", [(), ("a",)])
def test_ids_that_are_missing_or_taken_are_replaced(taken: tuple[str, ...]) -> None:
    """Each call has one id of its own."""
    first = call("f", "{}", index=0, id="a") if taken else call("f", "{}", index=0)
    (one, *_), (two, *_) = made(first, call("g", "{}", index=1), taken=taken)

    assert "" != one != two != ""
    assert "a" != one


def test_an_id_that_changes_in_each_piece_begins_no_call() -> None:
    """Only a name does."""
    pieces = (
        call("f", "", index=0, id="a"),
        call(arguments='{"x":', index=0, id="b"),
        call(arguments="1}", index=0, id="c"),
    )

    assert [("a", "f", '{"x":1}')] == made(*pieces)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x": 1}, '{"x": 1}'), (None, "{}"), ("", "{}"), ("null", "{}"), ('""', "{}"), ('"{\\"x\\": 1}"', '{"x": 1}'),
        ('{"x": 1}<|call|>', '{"x": 1}'), ('{"x": 1}}', '{"x": 1}'), ('{"x": ', '{"x":'), ([], "{}"),
        ('{"a": "one\ntwo"}', '{"a": "one\\ntwo"}'),
        ('{"a": [1, 2,], }', '{"a": [1, 2]}'),
        ("{'a': True, 'b': None}", '{"a": true, "b": null}'),
        ("{'a': open('/etc/passwd')}", "{'a': open('/etc/passwd')}"),
        ('{"a": "cut in mid', '{"a": "cut in mid'),
    ],
)  # fmt: skip
def test_arguments_become_an_object_in_json(arguments: Any, text: str) -> None:
    """Where they are one in disguise; what is broken stays broken."""
    ((_, _, found),) = made(call("f", arguments, index=0, id="a"))

    assert text == found


def test_arguments_that_may_be_missing_stay_empty() -> None:
    """The stream broke before they came, perhaps: the call must not be made."""
    assert [("a", "f", "")] == made(call("f", "", index=0, id="a"), whole=False)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("list_nodes", "list_nodes"), ("list_nodes<|channel|>commentary", "list_nodes"), ("List-Nodes", "list_nodes"),
        ("functions.list_nodes:3", "list_nodes"), ("default_api.list_nodes", "list_nodes"), ("", ""),
        ("<|channel|>commentary to=list_nodes", "list_nodes"), ("make_coffee", "make_coffee"), ("nodes", "nodes"),
        ("list_nodes()", "list_nodes"),
    ],
)  # fmt: skip
def test_a_noisy_name_means_the_tool_that_it_can_only_mean(name: str, meant: str) -> None:
    """And an unknown one stays unknown."""
    assert meant == meant_name(name, KNOWN)


def test_the_ids_of_earlier_turns_are_read_from_the_input() -> None:
    """Of whatever shape it is."""
    assert {"a"} == call_ids([{"type": "function_call", "call_id": "a"}, {"role": "user"}, object()])
    assert set() == call_ids("text")


@pytest.mark.parametrize(
    "text",
    [
        "", "plain", "a < b, a <b> and <", "[T", "{} {", "```python\nx = {}\n```", " \n", "`x`",
        '{"3": {"class_type": 1}}',
        "<think", "<thinker>", "1 [TOOL", '```json\n{"nodes": []}\n```', "<|im_end|>", "a <tool",
        "list_nodes is a tool", "[list", "f", "now (", "a list_nodes() call",
    ],
)  # fmt: skip
def test_text_that_is_no_call_comes_through_whole(text: str) -> None:
    """Piece by piece or at once, and nothing of it is taken for a call."""
    for pieces in ([text], list(text)):
        shown = TextFilter(KNOWN)
        out = "".join(shown.feed(one) for one in pieces)
        assert text == out + "".join(shown.rest())
    assert [] == calls_in(text, KNOWN)


def test_thoughts_are_shown_once_an_answer_follows() -> None:
    """As the model wrote them; until then they are thoughts."""
    shown = TextFilter()

    assert "" == shown.feed("<think>hm") + shown.feed("</think>") + shown.feed("\n")
    assert shown.thinking
    assert "<think>hm</think>\nyes" == shown.feed("yes")
    assert not shown.thinking


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("head", "again"),
    [
        ("", "\n"), ("[", "\n"), ("{", " "), ("```json", "\n"), ("", "["), ("", "{"), ("", "<"), ("", '{"a":'),
        ("<think>a</think>", "\n"), ("\n<think>a</think>b", "\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 100_000])
def test_a_model_that_repeats_itself_without_end_does_not_hold_the_loop(head: str, again: str, piece: int) -> None:
    """Blanks above all: a look from each of their places to each other one would take hours."""
    text = head + again * 100_000
    text = text[: 20_000 if piece == 1 else 200_000] + "b"
    shown = TextFilter(KNOWN)

    out = "".join(shown.feed(text[at : at + piece]) for at in range(0, len(text), piece))

    thought, held = shown.rest()
    assert text == out + thought + held


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>" + "{" * 200_000,
        "<tool_call>" + '{"a":' * 40_000,
        "<g>" * 40_000,
        "<g>" + "<a>" * 60_000,
        "<function=g>" + "<parameter=a>" * 20_000,
        "<function=g>" + "<arg_key>" * 20_000,
        "<function=g>" + "<arg_key>a</arg_key>" * 20_000,
        "<tool_call>" + "".join(f'{{"name": "other{n}", "arguments": {{}}}}' for n in range(20_000)),
        "<tool_call>g(a=" + "-" * 15_000 + "1)",
        "<tool_call>g(a=" + "[" * 15_000,
        '<tool_call>{"tool_calls":' * 900 + "}" * 900,
    ],
    ids=lambda text: text[:40],
)
def test_marks_of_calls_without_end_are_read_in_no_more_than_their_length(text: str) -> None:
    """What a lost model writes is no call; looking for one neither takes hours nor runs out of stack."""
    calls_in(text, KNOWN)


@pytest.mark.timeout(60)
def test_glued_calls_without_end_are_told_apart_in_no_more_than_their_length() -> None:
    """Each is a call: a look through all the others for each took the square of their number."""
    calls = ToolCalls(KNOWN)
    calls.feed([{"index": 0, "function": {"name": "g", "arguments": "".join(f'{{"a":{n}}}' for n in range(20_000))}}])

    assert 20_000 == len(calls.finished(whole=True))


@pytest.mark.timeout(60)
def test_long_arguments_are_not_read_again_for_each_of_their_pieces() -> None:
    """Nor if every piece ends as an object does."""
    calls = ToolCalls(KNOWN)
    calls.feed([{"index": 0, "function": {"name": "g", "arguments": "{"}}])
    for number in range(20_000):
        calls.feed([{"index": 0, "function": {"arguments": f'"{number:0100}": {{}},'}}])
        calls.feed([{"index": 0, "function": {"arguments": '"a": {}'}}])
        calls.feed([{"index": 0, "function": {"arguments": ","}}])
    calls.feed([{"index": 0, "function": {"arguments": '"b": 1}'}}])

    assert 20_002 == len(json.loads(calls.finished(whole=True)[0]["function"]["arguments"]))


def test_parameters_in_tags_are_read_up_to_the_last_one_that_is_closed() -> None:
    """In each of the forms; one that is not closed ends the search, and costs none of those before it."""
    assert [("g", '{"a": 1, "b": "two"}')] == calls_in(
        "<function=g><parameter=a>1</parameter><parameter=b>\ntwo\n</parameter><parameter=c>", KNOWN
    )
    assert [("g", '{"a": "x", "b": 2}')] == calls_in(
        "<tool_call>g\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>"
        "<arg_key>b</arg_key><arg_value>2</arg_value><arg_key>c",
        KNOWN,
    )
    assert [("g", '{"a": "1 <b>", "c": true}')] == calls_in("<g><a>1 <b></a><d><c>true</c></g>", KNOWN)
