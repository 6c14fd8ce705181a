"""Reading JSON that others have sent: what it says, where its members stand, and what a large one costs."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backend.streams.wire import LARGE, MAX_MEMBERS, members, parse

NESTED = json.dumps({"type": "invoke", "body": [[[[1]]]] * LARGE})


@pytest.fixture
def looks() -> Iterator[list[str]]:
    """The looks for garbage that are begun meanwhile."""
    begun: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            begun.append(f"generation {info['generation']}")

    gc.collect()
    gc.callbacks.append(note)
    try:
        yield begun
    finally:
        gc.callbacks.remove(note)


@pytest.mark.parametrize("read", [parse, members])
def test_a_large_body_is_read_without_looking_for_garbage(read: Callable[[str], Any], looks: list[str]) -> None:
    """Up to Python 3.11 the collector would go through all of it again and again."""
    found = read(NESTED)
    during = list(looks)

    assert LARGE == len(found["body"][0] if read is members else found["body"])
    assert len(during) <= 1, "one look, when all has been read"
    assert gc.isenabled()


@pytest.mark.parametrize("text", [NESTED[:-1], "[" * LARGE], ids=["half", "too deep"])
@pytest.mark.parametrize("read", [parse, members])
def test_the_collector_is_on_again_after_what_is_no_json(read: Callable[[str], Any], text: str) -> None:
    """Also where the reading ends in an error."""
    with pytest.raises(ValueError):
        read(text)

    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    """Whoever has switched it off for a reason of its own finds it so."""
    gc.disable()
    try:
        parse(NESTED)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1}', ' {\t"a" :\r\n [1, {"b": 2}] , "c":"}\\"," } ', '{"a":1,"a":2}', '{"":null,"\\u00e9":NaN}',
        '{"a":"\\ud83d","b":"\U0001f600"}',
    ],
)  # fmt: skip
def test_members_are_what_json_says(text: str) -> None:
    """The values are those of `json.loads()`, and each stands where it is said to."""
    found = members(text)

    assert repr(json.loads(text)) == repr({name: value for name, (value, _, _) in found.items()})
    assert [repr(value) for value, _, _ in found.values()] == [
        repr(json.loads(text[start:end])) for _, start, end in found.values()
    ]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "{}", "[1]", '"a"', "1", '{"a":1', '{"a":1,}', '{"a" 1}', '{1:2}', '{"a":1}x', '{"a":1 "b":2}',
        '{"a":}', '{,"a":1}', "{" + ",".join(f'"{n}":{n}' for n in range(MAX_MEMBERS + 1)) + "}",
        "{" + ",".join(['"a":1'] * (MAX_MEMBERS + 1)) + "}",
    ],
)  # fmt: skip
def test_no_object_has_no_members(text: str) -> None:
    """Nor has one that is empty, or has more than anybody needs: each costs a step of Python."""
    with pytest.raises(ValueError):
        members(text)
