"""The history summary leaves the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from backend.copilot.memory import MemorySeam, strip_assistant, workflow_texts
from backend.copilot.seam import CopilotModules, SeamMissing, SeamUnneeded
from backend.settings import LiveSettings, Settings
from tests.support.net import PATIENCE, until

ROOT = "custom_nodes_x_memory_test"
COPILOT = CopilotModules(ROOT)
secret: contextvars.ContextVar[str] = contextvars.ContextVar("secret", default="")


def user(text: str) -> dict[str, Any]:
    """A message of the user."""
    return {"role": "user", "content": text}


HISTORY = [user("one"), {"role": "assistant", "content": "two \n"}, user("three")]
STRIPPED = [user("one"), {"role": "assistant", "content": "two"}, user("three")]


class World:
    """A Copilot whose summary does what the test says, and the seam."""

    def __init__(self, **settings: Any) -> None:
        self.calls: list[tuple[str, list[dict[str, Any]]]] = []
        self.threads: list[threading.Thread] = []
        self.seen: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.records: list[dict[str, Any]] = []
        self.memory = ModuleType(f"{ROOT}.backend.service.message_memory")
        self.client = ModuleType(f"{ROOT}.backend.service.mcp_client")

        def message_memory_optimize(session_id: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
            self.calls.append((session_id, messages))
            self.threads.append(threading.current_thread())
            self.seen.append(secret.get())
            self.gate.wait()
            if self.error is not None:
                raise self.error
            return [user(f"summary for {session_id}"), messages[-1]]

        message_memory_optimize.__module__ = self.memory.__name__
        self.original = message_memory_optimize
        self.client.message_memory_optimize = message_memory_optimize  # type: ignore[attr-defined]
        pulse: Any = SimpleNamespace(
            settings=LiveSettings(Settings(**settings)),
            recovery=SimpleNamespace(record=lambda error, **data: self.records.append(data)),
        )
        self.seam = MemorySeam(pulse)

    def ask(self, session: str = "s", messages: Any = None) -> Any:
        """What Copilot does at the start of its chat."""
        return self.client.message_memory_optimize(session, strip_assistant(messages or HISTORY))


@pytest.fixture
def make_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    """Makes attached worlds, and lets their threads go afterwards. What is stored is waited for on any machine."""
    monkeypatch.setattr("backend.copilot.memory._STORED_LIMIT", PATIENCE)
    worlds: list[World] = []

    def make(**settings: Any) -> World:
        world = World(**settings)
        worlds.append(world)
        sys.modules[world.memory.__name__] = world.memory
        sys.modules[world.client.__name__] = world.client
        world.seam.attach(COPILOT)
        return world

    yield make
    for world in worlds:
        world.gate.set()
        world.seam.detach()
        sys.modules.pop(world.memory.__name__, None)
        sys.modules.pop(world.client.__name__, None)


async def test_the_summary_is_made_in_a_thread_and_handed_over_once(make_world: Callable[..., World]) -> None:
    """The chat gets the summary without calling it on the loop; a second call is Copilot's own again."""
    world = make_world()
    await world.seam.precompute(HISTORY, "s", COPILOT)
    first = world.ask()

    assert [user("summary for s"), user("three")] == first
    assert [("s", STRIPPED)] == world.calls
    assert threading.main_thread() not in world.threads
    world.ask()
    assert 2 == len(world.calls)


async def test_the_loop_turns_while_the_summary_is_made(make_world: Callable[..., World]) -> None:
    """ComfyUI goes on while the model summarises."""
    world = make_world()
    world.gate.clear()
    task = asyncio.create_task(world.seam.precompute(HISTORY, "s"))
    await until(lambda: len(world.calls) == 1)

    assert not task.done()
    world.gate.set()
    await task


async def test_the_thread_sees_the_chats_context(make_world: Callable[..., World]) -> None:
    """Copilot's request context (keys, session) is there in the thread."""
    world = make_world()
    secret.set("of this chat")
    await world.seam.precompute(HISTORY, "s")

    assert ["of this chat"] == world.seen


