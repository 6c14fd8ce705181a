"""Function tools. `TOOL_CALLS` counts each call, so that a test can prove that none ran twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from agents import function_tool

from ..dao.workflow_table import get_workflow_data, save_workflow_data
from ..utils.request_context import get_rewrite_context, get_session_id

TOOL_CALLS: list[tuple[str, str | None, dict[str, Any]]] = []


def _note(tool: str, **arguments: Any) -> None:
    TOOL_CALLS.append((tool, get_session_id(), arguments))


def tool_counts(session_id: str | None = None) -> Counter[str]:
    """How often each tool ran, in one session or in all."""
    return Counter(tool for tool, session, _ in TOOL_CALLS if session_id in (None, session))


@function_tool
def get_current_workflow() -> str:
    """Read the workflow that is on the canvas."""
    _note("get_current_workflow")
    text = json.dumps(get_workflow_data(get_session_id() or "") or {})
    get_rewrite_context().current_workflow = text
    return text


@function_tool
def update_workflow(workflow_data: str = "") -> str:
    """Save a changed workflow and show it on the canvas."""
    _note("update_workflow", workflow_data=workflow_data)
    context = get_rewrite_context()
    workflow = json.loads(workflow_data or "{}")
    save_workflow_data(get_session_id() or "", workflow)
    seen = {"intent": context.rewrite_intent, "workflow_seen": context.current_workflow}
    return json.dumps({"success": True, **seen, "ext": [{"type": "workflow_update", "data": workflow}]})


@function_tool
def count_up(note: str = "") -> str:
    """Count this call."""
    _note("count_up", note=note)
    return f"counted {note}"


@function_tool
def raise_error(text: str = "tool failed") -> str:
    """Fail; the model is told."""
    _note("raise_error", text=text)
    raise ValueError(text)


@function_tool(failure_error_function=None)
def crash_run(text: str = "tool crashed") -> str:
    """Fail in a way that ends the whole run."""
    _note("crash_run", text=text)
    raise RuntimeError(text)


@function_tool
async def take_time(seconds: float) -> str:
    """Answer after some seconds."""
    _note("take_time", seconds=seconds)
    await asyncio.sleep(seconds)
    return f"took {seconds} s"
