"""What goes back to a server of the calls and thoughts that it sent, and what it is learnt to refuse."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backend.copilot.model.tool_history import Replay, ReplayMemory


class Owner:
    """A chat."""


class Refused(Exception):
    """An error status of a server."""

    def __init__(self, words: str, status: int = 400) -> None:
        self.status_code = status
        super().__init__(words)


class Server:
    """Answers, or refuses what `judge` says is wrong with the history."""

    def __init__(self, judge: Any = lambda history: None) -> None:
        self.judge = judge
        self.seen: list[list[dict[str, Any]]] = []

    async def create(self, **kwargs: Any) -> str:
        messages = kwargs["messages"]
        self.seen.append(messages)
        if words := self.judge(messages):
            raise Refused(words)
        return "answer"


def call(name: str = "f", arguments: Any = "{}", id_: str = "a") -> dict[str, Any]:
    """A tool call of a history."""
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def history(*calls: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """A question, calls, and an output."""
    asked = {"role": "assistant", "tool_calls": list(calls or (call(),)), **more}
    return [{"role": "user", "content": "hi"}, asked, {"role": "tool", "tool_call_id": "a", "content": "x"}]


def replay(memory: ReplayMemory, owner: Owner, *, thought: str = "hm") -> Replay:
    """The replay of a call to one server, whose model has thought before the call `a`."""
    if thought:
        memory.keep(owner, {"reasoning_content": thought}, [{"index": 0, **call(), "extra_content": {"s": 1}}])
    return Replay(memory, "host model", owner)


async def test_thoughts_and_signatures_go_back_to_who_sent_them() -> None:
    """In the message and in the call; the caller's own list is left as it is."""
    server, messages = Server(), history()

    assert "answer" == await replay(ReplayMemory(), Owner()).ask(server.create, (), {"messages": messages})

    asked = server.seen[0][1]
    assert "hm" == asked["reasoning_content"]
    assert {"s": 1} == asked["tool_calls"][0]["extra_content"]
    assert messages == history()


async def test_thoughts_of_another_chat_do_not() -> None:
    """Ids of tool calls are the same in many chats."""
    memory, server = ReplayMemory(), Server()
    replay(memory, Owner())

    await Replay(memory, "host model", Owner()).ask(server.create, (), {"messages": history()})

    assert "reasoning_content" not in server.seen[0][1]


async def test_a_refusal_is_learnt() -> None:
    """One request more, once."""
    memory, owner = ReplayMemory(), Owner()
    server = Server(lambda sent: "Extra inputs are not permitted" if "reasoning_content" in sent[1] else None)

    for _ in range(2):
        assert "answer" == await replay(memory, owner).ask(server.create, (), {"messages": history()})

    assert 3 == len(server.seen)


async def test_a_field_that_is_missed_is_sent_even_if_there_were_no_thoughts() -> None:
    """And that is learnt, too."""
    memory, owner = ReplayMemory(), Owner()
    server = Server(lambda sent: None if "reasoning_content" in sent[1] else "reasoning_content is missing")

    for _ in range(2):
        await replay(memory, owner, thought="").ask(server.create, (), {"messages": history()})

    assert 3 == len(server.seen)


@pytest.mark.parametrize(("words", "status"), [("the context is too long", 400), ("reasoning_content missing", 500)])
async def test_other_refusals_are_no_reason_to_ask_again(words: str, status: int) -> None:
    """They are told as they are."""

    async def create(**_: Any) -> Any:
        raise Refused(words, status)

    with pytest.raises(Refused):
        await replay(ReplayMemory(), Owner()).ask(create, (), {"messages": history()})


async def test_a_history_without_calls_is_sent_as_it_is() -> None:
    """The very same list."""
    server, messages = Server(), [{"role": "user", "content": "hi"}]

    await replay(ReplayMemory(), Owner()).ask(server.create, (), {"messages": messages})

    assert messages is server.seen[0]


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (call("f", '{"x": 1}'), ("f", '{"x": 1}')), (call("f", ""), ("f", "{}")), (call("f", None), ("f", "{}")),
        (call("f", '{"x": '), ("f", '{"not_json": "{\\"x\\": "}')), (call("", "{}"), ("unnamed", "{}")),
        (call("f<|channel|>x", "{}"), ("f_channel_x", "{}")), (call("f", "[1]"), ("f", '{"not_json": "[1]"}')),
    ],
)  # fmt: skip
async def test_calls_that_the_model_got_wrong_can_be_parsed(sent: dict[str, Any], read: tuple[str, str]) -> None:
    """Some servers answer 400 to a history whose arguments are no JSON: for ever."""
    server = Server()

    await replay(ReplayMemory(), Owner()).ask(server.create, (), {"messages": history(sent)})

    function = server.seen[0][1]["tool_calls"][0]["function"]
    assert read == (function["name"], function["arguments"])


async def test_a_cancel_while_the_server_is_asked_passes() -> None:
    """And nothing is learnt."""
    memory = ReplayMemory()
    asked = asyncio.Event()

    async def create(**_: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(replay(memory, Owner()).ask(create, (), {"messages": history()}))
    await asked.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert "echo" == memory.mode("host model")
