"""What the panel asks for: a chat's story, the list of chats, totals."""

from __future__ import annotations

from typing import Any

import pytest

from backend.journal.chats import Chats, ChatSearch
from backend.journal.replay import Upcasters, replay
from backend.journal.rows import Stored
from backend.journal.stories import ChatStory, Totals

WHO = {"model": "qwen3", "host": "127.0.0.1:1234"}


def happened(*rows: tuple[float, str, dict[str, Any]]) -> list[Stored]:
    """Events at their times, of one chat unless the data says otherwise."""
    return [
        Stored(0, number, 1000.0 + at, type_, "copilot", "s1", 1, {"chat_id": "7", **data})
        for number, (at, type_, data) in enumerate(rows, 1)
    ]


WHOLE = happened(
    (0.0, "chat.started", {"kind": "chat", "messages": 3}),
    (0.1, "chat.model", {**WHO, "turn": 1, "attempt": 1}),
    (0.5, "error", {"error_id": "e1", "kind": "timeout", "severity": "medium", "outcome": "retrying"}),
    (0.5, "chat.retrying", {"attempt": 1, "of": 3, "wait": 0.5, "error": "APITimeoutError", "cut": 12}),
    (1.0, "chat.model", {**WHO, "turn": 1, "attempt": 2}),
    (1.4, "chat.first_token", {**WHO, "seconds": 1.4}),
    (2.0, "chat.tool_called", {"tool": "search", "call_id": "c1"}),
    (2.0, "chat.tool_called", {"tool": "draw", "call_id": "c2"}),
    (2.5, "chat.tool_output", {"tool": "draw", "call_id": "c2", "seconds": 0.5, "length": 9}),
    (3.0, "chat.tool_output", {"tool": "search", "call_id": "c1", "seconds": 1.0, "length": 80}),
    (3.0, "chat.agent_changed", {"agent": "Debug"}),
    (3.1, "chat.model", {**WHO, "turn": 2, "attempt": 1}),
    (5.0, "chat.finished", {**WHO, "kind": "chat", "outcome": "completed", "seconds": 5.0, "tokens": 40, "retries": 1}),
)


def test_story_is_the_waterfall_of_a_chat() -> None:
    """Attempts with their errors, waits, the first token, tools that overlap, hand-offs, the figures of the end."""
    story = ChatStory("7")
    replay(WHOLE, story)
    told = story.result()

    assert told is not None
    assert {name: told[name] for name in ("outcome", "seconds", "tokens", "model", "session", "started", "kind")} == {
        "outcome": "completed", "seconds": 5.0, "tokens": 40, "model": "qwen3", "session": "s1", "started": 1000.0,
        "kind": "chat",
    }  # fmt: skip
    spans = [(one["kind"], round(one["start"], 6), round(one["end"], 6)) for one in told["spans"]]
    assert spans == [
        ("attempt", 0.1, 0.5),
        ("wait", 0.5, 1.0),
        ("attempt", 1.0, 2.0),
        ("tool", 2.0, 3.0),
        ("tool", 2.0, 2.5),
        ("agent", 3.0, 5.0),
        ("attempt", 3.1, 5.0),
    ]
    attempts = [one for one in told["spans"] if one["kind"] == "attempt"]
    assert [one["outcome"] for one in attempts] == ["failed", "completed", "completed"]
    assert attempts[1]["first_token"] == pytest.approx(1.4)
    assert told["spans"][1]["error"] == "APITimeoutError"
    assert [one["turn"] for one in told["spans"] if one["kind"] in ("wait", "tool")] == [1, 1, 1]
    assert told["errors"][0]["kind"] == "timeout"


def test_story_knows_what_each_call_of_the_model_has_cost() -> None:
    """Its end, why the provider stopped, when its first token came, and tokens, summed up for the chat."""
    call = {**WHO, "turn": 1}
    usage = {"input_tokens": 100, "output_tokens": 20, "cached_tokens": 64}
    broken = {"outcome": "failed", "seconds": 0.4, "first_token": None, "finish": ""}
    whole = {"outcome": "completed", "seconds": 1.0, "first_token": 0.25, "finish": "stop"}
    story = ChatStory("7")
    replay(
        happened(
            (0.0, "chat.started", {"kind": "chat", "messages": 1}),
            (0.1, "chat.model", {**call, "attempt": 1}),
            (0.5, "chat.model_ended", {**call, "attempt": 1, **broken, "input_tokens": 100}),
            (0.5, "chat.retrying", {"attempt": 1, "of": 3, "wait": 0.5, "error": "reset", "cut": 0}),
            (1.0, "chat.model", {**call, "attempt": 2}),
            (2.0, "chat.model_ended", {**call, "attempt": 2, **whole, **usage}),
            (3.0, "chat.finished", {"outcome": "completed", "seconds": 3.0}),
        ),
        story,
    )
    told = story.result()

    assert told is not None
    first, last = (one for one in told["spans"] if one["kind"] == "attempt")
    assert (first["outcome"], first["end"], first["input_tokens"], first["output_tokens"]) == (
        "failed", pytest.approx(0.5), 100, None,
    )  # fmt: skip
    assert (last["outcome"], last["finish"], last["end"]) == ("completed", "stop", pytest.approx(2.0))
    assert last["first_token"] == pytest.approx(1.25)
    assert told["usage"] == {
        "input_tokens": 200, "output_tokens": 20, "cached_tokens": 64, "reasoning_tokens": None,
    }  # fmt: skip