async def test_chats_at_once_do_not_mix(make_world: Callable[..., World]) -> None:
    """Each of twenty chats gets the summary of its own session."""
    world = make_world()

    async def chat(number: int) -> Any:
        messages = [user(f"message {number}")]
        await world.seam.precompute(messages, str(number))
        return world.ask(str(number), messages)

    tasks = [asyncio.create_task(chat(n)) for n in range(20)]
    results = await asyncio.gather(*tasks)

    assert [[user(f"summary for {n}"), user(f"message {n}")] for n in range(20)] == results
    assert 20 == len(world.calls)


@pytest.mark.parametrize(("session", "messages"), [("other", HISTORY), ("s", [user("another")])])
async def test_another_question_is_answered_by_copilot_itself(
    make_world: Callable[..., World], session: str, messages: Any
) -> None:
    """A prepared result is handed over to nobody but the call that it was made for."""
    world = make_world()
    await world.seam.precompute(HISTORY, "s")
    result = world.ask(session, messages)

    assert user(f"summary for {session}") == result[0]
    assert 2 == len(world.calls)


async def test_messages_that_cannot_be_compared_are_copilots_own(make_world: Callable[..., World]) -> None:
    """A fork with a message type of its own gets its own function, not an error of ours."""

    class Odd(list[Any]):
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("never compare me")

        __hash__ = None

    world = make_world()
    await world.seam.precompute(HISTORY, "s")
    result = world.client.message_memory_optimize("s", Odd(HISTORY))

    assert user("summary for s") == result[0]
    assert 2 == len(world.calls)


async def test_without_preparation_copilot_works_as_unpatched(make_world: Callable[..., World]) -> None:
    """Positional and keyword calls reach the original."""
    world = make_world()

    assert user("summary for s") == world.ask()[0]
    optimize = world.client.message_memory_optimize
    assert user("summary for s") == optimize(session_id="s", messages=HISTORY)[0]


async def test_keyword_calls_get_the_prepared_result(make_world: Callable[..., World]) -> None:
    """A fork may pass its arguments by name."""
    world = make_world()
    await world.seam.precompute(HISTORY, "s")
    world.client.message_memory_optimize(messages=STRIPPED, session_id="s")

    assert 1 == len(world.calls)


async def test_a_summary_that_hangs_does_not_hold_the_chat(make_world: Callable[..., World]) -> None:
    """After the limit the chat goes on with all messages, and its next turn does not wait for the thread."""
    world = make_world(first_token_timeout=0.05)
    world.gate.clear()
    await world.seam.precompute(HISTORY, "s")
    first = world.ask()
    await world.seam.precompute(HISTORY, "s")
    second = world.ask()

    assert STRIPPED == first == second
    await until(lambda: world.calls, what="the thread of the first")
    assert 1 == len(world.calls)
    assert [("memory", "ignored")] * 2 == [(r["where"], r["outcome"]) for r in world.records]
    world.gate.set()


async def test_after_the_limit_the_stored_summary_and_the_recent_messages_are_used(
    make_world: Callable[..., World],
) -> None:
    """What Copilot has stored is better than everything, if it holds the user's new message."""
    world = make_world(first_token_timeout=0.05)
    world.gate.clear()
    recent = [user("old summary"), user("three")]
    world.memory.get_optimized_messages = lambda session: recent  # type: ignore[attr-defined]
    await world.seam.precompute(HISTORY, "s")

    assert recent == world.ask()


@pytest.mark.parametrize("stored", [[], None, [user("an earlier turn")], "raise"])
async def test_a_stored_record_that_does_not_fit_is_not_used(make_world: Callable[..., World], stored: Any) -> None:
    """A record without the new message would make the model answer the last question again."""

    def get(session: str) -> Any:
        if stored == "raise":
            raise OSError("database is locked")
        return stored

    world = make_world(first_token_timeout=0.05)
    world.gate.clear()
    world.memory.get_optimized_messages = get  # type: ignore[attr-defined]
    await world.seam.precompute(HISTORY, "s")

    assert STRIPPED == world.ask()


