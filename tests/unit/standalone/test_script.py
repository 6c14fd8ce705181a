"""What the scripted model says: commands, languages, and how often it misbehaves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.standalone import script
from backend.standalone.script import COMMANDS, MAX_TIMES, Ask, Plan


def ask(text: str) -> Ask:
    return script.read([{"role": "user", "content": text}])


def text_of(plan: Plan) -> str:
    return "".join(plan.tokens)


@given(st.text())
def test_tokens_keep_every_character(text: str) -> None:
    """Cutting a text into tokens loses nothing and adds nothing."""
    assert text == "".join(script.tokens(text))


def test_chinese_streams_by_character() -> None:
    """Chinese has no blanks, and must not arrive in one lump."""
    assert script.tokens("你好，a b") == ("你", "好", "，", "a ", "b")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_command_ends_in_an_answer(name: str, language: script.Language) -> None:
    """When a command has misbehaved often enough, a whole answer without a fault comes."""
    asked = script.read(
        [{"role": "system", "content": "Answer in Chinese." if language == "zh" else ""},
         {"role": "user", "content": f"/{name}"}]
    )  # fmt: skip

    plan = script.plan(asked, asked.times, results=["{}"])

    assert language == asked.language
    assert plan.fault == ""
    assert len(text_of(plan)) > 20
    assert "{" not in text_of(plan).replace("`{}`", "")


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.times])
def test_faults_come_first_and_as_often_as_told(name: str) -> None:
    """`/drop 3` breaks three answers, not two and not four."""
    asked = ask(f"/{name} 3")

    faults = [script.plan(asked, played).fault for played in range(5)]

    assert [COMMANDS[name].fault] * 3 + ["", ""] == faults


def test_a_fault_in_mid_answer_breaks_the_answer_that_follows() -> None:
    """What is streamed before the fault is the beginning of the real answer, as with a real model."""
    asked = ask("/drop")
    broken, whole = script.plan(asked, 0), script.plan(asked, 1)

    assert 0 < broken.fail_at < len(broken.tokens)
    assert broken.tokens == whole.tokens


def test_the_number_is_bounded() -> None:
    """`/drop 999999999` does not make a chat that cannot end."""
    assert ask("/drop 999999999").times == MAX_TIMES


@pytest.mark.parametrize("text", ["/nope", "drop", "a /drop", "/dropx", "", "/"])
def test_anything_else_is_answered(text: str) -> None:
    """Only a known word behind a slash at the start is a command; the rest gets the friendly answer."""
    asked = ask(text)

    assert asked.command is None
    assert "/flood" in text_of(script.plan(asked, 0))


def test_hello_quotes_the_user_shortly() -> None:
    """A page of text is not echoed whole, and cannot break the markdown around it."""
    answer = text_of(script.plan(ask("x`" * 5_000), 0))

    assert len(answer) < 2_500
    assert "x`x" not in answer


def test_flood_is_2000_numbered_tokens() -> None:
    """A missing or doubled token in the flood can be told from its number."""
    plan = script.plan(ask("/flood"), 0)

    assert list(range(1, 2_001)) == [int(word) for word in text_of(plan).split()]
    assert len(plan.tokens) == 2_000
    assert plan.pace == 0


def test_tool_calls_only_what_is_offered() -> None:
    """A tool that the request does not bring is not called; its results end up in the answer."""
    asked = ask("/tool")

    assert [call.name for call in script.plan(asked, 0, offered=["now", "other"]).tools] == ["now"]
    assert "12 o'clock" in text_of(script.plan(asked, 0, results=["12 o'clock"]))


def test_tool_drop_breaks_only_the_turn_after_the_tools() -> None:
    """`/tool drop` loses the connection when the tools have run already: they must not run twice."""
    asked = ask("/tool drop")

    assert script.plan(asked, 0, offered=["now"]).fault == ""
    assert script.plan(asked, 0, results=["x"]).fault == "reset"
    assert script.plan(asked, 1, results=["x"]).fault == ""


def test_results_are_those_since_the_last_user_message() -> None:
    """Outputs of an earlier question do not answer this one."""
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "/tool"},
        {"role": "tool", "content": "old"},
        {"role": "user", "content": [{"type": "text", "text": "/tool"}]},
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "first"},
        {"role": "tool", "content": [{"type": "text", "text": "second"}]},
    ]

    assert script.tool_results(messages) == ["first", "second"]
    assert script.read(messages).text == "/tool"
