"""The examples of docs/event-bus.md run as they stand there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from backend.backpressure import BoundedQueue
from backend.event_bus import Event, EventBus
from tests.support.manual_time import turns
from tests.support.net import PATIENCE

PAGE = Path(__file__).resolve().parents[3] / "docs" / "event-bus.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


async def run(code: str, names: dict[str, Any]) -> None:
    """Run an example in `names`; it may await at its top level."""
    result = eval(compile(code, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(result):
        await result


async def test_the_examples_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other, as a reader would type them, with the plugin under its public name."""
    bus = EventBus()
    plugin: Any = types.ModuleType("copilot_pulse")
    plugin.Event, plugin.EventBus, plugin.BoundedQueue, plugin.get_event_bus = (
        Event,
        EventBus,
        BoundedQueue,
        lambda: bus,
    )
    monkeypatch.setitem(sys.modules, "copilot_pulse", plugin)
    got: list[str] = []
    finished = {"chat_id": "7", "outcome": "completed", "seconds": 2.5}
    names: dict[str, Any] = {"bus": bus, "handler": lambda event: got.append(event.type)}
    for block in BLOCKS:
        names.update(event=Event("one", {}, "test"), events=[Event("many", {}, "test")] * 2)
        if "bus.stream" in block:
            task = asyncio.create_task(run(block, names))
            await turns()
            await bus.publish(Event(type="chat.finished", data=finished, source="copilot"))
            await asyncio.wait_for(task, PATIENCE)
        elif "await bus.aclose()" in block:
            await asyncio.wait_for(run(block.replace("await bus.aclose()", ""), names), PATIENCE)
        else:
            await asyncio.wait_for(run(block, names), PATIENCE)
    await bus.join()

    out = capsys.readouterr().out
    assert ["chat 7: completed after 2.5 s", "text", "the end"] == out.splitlines()
    assert ["chat.finished"] * 2 + ["one", "one", "many", "many", "one", "mynode.step"] == got
    await bus.aclose()


def test_every_example_is_python() -> None:
    """And there are some."""
    assert len(BLOCKS) >= 9
    for block in BLOCKS:
        compile(block, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