async def test_a_second_message_waits_for_the_first_ones_summary(make_world: Callable[..., World]) -> None:
    """Two turns of one session do not summarise at once: the second begins when the first has ended."""
    world = make_world()
    world.gate.clear()
    first = asyncio.create_task(world.seam.precompute(HISTORY, "s"))
    await until(lambda: len(world.calls) == 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    more = [*STRIPPED, user("four")]

    async def chat() -> Any:
        await world.seam.precompute(more, "s")
        return world.ask("s", more)

    second = asyncio.create_task(chat())
    await asyncio.sleep(0)
    assert 1 == len(world.calls)
    world.gate.set()

    assert [user("summary for s"), user("four")] == await second
    assert 2 == len(world.calls)


async def test_a_summary_that_fails_is_left_to_copilot(make_world: Callable[..., World]) -> None:
    """An error in the thread prepares nothing: Copilot calls the original and handles it as it always did."""
    world = make_world()
    world.error = ValueError("no database")
    await world.seam.precompute(HISTORY, "s")

    with pytest.raises(ValueError, match="no database"):
        world.ask()


@pytest.mark.parametrize(("messages", "session"), [(None, "s"), (HISTORY, None), (HISTORY, ""), ("x", "s")])
async def test_what_cannot_be_prepared_is_not(make_world: Callable[..., World], messages: Any, session: Any) -> None:
    """No session, no list of messages: nothing happens before Copilot's own call."""
    world = make_world()
    await world.seam.precompute(messages, session)

    assert [] == world.calls


async def test_attach_and_detach_restore_the_very_function(make_world: Callable[..., World]) -> None:
    """Attaching twice changes nothing; detached the original is there again and nothing is prepared."""
    world = make_world()
    ours = world.client.message_memory_optimize
    world.seam.attach(COPILOT)

    assert ours is world.client.message_memory_optimize
    assert ours is not world.original
    world.seam.detach()
    assert world.original is world.client.message_memory_optimize
    await world.seam.precompute(HISTORY, "s")
    assert [] == world.calls
    await world.seam.aclose()


async def test_a_copilot_without_it_is_a_missing_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that keeps its summary elsewhere is left alone, with a reason; one that makes none needs no seam."""
    world = World()
    del world.client.message_memory_optimize
    monkeypatch.setitem(sys.modules, world.client.__name__, world.client)
    with pytest.raises(SeamUnneeded, match="no summary"):
        world.seam.attach(COPILOT)

    summary = f"{COPILOT.root}.backend.service.message_memory"
    monkeypatch.setitem(sys.modules, summary, ModuleType(summary))
    with pytest.raises(SeamMissing, match="message_memory_optimize"):
        world.seam.attach(COPILOT)


def test_strip_assistant() -> None:
    """Only texts of the assistant lose their trailing blanks, in strings and in parts; the input stays."""
    parts = {"role": "assistant", "content": [{"type": "text", "text": "a "}, {"type": "x"}, 3]}
    given = [user("u "), {"role": "assistant", "content": "a\n "}, parts, {"role": "assistant"}, "odd"]
    stripped = strip_assistant(given)  # type: ignore[arg-type]

    assert [
        user("u "),
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "x"}, 3]},
        {"role": "assistant"},
        "odd",
    ] == stripped
    assert "a " == parts["content"][0]["text"]  # type: ignore[index]


def test_the_texts_of_a_workflow_are_those_that_somebody_wrote() -> None:
    """Its names of nodes and files must stay readable in an error; nesting without end is no trouble."""
    deep: list[Any] = ["and the deepest of all"]
    for _ in range(3_000):
        deep = [deep]
    workflow = {
        "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a portrait of my sister", "clip": ["4", 1]}},
        "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl base.safetensors"}},
        "3": {"widgets_values": ["请画一张我女儿", 20, None, True, deep]},
    }
    assert sorted(workflow_texts(workflow)) == ["a portrait of my sister", "and the deepest of all", "请画一张我女儿"]
    assert workflow_texts(None) == workflow_texts("x") == []