def test_story_that_a_restart_cut_off_is_interrupted() -> None:
    """Its end is the last that was heard of it, and nothing stays open."""
    rows = [*WHOLE[:7], Stored(0, 99, 2000.0, "store.opened", "store", None, 1, {})]
    story = ChatStory("7")
    replay(rows, story)
    told = story.result()

    assert told is not None
    assert told["outcome"] == "interrupted"
    assert told["seconds"] == pytest.approx(2.0)
    assert all(one["end"] is not None for one in told["spans"])


def test_chats_knows_running_finished_and_interrupted_ones() -> None:
    """Also one whose beginning is older than the store."""
    rows = [
        *happened((0, "chat.started", {"chat_id": "a"}), (1, "chat.started", {"chat_id": "b"})),
        Stored(0, 3, 1002.0, "chat.finished", "c", "s1", 1, {"chat_id": "a", "outcome": "failed", "seconds": 2.0}),
        Stored(0, 4, 1003.0, "chat.finished", "c", "s1", 1, {"chat_id": "old", "outcome": "completed", "seconds": 9.0}),
        Stored(0, 5, 1004.0, "store.opened", "store", None, 1, {}),
        Stored(0, 6, 1005.0, "chat.started", "c", "s1", 1, {"chat_id": "c"}),
    ]
    chats = Chats(ChatSearch(), 9)
    replay(reversed(rows), chats)

    assert [(row["chat_id"], row["outcome"], row["started"]) for row in chats.rows] == [
        ("c", None, 1005.0), ("old", "completed", 994.0), ("a", "failed", 1000.0), ("b", "interrupted", 1001.0),
    ]  # fmt: skip


def test_totals_begin_their_days_at_the_readers_midnight() -> None:
    """One event before and one after midnight in Berlin, both on one day of UTC."""
    late = 1_795_643_000.0 // 86_400 * 86_400 + 22.5 * 3600  # 22:30 UTC
    data = {"chat_id": "7", "outcome": "completed", "tokens": 5}
    rows = [Stored(0, n, late + n * 3600, "chat.finished", "c", None, 1, data) for n in (0, 1)]
    utc, berlin = Totals(86_400.0), Totals(86_400.0, offset=3600.0)
    replay(rows, utc)
    replay(rows, berlin)

    assert [row["tokens"] for row in utc.result()] == [10]
    assert [(row["tokens"], row["chats"]) for row in berlin.result()] == [(5, {"completed": 1}), (5, {"completed": 1})]


def test_replaying_twice_is_the_same_and_halves_are_the_whole() -> None:
    """Projections look at nothing but the events."""
    once, twice, halves = ChatStory("7"), ChatStory("7"), ChatStory("7")
    replay(WHOLE, once)
    replay(WHOLE, twice)
    replay(WHOLE[:6], halves)
    replay(WHOLE[6:], halves)

    assert once.result() == twice.result() == halves.result()


def test_upcasters_bring_old_versions_up_step_by_step() -> None:
    """Version 1 goes through both steps, version 2 through one, the newest through none; other types are left."""
    up = Upcasters(
        {
            ("chat.model", 1): lambda data: {"host": data["server"]},
            ("chat.model", 2): lambda data: {**data, "turn": 1},
        }
    )

    def read(version: int, data: dict[str, Any], type_: str = "chat.model") -> tuple[int, dict[str, Any]]:
        event = up(Stored(0, 1, 0.0, type_, "c", None, version, data))
        return event.v, event.data

    assert read(1, {"server": "a"}) == (3, {"host": "a", "turn": 1})
    assert read(2, {"host": "a"}) == (3, {"host": "a", "turn": 1})
    assert read(3, {"host": "a"}) == (3, {"host": "a"})
    assert read(1, {"server": "a"}, "other") == (1, {"server": "a"})


def test_upcaster_that_fails_leaves_the_event_as_it_was_stored() -> None:
    """One odd row must not break the page."""
    up = Upcasters({("chat.model", 1): lambda data: {"host": data["server"]}})
    event = Stored(0, 1, 0.0, "chat.model", "c", None, 1, {"odd": 1})

    assert up(event) == event
